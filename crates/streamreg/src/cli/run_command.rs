//! `run`: holds a stream for as long as a command runs.

use std::ffi::OsString;
use std::future::Future;
use std::io::{ErrorKind, Read};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use stream_registry::Registry;
use stream_registry::lease::LeaseEnd;
use tokio::time::timeout;

use super::child::{Child, Relay, code, words};
use super::duration;
use super::failure::{Failure, Result, Status};
use super::held::Held;
use super::output::Output;
use super::register::{self, StreamArgs};
use super::signal;

/// The variable that tells the command which stream it is.
const ID_VARIABLE: &str = "STREAMREG_ID";

/// Arguments of `run`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  streamreg run --id cam1 --type srt --source 203.0.113.7:40112 -- ffmpeg -i srt://:9000?mode=listener -f null -
  streamreg run --type rtp --source '[2001:db8::1]:5004' --node ingest-1 -- ./ingest.sh

The stream is registered before the command starts, and ends with it: `exit status 3` or `killed by signal 9` is the
reason. When somebody else takes the stream over or ends it, the command is stopped, and the exit status is 4; else it is
that of the command. While it is being stopped, a second SIGINT or SIGTERM kills it. The command finds the id in the
variable STREAMREG_ID.

Signals are passed on. Only SIGINT and SIGQUIT are not while this runs in the foreground of a terminal, whose Ctrl-C
reaches the command by itself: stop such a run with SIGTERM from elsewhere. A signal before the command was started ends
the stream and the run, with 128 and its number. Where the store does not answer in the end, a second signal ends the run;
the stream then stays until its time to live is over.")]
pub struct RunArgs {
    /// The stream.
    #[command(flatten)]
    pub stream: StreamArgs,

    /// How long the command may take to end when the stream is lost; then it is killed
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration::parse)]
    pub grace: Duration,

    /// The command and its arguments
    #[arg(value_name = "CMD", last = true, required = true)]
    pub command: Vec<OsString>,
}

/// A run that was checked as far as it can be without a store.
#[derive(Debug)]
pub struct Plan {
    stream: register::Plan,
    grace: Duration,
    command: Vec<OsString>,
}

impl RunArgs {
    /// Makes the record and checks it.
    ///
    /// # Errors
    ///
    /// Usage errors.
    pub fn prepare(&self, stdin: &mut dyn Read) -> Result<Plan> {
        Ok(Plan { stream: self.stream.prepare(stdin)?, grace: self.grace, command: self.command.clone() })
    }
}

/// What came first.
enum First {
    Exit(std::io::Result<ExitStatus>),
    Lost(LeaseEnd),
}

/// Registers the stream, runs the command, and ends the stream when the command ends.
///
/// # Errors
///
/// As the registration fails; the command's status where it is not 0, 126 or 127 where it cannot be started; 128 and the
/// signal's number where one asked for the end before; `Conflict` when somebody else takes the stream over or ends it.
pub(super) async fn run(registry: &Arc<dyn Registry>, plan: Plan, out: &mut Output<'_>) -> Result {
    // Before the stream is there: it ends when it is not wanted any more by then.
    let mut stop = Stop { relay: Relay::new(), asked: None };
    let held = stop.unless_twice(Held::acquire(registry, &plan.stream, out.store), out).await?;
    let id = held.lease().id().clone();
    if let Some(signal) = stop.came().await {
        let words = format!("stopped by {} before the command was started", signal::name(signal));
        return exited(&held, &mut stop, &words, code_of(signal), out).await;
    }
    let mut child = match Child::start(&plan.command, &[(ID_VARIABLE, id.as_str())]) {
        Ok(child) => child,
        Err(error) => {
            let program = plan.command.first().map(|program| program.to_string_lossy()).unwrap_or_default();
            out.note(format_args!("streamreg: cannot start {program:?}: {error}"));
            let code = if error.kind() == ErrorKind::NotFound { 127 } else { 126 };
            return exited(&held, &mut stop, "the command could not be started", code, out).await;
        }
    };
    out.note(format_args!("{:?} is held while the command runs", id.as_str()));
    let first = {
        let lost = held.lost(out);
        tokio::pin!(lost);
        loop {
            // Each signal ends the wait, which is taken up again.
            let signal = tokio::select! {
                biased;
                status = child.ended() => break First::Exit(status),
                end = &mut lost => break First::Lost(end),
                signal = stop.relay.next() => signal,
            };
            stop.relay.pass(signal, &child);
        }
    };
    match first {
        First::Exit(Ok(status)) => exited(&held, &mut stop, &words(status), code(status), out).await,
        First::Exit(Err(error)) => {
            out.note(format_args!("streamreg: cannot wait for the command: {error}"));
            exited(&held, &mut stop, "the command was lost", Status::Failed.code(), out).await
        }
        First::Lost(end) => {
            let failure = held.failure(&end);
            let status = out.tell(&failure);
            child.stop(&mut stop.relay, plan.grace).await;
            Err(Failure::told(status))
        }
    }
}

/// Ends the stream of a command that has ended or never began. Its own failure says more than that of the store.
async fn exited(held: &Held, stop: &mut Stop, words: &str, code: u8, out: &mut Output<'_>) -> Result {
    let released = stop.unless_twice(held.release(words, out.store), out).await;
    match (code, released) {
        (0, released) => released,
        (code, released) => {
            if let Err(failure) = released {
                out.tell(&failure);
            }
            Err(Failure::told(Status::Command(code)))
        }
    }
}

/// The signals, and the first that asked for the end while there was no command.
struct Stop {
    relay: Relay,
    asked: Option<i32>,
}

impl Stop {
    /// Waits for the store, and gives up at the second signal that asks for the end. At the first it goes on: the
    /// stream may be there, and is to end.
    async fn unless_twice<T>(&mut self, work: impl Future<Output = Result<T>>, out: &mut Output<'_>) -> Result<T> {
        tokio::pin!(work);
        loop {
            let signal = tokio::select! {
                biased;
                done = &mut work => return done,
                signal = self.relay.asked_to_end() => signal,
            };
            match self.asked {
                None => {
                    self.asked = Some(signal);
                    out.note("waiting for the store; a second signal ends this at once");
                }
                // A terminal that closes may send it twice, and nobody is in a hurry.
                Some(_) if signal == HANGUP => {}
                Some(first) => {
                    let message = "the store was not waited for; the stream stays until its time to live is over";
                    return Err(Failure::new(Status::Command(code_of(first)), message));
                }
            }
        }
    }

    /// Returns the first signal that asked for the end until now.
    async fn came(&mut self) -> Option<i32> {
        if self.asked.is_none() {
            // They come through a pipe: those that are in it are read by the time that the clock is.
            self.asked = timeout(Duration::from_millis(1), self.relay.asked_to_end()).await.ok();
        }
        self.asked
    }
}

/// SIGHUP.
const HANGUP: i32 = 1;

/// The code that a shell gives a command that a signal has ended.
fn code_of(signal: i32) -> u8 {
    u8::try_from(128 + signal).unwrap_or(u8::MAX)
}
