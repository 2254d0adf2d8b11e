//! What the server has said of one call and nobody has taken yet, in one allocation.

use std::{
    collections::VecDeque,
    future::poll_fn,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};

use super::error::LinkError;
use crate::{
    protocol::message::{Id, Message},
    security::payload,
};

/// Messages of one call that may wait for its client. A slow client must not hold up
/// the server's other calls, so there is no room for more.
const ROOM: usize = 1024;

/// For whom a call is made.
#[derive(Debug, Clone, Copy)]
pub struct Caller {
    /// The number of the session; `None` for the proxy itself.
    pub session: Option<u64>,
    pub wants_progress: bool,
}

impl Caller {
    /// The proxy itself.
    pub const PROXY: Self = Self { session: None, wants_progress: false };
}

/// What the server says while it works.
#[derive(Debug)]
pub enum Said {
    Progress(Message),
    Log(Message),
    /// A notification that the proxy itself has no use for.
    Other(Message),
    Ask(Asked),
    /// The server does not wait for the answer to this request of its own any more.
    Withdrawn(Id),
}

/// A request of the server.
#[derive(Debug)]
pub struct Asked {
    pub request: Message,
    /// It came on no call's own stream, so that it may belong to another call of the same session.
    pub is_shared: bool,
}

impl Said {
    fn bytes(&self) -> usize {
        match self {
            Self::Progress(message) | Self::Log(message) | Self::Other(message) | Self::Ask(Asked { request: message, .. }) => {
                message.text().len()
            }
            Self::Withdrawn(id) => id.as_json().len(),
        }
    }
}

#[derive(Debug)]
pub enum Post {
    Said(Said),
    /// The last one, but for withdrawals: see [`Mailbox::withdraw`].
    Reply(Result<Message, LinkError>),
}

#[derive(Debug)]
pub struct Mailbox {
    pub caller: Caller,
    /// The server has asked something at some time. Most calls end without a look at more than this.
    has_asked: AtomicBool,
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    said: VecDeque<Said>,
    /// Of what waits.
    bytes: usize,
    reply: Option<Result<Message, LinkError>>,
    /// Nothing more is put: the reply is there, or nobody reads.
    closed: bool,
    reader: Option<Waker>,
}

impl Mailbox {
    pub fn new(caller: Caller) -> Self {
        Self { caller, has_asked: AtomicBool::new(false), inside: Mutex::default() }
    }

    /// False if there is no room for it, or nobody to take it.
    pub fn put(&self, said: Said) -> bool {
        let mut inside = self.inside();
        if inside.closed || !inside.has_room() {
            return false;
        }
        if matches!(said, Said::Ask(_)) {
            self.has_asked.store(true, Ordering::Relaxed);
        }
        inside.push(said);
        wake(inside);
        true
    }

    /// The server has asked something at some time.
    pub fn has_asked(&self) -> bool {
        self.has_asked.load(Ordering::Relaxed)
    }

    /// Takes back the request `id`, if it was put here. The reply may be there or have been read: what was asked
    /// may outlive the call. One that finds no room is lost, and the client answers in vain.
    pub fn withdraw(&self, id: &Id) {
        let mut inside = self.inside();
        let waiting = inside.said.len();
        inside.said.retain(|said| !matches!(said, Said::Ask(asked) if asked.request.id().as_ref() == Some(id)));
        inside.bytes = inside.said.iter().map(Said::bytes).sum();
        if inside.said.len() == waiting && self.has_asked() && inside.has_room() {
            inside.push(Said::Withdrawn(id.clone()));
            wake(inside);
        }
    }

    /// Puts the reply, for which there always is room.
    pub fn finish(&self, reply: Result<Message, LinkError>) {
        let mut inside = self.inside();
        if !inside.closed {
            inside.closed = true;
            inside.reply = Some(reply);
            wake(inside);
        }
    }

    /// The reply has been read, and there is nothing to wait for any more. Says so with another reply.
    pub fn abandon(&self) {
        let mut inside = self.inside();
        inside.reply = Some(Err(LinkError::Closed));
        wake(inside);
    }

    /// Nobody reads any more. Gives what was not read.
    pub fn close(&self) -> VecDeque<Said> {
        let mut inside = self.inside();
        inside.closed = true;
        inside.bytes = 0;
        std::mem::take(&mut inside.said)
    }

    /// The next piece, in the order they came. For one reader.
    pub async fn next(&self) -> Post {
        poll_fn(|context| self.poll(context)).await
    }

    fn poll(&self, context: &Context<'_>) -> Poll<Post> {
        let mut inside = self.inside();
        if let Some(said) = inside.said.pop_front() {
            inside.bytes -= said.bytes();
            return Poll::Ready(Post::Said(said));
        }
        if let Some(reply) = inside.reply.take() {
            return Poll::Ready(Post::Reply(reply));
        }
        match &mut inside.reader {
            Some(reader) => reader.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        // Whole messages go in and out, so a panic leaves nothing half done.
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inside {
    fn has_room(&self) -> bool {
        self.said.len() < ROOM && self.bytes < payload::MAILBOX
    }

    fn push(&mut self, said: Said) {
        self.bytes += said.bytes();
        self.said.push_back(said);
    }
}

/// Wakes the reader, once it can look inside.
fn wake(mut inside: MutexGuard<'_, Inside>) {
    let reader = inside.reader.take();
    drop(inside);
    if let Some(reader) = reader {
        reader.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> Message {
        Message::parse(&text.to_owned().into()).expect("a message")
    }

    fn ask(id: &str) -> Said {
        let request = message(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"roots/list"}}"#));
        Said::Ask(Asked { request, is_shared: false })
    }

    fn log() -> Said {
        Said::Log(message(r#"{"jsonrpc":"2.0","method":"notifications/message"}"#))
    }

    fn mailbox() -> Mailbox {
        Mailbox::new(Caller { session: Some(1), wants_progress: false })
    }

    /// The rest, in short.
    async fn rest(mailbox: &Mailbox) -> String {
        let mut seen = String::new();
        loop {
            match mailbox.next().await {
                Post::Said(Said::Progress(_)) => seen.push_str("progress "),
                Post::Said(Said::Log(_)) => seen.push_str("log "),
                Post::Said(Said::Other(_)) => seen.push_str("other "),
                Post::Said(Said::Ask(_)) => seen.push_str("ask "),
                Post::Said(Said::Withdrawn(_)) => seen.push_str("withdrawn "),
                Post::Reply(_) => return seen + "reply",
            }
        }
    }

    #[tokio::test]
    async fn what_was_said_comes_in_order_and_before_the_reply() {
        let mailbox = mailbox();
        let saying = async {
            assert!(mailbox.put(log()));
            tokio::task::yield_now().await;
            assert!(mailbox.put(ask("1")) && mailbox.put(log()));
            tokio::task::yield_now().await;
            mailbox.finish(Err(LinkError::Closed));
            assert!(!mailbox.put(log()), "the reply is the last");
        };
        let (seen, ()) = tokio::join!(rest(&mailbox), saying);
        assert_eq!(seen, "log ask log reply");
    }

    #[tokio::test]
    async fn a_request_is_withdrawn_where_it_was_put() {
        let mailbox = mailbox();
        mailbox.withdraw(&Id::number(1));
        assert!(mailbox.put(ask("1")) && mailbox.put(ask("\"1\"")) && mailbox.put(ask("2")));
        // Nobody has read it yet.
        mailbox.withdraw(&Id::number(2));
        assert!(matches!(mailbox.next().await, Post::Said(Said::Ask(_))));
        mailbox.withdraw(&Id::number(1));
        mailbox.finish(Err(LinkError::Closed));
        assert_eq!(rest(&mailbox).await, "ask withdrawn reply");
    }

    #[tokio::test]
    async fn what_was_asked_can_be_withdrawn_after_the_reply() {
        let mailbox = mailbox();
        assert!(mailbox.put(ask("1")) && mailbox.put(ask("2")));
        mailbox.finish(Err(LinkError::Closed));
        // Nobody has read the reply yet.
        mailbox.withdraw(&Id::number(3));
        assert_eq!(rest(&mailbox).await, "ask ask withdrawn reply");
        mailbox.withdraw(&Id::number(1));
        assert!(!mailbox.put(ask("4")), "no more is asked");
        mailbox.abandon();
        assert_eq!(rest(&mailbox).await, "withdrawn reply");
    }

    #[test]
    fn withdrawals_take_room_too() {
        let mailbox = mailbox();
        assert!(mailbox.put(ask("1")));
        for id in 0..2 * ROOM as u64 {
            mailbox.withdraw(&Id::number(id + 2));
        }
        assert_eq!(mailbox.close().len(), ROOM);
    }

    #[tokio::test]
    async fn the_reply_fits_where_nothing_else_does() {
        let mailbox = mailbox();
        assert_eq!((0..ROOM + 5).filter(|_| mailbox.put(log())).count(), ROOM);
        mailbox.finish(Err(LinkError::Closed));
        assert_eq!(rest(&mailbox).await, "log ".repeat(ROOM) + "reply");
        assert_eq!(mailbox.close().len(), 0);
    }

    #[tokio::test]
    async fn room_is_counted_in_bytes_too() {
        let mailbox = mailbox();
        let large = || {
            let text = "x".repeat(payload::MAILBOX / 4);
            Said::Log(message(&format!(r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{{"data":"{text}"}}}}"#)))
        };
        assert_eq!((0..100).filter(|_| mailbox.put(large())).count(), 4);
        assert!(matches!(mailbox.next().await, Post::Said(_)));
        assert!(mailbox.put(log()), "what was read leaves room");
        assert_eq!((0..100).filter(|_| mailbox.put(large())).count(), 1);
    }
}
