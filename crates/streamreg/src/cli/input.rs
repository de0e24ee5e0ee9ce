//! Parses the values of arguments: records, numbers, labels and files.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};
use std::path::Path;

use stream_registry::stream::{self, InvalidValue, limits};
use stream_registry::{Guard, StreamPatch};

use super::failure::{Failure, Result};
pub(super) use stream_registry::query::label;

/// Returns `Guard::Force` if `--force` was given, and `Guard::None` otherwise.
pub(super) fn guard(force: bool) -> Guard {
    if force { Guard::Force } else { Guard::None }
}

/// Collects labels into a map.
///
/// # Errors
///
/// Returns a usage error if a name is given twice or there are too many labels.
pub(super) fn labels(given: &[(String, String)]) -> Result<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    for (name, value) in given {
        if labels.insert(name.clone(), value.clone()).is_some() {
            return Err(Failure::usage(format_args!("duplicate --label {name}; pass it once")));
        }
    }
    if labels.len() > limits::MAX_LABELS {
        return Err(Failure::usage(format_args!("a stream has at most {} labels", limits::MAX_LABELS)));
    }
    Ok(labels)
}

/// Parses a counter from 0 to 2^63 − 1. A fraction is rounded to the nearest integer.
///
/// # Errors
///
/// Returns a message that states the valid range.
pub(super) fn count(value: &str) -> std::result::Result<u64, String> {
    // The message below replaces the library's, so any name works except `packets_lost`, which allows negative numbers.
    stream::parse_count("bitrate", value)
        .map_err(|_| "expected a whole number from 0 to 9223372036854775807".to_owned())
}

/// Parses a bit rate like [`count`]. The suffixes k, M and G multiply by powers of 1000, as in `800k` or `2.5M`.
///
/// # Errors
///
/// Returns a message that shows valid bit rates.
pub(super) fn bitrate(value: &str) -> std::result::Result<u64, String> {
    let scaled = [('k', "e3"), ('M', "e6"), ('G', "e9")]
        .into_iter()
        .find_map(|(suffix, exponent)| Some(value.strip_suffix(suffix)?.to_owned() + exponent));
    stream::parse_count("bitrate", scaled.as_deref().unwrap_or(value))
        .map_err(|_| "expected bits per second, e.g. 5000000, 800k, 5M or 1.2G".to_owned())
}

/// Parses a number of lost packets like [`count`], except that a negative number is 0 (RFC 3550, 6.4.1).
///
/// # Errors
///
/// Returns a message that states the valid range.
pub(super) fn lost(value: &str) -> std::result::Result<u64, String> {
    stream::parse_count("packets_lost", value).map_err(|_| "expected a number up to 9223372036854775807".to_owned())
}

/// Parses an address to listen on. Without a host, the address is `0.0.0.0`. A host name is resolved, and its first
/// IPv4 address is preferred, because clients connect to `127.0.0.1` by default.
///
/// # Errors
///
/// Returns a message that shows a valid address, or says that the host name cannot be resolved.
pub(super) fn listen_address(value: &str) -> std::result::Result<SocketAddr, String> {
    if let Ok(address) = value.parse() {
        return Ok(address);
    }
    let parts = value.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
    match parts {
        Some(("", port)) => Ok((Ipv4Addr::UNSPECIFIED, port).into()),
        Some((host, port)) if !host.contains([':', '[']) => {
            let addresses =
                (host, port).to_socket_addrs().map_err(|error| format!("cannot resolve {host:?}: {error}"))?;
            let addresses: Vec<_> = addresses.collect();
            let preferred = addresses.iter().find(|address| address.is_ipv4()).or(addresses.first());
            preferred.copied().ok_or_else(|| format!("{host:?} has no address"))
        }
        _ => Err("expected an address with a port, e.g. 127.0.0.1:8580, [::]:8580 or :8580".to_owned()),
    }
}

/// Returns whether an address has the form `host:port`, with IPv6 addresses in brackets.
pub(super) fn is_host_and_port(address: &str) -> bool {
    let Some((host, port)) = address.rsplit_once(':') else { return false };
    let in_brackets = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let valid_host = match in_brackets {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => !host.is_empty() && !host.contains([':', '/', '[', ']']) && !host.contains(char::is_whitespace),
    };
    valid_host && port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok()
}

/// Parses a rate: a finite number of at least 0.
///
/// # Errors
///
/// Returns a message that shows a valid rate.
pub(super) fn rate(value: &str) -> std::result::Result<f64, String> {
    value
        .parse()
        .ok()
        .filter(|rate: &f64| rate.is_finite() && *rate >= 0.0)
        .ok_or_else(|| "expected a number of at least 0, e.g. 29.97".to_owned())
}

/// Checks the length of a string field of a record.
///
/// # Errors
///
/// Returns a message if the string is too long.
pub(super) fn string(value: &str) -> std::result::Result<String, String> {
    if value.len() > limits::MAX_STRING_BYTES {
        return Err(format!("longer than {} bytes", limits::MAX_STRING_BYTES));
    }
    Ok(value.to_owned())
}

/// Checks the value of a string field that must not be empty.
///
/// # Errors
///
/// Returns a message if the string is empty or too long.
pub(super) fn non_empty_string(value: &str) -> std::result::Result<String, String> {
    if value.is_empty() { Err("must not be empty".to_owned()) } else { string(value) }
}

/// Checks the name of a label.
///
/// # Errors
///
/// Returns a message that states the rule for names.
pub(super) fn label_name(name: &str) -> std::result::Result<String, String> {
    StreamPatch::default().label(name, "").check().map_err(|error| error.message().to_owned())?;
    Ok(name.to_owned())
}

/// Reads the record from the file that `--json` names. `-` means standard input.
///
/// # Errors
///
/// Returns a usage error if the file cannot be read, is too large for a record, or is not UTF-8.
pub(super) fn read_json(file: &Path, stdin: &mut dyn Read) -> Result<String> {
    let content = if is_stdin(file) {
        read_limited(stdin)
    } else {
        File::open(file).map_err(|error| error.to_string()).and_then(read_limited)
    };
    content.map_err(|error| Failure::usage(format_args!("--json: cannot read {}: {error}", name(file))))
}

/// Returns the failure for an invalid record in the file that `--json` names.
pub(super) fn invalid_json(file: &Path, invalid: &InvalidValue) -> Failure {
    Failure::usage(format_args!("--json: {}: {}", name(file), invalid.message()))
}

/// Reads the answer to a question, one line of at most 64 bytes. Without a readable line, the answer is empty.
pub(super) fn answer(stdin: &mut dyn Read) -> String {
    let mut line = String::new();
    // If reading fails, the line stays empty.
    let _ = BufReader::new(stdin.take(64)).read_line(&mut line);
    line.trim().to_owned()
}

fn is_stdin(file: &Path) -> bool {
    file == Path::new("-")
}

fn name(file: &Path) -> String {
    if is_stdin(file) { "standard input".to_owned() } else { file.display().to_string() }
}

/// Reads a UTF-8 string of at most 64 KiB, without its byte order mark. Some editors write a byte order mark at the
/// beginning of a file.
///
/// # Errors
///
/// Returns a message if the content cannot be read, is too large or is not UTF-8.
pub(super) fn read_limited(from: impl Read) -> std::result::Result<String, String> {
    let limit = u64::try_from(limits::MAX_RECORD_BYTES).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    from.take(limit + 1).read_to_end(&mut bytes).map_err(|error: io::Error| error.to_string())?;
    if bytes.len() > limits::MAX_RECORD_BYTES {
        return Err(format!("larger than {} KiB", limits::MAX_RECORD_BYTES / 1024));
    }
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&bytes);
    String::from_utf8(bytes.to_vec()).map_err(|_| "not valid UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listen_address_may_omit_the_host_or_name_it() {
        for (given, expected) in [
            ("127.0.0.1:8580", "127.0.0.1:8580"),
            ("[::1]:8580", "[::1]:8580"),
            (":8580", "0.0.0.0:8580"),
            ("localhost:8580", "127.0.0.1:8580"),
        ] {
            assert_eq!(listen_address(given), Ok(expected.parse().unwrap()), "{given}");
        }
        for invalid in ["", "8580", "localhost", "localhost:", ":", ":x", ":65536", "::1:8580", "[::1]", "[h]:1"] {
            let message = listen_address(invalid).unwrap_err();
            assert!(message.contains("e.g. 127.0.0.1:8580"), "{invalid}: {message}");
        }
    }

    #[test]
    fn bit_rate_may_have_a_decimal_suffix() {
        for (given, expected) in [
            ("5000000", 5_000_000),
            ("800k", 800_000),
            ("5M", 5_000_000),
            ("2.5M", 2_500_000),
            ("1.2G", 1_200_000_000),
            ("0k", 0),
            ("1.0006k", 1_001),
            ("5e6", 5_000_000),
        ] {
            assert_eq!(bitrate(given), Ok(expected), "{given}");
        }
        for invalid in ["", "M", "5m", "5K", "5Mi", "5 M", "5MM", "-5M", "5e3k", "5Mbit/s", "9223372037G", "infG"] {
            assert!(bitrate(invalid).is_err_and(|message| message.contains("5M")), "{invalid}");
        }
    }

    #[test]
    fn publisher_address_is_a_host_and_a_port() {
        for address in ["203.0.113.7:40112", "[2001:db8::1]:5004", "encoder-1.example:1", "a:65535"] {
            assert!(is_host_and_port(address), "{address}");
        }
        for other in
            ["nonsense", "", ":1", "a:", "a:x", "a:+1", "a:65536", "2001:db8::1:5004", "[a]:1", "rtsp://a:1", "a b:1"]
        {
            assert!(!is_host_and_port(other), "{other}");
        }
    }

    #[test]
    fn byte_order_mark_is_skipped() {
        assert_eq!(read_limited("\u{feff}{}".as_bytes()), Ok("{}".to_owned()));
        assert_eq!(read_limited("\u{feff}".as_bytes()), Ok(String::new()));
        assert_eq!(read_limited("{\u{feff}}".as_bytes()), Ok("{\u{feff}}".to_owned()));
    }
}
