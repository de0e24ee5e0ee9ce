//! `watch`: prints changes as they happen.

use std::future::Future;
use std::num::NonZeroU32;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use clap::Args;
use futures_util::future::Either;
use stream_registry::watch::{Event, Watch, WatchFrom};
use stream_registry::{Error, ErrorKind, Registry, Timestamp};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::time::sleep;

use super::failure::{Failure, Result, Status};
use super::output::{EventOptions, Headings, Output, Zone};
use super::query::FilterArgs;
use super::{outage, signal};
use crate::selection::Selection;

/// Arguments of `watch`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  streamreg watch
  streamreg watch --node ingest-1 -l tenant=acme --local
  streamreg watch --output jsonl | grep --line-buffered '\"event\":\"expired\"'
  streamreg watch --from oldest
  streamreg watch --exec 'logger -t streams \"$STREAMREG_EVENT $STREAMREG_ID\"'

Keeps running across store restarts until Ctrl-C, and reports outages on stderr. Exits with 1 if the server no longer \
accepts the token. If stdout is blocked, it exits 2 s after Ctrl-C. A `resync` event \
means that earlier events may be missing; `streamreg list` shows the live streams.

With filters, an event is printed if the stream matches them after the change, or matched them at its last printed event. \
So the change by which a stream ceases to match is printed too.

`sh` runs CMD once for each event, one at a time and in the order of the events. CMD receives the event as one line of \
JSON on standard input. The environment variables STREAMREG_EVENT, STREAMREG_ID (empty for resync) and STREAMREG_REVISION \
describe the event. After Ctrl-C, `watch` waits for a running CMD to exit. To resume a watch, pass the last revision to \
--from.")]
pub struct WatchArgs {
    /// Start after the event with this revision, or with the oldest event in the feed (`oldest`) [default: now]
    #[arg(long, value_name = "REV", value_parser = parse_start)]
    pub from: Option<WatchFrom>,

    /// Run this command for each event instead of printing it
    #[arg(long, value_name = "CMD")]
    pub exec: Option<String>,

    /// Show times in the time zone of this machine instead of UTC; JSON always has UTC
    #[arg(long, conflicts_with = "exec")]
    pub local: bool,

    /// The filters.
    #[command(flatten)]
    pub filter: FilterArgs,
}

/// Maximum time to write the last event after a signal has arrived.
const LAST_WRITE_TIMEOUT: Duration = Duration::from_secs(2);
/// Time without events after which the command checks whether the store still answers.
const CHECK_AFTER: Duration = Duration::from_secs(5);
/// Interval of the checks during an outage.
const CHECK_IN_OUTAGE: Duration = Duration::from_secs(1);

impl WatchArgs {
    /// Waits for a signal that stops the command.
    pub(super) fn stop_requested(&self) -> impl Future<Output = i32> + Send + 'static {
        // Commands started by `--exec` have no time limit.
        signal::stop_requested(self.exec.is_none().then_some(LAST_WRITE_TIMEOUT))
    }
}

fn parse_start(value: &str) -> std::result::Result<WatchFrom, String> {
    match value {
        "oldest" => Ok(WatchFrom::Oldest),
        revision => revision.parse().map(WatchFrom::Revision).map_err(|error| error.message().to_owned()),
    }
}

/// Waits for a signal that stops a command which can follow the change feed. If the command does not follow it, signals
/// keep their default action.
pub(super) fn stop_requested(follows: bool) -> impl Future<Output = i32> {
    if follows {
        Either::Left(signal::stop_requested(Some(LAST_WRITE_TIMEOUT)))
    } else {
        Either::Right(std::future::pending())
    }
}

/// Returns the options of event lines with headings and times in UTC.
pub(super) fn default_options() -> EventOptions {
    EventOptions { headings: Headings::Shown, zone: Zone::utc() }
}

/// An open watch, whose events have not been printed yet.
pub(super) struct Follow<'a> {
    registry: &'a dyn Registry,
    watch: Watch,
    health: Health,
}

impl<'a> Follow<'a> {
    fn new(registry: &'a dyn Registry, watch: Watch) -> Self {
        Self { registry, watch, health: Health { answered: registry.now(), is_lost: false } }
    }

    /// Opens a watch that begins at the next change.
    ///
    /// # Errors
    ///
    /// Fails if the store has no change feed, or if the store is unreachable.
    pub(super) async fn now(registry: &'a dyn Registry, out: &Output<'_>) -> Result<Self> {
        let watch = registry.watch(WatchFrom::Now).await.map_err(|error| out.failure(&error))?;
        Ok(Self::new(registry, watch))
    }

    /// Prints the events of the selected streams until `stop` completes.
    ///
    /// # Errors
    ///
    /// Fails if the registry is closed, if the store rejects the credentials, or if standard output cannot be written.
    pub(super) async fn print(
        self,
        selection: Selection,
        options: EventOptions,
        stop: impl Future,
        out: &mut Output<'_>,
    ) -> Result {
        self.each(selection, &Action::Print(options), stop, out).await
    }

    async fn each(
        mut self,
        mut selection: Selection,
        action: &Action<'_>,
        stop: impl Future,
        out: &mut Output<'_>,
    ) -> Result {
        let store = out.store;
        out.note(format_args!("watching {store}; press Ctrl-C to stop"));
        if let Action::Print(options) = action {
            out.events_header(options)?;
        }
        let mut stop = pin!(stop);
        loop {
            let event = tokio::select! {
                biased;
                _ = &mut stop => return Ok(()),
                event = self.watch.next() => event,
                // An event that arrives before the answer also shows that the store answers.
                checked = check(self.registry, self.health.is_lost) => {
                    self.health.update(checked, self.registry.now(), out)?;
                    continue;
                }
            };
            self.health.update(Ok(()), self.registry.now(), out)?;
            match (event, action) {
                (None, _) => return Err(Failure::new(Status::Failed, "the store was closed")),
                (Some(Event::Alive { .. }), _) => {}
                (Some(event), _) if !selection.selects(&event) => {}
                (Some(event), Action::Print(options)) => out.event(&event, options)?,
                (Some(event), Action::Execute(command)) => {
                    let status = execute(command, &event).await.map_err(|error| {
                        Failure::new(Status::Failed, format_args!("cannot run the command of --exec: {error}"))
                    })?;
                    if !status.success() {
                        out.note(format_args!("the command of --exec failed for {} ({status})", describe(&event)));
                    }
                }
            }
        }
    }
}

/// Waits, then checks whether the store still answers.
///
/// A watch retries for ever, so it does not report an outage or the rejection of a token.
async fn check(registry: &dyn Registry, is_lost: bool) -> stream_registry::Result<()> {
    sleep(if is_lost { CHECK_IN_OUTAGE } else { CHECK_AFTER }).await;
    // A list needs the same permission as a watch. A check of the readiness would need none.
    let error = match registry.list_page(None, NonZeroU32::MIN).await {
        Ok(_) => return Ok(()),
        Err(error) => error,
    };
    // A user of Redis can have the permission to watch, but not to list.
    if is_rejection(&error) { registry.watch(WatchFrom::Now).await.map(drop) } else { Err(error) }
}

/// Returns whether retrying with the same credentials is pointless.
fn is_rejection(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unauthenticated | ErrorKind::Denied)
}

/// Whether the store answers, as reported on standard error.
struct Health {
    /// When the store last answered.
    answered: Timestamp,
    is_lost: bool,
}

impl Health {
    /// Reports the beginning and the end of an outage.
    ///
    /// # Errors
    ///
    /// Fails if the store rejects the credentials.
    fn update(&mut self, checked: stream_registry::Result<()>, now: Timestamp, out: &mut Output<'_>) -> Result {
        match checked {
            Ok(()) => {
                self.answered = now;
                if std::mem::take(&mut self.is_lost) {
                    let store = out.store;
                    out.note(format_args!("streamreg: the store {store} answers again"));
                }
            }
            Err(error) if is_rejection(&error) => return Err(out.failure(&error)),
            Err(error) if !self.is_lost => {
                self.is_lost = true;
                let outage = outage::describe(&error, Some(self.answered), &Zone::utc());
                out.note(format_args!("streamreg: {outage}"));
            }
            Err(_) => {}
        }
        Ok(())
    }
}

/// What is done with each event.
enum Action<'a> {
    Print(EventOptions),
    /// Runs this command for the event.
    Execute(&'a str),
}

/// Prints every event of the selected streams until `stop` completes.
///
/// # Errors
///
/// Fails if the store has no change feed, if the store is unreachable at the start, or if it rejects the credentials.
/// Also fails if standard output cannot be written, or if the command for `--exec` cannot be run.
pub async fn run(registry: &dyn Registry, args: &WatchArgs, stop: impl Future, out: &mut Output<'_>) -> Result {
    let from = args.from.clone().unwrap_or_default();
    let watch = registry.watch(from).await.map_err(|error| match error.kind() {
        // The only argument of this call is the revision.
        ErrorKind::InvalidArgument => Failure::usage(format_args!("--from: {}", error.message())),
        _ => out.failure(&error),
    })?;
    let zone = if args.local { Zone::local() } else { Zone::utc() };
    let action = match &args.exec {
        Some(command) => Action::Execute(command),
        None => Action::Print(EventOptions { zone, ..default_options() }),
    };
    Follow::new(registry, watch).each(Selection::filter(args.filter.filter()), &action, stop, out).await
}

fn describe(event: &Event) -> String {
    match event.stream() {
        Some(stream) => format!("{} of {:?}", event.as_str(), stream.id.as_str()),
        None => event.as_str().to_owned(),
    }
}

/// Runs the command for an event and waits for it to exit.
async fn execute(command: &str, event: &Event) -> std::io::Result<ExitStatus> {
    let mut child = Command::new("sh")
        .args(["-c", command])
        .env("STREAMREG_EVENT", event.as_str())
        .env("STREAMREG_ID", event.stream().map_or("", |stream| stream.id.as_str()))
        .env("STREAMREG_REVISION", event.revision().as_str())
        .stdin(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // Ignore the error: writing fails if the command exits without reading its input, and a command may do so.
        let _ = stdin.write_all(format!("{}\n", event.to_json()).as_bytes()).await;
    }
    child.wait().await
}
