//! The command that `run` or `track` starts: a child process in its own process group.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

#[cfg(unix)]
use rustix::process::Signal;
use tokio::process::Command;
use tokio::time::sleep;

use super::signal::{HANGUP, INTERRUPT, QUIT, Signals, TERMINATE};

/// Number of the signal SIGKILL.
const KILL: i32 = 9;

/// A running command.
#[derive(Debug)]
pub(super) struct Child(tokio::process::Child);

impl Child {
    /// Starts a command. Dropping the returned `Child` kills the command.
    ///
    /// # Errors
    ///
    /// Fails if the command cannot be started.
    pub(super) fn start(command: &[OsString], variables: &[(&str, &str)]) -> io::Result<Self> {
        Self::start_with(command, variables, |command| {
            command.kill_on_drop(true);
        })
    }

    /// Starts a command that `configure` changes first. Dropping the returned `Child` leaves the command alone.
    ///
    /// The command inherits this process's standard streams. If standard input is a terminal, the command reads
    /// `/dev/null` instead. The system would stop the command at its first read from the terminal, because the command
    /// runs outside the foreground process group.
    ///
    /// # Errors
    ///
    /// Fails if the command cannot be started.
    pub(super) fn start_with(
        command: &[OsString],
        variables: &[(&str, &str)],
        configure: impl FnOnce(&mut Command),
    ) -> io::Result<Self> {
        let [program, args @ ..] = command else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no command given"));
        };
        let mut command = Command::new(program);
        command.args(args).envs(variables.iter().copied());
        #[cfg(unix)]
        command.process_group(0);
        if cfg!(unix) && io::stdin().is_terminal() {
            command.stdin(Stdio::null());
        }
        configure(&mut command);
        command.spawn().map(Self)
    }

    /// Returns the process id of the command, or `None` if the exit status was already read.
    pub(super) fn id(&self) -> Option<u32> {
        self.0.id()
    }

    /// Waits for the command to exit.
    pub(super) async fn exited(&mut self) -> io::Result<ExitStatus> {
        self.0.wait().await
    }

    /// Sends SIGTERM to the command, and forwards signals until the command exits. Kills the command after `grace`, or
    /// at the second SIGINT or SIGTERM.
    pub(super) async fn stop(&mut self, signals: &mut Forwarded, grace: Duration) {
        self.signal(TERMINATE);
        if !cfg!(unix) {
            let _ = self.0.start_kill();
        }
        let mut timeout = std::pin::pin!(sleep(grace));
        let mut requests = 0;
        loop {
            let signal = tokio::select! {
                biased;
                _ = self.0.wait() => return,
                () = &mut timeout => break,
                signal = signals.next() => signal,
            };
            requests += u32::from(matches!(signal, INTERRUPT | TERMINATE));
            if requests == 2 {
                break;
            }
            self.forward(signal);
        }
        self.signal(KILL);
        // Ignore the error: killing fails if the command has just exited.
        let _ = self.0.kill().await;
    }

    /// Forwards to the command a signal that this process received.
    #[cfg(unix)]
    pub(super) fn forward(&self, signal: i32) {
        self.signal(signal);
        if signal == Signal::TSTP.as_raw() {
            // Ctrl-Z suspends this process as well. When SIGCONT resumes this process, that signal is forwarded to the
            // command like any other.
            let _ = rustix::process::kill_process(rustix::process::getpid(), Signal::STOP);
        }
    }

    /// Sends a signal to the command's process group if the command is still running.
    #[cfg(unix)]
    fn signal(&self, signal: i32) {
        // The process id stays reserved until the exit status is read. From then on, `id` returns `None`.
        let group = self.0.id().and_then(|id| rustix::process::Pid::from_raw(i32::try_from(id).ok()?));
        if let (Some(group), Some(signal)) = (group, Signal::from_named_raw(signal))
            && let Err(error) = rustix::process::kill_process_group(group, signal)
        {
            tracing::debug!(%error, ?signal, "cannot forward a signal to the command");
        }
    }

    /// Does nothing, because on non-Unix systems Ctrl-C reaches the command directly.
    #[cfg(not(unix))]
    pub(super) fn forward(&self, _: i32) {}

    #[cfg(not(unix))]
    fn signal(&self, _: i32) {}
}

/// The signals that are forwarded to the command, in two groups. While only one group is awaited, the signals of the
/// other group stay queued.
pub(super) struct Forwarded {
    stop_requests: Signals,
    others: Signals,
}

impl Forwarded {
    /// Starts to handle the signals, except those that were ignored when this process started. The command inherits the
    /// ignored signals.
    pub(super) fn new() -> Self {
        #[cfg(unix)]
        let others = [Signal::USR1, Signal::USR2, Signal::WINCH, Signal::TSTP, Signal::CONT].map(Signal::as_raw);
        #[cfg(not(unix))]
        let others = [];
        Self {
            stop_requests: Signals::unless_ignored(&[HANGUP, INTERRUPT, QUIT, TERMINATE]),
            others: Signals::unless_ignored(&others),
        }
    }

    /// Waits for a signal and returns its number.
    pub(super) async fn next(&mut self) -> i32 {
        tokio::select! {
            biased;
            number = self.stop_requests.next() => number,
            number = self.others.next() => number,
        }
    }

    /// Waits for a signal that requests a stop, and returns its number. Other signals remain queued.
    pub(super) async fn stop_requested(&mut self) -> i32 {
        self.stop_requests.next().await
    }
}

/// Returns the exit status that a shell would report: the command's exit status, or 128 plus the number of the signal
/// that killed the command.
pub(super) fn code(status: ExitStatus) -> u8 {
    u8::try_from(status.code().unwrap_or_else(|| 128 + signal_of(status).unwrap_or(0))).unwrap_or(u8::MAX)
}

/// Returns the exit status that a shell would report for a command that cannot be started.
pub(super) fn code_of_start(error: &io::Error) -> u8 {
    if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 }
}

/// Describes how a command ended.
pub(super) fn describe(status: ExitStatus) -> String {
    match (status.code(), signal_of(status)) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "exited".to_owned(),
    }
}

#[cfg(unix)]
fn signal_of(status: ExitStatus) -> Option<i32> {
    use std::os::unix::process::ExitStatusExt as _;
    status.signal()
}

#[cfg(not(unix))]
fn signal_of(_: ExitStatus) -> Option<i32> {
    None
}
