//! The client at the other end of our standard streams. The end of its input is
//! the end of the session; nothing else is.

use std::{sync::Arc, time::Duration};

use futures_util::future::{BoxFuture, join_all};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    announced::Announced,
    asked::Answered,
    batch::Batch,
    modern,
    session::{self, Outlet, Received, Session},
};
use crate::{
    lines::{self, Line, Lines},
    protocol::{
        error::{ErrorObject, INVALID_REQUEST},
        message::{Frame, Kind, Message},
        revision::Revision,
    },
    router::{AskError, ClientPeer, Ctx, Report, Router},
    security::payload::{self, Limits},
};

/// A client that pipes requests in and closes its end still gets its answers, if
/// they come within this time. One that wants us gone sends a signal soon after.
const DRAIN: Duration = Duration::from_secs(10);

/// For last words to a client that may not read any more.
const FAREWELL: Duration = Duration::from_millis(200);

/// A byte stream in either direction.
pub type Reader = Box<dyn AsyncRead + Send + Unpin>;
pub type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// Our standard streams without a thread between: pipes as most clients make them,
/// sockets as Node makes them. Anything else (a terminal, a file) goes through tokio's
/// blocking handles, which cost 19 us a message more.
pub fn streams() -> (Reader, Writer) {
    #[cfg(unix)]
    if let Some((reader, writer)) = sockets() {
        return (Box::new(reader), Box::new(writer));
    }
    let (reader, writer) = rmcp::transport::stdio_pipes();
    (Box::new(reader), Box::new(writer))
}

#[cfg(unix)]
fn sockets() -> Option<(tokio::net::UnixStream, tokio::net::UnixStream)> {
    use std::os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    };
    // Non-blocking is a property of the socket's end, which is ours alone.
    let open = |fd: BorrowedFd<'_>| {
        let socket = UnixStream::from(fd.try_clone_to_owned().ok()?);
        socket.local_addr().ok()?;
        socket.set_nonblocking(true).ok()?;
        tokio::net::UnixStream::from_std(socket).ok()
    };
    Some((open(std::io::stdin().as_fd())?, open(std::io::stdout().as_fd())?))
}

/// Calls of the client at once. More are answered with an error.
const MAX_CALLS: usize = 4096;

/// Serves one client until its input ends or `shutdown` is cancelled.
pub async fn serve<R, W>(reader: R, writer: W, router: Arc<Router>, tracker: &TaskTracker, shutdown: &CancellationToken, limits: Limits)
where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let (outgoing, frames) = mpsc::channel(lines::QUEUE);
    let writing = tracker.spawn(lines::write(writer, frames));
    let announced = Arc::new(Announced::default());
    let session =
        Session::new(Outlet::Announced(Arc::clone(&announced)), MAX_CALLS, router.limiter().allowance(), CancellationToken::new());
    let client = Arc::new(Client { session: session.clone(), outgoing });
    let gone = writing.abort_handle();
    // A task of its own: to wake the future that a runtime blocks on costs a system call
    // each time, and this one is woken for every message.
    let mut reading = tracker.spawn(read(reader, Arc::clone(&client), Arc::clone(&router), tracker.clone(), limits));
    tokio::select! {
        () = async {
            // An error would mean that the reader panicked, which ends the session as well.
            let _ = (&mut reading).await;
            // The client says nothing more, so it is asked nothing more.
            session.asked().end();
            session.end_listening();
            drain(&session, &gone).await;
        } => {}
        () = told_of_changes(&session, &router) => {}
        () = client.tell(&announced) => {}
        () = shutdown.cancelled() => farewell(&session).await,
    }
    reading.abort();
    session.end();
    router.forget(session.number());
    // The writer ends when the last sender does.
    drop(client);
    let _ = tokio::time::timeout(FAREWELL, writing).await;
}

/// The one client: its calls and everything else share one pair of streams, and ids tell
/// what belongs together.
#[derive(Debug)]
struct Client {
    session: Session,
    /// To the writer.
    outgoing: mpsc::Sender<Frame>,
}

impl Client {
    async fn send(&self, frame: Frame) {
        // An error means that the client is gone, which ends the session anyway.
        let _ = self.outgoing.send(frame).await;
    }

    /// Sends what belongs to no call. Does not end.
    async fn tell(&self, announced: &Announced) {
        loop {
            self.send(announced.next().await).await;
        }
    }

    fn take(self: &Arc<Self>, message: Message, router: &Arc<Router>) -> Received {
        if !modern::is_modern(&message, self.session.revision()) {
            return self.session.receive(message, router, Arc::clone(self) as Arc<dyn ClientPeer>);
        }
        match modern::declared(&message, router) {
            Ok(declared) => self.session.receive_declared(message, declared, router, Arc::new(Told(Arc::clone(self)))),
            Err(error) => Received::Answer(Frame::error(message.id().as_ref(), &error)),
        }
    }

    async fn receive(self: &Arc<Self>, message: Message, router: &Arc<Router>, tracker: &TaskTracker) {
        let id = message.id();
        let is_handshake = message.kind() == Kind::Request && message.method() == "initialize";
        match self.take(message, router) {
            // Nobody waits for what could be said to it.
            Received::Nothing | Received::Unasked => {}
            Received::Answer(frame) => self.send(frame).await,
            Received::TooMany => self.send(Frame::error(id.as_ref(), &session::too_many())).await,
            Received::Call(call) => {
                let client = Arc::clone(self);
                tracker.spawn(async move {
                    if let Some(frame) = call.await {
                        client.send(frame).await;
                    }
                });
            }
        }
        // Only now: the first answer does not wait for servers to be started.
        if is_handshake {
            router.begin_for(&Ctx { session: self.session.peer(), client: Arc::clone(self) as _ });
        } else {
            router.begin();
        }
    }

    /// Whether several messages may come in one line.
    fn may_batch(&self) -> bool {
        self.session.revision().is_some_and(Revision::has_batches)
    }

    /// Takes several messages, whose answers go out together.
    fn receive_all(self: &Arc<Self>, batch: Batch, router: &Arc<Router>, tracker: &TaskTracker) {
        let answers = batch.answers(|message| self.session.receive(message, router, Arc::clone(self) as Arc<dyn ClientPeer>));
        if !answers.is_empty() {
            let client = Arc::clone(self);
            tracker.spawn(async move {
                let frames: Vec<_> = join_all(answers).await.into_iter().flatten().collect();
                if !frames.is_empty() {
                    client.send(Frame::batch(frames)).await;
                }
            });
        }
        router.begin();
    }
}

impl ClientPeer for Client {
    fn notify(&self, frame: Frame) -> BoxFuture<'_, ()> {
        Box::pin(self.send(frame))
    }

    fn ask(&self, request: &Message, report: Option<Arc<dyn Report>>) -> BoxFuture<'_, Result<Message, AskError>> {
        let request = request.clone();
        Box::pin(async move {
            let send = async |frame| self.outgoing.send(frame).await.is_ok();
            // A client that does not read has not seen the request either.
            self.session.asked().ask(&request, report, send, |frame| drop(self.outgoing.try_send(frame))).await
        })
    }
}

/// The client in a revision in which it is told things and never asked (2026-07-28, stdio).
#[derive(Debug)]
struct Told(Arc<Client>);

impl ClientPeer for Told {
    fn notify(&self, frame: Frame) -> BoxFuture<'_, ()> {
        self.0.notify(frame)
    }

    fn ask(&self, _: &Message, _: Option<Arc<dyn Report>>) -> BoxFuture<'_, Result<Message, AskError>> {
        Box::pin(std::future::ready(Err(AskError::Unsupported)))
    }
}

async fn read<R: AsyncRead + Unpin>(reader: R, client: Arc<Client>, router: Arc<Router>, tracker: TaskTracker, limits: Limits) {
    let Limits { message: longest, depth, .. } = limits;
    let mut lines = Lines::new(reader, longest);
    loop {
        match lines.next().await {
            Ok(Some(Line::Text(text))) if Batch::is(&text) && client.may_batch() => match Batch::parse(&text) {
                Ok(_) if payload::too_deep(&text, depth) => client.send(Frame::error(None, &too_deep(depth))).await,
                Ok(batch) => client.receive_all(batch, &router, &tracker),
                Err(refused) => client.send(refused).await,
            },
            Ok(Some(Line::Text(text))) => match Message::parse(&text) {
                Ok(message) if payload::too_deep(&text, depth) => {
                    let id = message.id().filter(|_| message.kind() == Kind::Request);
                    client.send(Frame::error(id.as_ref(), &too_deep(depth))).await;
                }
                Ok(message) => client.receive(message, &router, &tracker).await,
                // Who has answered waits for nothing. The server that has asked is told.
                Err(invalid) if client.session.asked().unreadable(&invalid) != Answered::Unasked => {}
                Err(invalid) => client.send(Frame::error(invalid.id.as_ref(), &invalid.error)).await,
            },
            Ok(Some(Line::TooLong(_))) => {
                let error = ErrorObject::new(INVALID_REQUEST, format!("the message is longer than {longest} bytes (`--max-message`)"));
                client.send(Frame::error(None, &error)).await;
            }
            Ok(None) => return,
            Err(error) => return tracing::warn!(%error, "standard input cannot be read"),
        }
    }
}

fn too_deep(depth: usize) -> ErrorObject {
    ErrorObject::new(INVALID_REQUEST, format!("the message is nested deeper than {depth} levels"))
}

/// Does not end: lists that change no more are no reason to leave.
async fn told_of_changes(session: &Session, router: &Router) {
    session.watch_lists(router).await;
    std::future::pending::<()>().await;
}

/// Tells those who listen that this is the end.
async fn farewell(session: &Session) {
    session.end_listening();
    let deadline = Instant::now() + FAREWELL;
    while session.listening() > 0 && Instant::now() < deadline {
        sleep_until(Instant::now() + Duration::from_millis(5)).await;
    }
}

/// Waits for calls in flight, unless nobody reads the answers any more.
async fn drain(session: &Session, writing: &tokio::task::AbortHandle) {
    let deadline = Instant::now() + DRAIN;
    while session.in_flight() > 0 && !writing.is_finished() && Instant::now() < deadline {
        sleep_until(Instant::now() + Duration::from_millis(5)).await;
    }
}
