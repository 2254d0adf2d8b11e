//! The task that keeps the catalog: it applies what the source says to the pool,
//! lists servers when they connect or say that a list changed, and publishes.

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Catalog, CatalogHandle, ListKind,
    build::{self, Face, Inputs, Listing, Naming, Own},
    integrity::{Changes, Integrity},
    remembered::Remembered,
};
use crate::{
    downstream::{Event, Item, Link, LinkError, Pool},
    lasting::survived,
    protocol::server::{Fingerprint, ServerConfig, ServerId},
    source::{AppStatus, Snapshot, Told},
};
use memory::Memory;
use patience::{Patience, Progress};

mod memory;
mod patience;

/// How soon it is noticed that the operator has accepted changed tools: one look at a file's date.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Before a list that could not be read is asked for again; trebles each time.
const RELIST_AFTER: Duration = Duration::from_secs(5);
/// How often that is done before the server is believed.
const RELISTS: u32 = 4;

/// A server that adds ten tools says ten times that its list changed.
const CHANGES_TOGETHER: Duration = Duration::from_millis(20);

#[derive(Debug, Clone)]
pub struct Config {
    pub naming: Naming,
    /// How long the first lists wait at most for servers that nobody knows yet.
    pub patience: Duration,
    /// Whether that also goes for a server that takes far longer than the others did.
    pub for_stragglers: bool,
    /// Where the catalog is kept between runs.
    pub store: Option<PathBuf>,
    /// Tools that have changed are kept from clients until they are accepted.
    pub pin: bool,
}

/// What the keeper works with.
#[derive(Debug)]
pub struct Parts {
    pub source: watch::Receiver<Arc<Snapshot>>,
    pub pool: Pool,
    pub events: mpsc::Receiver<Event>,
    /// What the proxy itself offers.
    pub builtin: Own,
    /// Tells whether tools have changed.
    pub integrity: Option<Arc<Integrity>>,
}

/// Starts the keeper. The first catalog is there at once.
pub fn start(config: Config, parts: Parts, tracker: &TaskTracker, token: CancellationToken) -> CatalogHandle {
    let Parts { source, pool, events, builtin, integrity } = parts;
    // Each server has one listing under way at most, and the keeper waits for nothing else.
    let (listed, listed_receiver) = mpsc::channel(64);
    let (publish, catalog) = watch::channel(Arc::default());
    let patience = config.patience;
    let waiting = Patience::new(patience, config.for_stragglers);
    let memory = Memory::load(config.store.clone());
    // What is listed before a server has spoken is the listing of its last run, which was judged then.
    let changes = integrity.as_ref().filter(|_| config.pin).map(|integrity| integrity.pending()).unwrap_or_default();
    let mut keeper = Keeper {
        config,
        integrity,
        changes,
        looked: Instant::now(),
        memory,
        source,
        pool,
        builtin,
        tracker: tracker.clone(),
        snapshot: Arc::default(),
        fingerprints: HashMap::new(),
        listings: HashMap::new(),
        asking: HashMap::new(),
        recorded: HashSet::new(),
        patience: waiting,
        settled: false,
        published_settled: false,
        changed: true,
        listed,
        publish,
    };
    keeper.apply_source();
    keeper.publish();
    let (mut events, mut answers) = (events, listed_receiver);
    tracker.spawn(async move {
        tokio::select! {
            () = token.cancelled() => {}
            () = async { while survived("catalog", keeper.run(&mut events, &mut answers)).await.is_none() {} } => {}
        }
        if keeper.memory.due().is_some() {
            keeper.save();
        }
    });
    CatalogHandle { catalog, patience }
}

struct Keeper {
    config: Config,
    memory: Memory,
    source: watch::Receiver<Arc<Snapshot>>,
    pool: Pool,
    builtin: Own,
    tracker: TaskTracker,
    snapshot: Arc<Snapshot>,
    fingerprints: HashMap<ServerId, Fingerprint>,
    listings: HashMap<ServerId, Arc<Listing>>,
    asking: HashMap<ServerId, Asking>,
    integrity: Option<Arc<Integrity>>,
    /// Tools that are not what they were.
    changes: HashMap<ServerId, Changes>,
    /// When it was last seen whether they were accepted.
    looked: Instant,
    /// Servers of which the App has recorded tools at some time: from then on its
    /// word decides which are on, even if that is none.
    recorded: HashSet<ServerId>,
    patience: Patience,
    settled: bool,
    published_settled: bool,
    /// Something that the catalog is made of.
    changed: bool,
    listed: mpsc::Sender<Listed>,
    publish: watch::Sender<Arc<Catalog>>,
}

/// A listing under way, and what is to be listed after it.
struct Asking {
    link: Arc<Link>,
    again: Kinds,
    /// Times in a row that a list could not be read.
    failures: u32,
}

/// A set of lists.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Kinds([bool; 4]);

impl Kinds {
    const ALL: Self = Self([true; 4]);

    fn insert(&mut self, kind: ListKind) {
        self.0[kind as usize] = true;
    }

    fn contains(self, kind: ListKind) -> bool {
        self.0[kind as usize]
    }

    fn extend(&mut self, other: Self) {
        other.iter().for_each(|kind| self.insert(kind));
    }

    fn iter(self) -> impl Iterator<Item = ListKind> {
        ListKind::ALL.into_iter().filter(move |kind| self.0[*kind as usize])
    }
}

/// Compares tools with what they were.
struct Judging {
    integrity: Arc<Integrity>,
    /// Of the server, for the log.
    name: String,
    /// What was judged already.
    judged: Option<Arc<Listing>>,
}

impl Judging {
    /// On a thread of its own, since files are read and written.
    async fn judge(self, server: &ServerId, lists: &[(ListKind, Result<Vec<Item>, LinkError>)]) -> Option<Changes> {
        let tools = lists.iter().find(|(kind, _)| *kind == ListKind::Tools)?.1.as_ref().ok()?;
        let Self { integrity, name, judged } = self;
        if judged.is_some_and(|judged| judged.tools == *tools) {
            return None;
        }
        let (server, tools) = (server.clone(), tools.clone());
        tokio::task::spawn_blocking(move || integrity.judge(&server, &name, &tools)).await.ok()
    }
}

/// What a server answered.
struct Listed {
    server: ServerId,
    link: Arc<Link>,
    lists: Vec<(ListKind, Result<Vec<Item>, LinkError>)>,
    /// Where its tools were judged.
    changes: Option<Changes>,
}

impl Keeper {
    async fn run(&mut self, events: &mut mpsc::Receiver<Event>, listed: &mut mpsc::Receiver<Listed>) {
        loop {
            let deadline = self.deadline();
            let save_at = self.memory.due().unwrap_or(deadline);
            let look_at = self.looked + LOOK_EVERY;
            tokio::select! {
                // A source that is done saying things leaves the rest as it is.
                Ok(()) = self.source.changed() => self.apply_source(),
                Some(event) = events.recv() => self.take(event),
                Some(answer) = listed.recv() => self.store(answer),
                () = tokio::time::sleep_until(deadline), if !self.settled => self.give_up_waiting(),
                () = tokio::time::sleep_until(save_at), if self.memory.due().is_some() => self.save(),
                () = tokio::time::sleep_until(look_at), if !self.changes.is_empty() => self.look_for_acceptance(),
            }
            // What has come together is published together.
            while let Ok(event) = events.try_recv() {
                self.take(event);
            }
            while let Ok(answer) = listed.try_recv() {
                self.store(answer);
            }
            self.publish();
        }
    }

    fn apply_source(&mut self) {
        self.snapshot = Arc::clone(&self.source.borrow_and_update());
        self.changed = true;
        self.memory.hear(&self.snapshot);
        let servers = &self.snapshot.servers;
        let fingerprints: HashMap<_, _> = servers.iter().map(|config| (config.id.clone(), config.fingerprint())).collect();
        let unchanged = |id: &ServerId| fingerprints.contains_key(id) && fingerprints.get(id) == self.fingerprints.get(id);
        self.listings.retain(|id, _| fingerprints.contains_key(id));
        // What a server offered before its entry changed stands in until it has spoken again.
        for (_, listing) in self.listings.iter_mut().filter(|(id, listing)| listing.live && !unchanged(id)) {
            *listing = Arc::new(Listing { live: false, ..Listing::clone(listing) });
        }
        self.asking.retain(|id, _| unchanged(id));
        self.recorded.retain(|id| fingerprints.contains_key(id));
        self.recorded.extend(self.snapshot.records.tools.iter().map(|record| record.server.clone()));
        self.fingerprints = fingerprints;
        self.pool.apply(servers);
        for config in servers {
            if let Some(listing) = self.memory.take(config) {
                self.listings.entry(config.id.clone()).or_insert(listing);
            }
            if !self.is_known(&config.id) {
                // Where servers wait for their first call, this one must be asked what it offers.
                self.pool.demand(&config.id);
            }
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Ready(server, link) => self.want(server, link, Kinds::ALL),
            Event::ListChanged(server, kind) => {
                let mut kinds = Kinds::default();
                kinds.insert(kind);
                if kind == ListKind::Resources {
                    kinds.insert(ListKind::Templates);
                }
                if let Some(link) = self.pool.status(&server).and_then(|status| status.link().cloned()) {
                    self.want(server, link, kinds);
                }
            }
            Event::Changed(_) => {}
        }
    }

    /// Lists now, or after the listing that is under way on this connection.
    fn want(&mut self, server: ServerId, link: Arc<Link>, kinds: Kinds) {
        match self.asking.get_mut(&server) {
            Some(asking) if Arc::ptr_eq(&asking.link, &link) => asking.again.extend(kinds),
            _ if !self.fingerprints.contains_key(&server) => {}
            _ => {
                let pause = if self.listings.contains_key(&server) { CHANGES_TOGETHER } else { Duration::ZERO };
                self.ask(server, link, kinds, pause, 0);
            }
        }
    }

    fn ask(&mut self, server: ServerId, link: Arc<Link>, kinds: Kinds, pause: Duration, failures: u32) {
        self.asking.insert(server.clone(), Asking { link: Arc::clone(&link), again: Kinds::default(), failures });
        let listed = self.listed.clone();
        let judging = self.judging(&server, kinds);
        self.tracker.spawn(async move {
            tokio::select! {
                () = link.ended() => {}
                () = tokio::time::sleep(pause) => {}
            }
            let lists = futures_util::future::join_all(kinds.iter().map(|kind| {
                let link = Arc::clone(&link);
                async move { (kind, if offers(&link, kind) { link.list(kind).await } else { Ok(Vec::new()) }) }
            }));
            let lists = lists.await;
            let changes = match judging {
                Some(judging) => judging.judge(&server, &lists).await,
                None => None,
            };
            let answer = Listed { server, link, lists, changes };
            // An error means that the proxy is ending.
            let _ = listed.send(answer).await;
        });
    }

    /// Takes what was listed. A list that could not be read stays as it was, and is
    /// asked for again while the connection lasts.
    fn store(&mut self, answer: Listed) {
        let Listed { server, link, lists, changes } = answer;
        // Only the newest connection's answer counts.
        match self.asking.get(&server) {
            Some(asking) if Arc::ptr_eq(&asking.link, &link) => {}
            _ => return,
        }
        let Some(Asking { mut again, mut failures, .. }) = self.asking.remove(&server) else { return };
        if link.is_closed() && lists.iter().any(|(_, list)| list.is_err()) {
            // It was cut short; the next connection is asked anew.
            return;
        }
        match changes {
            Some(changes) if changes.is_empty() => drop(self.changes.remove(&server)),
            Some(changes) => drop(self.changes.insert(server.clone(), changes)),
            None => {}
        }
        let old = self.listings.get(&server);
        let mut listing = old.map(|listing| Listing::clone(listing)).unwrap_or_default();
        listing.live = true;
        listing.completions = link.peer().capabilities.completions;
        listing.declared = link.peer().declared.clone();
        listing.offers_resources = link.peer().capabilities.resources;
        let mut failed = false;
        for (kind, list) in lists {
            match list {
                Ok(items) => *listing.list(kind) = items,
                Err(error) => {
                    tracing::warn!(%server, list = kind.method(), %error, "the list could not be read");
                    again.insert(kind);
                    failed = true;
                }
            }
        }
        let same = old.is_some_and(|old| Listing { live: true, ..Listing::clone(old) } == listing);
        if !same {
            self.memory.note_change();
        }
        self.listings.insert(server.clone(), Arc::new(listing));
        self.changed = true;
        self.patience.hear();
        failures = if failed { failures + 1 } else { 0 };
        if again != Kinds::default() && failures <= RELISTS && !link.is_closed() {
            let pause = if failed { RELIST_AFTER * 3_u32.pow(failures - 1) } else { CHANGES_TOGETHER };
            self.ask(server, link, again, pause, failures);
        }
    }

    /// What it takes to judge the tools that a server is asked for.
    fn judging(&self, server: &ServerId, kinds: Kinds) -> Option<Judging> {
        let integrity = self.integrity.as_ref().filter(|_| kinds.contains(ListKind::Tools))?;
        let name = self.snapshot.servers.iter().find(|config| config.id == *server)?.name.clone();
        // What was judged in this run and is the same still is as it was, but for what may have been accepted.
        let judged = self.listings.get(server).filter(|listing| listing.live && !self.changes.contains_key(server)).cloned();
        Some(Judging { integrity: Arc::clone(integrity), name, judged })
    }

    /// The operator accepts changes by another process. Servers whose tools had changed are asked for them again, so that what
    /// was accepted is compared with what they offer.
    fn look_for_acceptance(&mut self) {
        self.looked = Instant::now();
        let Some(integrity) = self.integrity.clone().filter(|integrity| integrity.is_outdated()) else { return };
        let pending = integrity.pending();
        let servers: Vec<_> = self.changes.keys().cloned().collect();
        for server in servers {
            match self.pool.status(&server).and_then(|status| status.link().cloned()) {
                Some(link) => {
                    let mut tools = Kinds::default();
                    tools.insert(ListKind::Tools);
                    self.want(server, link, tools);
                }
                None if !pending.contains_key(&server) => {
                    self.changes.remove(&server);
                    self.changed = true;
                }
                None => {}
            }
        }
    }

    /// Keeps what is known of the present servers for the next start.
    fn save(&mut self) {
        let app = (self.snapshot.told == Told::Now).then(|| Remembered::of(&self.snapshot, &self.recorded));
        self.memory.save(&self.snapshot, &self.listings, app, &self.tracker);
    }

    /// Nothing more will be learnt of the server by waiting a little.
    fn is_known(&self, server: &ServerId) -> bool {
        self.listings.contains_key(server) || self.recorded.contains(server)
    }

    fn is_settled(&self) -> bool {
        self.has_app_part() && self.snapshot.servers.iter().all(|config| self.is_done(config))
    }

    /// The App's servers are known: from itself, or from what it said in the last run. A client is better served by that at once
    /// than by a fresh list later.
    fn has_app_part(&self) -> bool {
        let is_loading = self.snapshot.app == AppStatus::Loading && self.snapshot.told == Told::Nothing;
        !is_loading || self.memory.stand_in(&self.snapshot).is_some()
    }

    fn is_done(&self, config: &ServerConfig) -> bool {
        self.is_known(&config.id) || self.pool.status(&config.id).is_some_and(|status| status.has_failed())
    }

    fn deadline(&self) -> Instant {
        let awaited: Vec<_> = self.awaited().collect();
        self.patience.deadline(Progress {
            heard: self.listings.values().filter(|listing| listing.live).count(),
            awaited: awaited.len(),
            may_download: awaited.iter().any(|config| patience::may_download(config) && !self.memory.was_late(config)),
            is_complete: self.snapshot.app != AppStatus::Loading,
        })
    }

    /// The servers that the first lists wait for.
    fn awaited(&self) -> impl Iterator<Item = &Arc<ServerConfig>> {
        self.snapshot.servers.iter().filter(|config| !self.is_done(config))
    }

    /// The first lists are given without those that are still awaited.
    fn give_up_waiting(&mut self) {
        let late: Vec<_> = self.awaited().map(|config| (config.id.clone(), config.shape())).collect();
        tracing::debug!(servers = ?late.iter().map(|(id, _)| id).collect::<Vec<_>>(), "the first lists do not wait any longer");
        self.memory.note_late(late);
        self.settled = true;
    }

    /// Publishes if anything has changed since the last time.
    fn publish(&mut self) {
        let settled = self.settled || self.is_settled();
        if !self.changed && settled == self.published_settled {
            return;
        }
        self.settled = settled;
        self.published_settled = settled;
        self.changed = false;
        let catalog = match self.memory.stand_in(&self.snapshot) {
            Some(remembered) => build::build(Inputs {
                servers: &remembered.faces(&self.snapshot),
                records: &remembered.records(&self.snapshot),
                listings: &self.memory.complete(&self.listings),
                recorded: remembered.recorded(),
                ..self.inputs(&[])
            }),
            None => build::build(self.inputs(&self.snapshot.servers.iter().map(|config| Face::of(config)).collect::<Vec<_>>())),
        };
        self.publish.send_replace(Arc::new(catalog));
    }

    fn inputs<'a>(&'a self, servers: &'a [Face<'a>]) -> Inputs<'a> {
        Inputs {
            servers,
            records: &self.snapshot.records,
            listings: &self.listings,
            recorded: &self.recorded,
            builtin: &self.builtin,
            naming: self.config.naming,
            changes: &self.changes,
            pin: self.config.pin,
            settled: self.settled,
        }
    }
}

impl Listing {
    fn list(&mut self, kind: ListKind) -> &mut Vec<Item> {
        match kind {
            ListKind::Tools => &mut self.tools,
            ListKind::Prompts => &mut self.prompts,
            ListKind::Resources => &mut self.resources,
            ListKind::Templates => &mut self.templates,
        }
    }
}

/// Whether the server declares to have this list.
fn offers(link: &Link, kind: ListKind) -> bool {
    let capabilities = link.peer().capabilities;
    match kind {
        ListKind::Tools => capabilities.tools,
        ListKind::Prompts => capabilities.prompts,
        ListKind::Resources | ListKind::Templates => capabilities.resources,
    }
}
