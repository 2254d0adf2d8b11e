//! Whether tools still are what they were (threat model T20): a digest of each tool's name, description and input schema,
//! kept between runs. What is seen for the first time is trusted; what is another thing afterwards counts as changed until
//! the operator accepts it.
//!
//! It does not judge what a description says, and a server can change what a tool does without a word.
//!
//! Everything here reads or writes files, and so belongs on a thread where that may block.

use std::{
    collections::{BTreeMap, HashMap},
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use serde::{Deserialize, Serialize};

use super::store;
use crate::{downstream::Item, protocol::server::ServerId, security::redact};
use record::{Noted, Records};

mod digest;
mod record;

/// A larger file is not ours.
const MAX_FILE: u64 = 64 * 1024 * 1024;

const PREFIX: &str = "tools-";

/// Changed tools of one listing that the log names.
const NAMED: usize = 10;

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
    has_failed: bool,
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
            known.records = load(&self.path);
            known.stamp = present;
        }
        let (outcome, dirty) = work(&mut known.records);
        if dirty {
            match save(&self.path, &known.records) {
                Ok(()) => (known.stamp, known.has_failed) = (stamp(&self.path), false),
                Err(error) => {
                    if !std::mem::replace(&mut known.has_failed, true) {
                        let reason = error.kind();
                        tracing::warn!(%reason, "the records of tools cannot be written: changes are noticed within this run only");
                    }
                }
            }
        }
        outcome
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // After a panic the records may lack what was to be added, which is added the next time.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stamp(path: &Path) -> Stamp {
    let meta = fs::metadata(path).ok()?;
    Some((meta.modified().ok()?, meta.len()))
}

/// Held until it is dropped. Where the file system has no locks, two processes that write at the same moment may lose what
/// one of them has seen, and see it again.
fn lock(path: &Path) -> Option<fs::File> {
    fs::create_dir_all(path.parent()?).ok()?;
    let file = fs::OpenOptions::new().create(true).truncate(false).write(true).open(path.with_extension("lock")).ok()?;
    file.lock().ok()?;
    Some(file)
}

fn load(path: &Path) -> Records {
    match read(path) {
        Ok(records) => records,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Records::default(),
        Err(error) => {
            // SECURITY: without records everything is trusted, so that somebody should know, and may look at the file.
            let kept = fs::rename(path, path.with_extension("broken")).is_ok();
            let reason = error.kind();
            tracing::warn!(%reason, kept, "the records of tools cannot be used; all tools are trusted as they are now");
            Records::default()
        }
    }
}

fn read(path: &Path) -> io::Result<Records> {
    if fs::metadata(path)?.len() > MAX_FILE {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Records::read(&fs::read(path)?)
}

fn save(path: &Path, records: &Records) -> io::Result<()> {
    store::replace(path, |writer| records.write(writer))?;
    store::forget_old(path.parent().unwrap_or(path), PREFIX);
    Ok(())
}

/// Where the records of these sources are; see [`store::path`].
pub fn path(state_dir: &Path, identity: &str) -> PathBuf {
    store::path_of(state_dir, PREFIX, identity)
}

#[cfg(test)]
mod tests;
