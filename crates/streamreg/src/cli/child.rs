//! A command that runs beside this process: started, signalled, waited for.

use std::ffi::OsString;
use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::sleep;

use super::signal;

/// A signal to pass on.
#[cfg(unix)]
pub(super) type Passed = rustix::process::Signal;
#[cfg(not(unix))]
pub(super) type Passed = ();

/// A running command.
#[derive(Debug)]
pub(super) struct Child(tokio::process::Child);

impl Child {
    /// Starts a command with this process's standard streams; it is killed where this process fails.
    pub(super) fn start(command: &[OsString], variables: &[(&str, &str)]) -> io::Result<Self> {
        let [program, args @ ..] = command else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no command is given"));
        };
        Command::new(program).args(args).envs(variables.iter().copied()).kill_on_drop(true).spawn().map(Self)
    }

    /// Waits for the end.
    pub(super) async fn ended(&mut self) -> io::Result<ExitStatus> {
        self.0.wait().await
    }

    /// Asks the command to end and passes signals on meanwhile; kills it where it does not end within this time, and at
    /// the second signal that asks for its end.
    pub(super) async fn stop(&mut self, relay: &mut Relay, grace: Duration) {
        self.terminate();
        let mut time = std::pin::pin!(sleep(grace));
        let mut asked = 0;
        loop {
            let signal = tokio::select! {
                biased;
                _ = self.0.wait() => return,
                () = &mut time => break,
                signal = relay.next() => signal,
            };
            asked += u32::from(asks_to_end(signal));
            if asked == 2 {
                break;
            }
            relay.pass(signal, self);
        }
        // Fails only where it has ended just now.
        let _ = self.0.kill().await;
    }

    #[cfg(unix)]
    fn terminate(&self) {
        self.signal(Passed::TERM);
    }

    #[cfg(not(unix))]
    fn terminate(&mut self) {
        let _ = self.0.start_kill();
    }

    /// Sends a signal, unless the command has ended.
    #[cfg(unix)]
    pub(super) fn signal(&self, signal: Passed) {
        // An id that nobody has waited for yet is no other process's.
        let id = self.0.id().and_then(|id| rustix::process::Pid::from_raw(i32::try_from(id).ok()?));
        if let Some(id) = id
            && let Err(error) = rustix::process::kill_process(id, signal)
        {
            tracing::debug!(%error, ?signal, "the command got no signal");
        }
    }
}

#[cfg(unix)]
fn asks_to_end(signal: Passed) -> bool {
    matches!(signal, Passed::INT | Passed::TERM)
}

#[cfg(not(unix))]
fn asks_to_end(_: Passed) -> bool {
    true
}

/// The code that a shell gives a command that ended so: its own, or 128 and the signal.
pub(super) fn code(status: ExitStatus) -> u8 {
    u8::try_from(status.code().unwrap_or_else(|| 128 + signal_of(status).unwrap_or(0))).unwrap_or(u8::MAX)
}

/// How a command ended, in words.
pub(super) fn words(status: ExitStatus) -> String {
    match (status.code(), signal_of(status)) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "ended".to_owned(),
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

/// The signals that this process gets in the command's place. What is ignored from the start the command ignores too.
#[cfg(unix)]
pub(super) struct Relay {
    /// Those that ask for the end.
    ends: Vec<(tokio::signal::unix::Signal, i32)>,
    others: Vec<(tokio::signal::unix::Signal, i32)>,
}

#[cfg(unix)]
impl Relay {
    /// Takes the signals from now on.
    pub(super) fn new() -> Self {
        let take = |signals: &[Passed]| signal::take(&signals.iter().map(|one| one.as_raw()).collect::<Vec<_>>());
        Self {
            ends: take(&[Passed::HUP, Passed::INT, Passed::QUIT, Passed::TERM]),
            others: take(&[Passed::USR1, Passed::USR2]),
        }
    }

    /// Waits for a signal.
    pub(super) async fn next(&mut self) -> Passed {
        loop {
            let number = tokio::select! {
                biased;
                number = signal::next(&mut self.ends) => number,
                number = signal::next(&mut self.others) => number,
            };
            if let Some(signal) = Passed::from_named_raw(number) {
                return signal;
            }
        }
    }

    /// Waits for a signal that asks for the end, and returns its number; the others wait.
    pub(super) async fn asked_to_end(&mut self) -> i32 {
        signal::next(&mut self.ends).await
    }

    /// Passes a signal on.
    pub(super) fn pass(&self, signal: Passed, to: &Child) {
        // A terminal sends these to all processes in front of it, the command too. Who sends one to this process alone
        // cannot be told from it without unsafe code, and most programs end hard at the second.
        if !(matches!(signal, Passed::INT | Passed::QUIT) && in_foreground()) {
            to.signal(signal);
        }
    }
}

/// Whether the Ctrl-C of this process's terminal, wherever its standard streams go, is for this process's group.
#[cfg(unix)]
fn in_foreground() -> bool {
    let front = std::fs::File::open("/dev/tty").and_then(|terminal| Ok(rustix::termios::tcgetpgrp(terminal)?));
    front.is_ok_and(|front| front == rustix::process::getpgrp())
}

/// Where there are no signals, Ctrl-C reaches the command by itself.
#[cfg(not(unix))]
pub(super) struct Relay;

#[cfg(not(unix))]
impl Relay {
    pub(super) fn new() -> Self {
        Self
    }

    pub(super) async fn next(&mut self) -> Passed {
        signal::ctrl_c().await;
    }

    pub(super) async fn asked_to_end(&mut self) -> i32 {
        signal::ctrl_c().await
    }

    pub(super) fn pass(&self, _: Passed, _: &Child) {}
}
