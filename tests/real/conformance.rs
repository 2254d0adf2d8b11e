//! The server scenarios of the official conformance suite: the reference server passes all of them, and what it passes directly, it
//! passes behind the proxy.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    fs,
    path::Path,
    process::Stdio,
};

use anyhow::{Context, Result};
use serde::Deserialize;
use tokio::{process::Command, sync::OnceCell};

use super::support::{front::Front, published::Node, reference::Reference, within};

/// The newest revision whose scenarios open a session.
const REVISION: &str = "2025-11-25";

/// Its scenarios in the pinned version of the suite: 30 that count for conformance, and 3 that came later.
const SCENARIOS: usize = 33;

/// `(scenario, check)` that the suite leaves to a server, which it then notes and does not judge. The proxy is a server of its own:
const NOT_OURS: [(&str, &str); 2] = [
    // A stream that the server closes is none of the proxy's clients', who get their answer on the stream that they have.
    ("server-sse-polling", "server-sse-disconnect-resume"),
    // Quick calls are answered without a stream.
    ("server-sse-multiple-streams", "server-sse-streams-functional"),
];

/// What the suite found at one address: by scenario and check how it ended, and what was said. A check can stand several times.
#[derive(Debug)]
struct Report(BTreeMap<(String, String), BTreeSet<Outcome>>);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Outcome {
    status: Status,
    message: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Status {
    Success,
    /// Something that the suite saw, or a feature that is not there and need not be.
    Info,
    Skipped,
    Warning,
    Failure,
}

/// One entry of `checks.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Check {
    id: String,
    status: Status,
    error_message: Option<String>,
}

impl Report {
    async fn of(node: &Node, url: &str) -> Result<Option<Self>> {
        let Some((runtime, suite)) = node.suite() else {
            return Ok(None);
        };
        let results = tempfile::tempdir()?;
        let mut command = Command::new(runtime);
        command.arg(suite).args(["server", "--requirements", REVISION, "--url", url, "--output-dir"]).arg(results.path());
        // How it ends says less than the results, which are all read.
        within("end of the suite", command.stdin(Stdio::null()).kill_on_drop(true).output()).await??;
        Self::read(results.path()).map(Some)
    }

    /// Reads `server-{scenario}-{time}/checks.json` for every scenario.
    fn read(results: &Path) -> Result<Self> {
        /// `-2026-01-31T12-00-00-000Z`
        const TIME: usize = 25;

        let mut report = BTreeMap::<_, BTreeSet<_>>::new();
        for entry in fs::read_dir(results)? {
            let folder = entry?.path();
            let name = folder.file_name().and_then(|name| name.to_str()).context("scenarios have names")?;
            let scenario = name.strip_prefix("server-").and_then(|name| name.get(..name.len().checked_sub(TIME)?));
            let scenario = scenario.with_context(|| format!("not the results of a scenario: {name}"))?;
            for check in serde_json::from_slice::<Vec<Check>>(&fs::read(folder.join("checks.json"))?)? {
                let outcome = Outcome { status: check.status, message: check.error_message };
                report.entry((scenario.to_owned(), check.id)).or_default().insert(outcome);
            }
        }
        Ok(Self(report))
    }

    fn scenarios(&self) -> BTreeSet<&str> {
        self.0.keys().map(|(scenario, _)| scenario.as_str()).collect()
    }

    /// How a check ended: the worst where it stands several times.
    fn outcome(&self, check: &(String, String)) -> Option<&Outcome> {
        self.0.get(check)?.last()
    }

    /// The checks that did not go as well as they may, one a line.
    fn worse_than(&self, may: impl Fn(&(String, String)) -> Status) -> String {
        let mut worse = String::new();
        for (check, outcomes) in &self.0 {
            for Outcome { status, message } in outcomes.iter().filter(|outcome| outcome.status > may(check)) {
                let (scenario, id) = check;
                let message = message.as_deref().unwrap_or("nothing was said");
                writeln!(worse, "{scenario}: {id}: {status:?}: {message}").expect("a string can be written to");
            }
        }
        worse
    }
}

/// The reference server's own report, made once for both tests; `None` where this machine cannot have the suite.
async fn direct(node: &Node) -> Result<&'static Option<Report>> {
    static DIRECT: OnceCell<Option<Report>> = OnceCell::const_new();
    DIRECT
        .get_or_try_init(async || {
            let reference = Reference::start(node).await?;
            Report::of(node, reference.url()).await
        })
        .await
}

#[tokio::test]
async fn the_reference_server_passes() -> Result<()> {
    let Some(node) = Node::installed() else { return Ok(()) };
    let Some(direct) = direct(node).await? else { return Ok(()) };
    assert_eq!(direct.scenarios().len(), SCENARIOS, "{:?}", direct.scenarios());
    let worse = direct.worse_than(|_| Status::Info);
    assert!(worse.is_empty(), "the reference server is wrong, or the suite has changed:\n{worse}");
    Ok(())
}

#[tokio::test]
async fn the_proxy_passes_what_the_reference_server_passes() -> Result<()> {
    let Some(node) = Node::installed() else { return Ok(()) };
    let reference = Reference::start(node).await?;
    let front = Front::start(&reference, &[]).await?;
    let url = front.url();
    let (direct, proxied) = tokio::try_join!(direct(node), Report::of(node, &url))?;
    let (Some(direct), Some(proxied)) = (direct, proxied) else { return Ok(()) };

    assert_eq!(proxied.scenarios(), direct.scenarios());
    let missing = direct.0.keys().filter(|check| direct.outcome(check).is_some_and(|outcome| outcome.status == Status::Success));
    let missing = missing.filter(|check| !proxied.0.contains_key(check)).collect::<Vec<_>>();
    assert!(missing.is_empty(), "checked directly, and not through the proxy: {missing:?}\n{}", proxied.worse_than(|_| Status::Info));

    let worse = proxied.worse_than(|check| match direct.outcome(check) {
        _ if NOT_OURS.contains(&(check.0.as_str(), check.1.as_str())) => Status::Info,
        Some(outcome) => outcome.status,
        // Something that only happens on the way through the proxy.
        None => Status::Info,
    });
    assert!(worse.is_empty(), "worse through the proxy than directly:\n{worse}");
    front.close().await
}
