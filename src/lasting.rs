//! Tasks that last as long as what they serve: a defect of ours in one of them is logged, and the task goes on where its state
//! is. A call that panics is not such a task; its client gets an answer (`front::session`), as does who waits for what is [`caught`].

use std::{panic::AssertUnwindSafe, time::Duration};

use futures_util::FutureExt;

/// Between a panic and the next start, so that one which comes at once does not fill the log.
const PAUSE: Duration = Duration::from_secs(1);

/// What the work gives, or `None` if it panicked: whoever waits for it must be told.
pub async fn caught<T>(name: &str, work: impl Future<Output = T>) -> Option<T> {
    let done = AssertUnwindSafe(work).catch_unwind().await.ok();
    if done.is_none() {
        // The panic itself is in the log already.
        tracing::error!(task = name, "this is a defect of the proxy");
    }
    done
}

/// What the work gives, or `None` after a panic and a pause: it is to be begun again, `while survived(..).await.is_none() {}`. Its state
/// is what the future borrows, which must be of use at every point where it could panic: whole values are put in.
pub async fn survived<T>(name: &str, work: impl Future<Output = T>) -> Option<T> {
    if let Ok(done) = AssertUnwindSafe(work).catch_unwind().await {
        return Some(done);
    }
    // The panic itself is in the log already.
    tracing::error!(task = name, "this is a defect of the proxy; the task is started again");
    tokio::time::sleep(PAUSE).await;
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn third(steps: &mut u32) {
        *steps += 1;
        tokio::task::yield_now().await;
        assert!(*steps >= 3, "a defect");
    }

    #[tokio::test(start_paused = true)]
    async fn work_goes_on_after_a_panic() {
        let mut steps = 0;
        while survived("test", third(&mut steps)).await.is_none() {}
        assert_eq!(steps, 3);
    }
}
