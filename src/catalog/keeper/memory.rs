//! What is known from the last run, when it counts, and what is written for the next one.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::{
    catalog::{
        build::Listing,
        remembered::Remembered,
        store::{self, Kept, Stored},
    },
    protocol::server::{Fingerprint, ServerConfig, ServerId},
    source::{AppStatus, Snapshot, Told},
};

/// Changes are written together, this long after the first.
const SAVED_AFTER: Duration = Duration::from_secs(1);

pub(super) struct Memory {
    path: Option<PathBuf>,
    /// Of the last run: listings of servers that have not been seen in this one, and what the App said. The latter goes
    /// when the App has spoken.
    stored: Stored,
    /// When the file is written anew, if it has to be.
    due: Option<Instant>,
    /// Writes so far, and the last of them that was carried out: an older one that comes late must not undo it.
    turn: u64,
    written: Arc<Mutex<u64>>,
}

impl Memory {
    pub(super) fn load(path: Option<PathBuf>) -> Self {
        let stored = path.as_deref().map(store::load).unwrap_or_default();
        Self { path, stored, due: None, turn: 0, written: Arc::default() }
    }

    /// Takes note of what the sources say now.
    pub(super) fn hear(&mut self, snapshot: &Snapshot) {
        match snapshot.app {
            // SECURITY: what a key that is no longer valid once gave is not shown, and does not stay on the disk.
            AppStatus::Refused { .. } => {
                self.stored.servers.retain(|id, _| id.is_of_file());
                self.stored.app = None;
                self.due = Some(Instant::now());
            }
            AppStatus::Unset => self.stored.app = None,
            AppStatus::Loading | AppStatus::Current | AppStatus::Away { .. } if snapshot.told == Told::Now => {
                self.stored.app = None;
                self.note_change();
            }
            AppStatus::Loading | AppStatus::Current | AppStatus::Away { .. } => {}
        }
    }

    /// What is shown of the App's servers, while it has not spoken.
    pub(super) fn stand_in(&self, snapshot: &Snapshot) -> Option<&Remembered> {
        self.stored.app.as_deref().filter(|_| snapshot.told == Told::Nothing)
    }

    /// What this server listed, if it still is what it was. Given once.
    pub(super) fn take(&mut self, config: &ServerConfig) -> Option<Arc<Listing>> {
        let kept = self.stored.servers.get(&config.id)?;
        if kept.shape != config.shape() {
            return None;
        }
        Some(self.stored.servers.remove(&config.id)?.listing)
    }

    /// What is known of the servers, with what was known of those that have not been seen.
    pub(super) fn complete(&self, listings: &HashMap<ServerId, Arc<Listing>>) -> HashMap<ServerId, Arc<Listing>> {
        let mut all = listings.clone();
        for (id, kept) in &self.stored.servers {
            all.entry(id.clone()).or_insert_with(|| Arc::clone(&kept.listing));
        }
        all
    }

    /// Whether the first lists of the last run waited for this server in vain.
    pub(super) fn was_late(&self, config: &ServerConfig) -> bool {
        self.stored.late.get(&config.id) == Some(&config.shape())
    }

    /// The first lists have waited for these in vain.
    pub(super) fn note_late(&mut self, servers: Vec<(ServerId, Fingerprint)>) {
        self.stored.late.extend(servers);
        self.note_change();
    }

    /// Something is to be written.
    pub(super) fn note_change(&mut self) {
        if self.path.is_some() {
            self.due.get_or_insert_with(|| Instant::now() + SAVED_AFTER);
        }
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Keeps for the next start what is known of the present servers. `app` is what the App has said, if it has.
    pub(super) fn save(
        &mut self,
        snapshot: &Snapshot,
        listings: &HashMap<ServerId, Arc<Listing>>,
        app: Option<Remembered>,
        tracker: &TaskTracker,
    ) {
        self.due = None;
        let Some(path) = self.path.clone() else { return };
        let shapes = snapshot.servers.iter().map(|config| (&config.id, config.shape()));
        let kept = shapes.filter_map(|(id, shape)| Some((id.clone(), Kept { shape, listing: Arc::clone(listings.get(id)?) })));
        let mut servers: HashMap<_, _> = kept.collect();
        // While the App is silent, its servers are not gone.
        let is_awaited = !matches!(snapshot.app, AppStatus::Unset | AppStatus::Refused { .. });
        let keeps_absent = is_awaited && snapshot.told != Told::Now;
        if keeps_absent {
            for (id, kept) in &self.stored.servers {
                servers.entry(id.clone()).or_insert_with(|| kept.clone());
            }
        }
        let mut late = self.stored.late.clone();
        late.retain(|id, _| !servers.contains_key(id) && (keeps_absent || snapshot.servers.iter().any(|config| config.id == *id)));
        let stored = Stored { servers, late, app: app.map(Arc::new).or_else(|| self.stored.app.clone()) };
        self.turn += 1;
        let (turn, written) = (self.turn, Arc::clone(&self.written));
        tracker.spawn_blocking(move || {
            // A number is written, so a panic leaves nothing half done.
            let mut last = written.lock().unwrap_or_else(PoisonError::into_inner);
            if *last > turn {
                return;
            }
            *last = turn;
            if let Err(error) = store::save(&path, &stored) {
                tracing::debug!(reason = %error.kind(), "the catalog could not be stored");
            }
        });
    }
}
