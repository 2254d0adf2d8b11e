//! Whether tools still are what they were (threat model T20): a digest of each tool's name, description and input schema,
//! kept between runs. What is seen for the first time is trusted; what is another thing afterwards counts as changed until
//! the operator accepts it.
//!
//! It does not judge what a description says, and a server can change what a tool does without a word.
//!
//! Everything here reads or writes files, and so belongs on a thread where that may block.

use std::{
    collections::{BTreeMap, HashMap},
    fmt, fs,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use serde::{Deserialize, Serialize};

use crate::{downstream::Item, files, protocol::server::ServerId, security::redact};
use record::{Noted, Records};

mod digest;
mod record;

/// A larger file is neither written nor read. Two or three servers that do nothing but make up names could fill it.
const MAX_FILE: u64 = 256 * 1024 * 1024;

const PREFIX: &str = "tools-";

/// To write the file takes milliseconds. A process that was stopped meanwhile must not stop the others.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// Changed tools of one listing that the log names.
const NAMED: usize = 10;

/// What the operator is told where the records are not to be used.
pub const LOST: &str = "the records of what tools were make no sense and were put aside, into a file that ends in `.broken`: all tools are trusted as they are now";

/// A day of the calendar, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Day(u32);

impl Day {
    pub fn today() -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self(u32::try_from(since.as_secs() / (24 * 3600)).unwrap_or(u32::MAX))
    }
}

impl fmt::Display for Day {
    /// `2026-11-20`, by Howard Hinnant's `civil_from_days`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days = u64::from(self.0) + 719_468;
        let (era, of_era) = (days / 146_097, days % 146_097);
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * of_year + 2) / 153;
        let day = of_year - (153 * from_march + 2) / 5 + 1;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        let year = year_of_era + era * 400 + u64::from(month <= 2);
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

/// The changed tools of one server, by the names that it knows, and since when.
pub type Changes = BTreeMap<String, Day>;

/// The records of one set of servers.
#[derive(Debug)]
pub struct Integrity {
    path: PathBuf,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    records: Records,
    /// Of the file as it was read or written last.
    stamp: Stamp,
    /// The last writing, or reading, went wrong.
    has_failed: bool,
    /// The file made no sense.
    was_lost: bool,
}

/// Tells a file from its successor; `None` is no file.
type Stamp = Option<(SystemTime, u64)>;

impl Integrity {
    /// Reads nothing yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path, known: Mutex::default() }
    }

    /// Compares what a server lists with what it listed before, and records what is new. Logs each change once.
    pub fn judge(&self, server: &ServerId, name: &str, tools: &[Item]) -> Changes {
        let digests: Vec<_> = tools.iter().map(|item| (item.key.as_str(), digest::of(item))).collect();
        let Noted { changes, changed, dirty } = self.update(|records| {
            let noted = records.note(server.as_str(), &digests, Day::today());
            let dirty = noted.dirty;
            (noted, dirty)
        });
        debug_assert!(dirty || changed.is_empty());
        for tool in changed.iter().take(NAMED) {
            tracing::warn!(
                server = name,
                tool = redact::quote(tool, 100),
                "the name, description or input schema of a tool has changed; hint: `pluggedin-mcp-proxy tools` shows it, and `tools --accept` accepts it"
            );
        }
        if changed.len() > NAMED {
            tracing::warn!(server = name, more = changed.len() - NAMED, "more tools have changed");
        }
        changes
    }

    /// All changes that nobody has accepted, as they are recorded.
    pub fn pending(&self) -> HashMap<ServerId, Changes> {
        self.update(|records| (records.pending(), false)).into_iter().map(|(id, changes)| (ServerId::new(&id), changes)).collect()
    }

    /// Trusts the tools of these servers as they are recorded now. Gives how many had changed.
    ///
    /// # Errors
    /// Where that cannot be kept.
    pub fn accept(&self, servers: &[ServerId]) -> io::Result<usize> {
        let accepted = self.update(|records| {
            let accepted = records.accept(servers.iter().map(ServerId::as_str));
            (accepted, accepted > 0)
        });
        let has_failed = self.known().has_failed;
        if accepted > 0 && has_failed { Err(io::Error::other("the records cannot be written")) } else { Ok(accepted) }
    }

    /// Whether the records made no sense, and all tools were trusted anew.
    pub fn was_lost(&self) -> bool {
        self.known().was_lost
    }

    /// Whether another process has written the records since they were read. False while they are in use here: never waits.
    pub fn is_outdated(&self) -> bool {
        self.known.try_lock().is_ok_and(|known| known.stamp != stamp(&self.path))
    }

    /// Reads the file if it is another one, and writes it if `work` says so. Other processes wait meanwhile.
    fn update<T>(&self, work: impl FnOnce(&mut Records) -> (T, bool)) -> T {
        let mut known = self.known();
        let _lock = lock(&self.path);
        let present = stamp(&self.path);
        if known.stamp != present {
            match load(&self.path) {
                Ok(Some(records)) => (known.records, known.stamp) = (records, present),
                Ok(None) => (known.records, known.stamp, known.was_lost) = (Records::default(), None, true),
                // SECURITY: it may be readable the next time. Until then nothing takes its place.
                Err(error) => {
                    known.fail(&error, "read");
                    return work(&mut known.records).0;
                }
            }
        }
        let (outcome, dirty) = work(&mut known.records);
        if dirty {
            match save(&self.path, &known.records) {
                Ok(()) => (known.stamp, known.has_failed) = (stamp(&self.path), false),
                Err(error) => known.fail(&error, "written"),
            }
        }
        outcome
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // After a panic the records may lack what was to be added, which is added the next time.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn fail(&mut self, error: &io::Error, what: &str) {
        if !std::mem::replace(&mut self.has_failed, true) {
            let reason = error.kind();
            tracing::warn!(%reason, "the records of tools cannot be {what}: changes are noticed within this run only");
        }
    }
}

fn stamp(path: &Path) -> Stamp {
    let meta = fs::metadata(path).ok()?;
    Some((meta.modified().ok()?, meta.len()))
}

/// Held until it is dropped. Where the file system has no locks, or somebody keeps this one, two processes that write at the same moment may lose what
/// one of them has seen, and see it again.
fn lock(path: &Path) -> Option<fs::File> {
    fs::create_dir_all(path.parent()?).ok()?;
    let mut options = fs::OpenOptions::new();
    options.create(true).truncate(false).write(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        // SECURITY: who can open a file can lock it.
        options.mode(0o600);
    }
    let file = options.open(path.with_extension("lock")).ok()?;
    let since = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Some(file),
            Err(fs::TryLockError::WouldBlock) if since.elapsed() < LOCK_PATIENCE => std::thread::sleep(LOCK_PAUSE),
            Err(_) => return None,
        }
    }
}

/// `None` if the file makes no sense; it is put aside then.
///
/// # Errors
/// Where the file cannot be read at the moment.
fn load(path: &Path) -> io::Result<Option<Records>> {
    let records = match fs::metadata(path) {
        Ok(meta) if meta.len() > MAX_FILE => None,
        Ok(_) => Records::read(&fs::read(path)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some(Records::default())),
        Err(error) => return Err(error),
    };
    if records.is_none() {
        // SECURITY: everything is seen for the first time then, also with pinned tools. Whoever can spoil the file could as well
        // write into it what he likes, and no server can: it is bounded, and replaced as a whole. Withholding all tools instead
        // would have people accept them all unread. But somebody should know, and may look at the file.
        let kept = fs::rename(path, path.with_extension("broken")).is_ok();
        tracing::warn!(kept, "{LOST}");
    }
    Ok(records)
}

fn save(path: &Path, records: &Records) -> io::Result<()> {
    files::replace(path, |writer| {
        records.write(writer)?;
        writer.flush()?;
        if writer.get_ref().metadata()?.len() > MAX_FILE {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        // A machine that loses power must not come back with an empty file.
        writer.get_ref().sync_all()
    })?;
    files::forget_old(path.parent().unwrap_or(path), PREFIX);
    Ok(())
}

/// Where the records of these sources are; see [`files::path_of`].
pub fn path(state_dir: &Path, identity: &str) -> PathBuf {
    files::path_of(state_dir, PREFIX, identity)
}

#[cfg(test)]
mod tests;
