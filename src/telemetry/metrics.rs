//! What is counted while the proxy works, to be read by Prometheus or anything that knows its formats.
//! It does not know what is counted for: owners, classes and outcomes are words to it.
//!
//! Counting is a few atomic additions, without a lock and without memory of its own, because calls
//! pay for it. No library is used: of those that are kept up, `prometheus-client` takes a lock for
//! each observation and writes OpenMetrics alone, and all that is left to do is [`page`].
//!
//! What is labelled by servers is handed down ([`Calls`]). What has fixed labels is counted for the
//! whole process in statics here: it happens deep in most layers, where a handle would pass through
//! a dozen constructors only to be added to. Nothing but the page of metrics reads them, so nothing
//! can come to depend on them.

use std::sync::atomic::{AtomicU64, Ordering};

pub mod calls;
mod histogram;
pub mod page;
pub mod process;

pub use calls::{Calls, Outcome};
pub use histogram::Histogram;
pub use page::{Format, Page};

/// Goes up, from 0.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    pub fn increment(&self) {
        self.add(1);
    }

    pub fn add(&self, count: u64) {
        // Counts are read one by one; nothing else is ordered by them.
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Makes an enum whose variants have words, for labels.
macro_rules! labels {
    ($(#[$about:meta])* $name:ident { $($(#[$note:meta])* $variant:ident => $word:literal,)+ }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $($(#[$note])* $variant,)+
        }

        impl $name {
            pub const ALL: [Self; [$($word),+].len()] = [$(Self::$variant),+];

            pub fn label(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }
    };
}
pub(crate) use labels;

labels! {
    /// What was thrown away because nobody took it, or nobody waited for it.
    Dropped {
        /// A server's notification: too many wait to be looked at.
        ServerNotification => "server_notification",
        /// A server's progress: its client takes it too slowly.
        Progress => "progress",
        /// A server's log message: its client takes it too slowly.
        LogMessage => "log_message",
        /// A server's notification of another kind: its client takes it too slowly.
        Notification => "notification",
        /// A server's notification of another kind, of which it is not clear whom it is for.
        UnclearNotification => "unclear_notification",
        /// A client's progress of a request that no server waits for any more.
        ClientProgress => "client_progress",
        /// A server's progress of a call that is over.
        LateProgress => "late_progress",
        /// A server's answer to a call that is over.
        LateAnswer => "late_answer",
        /// A server's log message of which it is not clear whose call it belongs to.
        UnclearLogMessage => "unclear_log_message",
        /// A server's request of which it is not clear whose call it belongs to; the server is told so.
        UnclearRequest => "unclear_request",
        /// A server's news of a resource that nobody has subscribed to.
        UnwantedUpdate => "unwanted_update",
        /// A server's news of an elicitation that no session waits for.
        UnwantedElicitation => "unwanted_elicitation",
        /// An event of a stream that its client does not read.
        StreamEvent => "stream_event",
        /// A message outside of calls that the client at our standard streams does not read.
        Announcement => "announcement",
        /// What the App would have been told of a call: too many wait, or it did not take it.
        Activity => "activity",
    }
}

labels! {
    /// By which limit a request was refused.
    Limited {
        /// Tool calls of one client.
        ToolCall => "tool_calls",
        /// Tool calls of all sessions of one address.
        Address => "address",
        /// Calls of all clients.
        Global => "global",
        /// Requests to the App, of which each waits a little first.
        App => "app",
    }
}

labels! {
    /// What the App was asked for.
    AppRequest {
        Servers => "servers",
        Tools => "tools",
        Resources => "resources",
        Templates => "resource_templates",
        Prompts => "prompts",
        Instructions => "custom_instructions",
        Resolve => "resolve",
        Discover => "discover",
        Activity => "activity",
        Knowledge => "knowledge_base",
        Notifications => "notifications",
        Documents => "documents",
        Clipboard => "clipboard",
        Memory => "memory",
        Other => "other",
    }
}

labels! {
    /// What came of it.
    AppOutcome {
        Ok => "ok",
        Unauthorized => "unauthorized",
        RateLimited => "rate_limited",
        NotFound => "not_found",
        /// Any other refusal.
        Rejected => "rejected",
        /// The App answered that it failed.
        Failing => "failing",
        Unreachable => "unreachable",
        /// The answer is none of an App.
        Unreadable => "unreadable",
    }
}

/// Classes of HTTP statuses, by their first digit less one.
const STATUSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

static HTTP_REQUESTS: [Counter; STATUSES.len()] = [const { Counter::new() }; STATUSES.len()];
static DROPPED: [Counter; Dropped::ALL.len()] = [const { Counter::new() }; Dropped::ALL.len()];
static LIMITED: [Counter; Limited::ALL.len()] = [const { Counter::new() }; Limited::ALL.len()];
static APP_REQUESTS: [[Counter; AppOutcome::ALL.len()]; AppRequest::ALL.len()] =
    [const { [const { Counter::new() }; AppOutcome::ALL.len()] }; AppRequest::ALL.len()];

/// Something was thrown away.
pub fn dropped(what: Dropped) {
    DROPPED[what as usize].increment();
}

/// The same, so many times.
pub fn dropped_many(what: Dropped, count: usize) {
    DROPPED[what as usize].add(count as u64);
}

/// A request was refused because of a limit.
pub fn limited(by: Limited) {
    LIMITED[by as usize].increment();
}

/// A request to the App has ended.
pub fn app_request(request: AppRequest, outcome: AppOutcome) {
    APP_REQUESTS[request as usize][outcome as usize].increment();
}

/// A request of a client over HTTP is answered.
pub fn http_request(status: u16) {
    if let Some(count) = usize::from(status / 100).checked_sub(1).and_then(|class| HTTP_REQUESTS.get(class)) {
        count.increment();
    }
}

/// What is the same for every process, and what this one has counted whoever it worked for.
/// Reads `/proc`, so it may block for a moment.
pub fn write(page: &mut Page) {
    page.info("pluggedin_build", "The running program.").sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);

    let mut requests = page.counter("pluggedin_http_requests", "Requests of clients over HTTP, by the class of the answer's status.");
    for (class, count) in STATUSES.iter().zip(&HTTP_REQUESTS) {
        requests.sample(&[("status", class)], count.get());
    }

    let mut dropped = page.counter("pluggedin_dropped", "Messages and log lines that were thrown away, by what they were.");
    for (what, count) in Dropped::ALL.iter().zip(&DROPPED) {
        dropped.sample(&[("what", what.label())], count.get());
    }
    dropped.sample(&[("what", "log_line")], super::logging::lost_lines());

    let mut limited = page.counter("pluggedin_rate_limited", "Requests that were refused because there were too many, by the limit.");
    for (by, count) in Limited::ALL.iter().zip(&LIMITED) {
        limited.sample(&[("limit", by.label())], count.get());
    }

    let mut requests = page.counter("pluggedin_app_requests", "Requests to the plugged.in App, by what was asked for and the outcome.");
    for (request, counts) in AppRequest::ALL.iter().zip(&APP_REQUESTS) {
        for (outcome, count) in AppOutcome::ALL.iter().zip(counts) {
            // Most of the table stays empty for good. Success is always shown, so that its rate can be told.
            if count.get() > 0 || *outcome == AppOutcome::Ok {
                requests.sample(&[("request", request.label()), ("outcome", outcome.label())], count.get());
            }
        }
    }

    if let Some(figures) = process::read() {
        figures.write(page);
    }
}

#[cfg(test)]
mod tests;
