//! Reads type and address of the publisher from the URL of an input. User names, passwords and queries are left out.

use stream_registry::StreamType;

use crate::servers::words;

/// The source that a URL names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) kind: StreamType,
    /// Host and port of the publisher; empty if the program waits for the publisher.
    pub(super) address: String,
}

/// Reads a URL. Returns `None` if it is a file name. `waits` says whether other options make the program wait for the
/// publisher.
pub(super) fn source(url: &str, waits: bool) -> Option<Source> {
    let (scheme, rest) = url.split_once("://")?;
    let is_scheme = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    if scheme.is_empty() || !scheme.chars().all(is_scheme) {
        return None;
    }
    let scheme = scheme.to_ascii_lowercase();
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let query = rest.split_once('?').map_or("", |(_, query)| query);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let waits = waits
        || matches!(&*scheme, "udp" | "rtp" | "file")
        || query.split(['&', '#']).any(|pair| matches!(pair, "mode=listener" | "listen" | "listen=1" | "listen=2"));
    let address = if waits { String::new() } else { with_port(host, &scheme) };
    let kind = words::stream_type(match &*scheme {
        "rtmps" | "rtmpt" | "rtmpe" | "rtmpte" | "rtmpts" => "rtmp",
        "rtsps" => "rtsp",
        "https" => "http",
        scheme => scheme,
    });
    Some(Source { kind, address })
}

/// Adds the usual port of the protocol if the address has none. Returns an empty string if the address has no host or
/// an invalid port.
fn with_port(host: &str, scheme: &str) -> String {
    let after_brackets = host.rsplit_once(']').map_or(host, |(_, rest)| rest);
    if host.is_empty() || host.starts_with(':') {
        return String::new();
    }
    if let Some((_, port)) = after_brackets.split_once(':') {
        // A slash in a password ends the authority early. The rest is then a user and a part of the password.
        return if port.parse::<u16>().is_ok() { host.to_owned() } else { String::new() };
    }
    let port = match scheme {
        "rtmp" => 1935,
        "rtsp" => 554,
        "http" => 80,
        "https" | "rtmps" => 443,
        _ => return host.to_owned(),
    };
    format!("{host}:{port}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_gives_type_and_address_without_user_and_query() {
        for (url, kind, address) in [
            ("srt://203.0.113.7:9000?passphrase=secret&streamid=x@y", "srt", "203.0.113.7:9000"),
            ("srt://user:pass@203.0.113.7:9000", "srt", "203.0.113.7:9000"),
            ("srt://[2001:db8::1]:9000", "srt", "[2001:db8::1]:9000"),
            ("rtmp://media.example/live/key", "rtmp", "media.example:1935"),
            ("RTMPS://media.example/live/key", "rtmp", "media.example:443"),
            ("rtsp://u:p@[2001:db8::1]/cam", "rtsp", "[2001:db8::1]:554"),
            ("rtsp://user:pa/ss@media.example/cam", "rtsp", ""),
            ("https://u:p@media.example:8443/a.m3u8?token=t", "http", "media.example:8443"),
            ("srt://:9000?mode=listener", "srt", ""),
            ("srt://0.0.0.0:9000?latency=1&mode=listener", "srt", ""),
            ("srt://:9000", "srt", ""),
            ("tcp://0.0.0.0:9000?listen", "tcp", ""),
            ("udp://@239.1.1.1:5000?reuse=1", "udp", ""),
            ("rtp://0.0.0.0:5004", "rtp", ""),
            ("srt://", "srt", ""),
        ] {
            let source = source(url, false).unwrap();
            assert_eq!((source.kind.as_str(), &*source.address), (kind, address), "{url}");
        }
        assert_eq!(source("rtmp://media.example/live", true).unwrap().address, "");
    }

    #[test]
    fn file_name_is_not_a_url() {
        for name in ["movie.mp4", "/srv/a://b", "", "://x", "a b://c"] {
            assert_eq!(source(name, false), None, "{name}");
        }
    }
}
