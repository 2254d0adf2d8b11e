//! One loop for what happens while a server works on a call: progress and log messages go
//! out in order, what the server asks goes to the client, the reply ends it, silence for
//! too long ends it too. The caller cancels by dropping the loop, and with it the call.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{Instrument, info_span};

use super::{
    Ctx,
    elicitations::Elicitations,
    heartbeat::Beat,
    logging::is_wanted,
    reverse::{Asks, refusal},
    rounds::Question,
    tasks,
};
use crate::{
    downstream::{Ask, InFlight, LinkError, Step},
    protocol::{
        json::Object,
        message::{Frame, Message},
        server::ServerId,
    },
};

/// What is asked within this time of each other is put to a client that is asked in rounds at once.
const TOGETHER: Duration = Duration::from_millis(20);
/// Nothing that is asked waits longer for what is asked with it.
const TOGETHER_AT_MOST: Duration = Duration::from_millis(200);

/// Nothing was heard for too long, or the call takes too long in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overdue {
    Silent,
    Endless,
}

/// How the loop ends.
pub(super) enum Ended {
    Reply(Result<Message, LinkError>),
    /// The client is to answer this before the call can go on.
    Asked(InFlight, Vec<Question>),
}

/// What the loop goes by.
#[derive(Clone, Copy)]
pub(super) struct Terms<'a> {
    pub(super) ctx: &'a Ctx,
    pub(super) server: &'a ServerId,
    pub(super) elicitations: &'a Elicitations,
    pub(super) tracker: &'a TaskTracker,
    /// Ends what goes on after the call.
    pub(super) stop: &'a CancellationToken,
    /// The client's progress token.
    pub(super) token: Option<&'a Bytes>,
    /// Told of what the client hears.
    pub(super) beat: Option<&'a Beat>,
    /// How long the server may be silent. The time rests while the client is asked something.
    pub(super) patience: Duration,
    /// When the call has taken too long in all.
    pub(super) end: Instant,
    /// The client is asked by the result of the call, and not while it runs.
    pub(super) in_rounds: bool,
}

impl Terms<'_> {
    /// When silence from now on is too long.
    fn deadline(&self) -> Instant {
        (Instant::now() + self.patience).min(self.end)
    }

    fn overdue(&self) -> Overdue {
        if Instant::now() >= self.end { Overdue::Endless } else { Overdue::Silent }
    }
}

pub(super) async fn relay(terms: Terms<'_>, mut call: InFlight) -> Result<Ended, Overdue> {
    let mut silence = std::pin::pin!(sleep_until(terms.deadline()));
    loop {
        let step = tokio::select! {
            // What has arrived counts, even if it is late.
            biased;
            step = call.next() => step,
            () = &mut silence => return Err(terms.overdue()),
        };
        match step {
            Step::Reply(reply) => return Ok(Ended::Reply(reply)),
            // Most calls never come here, and should not pay for it with their size.
            Step::Ask(ask) if terms.in_rounds => {
                let mut questions = Vec::new();
                note(terms, &mut questions, ask);
                return Box::pin(relay_in_rounds(terms, call, questions)).await;
            }
            Step::Ask(ask) => return Box::pin(relay_with_asks(terms, call, ask)).await,
            step => tell(terms, step).await?,
        }
        silence.as_mut().reset(terms.deadline());
    }
}

/// The rest of a call from the first request of the server on.
async fn relay_with_asks(terms: Terms<'_>, mut call: InFlight, first: Ask) -> Result<Ended, Overdue> {
    let Terms { ctx, server, elicitations, tracker, stop, .. } = terms;
    let mut silence = std::pin::pin!(sleep_until(terms.deadline()));
    let mut end = std::pin::pin!(sleep_until(terms.end));
    let mut asks = Asks::default();
    let mut step = Some(Step::Ask(first));
    loop {
        match step {
            Some(Step::Reply(reply)) => {
                if asks.is_shared()
                    && let Some(call) = call.linger()
                {
                    let span = info_span!("lingering", %server);
                    tracker.spawn(asks.linger(call, stop.clone()).instrument(span));
                }
                return Ok(Ended::Reply(reply));
            }
            Some(Step::Ask(ask)) => {
                elicitations.note(ctx, ask.link().place(), ask.request().body());
                asks.add(ctx, ask);
            }
            Some(Step::Withdrawn(id)) => asks.withdraw(&id),
            Some(step) => tell(terms, step).await?,
            None => {}
        }
        silence.as_mut().reset(terms.deadline());
        step = tokio::select! {
            biased;
            step = call.next() => Some(step),
            () = asks.next() => None,
            () = &mut silence, if asks.is_empty() => return Err(terms.overdue()),
            () = &mut end => return Err(Overdue::Endless),
        };
    }
}

/// The rest of a call whose client is asked in rounds, with what waits for the next of them.
pub(super) async fn relay_in_rounds(terms: Terms<'_>, mut call: InFlight, mut questions: Vec<Question>) -> Result<Ended, Overdue> {
    let mut silence = std::pin::pin!(sleep_until(terms.deadline()));
    // Whatever else the server says meanwhile, and however often.
    let mut first = Instant::now();
    let mut due = first + TOGETHER;
    loop {
        let step = tokio::select! {
            biased;
            () = sleep_until(due), if !questions.is_empty() => return Ok(Ended::Asked(call, questions)),
            step = call.next() => step,
            () = &mut silence => return Err(terms.overdue()),
        };
        match step {
            Step::Reply(reply) => return Ok(Ended::Reply(reply)),
            Step::Ask(ask) => {
                let now = Instant::now();
                if questions.is_empty() {
                    first = now;
                }
                due = (now + TOGETHER).min(first + TOGETHER_AT_MOST);
                note(terms, &mut questions, ask);
            }
            Step::Withdrawn(id) => {
                questions.extract_if(.., |question| question.is(&id)).for_each(Question::withdrawn);
            }
            step => tell(terms, step).await?,
        }
        silence.as_mut().reset(terms.deadline());
    }
}

/// Keeps what is asked for the next round, or refuses it.
fn note(terms: Terms<'_>, questions: &mut Vec<Question>, ask: Ask) {
    match refusal(&terms.ctx.session.declared(), ask.request()) {
        Some(refusal) => ask.refuse(&refusal),
        None => questions.push(Question::new(ask, questions)),
    }
}

/// Passes notifications on. A client that does not read them does not keep its call beyond its end.
async fn tell(terms: Terms<'_>, step: Step) -> Result<(), Overdue> {
    let frame = match step {
        Step::Progress(message) => terms.token.and_then(|token| for_client(&message, token, terms.beat)),
        Step::Log(message) => is_wanted(&message, terms.ctx.session.verbosity()).then(|| message.into()),
        Step::Other(message) => Some(tasks::announced(terms.server, message)),
        Step::Ask(_) | Step::Withdrawn(_) | Step::Reply(_) => None,
    };
    match frame {
        Some(frame) => timeout_at(terms.end, terms.ctx.client.notify(frame)).await.map_err(|_| Overdue::Endless),
        None => Ok(()),
    }
}

/// The notification with the client's own token.
fn for_client(progress: &Message, token: &Bytes, beat: Option<&Beat>) -> Option<Frame> {
    let params = Object::parse(progress.body()?).ok()?;
    let span = params.span(progress.text(), "progressToken")?;
    if let Some(beat) = beat {
        beat.heard(params.get("progress"));
    }
    Some(Frame::spliced(progress.text(), vec![(span, token.clone())]).alone())
}
