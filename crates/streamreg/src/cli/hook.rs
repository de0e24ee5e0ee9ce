//! `hook`: a media server starts this command for each live stream, and stops it when the stream has ended.

use std::time::Duration;

use adapters::model::{Event, Snapshot};
use adapters::reconcile::{IdTemplate, Reconciler};
use adapters::servers::Kind;
use adapters::servers::mediamtx::{PROFILE, Publisher};
use clap::{Args, Subcommand};
use stream_registry::lease::LeaseEnd;
use stream_registry::{Secret, Stream};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::background::{BackgroundStream, ConflictPolicy, DISCONNECTED};
use super::bridge::config::machine_name;
use super::bridge::request::Api;
use super::failure::{Failure, Result, Status};
use super::hold::PARENT_ENDED;
use super::messages::{Messages, Notes};
use super::output::Output;
use super::parent::Parent;
use super::store::{Target, first_line};
use super::{input, signal};

/// Interval at which the API is asked.
const INTERVAL: Duration = Duration::from_secs(2);
/// Maximum time for which the registration waits for the first answer of the API.
const FIRST_ANSWER: Duration = Duration::from_secs(1);
/// Maximum time to unregister the stream. MediaMTX waits for its commands when it stops.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum time to write the last messages.
const LAST_WRITE_TIMEOUT: Duration = Duration::from_secs(1);

/// Arguments of `hook`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  streamreg hook mediamtx
  streamreg hook mediamtx --api http://127.0.0.1:9997 --node edge1

Put the command into mediamtx.yml as runOnReady or runOnOnline of pathDefaults. The media server does not wait for \
the command, so the command cannot interrupt a publisher. If the registry is unreachable, the command retries until \
the media server stops it.")]
pub struct HookArgs {
    /// The media server.
    #[command(subcommand)]
    pub server: Server,
}

/// The media servers that start commands.
#[derive(Subcommand, Debug)]
pub enum Server {
    /// Register the stream of the path for which MediaMTX has started this command
    #[command(after_help = "\
Examples:
  streamreg hook mediamtx
  streamreg hook mediamtx --api http://127.0.0.1:9997 --node edge1

Put the command into mediamtx.yml as runOnReady or runOnOnline of pathDefaults. The stream stays registered until \
MediaMTX stops the command with SIGINT, or until MediaMTX itself has ended. If another publisher takes the path over, \
the command that MediaMTX starts for the new publisher replaces the stream, and this command exits with 0. Do not \
set runOnReadyRestart or runOnOnlineRestart.")]
    Mediamtx(MediaMtxArgs),
}

/// Arguments of `hook mediamtx`.
#[derive(Args, Debug)]
pub struct MediaMtxArgs {
    /// URL of MediaMTX's API, e.g. http://127.0.0.1:9997; with it, the stream also has address, codecs, resolution and
    /// statistics
    #[arg(long, value_name = "URL")]
    pub api: Option<String>,

    /// File whose first line is user:password for the API
    #[arg(long, value_name = "FILE", requires = "api")]
    pub secret_file: Option<std::path::PathBuf>,

    /// Node that the stream belongs to [default: the name of this machine]
    #[arg(long, value_parser = input::non_empty_string)]
    pub node: Option<String>,

    /// How to form the stream's id from {node}, {server}, {app}, {name} and {path} [default: {node}/{path}]
    #[arg(long, value_name = "TEMPLATE")]
    pub id_template: Option<IdTemplate>,

    /// Keep the stream after the process that started this command has ended
    #[arg(long)]
    pub no_parent_check: bool,
}

/// Reads the variables that MediaMTX sets. Returns `None` if no publisher feeds the path.
fn publisher(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Publisher>> {
    let Some(path) = variable("MTX_PATH").filter(|path| !path.is_empty()) else {
        return Err(Failure::usage(
            "MTX_PATH is not set; put the command into mediamtx.yml, e.g. `runOnReady: streamreg hook mediamtx` below \
             pathDefaults, so that MediaMTX starts it",
        ));
    };
    let source_type = variable("MTX_SOURCE_TYPE").filter(|source_type| !source_type.is_empty());
    let source_id = variable("MTX_SOURCE_ID").unwrap_or_default();
    Ok(source_type.map(|source_type| Publisher { path, source_type, source_id }))
}

/// The record of the stream, and how it is kept up to date.
struct Record {
    reconciler: Reconciler,
    start: Instant,
}

impl Record {
    /// Creates the record.
    ///
    /// # Errors
    ///
    /// Returns a usage error if the path has no legal id.
    fn new(args: &MediaMtxArgs, publisher: &Publisher) -> Result<Self> {
        let ids = args.id_template.clone().unwrap_or_default();
        let node = args.node.clone().unwrap_or_else(machine_name);
        let mut reconciler = Reconciler::new(PROFILE, ids, node, Kind::MediaMtx.name().to_owned());
        reconciler.event(Duration::ZERO, Event::Started(publisher.item()));
        match reconciler.take_problems().pop() {
            Some(problem) => Err(Failure::usage(problem)),
            None => Ok(Self { reconciler, start: Instant::now() }),
        }
    }

    fn listed(&mut self, snapshot: Snapshot) {
        let now = self.start.elapsed();
        self.reconciler.snapshot(now, now, snapshot);
    }

    fn stream(&self) -> Option<&Stream> {
        self.reconciler.streams().next()
    }
}

/// Keeps the stream registered until the media server stops the command.
///
/// # Errors
///
/// Returns a usage error if the command was not started by MediaMTX, or if an argument is invalid. Returns `Conflict`
/// if another client has unregistered the stream. An unreachable registry is not an error.
pub(super) async fn run(target: &Target, args: &HookArgs, out: &mut Output<'_>) -> Result {
    let Server::Mediamtx(args) = &args.server;
    let parent = Parent::checked_unless(args.no_parent_check);
    let publisher = publisher(|name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()))?;
    let api = match &args.api {
        Some(url) => {
            let secret = args.secret_file.as_deref().map(|file| first_line("--secret-file", file)).transpose()?;
            Some(Api::new(Kind::MediaMtx, url, secret.map(Secret::from))?)
        }
        None => None,
    };
    let record = publisher.as_ref().map(|publisher| Record::new(args, publisher)).transpose()?;
    // Install the signal handler before anything is printed or registered.
    let stop = signal::stop_requested(None);
    let stopped = async {
        tokio::select! {
            // MediaMTX sends SIGINT when the path no longer has a publisher.
            signal = stop => match signal {
                signal::INTERRUPT => DISCONNECTED.to_owned(),
                signal => format!("stopped by {}", signal::name(signal)),
            },
            () = parent.ended() => PARENT_ENDED.to_owned(),
        }
    };
    let (Some(publisher), Some(record)) = (publisher, record) else {
        out.note("streamreg: the path has no publisher, so there is no stream to register; waiting until stopped");
        stopped.await;
        return Ok(());
    };
    let messages = Messages::start();
    let stream = BackgroundStream::start(target.clone(), ConflictPolicy::TakeOver, messages.notes());
    let (sender, answers) = mpsc::channel(1);
    if let Some(api) = api {
        tokio::spawn(ask(api, publisher, sender, messages.notes()));
    } else {
        // Otherwise the registration would wait for an answer that never comes.
        drop(sender);
    }
    let done = hold(record, stream, answers, stopped, &messages.notes()).await;
    messages.finish(std::iter::empty(), LAST_WRITE_TIMEOUT).await;
    done
}

/// Holds the stream until `stopped` completes with the end reason.
async fn hold(
    mut record: Record,
    mut stream: BackgroundStream,
    mut answers: mpsc::Receiver<Snapshot>,
    stopped: impl Future<Output = String>,
    notes: &Notes,
) -> Result {
    tokio::pin!(stopped);
    let first = tokio::select! {
        reason = &mut stopped => Some(reason),
        answer = timeout(FIRST_ANSWER, answers.recv()) => {
            answer.into_iter().flatten().for_each(|snapshot| record.listed(snapshot));
            None
        }
    };
    let reason = match first {
        Some(reason) => reason,
        None => loop {
            if let Some(record) = record.stream() {
                stream.set(record);
            }
            tokio::select! {
                reason = &mut stopped => break reason,
                end = stream.lost() => return lost(&end, record.stream()),
                Some(snapshot) = answers.recv() => record.listed(snapshot),
            }
        },
    };
    if !stream.finish(&reason, RELEASE_TIMEOUT).await {
        notes.note("the registry does not answer; the stream stays until its TTL expires");
    }
    Ok(())
}

/// Returns how the command ends after another client has ended the lease.
fn lost(end: &LeaseEnd, record: Option<&Stream>) -> Result {
    match end {
        LeaseEnd::Removed => {
            let id = record.map_or("", |record| record.id.as_str());
            let message =
                format!("{id:?} was unregistered by another client; this command no longer keeps it registered");
            Err(Failure::new(Status::Conflict, message))
        }
        // The command of a newer publisher has taken the path over.
        _ => Ok(()),
    }
}

/// Asks the API about the publisher at intervals. An API that does not answer changes nothing.
async fn ask(api: Api, publisher: Publisher, answers: mpsc::Sender<Snapshot>, notes: Notes) {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failing = None;
    loop {
        ticks.tick().await;
        match api.read(&mut publisher.list()).await {
            Ok(snapshot) => {
                failing = None;
                if answers.send(snapshot).await.is_err() {
                    return;
                }
            }
            Err(fault) => {
                let message = fault.to_string();
                if failing.as_ref() != Some(&message) {
                    notes.note(format_args!("{message}; the stream stays as it is"));
                    failing = Some(message);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Option<Publisher>> {
        publisher(|name| variables.iter().find(|(given, _)| *given == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn variables_name_the_publisher() {
        let read = read(&[("MTX_PATH", "live/cam1"), ("MTX_SOURCE_TYPE", "srtConn"), ("MTX_SOURCE_ID", "7")]);
        let expected = Publisher { path: "live/cam1".into(), source_type: "srtConn".into(), source_id: "7".into() };
        assert_eq!(read, Ok(Some(expected)));
    }

    #[test]
    fn always_available_filler_has_no_publisher() {
        assert_eq!(read(&[("MTX_PATH", "live/cam1")]), Ok(None));
        assert_eq!(read(&[("MTX_PATH", "live/cam1"), ("MTX_SOURCE_TYPE", "")]), Ok(None));
    }

    #[test]
    fn error_without_variables_says_where_to_put_the_command() {
        let failure = read(&[("MTX_QUERY", "token=secret")]).unwrap_err();
        assert_eq!(failure.status, Status::Usage);
        let message = failure.message.unwrap();
        assert!(
            message.contains("mediamtx.yml") && message.contains("runOnReady: streamreg hook mediamtx"),
            "{message}"
        );
        assert!(!message.contains("secret"), "{message}");
    }
}
