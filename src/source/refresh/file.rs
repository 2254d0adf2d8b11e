//! Watches the local file, and keeps its last good state.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use notify::{
    EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode},
};
use tokio::{
    select,
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{
    Wanted,
    board::{Board, FilePart},
};
use crate::source::{
    FileStatus,
    file::{self, Broken, Config},
};

/// Editors write in several steps; this is longer than any of them takes.
const SETTLE: Duration = Duration::from_millis(100);

/// How often a file that is gone or empty is looked at again before that counts: some
/// editors truncate or replace it in the middle of saving.
const PATIENCE: u32 = 8;

/// Network and container mounts often report nothing, so the file is read every now
/// and then as well.
const SHORTEST_POLL: Duration = Duration::from_secs(1);

pub(super) struct Task {
    config: Config,
    board: Arc<Board>,
    poll: Duration,
    /// What the last judgement was made of.
    seen: Option<Result<String, Broken>>,
    good: bool,
    ever_good: bool,
}

impl Task {
    pub(super) fn new(config: Config, board: Arc<Board>, interval: Duration) -> Self {
        Self { config, board, poll: interval.max(SHORTEST_POLL), seen: None, good: false, ever_good: false }
    }

    /// Blocks, but only for a small local file, and saves the first client a wait.
    pub(super) fn first_read(&mut self) {
        self.take(file::read(&self.config.path));
    }

    pub(super) async fn run(&mut self, wanted: &Wanted, finished: &watch::Sender<u64>, token: &CancellationToken) {
        let mut wanted = wanted.subscribe();
        // One slot is enough: it says "something happened".
        let (notice, mut notices) = mpsc::channel(1);
        // Both live as long as the loop: the watcher ends when it is dropped, and without
        // any sender the channel would be closed.
        // Setting it up takes milliseconds, in which the first client must not wait.
        let _watcher = tokio::task::spawn_blocking({
            let (path, notice) = (self.config.path.clone(), notice.clone());
            move || watch(&path, notice)
        })
        .await;
        loop {
            let turn = *wanted.borrow_and_update();
            select! {
                biased;
                () = token.cancelled() => return,
                () = self.look() => {}
            }
            finished.send_replace(turn);
            let next = Instant::now() + self.poll;
            select! {
                biased;
                () = token.cancelled() => return,
                changed = wanted.changed() => if changed.is_err() { return },
                _ = notices.recv() => {
                    sleep(SETTLE).await;
                    while notices.try_recv().is_ok() {}
                }
                () = sleep_until(next) => {}
            }
        }
    }

    async fn look(&mut self) {
        let mut text = self.read().await;
        for _ in 0..PATIENCE {
            let passing = match &text {
                Err(Broken::Missing) => true,
                Ok(text) => text.trim().is_empty(),
                Err(_) => false,
            };
            if !passing || !self.good {
                break;
            }
            sleep(SETTLE).await;
            text = self.read().await;
        }
        self.take(text);
    }

    async fn read(&self) -> Result<String, Broken> {
        let path = self.config.path.clone();
        let read = tokio::task::spawn_blocking(move || file::read(&path)).await;
        read.unwrap_or(Err(Broken::Unreadable(std::io::ErrorKind::Other)))
    }

    fn take(&mut self, text: Result<String, Broken>) {
        if self.seen.as_ref() == Some(&text) {
            return;
        }
        let path = self.config.path.display();
        let parsed = text.clone().and_then(|text| file::parse(&text, &self.config.variables));
        match parsed {
            Ok(parsed) => {
                if self.seen.is_some() && !self.good {
                    info!("the configuration file `{path}` can be read again");
                }
                for problem in &parsed.problems {
                    warn!("{problem}");
                }
                self.good = true;
                self.ever_good = true;
                self.board.set_file(FilePart {
                    servers: parsed.servers.into_iter().map(Arc::new).collect(),
                    status: FileStatus::Current { problems: parsed.problems },
                });
            }
            Err(broken) => {
                let kept = if self.ever_good { "; its last good state stays in use" } else { "" };
                warn!("the configuration file `{path}` cannot be used: {broken}{kept}");
                self.good = false;
                // Clients see this text, and need not know the directories of this machine.
                let name = self.config.path.file_name().unwrap_or_default().display();
                let message = format!("the configuration file `{name}` cannot be used: {broken}{kept}");
                self.board.set_file_status(FileStatus::Broken { message });
            }
        }
        self.seen = Some(text);
    }
}

/// Watches the directory, because most editors replace the file. Without a watcher the
/// regular look at the file has to do.
fn watch(path: &Path, notice: mpsc::Sender<()>) -> Option<RecommendedWatcher> {
    let parent = |path: &Path| match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let name = path.file_name()?.to_owned();
    let target = path.canonicalize().ok();
    // Where the path is a link, or leads through one, as in mounted configuration maps, it
    // changes without an event of its own name.
    let linked = target.as_deref().is_some_and(|target| target.file_name() != Some(&name) || path.is_symlink());
    let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let concerns = event.is_ok_and(|event| {
            // Our own reading causes the other kinds of access.
            let read = matches!(event.kind, EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write));
            let ours = linked || event.paths.iter().any(|path| path.file_name() == Some(&name));
            !read && (ours || event.need_rescan())
        });
        if concerns {
            // Full means that a notice is already waiting.
            let _ = notice.try_send(());
        }
    });
    let running = watcher.and_then(|mut watcher| {
        watcher.watch(&parent(path), RecursiveMode::NonRecursive)?;
        if let Some(target) = target.filter(|_| linked) {
            watcher.watch(&parent(&target), RecursiveMode::NonRecursive)?;
        }
        Ok(watcher)
    });
    running.inspect_err(|error| debug!("changes of the configuration file are not reported: {error}")).ok()
}
