//! Functions that read single values of a record leniently, because other programs may have written the record.
//!
//! Each function reads the raw JSON of one value, and returns the nearest typed value and a flag. The flag is
//! `true` if the typed value expresses the JSON exactly. If the flag is `false`, the value is nonconforming and its
//! raw JSON must be kept. A function returns `None` if the JSON has another type.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::invalid::{InvalidValue, Result};
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

/// The counter that a JSON number expresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Count {
    /// The number is a legal counter, in any spelling, such as `1e+14`.
    Exact(u64),
    /// The number has a fraction, and the nearest integer is a legal counter.
    Rounded(u64),
    /// The nearest integer is negative.
    Negative,
    /// The nearest integer is above the limit.
    TooLarge,
}

/// Reads a JSON number as the nearest counter; `None` if the JSON is not a number. The flag is `false` for a negative
/// number, a fraction or a number above the limit.
pub(super) fn count(raw: &str) -> Option<Lenient<u64>> {
    Some(match number(raw)? {
        Count::Exact(value) => (value, true),
        Count::Rounded(value) => (value, false),
        Count::Negative => (0, false),
        Count::TooLarge => (MAX_COUNT, false),
    })
}

/// Reads a JSON number as a counter; `None` if the JSON is not a number.
///
/// The function works on the decimal digits because an `f64` is exact only up to 2^53.
pub(super) fn number(raw: &str) -> Option<Count> {
    if let Ok(plain) = raw.parse::<u64>()
        && !raw.starts_with('+')
    {
        return Some(if plain <= MAX_COUNT { Count::Exact(plain) } else { Count::TooLarge });
    }
    raw.parse::<f64>().ok().filter(|_| raw.starts_with(|c: char| c == '-' || c.is_ascii_digit()))?;
    Some(match magnitude(raw) {
        zero @ (Count::Exact(0) | Count::Rounded(0)) => zero,
        _ if raw.starts_with('-') => Count::Negative,
        positive => positive,
    })
}

/// Parses the value of the counter `field` by the rules for a caller's record.
///
/// A fraction is rounded to the nearest integer, and a negative `packets_lost` is 0 (RFC 3550, 6.4.1).
///
/// ```
/// use stream_registry::stream::parse_count;
///
/// assert_eq!(parse_count("bitrate", "5467000.0000001")?, 5_467_000);
/// assert_eq!(parse_count("packets_lost", "-3")?, 0);
/// assert!(parse_count("bitrate", "-3").is_err());
/// # Ok::<(), stream_registry::Error>(())
/// ```
///
/// # Errors
///
/// Returns [`InvalidValue`] if the string is not a number in the notation of JSON, or if the nearest integer is
/// negative or larger than 2^63 − 1.
pub fn parse_count(field: &str, number: &str) -> Result<u64> {
    Some(number)
        .filter(|number| number.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte)))
        .and_then(|number| given_count(field, number))
        .ok_or_else(|| InvalidValue::new(format!("{field} must be a whole number from 0 to 2^63 - 1")))
}

/// Reads a counter that a caller gives. Other languages write integers as floats, and RFC 3550 (6.4.1) allows a
/// negative number of lost packets.
pub(super) fn given_count(field: &str, raw: &str) -> Option<u64> {
    match number(raw)? {
        Count::Exact(value) | Count::Rounded(value) => Some(value),
        Count::Negative if field == "packets_lost" => Some(0),
        Count::Negative | Count::TooLarge => None,
    }
}

/// Reads the absolute value of a valid JSON number.
fn magnitude(raw: &str) -> Count {
    let (mantissa, exponent) = raw.split_once(['e', 'E']).unwrap_or((raw, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits: String = whole.chars().chain(fraction.chars()).filter(char::is_ascii_digit).collect();
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Count::Exact(0);
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
        return Count::TooLarge;
    }
    if integer_digits < 0 {
        return Count::Rounded(0);
    }
    // The integer part has at most 19 digits, so it fits into a u64, even after rounding up.
    let split = usize::try_from(integer_digits).unwrap_or(0);
    let round_up = significant.as_bytes().get(split).is_some_and(|digit| *digit >= b'5');
    let integer: String = significant.bytes().map(char::from).chain(std::iter::repeat('0')).take(split).collect();
    match integer.parse::<u64>().unwrap_or(0) + u64::from(round_up) {
        value if value > MAX_COUNT => Count::TooLarge,
        value if power >= 0 => Count::Exact(value),
        value => Count::Rounded(value),
    }
}

/// Returns the JSON with each `NaN`, `Infinity` and `-Infinity` outside strings replaced by `true`. Returns `None` if the
/// JSON contains no such value.
///
/// JSON has no such numbers, but several encoders write them, e.g. `json.dumps` of Python. The decoders of all known
/// fields reject `true`, so a caller of this function gets an error that names the field.
pub(crate) fn replace_non_numbers(json: &str) -> Option<String> {
    if !json.contains("NaN") && !json.contains("Infinity") {
        return None;
    }
    let mut out = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(at) = rest.find(['"', 'N', 'I']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix("NaN").or_else(|| rest.strip_prefix("Infinity")) {
            out.truncate(out.trim_end_matches('-').len());
            out.push_str("true");
            rest = after;
        } else {
            // Copies a whole string, or one other character.
            let len = if rest.starts_with('"') { string_len(rest) } else { 1 };
            out.push_str(&rest[..len]);
            rest = &rest[len..];
        }
    }
    out.push_str(rest);
    Some(out)
}

/// Returns the number of nested arrays and objects in a valid JSON value; 0 for a string, number or literal.
pub(super) fn levels(json: &str) -> usize {
    if !json.starts_with(['[', '{']) {
        return 0;
    }
    let (mut level, mut deepest) = (0_usize, 0);
    let mut rest = json;
    while let Some(at) = rest.find(['"', '[', '{', ']', '}']) {
        let found = &rest[at..];
        let len = if found.starts_with('"') { string_len(found) } else { 1 };
        level = match found.as_bytes().first() {
            Some(b'[' | b'{') => level + 1,
            Some(b']' | b'}') => level.saturating_sub(1),
            _ => level,
        };
        deepest = deepest.max(level);
        rest = &found[len..];
    }
    deepest
}

/// Returns the length of the JSON string at the beginning of the input, including its quotes.
fn string_len(json: &str) -> usize {
    let mut escaped = false;
    let end = json.bytes().skip(1).position(|byte| {
        let is_end = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        is_end
    });
    end.map_or(json.len(), |end| end + 2)
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
    fn number_distinguishes_fractions_from_numbers_out_of_range() {
        for (raw, expected) in [
            ("5467000.0000001", Count::Rounded(5_467_000)),
            ("1e6", Count::Exact(1_000_000)),
            ("1.5E+6", Count::Exact(1_500_000)),
            ("-0.4", Count::Rounded(0)),
            ("-0.5", Count::Negative),
            ("-1", Count::Negative),
            ("9223372036854775807.4", Count::Rounded(MAX_COUNT)),
            ("9223372036854775807.5", Count::TooLarge),
            ("1e999", Count::TooLarge),
        ] {
            assert_eq!(number(raw), Some(expected), "{raw}");
        }
    }

    #[test]
    fn non_numbers_are_replaced_outside_strings_only() {
        for (json, expected) in [
            (r#"{"a":NaN,"b":[-Infinity,Infinity]}"#, Some(r#"{"a":true,"b":[true,true]}"#)),
            (r#"{"NaN\"\\":"-Infinity","I":nuN,"b":NaN}"#, Some(r#"{"NaN\"\\":"-Infinity","I":nuN,"b":true}"#)),
            (r#"{"a":"NaN"#, Some(r#"{"a":"NaN"#)),
            (r#"{"a":1}"#, None),
        ] {
            assert_eq!(replace_non_numbers(json).as_deref(), expected, "{json}");
        }
    }

    #[test]
    fn float_out_of_range_becomes_the_nearest_valid_float() {
        assert_eq!(float("29.97"), Some((29.97, true)));
        assert_eq!(float("-1"), Some((0.0, false)));
        assert_eq!(float("1e999"), Some((f64::MAX, false)));
    }
}
