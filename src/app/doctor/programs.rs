//! The programs of STDIO servers: whether they are found as the proxy looks for them, where they lie otherwise, and what runs them.
//!
//! SECURITY: what is found, and what is started, goes through the policy that serving has.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use indexmap::IndexMap;
use secrecy::ExposeSecret;

use super::{
    places,
    report::{Check, Group},
    versions::Runtime,
};
use crate::{
    app::terminal::cell,
    downstream::{
        self,
        transport::stdio::{self, Program},
    },
    protocol::server::{Origin, ServerConfig, ServerId, StdioConfig, TransportConfig},
    security::{Author, Refusal, Rule, command::Policy},
};

/// Longer means that it does more than to say its version.
const VERSION: Duration = Duration::from_secs(10);

/// The line that names a script's interpreter is not longer: Linux reads 256 bytes.
const FIRST_LINE: u64 = 256;

/// Where every system has programs.
const SYSTEM_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// What the search goes by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Search<'a> {
    pub(super) downstream: &'a downstream::Config,
    pub(super) home: Option<&'a Path>,
}

impl Search<'_> {
    /// Of every STDIO server, then of what runs them.
    pub(super) async fn checks(&self, servers: &[Arc<ServerConfig>]) -> Vec<Check> {
        let stdio = servers.iter().filter_map(|server| match &server.transport {
            TransportConfig::Stdio(stdio) => Some((server, stdio)),
            TransportConfig::Http(_) => None,
        });
        let mut checks = Vec::new();
        let mut runtimes = BTreeMap::new();
        for (server, stdio) in stdio {
            let allowed =
                self.downstream.commands.allow(author(server.origin), &stdio.command, &stdio.args, &stdio.env, stdio.cwd.as_deref());
            match allowed {
                Ok(allowed) => {
                    checks.push(self.found(server, stdio, allowed.program()));
                    if let Some(runtime) = Runtime::of(&stdio.command) {
                        runtimes.insert(runtime.program(&stdio.command), runtime);
                    }
                }
                Err(refusal) if refusal.rule == Rule::CommandNotFound => checks.push(self.missing(server, stdio, &refusal)),
                // Connecting says so.
                Err(_) => {}
            }
        }
        checks.extend(futures_util::future::join_all(runtimes.iter().map(|(program, runtime)| self.version(program, *runtime))).await);
        checks
    }

    fn found(&self, server: &ServerConfig, stdio: &StdioConfig, program: &Path) -> Check {
        let name = cell(&server.name);
        let shown = program.display();
        let child_path = child_path(stdio, &self.downstream.base_env);
        if let Some(interpreter) = interpreter(program)
            && find(&self.downstream.commands, &interpreter, child_path.clone()).is_none()
        {
            let own = program.with_file_name(&interpreter);
            let hint = match program.parent().filter(|_| own.exists()) {
                Some(dir) => in_entry_or_client(dir),
                None => "install it, or set `PATH` in the server's `env` to where it is".to_owned(),
            };
            let sentence = format!("`{shown}` needs `{interpreter}`, which is not in the PATH that the server gets");
            return Check::fail(Group::Programs, &name, sentence).hint(hint);
        }
        let dir = program.parent().unwrap_or(program);
        match places::owner(dir, self.home).filter(|_| is_bare(&stdio.command)) {
            Some(owner) => {
                let sentence = format!(
                    "it is `{shown}`, in a directory that {owner} has added to PATH; clients started from the desktop may not find it"
                );
                Check::warn(Group::Programs, &name, sentence).hint(in_client(dir))
            }
            None => Check::ok(Group::Programs, &name, format!("it is `{shown}`")),
        }
    }

    fn missing(&self, server: &ServerConfig, stdio: &StdioConfig, refusal: &Refusal) -> Check {
        let name = cell(&server.name);
        let hidden = is_bare(&stdio.command).then(|| self.hidden(&stdio.command, child_path(stdio, &self.downstream.base_env))).flatten();
        let Some((owner, program)) = hidden else {
            let install = Runtime::of(&stdio.command).filter(|_| is_bare(&stdio.command)).map(Runtime::install);
            let hint = install.map_or_else(|| refusal.hint.to_string(), str::to_owned);
            return Check::fail(Group::Programs, &name, format!("{} (rule `{}`)", refusal.what, refusal.rule.name())).hint(hint);
        };
        let dir = program.parent().unwrap_or(&program);
        let sentence = format!(
            "{}, but it is there: `{}` ({owner}); clients started from the desktop have a shorter PATH than your shell",
            refusal.what,
            program.display()
        );
        let hint = match server.origin {
            // The App's servers name programs, no paths.
            Origin::App => in_client(dir),
            Origin::File => {
                format!("{}; or write `\"command\": \"{}\"` and `\"env\": {}`", in_client(dir), program.display(), path_of(dir))
            }
        };
        Check::fail(Group::Programs, &name, sentence).hint(hint)
    }

    /// Where a program lies that is not in our `PATH`: in the one that the entry gives to its server, or where people install it.
    fn hidden(&self, command: &str, child_path: Option<OsString>) -> Option<(&'static str, PathBuf)> {
        let of_entry = || {
            Some((
                "the `PATH` in the server's `env` leads there, but commands are looked up in the proxy's",
                find(&self.downstream.commands, command, child_path)?,
            ))
        };
        let of_places = || {
            places::all(self.home)
                .into_iter()
                .find_map(|place| Some((place.owner, find(&self.downstream.commands, command, Some(place.dir.into()))?)))
        };
        of_places().or_else(of_entry)
    }

    async fn version(&self, program: &str, runtime: Runtime) -> Check {
        let name = cell(program);
        let command = match self.downstream.commands.allow(Author::Owner, program, &["--version".to_owned()], &IndexMap::new(), None) {
            Ok(command) => command,
            Err(refusal) => return Check::warn(Group::Programs, &name, refusal.to_string()).hint(runtime.install()),
        };
        let program = Program {
            server: ServerId::new("doctor"),
            origin: Origin::File,
            command,
            base_env: Arc::clone(&self.downstream.base_env),
            cwd: None,
        };
        match tokio::time::timeout(VERSION, stdio::first_line(program, &self.downstream.spawner)).await {
            Ok(Ok(said)) => runtime.judge(&name, &said),
            Ok(Err(error)) => Check::fail(Group::Programs, &name, error.to_string()).hint(runtime.install()),
            Err(_) => Check::fail(Group::Programs, &name, format!("`--version` says nothing within {} s", VERSION.as_secs()))
                .hint(runtime.install()),
        }
    }
}

pub(super) fn author(origin: Origin) -> Author {
    match origin {
        Origin::App => Author::App,
        Origin::File => Author::Owner,
    }
}

/// As the policy would with this `PATH`.
fn find(policy: &Policy, command: &str, path: Option<OsString>) -> Option<PathBuf> {
    let policy = Policy::new(crate::security::command::Config { path, ..policy.config().clone() });
    let allowed = policy.allow(Author::Owner, command, &[], &IndexMap::new(), None).ok()?;
    Some(allowed.program().to_owned())
}

fn is_bare(command: &str) -> bool {
    !command.contains(['/', '\\'])
}

/// The `PATH` that the server gets.
fn child_path(stdio: &StdioConfig, base_env: &[(OsString, OsString)]) -> Option<OsString> {
    let own = stdio.env.get("PATH").map(|path| path.expose_secret().into());
    own.or_else(|| base_env.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value.clone()))
}

/// What `#!/usr/bin/env NAME` names: `npx` is a script, and looks for `node` itself.
fn interpreter(program: &Path) -> Option<String> {
    let mut head = Vec::new();
    File::open(program).ok()?.take(FIRST_LINE).read_to_end(&mut head).ok()?;
    interpreter_in(&String::from_utf8_lossy(&head))
}

fn interpreter_in(head: &str) -> Option<String> {
    let words = head.strip_prefix("#!")?.lines().next()?;
    let mut words = words.split_whitespace().skip_while(|word| *word == "-S");
    if !words.next()?.ends_with("/env") {
        return None;
    }
    words.find(|word| !word.starts_with('-') && !word.contains('=')).map(str::to_owned)
}

fn path_of(dir: &Path) -> String {
    format!("{{\"PATH\": \"{}:{SYSTEM_PATH}\"}}", dir.display())
}

fn in_client(dir: &Path) -> String {
    format!("where your client starts this proxy, write `\"env\": {}`", path_of(dir))
}

fn in_entry_or_client(dir: &Path) -> String {
    format!("{}, or the same in the server's own entry", in_client(dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_name_what_runs_them() {
        for (head, expect) in [
            ("#!/usr/bin/env node\n// x", Some("node")),
            ("#! /usr/bin/env -S node --flag\n", Some("node")),
            ("#!/usr/bin/env A=1 python3\n", Some("python3")),
            ("#!/bin/sh\n", None),
            ("\u{7f}ELF", None),
            ("#!", None),
        ] {
            assert_eq!(interpreter_in(head).as_deref(), expect, "{head}");
        }
    }
}
