//! `wait`: waits until a stream is registered, has a status or has ended.

use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use stream_registry::stream::InvalidValue;
use stream_registry::watch::{Event, Watch, WatchFrom};
use stream_registry::{Error, ErrorKind, Registry, StreamId, StreamStatus};
use tokio::time::{sleep, timeout};

use super::duration;
use super::failure::{Failure, Result, Status};
use super::output::Output;

/// Polling interval if the store has a change feed. Polling is still needed, because other programs may change records
/// without writing to the feed.
const POLL_INTERVAL_WITH_FEED: Duration = Duration::from_secs(5);
/// Polling interval if the store has no change feed.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// Arguments of `wait`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  streamreg wait cam1 --for registered
  streamreg wait cam1 --for status=active --timeout 30s && start-recording cam1
  streamreg wait cam1 --for ended --timeout 1h

Exits with 0 as soon as the condition is met, and with 1 after the timeout. If the condition is already met, the command \
exits at once. So if no live stream has the id, `--for ended` exits at once, and the other conditions wait for the stream. \
Keeps waiting across store restarts.")]
pub struct WaitArgs {
    /// Id of the stream
    #[arg(value_name = "ID")]
    pub id: StreamId,

    /// Condition to wait for: registered, ended, or a status, e.g. status=active
    #[arg(long = "for", value_name = "CONDITION", required_unless_present = "status")]
    pub condition: Option<Condition>,

    /// The older form of `--for status=S`, which scripts still use.
    #[arg(long, value_name = "S", hide = true, conflicts_with = "condition")]
    pub status: Option<StreamStatus>,

    /// Maximum time to wait
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = duration::parse_positive)]
    pub timeout: Duration,
}

/// The condition that ends the wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The stream is live.
    Registered,
    /// No live stream has the id.
    Ended,
    /// The stream is live and has this status.
    Status(StreamStatus),
}

impl FromStr for Condition {
    type Err = String;

    fn from_str(condition: &str) -> std::result::Result<Self, String> {
        match (condition, condition.split_once('=')) {
            ("registered", _) => Ok(Self::Registered),
            ("ended", _) => Ok(Self::Ended),
            (_, Some(("status", status))) => {
                status.parse().map(Self::Status).map_err(|error: InvalidValue| error.message().to_owned())
            }
            _ => Err("expected registered, ended or a status, e.g. status=active".to_owned()),
        }
    }
}

impl Condition {
    /// Returns whether a live stream with this status meets the condition.
    fn is_met_by(&self, status: &StreamStatus) -> bool {
        match self {
            Self::Registered => true,
            Self::Ended => false,
            Self::Status(expected) => status == expected,
        }
    }

    /// Describes what did not happen before the timeout.
    fn unmet(&self) -> String {
        match self {
            Self::Registered => "was not registered".to_owned(),
            Self::Ended => "did not end".to_owned(),
            Self::Status(status) => format!("did not become {status}"),
        }
    }
}

/// The last known state of the stream, for the message after a timeout.
enum LastState {
    Unknown,
    Absent,
    Status(StreamStatus),
    Error(Error),
}

/// Waits until the condition is met.
///
/// # Errors
///
/// Fails after the timeout, or if the store returns an error that cannot be retried.
pub async fn run(registry: &dyn Registry, args: &WaitArgs, out: &mut Output<'_>) -> Result {
    let status = || args.status.clone().map(Condition::Status);
    let Some(condition) = args.condition.clone().or_else(status) else {
        return Err(Failure::usage("missing --for; pass e.g. --for status=active"));
    };
    let mut last = LastState::Unknown;
    let wait = Wait { id: &args.id, condition: &condition };
    if let Ok(done) = timeout(args.timeout, wait.run(registry, &mut last)).await {
        return done.map_err(|error| out.failure(&error));
    }
    let reason = match last {
        LastState::Unknown => "the store has not answered yet".to_owned(),
        LastState::Absent => "no live stream has this id".to_owned(),
        LastState::Status(status) => format!("it is {status}"),
        LastState::Error(error) if error.is_store_reply() => {
            format!("the store cannot answer now: {}", error.message())
        }
        LastState::Error(error) => format!("the store does not answer ({})", error.message()),
    };
    let (id, limit) = (args.id.as_str(), duration::exact(args.timeout));
    let message = format_args!("{id:?} {} within {limit}: {reason}", condition.unmet());
    Err(Failure::new(Status::Failed, message))
}

/// The stream and the condition to wait for.
struct Wait<'a> {
    id: &'a StreamId,
    condition: &'a Condition,
}

impl Wait<'_> {
    async fn run(&self, registry: &dyn Registry, last: &mut LastState) -> stream_registry::Result<()> {
        let mut watch = None;
        let mut has_feed = true;
        loop {
            // Opens the watch before reading the record, so that no change in between is missed.
            if watch.is_none() && has_feed {
                match registry.watch(WatchFrom::Now).await {
                    Ok(opened) => watch = Some(opened),
                    Err(error) if error.kind() == ErrorKind::Unsupported => has_feed = false,
                    Err(error) if error.is_retryable() => {}
                    Err(error) => return Err(error),
                }
            }
            *last = match registry.get(self.id).await {
                Ok(stream) if self.condition.is_met_by(&stream.status) => return Ok(()),
                Ok(stream) => LastState::Status(stream.status),
                Err(error) if error.kind() == ErrorKind::NotFound && *self.condition == Condition::Ended => {
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::NotFound => LastState::Absent,
                Err(error) if error.is_retryable() => LastState::Error(error),
                Err(error) => return Err(error),
            };
            let interval = if watch.is_some() { POLL_INTERVAL_WITH_FEED } else { POLL_INTERVAL };
            tokio::select! {
                followed = self.follow(watch.as_mut(), last) => match followed {
                    Followed::Met => return Ok(()),
                    Followed::Gap => {}
                    Followed::Closed => return Err(Error::closed()),
                },
                () = sleep(interval) => {}
            }
        }
    }

    /// Follows the change feed until the condition is met, events may be missing, or the registry is closed. Without a
    /// watch, waits forever.
    async fn follow(&self, watch: Option<&mut Watch>, last: &mut LastState) -> Followed {
        let Some(watch) = watch else { return std::future::pending().await };
        loop {
            match watch.next().await {
                Some(Event::Changed { stream, .. }) if stream.id == *self.id => {
                    if self.condition.is_met_by(&stream.status) {
                        return Followed::Met;
                    }
                    *last = LastState::Status(stream.status.clone());
                }
                Some(Event::Ended { last: record, .. }) if record.id == *self.id => {
                    if *self.condition == Condition::Ended {
                        return Followed::Met;
                    }
                    *last = LastState::Absent;
                }
                Some(Event::Resync { shard, .. }) if shard.is_none_or(|shard| shard.contains(self.id)) => {
                    return Followed::Gap;
                }
                Some(_) => {}
                None => return Followed::Closed,
            }
        }
    }
}

/// The reason why the command stopped following the feed.
enum Followed {
    /// The condition is met.
    Met,
    /// Events may be missing.
    Gap,
    /// The registry was closed.
    Closed,
}
