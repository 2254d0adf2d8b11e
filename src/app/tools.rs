//! `pluggedin-mcp-proxy tools`: for people who want to see before they configure
//! a client. Takes the same path as serving.

use std::{fmt::Write, io::IsTerminal, sync::Arc, time::Duration};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::json;
use tokio::time::Instant;

use super::App;
use crate::{
    catalog::{Catalog, ListKind, Owner},
    downstream::{State, Status},
    protocol::server::{ServerConfig, ServerId},
    source::{AppStatus, FileStatus, Snapshot},
};

/// The first start of an `npx` server downloads it.
const PATIENCE: Duration = Duration::from_secs(90);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Waits for every server's first attempt and shows what came of it. True if the
/// sources themselves are in order.
pub async fn run(app: &App, as_json: bool) -> bool {
    watch(app, |_| false).await;
    let snapshot = app.workspace.source.snapshot();
    let catalog = app.workspace.catalog.current();
    let servers = app.workspace.pool.servers();
    let problems = problems(&snapshot);
    for problem in &problems {
        super::call::to_stderr(&format!("problem: {problem}"));
    }
    if snapshot.app == AppStatus::Unset && snapshot.file == FileStatus::Unset {
        super::call::to_stderr("hint: there are no servers yet; name a file with `--config`, or set PLUGGEDIN_API_KEY");
    }
    let text = if as_json { json_text(&catalog, &servers, &problems) } else { table(&catalog, &servers) };
    super::call::to_stdout(&text);
    problems.is_empty()
}

/// Until every server has connected and said what it offers, or failed, or until
/// the catalog is `enough`.
pub(super) async fn watch(app: &App, enough: impl Fn(&Catalog) -> bool) {
    app.workspace.pool.begin();
    let lines = std::io::stderr().is_terminal().then(MultiProgress::new);
    let mut bars: Vec<(ServerId, ProgressBar)> = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let servers = app.workspace.pool.servers();
        let catalog = app.workspace.catalog.current();
        for (config, status) in &servers {
            if let Some(lines) = &lines {
                show(lines, &mut bars, config, status, &catalog);
            }
        }
        let answered = app.workspace.source.snapshot().app != AppStatus::Loading;
        let all_done = answered && servers.iter().all(|(config, status)| is_done(&catalog, config, status));
        if all_done || enough(&catalog) || Instant::now() >= deadline {
            return;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn is_done(catalog: &Catalog, config: &ServerConfig, status: &Status) -> bool {
    match &status.state {
        State::Connecting => false,
        State::Idle => catalog.settled,
        State::Backoff { .. } | State::Disabled { .. } => true,
        // Connected servers are done once they have been listed, too.
        State::Ready { .. } => catalog.server(&config.id).is_some_and(|server| server.listed),
    }
}

fn show(lines: &MultiProgress, bars: &mut Vec<(ServerId, ProgressBar)>, config: &ServerConfig, status: &Status, catalog: &Catalog) {
    let position = bars.iter().position(|(id, _)| *id == config.id).unwrap_or_else(|| {
        let bar = lines.add(ProgressBar::new_spinner());
        bar.set_style(ProgressStyle::with_template("{spinner} {prefix}: {msg} ({elapsed})").expect("the template is a constant"));
        bar.set_prefix(config.name.clone());
        bar.enable_steady_tick(Duration::from_millis(100));
        bars.push((config.id.clone(), bar));
        bars.len() - 1
    });
    let bar = &bars[position].1;
    if bar.is_finished() {
        return;
    }
    match status.error() {
        Some(error) => bar.abandon_with_message(format!("{}: {error}", status.label())),
        None if is_done(catalog, config, status) => bar.finish_with_message(format!("{} tools", count(catalog, &config.id))),
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
                "name": config.name,
                "id": config.id.as_str(),
                "slug": catalog.server(&config.id).map(|server| &server.slug),
                "transport": config.transport.label(),
                "state": status.label(),
                "connectMs": took(status),
                "tools": count(catalog, &config.id),
                "error": status.error().map(ToString::to_string),
            })
        })
        .collect();
    let tools: Vec<_> = catalog
        .descriptions(ListKind::Tools)
        .into_iter()
        .filter_map(|(name, description)| {
            let tool = catalog.tool(&name).ok()??;
            let server = match &tool.owner {
                Owner::Server(id) => Some(catalog.server(id)?.name.clone()),
                Owner::Builtin | Owner::Unknown => None,
            };
            Some(json!({ "name": name, "server": server, "original": tool.original, "description": description }))
        })
        .collect();
    serde_json::to_string_pretty(&json!({ "servers": rows, "tools": tools, "problems": problems })).expect("this is JSON")
}

fn table(catalog: &Catalog, servers: &[(Arc<ServerConfig>, Status)]) -> String {
    let header = ["SERVER", "TRANSPORT", "STATE", "CONNECT", "TOOLS"].map(str::to_owned);
    let rows = servers.iter().map(|(config, status)| {
        let took = took(status).map_or_else(|| "-".to_owned(), |millis| format!("{millis} ms"));
        [config.name.clone(), config.transport.label().to_owned(), status.label().to_owned(), took, count(catalog, &config.id).to_string()]
    });
    let rows: Vec<_> = std::iter::once(header).chain(rows).collect();
    let mut text = columns(&rows);
    for (config, status) in servers {
        if let Some(error) = status.error() {
            let _ = write!(text, "\n{}: {error}", config.name);
        }
    }
    let names = catalog.descriptions(ListKind::Tools).into_iter().map(|(name, description)| {
        let line: String = description.lines().next().unwrap_or_default().chars().take(80).collect();
        [name, line]
    });
    let rows: Vec<_> = std::iter::once(["TOOL".to_owned(), "DESCRIPTION".to_owned()]).chain(names).collect();
    format!("{text}\n\n{}", columns(&rows))
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
