//! Signals that this process handles: stop requests, and the signals that `run` forwards to its command.

use std::future::Future;
use std::time::{Duration, Instant};

/// Time in which a second signal of the same kind, except SIGINT, counts as a repetition of the first one. The command
/// `timeout` signals its command and then their process group, so the command receives the signal twice.
const REPEATED: Duration = Duration::from_secs(1);

// POSIX defines these signal numbers.
pub(super) const HANGUP: i32 = 1;
pub(super) const INTERRUPT: i32 = 2;
pub(super) const QUIT: i32 = 3;
pub(super) const TERMINATE: i32 = 15;
/// The number of SIGCONT, which differs between systems.
#[cfg(unix)]
pub(super) const CONTINUE: i32 = rustix::process::Signal::CONT.as_raw();
#[cfg(not(unix))]
pub(super) const CONTINUE: i32 = 18;

/// Returns a future that completes with the signal's number on SIGINT (Ctrl-C), SIGTERM or SIGHUP (closed terminal).
///
/// A second signal exits the process at once, unless it only [repeats](REPEATED) the first one. If `limit` is given,
/// the process also exits that long after the first signal, because nothing else can interrupt a blocked write to
/// standard output. Under nohup, SIGHUP stays ignored. The handlers are installed before this function returns, not at
/// the first poll.
pub(super) fn stop_requested(limit: Option<Duration>) -> impl Future<Output = i32> + Send + 'static {
    stop_requested_or(limit, || ())
}

/// Like [`stop_requested`], but calls a function before it exits the process.
pub(super) fn stop_requested_or(
    limit: Option<Duration>,
    before_exit: fn(),
) -> impl Future<Output = i32> + Send + 'static {
    let (request, requested) = tokio::sync::oneshot::channel();
    let mut signals = Signals::unless_ignored(&[HANGUP]);
    // Handle SIGINT and SIGTERM even if they are ignored: shell scripts start background commands with SIGINT ignored.
    signals.handle(INTERRUPT);
    signals.handle(TERMINATE);
    tokio::spawn(async move {
        let first = signals.next().await;
        // Sending fails if the command has already finished.
        let _ = request.send(first);
        let second = next_intended(&mut signals, first);
        let number = match limit {
            Some(limit) => tokio::time::timeout(limit, second).await.unwrap_or(first),
            None => second.await,
        };
        before_exit();
        std::process::exit(128 + number);
    });
    async move {
        match requested.await {
            Ok(number) => number,
            // The sender is dropped only when the runtime shuts down.
            Err(_) => std::future::pending().await,
        }
    }
}

/// Waits for the next signal that does not only repeat the first one.
async fn next_intended(signals: &mut Signals, first: i32) -> i32 {
    let begin = Instant::now();
    loop {
        let number = signals.next().await;
        if number != first || number == INTERRUPT || begin.elapsed() >= REPEATED {
            return number;
        }
    }
}

/// Returns the name of a signal that asks a process to stop.
pub(super) fn name(number: i32) -> &'static str {
    match number {
        HANGUP => "SIGHUP",
        INTERRUPT => "SIGINT",
        QUIT => "SIGQUIT",
        _ => "SIGTERM",
    }
}

/// Signals for which this process replaces the system's default action.
#[cfg(unix)]
pub(super) struct Signals(Vec<(tokio::signal::unix::Signal, i32)>);

#[cfg(unix)]
impl Signals {
    /// Handles these signals from now on, except those that were ignored when the process started.
    pub(super) fn unless_ignored(numbers: &[i32]) -> Self {
        let ignored = ignored();
        let mut signals = Self(Vec::new());
        numbers.iter().filter(|&&number| ignored & (1 << (number - 1)) == 0).for_each(|&number| signals.handle(number));
        signals
    }

    /// Handles this signal from now on.
    fn handle(&mut self, number: i32) {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::from_raw(number)) {
            Ok(signal) => self.0.push((signal, number)),
            Err(error) => tracing::warn!(%error, number, "cannot handle a signal"),
        }
    }

    /// Waits for one of the signals and returns its number.
    pub(super) async fn next(&mut self) -> i32 {
        std::future::poll_fn(|context| {
            for (signal, number) in &mut self.0 {
                if signal.poll_recv(context).is_ready() {
                    return std::task::Poll::Ready(*number);
                }
            }
            std::task::Poll::Pending
        })
        .await
    }
}

/// Returns the signals that were ignored when this process started, as a bit mask in which bit 0 is signal 1.
///
/// Must be called before any handler is installed.
#[cfg(unix)]
fn ignored() -> u64 {
    // On systems without this file, no signal counts as ignored.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// Ctrl-C, the only signal on non-Unix systems. The flag says whether this process handles Ctrl-C.
#[cfg(not(unix))]
pub(super) struct Signals(bool);

#[cfg(not(unix))]
impl Signals {
    pub(super) fn unless_ignored(numbers: &[i32]) -> Self {
        Self(numbers.contains(&INTERRUPT))
    }

    fn handle(&mut self, number: i32) {
        self.0 |= number == INTERRUPT;
    }

    pub(super) async fn next(&mut self) -> i32 {
        if self.0 && tokio::signal::ctrl_c().await.is_ok() {
            return INTERRUPT;
        }
        std::future::pending().await
    }
}
