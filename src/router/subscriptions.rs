//! `resources/subscribe` (specification, server/resources, "subscriptions"). A server knows one
//! subscriber, the proxy; who has asked for what is known here.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use bytes::Bytes;
use serde_json::json;
use tokio::time::timeout;

use super::{Answer, CallError, Ctx, Router, SessionPeer, forward::Outgoing};
use crate::{
    downstream::Link,
    protocol::{
        json::{Object, quoted},
        message::{Frame, Kind, Message},
        server::ServerId,
    },
    telemetry::metrics::{self, Dropped},
};

/// Resources of one session. Each costs memory as long as the session lasts.
const EACH: usize = 1_000;
/// For one subscription that is made or ended without a client that waits.
const TELLING: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct Subscriptions(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    sessions: HashMap<u64, Subscriber>,
    /// By the servers' own URIs.
    servers: HashMap<ServerId, HashMap<String, Vec<Named>>>,
}

#[derive(Debug)]
struct Subscriber {
    peer: Weak<dyn SessionPeer>,
    /// By the URIs that the client uses: whose each is, and what the server calls it.
    resources: HashMap<String, (ServerId, String)>,
}

/// A subscription, as one session names it.
#[derive(Debug, PartialEq, Eq)]
struct Named {
    session: u64,
    uri: String,
}

impl Router {
    /// # Errors
    /// [`CallError`]
    pub async fn subscribe(&self, ctx: &Ctx, request: &Message) -> Result<Answer, CallError> {
        let mut outgoing = Outgoing::of(request)?;
        let uri = outgoing.string("uri")?;
        let (server, original) = self.resolve_uri(&uri).await.ok_or_else(|| CallError::UnknownResource { uri: uri.clone() })?;
        let target = self.target(&server);
        if !self.reach(&target).await?.peer().capabilities.subscriptions {
            return Err(CallError::NoSubscriptions { server: target.name() });
        }
        if self.subscriptions.is_full(ctx.session.number(), &uri) {
            return Err(CallError::TooManySubscriptions { limit: EACH });
        }
        if self.subscriptions.has(&server, &original) {
            self.subscriptions.add(ctx, &server, original, uri);
            return Ok(done());
        }
        if original != uri {
            let params = outgoing.params.clone();
            outgoing.rename(&params, "uri", &original);
        }
        let reply = self.forward(ctx, &server, &outgoing).await?;
        if reply.kind() == Kind::Result {
            self.subscriptions.add(ctx, &server, original, uri);
            self.hold(&server);
        }
        Ok(Answer::Forwarded(reply, None))
    }

    /// Of what is not subscribed, too: a server that is back may have changed its mind about whose a URI is.
    ///
    /// # Errors
    /// [`CallError::InvalidParams`]
    pub async fn unsubscribe(&self, ctx: &Ctx, request: &Message) -> Result<Answer, CallError> {
        let uri = Outgoing::of(request)?.string("uri")?;
        if let Some((server, original)) = self.subscriptions.remove(ctx.session.number(), &uri) {
            self.let_go(server, original).await;
        }
        Ok(done())
    }

    /// Ends all that a session has subscribed to.
    pub(super) fn end_subscriptions(&self, session: u64) {
        let ended = self.subscriptions.remove_all(session);
        if !ended.is_empty() {
            let router = self.clone();
            self.tracker.spawn(async move {
                for (server, original) in ended {
                    router.let_go(server, original).await;
                }
            });
        }
    }

    /// Makes the subscriptions again that the server has forgotten with its last connection.
    pub(super) fn renew_subscriptions(&self, server: ServerId, link: Arc<Link>) {
        let originals = self.subscriptions.originals(&server);
        if originals.is_empty() {
            return;
        }
        link.hold(true);
        self.tracker.spawn(async move {
            tokio::select! {
                () = link.ended() => {}
                () = async {
                    for original in originals {
                        tell(&server, &link, "resources/subscribe", &original).await;
                    }
                } => {}
            }
        });
    }

    /// Nobody has this subscription any more.
    async fn let_go(&self, server: ServerId, original: String) {
        let link = self.pool.status(&server).and_then(|status| status.link().cloned());
        // A server that is away has forgotten it already.
        let Some(link) = link else { return };
        tell(&server, &link, "resources/unsubscribe", &original).await;
        if self.subscriptions.has(&server, &original) {
            // Somebody subscribed in between, and the server may have heard that first.
            tell(&server, &link, "resources/subscribe", &original).await;
        }
        self.hold(&server);
    }

    /// Keeps the server running as long as anybody waits for its news.
    fn hold(&self, server: &ServerId) {
        if let Some(link) = self.pool.status(server).as_ref().and_then(|status| status.link()) {
            link.hold(!self.subscriptions.originals(server).is_empty());
        }
    }
}

fn done() -> Answer {
    Answer::Result(Bytes::from_static(b"{}"))
}

async fn tell(server: &ServerId, link: &Arc<Link>, method: &str, uri: &str) {
    let params = json!({ "uri": uri }).to_string();
    if !matches!(timeout(TELLING, link.request(method, &params)).await, Ok(Ok(reply)) if reply.kind() == Kind::Result) {
        tracing::warn!(%server, method, "the server did not agree; its news may be missing, or come for nothing");
    }
}

impl Subscriptions {
    fn is_full(&self, session: u64, uri: &str) -> bool {
        let table = self.table();
        table.sessions.get(&session).is_some_and(|known| known.resources.len() >= EACH && !known.resources.contains_key(uri))
    }

    fn has(&self, server: &ServerId, original: &str) -> bool {
        self.table().servers.get(server).is_some_and(|resources| resources.contains_key(original))
    }

    fn originals(&self, server: &ServerId) -> Vec<String> {
        self.table().servers.get(server).map(|resources| resources.keys().cloned().collect()).unwrap_or_default()
    }

    fn add(&self, ctx: &Ctx, server: &ServerId, original: String, uri: String) {
        let session = ctx.session.number();
        let mut table = self.table();
        let new = || Subscriber { peer: Arc::downgrade(&ctx.session), resources: HashMap::new() };
        let resources = &mut table.sessions.entry(session).or_insert_with(new).resources;
        let named = Named { session, uri };
        // The URI may have meant something else when the session used it last.
        if let Some((server, original)) = resources.insert(named.uri.clone(), (server.clone(), original.clone())) {
            table.take(&server, &original, &named);
        }
        table.servers.entry(server.clone()).or_default().entry(original).or_default().push(named);
    }

    /// Whose it was and what the server calls it, if nobody has it any more.
    fn remove(&self, session: u64, uri: &str) -> Option<(ServerId, String)> {
        let mut table = self.table();
        let subscriber = table.sessions.get_mut(&session)?;
        let (server, original) = subscriber.resources.remove(uri)?;
        if subscriber.resources.is_empty() {
            table.sessions.remove(&session);
        }
        table.take(&server, &original, &Named { session, uri: uri.to_owned() }).then_some((server, original))
    }

    fn remove_all(&self, session: u64) -> Vec<(ServerId, String)> {
        let mut table = self.table();
        let Some(subscriber) = table.sessions.remove(&session) else { return Vec::new() };
        let mut ended = Vec::new();
        for (uri, (server, original)) in subscriber.resources {
            if table.take(&server, &original, &Named { session, uri }) {
                ended.push((server, original));
            }
        }
        ended
    }

    /// Tells who has subscribed, with the URI that each knows.
    pub(super) fn updated(&self, server: &ServerId, message: &Message) {
        let params = message.body().and_then(|params| Object::parse(params).ok());
        let Some((params, updated)) = params.and_then(|params| params.string("uri").map(|uri| (params.clone(), uri))) else { return };
        let told = self.table().told(server, &updated);
        if told.is_empty() {
            metrics::dropped(Dropped::UnwantedUpdate);
            return tracing::debug!(%server, "an update that nobody has subscribed to was dropped");
        }
        for (peer, uri) in told {
            let Some(peer) = peer.upgrade() else { continue };
            let span = params.span(message.text(), "uri").filter(|_| uri != updated);
            let edits = span.map(|span| (span, quoted(&uri)));
            peer.announce(Frame::spliced(message.text(), edits.into_iter().collect()));
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Its two halves are changed without a step between that could panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// True if this was the last.
    fn take(&mut self, server: &ServerId, original: &str, named: &Named) -> bool {
        let Some(resources) = self.servers.get_mut(server) else { return false };
        let Some(subscribed) = resources.get_mut(original) else { return false };
        subscribed.retain(|other| other != named);
        if !subscribed.is_empty() {
            return false;
        }
        resources.remove(original);
        if resources.is_empty() {
            self.servers.remove(server);
        }
        true
    }

    /// Who is told that `updated` has changed, and what each calls it. It may be a part of
    /// what was subscribed to.
    fn told(&self, server: &ServerId, updated: &str) -> Vec<(Weak<dyn SessionPeer>, String)> {
        let Some(resources) = self.servers.get(server) else { return Vec::new() };
        let concerned = resources.iter().filter_map(|(original, subscribed)| Some((original, part_of(updated, original)?, subscribed)));
        let named = concerned.flat_map(|(original, part, subscribed)| subscribed.iter().map(move |named| (original, part, named)));
        let mut told: Vec<_> = named.map(|(original, part, named)| (named.session, client_uri(&named.uri, original, part))).collect();
        // One who has subscribed to a whole and to a part of it hears it once.
        told.sort_unstable();
        told.dedup();
        told.into_iter().filter_map(|(session, uri)| Some((Weak::clone(&self.sessions.get(&session)?.peer), uri))).collect()
    }
}

/// What follows `whole` in `uri`, if that is the same resource or one below it.
fn part_of<'a>(uri: &'a str, whole: &str) -> Option<&'a str> {
    let part = uri.strip_prefix(whole)?;
    (part.is_empty() || whole.ends_with('/') || part.starts_with(['/', '#', '?'])).then_some(part)
}

/// What a client that calls `original` `uri` calls a part of it.
fn client_uri(uri: &str, original: &str, part: &str) -> String {
    match uri.strip_suffix(original) {
        Some(marker) => format!("{marker}{original}{part}"),
        None => format!("{uri}{part}"),
    }
}
