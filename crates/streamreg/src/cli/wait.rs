//! `wait`: waits until a stream has a status.

use std::time::Duration;

use clap::Args;
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
  streamreg wait cam1 --status active
  streamreg wait cam1 --status active --timeout 30s && start-recording cam1

Exits with 0 as soon as the stream has the status, and with 1 after the timeout. If the stream already has the status, the \
command exits at once. The stream need not exist yet. Keeps waiting across store restarts.")]
pub struct WaitArgs {
    /// Id of the stream
    #[arg(value_name = "ID")]
    pub id: StreamId,

    /// Status to wait for, e.g. active
    #[arg(long, value_name = "S")]
    pub status: StreamStatus,

    /// Maximum time to wait
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = duration::parse_positive)]
    pub timeout: Duration,
}

/// The last known state of the stream, for the message after a timeout.
enum LastState {
    Unknown,
    Absent,
    Status(StreamStatus),
    Error(Error),
}

/// Waits for the status.
///
/// # Errors
///
/// Fails after the timeout, or if the store returns an error that cannot be retried.
pub async fn run(registry: &dyn Registry, args: &WaitArgs, out: &mut Output<'_>) -> Result {
    let mut last = LastState::Unknown;
    if let Ok(done) = timeout(args.timeout, wait_for_status(registry, args, &mut last)).await {
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
    let message = format_args!("{id:?} did not become {} within {limit}: {reason}", args.status);
    Err(Failure::new(Status::Failed, message))
}

async fn wait_for_status(
    registry: &dyn Registry,
    args: &WaitArgs,
    last: &mut LastState,
) -> stream_registry::Result<()> {
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
        *last = match registry.get(&args.id).await {
            Ok(stream) if stream.status == args.status => return Ok(()),
            Ok(stream) => LastState::Status(stream.status),
            Err(error) if error.kind() == ErrorKind::NotFound => LastState::Absent,
            Err(error) if error.is_retryable() => LastState::Error(error),
            Err(error) => return Err(error),
        };
        let interval = if watch.is_some() { POLL_INTERVAL_WITH_FEED } else { POLL_INTERVAL };
        tokio::select! {
            followed = follow(watch.as_mut(), args, last) => match followed {
                Followed::Reached => return Ok(()),
                Followed::Gap => {}
                Followed::Closed => return Err(Error::closed()),
            },
            () = sleep(interval) => {}
        }
    }
}

/// The reason why the command stopped following the feed.
enum Followed {
    /// The stream has the status.
    Reached,
    /// Events may be missing.
    Gap,
    /// The registry was closed.
    Closed,
}

/// Follows the change feed until the stream has the status, events may be missing, or the registry is closed. Without a
/// watch, waits forever.
async fn follow(watch: Option<&mut Watch>, args: &WaitArgs, last: &mut LastState) -> Followed {
    let Some(watch) = watch else { return std::future::pending().await };
    loop {
        match watch.next().await {
            Some(Event::Changed { stream, .. }) if stream.id == args.id => {
                if stream.status == args.status {
                    return Followed::Reached;
                }
                *last = LastState::Status(stream.status.clone());
            }
            Some(Event::Ended { last: record, .. }) if record.id == args.id => *last = LastState::Absent,
            Some(Event::Resync { .. }) => return Followed::Gap,
            Some(_) => {}
            None => return Followed::Closed,
        }
    }
}
