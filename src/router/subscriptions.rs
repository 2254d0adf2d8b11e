//! `resources/subscribe` (specification, server/resources, "subscriptions"), and tasks that are listened to (2026-07-28). A server
//! knows one subscriber, the proxy; who has asked for what is known here.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use bytes::Bytes;
use serde_json::json;
use tokio::time::timeout;

use super::{Answer, CallError, Ctx, Router, SessionPeer, forward::Outgoing, tasks};
use crate::{
    downstream::{Link, Place, Topic},
    protocol::{
        json::{Object, quoted},
        message::{Frame, Kind, Message},
    },
    telemetry::metrics::{self, Dropped},
};

/// Topics of one session. Each costs memory as long as the session lasts.
pub(super) const EACH: usize = 1_000;
/// For one subscription that is made or ended without a client that waits.
pub(super) const TELLING: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct Subscriptions(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    sessions: HashMap<u64, Subscriber>,
    /// By the servers' own names.
    places: HashMap<Place, HashMap<Topic, Vec<Named>>>,
}

#[derive(Debug)]
struct Subscriber {
    peer: Weak<dyn SessionPeer>,
    /// By the names that the client uses: whose each is, and what the server calls it.
    topics: HashMap<Topic, (Place, Topic)>,
}

/// A subscription, as one session names it.
#[derive(Debug, PartialEq, Eq)]
struct Named {
    session: u64,
    name: Topic,
}

impl Router {
    /// # Errors
    /// [`CallError`]
    pub async fn subscribe(&self, ctx: &Ctx, request: &Message) -> Result<Answer, CallError> {
        let mut outgoing = Outgoing::of(request)?;
        let uri = outgoing.string("uri")?;
        let (permit, server, original) = self.admit_uri(ctx, &uri).await?;
        self.configured(&server).await?;
        let target = self.target(&server);
        let link = self.reach(ctx, &target).await?;
        let place = link.place();
        if !link.peer().capabilities.subscriptions {
            return Err(CallError::NoSubscriptions { server: target.name() });
        }
        let (name, topic) = (Topic::Resource(uri.clone()), Topic::Resource(original.clone()));
        if self.subscriptions.is_full(ctx.session.number(), &name) {
            return Err(CallError::TooManySubscriptions { limit: EACH });
        }
        if self.subscriptions.has(place, &topic) {
            self.add_subscription(ctx, place, topic, name).await;
            return Ok(done());
        }
        if !link.peer().revision.has_handshake() {
            let is_told = self.listen_to(ctx, &link, topic, name).await;
            return if is_told { Ok(done()) } else { Err(CallError::NoSubscriptions { server: target.name() }) };
        }
        if original != uri {
            let params = outgoing.params.clone();
            outgoing.rename(&params, "uri", &original);
        }
        let reply = self.forward(permit, ctx, &server, &mut outgoing).await?;
        if reply.kind() == Kind::Result {
            self.add_subscription(ctx, place, topic, name).await;
            self.hold(place);
        }
        Ok(Answer::Forwarded(reply, None))
    }

    /// Has a server without a handshake tell of one topic more. False if it does not.
    async fn listen_to(&self, ctx: &Ctx, link: &Link, topic: Topic, name: Topic) -> bool {
        let place = link.place();
        self.add_subscription(ctx, place, topic.clone(), name.clone()).await;
        let is_told = self.watch(place, link).await.is_some_and(|rejected| !rejected.contains(&topic));
        if !is_told {
            self.subscriptions.remove(ctx.session.number(), &name);
        }
        self.hold(place);
        is_told
    }

    /// Whether the client is told from now on how the task of this name goes on. Only servers of 2026-07-28 tell of that.
    pub(super) async fn listen_to_task(&self, ctx: &Ctx, name: &str) -> bool {
        let Some((server, task)) = tasks::owner(&self.catalog.current(), name) else { return false };
        let name = Topic::Task(name.to_owned());
        if self.subscriptions.is_full(ctx.session.number(), &name) {
            return false;
        }
        match timeout(TELLING, self.reach(ctx, &self.target(&server))).await {
            Ok(Ok(link)) if !link.peer().revision.has_handshake() => self.listen_to(ctx, &link, Topic::Task(task), name).await,
            Ok(Ok(_) | Err(_)) | Err(_) => false,
        }
    }

    async fn add_subscription(&self, ctx: &Ctx, place: &Place, topic: Topic, name: Topic) {
        if let Some((place, topic)) = self.subscriptions.add(ctx, place, topic, name) {
            self.let_go(place, topic).await;
        }
    }

    /// Of what is not subscribed, too: a server that is back may have changed its mind about whose a URI is.
    ///
    /// # Errors
    /// [`CallError::InvalidParams`]
    pub async fn unsubscribe(&self, ctx: &Ctx, request: &Message) -> Result<Answer, CallError> {
        let uri = Outgoing::of(request)?.string("uri")?;
        if let Some((place, topic)) = self.subscriptions.remove(ctx.session.number(), &Topic::Resource(uri)) {
            self.let_go(place, topic).await;
        }
        Ok(done())
    }

    /// Ends all that a session has subscribed to.
    pub(super) fn end_subscriptions(&self, session: u64) {
        let ended = self.subscriptions.remove_all(session);
        if !ended.is_empty() {
            let router = self.clone();
            self.tracker.spawn(async move {
                for (place, topic) in ended {
                    router.let_go(place, topic).await;
                }
            });
        }
    }

    /// Makes the subscriptions again that the server has forgotten with its last connection.
    pub(super) fn renew_subscriptions(&self, place: Place, link: Arc<Link>) {
        let topics = self.subscriptions.topics(&place);
        if topics.is_empty() {
            return;
        }
        link.hold(true);
        let router = self.clone();
        self.tracker.spawn(async move {
            if !link.peer().revision.has_handshake() {
                router.watch(&place, &link).await;
                return;
            }
            tokio::select! {
                () = link.ended() => {}
                () = async {
                    for topic in topics {
                        tell(&place, &link, "resources/subscribe", &topic).await;
                    }
                } => {}
            }
        });
    }

    /// Nobody has this subscription any more.
    async fn let_go(&self, place: Place, topic: Topic) {
        let link = self.pool.link_at(&place);
        // A server that is away has forgotten it already.
        let Some(link) = link else { return };
        if !link.peer().revision.has_handshake() {
            self.watch(&place, &link).await;
            return self.hold(&place);
        }
        tell(&place, &link, "resources/unsubscribe", &topic).await;
        if self.subscriptions.has(&place, &topic) {
            // Somebody subscribed in between, and the server may have heard that first.
            tell(&place, &link, "resources/subscribe", &topic).await;
        }
        self.hold(&place);
    }

    /// Has a server without a handshake tell of what is subscribed to. Gives what it does not tell of; `None` if it tells of nothing.
    async fn watch(&self, place: &Place, link: &Link) -> Option<HashSet<Topic>> {
        timeout(TELLING, link.watch(|| self.subscriptions.topics(place))).await.unwrap_or_else(|_| {
            // It is asked again until it does.
            tracing::warn!(server = %place, "the server does not tell of changes yet; news may be missing");
            Some(HashSet::new())
        })
    }

    /// Keeps the server running as long as anybody waits for its news.
    fn hold(&self, place: &Place) {
        if let Some(link) = self.pool.link_at(place) {
            link.hold(!self.subscriptions.topics(place).is_empty());
        }
    }
}

fn done() -> Answer {
    Answer::Result(Bytes::from_static(b"{}"))
}

async fn tell(place: &Place, link: &Arc<Link>, method: &str, topic: &Topic) {
    // Servers with a handshake know no other topics.
    let Topic::Resource(uri) = topic else { return };
    let params = json!({ "uri": uri }).to_string();
    if !matches!(timeout(TELLING, link.request(method, &params)).await, Ok(Ok(reply)) if reply.kind() == Kind::Result) {
        tracing::warn!(server = %place, method, "the server did not agree; its news may be missing, or come for nothing");
    }
}

impl Subscriptions {
    fn is_full(&self, session: u64, name: &Topic) -> bool {
        let table = self.table();
        table.sessions.get(&session).is_some_and(|known| known.topics.len() >= EACH && !known.topics.contains_key(name))
    }

    fn has(&self, place: &Place, topic: &Topic) -> bool {
        self.table().places.get(place).is_some_and(|topics| topics.contains_key(topic))
    }

    fn topics(&self, place: &Place) -> Vec<Topic> {
        self.table().places.get(place).map(|topics| topics.keys().cloned().collect()).unwrap_or_default()
    }

    /// Gives what the name meant when the session used it last, if that is something else and
    /// nobody has it any more.
    fn add(&self, ctx: &Ctx, place: &Place, topic: Topic, name: Topic) -> Option<(Place, Topic)> {
        let named = Named { session: ctx.session.number(), name };
        let mut table = self.table();
        let subscribed = table.places.entry(place.clone()).or_default().entry(topic.clone()).or_default();
        if !subscribed.contains(&named) {
            subscribed.push(Named { session: named.session, name: named.name.clone() });
        }
        let new = || Subscriber { peer: Arc::downgrade(&ctx.session), topics: HashMap::new() };
        let topics = &mut table.sessions.entry(named.session).or_insert_with(new).topics;
        let target = (place.clone(), topic);
        let (place, topic) = topics.insert(named.name.clone(), target.clone()).filter(|old| *old != target)?;
        table.take(&place, &topic, &named).then_some((place, topic))
    }

    /// Whose it was and what the server calls it, if nobody has it any more.
    fn remove(&self, session: u64, name: &Topic) -> Option<(Place, Topic)> {
        let mut table = self.table();
        let subscriber = table.sessions.get_mut(&session)?;
        let (place, topic) = subscriber.topics.remove(name)?;
        if subscriber.topics.is_empty() {
            table.sessions.remove(&session);
        }
        table.take(&place, &topic, &Named { session, name: name.clone() }).then_some((place, topic))
    }

    fn remove_all(&self, session: u64) -> Vec<(Place, Topic)> {
        let mut table = self.table();
        let Some(subscriber) = table.sessions.remove(&session) else { return Vec::new() };
        let mut ended = Vec::new();
        for (name, (place, topic)) in subscriber.topics {
            if table.take(&place, &topic, &Named { session, name }) {
                ended.push((place, topic));
            }
        }
        ended
    }

    /// Tells who has subscribed, with the URI that each knows.
    pub(super) fn updated(&self, place: &Place, message: &Message) {
        let params = message.body().and_then(|params| Object::parse(params).ok());
        let Some((params, updated)) = params.and_then(|params| params.string("uri").map(|uri| (params.clone(), uri))) else { return };
        let told = self.table().told(place, &updated);
        if told.is_empty() {
            metrics::dropped(Dropped::UnwantedUpdate);
            return tracing::debug!(server = %place, "an update that nobody has subscribed to was dropped");
        }
        for (peer, uri) in told {
            let Some(peer) = peer.upgrade() else { continue };
            let span = params.span(message.text(), "uri").filter(|_| uri != updated);
            let edits = span.map(|span| (span, quoted(&uri)));
            peer.announce(Frame::spliced(message.text(), edits.into_iter().collect()));
        }
    }

    /// Tells who listens to the task how it goes on. False if nobody does.
    pub(super) fn task_changed(&self, place: &Place, message: &Message) -> bool {
        let params = message.body().and_then(|params| Object::parse(params).ok());
        let Some(task) = params.and_then(|params| params.string("taskId").map(|task| Topic::Task(task.into_owned()))) else { return false };
        let told: Vec<_> = {
            let table = self.table();
            let named = table.places.get(place).and_then(|topics| topics.get(&task));
            named.into_iter().flatten().filter_map(|named| table.sessions.get(&named.session)?.peer.upgrade()).collect()
        };
        for peer in &told {
            peer.announce(tasks::announced(&place.server, message.clone()));
        }
        !told.is_empty()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Its two halves are changed without a step between that could panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// True if this was the last.
    fn take(&mut self, place: &Place, topic: &Topic, named: &Named) -> bool {
        let Some(topics) = self.places.get_mut(place) else { return false };
        let Some(subscribed) = topics.get_mut(topic) else { return false };
        subscribed.retain(|other| other != named);
        if !subscribed.is_empty() {
            return false;
        }
        topics.remove(topic);
        if topics.is_empty() {
            self.places.remove(place);
        }
        true
    }

    /// Who is told that `updated` has changed, and what each calls it. It may be a part of
    /// what was subscribed to.
    fn told(&self, place: &Place, updated: &str) -> Vec<(Weak<dyn SessionPeer>, String)> {
        let Some(topics) = self.places.get(place) else { return Vec::new() };
        let resources = topics.iter().filter_map(|(topic, subscribed)| Some((uri_of(topic)?, subscribed)));
        let concerned = resources.filter_map(|(original, subscribed)| Some((original, part_of(updated, original)?, subscribed)));
        let named = concerned.flat_map(|(original, part, subscribed)| subscribed.iter().map(move |named| (original, part, named)));
        let mut told: Vec<_> =
            named.filter_map(|(original, part, named)| Some((named.session, client_uri(uri_of(&named.name)?, original, part)))).collect();
        // One who has subscribed to a whole and to a part of it hears it once.
        told.sort_unstable();
        told.dedup();
        told.into_iter().filter_map(|(session, uri)| Some((Weak::clone(&self.sessions.get(&session)?.peer), uri))).collect()
    }
}

fn uri_of(topic: &Topic) -> Option<&str> {
    match topic {
        Topic::Resource(uri) => Some(uri),
        Topic::Task(_) => None,
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

#[cfg(test)]
mod tests {
    use futures_util::future::BoxFuture;

    use super::*;
    use crate::{
        protocol::{declared::Declared, log_level::Verbosity, server::ServerId},
        router::{AskError, ClientPeer, Report},
        security::rate_limit::Allowance,
    };

    /// A session that keeps what it is told.
    #[derive(Debug, Default)]
    struct Told {
        number: u64,
        frames: Mutex<Vec<String>>,
    }

    impl SessionPeer for Told {
        fn number(&self) -> u64 {
            self.number
        }

        fn declared(&self) -> Arc<Declared> {
            Arc::new(Declared::nothing())
        }

        fn announce(&self, frame: Frame) {
            let text = String::from_utf8_lossy(&frame.into_bytes()).into_owned();
            self.frames.lock().expect("nobody panics").push(text);
        }

        fn verbosity(&self) -> Verbosity {
            Verbosity::All
        }

        fn allowance(&self) -> &Allowance {
            &Allowance::Unlimited
        }
    }

    impl ClientPeer for Told {
        fn notify(&self, _: Frame) -> BoxFuture<'_, ()> {
            Box::pin(std::future::ready(()))
        }

        fn ask(&self, _: &Message, _: Option<Arc<dyn Report>>) -> BoxFuture<'_, Result<Message, AskError>> {
            Box::pin(std::future::ready(Err(AskError::Unsupported)))
        }
    }

    fn resource(uri: &str) -> Topic {
        Topic::Resource(uri.to_owned())
    }

    fn place(server: &str) -> Place {
        Place::shared(ServerId::new(server))
    }

    fn session(number: u64) -> (Arc<Told>, Ctx) {
        let told = Arc::new(Told { number, ..Told::default() });
        (Arc::clone(&told), Ctx { session: Arc::clone(&told) as _, client: told })
    }

    fn updated(subscriptions: &Subscriptions, place: &Place, uri: &str) {
        let text = format!(r#"{{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{{"x":1.0,"uri":"{uri}"}}}}"#);
        subscriptions.updated(place, &Message::parse(&text.into()).expect("a notification"));
    }

    /// The URIs that the session was told of since the last time.
    fn heard(told: &Told) -> Vec<String> {
        let frames = std::mem::take(&mut *told.frames.lock().expect("nobody panics"));
        let uri = |frame: &String| Some(frame.split_once(r#""params":{"x":1.0,"uri":""#)?.1.strip_suffix(r#""}}"#)?.to_owned());
        frames.iter().map(|frame| uri(frame).expect("the rest of the message stays")).collect()
    }

    #[test]
    fn each_session_is_told_under_its_own_uri_until_it_ends() {
        let subscriptions = Subscriptions::default();
        let (a, b) = (place("a"), place("b"));
        let (one, one_ctx) = session(1);
        let (two, two_ctx) = session(2);
        subscriptions.add(&one_ctx, &a, resource("r:x"), resource("r:x"));
        subscriptions.add(&two_ctx, &a, resource("r:x"), resource("a+r:x"));
        subscriptions.add(&two_ctx, &b, resource("r:x"), resource("r:x"));
        updated(&subscriptions, &a, "r:x");
        updated(&subscriptions, &a, "r:x/part");
        updated(&subscriptions, &a, "r:xy");
        assert_eq!(heard(&one), ["r:x", "r:x/part"]);
        assert_eq!(heard(&two), ["a+r:x", "a+r:x/part"]);
        updated(&subscriptions, &b, "r:x");
        assert_eq!((heard(&one), heard(&two)), (vec![], vec!["r:x".to_owned()]));

        assert_eq!(subscriptions.remove(1, &resource("r:x")), None, "another session has it");
        assert_eq!(subscriptions.remove(1, &resource("r:x")), None);
        let mut ended = subscriptions.remove_all(2);
        ended.sort_unstable();
        assert_eq!(ended, [(a.clone(), resource("r:x")), (b, resource("r:x"))]);
        updated(&subscriptions, &a, "r:x");
        assert_eq!((heard(&one), heard(&two)), (vec![], vec![]));
        assert!(subscriptions.table().sessions.is_empty() && subscriptions.table().places.is_empty(), "nothing is left");
    }

    #[test]
    fn a_uri_that_has_moved_is_told_of_by_its_new_owner_alone() {
        let subscriptions = Subscriptions::default();
        let (a, b) = (place("a"), place("b"));
        let (one, ctx) = session(1);
        assert_eq!(subscriptions.add(&ctx, &a, resource("r:x"), resource("r:x")), None);
        assert_eq!(subscriptions.add(&ctx, &a, resource("r:x"), resource("r:x")), None);
        assert_eq!(subscriptions.add(&ctx, &b, resource("r:x"), resource("r:x")), Some((a.clone(), resource("r:x"))));
        updated(&subscriptions, &a, "r:x");
        assert_eq!(heard(&one), [""; 0]);
        updated(&subscriptions, &b, "r:x");
        assert_eq!(heard(&one), ["r:x"]);
        assert_eq!(subscriptions.remove(1, &resource("r:x")), Some((b, resource("r:x"))));
    }

    #[test]
    fn a_session_has_room_for_so_many() {
        let subscriptions = Subscriptions::default();
        let server = place("a");
        let (_, ctx) = session(1);
        for n in 0..EACH {
            assert!(!subscriptions.is_full(1, &resource(&n.to_string())));
            subscriptions.add(&ctx, &server, resource(&n.to_string()), resource(&n.to_string()));
        }
        assert!(
            subscriptions.is_full(1, &resource("one more"))
                && !subscriptions.is_full(1, &resource("7"))
                && !subscriptions.is_full(2, &resource("7"))
        );
    }
}
