//! Lines by which a command reports how far it is.
//!
//! ```text
//! ::progress 40 copying files        40 percent
//! ::progress 3/7 third part          3 of 7
//! ```
//! The line stands alone on stdout, from its first character on. What does not parse is ordinary output.

use serde::{Deserialize, Serialize};

/// How a progress line begins.
pub const PREFIX: &str = "::progress ";

/// Longer lines are ordinary output, so that a reader needs to hold back no more than this.
pub const MAX_LINE: usize = 2048;

/// Characters of a title that are kept.
pub const MAX_TITLE: usize = 256;

/// How far a command is, as it says itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// 0 to 100, rounded down. For `3/7` it is worked out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<u8>,
    /// The 3 of `3/7`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<u64>,
    /// The 7 of `3/7`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maximum: Option<u64>,
    /// What is being done; at most [`MAX_TITLE`] characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
}

impl Progress {
    /// Reads a line without its newline; a carriage return at its end is ignored.
    ///
    /// Strict: more than 100 percent, more than the maximum, text that is not UTF-8 and control characters (a
    /// title is shown on terminals) make it an ordinary line, which is `None`.
    pub fn parse(line: &[u8]) -> Option<Self> {
        if line.len() > MAX_LINE {
            return None;
        }
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let rest = std::str::from_utf8(line.strip_prefix(PREFIX.as_bytes())?).ok()?;
        if rest.chars().any(char::is_control) {
            return None;
        }
        let rest = rest.trim();
        let (amount, title) = rest.split_once(' ').unwrap_or((rest, ""));
        let title = title.trim();
        let title = (!title.is_empty()).then(|| title.chars().take(MAX_TITLE).collect());
        match amount.split_once('/') {
            Some((current, maximum)) => {
                let (current, maximum) = (whole(current)?, whole(maximum)?);
                let percent =
                    u128::from(current) * 100 / u128::from(std::num::NonZeroU64::new(maximum)?.get());
                let percent = u8::try_from(percent).ok().filter(|_| current <= maximum)?;
                Some(Self {
                    percent: Some(percent),
                    current: Some(current),
                    maximum: Some(maximum),
                    title,
                })
            }
            None => Some(Self {
                percent: Some(percent(amount)?),
                title,
                ..Self::default()
            }),
        }
    }
}

/// `str::parse` takes a leading `+`, which is not ours.
fn whole(text: &str) -> Option<u64> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

fn percent(text: &str) -> Option<u8> {
    let text = text.strip_suffix('%').unwrap_or(text);
    let (number, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number = whole(number)?;
    let over = number > 100 || (number == 100 && fraction.bytes().any(|byte| byte != b'0'));
    if over { None } else { u8::try_from(number).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn percent_of(percent: u8, title: Option<&str>) -> Option<Progress> {
        Some(Progress {
            percent: Some(percent),
            title: title.map(str::to_owned),
            ..Progress::default()
        })
    }

    #[test]
    fn percentages_are_read_and_rounded_down() {
        assert_eq!(
            Progress::parse(b"::progress 40 copying files"),
            percent_of(40, Some("copying files"))
        );
        assert_eq!(Progress::parse(b"::progress 40\r"), percent_of(40, None));
        assert_eq!(
            Progress::parse(b"::progress 99.99%  almost "),
            percent_of(99, Some("almost"))
        );
        assert_eq!(Progress::parse(b"::progress 100.0"), percent_of(100, None));
        assert_eq!(Progress::parse(b"::progress 0"), percent_of(0, None));
    }

    #[test]
    fn steps_are_read_and_give_a_percentage() {
        let third = Progress {
            percent: Some(42),
            current: Some(3),
            maximum: Some(7),
            title: Some("part".into()),
        };
        assert_eq!(Progress::parse(b"::progress 3/7 part"), Some(third));
        let largest = Progress::parse(b"::progress 18446744073709551615/18446744073709551615").unwrap();
        assert_eq!(largest.percent, Some(100));
    }

    #[test]
    fn anything_else_is_ordinary_output() {
        let lines: &[&[u8]] = &[
            b"",
            b"::progress",
            b"::progress ",
            b"::progress x",
            b"::progress -1",
            b"::progress +1",
            b"::progress 101",
            b"::progress 100.1",
            b"::progress 1.",
            b"::progress .5",
            b"::progress 1e1",
            b"::progress NaN",
            b"::progress 8/7",
            b"::progress 0/0",
            b"::progress 1/2/3",
            b"::progress /",
            b"::progress 18446744073709551616/1",
            b" ::progress 1",
            b"::progress 1 \x1b[2J",
            b"::progress 1 \xff",
            b"::progress\t1",
            b"::progress 1\r\r",
        ];
        for line in lines {
            assert_eq!(Progress::parse(line), None, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn titles_are_cut_between_characters_and_long_lines_are_ordinary() {
        let line = format!("::progress 1 {}", "ä".repeat(300));
        let title = Progress::parse(line.as_bytes()).unwrap().title.unwrap();
        assert_eq!(title, "ä".repeat(MAX_TITLE));
        assert_eq!(
            Progress::parse(format!("::progress 1 {}", "x".repeat(MAX_LINE)).as_bytes()),
            None
        );
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_fail(tail in proptest::collection::vec(any::<u8>(), 0..80), prefixed in any::<bool>()) {
            let line = if prefixed { [PREFIX.as_bytes(), &tail].concat() } else { tail };
            if let Some(progress) = Progress::parse(&line) {
                prop_assert!(progress.percent.is_some_and(|percent| percent <= 100));
                prop_assert!(progress.current <= progress.maximum);
                prop_assert!(line.starts_with(PREFIX.as_bytes()));
            }
        }

        #[test]
        fn every_well_formed_line_is_read(percent in 0u8..=100, title in "[a-z][a-z ]{0,30}[a-z]") {
            let line = format!("::progress {percent} {title}");
            prop_assert_eq!(Progress::parse(line.as_bytes()), percent_of(percent, Some(&title)));
        }

        #[test]
        fn every_step_below_its_maximum_is_read(current in any::<u64>(), more in any::<u64>()) {
            let maximum = current.saturating_add(more).max(1);
            let progress = Progress::parse(format!("::progress {current}/{maximum}").as_bytes()).unwrap();
            prop_assert_eq!((progress.current, progress.maximum), (Some(current), Some(maximum)));
        }
    }
}
