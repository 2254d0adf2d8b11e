//! Calls by who answers them: how many, with what outcome, and how long they took.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;

use super::{Counter, Histogram, Page, labels};

/// Servers with series of their own. An App may name others every minute for as long as the process runs,
/// and each costs 25 lines a reading; those that come later share [`OTHER`].
const MAX_SERVERS: usize = 200;

const BUILTIN: &str = "builtin";
const OTHER: &str = "other";
const TENANT: &str = "tenant";

labels! {
    /// How a call ended.
    Outcome {
        Ok => "ok",
        /// The tool says that it failed.
        ToolError => "tool_error",
        /// There is no result.
        Error => "error",
        /// Nobody waited for the end.
        Cancelled => "cancelled",
    }
}

/// Where calls are counted. Clones count in the same place.
#[derive(Debug, Clone, Default)]
pub struct Calls {
    table: Arc<Table>,
    of_tenant: bool,
}

#[derive(Debug, Default)]
struct Table {
    builtin: Arc<Owner>,
    other: Arc<Owner>,
    tenant: Arc<Owner>,
    /// By label. Read for each call, and replaced when a server is called for the first time.
    servers: ArcSwap<BTreeMap<String, Arc<Owner>>>,
}

/// The calls of one owner.
#[derive(Debug, Default)]
struct Owner {
    outcomes: [Counter; Outcome::ALL.len()],
    /// Of those that were not cancelled.
    took: Histogram,
}

impl Owner {
    fn is_called(&self) -> bool {
        self.outcomes.iter().any(|count| count.get() > 0)
    }
}

impl Calls {
    /// For the workspace of one among many keys.
    ///
    /// SECURITY: who reads the metrics sees of tenants' servers neither names nor which of them are called.
    #[must_use]
    pub fn of_tenant(&self) -> Self {
        Self { table: Arc::clone(&self.table), of_tenant: true }
    }

    /// A call of one of the proxy's own tools begins.
    pub fn begin_builtin(&self) -> Timed {
        Timed::begin(Arc::clone(&self.table.builtin))
    }

    /// A call of the server with this short name begins. `None` is a server without one.
    pub fn begin(&self, server: Option<&str>) -> Timed {
        Timed::begin(match server {
            _ if self.of_tenant => Arc::clone(&self.table.tenant),
            Some(server) => self.table.server(server),
            None => Arc::clone(&self.table.other),
        })
    }

    pub fn write(&self, page: &mut Page) {
        let Table { builtin, other, tenant, servers } = &*self.table;
        let servers = servers.load();
        let shared = [(OTHER, other), (TENANT, tenant)].into_iter().filter(|(_, owner)| owner.is_called());
        let servers = servers.iter().map(|(label, owner)| (label.as_str(), owner));
        let owners: Vec<_> = [(BUILTIN, builtin)].into_iter().chain(servers).chain(shared).collect();

        let mut calls = page.counter(
            "pluggedin_calls",
            "Calls of tools, prompts, resources and completions, by who answers (a server's short name, or builtin) and the outcome.",
        );
        for (label, owner) in &owners {
            for (outcome, count) in Outcome::ALL.iter().zip(&owner.outcomes) {
                calls.sample(&[("owner", label), ("outcome", outcome.label())], count.get());
            }
        }
        let mut took = page.histogram("pluggedin_call_duration_seconds", "How long calls took that were not cancelled, by who answered.");
        for (label, owner) in &owners {
            took.distribution(&[("owner", label)], &owner.took);
        }
    }
}

impl Table {
    fn server(&self, name: &str) -> Arc<Owner> {
        let known = self.servers.load();
        // A server's name does not end so.
        let reserved = [BUILTIN, OTHER, TENANT].contains(&name).then(|| format!("{name}_"));
        let label = reserved.as_deref().unwrap_or(name);
        if let Some(owner) = known.get(label) {
            return Arc::clone(owner);
        }
        if known.len() >= MAX_SERVERS {
            return Arc::clone(&self.other);
        }
        self.servers.rcu(|servers| {
            let mut servers = BTreeMap::clone(servers);
            if servers.len() < MAX_SERVERS {
                servers.entry(label.to_owned()).or_default();
            }
            servers
        });
        self.servers.load().get(label).map_or_else(|| Arc::clone(&self.other), Arc::clone)
    }
}

/// One call until its end. If it is dropped before it is [ended](Self::end), it was cancelled.
#[must_use = "a call that is let go of at once counts as cancelled"]
#[derive(Debug)]
pub struct Timed {
    owner: Arc<Owner>,
    begun: Instant,
    outcome: Outcome,
}

impl Timed {
    fn begin(owner: Arc<Owner>) -> Self {
        Self { owner, begun: Instant::now(), outcome: Outcome::Cancelled }
    }

    /// How long it has taken so far.
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    pub fn end(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for Timed {
    fn drop(&mut self) {
        self.owner.outcomes[self.outcome as usize].increment();
        if self.outcome != Outcome::Cancelled {
            self.owner.took.observe(self.begun.elapsed());
        }
    }
}
