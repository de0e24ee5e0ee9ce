//! The command line.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use stream_registry::{ConnectOptions, OnConflict, StreamId};

/// Receives RTP over UDP, registers each session in a stream registry, and reports its statistics every second.
#[derive(Clone, Debug, Parser)]
#[command(name = "rtp-ingest", version)]
pub struct Args {
    /// URL of the store: http://host:port of a running `streamreg serve`, or redis://host:port.
    #[arg(long, value_name = "URL", env = "STREAMREG_STORE", default_value = "http://127.0.0.1:8580", value_parser = store)]
    pub store: String,

    /// File that contains the bearer token for an HTTP store.
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,

    /// Address to receive RTP on, e.g. :5004 for all IPv4 addresses; RTCP is received on this port and the next one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:5004", value_parser = listen_address)]
    pub listen: SocketAddr,

    /// Name of this node. The records of its streams show this name.
    #[arg(long, value_name = "NAME", value_parser = node)]
    pub node: Option<String>,

    /// Stream id of the first session. When that session ends, the next new session gets the id. Other sessions get
    /// generated ids.
    #[arg(long, value_name = "ID")]
    pub id: Option<StreamId>,

    /// Reaction if the id given with --id belongs to another publisher's live stream.
    #[arg(long, value_name = "POLICY", value_enum, default_value_t = Conflict::Reject, requires = "id")]
    pub on_conflict: Conflict,

    /// Time after which a stream expires in Redis if this node dies, e.g. 10s. An HTTP server sets its own TTL
    /// [default: 5m].
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub ttl: Option<Duration>,

    /// File with a session description (SDP), which names the codecs. ffmpeg writes such a file with -sdp_file. The
    /// file may be created later.
    #[arg(long, value_name = "FILE")]
    pub sdp: Option<PathBuf>,

    /// Time without packets after which a session ends, e.g. 10s, 500ms or 2m.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub silence: Duration,

    /// Maximum number of concurrent sessions.
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = max_sessions)]
    pub max_sessions: usize,
}

/// Reaction if the chosen id belongs to another publisher's live stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Conflict {
    /// Leave the stream to the other publisher and retry every second until the id is free.
    Reject,
    /// Take the stream over; the other publisher is notified.
    TakeOver,
}

impl From<Conflict> for OnConflict {
    fn from(conflict: Conflict) -> Self {
        match conflict {
            Conflict::Reject => Self::Reject,
            Conflict::TakeOver => Self::TakeOver,
        }
    }
}

impl Args {
    /// Returns the options for opening the store.
    ///
    /// # Errors
    ///
    /// Returns a message for the user if the token file cannot be read or is empty.
    pub fn connect_options(&self) -> Result<ConnectOptions, String> {
        let options = self.ttl.map_or_else(ConnectOptions::default, |ttl| ConnectOptions::default().ttl(ttl));
        let Some(path) = &self.token_file else { return Ok(options) };
        let content = fs::read_to_string(path)
            .map_err(|error| format!("cannot read the token file {}: {error}", path.display()))?;
        // Some editors write a byte order mark at the beginning of a file.
        match content.trim_start_matches('\u{feff}').trim() {
            "" => Err(format!("the token file {} is empty; write the server's token into it", path.display())),
            token => Ok(options.token(token)),
        }
    }
}

fn store(url: &str) -> Result<String, String> {
    if url.starts_with("memory:") {
        return Err("an in-memory store exists only in this process; use http://host:port or redis://host:port".into());
    }
    Ok(url.to_owned())
}

/// Parses an address to listen on. Without a host, the address is `0.0.0.0`. A host name is resolved, and its first
/// IPv4 address is preferred. `streamreg serve` has the same function, but the two programs share no code.
fn listen_address(value: &str) -> Result<SocketAddr, String> {
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
        _ => Err("expected an address with a port, e.g. 127.0.0.1:5004, [::]:5004 or :5004".into()),
    }
}

fn node(name: &str) -> Result<String, String> {
    let max = stream_registry::stream::limits::MAX_STRING_BYTES;
    if name.is_empty() || name.len() > max || name.chars().any(char::is_control) {
        return Err(format!("expected 1 to {max} bytes without control characters"));
    }
    Ok(name.to_owned())
}

fn max_sessions(number: &str) -> Result<usize, String> {
    number
        .parse()
        .ok()
        .filter(|max| (1..=100_000).contains(max))
        .ok_or_else(|| "expected a number from 1 to 100000".into())
}

/// Parses a duration such as `500ms`, `10s`, `2m` or `1h`, from 100 ms to 24 h.
fn duration(input: &str) -> Result<Duration, String> {
    const MAX: Duration = Duration::from_secs(24 * 3_600);
    let invalid = || "expected a duration from 100ms to 24h with a unit, e.g. 500ms, 10s, 2m or 1h".to_owned();
    let digits = input.find(|c: char| !c.is_ascii_digit()).ok_or_else(invalid)?;
    let number: u64 = input[..digits].parse().map_err(|_| invalid())?;
    let millis = match &input[digits..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(invalid()),
    };
    let duration = Duration::from_millis(number.checked_mul(millis).ok_or_else(invalid)?);
    if (Duration::from_millis(100)..=MAX).contains(&duration) { Ok(duration) } else { Err(invalid()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_without_unit_or_outside_limits_are_rejected() {
        for (text, millis) in [("500ms", 500), ("10s", 10_000), ("2m", 120_000), ("24h", 86_400_000), ("100ms", 100)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in [
            "",
            "10",
            "s",
            "10 s",
            "-1s",
            "1.5s",
            "99ms",
            "0s",
            "25h",
            "99999999999999999999s",
            "18446744073709551615h",
            "10x",
            "é",
        ] {
            assert!(duration(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn invalid_arguments_exit_with_status_2() {
        let parse = |args: &[&str]| Args::try_parse_from([&["rtp-ingest"], args].concat());
        let args = parse(&[]).unwrap();
        assert_eq!((args.listen.port(), args.silence.as_secs(), args.max_sessions), (5004, 10, 1_000));
        for (given, expected) in
            [(":5004", "0.0.0.0:5004"), ("localhost:5006", "127.0.0.1:5006"), ("[::1]:1", "[::1]:1")]
        {
            assert_eq!(parse(&["--listen", given]).unwrap().listen, expected.parse().unwrap(), "{given}");
        }
        let args = parse(&["--id", "cam1", "--on-conflict", "take-over", "--ttl", "3s"]).unwrap();
        assert_eq!(OnConflict::from(args.on_conflict), OnConflict::TakeOver);
        assert_eq!(args.connect_options().unwrap(), ConnectOptions::default().ttl(Duration::from_secs(3)));
        for bad in [
            &["--store", "memory:"][..],
            &["--listen", "5004"],
            &["--listen", "localhost"],
            &["--listen", "::1:5004"],
            &["--node", ""],
            &["--node", "a\nb"],
            &["--silence", "10"],
            &["--id", "active"],
            &["--on-conflict", "take-over"],
            &["--id", "cam1", "--on-conflict", "create-only"],
            &["--ttl", "0s"],
            &["--max-sessions", "0"],
            &["--max-sessions", "many"],
            &["--unknown"],
            &["surplus"],
        ] {
            assert_eq!(parse(bad).unwrap_err().exit_code(), 2, "{bad:?}");
        }
    }

    #[test]
    fn connect_options_contain_the_token_from_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let mut args = Args::try_parse_from(["rtp-ingest"]).unwrap();
        assert_eq!(args.connect_options().unwrap(), ConnectOptions::default());
        args.token_file = Some(path.clone());
        assert!(args.connect_options().unwrap_err().contains("cannot read"));
        fs::write(&path, " \n").unwrap();
        assert!(args.connect_options().unwrap_err().contains("empty"));
        fs::write(&path, "\u{feff}secret\n").unwrap();
        assert_eq!(args.connect_options().unwrap(), ConnectOptions::default().token("secret"));
    }
}
