//! `pluggedin-mcp-proxy tools`: for people who want to see before they configure
//! a client. Takes the same path as serving.

use std::{fmt::Write, io::IsTerminal, sync::Arc, time::Duration};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::json;
use tokio::time::Instant;

use super::{
    App,
    terminal::{self, cell, to_stderr, to_stdout},
};
use crate::{
    catalog::{Catalog, Change, ListKind, Owner, integrity},
    downstream::{Connect, State, Status},
    protocol::server::{ServerConfig, ServerId},
    security::redact,
    source::{AppStatus, FileStatus, Snapshot},
};

/// The first start of an `npx` server downloads it.
const PATIENCE: Duration = Duration::from_secs(90);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Descriptions in the table are shown up to this length.
const DESCRIPTION: usize = 80;

/// Waits for every server's first attempt and shows what came of it. True if the
/// sources themselves are in order.
pub async fn run(app: &App, as_json: bool, accept: bool) -> bool {
    watch(app, |_| false).await;
    let snapshot = app.workspace.source.snapshot();
    let catalog = app.workspace.catalog.current();
    let servers = app.workspace.pool.servers();
    let problems = problems(&snapshot);
    for problem in &problems {
        to_stderr(&format!("problem: {problem}"));
    }
    if app.workspace.integrity.as_ref().is_some_and(|integrity| integrity.was_lost()) {
        to_stderr(&format!("warning: {}", integrity::LOST));
    }
    if snapshot.app == AppStatus::Unset && snapshot.file == FileStatus::Unset {
        to_stderr("hint: there are no servers yet; name a file with `--config`, set PLUGGEDIN_API_KEY, or run `pluggedin-mcp-proxy login`");
    }
    let text = if as_json { json_text(&catalog, &servers, &problems) } else { table(&catalog, &servers) };
    to_stdout(&text);
    problems.is_empty() && (!accept || accept_changes(app, &servers).await)
}

/// Trusts the tools of all connected servers as they are. What a server offers that cannot be reached is not known.
async fn accept_changes(app: &App, servers: &[(Arc<ServerConfig>, Status)]) -> bool {
    let Some(integrity) = app.workspace.integrity.clone() else {
        to_stderr("nothing to accept: there are no servers, or no directory for records");
        return true;
    };
    let connected = servers.iter().filter(|(_, status)| matches!(status.state, State::Ready { .. }));
    let connected: Vec<_> = connected.map(|(config, _)| config.id.clone()).collect();
    let away = servers.len() - connected.len();
    let outcome = tokio::task::spawn_blocking(move || integrity.accept(&connected)).await;
    match outcome.unwrap_or_else(|error| Err(error.into())) {
        Ok(count) => to_stderr(&format!("accepted {count} changed tool{}", if count == 1 { "" } else { "s" })),
        Err(error) => {
            to_stderr(&format!("error: what was accepted cannot be kept: {error}"));
            return false;
        }
    }
    if away > 0 {
        to_stderr(&format!("{away} of the servers could not be asked; nothing of theirs was accepted"));
    }
    true
}

/// Until every server has connected and said what it offers, or failed, or until
/// the catalog is `enough`.
pub(super) async fn watch(app: &App, enough: impl Fn(&Catalog) -> bool) {
    app.workspace.pool.begin(None);
    let lines = std::io::stderr().is_terminal().then(MultiProgress::new);
    let mut bars: Vec<(ServerId, ProgressBar)> = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    let connect = app.parts.downstream.connect;
    loop {
        let servers = app.workspace.pool.servers();
        let catalog = app.workspace.catalog.current();
        for (config, status) in &servers {
            if let Some(lines) = &lines {
                show(lines, &mut bars, config, status, &catalog, connect);
            }
        }
        let answered = app.workspace.source.snapshot().app != AppStatus::Loading;
        let all_done = answered && servers.iter().all(|(config, status)| is_done(&catalog, config, status, connect));
        if all_done || enough(&catalog) || Instant::now() >= deadline {
            return;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn is_done(catalog: &Catalog, config: &ServerConfig, status: &Status, connect: Connect) -> bool {
    match &status.state {
        State::Connecting => false,
        // Where servers are connected from the start, this one has not begun yet, or has been listed and stopped since.
        State::Idle if connect == Connect::Eager => is_listed(catalog, config),
        State::Idle => catalog.settled,
        State::Backoff { .. } | State::Open { .. } | State::Disabled { .. } => true,
        // Connected servers are done once they have been listed, too.
        State::Ready { .. } => is_listed(catalog, config),
    }
}

fn is_listed(catalog: &Catalog, config: &ServerConfig) -> bool {
    catalog.server(&config.id).is_some_and(|server| server.listed)
}

fn show(
    lines: &MultiProgress,
    bars: &mut Vec<(ServerId, ProgressBar)>,
    config: &ServerConfig,
    status: &Status,
    catalog: &Catalog,
    connect: Connect,
) {
    let position = bars.iter().position(|(id, _)| *id == config.id).unwrap_or_else(|| {
        let bar = lines.add(ProgressBar::new_spinner());
        bar.set_style(ProgressStyle::with_template("{spinner} {prefix}: {msg} ({elapsed})").expect("the template is a constant"));
        bar.set_prefix(cell(&config.name));
        bar.enable_steady_tick(Duration::from_millis(100));
        bars.push((config.id.clone(), bar));
        bars.len() - 1
    });
    let bar = &bars[position].1;
    if bar.is_finished() {
        return;
    }
    match status.error() {
        Some(error) => bar.abandon_with_message(format!("{}: {}", status.label(), cell(&error.to_string()))),
        None if is_done(catalog, config, status, connect) => bar.finish_with_message(format!("{} tools", count(catalog, &config.id))),
        None => bar.set_message(status.label()),
    }
}

fn problems(snapshot: &Snapshot) -> Vec<String> {
    let app = match &snapshot.app {
        AppStatus::Refused { message } | AppStatus::Away { message } => Some(message.clone()),
        AppStatus::Unset | AppStatus::Loading | AppStatus::Current => None,
    };
    let file = match &snapshot.file {
        FileStatus::Unset => Vec::new(),
        FileStatus::Current { problems } => problems.clone(),
        FileStatus::Broken { message } => vec![message.clone()],
    };
    app.into_iter().chain(file).collect()
}

fn count(catalog: &Catalog, server: &ServerId) -> usize {
    catalog.tools().filter(|(_, tool)| matches!(&tool.owner, Owner::Server(id) if id == server)).count()
}

fn took(status: &Status) -> Option<u128> {
    match &status.state {
        State::Ready { took, .. } => Some(took.as_millis()),
        _ => None,
    }
}

fn json_text(catalog: &Catalog, servers: &[(Arc<ServerConfig>, Status)], problems: &[String]) -> String {
    let rows: Vec<_> = servers
        .iter()
        .map(|(config, status)| {
            json!({
                "name": redact::redact(&config.name),
                "id": config.id.as_str(),
                "slug": catalog.server(&config.id).map(|server| &server.slug),
                "transport": config.transport.label(),
                "state": status.label(),
                "revision": status.link().map(|link| link.peer().revision.as_str()),
                "connectMs": took(status),
                "tools": count(catalog, &config.id),
                "error": status.error().map(|error| redact::redact(&error.to_string()).into_owned()),
                "lastWords": status.error().map(|_| status.last_words()),
            })
        })
        .collect();
    let tools: Vec<_> = catalog
        .descriptions(ListKind::Tools)
        .into_iter()
        .filter_map(|(name, description)| {
            let tool = catalog.tool(&name).ok()??;
            let server = match &tool.owner {
                Owner::Server(id) => Some(redact::redact(&catalog.server(id)?.name).into_owned()),
                Owner::Builtin | Owner::Unknown => None,
            };
            let changed = tool.change.map(|change| change.since.to_string());
            Some(json!({ "name": name, "server": server, "original": tool.original, "description": redact::redact(&description), "changed": changed }))
        })
        .collect();
    let changed: Vec<_> = changed(catalog)
        .map(|(name, change)| json!({ "name": name, "since": change.since.to_string(), "withheld": change.withheld }))
        .collect();
    terminal::json(&json!({ "servers": rows, "tools": tools, "changed": changed, "problems": problems }))
}

fn table(catalog: &Catalog, servers: &[(Arc<ServerConfig>, Status)]) -> String {
    let header = ["SERVER", "TRANSPORT", "STATE", "CONNECT", "TOOLS"].map(str::to_owned);
    let rows = servers.iter().map(|(config, status)| {
        let took = took(status).map_or_else(|| "-".to_owned(), |millis| format!("{millis} ms"));
        [cell(&config.name), config.transport.label().to_owned(), status.label().to_owned(), took, count(catalog, &config.id).to_string()]
    });
    let rows: Vec<_> = std::iter::once(header).chain(rows).collect();
    let mut text = columns(&rows);
    for (config, status) in servers {
        if let Some(error) = status.error() {
            let _ = write!(text, "\n{}: {}", cell(&config.name), cell(&error.to_string()));
            for line in status.last_words() {
                let _ = write!(text, "\n{}: it last wrote: {}", cell(&config.name), cell(&line));
            }
        }
    }
    let names = catalog
        .descriptions(ListKind::Tools)
        .into_iter()
        .map(|(name, description)| [cell(&name), redact::quote(description.lines().next().unwrap_or_default(), DESCRIPTION)]);
    let rows: Vec<_> = std::iter::once(["TOOL".to_owned(), "DESCRIPTION".to_owned()]).chain(names).collect();
    let mut text = format!("{text}\n\n{}", columns(&rows));
    for (name, Change { since, withheld }) in changed(catalog) {
        let withheld = if withheld { ", withheld" } else { "" };
        let _ = write!(text, "\n{}: changed since {since}{withheld}", cell(name));
    }
    if changed(catalog).next().is_some() {
        text.push_str("\nhint: accept the changed tools as they are with `pluggedin-mcp-proxy tools --accept`");
    }
    text
}

/// Tools that are not what they were.
fn changed(catalog: &Catalog) -> impl Iterator<Item = (&str, Change)> {
    catalog.tools().filter_map(|(name, tool)| Some((name, tool.change?)))
}

/// Rows as columns, two blanks apart.
fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}
