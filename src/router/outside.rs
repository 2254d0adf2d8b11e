//! What servers say and ask outside of calls, on connections that have one client only: it is for that client. On a
//! connection that has several it is never passed on, because it cannot be told whose it is.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{sync::oneshot, time::sleep};
use tracing::{Instrument, info_span};

use super::{ClientPeer, Ctx, Router, SessionPeer, logging, reverse, tasks};
use crate::{
    downstream::{Ask, Place, Seat},
    protocol::{
        error::{ErrorObject, INVALID_REQUEST},
        message::{Id, Message},
    },
    telemetry::metrics::{self, Dropped},
};

/// Requests of one connection that may wait for the client at once. A person answers one after the other.
const OPEN: usize = 64;

/// The clients that are alone on their connections, and what they are asked.
#[derive(Debug, Default)]
pub(super) struct Outside {
    table: Mutex<Table>,
    /// Clients in the table. Requests without a session end often, and need not look into it.
    known: AtomicUsize,
}

#[derive(Debug, Default)]
struct Table {
    clients: HashMap<Seat, Reached>,
    /// Each ends when its sender is used.
    open: HashMap<(Place, Id), oneshot::Sender<()>>,
}

/// How a client is reached while no call of its runs.
#[derive(Debug)]
struct Reached {
    session: Weak<dyn SessionPeer>,
    client: Arc<dyn ClientPeer>,
}

impl Router {
    /// As [`begin`](Self::begin), where there is this client and no other, and it has said what it can do. All
    /// connections are its own until it is [forgotten](Self::forget).
    pub fn begin_for(&self, only: &Ctx) {
        self.outside.enter(Seat::Shared, only);
        self.pool.begin(Some(only.session.declared()));
    }

    /// The client says that its roots have changed. Those servers hear of it that were told of them.
    pub fn tell_roots_changed(&self, session: u64, notification: &Message) {
        let links = match self.outside.seat(session) {
            Some(Seat::Shared) => self.pool.links(),
            Some(Seat::Session(session)) => self.pool.own_links(session),
            None => return,
        };
        for link in links.into_iter().filter(|link| link.peer().revision.has_handshake()) {
            link.notify_soon(notification.clone().into());
        }
    }

    /// This client gets connections of its own.
    pub(super) fn admit_outside(&self, session: u64, ctx: &Ctx) {
        if let Some(client) = Arc::clone(&ctx.session).outside() {
            self.outside.enter(Seat::Session(session), &Ctx { session: Arc::clone(&ctx.session), client });
        }
    }

    /// Puts a request of a server to the one client that it can be meant for.
    pub(super) fn ask_outside(&self, place: Place, ask: Ask) {
        let Some(ctx) = self.outside.client(place.seat) else {
            return ask.refuse(&ErrorObject::new(INVALID_REQUEST, "there is no client that could answer this"));
        };
        if let Some(refusal) = reverse::refusal(&ctx.session.declared(), ask.request()) {
            tracing::debug!(server = %place, method = ask.request().method(), "what the server asked was refused: {}", refusal.message);
            return ask.refuse(&refusal);
        }
        // Roots belong to no call, but the stream of one is better than none.
        let left = if ctx.client.can_be_asked() { Some(ask) } else { ask.put_to_call() };
        let Some(ask) = left else { return };
        let (withdraw, withdrawn) = oneshot::channel();
        let key = (place, ask.id());
        if let Err(why) = self.outside.open(key.clone(), withdraw) {
            return ask.refuse(&ErrorObject::new(INVALID_REQUEST, why));
        }
        self.elicitations.note(&ctx, &key.0, ask.request().body());
        let (outside, token, longest) = (Arc::clone(&self.outside), self.token.clone(), self.config.call_timeout_max);
        let span = info_span!("outside", server = %key.0);
        let asking = async move {
            let link = Arc::clone(ask.link());
            tokio::select! {
                () = reverse::put(ctx, ask, withdrawn) => {}
                () = link.ended() => {}
                () = sleep(longest) => {}
                () = token.cancelled() => {}
            }
            outside.close(&key);
        };
        self.tracker.spawn(asking.instrument(span));
    }

    /// The server does not wait for the answer any more.
    pub(super) fn withdraw_outside(&self, place: Place, id: Id) {
        if let Some(withdraw) = self.outside.close(&(place, id)) {
            // An error means that the answer is on its way to the server.
            let _ = withdraw.send(());
        }
    }

    pub(super) fn log_outside(&self, place: &Place, message: Message) {
        match self.outside.client(place.seat) {
            Some(ctx) if logging::is_wanted(&message, ctx.session.verbosity()) => ctx.session.announce(message.into()),
            Some(_) => {}
            None => metrics::dropped(Dropped::UnclearLogMessage),
        }
    }

    pub(super) fn say_outside(&self, place: &Place, message: Message) {
        match self.outside.client(place.seat) {
            Some(ctx) => ctx.session.announce(tasks::announced(&place.server, message)),
            None => metrics::dropped(Dropped::UnclearNotification),
        }
    }
}

impl Outside {
    fn enter(&self, seat: Seat, ctx: &Ctx) {
        let reached = Reached { session: Arc::downgrade(&ctx.session), client: Arc::clone(&ctx.client) };
        let mut table = self.table();
        table.clients.insert(seat, reached);
        self.known.store(table.clients.len(), Ordering::Release);
    }

    /// The session is over. What it was asked ends by itself.
    pub(super) fn forget(&self, session: u64) {
        if self.known.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut table = self.table();
        if let Some(seat) = table.seat(session) {
            table.clients.remove(&seat);
        }
        self.known.store(table.clients.len(), Ordering::Release);
    }

    fn client(&self, seat: Seat) -> Option<Ctx> {
        let table = self.table();
        let Reached { session, client } = table.clients.get(&seat)?;
        Some(Ctx { session: session.upgrade()?, client: Arc::clone(client) })
    }

    /// Whose connections are this session's alone.
    fn seat(&self, session: u64) -> Option<Seat> {
        self.table().seat(session)
    }

    /// # Errors
    /// What the server is told where as many are open as may be, or it has used this id for another one.
    fn open(&self, key: (Place, Id), withdraw: oneshot::Sender<()>) -> Result<(), String> {
        let mut table = self.table();
        if table.open.contains_key(&key) {
            return Err("this request id is in use by a request that waits for the client".to_owned());
        }
        if table.open.keys().filter(|(place, _)| *place == key.0).count() >= OPEN {
            return Err(format!("{OPEN} requests of this server wait for the client already"));
        }
        table.open.insert(key, withdraw);
        Ok(())
    }

    fn close(&self, key: &(Place, Id)) -> Option<oneshot::Sender<()>> {
        self.table().open.remove(key)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Whole entries go in and out, so a panic leaves nothing half done.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Whose connections are this session's alone.
    fn seat(&self, session: u64) -> Option<Seat> {
        let own = Seat::Session(session);
        if self.clients.contains_key(&own) {
            return Some(own);
        }
        let only = self.clients.get(&Seat::Shared)?.session.upgrade()?;
        (only.number() == session).then_some(Seat::Shared)
    }
}
