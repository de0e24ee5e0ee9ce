//! `run`: holds a stream for as long as a command runs.

use std::ffi::OsString;
use std::io::{ErrorKind, Read};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use stream_registry::{LeaseEnd, Registry};

use super::child::{Child, Relay, code, words};
use super::duration;
use super::failure::{Failure, Result, Status};
use super::held::{Held, reason};
use super::output::Output;
use super::register::{self, StreamArgs};

/// The variable that tells the command which stream it is.
const ID_VARIABLE: &str = "STREAMREG_ID";

/// Arguments of `run`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  streamreg run --id cam1 --type srt --source 203.0.113.7:40112 -- ffmpeg -i srt://:9000?mode=listener -f null -
  streamreg run --type rtp --source '[2001:db8::1]:5004' --node ingest-1 -- ./ingest.sh

The stream is registered before the command starts, and ends with it: `exit status 3` or `killed by signal 9` is the
reason. Signals are passed on. When somebody else takes the stream over or ends it, the command is stopped, and the
exit status is 4; else it is that of the command. While it is being stopped, a second SIGINT or SIGTERM kills it. The
command finds the id in the variable STREAMREG_ID.")]
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
/// As the registration fails; the command's status where it is not 0, 126 or 127 where it cannot be started; `Conflict`
/// when somebody else takes the stream over or ends it.
pub(super) async fn run(registry: &Arc<dyn Registry>, plan: Plan, out: &mut Output<'_>) -> Result {
    // Before the stream is there: what comes too early is the command's all the same.
    let mut relay = Relay::new();
    let held = Held::acquire(registry, &plan.stream, out).await?;
    let id = held.lease().id().clone();
    let mut child = match Child::start(&plan.command, &[(ID_VARIABLE, id.as_str())]) {
        Ok(child) => child,
        Err(error) => {
            let program = plan.command.first().map(|program| program.to_string_lossy()).unwrap_or_default();
            let ended = held.release(&reason("the command could not be started"), out).await;
            if let Err(failure) = ended {
                out.tell(&failure);
            }
            let status = Status::Command(if error.kind() == ErrorKind::NotFound { 127 } else { 126 });
            return Err(Failure::new(status, format_args!("cannot start {program:?}: {error}")));
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
                signal = relay.next() => signal,
            };
            relay.pass(signal, &child);
        }
    };
    match first {
        First::Exit(status) => exited(&held, status, out).await,
        First::Lost(end) => {
            let failure = held.failure(&end);
            let status = out.tell(&failure);
            child.stop(&mut relay, plan.grace).await;
            Err(Failure::told(status))
        }
    }
}

/// Ends the stream of a command that has ended. Its own failure says more than that of the store.
async fn exited(held: &Held, status: std::io::Result<ExitStatus>, out: &mut Output<'_>) -> Result {
    let (words, code) = match status {
        Ok(status) => (words(status), code(status)),
        Err(error) => {
            out.note(format_args!("streamreg: cannot wait for the command: {error}"));
            ("the command was lost".to_owned(), Status::Failed.code())
        }
    };
    let released = held.release(&reason(&words), out).await;
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
