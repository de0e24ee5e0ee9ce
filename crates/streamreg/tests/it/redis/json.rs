//! An independent record decoder for tests. The decoder keeps the raw JSON of each value. If a field occurs twice, the
//! last value counts.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserializer as _;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

/// Raw JSON values by field name. A duplicate field has all its values, in order.
pub(crate) type Fields = BTreeMap<String, Vec<String>>;

/// Returns the fields, or `None` if the input is not a JSON object.
pub(crate) fn decode(json: &[u8]) -> Option<Fields> {
    struct Object;
    impl<'de> Visitor<'de> for Object {
        type Value = Fields;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
            let mut fields = Fields::new();
            while let Some((name, raw)) = map.next_entry::<String, &RawValue>()? {
                fields.entry(name).or_default().push(raw.get().to_owned());
            }
            Ok(fields)
        }
    }
    let json = std::str::from_utf8(json).ok()?;
    let mut decoder = serde_json::Deserializer::from_str(json);
    let fields = decoder.deserialize_map(Object).ok()?;
    decoder.end().ok()?;
    Some(fields)
}

const STRING_FIELDS: [&str; 10] =
    ["id", "type", "source_addr", "status", "video_codec", "resolution", "node", "epoch", "audio_codec", "end_reason"];
const COUNT_FIELDS: [&str; 7] = [
    "bitrate",
    "bytes_received",
    "packets_received",
    "packets_lost",
    "packets_retransmitted",
    "packets_dropped",
    "viewers",
];
const RATE_FIELDS: [&str; 3] = ["frame_rate", "rtt_ms", "jitter_ms"];
const TIME_FIELDS: [&str; 2] = ["created_at", "last_heartbeat"];

/// Returns the value of a known field in a form that does not depend on its formatting. Returns the raw JSON of an
/// unknown field.
pub(crate) fn normal_form(name: &str, raws: Option<&Vec<String>>) -> String {
    let known = STRING_FIELDS.contains(&name)
        || COUNT_FIELDS.contains(&name)
        || RATE_FIELDS.contains(&name)
        || TIME_FIELDS.contains(&name)
        || name == "labels";
    if !known {
        return raws.map_or_else(|| "absent".to_owned(), |raws| raws.join(" then "));
    }
    let raw = raws.and_then(|raws| raws.last()).map_or("null", String::as_str);
    let value = if STRING_FIELDS.contains(&name) {
        // Null, missing and empty all mean unset.
        match raw {
            "null" => Some(String::new()),
            raw => serde_json::from_str::<String>(raw).ok(),
        }
    } else if name == "labels" {
        match raw {
            "null" => Some("{}".to_owned()),
            raw => serde_json::from_str::<BTreeMap<String, Box<RawValue>>>(raw).ok().map(|labels| {
                let labels: Vec<_> = labels
                    .into_iter()
                    .map(|(name, raw)| match serde_json::from_str::<String>(raw.get()) {
                        Ok(string) => format!("{name:?}={string:?}"),
                        Err(_) => format!("{name:?} raw {}", raw.get()),
                    })
                    .collect();
                format!("{{{}}}", labels.join(","))
            }),
        }
    } else if TIME_FIELDS.contains(&name) {
        match raw {
            "null" => Some("0001-01-01T00:00:00.000000000Z".to_owned()),
            raw => serde_json::from_str::<String>(raw)
                .ok()
                .and_then(|string| string.parse::<stream_registry::Timestamp>().map(|time| (time, string)).ok())
                // A time with more than nine fractional digits keeps its raw JSON, because these digits are part of the
                // value.
                .filter(|(_, string)| {
                    string.get(20..).is_none_or(|rest| rest.bytes().take_while(u8::is_ascii_digit).count() <= 9)
                })
                .map(|(time, _)| time.to_string()),
        }
    } else if COUNT_FIELDS.contains(&name) {
        if raw == "null" { Some("0".to_owned()) } else { integer_digits(raw) }
    } else {
        match raw {
            "null" => Some("0".to_owned()),
            raw if raw.starts_with('"') => None,
            raw => raw
                .parse::<f64>()
                .ok()
                .filter(|rate| rate.is_finite() && *rate >= 0.0)
                .map(|rate| (rate + 0.0).to_string()),
        }
    };
    value.unwrap_or_else(|| format!("raw {raw}"))
}

/// Returns the decimal digits of an integer from 0 to 2^63 - 1, calculated from its string.
fn integer_digits(raw: &str) -> Option<String> {
    let raw = raw.to_ascii_lowercase();
    let (mantissa, exponent) = raw.split_once('e').unwrap_or((&raw, "0"));
    let exponent: i64 = exponent.parse().ok()?;
    if !mantissa.starts_with(|c: char| c.is_ascii_digit() || c == '-') || exponent.abs() > 400 {
        return None;
    }
    let (negative, mantissa) = mantissa.strip_prefix('-').map_or((false, mantissa), |rest| (true, rest));
    let (before, after) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut digits = format!("{before}{after}");
    let mut point = i64::try_from(before.len()).unwrap() + exponent;
    while digits.ends_with('0') {
        digits.pop();
    }
    let zeros = digits.len() - digits.trim_start_matches('0').len();
    digits.drain(..zeros);
    point -= i64::try_from(zeros).unwrap();
    if digits.is_empty() {
        return Some("0".to_owned());
    }
    let length = i64::try_from(digits.len()).unwrap();
    if negative || point < length || point > 19 {
        return None;
    }
    digits.push_str(&"0".repeat(usize::try_from(point - length).unwrap()));
    digits.parse::<u64>().ok().filter(|count| i64::try_from(*count).is_ok()).map(|count| count.to_string())
}

/// Compares two records field by field and returns the differences, except for the fields in `set`.
pub(crate) fn differences(before: &Fields, after: &Fields, set: &[&str]) -> Vec<String> {
    let names: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let mut found = Vec::new();
    for name in names {
        if set.contains(&name.as_str()) {
            continue;
        }
        let (was, is) = (normal_form(name, before.get(name)), normal_form(name, after.get(name)));
        if was != is {
            found.push(format!("{name}: {was} became {is}"));
        }
    }
    found
}

#[test]
fn test_decoder_reports_changed_values_and_ignores_formatting() {
    let one =
        decode(br#"{"bitrate":1e+14,"x":[],"frame_rate":25.0,"created_at":"2026-11-22T19:38:10.5+05:30","a":1,"a":2}"#)
            .unwrap();
    let two = decode(br#"{"bitrate":100000000000000,"x":[],"frame_rate":25,"created_at":"2026-11-22T14:08:10.500000000Z","a":1,"a":2}"#).unwrap();
    assert_eq!(differences(&one, &two, &[]), Vec::<String>::new());
    let three = decode(
        br#"{"bitrate":100000000000001,"x":{},"frame_rate":25,"created_at":"2026-11-22T14:08:10.500000001Z","a":2}"#,
    )
    .unwrap();
    assert_eq!(differences(&one, &three, &[]).len(), 4);
    assert_eq!(differences(&one, &three, &["x", "a", "bitrate", "created_at"]), Vec::<String>::new());
    for (raw, digits) in [
        ("1.5e6", Some("1500000")),
        ("0.0e9", Some("0")),
        ("1.5", None),
        ("-5", None),
        ("9223372036854775808", None),
        ("9223372036854775807", Some("9223372036854775807")),
    ] {
        assert_eq!(integer_digits(raw).as_deref(), digits, "{raw}");
    }
}
