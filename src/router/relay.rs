//! One loop for what happens while a server works on a call: progress and log messages go
//! out in order, what the server asks goes to the client, the reply ends it, silence for
//! too long ends it too. The caller cancels by dropping the loop, and with it the call.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep_until};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{Instrument, info_span};

use super::{Ctx, elicitations::Elicitations, reverse::Asks};
use crate::{
    downstream::{Ask, InFlight, LinkError, Step},
    protocol::{
        json::Object,
        log_level::{LogLevel, Verbosity},
        message::{Frame, Message},
        server::ServerId,
    },
};

/// Nothing was heard for too long.
pub(super) struct Silent;

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
    /// How long the server may be silent. The time rests while the client is asked something.
    pub(super) patience: Duration,
}

pub(super) async fn relay(terms: Terms<'_>, mut call: InFlight) -> Result<Result<Message, LinkError>, Silent> {
    let mut silence = std::pin::pin!(sleep_until(Instant::now() + terms.patience));
    loop {
        let step = tokio::select! {
            // What has arrived counts, even if it is late.
            biased;
            step = call.next() => step,
            () = &mut silence => return Err(Silent),
        };
        match step {
            Step::Reply(reply) => return Ok(reply),
            // Most calls never come here, and should not pay for it with their size.
            Step::Ask(ask) => return Box::pin(relay_with_asks(terms, call, ask)).await,
            step => tell(terms, step).await,
        }
        silence.as_mut().reset(Instant::now() + terms.patience);
    }
}

/// The rest of a call from the first request of the server on.
async fn relay_with_asks(terms: Terms<'_>, mut call: InFlight, first: Ask) -> Result<Result<Message, LinkError>, Silent> {
    let Terms { ctx, server, elicitations, tracker, stop, patience, .. } = terms;
    let mut silence = std::pin::pin!(sleep_until(Instant::now() + patience));
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
                return Ok(reply);
            }
            Some(Step::Ask(ask)) => {
                elicitations.note(ctx, server, ask.request().body());
                asks.add(ctx, ask);
            }
            Some(Step::Withdrawn(id)) => asks.withdraw(&id),
            Some(step) => tell(terms, step).await,
            None => {}
        }
        silence.as_mut().reset(Instant::now() + patience);
        step = tokio::select! {
            biased;
            step = call.next() => Some(step),
            () = asks.next() => None,
            () = &mut silence, if asks.is_empty() => return Err(Silent),
        };
    }
}

/// Passes progress and log messages on.
async fn tell(terms: Terms<'_>, step: Step) {
    let frame = match step {
        Step::Progress(message) => terms.token.and_then(|token| for_client(&message, token)),
        Step::Log(message) => is_wanted(&message, terms.ctx.session.verbosity()).then(|| message.into()),
        Step::Ask(_) | Step::Withdrawn(_) | Step::Reply(_) => None,
    };
    if let Some(frame) = frame {
        terms.ctx.client.notify(frame).await;
    }
}

/// The notification with the client's own token.
fn for_client(progress: &Message, token: &Bytes) -> Option<Frame> {
    let params = Object::parse(progress.body()?).ok()?;
    let span = params.span(progress.text(), "progressToken")?;
    Some(Frame::spliced(progress.text(), vec![(span, token.clone())]).alone())
}

/// Whether the client wants to see this log message.
fn is_wanted(message: &Message, verbosity: Verbosity) -> bool {
    let level = || {
        let params = Object::parse(message.body()?).ok()?;
        LogLevel::parse(&params.string("level")?)
    };
    verbosity == Verbosity::All || verbosity.admits(level())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_messages_are_wanted_from_a_level_on() {
        for (level, least, expect) in [
            ("debug", Verbosity::All, true),
            ("debug", Verbosity::From(LogLevel::Info), false),
            ("info", Verbosity::From(LogLevel::Info), true),
            ("emergency", Verbosity::From(LogLevel::Alert), true),
            ("alert", Verbosity::From(LogLevel::Emergency), false),
            ("verbose", Verbosity::From(LogLevel::Emergency), true),
            ("emergency", Verbosity::Nothing, false),
        ] {
            let text = format!(r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{{"level":"{level}","data":1}}}}"#);
            let message = Message::parse(&text.into()).expect("a notification");
            assert_eq!(is_wanted(&message, least), expect, "{level} {least:?}");
        }
    }
}
