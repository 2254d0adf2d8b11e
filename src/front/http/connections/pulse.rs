//! What a connection does at the moment, and by when it has to do something else.
//!
//! The connection's socket, its requests and the bodies of its answers note here what happens; [`Pulse::watch`] looks at it
//! every few seconds. A note is an atomic or two that no other connection shares, and most requests look at the clock twice.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use axum::{
    body::{Bytes, HttpBody},
    http::{Request, Version},
};
use futures_util::task::AtomicWaker;
use hyper::body::{Frame, Incoming, SizeHint};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::front::http::limits;

/// How long a client that was told to go may take to do so. What it still sends meanwhile is thrown away: closing on it
/// would take the last answer from it as well.
const LINGER: Duration = Duration::from_secs(5);

/// One connection's notes.
pub(super) struct Pulse {
    opened: Instant,
    /// The task of the connection.
    task: AtomicWaker,
    /// [`watch`](Self::watch) has something to say.
    called: AtomicBool,
    /// HTTP/2, where requests run beside each other.
    multiplexed: AtomicBool,
    /// Requests whose answer has not been handed over to its end.
    in_flight: AtomicU32,
    /// Of those, where we wait for the client to take more; only counted with HTTP/2, where each stream has a window of its own.
    blocked: AtomicU32,
    /// Nothing of the last request's body is to come.
    whole: AtomicBool,
    /// The first byte of a head came.
    head: Moment,
    /// The last request ended.
    quiet: Moment,
    /// The client took part of an answer, or was offered one while it waited for none; only noted with HTTP/2.
    moved: Moment,
    /// The operating system takes no more for this client.
    stuck: Moment,
    /// The client closed its side while it waited for an answer, or took something of it since.
    half_closed: Moment,
    /// The client was told that this connection ends.
    closing: Moment,
}

/// What to do with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    /// End it in order.
    Close,
    /// Waiting has no more sense, and why.
    Cut(&'static str),
}

impl Default for Pulse {
    fn default() -> Self {
        Self {
            opened: Instant::now(),
            task: AtomicWaker::new(),
            called: AtomicBool::new(true),
            multiplexed: AtomicBool::new(false),
            in_flight: AtomicU32::new(0),
            blocked: AtomicU32::new(0),
            whole: AtomicBool::new(true),
            head: Moment::default(),
            quiet: Moment::default(),
            moved: Moment::default(),
            stuck: Moment::default(),
            half_closed: Moment::default(),
            closing: Moment::default(),
        }
    }
}

impl Pulse {
    /// Ends when something is to be done: when a limit is reached, or `closing` is cancelled. After [`Sign::Close`] it is
    /// called again without `closing`.
    pub(super) async fn watch(&self, limits: &limits::Config, closing: Option<&CancellationToken>) -> Sign {
        if closing.is_none() {
            self.note(&self.closing);
        }
        loop {
            let wake = match self.judge(Instant::now(), limits) {
                Ok(wake) => sleep_until(wake),
                Err(sign) => return sign,
            };
            let Some(closing) = closing else {
                wake.await;
                continue;
            };
            tokio::select! {
                biased;
                () = closing.cancelled() => return Sign::Close,
                () = wake => {}
            }
        }
    }

    /// What is to be done, or when to look again.
    fn judge(&self, now: Instant, limits: &limits::Config) -> Result<Instant, Sign> {
        // A limit that begins to run after this look must not be missed by the next.
        let step = limits.header_read.min(limits.idle).min(limits.write).min(limits.half_closed).min(LINGER);
        let mut wake = now + step;
        let mut until = |since: Option<Instant>, limit: Duration, sign: Sign| match since.map(|since| since + limit) {
            Some(end) if end <= now => Err(sign),
            Some(end) => {
                wake = wake.min(end);
                Ok(())
            }
            None => Ok(()),
        };
        until(self.at(&self.stuck), limits.write, Sign::Cut("the client takes nothing"))?;
        let multiplexed = self.multiplexed.load(Ordering::Relaxed);
        if self.in_flight.load(Ordering::Relaxed) > 0 {
            until(self.at(&self.half_closed), limits.half_closed, Sign::Cut("the client closed its side"))?;
            if self.blocked.load(Ordering::Relaxed) > 0 {
                until(self.at(&self.moved), limits.write, Sign::Cut("the client takes nothing of an answer"))?;
            }
            return Ok(wake);
        }
        let quiet = self.at(&self.quiet);
        if let Some(closing) = self.at(&self.closing) {
            until(Some(closing).max(quiet), LINGER, Sign::Cut("the client does not leave"))?;
        } else if let Some(head) = self.at(&self.head).filter(|_| !multiplexed) {
            until(Some(head), limits.header_read, Sign::Cut("the head of a request takes too long"))?;
        } else if quiet.is_none() {
            until(Some(self.opened), limits.header_read, Sign::Cut("no request came"))?;
        } else {
            until(quiet.max(self.at(&self.moved)), limits.idle, Sign::Close)?;
        }
        Ok(wake)
    }

    /// The connection's task, which is woken when [`is_called`](Self::is_called).
    pub(super) fn runs_in(&self, task: &Waker) {
        self.task.register(task);
    }

    /// Whether [`watch`](Self::watch) is to be polled; once.
    pub(super) fn is_called(&self) -> bool {
        // Read before written: it is asked often and seldom true.
        self.called.load(Ordering::Relaxed) && self.called.swap(false, Ordering::AcqRel)
    }

    /// Bytes came.
    pub(super) fn received(&self) {
        if self.in_flight.load(Ordering::Relaxed) == 0 && !self.multiplexed.load(Ordering::Relaxed) {
            self.note_first(&self.head);
        }
    }

    /// The client closed its side. Whether it may still wait for an answer, or for the rest of one; the task is woken when
    /// it is time to ask again.
    pub(super) fn input_ended(&self) -> bool {
        let unanswered = self.in_flight.load(Ordering::Relaxed) > 0 && self.whole.load(Ordering::Relaxed);
        let waits = (unanswered || !self.stuck.is_none()) && !self.multiplexed.load(Ordering::Relaxed);
        if waits {
            self.note_first(&self.half_closed);
        }
        waits
    }

    /// Whether a request is being worked on whose body has not been read to its end.
    pub(super) fn is_uploading(&self) -> bool {
        let reads = self.in_flight.load(Ordering::Relaxed) > 0 && !self.whole.load(Ordering::Relaxed);
        reads && !self.multiplexed.load(Ordering::Relaxed)
    }

    /// The operating system took `bytes`.
    pub(super) fn sent(&self, bytes: usize) {
        /// What HTTP/2 sends without an answer to send is shorter: pings, windows, settings.
        const CONTROL: usize = 128;
        self.stuck.clear();
        if bytes > CONTROL && self.multiplexed.load(Ordering::Relaxed) {
            self.note(&self.moved);
        }
        if !self.half_closed.is_none() {
            // One that is gone refuses what is sent, so this one still listens, or is found out now.
            self.note(&self.half_closed);
            self.task.wake();
        }
    }

    /// The operating system takes no more.
    pub(super) fn send_blocked(&self) {
        self.note_first(&self.stuck);
    }

    /// We closed our side. Whether to wait for the client to close its own, because it may still be sending.
    pub(super) fn lingers(&self) -> bool {
        let lingers = !self.whole.load(Ordering::Relaxed) && !self.multiplexed.load(Ordering::Relaxed);
        if lingers {
            self.note_first(&self.closing);
        }
        lingers
    }

    fn note(&self, moment: &Moment) {
        let millis = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
        moment.0.store(millis + 1, Ordering::Relaxed);
    }

    fn note_first(&self, moment: &Moment) {
        if moment.is_none() {
            self.note(moment);
        }
    }

    fn at(&self, moment: &Moment) -> Option<Instant> {
        let millis = moment.0.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.opened + Duration::from_millis(millis))
    }
}

impl Wake for Pulse {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.called.store(true, Ordering::Release);
        self.task.wake();
    }
}

/// When something happened: 0 for never, else one more than the milliseconds since the connection was opened.
#[derive(Default)]
struct Moment(AtomicU64);

impl Moment {
    fn is_none(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }

    fn clear(&self) {
        if !self.is_none() {
            self.0.store(0, Ordering::Relaxed);
        }
    }
}

/// One request, from its head until its answer is handed over. It ends when it is dropped.
pub(super) struct Exchange {
    pulse: Arc<Pulse>,
    multiplexed: bool,
    blocked: bool,
}

impl Exchange {
    pub(super) fn begin(pulse: &Arc<Pulse>, request: &Request<Incoming>) -> Self {
        let multiplexed = request.version() == Version::HTTP_2;
        if multiplexed {
            pulse.multiplexed.store(true, Ordering::Relaxed);
        }
        pulse.head.clear();
        pulse.whole.store(request.body().is_end_stream(), Ordering::Relaxed);
        pulse.in_flight.fetch_add(1, Ordering::Relaxed);
        Self { pulse: Arc::clone(pulse), multiplexed, blocked: false }
    }

    /// Whether it is the client's turn, who has not asked for more of the answer, or ours.
    pub(super) fn waits_for_client(&mut self, waits: bool) {
        if !self.multiplexed || self.blocked == waits {
            return;
        }
        self.blocked = waits;
        if !waits {
            self.pulse.blocked.fetch_sub(1, Ordering::Relaxed);
        } else if self.pulse.blocked.fetch_add(1, Ordering::Relaxed) == 0 {
            self.pulse.note(&self.pulse.moved);
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.waits_for_client(false);
        if self.pulse.in_flight.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.pulse.note(&self.pulse.quiet);
        }
        if !self.pulse.half_closed.is_none() {
            // The end of input, which was hidden, is next.
            self.pulse.task.wake();
        }
    }
}

/// The body of a request, which notes its end.
pub(super) struct Upload {
    body: Incoming,
    pulse: Arc<Pulse>,
}

impl Upload {
    pub(super) fn new(body: Incoming, pulse: &Arc<Pulse>) -> Self {
        Self { body, pulse: Arc::clone(pulse) }
    }
}

impl HttpBody for Upload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if matches!(polled, Poll::Ready(None)) || self.body.is_end_stream() {
            self.pulse.whole.store(true, Ordering::Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
