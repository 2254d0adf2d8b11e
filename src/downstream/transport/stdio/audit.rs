//! What is written down of every start: who wanted it, what ran, and whether it was another command line before (threat model 5.4).

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use sha2::{Digest, Sha256};

use super::Program;
use crate::protocol::server::{Origin, ServerId};

/// Servers whose command line is remembered. The App can name new ones without end.
const REMEMBERED: usize = 10_000;

/// The last command line of each server, as a digest.
#[derive(Debug, Default)]
pub(super) struct Lines(Mutex<HashMap<ServerId, [u8; 32]>>);

/// One start. SECURITY: arguments and values of variables may be secrets and are not part of it (threat model T17).
#[derive(Debug)]
pub(super) struct Started {
    command: String,
    args: usize,
    env: Vec<String>,
    origin: &'static str,
    changed: bool,
}

impl Lines {
    /// Remembers the command line.
    pub(super) fn of(&self, program: &Program) -> Started {
        let digest = digest(program);
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() >= REMEMBERED && !lines.contains_key(&program.server) {
            lines.clear();
        }
        let changed = lines.insert(program.server.clone(), digest).is_some_and(|before| before != digest);
        Started {
            command: program.command.program.display().to_string(),
            args: program.command.args.len(),
            env: program.command.env.iter().map(|(name, _)| name.clone()).collect(),
            origin: match program.origin {
                Origin::App => "app",
                Origin::File => "file",
            },
            changed,
        }
    }
}

impl Started {
    pub(super) fn log(&self, server: &str, pid: u32) {
        let Self { command, args, env, origin, changed } = self;
        if *changed {
            tracing::warn!(server, command, args, ?env, origin, "its command line is another one than at its last start");
        }
        tracing::info!(server, command, args, ?env, origin, pid, "started");
    }
}

/// Each part with its length before it, so that no other parts look the same.
fn digest(program: &Program) -> [u8; 32] {
    let mut digest = Sha256::new();
    let program_file = program.command.program.as_os_str().as_encoded_bytes();
    let parts = std::iter::once(program_file).chain(program.command.args.iter().map(String::as_bytes));
    for part in parts {
        digest.update(part.len().to_le_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::security::command::AllowedCommand;

    use super::*;

    fn program(server: &str, args: &[&str]) -> Program {
        let command = AllowedCommand {
            program: "/bin/true".into(),
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            env: vec![("NAME".to_owned(), "SECRET".into())],
        };
        Program { server: ServerId::new(server), origin: Origin::App, command, base_env: Arc::default(), cwd: None }
    }

    #[test]
    fn a_changed_command_line_is_noticed() {
        let lines = Lines::default();
        for (server, args, changed) in [
            ("a", &["1", "2"][..], false),
            ("a", &["1", "2"], false),
            ("b", &["12"], false),
            ("a", &["12"], true),
            ("a", &["12"], false),
            ("a", &["1", "2"], true),
            ("b", &["12"], false),
        ] {
            assert_eq!(lines.of(&program(server, args)).changed, changed, "{server} {args:?}");
        }
    }

    #[test]
    fn what_is_written_down_holds_no_argument_and_no_value() {
        let started = format!("{:?}", Lines::default().of(&program("a", &["--key=SECRET"])));
        assert!(started.contains("NAME") && !started.contains("SECRET"), "{started}");
    }
}
