//! The client while its request is open, as the router sees it: what is said before the answer goes out as events.

use std::sync::{Arc, OnceLock};

use futures_util::{FutureExt, future::BoxFuture};

use super::{sessions::Stay, streams::Stream};
use crate::{
    front::session::Session,
    protocol::message::{Frame, Message},
    router::{AskError, ClientPeer, Report},
};

/// The client while one POST of its is open.
#[derive(Debug)]
pub(super) struct CallPeer {
    session: Session,
    sink: Sink,
    /// Begun with the first thing that is said before the answer.
    stream: OnceLock<Arc<Stream>>,
}

/// Where a stream comes from.
#[derive(Debug)]
pub(super) enum Sink {
    /// The client takes plain JSON alone.
    Nowhere,
    Alone,
    /// Of this session, which keeps it for a client that comes back.
    Kept(Arc<Stay>),
}

impl CallPeer {
    pub(super) fn new(session: Session, sink: Sink) -> Self {
        Self { session, sink, stream: OnceLock::new() }
    }

    /// Whether a stream is begun.
    pub(super) fn begun(&self) -> Option<&Arc<Stream>> {
        self.stream.get()
    }

    /// The stream, begun if it is not; `None` where the client takes none.
    pub(super) fn stream(&self) -> Option<&Arc<Stream>> {
        match &self.sink {
            Sink::Nowhere => None,
            Sink::Alone => Some(self.stream.get_or_init(Stream::alone)),
            Sink::Kept(stay) => Some(self.stream.get_or_init(|| stay.streams.open())),
        }
    }
}

impl ClientPeer for CallPeer {
    fn notify(&self, frame: Frame) -> BoxFuture<'_, ()> {
        match self.stream() {
            Some(stream) => stream.send(frame).boxed(),
            None => futures_util::future::ready(()).boxed(),
        }
    }

    fn ask(&self, request: &Message, report: Option<Arc<dyn Report>>) -> BoxFuture<'_, Result<Message, AskError>> {
        match (&self.sink, self.stream()) {
            // An answer to us may arrive at any replica, which knows of no question.
            (Sink::Nowhere | Sink::Alone, _) | (_, None) => futures_util::future::ready(Err(AskError::Unsupported)).boxed(),
            (Sink::Kept(_), Some(stream)) => {
                let request = request.clone();
                let send = async |frame| {
                    stream.push(frame);
                    true
                };
                async move { self.session.asked().ask(&request, report, send, |frame| stream.push(frame)).await }.boxed()
            }
        }
    }
}
