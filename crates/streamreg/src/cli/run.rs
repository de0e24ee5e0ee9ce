//! `run`: holds a stream while a command runs.

use std::ffi::OsString;
use std::future::Future;
use std::io::Read;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use stream_registry::lease::LeaseEnd;
use stream_registry::{Registry, Stream};
use tokio::time::timeout;

use super::child::{self, Child, Forwarded, code, describe};
use super::failure::{Failure, Result, Status};
use super::hold::{HeldStream, PARENT_ENDED};
use super::output::Output;
use super::parent::Parent;
use super::register::{self, StreamArgs};
use super::{duration, signal};

/// Environment variable in which the command finds the stream's id.
const ID_VARIABLE: &str = "STREAMREG_ID";

/// Arguments of `run`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  streamreg run --type srt --source 192.0.2.7:9000 -- \\
    ffmpeg -i srt://:9000?mode=listener -f null -
  streamreg run --type rtp --source '[2001:db8::1]:5004' --node ingest-1 -- \\
    ./ingest.sh

The stream is registered before the command starts and unregistered when the command exits. The end reason is e.g. \
`exit status 3` or `killed by signal 9`. `run` exits with the status of the command. If another client takes over or \
unregisters the stream, the command is stopped and the exit status is 4. While the command is being stopped, a second \
SIGINT or SIGTERM kills it. If the process that started `run` has ended, the command is stopped in the same way, and \
the stream is unregistered. As process 1 of a container, `run` also reaps orphans. The environment variable \
STREAMREG_ID of the command contains the id of the stream.

The command runs in its own process group, and every signal is forwarded to that group. The command cannot read the \
terminal: if standard input is a terminal, the command reads /dev/null instead.

A signal that arrives before the command starts unregisters the stream and exits with 128 plus the signal's number. If \
the store does not answer when the stream is to be unregistered, a second signal exits at once. The stream then stays \
until its TTL expires.")]
pub struct RunArgs {
    /// Arguments that describe the stream.
    #[command(flatten)]
    pub stream: StreamArgs,

    /// Maximum time for the command to exit after the stream is lost; then the command is killed
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration::parse)]
    pub grace: Duration,

    /// Keep the command and the stream after the process that started `run` has ended
    #[arg(long)]
    pub no_parent_check: bool,

    /// The command and its arguments
    #[arg(value_name = "CMD", last = true, required = true)]
    pub command: Vec<OsString>,
}

/// The arguments of `run`, checked as far as possible without a store.
#[derive(Debug)]
pub struct Plan {
    stream: register::Plan,
    grace: Duration,
    command: Vec<OsString>,
}

impl Plan {
    /// Returns the stream.
    pub(super) fn stream(&self) -> &Stream {
        self.stream.stream()
    }
}

impl RunArgs {
    /// Builds the record and checks it.
    ///
    /// # Errors
    ///
    /// Returns a usage error if an argument is invalid.
    pub fn prepare(&self, stdin: &mut dyn Read) -> Result<Plan> {
        let stream = self.stream.prepare(Parent::checked_unless(self.no_parent_check), stdin)?;
        Ok(Plan { stream, grace: self.grace, command: self.command.clone() })
    }
}

/// The reason why `run` ends.
enum Outcome {
    Exited(std::io::Result<ExitStatus>),
    Lost(LeaseEnd),
    ParentEnded,
}

/// Registers the stream, runs the command, and unregisters the stream when the command exits.
///
/// # Errors
///
/// Returns the failure if the registration fails, or the command's exit status if the command fails. Returns 126 or 127
/// if the command cannot be started, and 128 plus the signal number if a signal arrived before the command started.
/// Returns `Conflict` if another client takes over or unregisters the stream.
pub(super) async fn run(registry: &Arc<dyn Registry>, plan: Plan, out: &mut Output<'_>) -> Result {
    // Install the signal handlers before the stream exists. A signal during the registration then unregisters the
    // stream.
    let mut stop = Stop { signals: Forwarded::new(), requested: None };
    let held = stop.unless_requested_twice(HeldStream::acquire(registry, &plan.stream, out.store), out).await?;
    let id = held.lease().id().clone();
    if let Some(signal) = stop.requested().await {
        let reason = format!("stopped by {} before the command was started", signal::name(signal));
        return finish(&held, &mut stop, &reason, code_of(signal), out).await;
    }
    let mut child = match Child::start(&plan.command, &[(ID_VARIABLE, id.as_str())]) {
        Ok(child) => child,
        Err(error) => {
            let program = plan.command.first().map(|program| program.to_string_lossy()).unwrap_or_default();
            out.note(format_args!("streamreg: cannot start {program:?}: {error}"));
            let code = child::code_of_start(&error);
            return finish(&held, &mut stop, "the command could not be started", code, out).await;
        }
    };
    #[cfg(target_os = "linux")]
    tokio::spawn(super::orphans::reap(child.id()));
    out.note(format_args!("{:?} is held while the command runs", id.as_str()));
    let outcome = {
        let lost = held.lost(out);
        let parent_ended = plan.stream.parent().ended();
        tokio::pin!(lost, parent_ended);
        loop {
            let signal = tokio::select! {
                biased;
                status = child.exited() => break Outcome::Exited(status),
                end = &mut lost => break Outcome::Lost(end),
                () = &mut parent_ended => break Outcome::ParentEnded,
                signal = stop.signals.next() => signal,
            };
            child.forward(signal);
        }
    };
    match outcome {
        Outcome::Exited(Ok(status)) => finish(&held, &mut stop, &describe(status), code(status), out).await,
        Outcome::Exited(Err(error)) => {
            out.note(format_args!("streamreg: cannot wait for the command: {error}"));
            finish(&held, &mut stop, "the command was lost", Status::Failed.code(), out).await
        }
        Outcome::Lost(end) => {
            let status = out.report(&held.failure(&end));
            child.stop(&mut stop.signals, plan.grace).await;
            Err(Failure::reported(status))
        }
        Outcome::ParentEnded => {
            child.stop(&mut stop.signals, plan.grace).await;
            let code = child.exited().await.map_or(Status::Failed.code(), code);
            finish(&held, &mut stop, PARENT_ENDED, code, out).await
        }
    }
}

/// Unregisters the stream after the command has exited or could not be started. If both the command and the store fail,
/// returns the command's status.
async fn finish(held: &HeldStream, stop: &mut Stop, reason: &str, code: u8, out: &mut Output<'_>) -> Result {
    let released = stop.unless_requested_twice(held.release(reason, out.store), out).await;
    match (code, released) {
        (0, released) => released,
        (code, released) => {
            if let Err(failure) = released {
                out.report(&failure);
            }
            Err(Failure::reported(Status::Command(code)))
        }
    }
}

/// The forwarded signals, and the first stop request that arrived while no command was running.
struct Stop {
    signals: Forwarded,
    requested: Option<i32>,
}

impl Stop {
    /// Waits for a call to the store, and gives up at the second stop request. The first stop request does not cancel
    /// the call, because the stream may already be registered and must then be unregistered.
    async fn unless_requested_twice<T>(
        &mut self,
        call: impl Future<Output = Result<T>>,
        out: &mut Output<'_>,
    ) -> Result<T> {
        tokio::pin!(call);
        loop {
            let signal = tokio::select! {
                biased;
                done = &mut call => return done,
                signal = self.signals.stop_requested() => signal,
            };
            match self.requested {
                None => {
                    self.requested = Some(signal);
                    out.note("waiting for the store; a second signal exits at once");
                }
                // A closing terminal may send SIGHUP twice, so a second SIGHUP does not mean that a user is waiting.
                Some(_) if signal == signal::HANGUP => {}
                Some(first) => {
                    let message = "did not wait for the store; the stream stays until its TTL expires";
                    return Err(Failure::new(Status::Command(code_of(first)), message));
                }
            }
        }
    }

    /// Returns the first stop request, or `None` if no stop request has arrived so far.
    async fn requested(&mut self) -> Option<i32> {
        if self.requested.is_none() {
            // The runtime receives signals through a pipe and reads the pipe before it checks timers. A signal that has
            // already arrived therefore completes before the timeout.
            self.requested = timeout(Duration::from_millis(1), self.signals.stop_requested()).await.ok();
        }
        self.requested
    }
}

/// Returns the exit status that a shell would report for a command killed by this signal.
fn code_of(signal: i32) -> u8 {
    u8::try_from(128 + signal).unwrap_or(u8::MAX)
}
