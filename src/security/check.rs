//! One question to the rules: would this be allowed? For the `check` command, and for corpora of such questions. What is
//! asked here is judged by the very functions that serving uses; nothing is looked up, connected to or started.

use indexmap::IndexMap;
use serde::Deserialize;

use super::{Author, Refusal, Rule, command, dotenv, egress, headers};
use crate::secret::Secret;

/// What is asked about.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Case {
    Url {
        url: String,
        #[serde(default)]
        source: Source,
    },
    Command {
        command: String,
        #[serde(default)]
        args: Vec<String>,
        #[serde(default)]
        env: IndexMap<String, String>,
        #[serde(default)]
        source: Source,
    },
    Header {
        name: String,
        value: String,
    },
    /// The text of a file of variables.
    EnvFile {
        text: String,
    },
}

/// Who would have written it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    #[default]
    App,
    File,
}

impl From<Source> for Author {
    fn from(source: Source) -> Self {
        match source {
            Source::App => Self::App,
            Source::File => Self::Owner,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Allowed,
    Refused(Refusal),
    /// The variables of a file, in its order. Where a name comes twice, the last one counts.
    Variables(IndexMap<String, String>),
}

/// The rules as the operator has set them.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    pub egress: &'a egress::Policy,
    pub commands: &'a command::Policy,
}

impl Rules<'_> {
    pub fn judge(&self, case: &Case) -> Verdict {
        let judged = match case {
            Case::Url { url, source } => self.egress.allow((*source).into(), url).map(drop),
            Case::Command { command, args, env, source } => {
                let env = env.iter().map(|(name, value)| (name.clone(), Secret::named(name, value.as_str()))).collect();
                self.commands.judge((*source).into(), command, args, &env).map(drop)
            }
            Case::Header { name, value } => headers::judge(name, value).map(drop),
            Case::EnvFile { text } => return dotenv::read(text.as_bytes()).map_or_else(Verdict::Refused, Verdict::Variables),
        };
        judged.map_or_else(Verdict::Refused, |()| Verdict::Allowed)
    }
}

/// Reads a case from one line of JSON.
///
/// # Errors
/// A [`Refusal`] that says what a case looks like.
pub fn parse(line: &[u8]) -> Result<Case, Refusal> {
    serde_json::from_slice(line).map_err(|error| {
        // serde's text quotes words of the line, which may be what is not to be shown.
        no_case(format!("this line is no case: it is no JSON object of a known kind (column {})", error.column()))
    })
}

/// What is said of a line that asks nothing.
pub fn no_case(what: String) -> Refusal {
    Refusal::new(Rule::BadCase, what, EXAMPLE)
}

const EXAMPLE: &str = r#"write one object a line, such as {"kind":"url","url":"https://example.com/mcp"}"#;
