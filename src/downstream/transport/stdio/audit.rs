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

/// The last command line of each server that was started, as a digest.
#[derive(Debug, Default)]
pub(super) struct Lines(Mutex<HashMap<ServerId, [u8; 32]>>);

/// One start. SECURITY: arguments and values of variables may be secrets and are not part of it (threat model T17).
#[derive(Debug)]
pub(super) struct Started {
    id: ServerId,
    digest: [u8; 32],
    command: String,
    args: usize,
    env: Vec<String>,
    origin: &'static str,
}

impl Started {
    pub(super) fn of(program: &Program) -> Self {
        Self {
            id: program.server.clone(),
            digest: digest(program),
            command: program.command.program.display().to_string(),
            args: program.command.args.len(),
            env: program.command.env.iter().map(|(name, _)| name.clone()).collect(),
            origin: match program.origin {
                Origin::App => "app",
                Origin::File => "file",
            },
        }
    }

    /// Once the program runs: what cannot be started leaves the change to be told at the next start.
    pub(super) fn log(self, lines: &Lines, server: &str, pid: u32) {
        let changed = lines.remember(&self);
        let Self { id: _, digest: _, command, args, env, origin } = self;
        if changed {
            tracing::warn!(server, command, args, ?env, origin, "its command line is another one than at its last start");
        }
        tracing::info!(server, command, args, ?env, origin, pid, "started");
    }
}

impl Lines {
    /// Whether it is another one than at the last start.
    fn remember(&self, started: &Started) -> bool {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() >= REMEMBERED && !lines.contains_key(&started.id) {
            lines.clear();
        }
        lines.insert(started.id.clone(), started.digest).is_some_and(|before| before != started.digest)
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
            // One that is never started changes nothing.
            let _ = Started::of(&program(server, &["failed"]));
            assert_eq!(lines.remember(&Started::of(&program(server, args))), changed, "{server} {args:?}");
        }
    }

    #[test]
    fn what_is_written_down_holds_no_argument_and_no_value() {
        let started = format!("{:?}", Started::of(&program("a", &["--key=SECRET"])));
        assert!(started.contains("NAME") && !started.contains("SECRET"), "{started}");
    }
}
