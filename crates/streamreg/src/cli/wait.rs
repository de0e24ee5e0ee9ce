//! `wait`: until a stream has a status.

use std::time::Duration;

use clap::Args;
use stream_registry::watch::{Event, Watch, WatchFrom};
use stream_registry::{Error, ErrorKind, Registry, StreamId, StreamStatus};
use tokio::time::{sleep, timeout};

use super::duration;
use super::failure::{Failure, Result, Status};
use super::output::Output;

/// How often to look where changes are told: programs that know no feed change records too.
const LOOK_BESIDE: Duration = Duration::from_secs(5);
/// How often to look where nothing is told.
const LOOK: Duration = Duration::from_millis(500);

/// Arguments of `wait`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  streamreg wait cam1 --status active
  streamreg wait cam1 --status active --timeout 30s && start-recording cam1

Ends with 0 as soon as the stream has the status, at once where it has it already, and with 1 when the time is over.
The stream need not be there yet. Goes on through restarts of the store.")]
pub struct WaitArgs {
    /// The stream's id
    #[arg(value_name = "ID")]
    pub id: StreamId,

    /// The status to wait for: active, say
    #[arg(long, value_name = "S")]
    pub status: StreamStatus,

    /// How long to wait at most
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = duration::parse_positive)]
    pub timeout: Duration,
}

/// What was seen last.
enum Seen {
    Nothing,
    Absent,
    Status(StreamStatus),
    Fault(Error),
}

/// Waits for the status.
///
/// # Errors
///
/// When the time is over, and where the store fails in a way that does not pass.
pub async fn run(registry: &dyn Registry, args: &WaitArgs, out: &mut Output<'_>) -> Result {
    let mut seen = Seen::Nothing;
    match timeout(args.timeout, reached(registry, args, &mut seen)).await {
        Ok(done) => done.map_err(|error| out.failure(&error)),
        Err(_) => {
            let id = args.id.as_str();
            let what = format!("{id:?} did not become {} within {}", args.status, duration::exact(args.timeout));
            Err(match seen {
                Seen::Nothing => Failure::new(Status::Failed, format_args!("{what}: the store gave no answer yet")),
                Seen::Absent => Failure::new(Status::Failed, format_args!("{what}: no live stream has this id")),
                Seen::Status(status) => Failure::new(Status::Failed, format_args!("{what}: it is {status}")),
                Seen::Fault(error) if error.is_store_reply() => {
                    Failure::new(Status::Failed, format_args!("{what}: the store cannot say now: {}", error.message()))
                }
                Seen::Fault(error) => Failure::new(
                    Status::Failed,
                    format_args!("{what}: the store does not answer ({})", error.message()),
                ),
            })
        }
    }
}

async fn reached(registry: &dyn Registry, args: &WaitArgs, seen: &mut Seen) -> stream_registry::Result<()> {
    let mut watch = None;
    let mut told = true;
    loop {
        // First follow, then look: what changes in between is told.
        if watch.is_none() && told {
            match registry.watch(WatchFrom::Now).await {
                Ok(opened) => watch = Some(opened),
                Err(error) if error.kind() == ErrorKind::Unsupported => told = false,
                Err(error) if error.is_retryable() => {}
                Err(error) => return Err(error),
            }
        }
        *seen = match registry.get(&args.id).await {
            Ok(stream) if stream.status == args.status => return Ok(()),
            Ok(stream) => Seen::Status(stream.status),
            Err(error) if error.kind() == ErrorKind::NotFound => Seen::Absent,
            Err(error) if error.is_retryable() => Seen::Fault(error),
            Err(error) => return Err(error),
        };
        let pause = if watch.is_some() { LOOK_BESIDE } else { LOOK };
        tokio::select! {
            told = follow(watch.as_mut(), args, seen) => match told {
                Told::Reached => return Ok(()),
                Told::Gap => {}
                Told::Closed => return Err(Error::closed()),
            },
            () = sleep(pause) => {}
        }
    }
}

/// What following came to.
enum Told {
    Reached,
    /// Something may have been missed.
    Gap,
    Closed,
}

/// Follows until the status is reached; for ever where there is nothing to follow.
async fn follow(watch: Option<&mut Watch>, args: &WaitArgs, seen: &mut Seen) -> Told {
    let Some(watch) = watch else { return std::future::pending().await };
    loop {
        match watch.next().await {
            Some(Event::Changed { stream, .. }) if stream.id == args.id => {
                if stream.status == args.status {
                    return Told::Reached;
                }
                *seen = Seen::Status(stream.status.clone());
            }
            Some(Event::Ended { last, .. }) if last.id == args.id => *seen = Seen::Absent,
            Some(Event::Resync { .. }) => return Told::Gap,
            Some(_) => {}
            None => return Told::Closed,
        }
    }
}
