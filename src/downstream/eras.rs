//! Which servers are known to want a handshake, so that they need not be asked for another revision each time. Kept for
//! the process, and between runs in a file that holds digests and dates, and no secret. A file that is broken or of
//! another version counts as none.

use std::{
    collections::HashMap,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use crate::{files, protocol::server::Fingerprint};

/// Changes with the format.
const VERSION: u32 = 1;

/// Servers are updated; after this time they are asked anew.
const TRUSTED: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// A larger file is not ours.
const MAX_FILE: u64 = 1024 * 1024;
/// Servers that are kept, the latest. They take a tenth of what the file may.
const MOST: usize = 1_000;

/// What is known of servers, by the shapes of their configurations.
#[derive(Debug, Default)]
pub struct Eras {
    path: Option<PathBuf>,
    /// Read at the first question.
    known: Mutex<Option<Known>>,
}

/// The shape's hexadecimal digits, and the second of the era of UNIX at which the server was last found to want a handshake.
type Known = HashMap<String, u64>;

#[derive(Serialize, Deserialize)]
struct File {
    version: u32,
    handshakes: Known,
}

impl Eras {
    /// `path` is where they are kept between runs, if they are.
    pub fn new(path: Option<PathBuf>) -> Self {
        Self { path, known: Mutex::default() }
    }

    /// Whether the server of this shape was lately found to want a handshake.
    pub fn wants_handshake(&self, shape: Fingerprint) -> bool {
        self.wanted_at(shape, SystemTime::now())
    }

    fn wanted_at(&self, shape: Fingerprint, now: SystemTime) -> bool {
        let mut known = self.known();
        let known = known.get_or_insert_with(|| self.path.as_deref().map(load).unwrap_or_default());
        let since = known.get(&shape.to_hex()).map(|since| UNIX_EPOCH + Duration::from_secs(*since));
        // A date that is still to come was written by a clock that was wrong.
        since.and_then(|since| now.duration_since(since).ok()).is_some_and(|age| age < TRUSTED)
    }

    /// The server was found to want a handshake, or to want none. True if there is something to [`save`](Self::save).
    pub fn note(&self, shape: Fingerprint, wants_handshake: bool) -> bool {
        self.note_at(shape, wants_handshake, SystemTime::now())
    }

    fn note_at(&self, shape: Fingerprint, wants_handshake: bool, now: SystemTime) -> bool {
        let mut known = self.known();
        let known = known.get_or_insert_with(|| self.path.as_deref().map(load).unwrap_or_default());
        if wants_handshake {
            let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            known.insert(shape.to_hex(), now) != Some(now)
        } else {
            // It stays as a date that counts no more, so that the file does not bring back the old one.
            known.get_mut(&shape.to_hex()).is_some_and(|since| std::mem::take(since) > 0)
        }
    }

    /// Writes what is known.
    pub fn save(&self) {
        let Some(path) = &self.path else { return };
        let Some(known) = self.known().clone() else { return };
        if let Err(error) = save(path, known) {
            tracing::debug!(reason = %error.kind(), "what revisions servers speak could not be stored");
        }
    }

    fn known(&self) -> MutexGuard<'_, Option<Known>> {
        // Whole entries go in and out, so a panic leaves nothing half done.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn load(path: &Path) -> Known {
    match read(path) {
        Ok(known) => known,
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::debug!(reason = %error.kind(), "the stored revisions of servers are not used");
            }
            Known::new()
        }
    }
}

fn read(path: &Path) -> io::Result<Known> {
    if fs::metadata(path)?.len() > MAX_FILE {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let File { version, handshakes } = serde_json::from_slice(&fs::read(path)?)?;
    if version != VERSION {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(handshakes)
}

fn save(path: &Path, known: Known) -> io::Result<()> {
    // Another proxy may have written meanwhile, of other servers.
    let mut all = load(path);
    all.extend(known);
    let mut latest: Vec<_> = all.into_iter().collect();
    latest.sort_unstable_by_key(|(_, since)| std::cmp::Reverse(*since));
    latest.truncate(MOST);
    let file = File { version: VERSION, handshakes: latest.into_iter().collect() };
    files::replace(path, |writer| {
        serde_json::to_writer(&mut *writer, &file)?;
        writer.flush()
    })
}

/// Where they are kept. All sets of servers share the file: what a server speaks does not depend on who asks.
pub fn path(cache_dir: &Path) -> PathBuf {
    files::path(cache_dir, "revisions.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(of: &str) -> Fingerprint {
        Fingerprint::of(of.as_bytes())
    }

    #[test]
    fn what_is_noted_is_known_for_a_while_and_in_the_next_run() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = path(dir.path());
        let now = SystemTime::now();
        let eras = Eras::new(Some(path.clone()));
        assert!(!eras.wanted_at(shape("a"), now));
        assert!(!eras.note_at(shape("a"), false, now), "nothing is to be forgotten");
        assert!(eras.note_at(shape("a"), true, now));
        eras.save();
        for eras in [eras, Eras::new(Some(path.clone()))] {
            assert!(eras.wanted_at(shape("a"), now) && !eras.wanted_at(shape("b"), now));
            assert!(!eras.wanted_at(shape("a"), now + TRUSTED), "it is asked anew");
            assert!(!eras.wanted_at(shape("a"), now - TRUSTED), "it is still to come");
        }
        let other = Eras::new(Some(path.clone()));
        assert!(other.note_at(shape("b"), true, now) && other.note_at(shape("a"), false, now));
        other.save();
        let last = Eras::new(Some(path.clone()));
        assert!(last.wanted_at(shape("b"), now) && !last.wanted_at(shape("a"), now));
        let text = fs::read_to_string(&path).expect("readable");
        assert!(text.contains(&shape("a").to_hex()), "{text}");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(&path).expect("it is there").permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn a_file_that_cannot_be_used_is_none() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("r.json");
        for text in ["", "{", "[]", r#"{"version":999,"handshakes":{}}"#, r#"{"version":1,"handshakes":{"a":"b"}}"#] {
            fs::write(&path, text).expect("writable");
            assert!(load(&path).is_empty(), "{text}");
        }
    }
}
