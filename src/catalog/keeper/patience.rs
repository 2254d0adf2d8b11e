//! How long the first lists wait for servers that nobody knows yet. A client that overlooks
//! `list_changed` never sees what comes later, so they wait for what merely takes its time; and one
//! server that hangs must not keep the tools of all others from the client.

use std::{ffi::OsStr, path::Path, time::Duration};

use tokio::time::Instant;

use crate::protocol::server::{ServerConfig, TransportConfig};

/// Once most servers have said what they offer, the rest get a quarter of the time that those took, and this at least.
/// One hanging server among ten makes the first list at most 50 ms later (issue 7).
const LAST_ONES: Duration = Duration::from_millis(40);
/// Before that, stragglers get this long at least, even if all others were quick.
const STRAGGLER: Duration = Duration::from_secs(2);
/// And so many times what the slowest of the others took.
const STRAGGLER_FACTOR: u32 = 3;
/// Commands that download what they run. They take seconds without being stuck.
const RUNNERS: [&str; 14] = ["npx", "uvx", "uv", "uvenv", "bunx", "bun", "pnpm", "pnpx", "yarn", "dnx", "pipx", "deno", "docker", "podman"];

#[derive(Debug)]
pub(super) struct Patience {
    limit: Duration,
    /// The operator has said how long; then that goes for stragglers, too.
    is_given: bool,
    begun: Instant,
    /// When the latest of the servers had said what it offers.
    last_answer: Option<Duration>,
}

/// How far the servers are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Progress {
    /// That have said in this run what they offer.
    pub(super) heard: usize,
    /// That are waited for.
    pub(super) awaited: usize,
    /// One of the latter may be downloading what it runs.
    pub(super) may_download: bool,
    /// Whether it is known which servers there are.
    pub(super) is_complete: bool,
}

impl Patience {
    pub(super) fn new(limit: Duration, is_given: bool) -> Self {
        Self { limit, is_given, begun: Instant::now(), last_answer: None }
    }

    /// A server has said what it offers.
    pub(super) fn hear(&mut self) {
        self.last_answer = Some(self.begun.elapsed());
    }

    /// Until when the first lists wait for the rest.
    pub(super) fn deadline(&self, progress: Progress) -> Instant {
        let Progress { heard, awaited, may_download, is_complete } = progress;
        let wait = match self.last_answer {
            Some(took) if is_complete && !self.is_given && !may_download => {
                let are_most_heard = heard >= 3 * awaited;
                let wait = if are_most_heard { took + LAST_ONES.max(took / 4) } else { STRAGGLER.max(took * STRAGGLER_FACTOR) };
                wait.min(self.limit)
            }
            Some(_) | None => self.limit,
        };
        self.begun + wait
    }
}

/// Whether the server runs through a package runner, which downloads it at its first start.
pub(super) fn may_download(server: &ServerConfig) -> bool {
    match &server.transport {
        TransportConfig::Stdio(stdio) => {
            RUNNERS.contains(&Path::new(&stdio.command).file_stem().and_then(OsStr::to_str).unwrap_or_default())
        }
        TransportConfig::Http(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The wait in milliseconds, after `heard` servers answered at once and `took` milliseconds went by.
    async fn wait(took: u64, heard: usize, awaited: usize, may_download: bool) -> u128 {
        let mut patience = Patience::new(Duration::from_secs(9), false);
        tokio::time::advance(Duration::from_millis(took)).await;
        patience.hear();
        (patience.deadline(Progress { heard, awaited, may_download, is_complete: true }) - patience.begun).as_millis()
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_ones_get_a_little_of_what_the_others_took() {
        assert_eq!(wait(30, 9, 1, false).await, 70);
        assert_eq!(wait(400, 3, 1, false).await, 500);
        assert_eq!(wait(20_000, 9, 1, false).await, 9000);
    }

    #[tokio::test(start_paused = true)]
    async fn many_that_are_slow_are_waited_for() {
        assert_eq!(wait(30, 2, 1, false).await, 2000);
        assert_eq!(wait(1000, 1, 1, false).await, 3000);
        assert_eq!(wait(30, 9, 1, true).await, 9000);
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_operator_says_goes() {
        let mut patience = Patience::new(Duration::from_secs(3), true);
        patience.hear();
        let progress = Progress { heard: 9, awaited: 1, may_download: false, is_complete: true };
        assert_eq!(patience.deadline(progress) - patience.begun, Duration::from_secs(3));
    }
}
