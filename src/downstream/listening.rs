//! What a server without a handshake is to tell by itself (2026-07-28, "Subscriptions"): one request that is answered
//! only at its end, made anew when something else is wanted. It is no call: no client waits for it, and no process is
//! kept running for its sake.

use std::{sync::Arc, time::Duration};

use serde_json::{Map, Value, json};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::{
    ListKind,
    connection::{Link, error_code},
    error::LinkError,
    handshake::Changes,
    inflight::{InFlight, Step},
    mailbox::Caller,
};
use crate::protocol::{
    error::METHOD_NOT_FOUND,
    message::{Frame, Id, Kind, Message},
};

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
    uris: Vec<String>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Settled {
    /// Of what was wanted and is asked for.
    number: u64,
    /// The server does not know the request.
    refused: bool,
}

impl Link {
    /// Has the server tell of changes of these resources and no others, and waits until it does. `uris` is asked in the order
    /// of the calls. False if the server tells of nothing.
    pub async fn watch(&self, uris: impl FnOnce() -> Vec<String>) -> bool {
        let mut number = 0;
        self.interest.wanted.send_modify(|wanted| {
            wanted.number += 1;
            wanted.uris = uris();
            number = wanted.number;
        });
        let mut settled = self.interest.settled.subscribe();
        let outcome = tokio::select! {
            () = self.ended() => return true,
            settled = settled.wait_for(|settled| settled.refused || settled.number >= number) => settled.map(|settled| !settled.refused),
        };
        // Its sender is this link's own.
        outcome.unwrap_or(false)
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
    loop {
        let Wanted { number, uris } = wanted.borrow_and_update().clone();
        let filter = filter(link.peer().capabilities.changes, &uris);
        if open.as_ref().map(|open| &open.filter) != filter.as_ref() {
            match filter {
                None => open = None,
                Some(filter) => match begin(link, filter).await {
                    // The old one ends with the new one open, so that nothing is missed between.
                    Ok(new) => open = Some(new),
                    Err(Failed::Unknown) => {
                        tracing::debug!(server = link.handler().server(), "the server tells of nothing by itself");
                        link.interest.settled.send_modify(|settled| settled.refused = true);
                        return;
                    }
                    Err(Failed::Now(error)) => {
                        tracing::debug!(server = link.handler().server(), %error, "the server cannot be listened to now");
                        sleep(pause).await;
                        pause = (pause * 2).min(LONGEST_PAUSE);
                        missed = true;
                        continue;
                    }
                },
            }
        }
        link.interest.settled.send_modify(|settled| settled.number = number);
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
    Now(LinkError),
}

async fn begin(link: &Arc<Link>, filter: Value) -> Result<Open, Failed> {
    let params = json!({ "notifications": filter }).to_string();
    let params = link.introduced(&params);
    let mut acknowledged = None;
    let starting = link.start(Caller::PROXY, |id| {
        acknowledged = Some(link.handler().listens(id));
        Frame::request(&Id::number(id), "subscriptions/listen", Some(&params))
    });
    let mut call = starting.await.map_err(Failed::Now)?;
    let acknowledged = acknowledged.expect("the request was made");
    let reply = tokio::select! {
        reply = reply(&mut call) => Some(reply),
        () = acknowledged.cancelled() => None,
        () = sleep(ACKNOWLEDGING) => None,
    };
    match reply {
        None => Ok(Open { call, filter, since: Instant::now() }),
        Some(Ok(reply)) if reply.kind() == Kind::Error && error_code(reply.body().unwrap_or_default()) == Some(METHOD_NOT_FOUND) => {
            Err(Failed::Unknown)
        }
        Some(Err(LinkError::Status { status: 404 | 405 | 501 })) => Err(Failed::Unknown),
        Some(Err(error)) => Err(Failed::Now(error)),
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

/// `None` where there is nothing to hear.
fn filter(changes: Changes, uris: &[String]) -> Option<Value> {
    let Changes { tools, prompts, resources } = changes;
    let lists = [("toolsListChanged", tools), ("promptsListChanged", prompts), ("resourcesListChanged", resources)];
    let mut filter: Map<_, _> = lists.into_iter().filter(|(_, offered)| *offered).map(|(name, _)| (name.to_owned(), json!(true))).collect();
    if !uris.is_empty() {
        let mut uris = uris.to_vec();
        uris.sort_unstable();
        filter.insert("resourceSubscriptions".to_owned(), json!(uris));
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
        let uris = ["b".to_owned(), "a".to_owned()];
        assert_eq!(filter(none, &[]), None);
        assert_eq!(filter(Changes { tools: true, ..none }, &[]), Some(json!({"toolsListChanged": true})));
        assert_eq!(
            filter(Changes { resources: true, ..none }, &uris),
            Some(json!({"resourcesListChanged": true, "resourceSubscriptions": ["a", "b"]}))
        );
    }
}
