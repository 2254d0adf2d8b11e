//! Keys and session ids: how they are compared, and how they are made.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use uuid::Uuid;

use crate::secret::Secret;

/// Why a text is no key. Reads on from where the text stood, and does not show it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    #[error("holds a character that no API key has; only letters, digits, `.`, `_` and `-` are expected")]
    Character,
    #[error("stands in quotes; hint: leave them out")]
    Quoted,
    #[error("begins with `Bearer`; hint: write the key alone")]
    Bearer,
    #[error("is a placeholder; hint: put a key of your own in its place")]
    Placeholder,
    #[error("has {0} characters; an API key has 32 to 256 (today's: 70, beginning with `pg_in_`)")]
    Length(usize),
}

/// A key of the App: what every proxy so far has accepted. Today's are `pg_in_` and 64 letters and digits, the oldest begin
/// with `sk_mt_`; the App compares the whole text and asks for no form, so neither is demanded here.
///
/// SECURITY: refused rather than repaired. A key without its dots, say, is another one (threat model T18).
///
/// # Errors
/// [`BadKey`]
pub fn api_key(text: &str) -> Result<Secret, BadKey> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let has_length = (32..=256).contains(&text.len());
    let has_form = text.chars().all(plain);
    if has_length && has_form {
        return Ok(Secret::certain(text));
    }
    // Only of what is no key anyway.
    if let Some(slip) = slip(text) {
        return Err(slip);
    }
    Err(if has_form { BadKey::Length(text.len()) } else { BadKey::Character })
}

/// What people write in the place of a key, or around it.
fn slip(text: &str) -> Option<BadKey> {
    const OF_MANUALS: [&str; 6] = ["your", "placeholder", "changeme", "replace", "api_key", "apikey"];
    let lower = text.to_ascii_lowercase();
    if text.len() > 1 && ['"', '\'', '`'].iter().any(|quote| text.starts_with(*quote) && text.ends_with(*quote)) {
        return Some(BadKey::Quoted);
    }
    if lower.starts_with("bearer ") {
        return Some(BadKey::Bearer);
    }
    let shortened = text.contains("...") || text.contains('…') || lower.trim_start_matches("pg_in_").bytes().all(|byte| byte == b'x');
    let brackets = text.starts_with('<') && text.ends_with('>');
    let placeholder = !text.is_empty() && (shortened || brackets || OF_MANUALS.iter().any(|word| lower.contains(word)));
    placeholder.then_some(BadKey::Placeholder)
}

/// What stands for a key wherever one is compared, looked up or kept apart. The key
/// cannot be had back from it.
#[derive(Clone, Copy)]
pub struct KeyDigest([u8; 32]);

impl KeyDigest {
    /// Of any bytes: what a client sends need not be text.
    pub fn of(key: &[u8]) -> Self {
        Self(Sha256::digest(key).into())
    }

    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

// SECURITY: neither the time of the comparison nor a length gives a key away (threat model T7).
impl PartialEq for KeyDigest {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for KeyDigest {}

impl std::hash::Hash for KeyDigest {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl std::fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyDigest(..)")
    }
}

/// The id of one client's stay: 122 random bits, as 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId(Uuid);

impl SessionId {
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }

    /// From what a client sent.
    pub fn parse(text: &[u8]) -> Option<Self> {
        // The one form that was given out; the library knows more.
        if text.len() != 32 {
            return None;
        }
        Uuid::try_parse_ascii(text).ok().map(Self)
    }

    pub fn to_text(self) -> String {
        self.0.simple().to_string()
    }
}

impl std::fmt::Display for SessionId {
    /// For logs: enough to tell sessions apart, too little to take one over (threat model T9).
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = self.to_text();
        write!(f, "{}…", &text[..8])
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn a_key_is_taken_as_it_is_or_not_at_all() {
        let (today, old) = (format!("pg_in_{}", "aZ9".repeat(22)), format!("sk_mt_{}", "aZ9".repeat(21)));
        for good in [today.as_str(), &old, "no-prefix.with_dots-0123456789.ab", &"a".repeat(32), &"a".repeat(256)] {
            assert_eq!(api_key(good).expect(good).expose_secret(), good);
        }
        let broken = |end: &str| format!("{today}{end}");
        for bad in [broken(" "), broken("\n"), broken("\0"), broken("ü"), broken("+"), format!("${{{today}}}")] {
            let why = api_key(&bad).expect_err(&bad);
            assert_eq!(why, BadKey::Character, "{bad:?}");
            assert!(!why.to_string().contains(&today));
        }
        for (bad, why) in [
            (format!("Bearer {today}"), BadKey::Bearer),
            (format!("\"{today}\""), BadKey::Quoted),
            (format!("'{today}'"), BadKey::Quoted),
            ("YOUR_API_KEY".to_owned(), BadKey::Placeholder),
            ("<your key>".to_owned(), BadKey::Placeholder),
            ("pg_in_...".to_owned(), BadKey::Placeholder),
            ("pg_in_xxxx".to_owned(), BadKey::Placeholder),
        ] {
            assert_eq!(api_key(&bad).err(), Some(why), "{bad}");
        }
        for bad in ["", "short", &"a".repeat(31), &"a".repeat(257)] {
            assert_eq!(api_key(bad).err(), Some(BadKey::Length(bad.len())));
        }
    }

    #[test]
    fn digests_tell_keys_apart_whatever_their_bytes() {
        assert_eq!(KeyDigest::of(b"pg_in_a"), KeyDigest::of(b"pg_in_a"));
        assert_ne!(KeyDigest::of(b"pg_in_a"), KeyDigest::of(b"pg_in_ab"));
        assert_ne!(KeyDigest::of(b""), KeyDigest::of(b"\xff\0"));
        assert_eq!(format!("{:?}", KeyDigest::of(b"secret")), "KeyDigest(..)");
    }

    #[test]
    fn session_ids_have_one_form_and_are_shortened_in_logs() {
        let id = SessionId::random();
        assert_ne!(id, SessionId::random());
        assert_eq!(SessionId::parse(id.to_text().as_bytes()), Some(id));
        assert_eq!(id.to_string().chars().count(), 9);
        for text in ["", "x", &id.0.hyphenated().to_string(), &format!("{{{}}}", id.to_text()), &"z".repeat(32)] {
            assert_eq!(SessionId::parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(SessionId::parse(&[0xff; 32]), None);
    }
}
