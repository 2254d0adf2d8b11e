//! `subscriptions/listen` (2026-07-28, "Subscriptions"): a request that is answered when it is over, and tells its client
//! until then what it has asked to hear of.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::announced::Announced;
use crate::{
    protocol::{
        declared::{Declared, SUBSCRIPTION_KEY},
        log_level::Verbosity,
        message::{Frame, Id, Message},
    },
    router::{
        Answer, CallError, Ctx, Router, SessionPeer, events,
        listen::{Filter, marked},
    },
    security::rate_limit::Allowance,
};

/// The listeners of one session, and when they are over.
#[derive(Debug)]
pub(super) struct Listeners {
    open: AtomicUsize,
    closing: CancellationToken,
}

impl Listeners {
    /// Those that `closing` ends.
    pub(super) fn new(closing: CancellationToken) -> Self {
        Self { open: AtomicUsize::new(0), closing }
    }

    /// Nothing more is told; each gets its answer.
    pub(super) fn close(&self) {
        self.closing.cancel();
    }

    /// Cancelled when all is over.
    pub(super) fn closing(&self) -> &CancellationToken {
        &self.closing
    }

    pub(super) fn len(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Tells the client of `ctx` what it wants to hear of, until all is over. The router knows the listener by `number`.
    ///
    /// # Errors
    /// [`CallError::InvalidParams`]
    pub(super) async fn serve(&self, number: u64, request: &Message, router: &Router, ctx: &Ctx) -> Result<Answer, CallError> {
        let filter = Filter::of(request)?;
        let id = request.id().expect("a request has an id");
        let listener = Arc::new(Listener { number, id: id.clone(), asker: Arc::clone(&ctx.session), announced: Announced::default() });
        self.open.fetch_add(1, Ordering::Relaxed);
        let _open = Open { listeners: self, router, number };
        tokio::select! {
            biased;
            () = self.closing.cancelled() => {}
            never = tell(&listener, filter, router, ctx) => match never {},
        }
        let id: serde_json::Value = serde_json::from_slice(id.as_json()).expect("an id is JSON");
        Ok(Answer::Result(json!({ "_meta": { SUBSCRIPTION_KEY: id } }).to_string().into()))
    }
}

async fn tell(listener: &Arc<Listener>, filter: Filter, router: &Router, ctx: &Ctx) -> Infallible {
    let own = Ctx { session: Arc::clone(listener) as _, client: Arc::clone(&ctx.client) };
    let accepted = router.accept(&own, filter).await;
    // What changes from here on is told; what the client has read before it says by its own requests.
    let known = events::Read::of(&accepted.lists(), &router.catalog().current());
    ctx.client.notify(marked(accepted.acknowledgement(), &listener.id)).await;
    let changes = async {
        events::watch(router.catalog().subscribe(), &known, |frame| listener.announce(frame)).await;
        std::future::pending::<Infallible>().await
    };
    let telling = async {
        loop {
            ctx.client.notify(listener.announced.next().await).await;
        }
    };
    // A client that does not read holds up what it is told, and not what is noticed for it.
    tokio::select! {
        never = changes => never,
        never = telling => never,
    }
}

/// One who listens, as the router knows it.
#[derive(Debug)]
struct Listener {
    number: u64,
    /// Of the request.
    id: Id,
    asker: Arc<dyn SessionPeer>,
    announced: Announced,
}

impl SessionPeer for Listener {
    fn number(&self) -> u64 {
        self.number
    }

    fn declared(&self) -> Arc<Declared> {
        self.asker.declared()
    }

    fn announce(&self, frame: Frame) {
        self.announced.push(marked(frame, &self.id));
    }

    fn verbosity(&self) -> Verbosity {
        Verbosity::Nothing
    }

    fn allowance(&self) -> &Allowance {
        self.asker.allowance()
    }
}

/// A listener that is not over yet.
struct Open<'a> {
    listeners: &'a Listeners,
    router: &'a Router,
    number: u64,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.router.forget(self.number);
        self.listeners.open.fetch_sub(1, Ordering::Relaxed);
    }
}
