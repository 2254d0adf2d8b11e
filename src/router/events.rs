//! What a client is told outside of its calls: that a list is no longer the one it has
//! read, or the one that was there when it began to listen.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::{
    catalog::{Catalog, ListKind},
    protocol::message::{Frame, Message},
};

/// Servers come one after the other; the client is told once.
const CHANGES_TOGETHER: Duration = Duration::from_millis(50);

/// What somebody knows of each list.
#[derive(Debug, Default)]
pub struct Read {
    generations: Mutex<[Option<u64>; 4]>,
}

impl Read {
    /// Of one that has these lists as they are in this catalog.
    pub fn of(kinds: &[ListKind], catalog: &Catalog) -> Self {
        let read = Self::default();
        for kind in kinds {
            read.note(*kind, catalog.generation(*kind));
        }
        read
    }

    /// The session gets this list now.
    pub fn note(&self, kind: ListKind, generation: u64) {
        self.lock()[kind as usize] = Some(generation);
    }

    /// The lists that have changed since, each reported once until it is read again
    /// or changes again.
    fn changed(&self, catalog: &Catalog) -> Vec<ListKind> {
        let mut generations = self.lock();
        ListKind::ALL
            .into_iter()
            .filter(|kind| {
                let known = &mut generations[*kind as usize];
                let current = catalog.generation(*kind);
                known.is_some_and(|generation| generation != current) && known.replace(current).is_some()
            })
            .collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, [Option<u64>; 4]> {
        self.generations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives a notification for each list that is not, or is no longer, as the client has read it,
/// until there will be no more changes.
pub async fn watch(mut catalogs: watch::Receiver<Arc<Catalog>>, read: &Read, mut notify: impl FnMut(Frame)) {
    loop {
        let catalog = Arc::clone(&catalogs.borrow_and_update());
        let mut methods: Vec<_> = read.changed(&catalog).into_iter().map(method).collect();
        methods.dedup();
        for method in methods {
            notify(Message::notification(method, None).into());
        }
        if catalogs.changed().await.is_err() {
            return;
        }
        tokio::time::sleep(CHANGES_TOGETHER).await;
    }
}

fn method(kind: ListKind) -> &'static str {
    match kind {
        ListKind::Tools => "notifications/tools/list_changed",
        ListKind::Prompts => "notifications/prompts/list_changed",
        ListKind::Resources | ListKind::Templates => "notifications/resources/list_changed",
    }
}
