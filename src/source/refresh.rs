//! When the sources are asked, and what becomes of their answers.
//!
//! Each source has one task, so a request is never made twice at the same time. The
//! [`Board`] holds what each said last and publishes the sum.

mod app;
mod board;
mod file;
pub mod kept;

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    sync::Arc,
    time::Duration,
};

use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{Instrument, info_span};

use super::{Snapshot, app::AppClient};
use crate::lasting::survived;
use board::Board;

#[derive(Debug, Clone)]
pub struct Config {
    pub app: Option<super::app::Config>,
    pub file: Option<super::file::Config>,
    /// Where its servers are kept between runs.
    pub kept: Option<kept::Config>,
    /// How old what the App says may become.
    pub refresh_interval: Duration,
}

/// Where everything comes from; there is one for the whole process.
#[derive(Debug)]
pub struct Source;

/// Access to a running source. Clones are cheap; dropping all of them stops
/// nothing, the token does.
#[derive(Debug, Clone)]
pub struct SourceHandle {
    snapshots: watch::Receiver<Arc<Snapshot>>,
    wanted: Wanted,
    /// The last turn each task has finished; a task that ends closes its channel.
    done: Vec<watch::Receiver<u64>>,
    app: Option<AppClient>,
}

/// Counts the requests for a refresh. A task that begins one takes the number along
/// and reports it when it is done, which answers every caller up to that number.
type Wanted = Arc<watch::Sender<u64>>;

impl Source {
    /// Reads the file before it returns, so the first snapshot holds its servers. The
    /// App is asked by a task. Must be called within a runtime.
    pub fn start(config: Config, tracker: &TaskTracker, token: &CancellationToken) -> SourceHandle {
        let Config { app, file, kept, refresh_interval } = config;
        let kept = app.as_ref().zip(kept).and_then(|(app, config)| keeping(config, app));
        let app = app.map(AppClient::new);
        let wanted: Wanted = Arc::new(watch::Sender::new(0));
        let (board, snapshots) = Board::new(app.is_some());
        let mut done = Vec::new();

        if let Some(file) = file {
            let mut task = file::Task::new(file, Arc::clone(&board), refresh_interval);
            task.first_read();
            let (finished, turns) = watch::channel(0);
            done.push(turns);
            let (wanted, token) = (Arc::clone(&wanted), token.clone());
            let reading = async move { while survived("config_file", task.run(&wanted, &finished, &token)).await.is_none() {} };
            tracker.spawn(reading.instrument(info_span!("config_file")));
        }
        if let Some(client) = app.clone() {
            let mut task = app::Task::new(client, board, refresh_interval, kept);
            task.recall();
            let (finished, turns) = watch::channel(0);
            done.push(turns);
            let (wanted, token) = (Arc::clone(&wanted), token.clone());
            let asking = async move { while survived("app", Box::pin(task.run(&wanted, &finished, &token))).await.is_none() {} };
            tracker.spawn(asking.instrument(info_span!("app")));
        }
        SourceHandle { snapshots, wanted, done, app }
    }
}

impl SourceHandle {
    /// Changes whenever something in the snapshot does.
    pub fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshots.clone()
    }

    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshots.borrow())
    }

    /// Has the sources asked as soon as possible. One refresh answers all that ask
    /// for it before it begins.
    pub fn refresh_now(&self) {
        self.wanted.send_modify(|turn| *turn += 1);
    }

    /// As [`Self::refresh_now`], and waits until that refresh is published. The result
    /// is in the snapshot, whose status tells whether it succeeded.
    pub async fn refresh_and_wait(&self) {
        let mut turn = 0;
        self.wanted.send_modify(|wanted| {
            *wanted += 1;
            turn = *wanted;
        });
        for done in &self.done {
            // An error means that the task has ended: nothing more will come.
            let _ = done.clone().wait_for(|done| *done >= turn).await;
        }
    }

    /// The App's client, if there is a key.
    pub fn app(&self) -> Option<AppClient> {
        self.app.clone()
    }
}

/// What is kept if it is to be kept. SECURITY: where it is not, nothing of an earlier run stays on the disk.
fn keeping(config: kept::Config, app: &super::app::Config) -> Option<kept::Kept> {
    if config.keep {
        return Some(kept::Kept::new(config.path, app));
    }
    kept::forget(&config.path);
    None
}

/// A number of `0.0..=1.0`, good enough to keep proxies from asking in step.
fn random() -> f64 {
    let [a, b, ..] = RandomState::new().build_hasher().finish().to_ne_bytes();
    f64::from(u16::from_ne_bytes([a, b])) / f64::from(u16::MAX)
}

#[cfg(test)]
mod tests;
