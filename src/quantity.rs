//! Kubernetes quantities (`500m`, `1.5Gi`, `3e6`) as numbers.
//!
//! Values are kept in thousandths, rounded up, which is the finest step Kubernetes itself compares in
//! (`resource.Quantity.MilliValue`). Format: apimachinery `pkg/api/resource/quantity.go`.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// Why a text is not a quantity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a quantity: expected a number with an optional suffix such as m, k, M, Gi or e3")]
pub struct QuantityError(pub String);

/// The value in thousandths of a unit, rounded up and saturating at the ends of `i64`.
pub fn milli(text: &str) -> Result<i64, QuantityError> {
    let wrong = || QuantityError(text.to_owned());
    let (negative, rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let digits_end = rest
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(rest.len());
    let (number, suffix) = rest.split_at(digits_end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
        return Err(wrong());
    }
    let (mut factor, mut divisor) = factor_of(suffix).ok_or_else(wrong)?;
    factor = factor.saturating_mul(1000);
    // 18 fraction digits are more than nano precision needs; the cut part only ever rounds up.
    let (fraction, cut) = fraction.split_at(fraction.len().min(18));
    let cut = cut.bytes().any(|digit| digit != b'0');
    let mut mantissa: i128 = 0;
    for digit in whole.bytes().chain(fraction.bytes()) {
        mantissa = mantissa
            .saturating_mul(10)
            .saturating_add(i128::from(digit - b'0'));
    }
    for _ in 0..fraction.len() {
        divisor = divisor.saturating_mul(10);
    }
    let product = mantissa.saturating_mul(factor);
    let rounded = product / divisor + i128::from(product % divisor != 0 || cut);
    let signed = if negative { -rounded } else { rounded };
    Ok(i64::try_from(signed).unwrap_or(if negative { i64::MIN } else { i64::MAX }))
}

/// The value in whole units, rounded up: bytes for memory, cores for cpu.
pub fn units(text: &str) -> Result<i64, QuantityError> {
    let milli = milli(text)?;
    Ok(milli.div_euclid(1000) + i64::from(milli.rem_euclid(1000) != 0))
}

/// [`milli`] of a typed quantity; what cannot be read counts as 0, since an API server refused it already.
pub fn milli_of(quantity: &Quantity) -> i64 {
    milli(&quantity.0).unwrap_or(0)
}

/// Multiplier and divisor of a suffix.
fn factor_of(suffix: &str) -> Option<(i128, i128)> {
    let binary = |power: u32| Some((1024i128.pow(power), 1));
    let decimal = |power: u32| Some((10i128.pow(power), 1));
    match suffix {
        "" => Some((1, 1)),
        "n" => Some((1, 1_000_000_000)),
        "u" => Some((1, 1_000_000)),
        "m" => Some((1, 1000)),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        _ => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            let power = 10i128.checked_pow(exponent.unsigned_abs().min(38))?;
            Some(if exponent < 0 { (1, power) } else { (power, 1) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_become_thousandths_rounded_up() {
        for (text, expected) in [
            ("0", 0),
            ("1", 1000),
            ("500m", 500),
            ("0.5", 500),
            (".5", 500),
            ("1.", 1000),
            ("1n", 1),
            ("1500u", 2),
            ("2k", 2_000_000),
            ("1Ki", 1_024_000),
            ("1.5Gi", 1_610_612_736_000),
            ("3e2", 300_000),
            ("3E-2", 30),
            ("0.000000000000000001e30", 1_000_000_000_000_000),
            ("1000000000000000000000000000000e-30", 1000),
            ("0.0000000000000000001", 1),
            ("1.0000000000000000000", 1000),
            ("-1500m", -1500),
            ("100000E", i64::MAX),
            ("-100000E", i64::MIN),
        ] {
            assert_eq!(milli(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn whole_units_round_up() {
        for (text, expected) in [
            ("1500m", 2),
            ("64Mi", 67_108_864),
            ("1m", 1),
            ("0", 0),
            ("-1500m", -1),
        ] {
            assert_eq!(units(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "m",
            "1.2.3",
            "1mi",
            "one",
            "1 Gi",
            "e3",
            "--1",
            "1e",
            "1e99999999999",
        ] {
            assert_eq!(milli(text), Err(QuantityError(text.to_owned())), "{text}");
        }
    }
}

#[cfg(test)]
mod fuzz {
    use super::*;
    use crate::fuzz;

    /// Held against numbers with a floating point, which come near enough.
    fn amount(bytes: &[u8]) {
        let Ok(text) = std::str::from_utf8(bytes) else {
            return;
        };
        let Ok(thousandths) = milli(text) else {
            return;
        };
        let digits = text.find(|c: char| !c.is_ascii_digit() && !".+-".contains(c));
        let (number, suffix) = text.split_at(digits.unwrap_or(text.len()));
        // More digits saturate, and an exponent does not bring them back.
        if number.len() > 30 {
            return;
        }
        let factor = match suffix {
            "" => 1.0,
            "n" => 1e-9,
            "u" => 1e-6,
            "m" => 1e-3,
            "k" => 1e3,
            _ => match suffix[1..].parse() {
                Ok(exponent) => 10_f64.powi(exponent),
                Err(_) => {
                    let power = 1 + "KMGTPE".find(&suffix[..1]).unwrap() as i32;
                    let base: f64 = if suffix.ends_with('i') { 1024.0 } else { 1000.0 };
                    base.powi(power)
                }
            },
        };
        let near = match number.parse::<f64>().unwrap() {
            0.0 => 0.0,
            number => (number * factor * 1000.0).clamp(i64::MIN as f64, i64::MAX as f64),
        };
        // Rounded up to the next whole one, away from nothing.
        let off = thousandths.unsigned_abs() as f64 - near.abs();
        assert!(
            off >= -1e-9 * near.abs() && off <= 1.0 + 1e-9 * near.abs(),
            "{text}: {thousandths}"
        );
        assert!(
            near == 0.0 || (near < 0.0) == (thousandths < 0),
            "{text}: {thousandths}"
        );
        let whole = i128::from(units(text).unwrap()) * 1000 - i128::from(thousandths);
        assert!((0..1000).contains(&whole), "{text}");
    }

    #[test]
    fn quantity() {
        fuzz::check("quantity", amount);
    }
}
