//! What `check` is asked, from its command line.

use std::path::PathBuf;

use indexmap::IndexMap;

use super::cli::Subject;
use crate::security::check::{Case, Source};

/// What the command `check` does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    pub asked: Asked,
    pub json: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    Case(Case),
    /// The file to be read.
    EnvFile(PathBuf),
    /// The cases come from standard input.
    Batch,
}

/// # Errors
/// What is wrong with the command line.
pub(super) fn asked(subject: Option<Subject>, batch: bool, source: &str) -> Result<Asked, String> {
    let source = if source == "file" { Source::File } else { Source::App };
    let subject = match (subject, batch) {
        (Some(subject), false) => subject,
        (None, true) => return Ok(Asked::Batch),
        (None, false) => return Err("`check` needs to know what: `url`, `command`, `header`, `env-file`, or `--batch`".to_owned()),
        (Some(_), true) => return Err("`check --batch` takes its cases from standard input and needs no other".to_owned()),
    };
    Ok(Asked::Case(match subject {
        Subject::EnvFile { file } => return Ok(Asked::EnvFile(file)),
        Subject::Url { url } => Case::Url { url, source },
        Subject::Header { name, value } => Case::Header { name, value },
        Subject::Command { env, line } => {
            let mut line = line.into_iter();
            let command = line.next().unwrap_or_default();
            Case::Command { command, args: line.collect(), env: variables(&env)?, source }
        }
    }))
}

fn variables(env: &[String]) -> Result<IndexMap<String, String>, String> {
    let split = |pair: &str| pair.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    env.iter().map(|pair| split(pair).ok_or_else(|| "`--env` must be written as NAME=VALUE".to_owned())).collect()
}
