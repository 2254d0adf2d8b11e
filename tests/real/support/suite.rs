//! The official conformance suite: runs it, and reads what it found.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    fs,
    path::Path,
    process::Stdio,
};

use anyhow::{Context, Result};
use futures_util::future::try_join_all;
use serde::Deserialize;
use tokio::{process::Command, sync::Semaphore};

use super::{published::Node, within};

/// How many runs there are at once. The suite gives some answers half a second, and a machine with two cores has no more to give.
static TURNS: Semaphore = Semaphore::const_new(2);

/// Which scenarios are run, in the words of the suite's own command line.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Scenarios {
    /// Of a revision that has a list: what it asks for, and what came later and does not count.
    Required(&'static str),
    /// All that know this revision.
    Of(&'static str),
    /// What no list has, at the newest revision.
    Named(&'static [&'static str]),
}

impl Scenarios {
    /// The command lines that run them; they do not disturb each other.
    fn commands(self) -> Vec<Vec<&'static str>> {
        match self {
            Self::Required(revision) => vec![vec!["--requirements", revision]],
            Self::Of(revision) => vec![vec!["--suite", "all", "--spec-version", revision]],
            Self::Named(names) => names.iter().map(|name| vec!["--scenario", *name, "--spec-version", "2026-07-28", "--force"]).collect(),
        }
    }
}

/// What the suite found: by scenario and check how it ended, and what was said. A check can stand several times.
#[derive(Debug, Default)]
pub(crate) struct Report(BTreeMap<(String, String), BTreeSet<Outcome>>);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Outcome {
    pub(crate) status: Status,
    message: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Status {
    Success,
    /// Something that the suite saw, or a feature that is not there and need not be.
    Info,
    Skipped,
    Warning,
    Failure,
}

/// A check that need not be as good behind the proxy as it is directly. A scenario that ends in `*` stands for all that begin so, and
/// the check `*` for all of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exception {
    scenario: &'static str,
    check: &'static str,
    holds: Holds,
    why: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    Always,
    /// Only for what the suite notes and does not judge, and not every time.
    ForNotes,
    Sometimes,
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
    /// Of the server at this address; `None` where this machine cannot have the suite.
    pub(crate) async fn of_server(node: &Node, url: &str, scenarios: Scenarios) -> Result<Option<Self>> {
        let Some((runtime, suite)) = node.suite() else { return Ok(None) };
        let runs = scenarios.commands().into_iter().map(async |scenarios| {
            let mut command = Command::new(&runtime);
            command.arg(&suite).args(["server", "--url", url]).args(scenarios);
            Self::of(command).await
        });
        Ok(Some(try_join_all(runs).await?.into_iter().fold(Self::default(), Self::and)))
    }

    /// Of the client that this command line starts, in one scenario; `None` where this machine cannot have the suite.
    pub(crate) async fn of_client(node: &Node, client: &str, scenario: &str, revision: &str) -> Result<Option<Self>> {
        let Some((runtime, suite)) = node.suite() else { return Ok(None) };
        let mut command = Command::new(runtime);
        // Without `--force` there would be no extensions.
        command.arg(suite).args(["client", "--command", client, "--scenario", scenario, "--spec-version", revision, "--force"]);
        Self::of(command).await.map(Some)
    }

    async fn of(mut command: Command) -> Result<Self> {
        let _turn = TURNS.acquire().await?;
        let results = tempfile::tempdir()?;
        // A client that the suite gives up leaves there what it has.
        let scratch = tempfile::tempdir()?;
        command.env("TMPDIR", scratch.path());
        command.arg("--output-dir").arg(results.path());
        // How it ends says less than the results, which are all read.
        let output = within("end of the suite", command.stdin(Stdio::null()).kill_on_drop(true).output()).await??;
        Self::read(results.path()).with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Reads `server-{scenario}-{time}/checks.json` for every scenario, or `{scenario}-{time}/checks.json` where a client is judged.
    fn read(results: &Path) -> Result<Self> {
        /// `-2026-01-31T12-00-00-000Z`
        const TIME: usize = 25;

        let mut report = BTreeMap::<_, BTreeSet<_>>::new();
        for entry in fs::read_dir(results)? {
            let folder = entry?.path();
            let name = folder.file_name().and_then(|name| name.to_str()).context("scenarios have names")?;
            let scenario = name.len().checked_sub(TIME).and_then(|end| name.get(..end));
            let scenario = scenario
                .map(|name| name.strip_prefix("server-").unwrap_or(name))
                .with_context(|| format!("not the results of a scenario: {name}"))?;
            for check in serde_json::from_slice::<Vec<Check>>(&fs::read(folder.join("checks.json"))?)? {
                let outcome = Outcome { status: check.status, message: check.error_message };
                report.entry((scenario.to_owned(), check.id)).or_default().insert(outcome);
            }
        }
        Ok(Self(report))
    }

    fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    pub(crate) fn scenarios(&self) -> BTreeSet<&str> {
        self.0.keys().map(|(scenario, _)| scenario.as_str()).collect()
    }

    /// How a check ended: the worst where it stands several times.
    pub(crate) fn outcome(&self, check: &(String, String)) -> Option<&Outcome> {
        self.0.get(check)?.last()
    }

    /// What is worse here than in the direct report, one a line, and the exceptions that are none.
    pub(crate) fn worse_than_directly(&self, direct: &Self, exceptions: &[Exception]) -> String {
        let worse = self.worse(direct);
        let mut lines = String::new();
        for (check, status, message) in &worse {
            if !exceptions.iter().any(|exception| exception.covers(check, *status)) {
                line(&mut lines, check, *status, *message);
            }
        }
        for exception in exceptions {
            let Exception { scenario, check, holds, why } = exception;
            if *holds == Holds::Always && !worse.iter().any(|(check, status, _)| exception.covers(check, *status)) {
                writeln!(lines, "{scenario}: {check}: as good as directly, though: {why}").expect("a string can be written to");
            }
        }
        lines
    }

    fn worse<'a>(&'a self, direct: &'a Self) -> Vec<(&'a (String, String), Status, Option<&'a str>)> {
        let mut worse = Vec::new();
        for (check, expected) in direct.worst() {
            match self.outcome(check) {
                Some(found) if found.status > expected.status => worse.push((check, found.status, found.message.as_deref())),
                // What the suite only notes may stand in one report and not in the other.
                None if expected.status == Status::Success => worse.push((check, Status::Failure, Some("checked directly, and not here"))),
                _ => {}
            }
        }
        // Something that only happens on the way through the proxy.
        for (check, found) in self.worst() {
            if direct.outcome(check).is_none() && found.status > Status::Info {
                worse.push((check, found.status, found.message.as_deref()));
            }
        }
        worse
    }

    fn worst(&self) -> impl Iterator<Item = (&(String, String), &Outcome)> {
        self.0.iter().filter_map(|(check, outcomes)| Some((check, outcomes.last()?)))
    }

    /// The checks that did not go as well as they may, one a line.
    pub(crate) fn worse_than(&self, may: impl Fn(&(String, String)) -> Status) -> String {
        let mut worse = String::new();
        for (check, outcomes) in &self.0 {
            for Outcome { status, message } in outcomes.iter().filter(|outcome| outcome.status > may(check)) {
                line(&mut worse, check, *status, message.as_deref());
            }
        }
        worse
    }
}

impl Exception {
    /// Cannot pass, and is noticed once it does.
    pub(crate) const fn never(scenario: &'static str, check: &'static str, why: &'static str) -> Self {
        Self { scenario, check, holds: Holds::Always, why }
    }

    /// May come out as something that the suite notes and does not judge.
    pub(crate) const fn noted(scenario: &'static str, check: &'static str, why: &'static str) -> Self {
        Self { scenario, check, holds: Holds::ForNotes, why }
    }

    /// Passes or not, as it comes.
    pub(crate) const fn sometimes(scenario: &'static str, check: &'static str, why: &'static str) -> Self {
        Self { scenario, check, holds: Holds::Sometimes, why }
    }

    pub(crate) fn is_of(&self, scenario: &str) -> bool {
        match self.scenario.strip_suffix('*') {
            Some(start) => scenario.starts_with(start),
            None => scenario == self.scenario,
        }
    }

    fn covers(&self, (scenario, check): &(String, String), status: Status) -> bool {
        self.is_of(scenario) && (self.check == "*" || check == self.check) && (self.holds != Holds::ForNotes || status == Status::Info)
    }
}

fn line(lines: &mut String, (scenario, check): &(String, String), status: Status, message: Option<&str>) {
    let message = message.unwrap_or("nothing was said");
    writeln!(lines, "{scenario}: {check}: {status:?}: {message}").expect("a string can be written to");
}
