//! Records and their parts as arguments give them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use stream_registry::StreamPatch;
use stream_registry::stream::limits;

use super::failure::{Failure, Result};
pub(super) use stream_registry::query::label;

/// Collects labels, each name once.
///
/// # Errors
///
/// Usage errors: a name that comes twice, too many labels.
pub(super) fn labels(given: &[(String, String)]) -> Result<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    for (name, value) in given {
        if labels.insert(name.clone(), value.clone()).is_some() {
            return Err(Failure::usage(format_args!("--label {name} is given twice; give it once")));
        }
    }
    if labels.len() > limits::MAX_LABELS {
        return Err(Failure::usage(format_args!("a stream has at most {} labels", limits::MAX_LABELS)));
    }
    Ok(labels)
}

/// Reads a counter: 0 to 2^63 − 1.
///
/// # Errors
///
/// A sentence that says what to write instead.
pub(super) fn count(text: &str) -> std::result::Result<u64, String> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits
        .then(|| text.parse().ok())
        .flatten()
        .filter(|count| *count <= limits::MAX_COUNT)
        .ok_or_else(|| "write a whole number from 0 to 9223372036854775807".to_owned())
}

/// Reads a rate: a finite number of at least 0.
///
/// # Errors
///
/// A sentence that says what to write instead.
pub(super) fn rate(text: &str) -> std::result::Result<f64, String> {
    text.parse()
        .ok()
        .filter(|rate: &f64| rate.is_finite() && *rate >= 0.0)
        .ok_or_else(|| "write a number of at least 0, 29.97 say".to_owned())
}

/// Reads a short text of a record.
///
/// # Errors
///
/// A sentence that says what to write instead.
pub(super) fn text(text: &str) -> std::result::Result<String, String> {
    if text.len() > limits::MAX_TEXT_BYTES {
        return Err(format!("it is longer than {} bytes", limits::MAX_TEXT_BYTES));
    }
    Ok(text.to_owned())
}

/// As [`text`], not empty.
///
/// # Errors
///
/// As [`text`], and for nothing at all.
pub(super) fn some_text(given: &str) -> std::result::Result<String, String> {
    if given.is_empty() { Err("it is empty".to_owned()) } else { text(given) }
}

/// Reads the record that `--json` names; `-` is standard input.
///
/// # Errors
///
/// Usage errors: no such file, larger than a record may be, not UTF-8.
pub(super) fn read_json(file: &Path, stdin: &mut dyn Read) -> Result<String> {
    let (name, text) = if file == Path::new("-") {
        ("standard input".to_owned(), read_limited(stdin))
    } else {
        (file.display().to_string(), File::open(file).map_err(|e| e.to_string()).and_then(read_limited))
    };
    text.map_err(|fault| Failure::usage(format_args!("--json: cannot use {name}: {fault}")))
}

/// Reads a text of at most 64 KiB.
///
/// # Errors
///
/// A sentence about what is wrong.
pub(crate) fn read_limited(from: impl Read) -> std::result::Result<String, String> {
    let limit = u64::try_from(limits::MAX_RECORD_BYTES).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    from.take(limit + 1).read_to_end(&mut bytes).map_err(|error: io::Error| error.to_string())?;
    if bytes.len() > limits::MAX_RECORD_BYTES {
        return Err(format!("it is larger than {} KiB", limits::MAX_RECORD_BYTES / 1024));
    }
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned())
}

/// Reads the name of a label.
///
/// # Errors
///
/// A sentence that says what to write instead.
pub(super) fn label_name(name: &str) -> std::result::Result<String, String> {
    StreamPatch::default().label(name, "").check().map_err(|error| error.message().to_owned())?;
    Ok(name.to_owned())
}
