//! A client that has given a progress token hears something during long waits, so that its own
//! time-out, which progress starts anew, does not end a call that is alive: while its server is
//! being started, and while it is silent.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures_util::FutureExt;
use tokio::time::{Instant, sleep_until};

use super::Ctx;
use crate::protocol::message::{Frame, Message};

/// After so much silence. The official clients give up after 60 s, and some after 30.
const AFTER: Duration = Duration::from_secs(15);

/// What a heartbeat adds to the progress that was last told: it must increase each time
/// (utilities/progress), and is to stand in nobody's way.
const STEP: f64 = 1e-6;

/// What heartbeats begin above. Servers begin with 0, which is to be an increase, too; in the hours that a call may take, none
/// comes so far.
const BEGINNING: f64 = -0.01;

/// What the client of one call has heard of its progress.
#[derive(Debug)]
pub(super) struct Beat(Mutex<State>);

#[derive(Debug)]
struct State {
    progress: f64,
    at: Instant,
}

impl Beat {
    pub(super) fn new() -> Self {
        Self(Mutex::new(State { progress: BEGINNING, at: Instant::now() }))
    }

    /// The server itself has said something; `progress` is JSON text.
    pub(super) fn heard(&self, progress: Option<&str>) {
        let mut state = self.state();
        state.at = Instant::now();
        if let Some(progress) = progress.and_then(|progress| progress.parse().ok()) {
            state.progress = progress;
        }
    }

    /// Drives the call, and tells the client in between that it is alive.
    pub(super) async fn during<T>(&self, ctx: &Ctx, token: &Bytes, call: impl Future<Output = T>) -> T {
        let mut call = std::pin::pin!(call);
        loop {
            let due = self.state().at + AFTER;
            tokio::select! {
                biased;
                outcome = &mut call => return outcome,
                () = sleep_until(due) => {
                    let progress = self.due(due);
                    if let Some(progress) = progress {
                        // A client that does not read needs no sign of life, and the call is not to wait for it.
                        ctx.client.notify(notification(token, progress)).now_or_never();
                    }
                }
            }
        }
    }

    /// The progress to tell, if nothing else was told since.
    fn due(&self, due: Instant) -> Option<f64> {
        let mut state = self.state();
        if state.at + AFTER > due {
            return None;
        }
        state.at = Instant::now();
        state.progress += STEP.max(state.progress.abs() * f64::EPSILON * 2.0);
        Some(state.progress)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Both are plain numbers.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn notification(token: &Bytes, progress: f64) -> Frame {
    let token = String::from_utf8_lossy(token);
    let params = format!(r#"{{"progressToken":{token},"progress":{progress},"message":"still waiting for the server"}}"#);
    Frame::from(Message::notification("notifications/progress", Some(&params))).alone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn progress_grows_with_each_heartbeat_and_never_beyond_need() {
        let beat = Beat::new();
        let begun = Instant::now();
        let first = beat.due(begun + AFTER).expect("it is due");
        assert!(first > BEGINNING && first < 0.0, "{first}: the server's own 0 is more");
        beat.heard(Some("3"));
        let next = beat.due(Instant::now() + AFTER).expect("it is due");
        assert!(next > 3.0 && next < 3.001, "{next}");
        beat.heard(Some("1e300"));
        assert!(beat.due(Instant::now() + AFTER).expect("it is due") > 1e300);
        tokio::time::advance(Duration::from_secs(1)).await;
        beat.heard(Some("null"));
        assert_eq!(beat.due(begun + AFTER), None, "something was heard in between");
    }
}
