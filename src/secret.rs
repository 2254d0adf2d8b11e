//! Text that does not show itself, and the list of all such text that is alive.
//!
//! The list is what makes redaction certain: whoever makes a [`Secret`] has told `security::redact` what must
//! not appear, and cannot forget it. Nothing here knows what a secret is for.

use std::{
    borrow::Borrow,
    collections::HashSet,
    fmt,
    hash::{Hash, Hasher},
    sync::{
        Arc, LazyLock, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use secrecy::{ExposeSecret, SecretString};

/// How long a secret that nobody holds any more is still known: lines that tell of its server are on their way.
const REMEMBERED: Duration = Duration::from_secs(5 * 60);

static LIST: LazyLock<Mutex<List>> = LazyLock::new(Mutex::default);

/// Grows with every change of the list.
static GENERATION: AtomicU64 = AtomicU64::new(0);

/// A key, a header's value or a variable's value: never printed, wiped when the last holder is gone, and known
/// to the redactor from the moment it is made. Clones are cheap; equal texts are held once.
#[derive(Clone)]
pub struct Secret(Arc<Hidden>);

struct Hidden {
    text: SecretString,
    /// It is one whatever it looks like: its name says so.
    named: AtomicBool,
    /// When it was first found without a holder.
    left: Mutex<Option<Instant>>,
}

/// A secret that is alive.
#[derive(Debug)]
pub struct Known {
    pub secret: Secret,
    /// Its name says that it is a secret; without that it may be a word like any other.
    pub named: bool,
}

#[derive(Default)]
struct List(HashSet<Entry>);

/// Found by its text.
struct Entry(Arc<Hidden>);

impl Secret {
    /// The value of something with a name, which tells how far the value's looks count: a `PASSWORD` is a secret
    /// however short or plain.
    pub fn named(name: &str, text: impl Into<Box<str>>) -> Self {
        Self::listed(text.into(), tells_of_secret(name))
    }

    /// A secret for certain, however short or plain.
    pub fn certain(text: impl Into<Box<str>>) -> Self {
        Self::listed(text.into(), true)
    }

    fn listed(text: Box<str>, named: bool) -> Self {
        let mut list = List::lock();
        if let Some(Entry(known)) = list.0.get(&*text) {
            *known.left() = None;
            if named && !known.named.swap(true, Ordering::Relaxed) {
                GENERATION.fetch_add(1, Ordering::Release);
            }
            return Self(Arc::clone(known));
        }
        let hidden = Hidden { text: SecretString::new(text), named: AtomicBool::new(named), left: Mutex::new(None) };
        let hidden = Arc::new(hidden);
        list.0.insert(Entry(Arc::clone(&hidden)));
        GENERATION.fetch_add(1, Ordering::Release);
        Self(hidden)
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::listed(text.into(), false)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::listed(text.into(), false)
    }
}

impl ExposeSecret<str> for Secret {
    fn expose_secret(&self) -> &str {
        self.0.text.expose_secret()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Whether the list has changed since this number was given.
pub fn generation() -> u64 {
    GENERATION.load(Ordering::Acquire)
}

/// All that must not be shown. Forgets what nobody has held for a while.
pub fn all() -> Vec<Known> {
    let now = Instant::now();
    let mut list = List::lock();
    list.0.retain(|Entry(hidden)| {
        if Arc::strong_count(hidden) > 1 {
            *hidden.left() = None;
            return true;
        }
        let since = *hidden.left().get_or_insert(now);
        now.duration_since(since) < REMEMBERED
    });
    let known = |Entry(hidden): &Entry| Known { secret: Secret(Arc::clone(hidden)), named: hidden.named.load(Ordering::Relaxed) };
    list.0.iter().map(known).collect()
}

/// Whether a variable, header, option or member of this name holds a secret.
pub fn tells_of_secret(name: &str) -> bool {
    const PARTS: [&str; 15] = [
        "apikey",
        "accesskey",
        "authorization",
        "auth",
        "bearer",
        "cookie",
        "credential",
        "key",
        "pass",
        "private",
        "pwd",
        "secret",
        "signature",
        "token",
        "dsn",
    ];
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    PARTS.iter().any(|part| plain.contains(part))
}

impl Hidden {
    fn left(&self) -> MutexGuard<'_, Option<Instant>> {
        // One word is written, so a panic leaves nothing half done.
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl List {
    fn lock() -> MutexGuard<'static, Self> {
        // Whole entries go in and out, so a panic leaves nothing half done.
        LIST.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Borrow<str> for Entry {
    fn borrow(&self) -> &str {
        self.0.text.expose_secret()
    }
}

impl Hash for Entry {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let text: &str = self.borrow();
        text.hash(state);
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        let (own, other): (&str, &str) = (self.borrow(), other.borrow());
        own == other
    }
}

impl Eq for Entry {}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(text: &str) -> Option<bool> {
        all().into_iter().find(|known| known.secret.expose_secret() == text).map(|known| known.named)
    }

    #[test]
    fn what_is_made_is_known() {
        let before = generation();
        let secret = Secret::named("LANG", "secret-of-the-list");
        assert!(generation() > before);
        assert_eq!(known("secret-of-the-list"), Some(false));
        let _again = Secret::named("PASSWORD", "secret-of-the-list");
        assert_eq!(known("secret-of-the-list"), Some(true), "one name is enough");
        drop(secret);
        assert_eq!(format!("{:?}", Secret::from("s")), "Secret(..)");
    }

    #[test]
    fn equal_texts_are_one() {
        let first = Secret::from("held-only-once");
        let second = Secret::from("held-only-once".to_owned());
        assert!(Arc::ptr_eq(&first.0, &second.0));
    }

    #[test]
    fn a_secret_is_remembered_for_a_while() {
        drop(Secret::from("left-a-moment-ago"));
        assert_eq!(known("left-a-moment-ago"), Some(false));
        let entry = Arc::clone(&List::lock().0.get("left-a-moment-ago").expect("it was just found").0);
        *entry.left() = Instant::now().checked_sub(REMEMBERED);
        drop(entry);
        assert_eq!(known("left-a-moment-ago"), None);
    }

    #[test]
    fn names_tell() {
        for name in ["GITHUB_TOKEN", "X-Api-Key", "db_passwd", "Authorization", "--client-secret", "PGPASSWORD"] {
            assert!(tells_of_secret(name), "{name}");
        }
        for name in ["LANG", "NODE_ENV", "User-Agent", "--port"] {
            assert!(!tells_of_secret(name), "{name}");
        }
    }
}
