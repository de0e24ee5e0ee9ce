//! Finds misspelt names: fields of records, and keys of the configuration file.

use stream_registry::Stream;
use strsim::damerau_levenshtein;

/// Maximum number of fields that a warning names.
const MAX_NAMED: usize = 5;

/// Returns a warning about the unknown fields of a record, with the known fields that users may have meant. Returns
/// `None` if all fields are known.
pub(super) fn unknown_fields(stream: &Stream) -> Option<String> {
    let mut fields: Vec<_> = stream.unknown_fields().map(|(name, _)| describe(name)).collect();
    let more = fields.len().saturating_sub(MAX_NAMED);
    fields.truncate(MAX_NAMED);
    let noun = match fields.len() {
        0 => return None,
        1 => "field",
        _ => "fields",
    };
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Some(format!("unknown {noun} {}{more}, stored as given", fields.join(", ")))
}

fn describe(name: &str) -> String {
    match nearest(name, Stream::FIELDS.iter().copied()) {
        Some(known) => format!("{name:?} (did you mean {known:?}?)"),
        None => format!("{name:?}"),
    }
}

/// Returns the error message for an unknown key, with all known keys and the nearest of them.
pub(super) fn unknown_key(key: &str, known: &[&str]) -> String {
    let keys = known.join(", ");
    match nearest(key, known.iter().copied()) {
        Some(nearest) => format!("unknown key {key:?}; did you mean {nearest:?}? The keys are {keys}"),
        None => format!("unknown key {key:?}; the keys are {keys}"),
    }
}

/// Returns the known name that differs least, if at most a third of the characters differ.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Long names are unlikely to be misspellings, and comparing them takes time.
    let length = Some(name.chars().count()).filter(|length| (3..=32).contains(length))?;
    let name = name.to_ascii_lowercase().replace('-', "_");
    let distances = known.map(|known| (damerau_levenshtein(&name, known), known));
    distances.min().filter(|(distance, _)| *distance <= length / 3).map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelt_field_is_reported_with_the_nearest_known_field() {
        for (name, expected) in [
            ("bitrte", Some("bitrate")),
            ("Bitrate", Some("bitrate")),
            ("sourceAddr", Some("source_addr")),
            ("source-addr", Some("source_addr")),
            ("typ", Some("type")),
            ("lables", Some("labels")),
            ("rack", None),
            ("ip", None),
            ("x", None),
        ] {
            assert_eq!(nearest(name, Stream::FIELDS.iter().copied()), expected, "{name}");
        }
    }

    #[test]
    fn warning_names_a_limited_number_of_unknown_fields() {
        let stream = |json: &str| Stream::from_json(&format!(r#"{{"id":"cam1","type":"srt"{json}}}"#)).unwrap();
        assert_eq!(unknown_fields(&stream("")), None);
        let one = unknown_fields(&stream(r#","bitrte":5"#)).unwrap();
        assert_eq!(one, r#"unknown field "bitrte" (did you mean "bitrate"?), stored as given"#);
        let seven = unknown_fields(&stream(r#","a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1"#)).unwrap();
        assert_eq!(seven, r#"unknown fields "a", "b", "c", "d", "e" and 2 more, stored as given"#);
    }
}
