//! `pluggedin-mcp-proxy doctor`: looks at everything that serving needs, and says what is wrong and what to do about it. It uses the parts
//! that serve, under the same rules: what another way would find proves nothing.
//!
//! The report goes to standard output, what is under way to standard error. Nothing is kept, changed or mended.

mod app;
mod clock;
mod files;
mod key;
mod places;
mod port;
mod programs;
mod report;
mod servers;
mod versions;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use secrecy::ExposeSecret;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{
    programs::Search,
    report::{Check, Group, Report},
    servers::Bench,
};
use super::terminal::{to_stderr, to_stdout};
use crate::{
    config::{Doctor, Parts},
    protocol::server::{Origin, TransportConfig},
    secret::Secret,
    security::redact,
    shutdown::Signals,
    source::{
        AppStatus, Snapshot, Source, SourceHandle,
        app::{AppClient, Probe},
    },
};

/// The App has answered once by then: it lists its servers' tools as well.
const LISTS: Duration = Duration::from_secs(15);

/// As when serving ends.
const FAREWELL: Duration = Duration::from_secs(5);

/// Looks, and prints the report. True if nothing failed.
pub async fn run(doctor: &Doctor, parts: Parts) -> bool {
    let (tracker, token) = (TaskTracker::new(), CancellationToken::new());
    let signals = Signals::default();
    tracker.spawn({
        let (signals, token) = (signals.clone(), token.clone());
        // Where signals cannot be received, they end the process as they always do.
        async move { drop(signals.watch(&token).await) }
    });
    let report = tokio::select! {
        // What was finished counts, even if a signal came with it.
        biased;
        report = examine(doctor, parts, &tracker, &token) => Some(report),
        () = signals.asked.cancelled() => None,
    };
    token.cancel();
    tracker.close();
    let _ = tokio::time::timeout(FAREWELL, tracker.wait()).await;
    let Some(report) = report else {
        to_stderr("interrupted");
        return false;
    };
    to_stdout(&if doctor.json { report.to_json() } else { report.to_text() });
    report.is_ok()
}

async fn examine(doctor: &Doctor, parts: Parts, tracker: &TaskTracker, token: &CancellationToken) -> Report {
    let source = Source::start(parts.source.clone(), tracker, token);
    let client = source.app();
    let (probe, port) = tokio::join!(ask(client.as_ref()), port::check(&doctor.listens));
    let snapshot = settled(&source, probe.as_ref()).await;
    // Held until the end, so that nothing of them is shown.
    let _secrets = secrets(&snapshot);

    let mut report = Report::default();
    report.extend(settings(doctor));
    report.extend(key::checks(doctor, parts.source.file.is_some(), probe.as_ref().map(|(probe, _)| probe)));
    match &probe {
        Some((probe, asked)) => {
            report.extend(app::checks(doctor, probe));
            report.extend(app::lists(probe, &snapshot.app));
            report.extend(probe.date.map(|date| clock::check(date, *asked)));
        }
        None => report.extend([app::not_asked(doctor)]),
    }
    if let Some(file) = &parts.source.file {
        let count = snapshot.servers.iter().filter(|server| server.origin == Origin::File).count();
        report.extend(files::servers(&file.path, &snapshot.file, count));
    }
    report.extend(files::credentials(&doctor.account.file));
    report.extend(files::directories(&parts));
    let search = Search { downstream: &parts.downstream, home: doctor.home.as_deref() };
    report.extend(search.checks(&snapshot.servers).await);
    report.extend(of_servers(doctor, parts, &snapshot, tracker, token).await);
    report.extend([port]);
    report
}

/// The App's answer, and this machine's time in the middle of the question.
async fn ask(client: Option<&AppClient>) -> Option<(Probe, SystemTime)> {
    let client = client?;
    let begun = SystemTime::now();
    to_stderr(&format!("asking the App at {}", client.base_url()));
    let probe = client.probe().await;
    let middle = begun + probe.took / 2;
    Some((probe, middle))
}

/// What the sources say once the App has answered, if it does.
async fn settled(source: &SourceHandle, probe: Option<&(Probe, SystemTime)>) -> Arc<Snapshot> {
    let mut snapshots = source.snapshots();
    if probe.is_some_and(|(probe, _)| probe.servers.is_ok()) {
        let answered = snapshots.wait_for(|snapshot| snapshot.app != AppStatus::Loading);
        // It has just answered; what fails now is told as well.
        let _ = tokio::time::timeout(LISTS, answered).await.is_ok();
    }
    source.snapshot()
}

/// What stands in addresses and command lines, for the redactor.
fn secrets(snapshot: &Snapshot) -> Vec<Secret> {
    let of_server = |transport: &TransportConfig| match transport {
        TransportConfig::Http(http) => redact::secrets_of_url(&http.url),
        TransportConfig::Stdio(stdio) => redact::secrets_of_args(&stdio.args),
    };
    snapshot.servers.iter().flat_map(|server| of_server(&server.transport)).filter(|secret| !secret.expose_secret().is_empty()).collect()
}

fn settings(doctor: &Doctor) -> Vec<Check> {
    const NAME: &str = "options and variables";
    if doctor.problems.is_empty() && doctor.warnings.is_empty() {
        return vec![Check::ok(Group::Settings, NAME, "they can be used")];
    }
    let problems = doctor
        .problems
        .iter()
        .map(|problem| Check::fail(Group::Settings, NAME, problem).hint("correct it; the proxy does not start before"));
    problems.chain(doctor.warnings.iter().map(|warning| Check::warn(Group::Settings, NAME, warning))).collect()
}

async fn of_servers(doctor: &Doctor, parts: Parts, snapshot: &Snapshot, tracker: &TaskTracker, token: &CancellationToken) -> Vec<Check> {
    if !doctor.starts() {
        // SECURITY: wrong settings may be those that say what may be started.
        return vec![Check::warn(Group::Servers, "none", "they are not connected to before key and settings are right")];
    }
    if snapshot.servers.is_empty() {
        return vec![Check::ok(Group::Servers, "none", "there are no servers to look at")];
    }
    let bench = Bench { downstream: parts.downstream, patience: doctor.patience, tracker: tracker.clone(), token: token.clone() };
    bench.checks(&snapshot.servers).await
}
