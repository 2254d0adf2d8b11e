//! Asks the App again and again, and decides what its answers and its silence mean.

use std::{
    collections::{BTreeMap, HashSet},
    mem,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use tokio::{
    select,
    sync::watch,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    Wanted,
    board::{AppPart, Board},
    kept::Kept,
    random,
};
use crate::{
    protocol::server::{ServerConfig, ServerId},
    source::{
        AppStatus, PromptRecord, Records, ResourceRecord, Told, ToolRecord,
        app::{
            AppClient, AppError,
            wire::{self, Instruction, Listing, ToolListing},
        },
    },
};

/// Back-off while the App is away, which never asks less often than when it is well.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// An App that asks for a longer rest is asked again after this time.
const LONGEST_REST: Duration = Duration::from_secs(60 * 60);

/// Resources, templates, prompts and instructions change rarely. At intervals below
/// this they are left out of most rounds, to stay within the request limit.
const SLOW_LISTS_EVERY: Duration = Duration::from_secs(5);

/// How long servers and tools wait for those lists before they are published alone.
const GRACE: Duration = Duration::from_millis(250);

/// More distinct warnings than a workspace can have; then they start over.
const MAX_WARNED: usize = 1000;

pub(super) struct Task {
    client: AppClient,
    board: Arc<Board>,
    interval: Duration,
    kept: Option<Kept>,
    lists: Lists,
    /// Servers that were there when the list of tools was last read. Without it the
    /// tools that are switched off are not known, and a server that is not covered
    /// would show them.
    covered: HashSet<ServerId>,
    slow_lists_read: Option<Instant>,
    told: Told,
    failures: u32,
    /// Lists that fail at the moment, by name: each is reported once.
    failing: BTreeMap<&'static str, AppError>,
    warned: HashSet<String>,
    state: State,
}

/// What was logged last.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Loading,
    Current,
    Refused,
    Away,
}

#[derive(Default)]
pub(super) struct Lists {
    pub(super) servers: Vec<ServerConfig>,
    pub(super) tools: Vec<ToolRecord>,
    pub(super) resources: Vec<ResourceRecord>,
    pub(super) templates: Vec<ResourceRecord>,
    pub(super) prompts: Vec<PromptRecord>,
    pub(super) instructions: Vec<Instruction>,
}

type SlowAnswers = (
    Result<Listing<ResourceRecord>, AppError>,
    Result<Listing<ResourceRecord>, AppError>,
    Result<Listing<PromptRecord>, AppError>,
    Result<Listing<Instruction>, AppError>,
);

impl Task {
    pub(super) fn new(client: AppClient, board: Arc<Board>, interval: Duration, kept: Option<Kept>) -> Self {
        Self {
            client,
            board,
            interval,
            kept,
            lists: Lists::default(),
            covered: HashSet::new(),
            slow_lists_read: None,
            told: Told::Nothing,
            failures: 0,
            failing: BTreeMap::new(),
            warned: HashSet::new(),
            state: State::Loading,
        }
    }

    /// Begins with what the App said in an earlier run, where that is kept. Blocks, but only for a small local file, and saves
    /// the first client a wait.
    pub(super) fn recall(&mut self) {
        let Some(lists) = self.kept.as_ref().and_then(Kept::load) else { return };
        self.covered = lists.servers.iter().map(|server| server.id.clone()).collect();
        self.lists = lists;
        self.told = Told::Earlier;
        self.publish(AppStatus::Loading);
    }

    pub(super) async fn run(&mut self, wanted: &Wanted, finished: &watch::Sender<u64>, token: &CancellationToken) {
        let mut wanted = wanted.subscribe();
        let mut everything = true;
        loop {
            let turn = *wanted.borrow_and_update();
            let outcome = select! {
                // The stop signal wins over an App that does not answer.
                biased;
                () = token.cancelled() => return,
                outcome = self.round(everything) => outcome,
            };
            let is_complete = outcome.is_ok();
            let (next, rest) = self.conclude(outcome);
            if let Some(kept) = self.kept.as_mut().filter(|_| is_complete) {
                kept.save(&self.lists).await;
            }
            finished.send_replace(turn);
            // Nobody may ask before the end of a rest that the App asked for.
            let rested = Instant::now() + rest;
            let next = (Instant::now() + next).max(rested);
            everything = loop {
                select! {
                    biased;
                    () = token.cancelled() => return,
                    () = sleep_until(next) => break false,
                    changed = wanted.changed() => {
                        if changed.is_err() {
                            return;
                        }
                        if Instant::now() >= rested {
                            break true;
                        }
                        finished.send_replace(*wanted.borrow_and_update());
                    }
                }
            };
            if !everything {
                everything = wanted.has_changed().unwrap_or(false);
            }
        }
    }

    /// Asks for the lists, all at the same time, and publishes what came.
    async fn round(&mut self, everything: bool) -> Result<(), AppError> {
        let due = self.slow_lists_read.is_none_or(|read| read.elapsed() >= SLOW_LISTS_EVERY);
        let slow_due = everything || due || self.interval >= SLOW_LISTS_EVERY;
        let client = self.client.clone();
        let mut quick = pin!(async { tokio::join!(client.servers(), client.tools()) });
        let mut slow = pin!(slow_lists(&client));
        let mut slow_answers = None;

        let (servers, mut tools) = loop {
            select! {
                answers = &mut quick => break answers,
                answers = &mut slow, if slow_due && slow_answers.is_none() => slow_answers = Some(answers),
            }
        };
        // SECURITY: under whatever status it says so, a key that is refused gets nothing of what was known before.
        if tools.as_ref().is_err_and(AppError::refuses_key) || servers.as_ref().is_err_and(AppError::refuses_key) {
            return Err(AppError::Unauthorized);
        }
        let servers = servers?;

        // The tools, and whatever else was on its way, may still be those of the
        // workspace before.
        let switched = self.state == State::Current && !self.knows_exactly(&servers.items);
        if switched {
            tools = client.tools().await;
            slow_answers = None;
        } else if slow_due && slow_answers.is_none() {
            slow_answers = timeout(GRACE, &mut slow).await.ok();
        }
        let slow_missing = switched || (slow_due && slow_answers.is_none());
        if let Some(answers) = slow_answers {
            self.take_slow_lists(answers);
        }
        let complete = self.take(servers, tools);
        if complete.is_ok() && !slow_missing {
            self.told = Told::Now;
        }
        self.publish(status(&complete));

        if slow_missing {
            // After a switch the old request is of no use.
            let answers = if switched { slow_lists(&client).await } else { slow.await };
            self.take_slow_lists(answers);
            if complete.is_ok() {
                self.told = Told::Now;
            }
            self.publish(status(&complete));
        }
        complete
    }

    fn knows_exactly(&self, servers: &[ServerConfig]) -> bool {
        let known = |id| self.lists.servers.iter().any(|server| server.id == id);
        servers.len() == self.lists.servers.len() && servers.iter().all(|server| known(server.id.clone()))
    }

    /// An error means that some servers cannot be published, for want of their tools.
    fn take(&mut self, servers: Listing<ServerConfig>, tools: Result<ToolListing, AppError>) -> Result<(), AppError> {
        self.tell(servers.warnings);
        self.lists.servers = servers.items;
        let ids = self.lists.servers.iter().map(|server| server.id.clone()).collect::<HashSet<_>>();
        match self.answered("tools", tools) {
            Some(Ok(mut listing)) => {
                if listing.bare {
                    wire::restore_tool_names(&mut listing.items, &self.lists.servers);
                }
                self.tell(listing.warnings);
                self.lists.tools = listing.items;
                self.covered = ids;
                Ok(())
            }
            None => {
                self.lists.tools.clear();
                self.covered = ids;
                Ok(())
            }
            Some(Err(_)) if ids.is_subset(&self.covered) => Ok(()),
            Some(Err(error)) => Err(error),
        }
    }

    fn take_slow_lists(&mut self, (resources, templates, prompts, instructions): SlowAnswers) {
        self.slow_lists_read = Some(Instant::now());
        self.lists.resources = self.take_list("resources", resources, |lists| &mut lists.resources);
        self.lists.templates = self.take_list("resource templates", templates, |lists| &mut lists.templates);
        self.lists.prompts = self.take_list("prompts", prompts, |lists| &mut lists.prompts);
        self.lists.instructions = self.take_list("custom instructions", instructions, |lists| &mut lists.instructions);
    }

    /// What is now known of a list: the answer, or after a failure the last one.
    fn take_list<T>(
        &mut self,
        name: &'static str,
        answer: Result<Listing<T>, AppError>,
        last: impl FnOnce(&mut Lists) -> &mut Vec<T>,
    ) -> Vec<T> {
        match self.answered(name, answer) {
            Some(Ok(listing)) => {
                self.tell(listing.warnings);
                listing.items
            }
            Some(Err(_)) => mem::take(last(&mut self.lists)),
            None => Vec::new(),
        }
    }

    /// `None`: this App does not have the list. Reports when a list begins to fail and
    /// when it is back.
    fn answered<T>(&mut self, name: &'static str, answer: Result<T, AppError>) -> Option<Result<T, AppError>> {
        match answer {
            Ok(listing) => {
                if self.failing.remove(name).is_some() {
                    info!("the App's list of {name} can be read again");
                }
                Some(Ok(listing))
            }
            Err(AppError::TooOld | AppError::NotFound { .. }) => {
                self.failing.remove(name);
                None
            }
            Err(error) => {
                if self.failing.insert(name, error.clone()).is_none() {
                    warn!("the App's list of {name} cannot be read, its last state stays in use: {error}");
                }
                Some(Err(error))
            }
        }
    }

    fn publish(&self, status: AppStatus) {
        let servers = self.lists.servers.iter().filter(|server| self.covered.contains(&server.id));
        let servers = servers.map(|server| {
            let mut server = server.clone();
            if server.instructions.is_empty() {
                let own = self.lists.instructions.iter().filter(|instruction| instruction.record.server == server.id);
                server.instructions = own.flat_map(|instruction| instruction.messages.clone()).collect();
            }
            Arc::new(server)
        });
        self.board.set_app(AppPart {
            servers: servers.collect(),
            records: Records {
                tools: self.lists.tools.clone(),
                resources: self.lists.resources.clone(),
                templates: self.lists.templates.clone(),
                prompts: self.lists.prompts.clone(),
                instructions: self.lists.instructions.iter().map(|instruction| instruction.record.clone()).collect(),
            },
            told: self.told,
            status,
        });
    }

    /// Sets the status and tells when to ask again, and how long the App must be left
    /// alone until then.
    fn conclude(&mut self, outcome: Result<(), AppError>) -> (Duration, Duration) {
        // Always a little early, so that a change is seen within the interval.
        let regular = self.interval.mul_f64(1.0 - 0.1 * random());
        match outcome {
            Ok(()) => {
                self.failures = 0;
                if self.enter(State::Current) {
                    let count = self.lists.servers.len();
                    info!("the App answers; it lists {count} servers");
                }
                (regular, Duration::ZERO)
            }
            Err(error @ AppError::Unauthorized) => {
                // SECURITY: what a key that is no longer valid once gave is not served.
                self.lists = Lists::default();
                self.covered.clear();
                self.slow_lists_read = None;
                self.told = Told::Nothing;
                if let Some(kept) = &mut self.kept {
                    kept.forget();
                }
                self.failures = 0;
                let status = AppStatus::Refused { message: sentence(&error) };
                self.board.set_app(AppPart { status, ..AppPart::default() });
                if self.enter(State::Refused) {
                    warn!("{error}");
                }
                (regular, Duration::ZERO)
            }
            Err(error) => {
                self.board.set_app_status(AppStatus::Away { message: sentence(&error) });
                if self.enter(State::Away) {
                    warn!("{error}");
                }
                let rest = error.retry_after().unwrap_or_default().min(LONGEST_REST);
                let pause = pause(self.failures, self.interval);
                self.failures = self.failures.saturating_add(1);
                (pause, rest)
            }
        }
    }

    /// Whether the state is new.
    fn enter(&mut self, state: State) -> bool {
        mem::replace(&mut self.state, state) != state
    }

    fn tell(&mut self, warnings: Vec<String>) {
        if self.warned.len() > MAX_WARNED {
            self.warned.clear();
        }
        for warning in warnings {
            if self.warned.insert(warning.clone()) {
                warn!("{warning}");
            }
        }
    }
}

fn status(complete: &Result<(), AppError>) -> AppStatus {
    match complete {
        Ok(()) => AppStatus::Current,
        Err(error) => AppStatus::Away { message: sentence(error) },
    }
}

async fn slow_lists(client: &AppClient) -> SlowAnswers {
    tokio::join!(client.resources(), client.templates(), client.prompts(), client.instructions())
}

/// From a second to half a minute, doubled each time, and no longer than the regular interval.
fn pause(failures: u32, interval: Duration) -> Duration {
    let first = FIRST_PAUSE.min(interval);
    let longest = LONGEST_PAUSE.min(interval);
    let doubled = first.saturating_mul(1 << failures.min(16)).min(longest);
    doubled.mul_f64(0.5 + 0.5 * random())
}

/// For the snapshot: without the seconds to wait, which would make every attempt a
/// change.
fn sentence(error: &AppError) -> String {
    match error {
        AppError::RateLimited { .. } => AppError::RateLimited { retry_after: None }.to_string(),
        AppError::NotFound { .. } => AppError::TooOld.to_string(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_limit() {
        let seconds = |failures, interval| pause(failures, Duration::from_secs_f64(interval)).as_secs_f64();
        for (failures, interval, longest) in [
            (0, 30.0, 1.0),
            (1, 30.0, 2.0),
            (4, 30.0, 16.0),
            (5, 30.0, 30.0),
            (60, 30.0, 30.0),
            (60, 300.0, 30.0),
            (9, 5.0, 5.0),
            (0, 0.2, 0.2),
        ] {
            let pause = seconds(failures, interval);
            assert!((longest * 0.5..=longest).contains(&pause), "{failures} {interval}: {pause}");
        }
    }
}
