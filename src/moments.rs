//! Moments that a cron expression names in a time zone. Pure, and bounded whatever the expression and the times.

use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};
use jiff::{SignedDuration, Timestamp, ToSpan as _, Zoned, civil::date, tz::TimeZone};

/// Longest expression, in bytes.
pub const MAX_CRON: usize = 256;

/// Why there are no moments.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MomentsError {
    /// No cron expression.
    #[error("{text:?} is no cron expression: {why}")]
    Cron {
        /// As given, cut to [`MAX_CRON`] bytes.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// No time zone of this name.
    #[error("there is no time zone {0:?}; take a name of the IANA database, such as Europe/Paris")]
    Zone(String),
}

/// A cron expression of five fields in a time zone. Where the clock is put forward, what names a fixed time that is left
/// out comes right after the gap; where it is put back, a fixed time comes once, and `*` and steps in both hours.
#[derive(Clone, Debug)]
pub struct Moments {
    cron: Cron,
    zone: TimeZone,
    /// No time of day fits, or no day.
    never: bool,
}

impl Moments {
    /// Reads minute, hour, day of month, month and day of week, or a nickname such as `@daily`. Without a zone, UTC.
    ///
    /// # Errors
    /// [`MomentsError`]: a sentence.
    pub fn parse(text: &str, zone: Option<&str>) -> Result<Self, MomentsError> {
        let refused = |why: &str| MomentsError::Cron {
            text: text
                .get(..text.floor_char_boundary(MAX_CRON))
                .unwrap_or_default()
                .to_owned(),
            why: why.to_owned(),
        };
        if text.len() > MAX_CRON {
            return Err(refused("it is too long"));
        }
        if !text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
            return Err(refused(
                "it holds other characters than ASCII letters, digits, signs and blanks",
            ));
        }
        let fields = text.split_whitespace().count();
        if fields != 5 && !(fields == 1 && text.trim().starts_with('@')) {
            return Err(refused(
                "it takes five fields: minute, hour, day of month, month, day of week",
            ));
        }
        let parser = CronParser::builder()
            .seconds(Seconds::Disallowed)
            .year(Year::Disallowed)
            .build();
        let cron = parser.parse(text).map_err(|error| refused(&error.to_string()))?;
        let never = is_never(&cron, &parser, text);
        let zone = match zone {
            None => TimeZone::UTC,
            Some(name) => zone_of(name).ok_or_else(|| MomentsError::Zone(name.to_owned()))?,
        };
        Ok(Self { cron, zone, never })
    }

    /// The first moment after `time`; `None` where none comes.
    pub fn after(&self, time: Timestamp) -> Option<Timestamp> {
        if self.never {
            return None;
        }
        let mut from = time;
        // The search is by the second and by the wall clock, so that where the clock is put back it may answer with a
        // moment that lies behind.
        for _ in 0..4 {
            let found = self.cron.find_next_occurrence(&self.local(from), false).ok()?;
            let found = found.timestamp();
            if found > time {
                return Some(found);
            }
            from = from.checked_add(SignedDuration::from_mins(1)).ok()?;
        }
        None
    }

    /// The first moment at or after `time`.
    pub fn from(&self, time: Timestamp) -> Option<Timestamp> {
        self.after(time.checked_sub(SignedDuration::from_nanos(1)).ok()?)
    }

    /// The first moment after `after` that is not before `start`.
    pub fn first(&self, after: Timestamp, start: Option<Timestamp>) -> Option<Timestamp> {
        match start {
            Some(start) if start > after => self.from(start),
            _ => self.after(after),
        }
    }

    /// The last moment at or before `time`, as far as the search finds it: a moment right after a gap of the clock it
    /// passes over.
    pub fn latest(&self, time: Timestamp) -> Option<Timestamp> {
        if self.never {
            return None;
        }
        let found = self.cron.find_previous_occurrence(&self.local(time), true).ok()?;
        Some(found.timestamp()).filter(|found| *found <= time)
    }

    fn local(&self, time: Timestamp) -> Zoned {
        time.to_zoned(self.zone.clone())
    }
}

/// True where no minute fits or no hour, or no day of 28 years, after which a calendar without a century in it begins anew.
/// The search would go on for thousands of years.
fn is_never(cron: &Cron, parser: &CronParser, text: &str) -> bool {
    let minute = (0..60).any(|minute| cron.pattern.minute_match(minute).unwrap_or(true));
    let hour = (0..24).any(|hour| cron.pattern.hour_match(hour).unwrap_or(true));
    if !minute || !hour {
        return true;
    }
    let fields: Vec<&str> = text.split_whitespace().collect();
    let [_, _, day, month, weekday] = fields[..] else {
        // A nickname.
        return false;
    };
    let Ok(midnights) = parser.parse(&format!("0 0 {day} {month} {weekday}")) else {
        return false;
    };
    let mut days = date(2000, 1, 1).series(1.day()).take(28 * 366);
    !days.any(|day| {
        let midnight = day.to_zoned(TimeZone::UTC).ok();
        midnight.is_some_and(|midnight| midnights.is_time_matching(&midnight).unwrap_or(true))
    })
}

fn zone_of(name: &str) -> Option<TimeZone> {
    TimeZone::get(name).ok().filter(|zone| !zone.is_unknown())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn moments(cron: &str, zone: &str) -> Moments {
        Moments::parse(cron, Some(zone)).unwrap()
    }

    fn after(cron: &str, zone: &str, times: &[&str]) {
        for pair in times.windows(2) {
            let found = moments(cron, zone)
                .after(at(pair[0]))
                .map(|time| time.to_string());
            assert_eq!(found.as_deref(), Some(pair[1]), "{cron} after {}", pair[0]);
        }
    }

    #[test]
    fn moments_follow_the_five_fields_in_their_time_zone() {
        after(
            "*/15 9 * * *",
            "UTC",
            &[
                "2026-01-01T09:20:00Z",
                "2026-01-01T09:30:00Z",
                "2026-01-01T09:45:00Z",
                "2026-01-02T09:00:00Z",
            ],
        );
        after(
            "0 9 * * MON",
            "Europe/Paris",
            &[
                "2026-01-01T00:00:00Z",
                "2026-01-05T08:00:00Z",
                "2026-01-12T08:00:00Z",
            ],
        );
        after(
            "0 0 29 2 *",
            "UTC",
            &[
                "2026-01-01T00:00:00Z",
                "2028-02-29T00:00:00Z",
                "2032-02-29T00:00:00Z",
            ],
        );
        after(
            "@hourly",
            "UTC",
            &["2026-01-01T09:20:00.5Z", "2026-01-01T10:00:00Z"],
        );
        // Either of the two days will do where both are named, as cron has it.
        after(
            "0 0 13 * FRI",
            "UTC",
            &[
                "2026-01-01T00:00:00Z",
                "2026-01-02T00:00:00Z",
                "2026-01-09T00:00:00Z",
                "2026-01-13T00:00:00Z",
            ],
        );
    }

    #[test]
    fn a_fixed_time_comes_once_a_day_whatever_the_clock_does() {
        // 02:30 is left out on 29 March and comes twice on 25 October 2026.
        after(
            "30 2 * * *",
            "Europe/Paris",
            &[
                "2026-03-28T12:00:00Z",
                "2026-03-29T01:00:00Z",
                "2026-03-30T00:30:00Z",
            ],
        );
        after(
            "30 2 * * *",
            "Europe/Paris",
            &[
                "2026-10-24T12:00:00Z",
                "2026-10-25T00:30:00Z",
                "2026-10-26T01:30:00Z",
            ],
        );
        after(
            "*/30 * * * *",
            "Europe/Paris",
            &[
                "2026-10-25T00:30:00Z",
                "2026-10-25T01:00:00Z",
                "2026-10-25T01:30:00Z",
                "2026-10-25T02:00:00Z",
            ],
        );
    }

    #[test]
    fn the_latest_moment_is_found_at_once_however_long_ago_the_first_was() {
        let minutes = moments("* * * * *", "UTC");
        assert_eq!(
            minutes.latest(at("2026-01-01T00:00:59.9Z")),
            Some(at("2026-01-01T00:00:00Z"))
        );
        assert_eq!(
            minutes.latest(at("2026-01-01T00:01:00Z")),
            Some(at("2026-01-01T00:01:00Z"))
        );
        assert_eq!(
            minutes.from(at("2026-01-01T00:01:00Z")),
            Some(at("2026-01-01T00:01:00Z"))
        );
        assert_eq!(
            minutes.from(at("2026-01-01T00:01:00.1Z")),
            Some(at("2026-01-01T00:02:00Z"))
        );
        let years = moments("0 0 1 1 *", "UTC");
        assert_eq!(
            years.latest(at("2026-12-31T00:00:00Z")),
            Some(at("2026-01-01T00:00:00Z"))
        );
    }

    #[test]
    fn what_never_comes_is_found_out() {
        for cron in [
            "0 0 30 2 *",
            "0 0 31 2,4,6,9,11 *",
            "59 23 31 4 *",
            "* * 30,31 FEB ?",
        ] {
            let never = moments(cron, "Europe/Paris");
            let now = at("2026-01-01T00:00:00Z");
            assert!(never.never, "{cron}");
            assert_eq!((never.after(now), never.latest(now)), (None, None), "{cron}");
        }
    }

    #[test]
    fn what_comes_seldom_comes() {
        // The fifth Sunday of a February that has one.
        after(
            "0 0 * 2 SUN#5",
            "UTC",
            &[
                "2026-01-01T00:00:00Z",
                "2032-02-29T00:00:00Z",
                "2060-02-29T00:00:00Z",
            ],
        );
    }

    #[test]
    fn what_is_no_schedule_is_refused_with_a_sentence() {
        let refused = |cron: &str, zone: Option<&str>| Moments::parse(cron, zone).unwrap_err().to_string();
        let five = "it takes five fields: minute, hour, day of month, month, day of week";
        for cron in [
            "",
            "*",
            "* * * *",
            "0 * * * * *",
            "0 0 * * * * 2030",
            "TZ=UTC 0 0 * * *",
        ] {
            assert_eq!(
                refused(cron, None),
                format!("{cron:?} is no cron expression: {five}")
            );
        }
        for cron in [
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "* * * 13 *",
            "* * * * 8",
            "a * * * *",
            "@soon",
            "*/0 * * * *",
            "5-1 * * * *",
        ] {
            assert!(
                refused(cron, None).starts_with(&format!("{cron:?} is no cron expression: ")),
                "{cron}"
            );
        }
        assert!(refused("é * * * *", None).contains("other characters"));
        assert!(refused(&"1,".repeat(200), None).ends_with("it is too long"));
        for zone in ["", "Nowhere/City", "../etc/passwd", "+02:00", "Etc/Unknown"] {
            let sentence = format!(
                "there is no time zone {zone:?}; take a name of the IANA database, such as Europe/Paris"
            );
            assert_eq!(refused("* * * * *", Some(zone)), sentence);
        }
    }

    fn field() -> impl Strategy<Value = String> {
        prop_oneof![
            Just("*".to_owned()),
            "[0-9]{1,2}",
            "\\*/[1-9][0-9]?",
            "[0-9]{1,2}-[0-9]{1,2}(/[1-9])?",
            "[0-9]{1,2}(,[0-9]{1,2}){1,3}",
            "(L|15W|LW|[0-6]#[1-5]|[0-6]L|MON|FEB|\\?)",
        ]
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,80}") {
            let _ = Moments::parse(&text, None);
        }

        #[test]
        fn moments_grow_and_the_latest_is_never_ahead(
            fields in proptest::collection::vec(field(), 5),
            zone in proptest::sample::select(vec!["UTC", "Europe/Paris", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"]),
            seconds in 0..4_000_000_000_i64,
        ) {
            let Ok(moments) = Moments::parse(&fields.join(" "), Some(zone)) else { return Ok(()) };
            let now = Timestamp::from_second(seconds).unwrap();
            let next = moments.after(now);
            if let Some(next) = next {
                prop_assert!(next > now);
                prop_assert!(moments.after(next).is_none_or(|third| third > next));
            }
            if let Some(latest) = moments.latest(now) {
                prop_assert!(latest <= now);
            }
        }
    }
}

#[cfg(test)]
mod fuzz {
    use super::*;
    use crate::fuzz;

    const ZONES: [&str; 5] = [
        "UTC",
        "Europe/Paris",
        "America/New_York",
        "Australia/Lord_Howe",
        "Pacific/Apia",
    ];

    /// A byte for the zone, four for the time, and the expression.
    fn cron(bytes: &[u8]) {
        let [zone, a, b, c, d, text @ ..] = bytes else {
            return;
        };
        let Ok(text) = std::str::from_utf8(text) else {
            return;
        };
        let zone = ZONES[usize::from(*zone) % ZONES.len()];
        let Ok(moments) = Moments::parse(text, Some(zone)) else {
            return;
        };
        let now = Timestamp::from_second(i64::from(u32::from_be_bytes([*a, *b, *c, *d]))).unwrap();
        let latest = moments.latest(now);
        assert!(latest.is_none_or(|latest| latest <= now), "{text} in {zone}");
        if let Some(next) = moments.after(now) {
            assert!(next > now, "{text} in {zone}");
            assert_eq!(moments.from(next), Some(next), "{text} in {zone}");
            // Where the clock jumps there are exceptions.
            if zone == "UTC" {
                let before = next - SignedDuration::from_secs(1);
                assert_eq!(moments.latest(next), Some(next), "{text}");
                assert!(
                    moments.latest(before).is_none_or(|latest| latest <= now),
                    "{text}"
                );
            }
        }
    }

    #[test]
    fn cron_expression() {
        fuzz::check("cron_expression", cron);
    }
}
