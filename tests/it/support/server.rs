//! Scripted servers as a configuration names them: a command to start, or the URL of one that runs in this process.

use crate::scripted::{Running, Script};
use clap::Parser;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A way to reach a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Stdio,
    Http,
    HttpJson,
    Sse,
}

#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    flags: Vec<String>,
    /// Absent where the proxy starts the server.
    running: Option<Running>,
}

impl Server {
    /// A server with the flags of [`Script`]. One of the HTTP kinds runs from now on.
    pub(crate) fn new(kind: Kind, name: &str, flags: &[&str]) -> Self {
        let wire: &[&str] = match kind {
            Kind::Stdio => &[],
            Kind::Http => &["--wire=http"],
            Kind::HttpJson => &["--wire=http", "--json-answers"],
            Kind::Sse => &["--wire=sse"],
        };
        let name_flag = format!("--name={name}");
        let flags: Vec<String> = [name_flag.as_str()].iter().chain(wire).chain(flags).map(|flag| (*flag).to_owned()).collect();
        let running = (kind != Kind::Stdio).then(|| {
            let program = "scripted-server".to_owned();
            Running::start(Script::parse_from([program].iter().chain(&flags)))
        });
        Self { name: name.to_owned(), kind, flags, running }
    }

    pub(crate) fn stdio(name: &str, flags: &[&str]) -> Self {
        Self::new(Kind::Stdio, name, flags)
    }

    pub(crate) fn http(name: &str, flags: &[&str]) -> Self {
        Self::new(Kind::Http, name, flags)
    }

    pub(crate) fn sse(name: &str, flags: &[&str]) -> Self {
        Self::new(Kind::Sse, name, flags)
    }

    /// The server of an HTTP kind, to look at or to disturb.
    #[track_caller]
    pub(crate) fn running(&self) -> &Running {
        self.running.as_ref().expect("it is of an HTTP kind")
    }

    #[track_caller]
    pub(crate) fn running_mut(&mut self) -> &mut Running {
        self.running.as_mut().expect("it is of an HTTP kind")
    }

    /// Its entry in an `mcpServers` file.
    pub(crate) fn entry(&self) -> Value {
        match self.kind {
            Kind::Stdio => json!({"command": program(), "args": self.flags}),
            Kind::Http | Kind::HttpJson => json!({"type": "http", "url": self.running().url()}),
            Kind::Sse => json!({"type": "sse", "url": self.running().url()}),
        }
    }

    /// Its UUID in the App, always the same for the same name.
    pub(crate) fn uuid(&self) -> String {
        let hash = self.name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        format!("5c41b7ed-0000-4000-8000-{:012x}", hash >> 16)
    }

    /// Its record in the App.
    pub(crate) fn record(&self) -> Value {
        let mut record = json!({
            "uuid": self.uuid(),
            "name": self.name,
            "description": null,
            "type": "STDIO",
            "command": null,
            "args": null,
            "env": null,
            "url": null,
            "url_encrypted": null,
            "created_at": "2026-01-01T12:00:00.000Z",
            "profile_uuid": "22222222-2222-4222-8222-222222222222",
            "status": "ACTIVE",
            "source": "PLUGGEDIN",
            "external_id": null,
            "notes": null,
            "config": null,
            "slug": self.slug(),
            "encryption_salt": null,
        });
        match self.kind {
            Kind::Stdio => {
                record["command"] = json!(program());
                record["args"] = json!(self.flags);
            }
            Kind::Http | Kind::HttpJson => {
                record["type"] = json!("STREAMABLE_HTTP");
                record["url"] = json!(self.running().url());
            }
            Kind::Sse => {
                record["type"] = json!("SSE");
                record["url"] = json!(self.running().url());
            }
        }
        record
    }

    /// The slug that the App gives to the name.
    pub(crate) fn slug(&self) -> String {
        let kept = self.name.to_lowercase().replace(|letter: char| !matches!(letter, 'a'..='z' | '0'..='9' | ' ' | '-'), "");
        kept.split([' ', '-']).filter(|word| !word.is_empty()).collect::<Vec<_>>().join("-")
    }

    /// The name under which the proxy shows one of its tools.
    pub(crate) fn tool(&self, tool: &str) -> String {
        format!("{}__{tool}", self.slug())
    }
}

/// A configuration file with these servers under their names.
pub(crate) fn file_of(servers: &[&Server]) -> Value {
    let entries: Map<String, Value> = servers.iter().map(|server| (server.name.clone(), server.entry())).collect();
    json!({"mcpServers": entries})
}

/// The scripted server as a program, which Cargo puts beside the tests.
pub(crate) fn program() -> PathBuf {
    let tests = std::env::current_exe().expect("this program has a path");
    let profile = tests.ancestors().nth(2).expect("tests are in target/<profile>/deps");
    let program = profile.join("examples").join("scripted-server").with_extension(std::env::consts::EXE_EXTENSION);
    assert!(
        modified(&program) >= last_change(),
        "{} is missing or old; `cargo test` builds it, and so does `cargo build --example scripted-server`",
        program.display(),
    );
    program
}

/// When the program's source was changed last.
fn last_change() -> Option<SystemTime> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    let parts = std::fs::read_dir(tests.join("scripted")).into_iter().flatten();
    let parts = parts.filter_map(|entry| modified(&entry.ok()?.path()));
    parts.chain(modified(&tests.join("scripted.rs"))).max()
}

fn modified(file: &Path) -> Option<SystemTime> {
    let metadata = file.metadata().ok()?;
    metadata.modified().ok()
}
