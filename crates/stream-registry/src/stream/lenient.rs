//! Functions that read single values of a record leniently, because other programs may have written the record.
//!
//! Each function reads the raw JSON of one value, and returns the nearest typed value and a flag. The flag is
//! `true` if the typed value expresses the JSON exactly. If the flag is `false`, the value is nonconforming and its
//! raw JSON must be kept. A function returns `None` if the JSON has another type.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::limits::MAX_COUNT;
use super::time::Timestamp;

/// A typed value, and whether it expresses the JSON exactly.
type Lenient<T> = (T, bool);

/// Reads a string; `None` if the JSON is not a string.
pub(super) fn string(raw: &str) -> Option<Cow<'_, str>> {
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    if inner.bytes().any(|b| b == b'\\') {
        return serde_json::from_str::<String>(raw).ok().map(Cow::Owned);
    }
    // The raw JSON is valid. So without a backslash, the characters between the quotes are the string itself.
    Some(Cow::Borrowed(inner))
}

/// Reads a string as a time; a string that is not a time is read as [`Timestamp::ZERO`].
pub(super) fn time(raw: &str) -> Option<Lenient<Timestamp>> {
    let string = string(raw)?;
    let Ok(time) = string.parse::<Timestamp>() else {
        return Some((Timestamp::nearest(&string).unwrap_or(Timestamp::ZERO), false));
    };
    // A `Timestamp` has nine fractional digits, so a string with more digits is not exact.
    let digits = string.get(20..).map_or(0, |rest| rest.bytes().take_while(u8::is_ascii_digit).count());
    Some((time, digits <= 9))
}

/// Reads an object of labels. Skips labels whose value is not a string.
pub(super) fn labels(raw: &str) -> Option<Lenient<BTreeMap<String, String>>> {
    let object: BTreeMap<String, &RawValue> = serde_json::from_str(raw).ok()?;
    let count = object.len();
    let labels: BTreeMap<_, _> =
        object.into_iter().filter_map(|(name, raw)| Some((name, string(raw.get())?.into_owned()))).collect();
    let exact = labels.len() == count;
    Some((labels, exact))
}

/// Returns the labels whose value is not a string.
pub(super) fn nonconforming_labels(raw: &str) -> BTreeMap<String, &RawValue> {
    let mut object: BTreeMap<String, &RawValue> = serde_json::from_str(raw).unwrap_or_default();
    object.retain(|_, raw| string(raw.get()).is_none());
    object
}

/// Reads a JSON number as a counter; `None` if the JSON is not a number.
///
/// A negative number, a fraction or a number above the limit is read as the nearest counter and is not exact. For
/// example, `1e+14` is exact, but `-5`, `1.5` and `1e30` are not. The function works on the decimal digits because an
/// `f64` is exact only up to 2^53.
pub(super) fn count(raw: &str) -> Option<Lenient<u64>> {
    if let Ok(plain) = raw.parse::<u64>() {
        let exact = plain <= MAX_COUNT && !raw.starts_with('+');
        return Some((plain.min(MAX_COUNT), exact));
    }
    raw.parse::<f64>().ok().filter(|_| raw.starts_with(|c: char| c == '-' || c.is_ascii_digit()))?;
    let negative = raw.starts_with('-');
    let (mantissa, exponent) = raw.split_once(['e', 'E']).unwrap_or((raw, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits: String = whole.chars().chain(fraction.chars()).filter(char::is_ascii_digit).collect();
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Some((0, true));
    }
    if negative {
        return Some((0, false));
    }
    let zeros = digits.len() - digits.trim_end_matches('0').len();
    let significant = &digits[..digits.len() - zeros];
    let fraction_digits = i64::try_from(fraction.len()).unwrap_or(i64::MAX);
    // An exponent that does not fit an i64 is replaced with the smallest or largest i64, which exceeds the same
    // limits.
    let exponent = exponent.parse::<i64>().unwrap_or(if exponent.starts_with('-') { i64::MIN } else { i64::MAX });
    let power = exponent.saturating_sub(fraction_digits).saturating_add(i64::try_from(zeros).unwrap_or(i64::MAX));
    let integer_digits = i64::try_from(significant.len()).unwrap_or(i64::MAX).saturating_add(power);
    if integer_digits > 19 {
        return Some((MAX_COUNT, false));
    }
    if integer_digits < 0 {
        return Some((0, false));
    }
    if power >= 0 {
        // The number has at most 19 digits, so it fits into a u64.
        let value = format!("{significant}{}", "0".repeat(usize::try_from(power).unwrap_or(0))).parse::<u64>().ok()?;
        return Some((value.min(MAX_COUNT), value <= MAX_COUNT));
    }
    let split = usize::try_from(integer_digits).unwrap_or(0);
    let value = if split == 0 { 0 } else { significant[..split].parse::<u64>().ok()? };
    let round_up = significant.as_bytes().get(split).is_some_and(|digit| *digit >= b'5');
    Some((value.saturating_add(u64::from(round_up)).min(MAX_COUNT), false))
}

/// Reads a JSON number as a finite `f64` of at least 0; `None` if the JSON is not a number.
///
/// A number that is negative or too large is read as the nearest valid number and is not exact.
pub(super) fn float(raw: &str) -> Option<Lenient<f64>> {
    raw.starts_with(|c: char| c == '-' || c.is_ascii_digit()).then_some(())?;
    let value = raw.parse::<f64>().ok()?;
    if value.is_infinite() {
        return Some((if value > 0.0 { f64::MAX } else { 0.0 }, false));
    }
    if value < 0.0 { Some((0.0, false)) } else { Some((value + 0.0, true)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counter_out_of_range_becomes_the_nearest_valid_counter() {
        for (raw, value, exact) in [
            ("0", 0, true),
            ("9223372036854775807", MAX_COUNT, true),
            ("9223372036854775808", MAX_COUNT, false),
            ("18446744073709551616", MAX_COUNT, false),
            ("1e+14", 100_000_000_000_000, true),
            ("1.5e6", 1_500_000, true),
            ("1.2345678901234e+14", 123_456_789_012_340, true),
            ("9.223372036854775807e18", MAX_COUNT, true),
            ("9007199254740993.0", 9_007_199_254_740_993, true),
            ("1e19", MAX_COUNT, false),
            ("1e999999999999999999999", MAX_COUNT, false),
            ("1e-999999999999999999999", 0, false),
            ("0e999999999999999999999", 0, true),
            ("-0", 0, true),
            ("-0.0e5", 0, true),
            ("-5", 0, false),
            ("-1e300", 0, false),
            ("1.4", 1, false),
            ("1.5", 2, false),
            ("0.5", 1, false),
            ("0.05", 0, false),
            ("100e-2", 1, true),
            ("150e-2", 2, false),
        ] {
            assert_eq!(count(raw), Some((value, exact)), "{raw}");
        }
        for raw in ["\"5\"", "null", "true", "[]", "{}", "inf", "NaN", ""] {
            assert_eq!(count(raw), None, "{raw}");
            assert_eq!(float(raw), None, "{raw}");
        }
    }

    #[test]
    fn float_out_of_range_becomes_the_nearest_valid_float() {
        assert_eq!(float("29.97"), Some((29.97, true)));
        assert_eq!(float("-1"), Some((0.0, false)));
        assert_eq!(float("1e999"), Some((f64::MAX, false)));
    }
}
