//! The command line.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use stream_registry::{ConnectOptions, OnConflict, StreamId};

/// Receives RTP over UDP and registers each session in a stream registry, with its statistics each second.
#[derive(Clone, Debug, Parser)]
#[command(name = "rtp-ingest", version)]
pub struct Args {
    /// The store: http://host:port of a running `streamreg serve`, or redis://host:port.
    #[arg(long, value_name = "URL", env = "STREAMREG_STORE", default_value = "http://127.0.0.1:8580", value_parser = store)]
    pub store: String,

    /// File with the bearer token of an HTTP store.
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,

    /// Where RTP comes to; RTCP comes to the next port, or to the same.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:5004")]
    pub listen: SocketAddr,

    /// This node's name in the streams' records.
    #[arg(long, value_name = "NAME", value_parser = node)]
    pub node: Option<String>,

    /// The stream's id, for the first session and after its end the next one; other sessions get generated ids.
    #[arg(long, value_name = "ID")]
    pub id: Option<StreamId>,

    /// What happens where another publisher has the stream of --id.
    #[arg(long, value_name = "POLICY", value_enum, default_value_t = Conflict::Reject, requires = "id")]
    pub on_conflict: Conflict,

    /// How long a stream outlives this node in Redis: 10s or 5m; for an HTTP store its server decides [default: 5m].
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub ttl: Option<Duration>,

    /// Session description that names the codecs, as ffmpeg writes it with -sdp_file; may come later.
    #[arg(long, value_name = "FILE")]
    pub sdp: Option<PathBuf>,

    /// How long a session may be silent before it ends: 10s, 500ms or 2m.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub silence: Duration,

    /// The most sessions at a time.
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = max_sessions)]
    pub max_sessions: usize,
}

/// What happens where another publisher has the id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Conflict {
    /// It keeps it; tried each second until it is free.
    Reject,
    /// This one gets it, and the other one is told.
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
    /// Returns how the store is opened.
    ///
    /// # Errors
    ///
    /// Where the token cannot be read; the sentence says what to do.
    pub fn connect_options(&self) -> Result<ConnectOptions, String> {
        let options = self.ttl.map_or_else(ConnectOptions::default, |ttl| ConnectOptions::default().ttl(ttl));
        let Some(path) = &self.token_file else { return Ok(options) };
        let text = fs::read_to_string(path)
            .map_err(|error| format!("the token file {} cannot be read: {error}", path.display()))?;
        match text.trim() {
            "" => Err(format!("the token file {} is empty; put the server's token into it", path.display())),
            token => Ok(options.token(token)),
        }
    }
}

fn store(url: &str) -> Result<String, String> {
    if url.starts_with("memory:") {
        return Err("nobody else could read memory: of this process; give http://host:port or redis://host:port".into());
    }
    Ok(url.to_owned())
}

fn node(name: &str) -> Result<String, String> {
    let most = stream_registry::stream::limits::MAX_TEXT_BYTES;
    if name.is_empty() || name.len() > most || name.chars().any(char::is_control) {
        return Err(format!("give a name of 1 to {most} bytes without control characters"));
    }
    Ok(name.to_owned())
}

fn max_sessions(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|most| (1..=100_000).contains(most)).ok_or_else(|| "give a number from 1 to 100000".into())
}

/// Reads `500ms`, `10s`, `2m` and `1h`, from 100 ms to a day.
fn duration(text: &str) -> Result<Duration, String> {
    const MAX: Duration = Duration::from_secs(24 * 3_600);
    let fault = || "give a time from 100ms to 24h, with its unit: 500ms, 10s, 2m or 1h".to_owned();
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(fault)?;
    let number: u64 = text[..digits].parse().map_err(|_| fault())?;
    let millis = match &text[digits..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(fault()),
    };
    let time = Duration::from_millis(number.checked_mul(millis).ok_or_else(fault)?);
    if (Duration::from_millis(100)..=MAX).contains(&time) { Ok(time) } else { Err(fault()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit_and_limits() {
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
    fn arguments_are_checked() {
        let parse = |args: &[&str]| Args::try_parse_from([&["rtp-ingest"], args].concat());
        let args = parse(&[]).unwrap();
        assert_eq!((args.listen.port(), args.silence.as_secs(), args.max_sessions), (5004, 10, 1_000));
        let args = parse(&["--id", "cam1", "--on-conflict", "take-over", "--ttl", "3s"]).unwrap();
        assert_eq!(OnConflict::from(args.on_conflict), OnConflict::TakeOver);
        assert_eq!(args.connect_options().unwrap(), ConnectOptions::default().ttl(Duration::from_secs(3)));
        for bad in [
            &["--store", "memory:"][..],
            &["--listen", "5004"],
            &["--listen", "localhost:5004"],
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
    fn a_token_is_read_from_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let mut args = Args::try_parse_from(["rtp-ingest"]).unwrap();
        assert_eq!(args.connect_options().unwrap(), ConnectOptions::default());
        args.token_file = Some(path.clone());
        assert!(args.connect_options().unwrap_err().contains("cannot be read"));
        fs::write(&path, " \n").unwrap();
        assert!(args.connect_options().unwrap_err().contains("empty"));
        fs::write(&path, "secret\n").unwrap();
        assert_eq!(args.connect_options().unwrap(), ConnectOptions::default().token("secret"));
    }
}
