//! What a server without a handshake is to tell by itself (2026-07-28, "Subscriptions"): one request that is answered
//! only at its end, made anew when something else is wanted. It is no call: no client waits for it, and no process is
//! kept running for its sake.

use std::{collections::HashSet, sync::Arc, time::Duration};

use serde_json::{Map, Value, json};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::{
    ListKind,
    connection::{Link, error_code, error_message},
    error::LinkError,
    handshake::Changes,
    inflight::{InFlight, Step},
    mailbox::Caller,
};
use crate::protocol::{
    error::METHOD_NOT_FOUND,
    message::{Frame, Id, Kind, Message},
};

const RESOURCES: &str = "resourceSubscriptions";
/// Of the tasks extension.
const TASKS: &str = "taskIds";

/// For the server to say that it has understood. One that never does is believed to have.
const ACKNOWLEDGING: Duration = Duration::from_secs(5);
/// Before it is asked again, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A request that was open for so long was a good one: pauses start anew.
const STABLE: Duration = Duration::from_secs(30);

/// What is to be heard from one server.
#[derive(Debug, Default)]
pub(super) struct Interest {
    wanted: watch::Sender<Wanted>,
    settled: watch::Sender<Settled>,
}

#[derive(Debug, Default, Clone)]
struct Wanted {
    /// Grows with each change.
    number: u64,
    topics: Vec<Topic>,
}

#[derive(Debug, Default, Clone)]
struct Settled {
    /// Of what was wanted and is asked for.
    number: u64,
    /// Of that, what the server does not tell of.
    rejected: HashSet<Topic>,
    /// The server does not know the request.
    refused: bool,
}

/// What a server tells of where it is asked to, as the server itself names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// A resource, by its URI.
    Resource(String),
    /// A task, by its id.
    Task(String),
}

impl Link {
    /// Has the server tell of these topics and no others, and waits until it does. `topics` is asked in the order
    /// of the calls. Gives those that the server does not tell of; `None` if it tells of nothing.
    pub async fn watch(&self, topics: impl FnOnce() -> Vec<Topic>) -> Option<HashSet<Topic>> {
        let mut number = 0;
        self.interest.wanted.send_modify(|wanted| {
            wanted.number += 1;
            wanted.topics = topics();
            number = wanted.number;
        });
        let mut settled = self.interest.settled.subscribe();
        tokio::select! {
            () = self.ended() => Some(HashSet::new()),
            // Its sender is this link's own.
            settled = settled.wait_for(|settled| settled.refused || settled.number >= number) => {
                settled.ok().filter(|settled| !settled.refused).map(|settled| settled.rejected.clone())
            }
        }
    }
}

/// Listens as long as the link lives, or until the server says that it does not know the request.
pub(super) async fn keep(link: Arc<Link>) {
    tokio::select! {
        () = link.ended() => {}
        () = listen(&link) => {}
    }
}

async fn listen(link: &Arc<Link>) {
    let mut wanted = link.interest.wanted.subscribe();
    let mut open: Option<Open> = None;
    let mut pause = FIRST_PAUSE;
    let mut missed = false;
    // What the server has agreed to tell of, and what it has not.
    let (mut good, mut rejected) = (Vec::new(), HashSet::new());
    loop {
        let Wanted { number, topics } = wanted.borrow_and_update().clone();
        rejected.retain(|topic| topics.contains(topic));
        let asked: Vec<_> = topics.into_iter().filter(|topic| !rejected.contains(topic)).collect();
        let changes = link.peer().capabilities.changes;
        let filter = filter(changes, &asked);
        if open.as_ref().map(|open| &open.filter) != filter.as_ref() {
            match filter {
                None => open = None,
                Some(filter) => match begin(link, filter).await {
                    // The old one ends with the new one open, so that nothing is missed between.
                    Ok((new, accepted)) => {
                        let is_accepted = |topic: &Topic| accepted.as_ref().is_none_or(|accepted| accepted.contains(topic));
                        let (kept, refused): (Vec<_>, Vec<_>) = asked.into_iter().partition(is_accepted);
                        good = kept;
                        rejected.extend(refused);
                        // What is not told of is not asked for again for its sake.
                        let filter = self::filter(changes, &good).unwrap_or_default();
                        open = Some(Open { filter, ..new });
                    }
                    // One topic that the server does not like must not cost all others: those that it has liked stay.
                    Err(Failed::Rejected(error)) if !asked.is_empty() => {
                        tracing::debug!(server = link.handler().server(), %error, "the server does not tell of all that it was asked to");
                        let new: Vec<_> = asked.iter().filter(|topic| !good.contains(topic)).cloned().collect();
                        rejected.extend(if new.is_empty() { asked } else { new });
                        continue;
                    }
                    Err(Failed::Unknown) => {
                        tracing::debug!(server = link.handler().server(), "the server tells of nothing by itself");
                        link.interest.settled.send_modify(|settled| settled.refused = true);
                        return;
                    }
                    Err(Failed::Now(error) | Failed::Rejected(error)) => {
                        tracing::debug!(server = link.handler().server(), %error, "the server cannot be listened to now");
                        sleep(pause).await;
                        pause = (pause * 2).min(LONGEST_PAUSE);
                        missed = true;
                        continue;
                    }
                },
            }
        }
        link.interest.settled.send_modify(|settled| {
            settled.number = number;
            settled.rejected.clone_from(&rejected);
        });
        if std::mem::take(&mut missed) {
            make_good(link);
        }
        let ended = async {
            match &mut open {
                Some(open) => open.ended().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // An error would mean that the link is gone.
            _ = wanted.changed() => {}
            () = ended => {
                if open.take().is_some_and(|open| open.since.elapsed() >= STABLE) {
                    pause = FIRST_PAUSE;
                }
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
                missed = true;
            }
        }
    }
}

/// The request, while the server works on it. Dropping it ends it there.
struct Open {
    call: InFlight,
    filter: Value,
    since: Instant,
}

impl Open {
    async fn ended(&mut self) {
        while !matches!(self.call.next().await, Step::Reply(_)) {}
    }
}

enum Failed {
    Unknown,
    /// The server refuses what it is asked.
    Rejected(LinkError),
    Now(LinkError),
}

/// The request, and the topics that the server has accepted, if it has said so.
async fn begin(link: &Arc<Link>, filter: Value) -> Result<(Open, Option<HashSet<Topic>>), Failed> {
    let params = json!({ "notifications": filter }).to_string();
    let params = link.introduced(&params);
    let mut acknowledged = None;
    let starting = link.start(Caller::PROXY, |id| {
        acknowledged = Some(link.handler().listens(id));
        Frame::request(&Id::number(id), "subscriptions/listen", Some(&params))
    });
    let mut call = starting.await.map_err(Failed::Now)?;
    let acknowledged = acknowledged.expect("the request was made");
    let mut accepted = None;
    let reply = tokio::select! {
        reply = reply(&mut call) => Some(reply),
        Ok(message) = acknowledged => {
            accepted = self::accepted(&message);
            None
        }
        () = sleep(ACKNOWLEDGING) => None,
    };
    match reply {
        None => Ok((Open { call, filter, since: Instant::now() }, accepted)),
        Some(Ok(reply)) if reply.kind() == Kind::Error && error_code(reply.body().unwrap_or_default()) == Some(METHOD_NOT_FOUND) => {
            Err(Failed::Unknown)
        }
        Some(Err(LinkError::Status { status: 404 | 405 | 501 })) => Err(Failed::Unknown),
        Some(Err(error)) => Err(Failed::Now(error)),
        Some(Ok(reply)) if reply.kind() == Kind::Error => {
            Err(Failed::Rejected(LinkError::Protocol { what: format!("it refused: {}", error_message(reply.body().unwrap_or_default())) }))
        }
        Some(Ok(_)) => Err(Failed::Now(LinkError::Protocol { what: "it has ended its news before they began".to_owned() })),
    }
}

async fn reply(call: &mut InFlight) -> Result<Message, LinkError> {
    loop {
        if let Step::Reply(reply) = call.next().await {
            return reply;
        }
    }
}

/// `None` where the server does not say.
fn accepted(acknowledgement: &Message) -> Option<HashSet<Topic>> {
    let params: Value = serde_json::from_str(acknowledgement.body()?).ok()?;
    let accepted = params.get("notifications")?.as_object()?;
    let texts =
        |name: &str| accepted.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
    Some(texts(RESOURCES).map(Topic::Resource).chain(texts(TASKS).map(Topic::Task)).collect())
}

/// `None` where there is nothing to hear.
fn filter(changes: Changes, topics: &[Topic]) -> Option<Value> {
    let Changes { tools, prompts, resources } = changes;
    let lists = [("toolsListChanged", tools), ("promptsListChanged", prompts), ("resourcesListChanged", resources)];
    let mut filter: Map<_, _> = lists.into_iter().filter(|(_, offered)| *offered).map(|(name, _)| (name.to_owned(), json!(true))).collect();
    let (mut uris, mut tasks) = (Vec::new(), Vec::new());
    for topic in topics {
        match topic {
            Topic::Resource(uri) => uris.push(uri),
            Topic::Task(task) => tasks.push(task),
        }
    }
    for (name, mut texts) in [(RESOURCES, uris), (TASKS, tasks)] {
        if !texts.is_empty() {
            texts.sort_unstable();
            filter.insert(name.to_owned(), json!(texts));
        }
    }
    (!filter.is_empty()).then_some(Value::Object(filter))
}

/// What was said while nobody listened.
fn make_good(link: &Link) {
    let Changes { tools, prompts, resources } = link.peer().capabilities.changes;
    for (offered, kind) in [(tools, ListKind::Tools), (prompts, ListKind::Prompts), (resources, ListKind::Resources)] {
        if offered {
            link.handler().list_changed(kind);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_offered_or_subscribed_to_is_listened_to() {
        let none = Changes::default();
        let topics = ["b", "a"].map(|uri| Topic::Resource(uri.to_owned()));
        assert_eq!(filter(none, &[]), None);
        assert_eq!(filter(Changes { tools: true, ..none }, &[]), Some(json!({"toolsListChanged": true})));
        assert_eq!(
            filter(Changes { resources: true, ..none }, &topics),
            Some(json!({"resourcesListChanged": true, "resourceSubscriptions": ["a", "b"]}))
        );
        assert_eq!(filter(none, &[Topic::Task("t".to_owned())]), Some(json!({"taskIds": ["t"]})));
    }
}
