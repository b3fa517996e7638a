//! Durations as users write them: `90s`, `10m`, `1h30m`.

use std::{borrow::Cow, fmt, str::FromStr, time};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The longest duration that a field accepts: 30 days.
const MAX: time::Duration = time::Duration::from_secs(720 * 3600);

/// A length of time in Go's notation (`300ms`, `90s`, `1h30m`), never negative, at most 720h.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(time::Duration);

/// Why a text is not a [`Duration`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DurationError {
    /// Not in Go's notation.
    #[error("{text:?} is not a duration such as 90s, 10m or 1h30m")]
    Parse {
        /// The text as given.
        text: String,
    },
    /// Above the limit.
    #[error("duration {text:?} is too long: at most 720h")]
    Range {
        /// The text as given.
        text: String,
    },
}

impl Duration {
    /// What the schema lets in.
    pub(super) const PATTERN: &str = "^([0-9]+([.][0-9]+)?(ms|s|m|h))+$";

    /// A duration of whole seconds; anything above the limit becomes the limit.
    pub const fn from_secs(secs: u64) -> Self {
        let max = MAX.as_secs();
        Self(time::Duration::from_secs(if secs > max { max } else { secs }))
    }

    /// A duration of milliseconds; anything above the limit becomes the limit.
    pub fn from_millis(millis: u64) -> Self {
        Self(time::Duration::from_millis(millis).min(MAX))
    }

    /// As the standard library's type.
    pub const fn get(self) -> time::Duration {
        self.0
    }
}

impl FromStr for Duration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || DurationError::Parse {
            text: text.to_owned(),
        };
        // kube's parser also takes signs, micro- and nanoseconds and empty text, which the schema's pattern refuses.
        let ends_in_unit = text.ends_with(['h', 'm', 's']);
        if !ends_in_unit || text.contains(|c: char| !c.is_ascii_digit() && !".hms".contains(c)) {
            return Err(refused());
        }
        let parsed: kube::core::Duration = text.parse().map_err(|_| refused())?;
        let value = time::Duration::from(parsed);
        if value > MAX {
            return Err(DurationError::Range {
                text: text.to_owned(),
            });
        }
        Ok(Self(value))
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        if !millis.is_multiple_of(1000) {
            return write!(f, "{millis}ms");
        }
        let secs = self.0.as_secs();
        match (secs / 3600, secs / 60 % 60, secs % 60) {
            (0, 0, s) => write!(f, "{s}s"),
            (0, m, 0) => write!(f, "{m}m"),
            (0, m, s) => write!(f, "{m}m{s}s"),
            (h, 0, 0) => write!(f, "{h}h"),
            (h, m, 0) => write!(f, "{h}h{m}m"),
            (h, m, s) => write!(f, "{h}h{m}m{s}s"),
        }
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "maxLength": 32,
            "pattern": Self::PATTERN,
            "x-kubernetes-validations": [{
                // What breaks the pattern is said to break it, and not to be unreadable as well.
                "rule": format!("!self.matches('{}') || duration(self) <= duration('720h')", Self::PATTERN),
                "message": "must be at most 720h",
            }],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written_in_gos_notation() {
        for (text, millis, canonical) in [
            ("90s", 90_000, "1m30s"),
            ("10m", 600_000, "10m"),
            ("1h30m", 5_400_000, "1h30m"),
            ("300ms", 300, "300ms"),
            ("1.5s", 1500, "1500ms"),
            ("0s", 0, "0s"),
            ("720h", 720 * 3_600_000, "720h"),
        ] {
            let parsed: Duration = text.parse().unwrap();
            assert_eq!(
                (parsed.get().as_millis(), parsed.to_string().as_str()),
                (millis, canonical)
            );
            assert_eq!(parsed.to_string().parse(), Ok(parsed));
        }
    }

    #[test]
    fn other_texts_are_refused_with_a_sentence() {
        for text in ["", "10", "ten", "-5s", "721h", "5d", "1h-30m"] {
            assert!(text.parse::<Duration>().is_err(), "{text:?}");
        }
    }
}
