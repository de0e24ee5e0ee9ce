//! `watch`: the changes, as they come.

use std::future::Future;
use std::pin::{Pin, pin};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use clap::Args;
use stream_registry::Registry;
use stream_registry::watch::{Event, WatchFrom};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::failure::{Failure, Result, Status};
use super::output::Output;
use super::signal;

/// Arguments of `watch`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  streamreg watch
  streamreg watch --output jsonl | grep --line-buffered '\"event\":\"expired\"'
  streamreg watch --from oldest
  streamreg watch --exec 'logger -t streams \"$STREAMREG_EVENT $STREAMREG_ID\"'

Goes on through restarts of the store, until Ctrl-C; where nobody takes its output that ends it after 2 s. An event `resync` says that events may be missing before it:
what is live is in `streamreg list`.

CMD is run by `sh`, once for each event, one after the other in the order of the events; it has the event as one line of
JSON on its standard input, and STREAMREG_EVENT, STREAMREG_ID (empty for resync) and STREAMREG_REVISION. Ctrl-C waits
for the one that is running. A watch that ends can go on with --from and the last revision.")]
pub struct WatchArgs {
    /// Begin after this revision, as events show it, or with the oldest event that is kept: oldest; default: now
    #[arg(long, value_name = "REV", value_parser = begin)]
    pub from: Option<WatchFrom>,

    /// Run this command for each event, in place of printing it
    #[arg(long, value_name = "CMD")]
    pub exec: Option<String>,
}

/// How long the last event may take to be written once a signal has come.
const LAST_WRITE: Duration = Duration::from_secs(2);

impl WatchArgs {
    /// Waits for a signal to stop.
    pub(super) fn asked_to_stop(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        match &self.exec {
            // It takes the time that it takes.
            Some(_) => Box::pin(signal::asked_to_stop()),
            None => Box::pin(signal::asked_to_stop_within(LAST_WRITE)),
        }
    }
}

fn begin(text: &str) -> std::result::Result<WatchFrom, String> {
    match text {
        "oldest" => Ok(WatchFrom::Oldest),
        revision => revision.parse().map(WatchFrom::Revision).map_err(|error| error.message().to_owned()),
    }
}

/// Tells every event until `stop` is done.
///
/// # Errors
///
/// Where the store has no change feed or cannot be reached at first, where standard output takes no more, and
/// where no command can be run.
pub async fn run(
    registry: &dyn Registry,
    args: &WatchArgs,
    stop: impl Future<Output = ()>,
    out: &mut Output<'_>,
) -> Result {
    let from = args.from.clone().unwrap_or_default();
    let mut watch = registry.watch(from).await.map_err(|error| out.failure(&error))?;
    let store = out.store;
    out.note(format_args!("following the changes on {store}; Ctrl-C ends it"));
    if args.exec.is_none() {
        out.events_header()?;
    }
    let mut stop = pin!(stop);
    loop {
        let event = tokio::select! {
            biased;
            () = &mut stop => return Ok(()),
            event = watch.next() => event,
        };
        match (event, &args.exec) {
            (None, _) => return Err(Failure::new(Status::Failed, "the store was closed")),
            (Some(Event::Alive { .. }), _) => {}
            (Some(event), None) => out.event(&event)?,
            (Some(event), Some(command)) => {
                let ended = hand_over(command, &event).await.map_err(|error| {
                    Failure::new(Status::Failed, format_args!("cannot run the command of --exec: {error}"))
                })?;
                if !ended.success() {
                    out.note(format_args!("the command of --exec failed for {} ({ended})", about(&event)));
                }
            }
        }
    }
}

fn about(event: &Event) -> String {
    match event.stream() {
        Some(stream) => format!("{} of {:?}", event.as_str(), stream.id.as_str()),
        None => event.as_str().to_owned(),
    }
}

/// Runs the command with an event, to its end.
async fn hand_over(command: &str, event: &Event) -> std::io::Result<ExitStatus> {
    let mut child = Command::new("sh")
        .args(["-c", command])
        .env("STREAMREG_EVENT", event.as_str())
        .env("STREAMREG_ID", event.stream().map_or("", |stream| stream.id.as_str()))
        .env("STREAMREG_REVISION", event.revision().as_str())
        .stdin(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A command need not read it.
        let _ = stdin.write_all(format!("{}\n", event.to_json()).as_bytes()).await;
    }
    child.wait().await
}
