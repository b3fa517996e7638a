//! Amounts of Kubernetes (apimachinery, `resource.Quantity`) as whole numbers. Pure.

/// One mebibyte.
const MEBIBYTE: f64 = 1024.0 * 1024.0;

/// Mebibytes, rounded down; 0 for what is no amount. More than an i32 holds becomes as much as it holds.
pub fn mebibytes(text: &str) -> i32 {
    whole(amount(text) / MEBIBYTE)
}

/// A count, rounded down.
pub fn count(text: &str) -> i32 {
    whole(amount(text))
}

fn whole(number: f64) -> i32 {
    // Saturates; what is not a number becomes 0.
    number as i32
}

fn amount(text: &str) -> f64 {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" => 1.0,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "Ki" => 1024.0,
        "Mi" => MEBIBYTE,
        "Gi" => MEBIBYTE * 1024.0,
        "Ti" => MEBIBYTE * MEBIBYTE,
        "Pi" => MEBIBYTE * MEBIBYTE * 1024.0,
        // With an exponent, or no amount.
        _ => return text.parse().unwrap_or(0.0),
    };
    digits.parse::<f64>().unwrap_or(0.0) * unit
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn amounts_become_whole_numbers() {
        for (text, wanted) in [
            ("16384Ki", 16),
            ("64Mi", 64),
            ("2Gi", 2048),
            ("1.5Gi", 1536),
            ("134217728", 128),
            ("1e9", 953),
            ("900Ki", 0),
            ("100Pi", i32::MAX),
            ("", 0),
            ("many", 0),
            ("5é", 0),
        ] {
            assert_eq!(mebibytes(text), wanted, "{text}");
        }
        assert_eq!((count("110"), count("1k"), count("-")), (110, 1000, 0));
    }

    proptest! {
        #[test]
        fn any_text_is_some_number(text in ".{0,12}") {
            let _ = (mebibytes(&text), count(&text));
        }
    }
}
