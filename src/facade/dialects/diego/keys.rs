//! Keys that seal what of a definition nobody is to read in its Task (AES-256-GCM, as the BBS encrypts its records).
//!
//! The first key seals, all of them open: a new one is put before the old one, which goes once no Task is left that it
//! sealed.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand::{SecureRandom as _, SystemRandom},
};
use sha2::{Digest as _, Sha256};

/// Fewest characters of a key: what `openssl rand -base64 24` prints.
const MIN_KEY: usize = 32;
/// Most keys.
const MAX_KEYS: usize = 16;

/// The keys.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    first: [u8; 32],
    others: Vec<[u8; 32]>,
}

/// Why a text is no keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoKeys {
    /// There is none.
    #[error("there is no key in it: it has one on each line, such as `openssl rand -base64 32` prints")]
    None,
    /// One is too short.
    #[error("the key on line {line} has {length} characters; at least {MIN_KEY} are needed")]
    Short {
        /// Its line, from 1.
        line: usize,
        /// Its characters.
        length: usize,
    },
    /// There are too many.
    #[error("there are more than {MAX_KEYS} keys in it")]
    Many,
}

/// Nothing random can be had from this machine, or the text is longer than the cipher takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the text could not be sealed")]
pub struct NotSealed;

impl Keys {
    /// Reads keys, one a line. Empty lines are left out.
    ///
    /// # Errors
    /// There is none, one is short, or there are too many.
    pub fn parse(text: &str) -> Result<Self, NoKeys> {
        let mut keys = Vec::new();
        for (line, key) in (1..).zip(text.lines().map(str::trim)) {
            match key.len() {
                0 => continue,
                length if length < MIN_KEY => return Err(NoKeys::Short { line, length }),
                _ if keys.len() == MAX_KEYS => return Err(NoKeys::Many),
                _ => keys.push(Sha256::digest(key).into()),
            }
        }
        let mut keys = keys.into_iter();
        Ok(Self {
            first: keys.next().ok_or(NoKeys::None)?,
            others: keys.collect(),
        })
    }

    /// A key that nobody knows, and that is gone with this process.
    ///
    /// # Errors
    /// The machine gives no random numbers.
    pub fn random() -> Result<Self, NotSealed> {
        let mut first = [0; 32];
        SystemRandom::new().fill(&mut first).map_err(|_| NotSealed)?;
        Ok(Self {
            first,
            others: Vec::new(),
        })
    }

    /// Seals `text`; it opens only with the same `place`, so that it cannot be read from where it was copied to.
    ///
    /// # Errors
    /// The machine gives no random numbers.
    pub fn seal(&self, place: &str, text: &[u8]) -> Result<String, NotSealed> {
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(|_| NotSealed)?;
        let mut sealed = text.to_vec();
        let key = cipher(&self.first).ok_or(NotSealed)?;
        let nonce_once = Nonce::assume_unique_for_key(nonce);
        key.seal_in_place_append_tag(nonce_once, Aad::from(place), &mut sealed)
            .map_err(|_| NotSealed)?;
        Ok(STANDARD.encode([&nonce, &sealed[..]].concat()))
    }

    /// Opens what was sealed for this place; `None` where it was not, or with another key.
    pub fn open(&self, place: &str, sealed: &str) -> Option<Vec<u8>> {
        let sealed = STANDARD.decode(sealed).ok()?;
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>()?;
        std::iter::once(&self.first).chain(&self.others).find_map(|key| {
            let mut text = sealed.to_vec();
            let nonce = Nonce::assume_unique_for_key(*nonce);
            let opened = cipher(key)?.open_in_place(nonce, Aad::from(place), &mut text);
            opened.ok().map(|opened| opened.to_vec())
        })
    }
}

fn cipher(key: &[u8; 32]) -> Option<LessSafeKey> {
    UnboundKey::new(&AES_256_GCM, key).ok().map(LessSafeKey::new)
}

// Settings are logged at the start.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} keys", 1 + self.others.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keys(letters: &str) -> Keys {
        let lines: Vec<String> = letters
            .chars()
            .map(|letter| letter.to_string().repeat(32))
            .collect();
        Keys::parse(&lines.join("\n")).unwrap()
    }

    #[test]
    fn keys_are_lines_of_some_length() {
        assert_eq!(
            keys("ab"),
            Keys::parse(&format!("\n  {}\r\n\n{}", "a".repeat(32), "b".repeat(32))).unwrap()
        );
        for (text, wanted) in [
            ("", NoKeys::None),
            (" \n\n", NoKeys::None),
            ("short", NoKeys::Short { line: 1, length: 5 }),
        ] {
            assert_eq!(Keys::parse(text), Err(wanted), "{text}");
        }
        let second = format!("{}\n{}", "a".repeat(32), "b".repeat(31));
        assert_eq!(Keys::parse(&second), Err(NoKeys::Short { line: 2, length: 31 }));
        assert_eq!(
            Keys::parse(&format!("{}\n", "a".repeat(32)).repeat(17)),
            Err(NoKeys::Many)
        );
    }

    #[test]
    fn what_is_logged_of_keys_is_their_number() {
        assert_eq!(format!("{:?}", keys("ab")), "2 keys");
    }

    #[test]
    fn a_new_key_seals_and_the_old_one_still_opens() {
        let old = keys("a").seal("p", b"text").unwrap();
        let both = keys("ba");
        assert_eq!(both.open("p", &old), Some(b"text".to_vec()));
        let new = both.seal("p", b"text").unwrap();
        assert_eq!(keys("b").open("p", &new), Some(b"text".to_vec()));
        assert_eq!(keys("a").open("p", &new), None);
        assert_ne!(
            new,
            both.seal("p", b"text").unwrap(),
            "the same text is never sealed alike"
        );
    }

    #[test]
    fn what_was_copied_changed_or_never_sealed_is_not_opened() {
        let keys = keys("a");
        let sealed = keys.seal("here", b"text").unwrap();
        assert_eq!(keys.open("there", &sealed), None);
        for bad in ["", "AAAA", "no base64", &STANDARD.encode([0; 40])] {
            assert_eq!(keys.open("here", bad), None, "{bad}");
        }
        let mut bytes = STANDARD.decode(&sealed).unwrap();
        for at in 0..bytes.len() {
            bytes[at] ^= 1;
            assert_eq!(keys.open("here", &STANDARD.encode(&bytes)), None, "byte {at}");
            bytes[at] ^= 1;
        }
    }

    proptest! {
        #[test]
        fn any_text_comes_back_and_is_not_to_be_seen(text in prop::collection::vec(any::<u8>(), 0..200), place in ".{0,40}") {
            let keys = keys("a");
            let sealed = keys.seal(&place, &text).unwrap();
            prop_assert_eq!(keys.open(&place, &sealed), Some(text.clone()));
            let bytes = STANDARD.decode(&sealed).unwrap();
            prop_assert!(text.len() < 4 || !bytes.windows(text.len()).any(|part| part == text));
        }

        #[test]
        fn whatever_stands_in_an_annotation_does_no_harm(text in ".{0,200}") {
            let _ = keys("ab").open("p", &text);
        }
    }
}
