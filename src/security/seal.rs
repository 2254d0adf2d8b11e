//! Text that goes out to a client and comes back, and must be neither read nor altered nor used
//! for anything else meanwhile: encrypted and authenticated, bound to what it is for.
//!
//! So is text that is kept in a file for another run.
//!
//! Whoever knows the API key of a workspace can open what was sealed for it, so that another
//! process of the same workspace takes up where this one stopped. Without a key each process
//! has a secret of its own.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hkdf::{HKDF_SHA256, Salt},
    rand::{SecureRandom, SystemRandom},
};
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};

use crate::secret::Secret;

/// Tells this use of the API key from every other.
const PURPOSE: &[u8] = b"pluggedin-mcp-proxy request state 1\0";

/// The same for what is kept in files.
const KEEPING: &[u8] = b"pluggedin-mcp-proxy kept servers 1";

/// Seals for one workspace. SECURITY: ChaCha20-Poly1305 under a random nonce each time. So many
/// that two nonces could meet (2^32) are not sealed in the life of a key.
pub struct Seal(LessSafeKey);

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seal(..)")
    }
}

impl Seal {
    pub fn new(key: Option<&Secret>) -> Self {
        let secret = match key {
            // An API key has far more than 256 random bits, so that a hash is all it takes.
            Some(key) => Sha256::new_with_prefix(PURPOSE).chain_update(key.expose_secret()).finalize().into(),
            None => random::<32>(),
        };
        Self(LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &secret).expect("the key has the length that it must have")))
    }

    /// Seals what is kept in files. What was sealed for a client cannot be put there, nor the other way round: the keys differ.
    pub fn for_keeping(key: &Secret) -> Self {
        let key = Salt::new(HKDF_SHA256, &[]).extract(key.expose_secret().as_bytes());
        let key = key.expand(&[KEEPING], &CHACHA20_POLY1305).map(UnboundKey::from);
        Self(LessSafeKey::new(key.expect("HKDF gives more than one key's length")))
    }

    /// `plain` as text of letters, digits, `-` and `_`. Only who names the same `purpose` can open it.
    pub fn seal(&self, purpose: &[u8], plain: &[u8]) -> String {
        let nonce = random::<NONCE_LEN>();
        let mut sealed = plain.to_vec();
        let tag = self
            .0
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(purpose), &mut sealed)
            .expect("no text is too long to be sealed that fits into a message");
        BASE64_URL_SAFE_NO_PAD.encode([nonce.as_slice(), &sealed, tag.as_ref()].concat())
    }

    /// What was sealed; `None` if that was for another purpose, by another key, or is not as it was.
    pub fn open(&self, purpose: &[u8], text: &str) -> Option<Vec<u8>> {
        let mut sealed = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
        let (nonce, sealed) = sealed.split_first_chunk_mut::<NONCE_LEN>()?;
        let plain = self.0.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(purpose), sealed).ok()?;
        Some(plain.to_vec())
    }
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).expect("the operating system has random numbers");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_is_opened_by_the_same_key_for_the_same_purpose() {
        let key = Secret::certain("pg_in_0123456789012345678901234567890123456789");
        let (one, same, other) = (Seal::new(Some(&key)), Seal::new(Some(&key)), Seal::new(None));
        let text = one.seal(b"for this", b"state");
        assert_ne!(text, one.seal(b"for this", b"state"), "a nonce is used once");
        assert_eq!(same.open(b"for this", &text).as_deref(), Some(b"state".as_slice()));
        assert_eq!(one.open(b"for that", &text), None);
        assert_eq!(other.open(b"for this", &text), None);
        assert_eq!(Seal::for_keeping(&key).open(b"for this", &text), None, "another use has another key");
        assert_eq!(Seal::new(None).open(b"for this", &other.seal(b"for this", b"state")), None);
    }

    #[test]
    fn what_was_altered_is_not_opened() {
        let seal = Seal::new(None);
        let text = seal.seal(b"", b"state");
        for at in 0..text.len() {
            let mut altered = text.clone().into_bytes();
            altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(seal.open(b"", &String::from_utf8(altered).expect("still text")), None, "at {at}");
        }
        for text in ["", "A", "-", "not base64!", &text[1..], &text[..text.len() - 1]] {
            assert_eq!(seal.open(b"", text), None, "{text}");
        }
    }
}
