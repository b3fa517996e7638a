//! Signatures of callbacks, as Standard Webhooks has them
//! (<https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>). Pure.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

/// Fewest bytes of a key, as Standard Webhooks has it.
const FEWEST: usize = 24;
/// Most keys that sign together.
const MOST_KEYS: usize = 4;
/// What may stand before a key.
const PREFIX: &str = "whsec_";

/// Keys that sign together: the present one, and one that takes its place. At least one.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys(Vec<Vec<u8>>);

/// Never shows a key.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} keys", self.0.len())
    }
}

/// Why a value is no key. Nothing of the value is in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum KeyError {
    #[error("it holds no key")]
    Empty,
    #[error("it holds more than {MOST_KEYS} keys")]
    TooMany,
    #[error("it is not base64")]
    Base64,
    #[error("a key has fewer than {FEWEST} bytes")]
    Short,
}

impl Keys {
    /// Reads the value of a Secret: base64 with or without `whsec_`, several parted by white space.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn parse(value: &[u8]) -> Result<Self, KeyError> {
        let text = std::str::from_utf8(value).map_err(|_| KeyError::Base64)?;
        let keys: Vec<Vec<u8>> = text
            .split_ascii_whitespace()
            .map(|word| {
                let encoded = word.strip_prefix(PREFIX).unwrap_or(word);
                let key = STANDARD.decode(encoded).map_err(|_| KeyError::Base64)?;
                (key.len() >= FEWEST).then_some(key).ok_or(KeyError::Short)
            })
            .collect::<Result<_, _>>()?;
        match keys.len() {
            0 => Err(KeyError::Empty),
            1..=MOST_KEYS => Ok(Self(keys)),
            _ => Err(KeyError::TooMany),
        }
    }

    /// The value of `webhook-signature`. `timestamp` is in seconds since 1970.
    pub fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let signed = |key: &Vec<u8>| {
            // HMAC takes keys of any length.
            let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
            mac.update(format!("{id}.{timestamp}.").as_bytes());
            mac.update(body);
            Some(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
        };
        self.0.iter().filter_map(signed).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    /// Computed with Python's hmac, hashlib and base64.
    #[test]
    fn the_signature_is_that_of_other_libraries() {
        let body = br#"{"test": 2432232314}"#;
        let signed = |value: &str| {
            let keys = Keys::parse(value.as_bytes()).unwrap();
            keys.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body)
        };
        let expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(signed(KEY), expected);
        assert_eq!(signed(&format!("whsec_{KEY}\n")), expected);
        let two = signed(&format!("whsec_{KEY} whsec_{KEY}"));
        assert_eq!(two, format!("{expected} {expected}"));
    }

    #[test]
    fn values_that_are_no_keys_are_refused_and_not_shown() {
        for (value, error) in [
            ("", KeyError::Empty),
            (" \n", KeyError::Empty),
            ("whsec_", KeyError::Short),
            ("c2hvcnQ=", KeyError::Short),
            ("not base64 at all", KeyError::Base64),
            ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS", KeyError::Base64),
        ] {
            assert_eq!(Keys::parse(value.as_bytes()), Err(error), "{value:?}");
        }
        assert_eq!(Keys::parse(b"\xff"), Err(KeyError::Base64));
        assert_eq!(
            Keys::parse(format!("{KEY} ").repeat(5).as_bytes()),
            Err(KeyError::TooMany)
        );
        assert_eq!(format!("{:?}", Keys::parse(KEY.as_bytes()).unwrap()), "1 keys");
    }
}
