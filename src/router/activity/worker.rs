//! Tells the App of finished calls, one after the other and no more often than it takes them. What it does not take is
//! dropped: nobody waits for it, and an activity that is told twice would count twice.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Entry, Queue, Subject, Whose};
use crate::{
    lasting::survived,
    security::{
        rate_limit::{Bucket, Rate},
        redact,
    },
    source::app::{
        AppClient, AppError,
        activity::{Activity, ServerRef},
    },
    telemetry::metrics::{self, Dropped},
};

/// The App takes 100 a minute from one address, counted by its own minutes. So many at once and so many a minute are never more
/// than 100 in any minute, and keep up with a client that calls as often as it may.
const RATE: Rate =
    Rate { per_minute: NonZeroU32::new(60).expect("it is above zero"), burst: NonZeroU32::new(40).expect("it is above zero") };

/// The answer goes to the client first, and of many calls the worker is woken for one.
const GATHER: Duration = Duration::from_millis(100);

/// The App's general limit does not say when it ends. Its windows are minutes.
const PAUSE: Duration = Duration::from_secs(60);

/// Whatever it says.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60 * 60);

/// When the proxy ends, the App is told of what is left for so long.
const FLUSH: Duration = Duration::from_secs(2);

/// Characters of what is told of others' words.
const MAX_ERROR: usize = 500;
const MAX_ITEM: usize = 500;
const MAX_NAME: usize = 200;

pub(super) struct Worker {
    queue: Arc<Queue>,
    app: AppClient,
    bucket: Bucket,
    /// The last one was not taken.
    failing: bool,
}

impl Worker {
    pub(super) fn new(queue: Arc<Queue>, app: AppClient) -> Self {
        Self { queue, app, bucket: Bucket::new(RATE), failing: false }
    }

    pub(super) async fn run(mut self, stop: CancellationToken) {
        {
            let mut work = std::pin::pin!(async { while survived("activities", self.work(&stop)).await.is_none() {} });
            tokio::select! {
                () = &mut work => {}
                () = stop.cancelled() => {
                    // What is on its way is not torn off: nobody could say whether it has arrived.
                    let _ = timeout(FLUSH, work).await;
                }
            }
        }
        let left = self.queue.len();
        if left > 0 {
            metrics::dropped_many(Dropped::Activity, left);
            tracing::info!(count = left, "the App was not told of the last calls");
        }
    }

    /// Until the end, and then until nothing is left.
    async fn work(&mut self, stop: &CancellationToken) {
        loop {
            while self.queue.len() == 0 {
                if pause(self.queue.begun.notified(), stop).await.is_err() && self.queue.len() == 0 {
                    return;
                }
                let _ = pause(sleep(GATHER), stop).await;
            }
            // Before one is taken, so that the oldest can still go.
            while let Err(wait) = self.bucket.take() {
                sleep(wait).await;
            }
            let Some(entry) = self.queue.pop() else { continue };
            match self.app.report(&entry.activity()).await {
                Ok(()) => self.failing = false,
                Err(AppError::RateLimited { retry_after }) => {
                    // It was not taken for certain.
                    self.queue.push_back(entry);
                    let wait = retry_after.unwrap_or(PAUSE).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
                    tracing::debug!(seconds = wait.as_secs(), "the App takes no more activities for a while");
                    if pause(sleep(wait), stop).await.is_err() {
                        return;
                    }
                }
                Err(error) => self.failed(&error),
            }
        }
    }

    /// One warning until it is well again.
    fn failed(&mut self, error: &AppError) {
        metrics::dropped(Dropped::Activity);
        if !self.failing {
            self.failing = true;
            tracing::warn!(%error, "the App is not told of calls; hint: `--no-activity` switches that off");
        }
    }
}

/// The end has come meanwhile, or had come before.
struct Over;

/// Waits, but not longer than until the end.
async fn pause(wait: impl Future<Output = ()>, stop: &CancellationToken) -> Result<(), Over> {
    tokio::select! {
        biased;
        () = stop.cancelled() => Err(Over),
        () = wait => Ok(()),
    }
}

impl Entry {
    /// SECURITY: names, URIs and errors are words of others. Secrets are taken out of them before they leave the machine (threat model T17).
    fn activity(&self) -> Activity {
        let Self { whose, subject: Subject { action, item }, took, failure } = self;
        let (server_name, server) = match whose {
            Whose::Server(config) => (redact::quote(&config.name, MAX_NAME), server_ref(config.id.as_str())),
            Whose::Own(part) => {
                let id = part.id.to_owned();
                (part.name.to_owned(), if part.is_known { ServerRef::Known(id) } else { ServerRef::External(id) })
            }
            Whose::Instructions(config) => ("Custom Instructions".to_owned(), server_ref(config.id.as_str())),
        };
        Activity {
            action: *action,
            server_name,
            server,
            item_name: redact::quote(item, MAX_ITEM),
            success: failure.is_none(),
            error_message: failure.as_deref().map(|text| redact::quote(text, MAX_ERROR)),
            execution_time: took.as_millis().try_into().unwrap_or(u64::MAX),
        }
    }
}

/// The App's column takes nothing but UUIDs and its own words.
fn server_ref(id: &str) -> ServerRef {
    if Uuid::try_parse(id).is_ok() { ServerRef::Known(id.to_owned()) } else { ServerRef::External(redact::quote(id, MAX_NAME)) }
}

#[cfg(test)]
mod tests;
