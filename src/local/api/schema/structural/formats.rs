//! String formats that the API server checks; it ignores all others.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use base64::Engine;

/// Whether `text` is of this format. Unknown formats accept everything.
pub(super) fn matches(format: &str, text: &str) -> bool {
    match format {
        "byte" => base64::engine::general_purpose::STANDARD.decode(text).is_ok(),
        "date" => is_date(text),
        "date-time" | "datetime" => is_date_time(text),
        "duration" => is_duration(text),
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "cidr" => is_cidr(text),
        "mac" => is_mac(text),
        "uuid" => is_uuid(text, None),
        "uuid3" => is_uuid(text, Some('3')),
        "uuid4" => is_uuid(text, Some('4')),
        "uuid5" => is_uuid(text, Some('5')),
        "hostname" => is_hostname(text),
        "email" => is_email(text),
        "uri" => is_uri(text),
        _ => true,
    }
}

/// RFC 3339 full-date, a date that exists.
fn is_date(text: &str) -> bool {
    shape(text, "dddd-dd-dd") && text.parse::<jiff::civil::Date>().is_ok()
}

/// RFC 3339 date-time.
fn is_date_time(text: &str) -> bool {
    let Some((date, time)) = text.split_once(['T', 't']) else {
        return false;
    };
    if !is_date(date) || !time.is_char_boundary(8) || time.len() < 9 {
        return false;
    }
    let (clock, rest) = time.split_at(8);
    if !shape(clock, "dd:dd:dd") || &clock[..2] > "23" || &clock[3..5] > "59" || &clock[6..] > "60" {
        return false;
    }
    let zone = match rest.strip_prefix('.') {
        Some(fraction) => {
            let zone = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
            if zone.len() == fraction.len() {
                return false;
            }
            zone
        }
        None => rest,
    };
    matches!(zone, "Z" | "z") || (zone.starts_with(['+', '-']) && shape(&zone[1..], "dd:dd"))
}

/// `d` stands for a digit, anything else for itself.
fn shape(text: &str, pattern: &str) -> bool {
    text.len() == pattern.len()
        && text
            .bytes()
            .zip(pattern.bytes())
            .all(|(t, p)| if p == b'd' { t.is_ascii_digit() } else { t == p })
}

/// Go's `time.ParseDuration`, or a number and a word such as `22 seconds`.
fn is_duration(text: &str) -> bool {
    const WORDS: &[&str] = &[
        "ns",
        "nano",
        "nanosecond",
        "us",
        "µs",
        "micro",
        "microsecond",
        "ms",
        "milli",
        "millisecond",
        "s",
        "sec",
        "second",
        "m",
        "min",
        "minute",
        "h",
        "hr",
        "hour",
        "d",
        "day",
        "w",
        "wk",
        "week",
    ];
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return true;
    }
    if rest.is_empty() {
        return false;
    }
    while !rest.is_empty() {
        let digits = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        let number = &rest[..rest.len() - digits.len()];
        if number.parse::<f64>().is_err() {
            return false;
        }
        let unit_start = digits.trim_start_matches(' ');
        let after = unit_start.trim_start_matches(|c: char| c.is_alphabetic());
        let unit = &unit_start[..unit_start.len() - after.len()];
        if !WORDS.contains(&unit) && !unit.strip_suffix('s').is_some_and(|unit| WORDS.contains(&unit)) {
            return false;
        }
        rest = after;
    }
    true
}

fn is_cidr(text: &str) -> bool {
    let Some((address, prefix)) = text.split_once('/') else {
        return false;
    };
    let (Ok(address), Ok(prefix)) = (address.parse::<IpAddr>(), prefix.parse::<u8>()) else {
        return false;
    };
    prefix <= if address.is_ipv4() { 32 } else { 128 }
}

fn is_mac(text: &str) -> bool {
    let separator = if text.contains(':') { ':' } else { '-' };
    let parts: Vec<&str> = text.split(separator).take(21).collect();
    matches!(parts.len(), 6 | 8 | 20)
        && parts
            .iter()
            .all(|part| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn is_uuid(text: &str, version: Option<char>) -> bool {
    let plain: Vec<char> = text.chars().filter(|&c| c != '-').take(33).collect();
    let dashes = text.bytes().filter(|&b| b == b'-').count();
    plain.len() == 32
        && matches!(dashes, 0 | 4)
        && plain.iter().all(char::is_ascii_hexdigit)
        && version.is_none_or(|version| plain[12] == version)
}

fn is_hostname(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 255
        && text.trim_end_matches('.').split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.chars().all(|c| c.is_alphanumeric() || c == '-' || c == '_')
        })
}

fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else {
        return false;
    };
    !local.is_empty() && !local.contains(char::is_whitespace) && is_hostname(domain)
}

/// Go's `url.ParseRequestURI`: an absolute URI or an absolute path.
fn is_uri(text: &str) -> bool {
    if text.is_empty() || text.contains(|c: char| c.is_control() || c == ' ') {
        return false;
    }
    if text.starts_with('/') {
        return true;
    }
    text.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
    })
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn good_values_match_their_format() {
        for (format, text) in [
            ("byte", "aGVsbG8="),
            ("byte", ""),
            ("date", "2024-02-29"),
            ("date-time", "2024-02-29T23:59:60Z"),
            ("date-time", "2024-02-29t01:02:03.456+02:00"),
            ("duration", "1h30m"),
            ("duration", "22 ns"),
            ("duration", "3 seconds"),
            ("ipv4", "10.0.0.1"),
            ("ipv6", "::1"),
            ("cidr", "10.0.0.0/8"),
            ("mac", "00:11:22:33:44:55"),
            ("uuid", "123e4567-e89b-12d3-a456-426614174000"),
            ("hostname", "a-b.example.com"),
            ("email", "x@example.com"),
            ("uri", "https://example.com/x?y=1"),
            ("no-such-format", "anything"),
        ] {
            assert!(matches(format, text), "{format} {text}");
        }
    }

    #[test]
    fn bad_values_do_not() {
        for (format, text) in [
            ("byte", "a"),
            ("date", "2023-02-29"),
            ("date", "2023-2-9"),
            ("date-time", "2024-02-29"),
            ("date-time", "2024-02-29 01:02:03Z"),
            ("date-time", "2024-02-29T01:02:03"),
            ("date-time", "2024-02-29T24:02:03Z"),
            ("date-time", "2024-02-29T01:02:é3Z"),
            ("date-time", "2024-02-29T01:02:03.Z"),
            ("date-time", "yesterday"),
            ("duration", ""),
            ("duration", "5"),
            ("duration", "5 parsecs"),
            ("ipv4", "10.0.0"),
            ("cidr", "10.0.0.0/33"),
            ("mac", "00:11"),
            ("uuid4", "123e4567-e89b-12d3-a456-426614174000"),
            ("hostname", "-a"),
            ("email", "example.com"),
            ("uri", "not a uri"),
        ] {
            assert!(!matches(format, text), "{format} {text}");
        }
    }
}
