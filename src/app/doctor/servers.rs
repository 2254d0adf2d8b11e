//! Every server as serving would use it: it is connected to, asked for its lists, and sent one ping.
//!
//! Each has a pool of its own, which ends before its outcome is told: no other server waits for it, nothing is tried again behind the
//! report, and its last words are complete.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::Semaphore,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::report::{Check, Group};
use crate::{
    app::terminal::{cell, to_stderr},
    downstream::{self, Connect, ConnectError, Link, LinkError, ListKind, Pool, Status, Unavailable},
    protocol::{
        message::Kind,
        server::{Origin, ServerConfig, ServerId, TransportConfig},
    },
};

/// More would fight for the machine, and then all of them are slow.
const AT_ONCE: usize = 4;

/// How long a child may take to end: as long as when the proxy itself does.
const FAREWELL: Duration = Duration::from_secs(4);

/// Whose turn it is.
#[derive(Debug)]
struct Turns {
    places: Semaphore,
    done: AtomicUsize,
    total: usize,
}

/// What all checks of servers share.
#[derive(Debug, Clone)]
pub(super) struct Bench {
    pub(super) downstream: downstream::Config,
    pub(super) patience: Duration,
    pub(super) tracker: TaskTracker,
    /// Cancelled when a signal comes.
    pub(super) token: CancellationToken,
}

impl Bench {
    /// A few at a time, with a line on standard error when each begins and ends.
    pub(super) async fn checks(&self, servers: &[Arc<ServerConfig>]) -> Vec<Check> {
        let turns = Arc::new(Turns { places: Semaphore::new(AT_ONCE), done: AtomicUsize::new(0), total: servers.len() });
        let start = |config: &Arc<ServerConfig>| {
            let (bench, config, turns) = (self.clone(), Arc::clone(config), Arc::clone(&turns));
            // A task of its own, so that a signal leaves no child behind.
            self.tracker.spawn(async move { bench.take_turn(config, &turns).await })
        };
        let tasks: Vec<_> = servers.iter().map(start).collect();
        let mut checks = Vec::new();
        for (task, config) in tasks.into_iter().zip(servers) {
            let of_server = task.await;
            checks.extend(of_server.unwrap_or_else(|_| vec![Check::fail(Group::Servers, &cell(&config.name), "looking at it went wrong")]));
        }
        checks
    }

    async fn take_turn(self, config: Arc<ServerConfig>, turns: &Turns) -> Vec<Check> {
        let _place = turns.places.acquire().await;
        let name = cell(&config.name);
        to_stderr(&format!("{name}: connecting"));
        let checks = self.examine(config).await;
        let done = turns.done.fetch_add(1, Ordering::Relaxed) + 1;
        let telling = checks.iter().find(|check| check.has_failed()).or(checks.last());
        to_stderr(&format!("[{done}/{}] {name}: {}", turns.total, telling.map(Check::line).unwrap_or_default()));
        checks
    }

    async fn examine(&self, config: Arc<ServerConfig>) -> Vec<Check> {
        let downstream =
            downstream::Config { connect: Connect::Lazy, idle_timeout: None, health_interval: None, ..self.downstream.clone() };
        let (tracker, token) = (TaskTracker::new(), self.token.child_token());
        // Nobody listens to what it says outside of calls.
        let (pool, _) = Pool::new(downstream, tracker.clone(), token.clone());
        pool.apply(&[Arc::clone(&config)]);
        pool.begin(None);
        let mut visit = Visit { config: &config, deadline: Instant::now() + self.patience, patience: self.patience, checks: Vec::new() };
        let outcome = tokio::select! {
            // What was finished counts.
            biased;
            outcome = visit.all(&pool, &config.id) => outcome,
            () = self.token.cancelled() => Err(Check::fail(Group::Servers, &visit.name(), "interrupted")),
        };
        let status = pool.status(&config.id);
        token.cancel();
        tracker.close();
        let _ = timeout(FAREWELL, tracker.wait()).await;
        let mut checks = visit.checks;
        if let Err(check) = outcome {
            checks.push(with_last_words(check, &config, status.as_ref()));
        }
        checks
    }
}

fn with_last_words(check: Check, config: &ServerConfig, status: Option<&Status>) -> Check {
    // Known once the child and its tasks have ended.
    let words = status.map(Status::last_words).unwrap_or_default();
    if words.is_empty() || matches!(config.transport, TransportConfig::Http(_)) {
        return check;
    }
    check.adding(&format!("; it last wrote to standard error: {}", words.join(" | ")))
}

/// One server, step by step.
struct Visit<'a> {
    config: &'a ServerConfig,
    deadline: Instant,
    patience: Duration,
    checks: Vec<Check>,
}

impl Visit<'_> {
    fn name(&self) -> String {
        cell(&self.config.name)
    }

    fn step(&self, step: &str) -> String {
        format!("{} {step}", self.name())
    }

    /// The error is the step that failed, after which there is none.
    async fn all(&mut self, pool: &Pool, id: &ServerId) -> Result<(), Check> {
        let link = self.connect(pool, id).await?;
        self.list(&link).await?;
        self.ping(&link).await
    }

    async fn within<T>(&self, step: &str, what: &str, work: impl Future<Output = T>) -> Result<(T, Duration), Check> {
        let begun = Instant::now();
        if let Ok(outcome) = timeout_at(self.deadline, work).await {
            return Ok((outcome, begun.elapsed()));
        }
        let sentence = format!("{what} within {} s", self.patience.as_secs_f64());
        let hint = match self.config.transport {
            TransportConfig::Stdio(_) => {
                "start it by hand and look: it may wait for something, or not speak MCP on its standard output; the first start of a \
                 package downloads it, so try again, or with a longer `--timeout`"
            }
            TransportConfig::Http(_) => "see that the server at that address runs and speaks MCP; try a longer `--timeout`",
        };
        Err(Check::fail(Group::Servers, &self.step(step), sentence).hint(hint).took(begun.elapsed()))
    }

    async fn connect(&mut self, pool: &Pool, id: &ServerId) -> Result<Arc<Link>, Check> {
        const STEP: &str = "connect";
        let (outcome, took) = self.within(STEP, "no connection", pool.link(id)).await?;
        let link = outcome.map_err(|unavailable| {
            let check = Check::fail(Group::Servers, &self.step(STEP), unavailable.to_string()).took(took);
            match unavailable {
                Unavailable::Failed(error) => check.hint(hint(&error, self.config)),
                Unavailable::Gone | Unavailable::Failing { .. } => check,
            }
        })?;
        let peer = link.peer();
        let sentence = format!("{}, {} ({})", peer.version, peer.revision, self.config.transport.label());
        self.checks.push(Check::ok(Group::Servers, &self.step(STEP), sentence).took(took));
        Ok(link)
    }

    async fn list(&mut self, link: &Arc<Link>) -> Result<(), Check> {
        const STEP: &str = "list";
        let offers = link.peer().capabilities;
        let lists = async {
            let mut counts = Vec::new();
            for (kind, offered, what) in [
                (ListKind::Tools, offers.tools, "tools"),
                (ListKind::Prompts, offers.prompts, "prompts"),
                (ListKind::Resources, offers.resources, "resources"),
                (ListKind::Templates, offers.resources, "templates"),
            ] {
                if offered {
                    counts.push(format!("{} {what}", link.list(kind).await?.len()));
                }
            }
            Ok(counts)
        };
        let (outcome, took) = self.within(STEP, "its lists could not be read", lists).await?;
        let counts = outcome.map_err(|error: LinkError| self.lost(STEP, &error, took))?;
        let check = if counts.is_empty() {
            Check::warn(Group::Servers, &self.step(STEP), "it offers nothing")
                .hint("see the server's own documentation; it may need settings")
        } else {
            Check::ok(Group::Servers, &self.step(STEP), counts.join(", "))
        };
        self.checks.push(check.took(took));
        Ok(())
    }

    /// Without a handshake there is no `ping`; what the server is can be asked again.
    async fn ping(&mut self, link: &Arc<Link>) -> Result<(), Check> {
        const STEP: &str = "ping";
        let method = if link.peer().revision.has_handshake() { "ping" } else { "server/discover" };
        let (outcome, took) = self.within(STEP, &format!("no answer to `{method}`"), link.request(method, "{}")).await?;
        let reply = outcome.map_err(|error| self.lost(STEP, &error, took))?;
        let name = self.step(STEP);
        let check = if reply.kind() == Kind::Error {
            let why = downstream::error_message(reply.body().unwrap_or_default());
            Check::warn(Group::Servers, &name, format!("it refused `{method}`: {why}"))
                .hint("the server breaks the protocol; tell its authors")
        } else {
            Check::ok(Group::Servers, &name, format!("it answers `{method}`"))
        };
        self.checks.push(check.took(took));
        Ok(())
    }

    fn lost(&self, step: &str, error: &LinkError, took: Duration) -> Check {
        Check::fail(Group::Servers, &self.step(step), error.to_string()).hint(of_link(error, self.config)).took(took)
    }
}

fn hint(error: &ConnectError, config: &ServerConfig) -> &'static str {
    match error {
        // These bring theirs along.
        ConnectError::Refused(_) | ConnectError::Spawn { .. } => "check its configuration",
        ConnectError::Timeout { .. } => "start it by hand and look: it may wait for something, or not speak MCP on its standard output",
        ConnectError::Rejected { .. } => "what the server says tells what it needs, often a token in `env` or `headers`",
        ConnectError::Link(error) => of_link(error, config),
    }
}

fn of_link(error: &LinkError, config: &ServerConfig) -> &'static str {
    match error {
        LinkError::Unauthorized { .. } => match config.origin {
            Origin::App => "it needs a sign-in: sign in to the server in the App",
            Origin::File => "it needs a sign-in: put a token into its `headers`",
        },
        LinkError::Unreachable { .. } => "check its `url`, and that the server runs and this machine reaches it",
        LinkError::Status { status: 404 | 405 } => "check the path of its `url`; many servers end in `/mcp` or `/sse`",
        LinkError::Status { .. } => "look into the server's own log",
        LinkError::Closed | LinkError::Lost { .. } => match config.transport {
            TransportConfig::Stdio(_) => {
                "start it by hand and look; what it wrote to standard error tells why, often a missing variable or argument"
            }
            TransportConfig::Http(_) => "look into the server's own log",
        },
        LinkError::Protocol { .. } => "the server breaks the protocol: update it, or tell its authors",
        LinkError::Defect => "tell the authors of the proxy",
        LinkError::SessionGone => "the server forgets its sessions at once: look into its own log",
        // These bring theirs along.
        LinkError::Refused(_) | LinkError::Redirected { .. } => "check its `url`",
    }
}
