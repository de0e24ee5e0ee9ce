//! Being asked to stop.

use std::future::Future;
use std::time::Duration;

/// Waits for SIGINT (Ctrl-C), SIGTERM or SIGHUP (a terminal that was closed); a second one ends the process at once.
/// SIGHUP stays ignored where it is from the start, under nohup.
///
/// The handlers are in place when this returns, not only at the first poll.
pub(super) fn asked_to_stop() -> impl Future<Output = ()> + Send + 'static {
    let asked = stop(None);
    async move {
        asked.await;
    }
}

/// As [`asked_to_stop`], but ends the process itself where it is still there after this time: nobody may be taking its
/// output, and a write that waits cannot be broken off.
pub(super) fn asked_to_stop_within(longest: Duration) -> impl Future<Output = ()> + Send + 'static {
    let asked = stop(Some(longest));
    async move {
        asked.await;
    }
}

/// As [`asked_to_stop`], and returns the signal's number.
pub(super) fn asked_to_stop_by() -> impl Future<Output = i32> + Send + 'static {
    stop(None)
}

/// The name of a signal that asks for the end.
pub(super) fn name(number: i32) -> &'static str {
    match number {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        _ => "SIGTERM",
    }
}

fn stop(longest: Option<Duration>) -> impl Future<Output = i32> + Send + 'static {
    let (tell, asked) = tokio::sync::oneshot::channel();
    let mut signals = Signals::new();
    tokio::spawn(async move {
        let first = signals.next().await;
        // Whoever waited may have ended by itself.
        let _ = tell.send(first);
        let number = match longest {
            Some(longest) => tokio::time::timeout(longest, signals.next()).await.unwrap_or(first),
            None => signals.next().await,
        };
        std::process::exit(128 + number);
    });
    async move {
        match asked.await {
            Ok(number) => number,
            // The sender only goes with the runtime.
            Err(_) => std::future::pending().await,
        }
    }
}

/// Which signals this process was started to ignore, a bit for each from 1 on; read before a handler is installed.
#[cfg(unix)]
fn ignored() -> u64 {
    // Where there is no such file none is known to be.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// Takes a signal from now on.
#[cfg(unix)]
fn open(number: i32) -> Option<(tokio::signal::unix::Signal, i32)> {
    let opened = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::from_raw(number));
    opened.inspect_err(|error| tracing::warn!(%error, number, "a signal is not taken")).ok().zip(Some(number))
}

/// Takes those of these signals that are not ignored from the start.
#[cfg(unix)]
pub(super) fn take(numbers: &[i32]) -> Vec<(tokio::signal::unix::Signal, i32)> {
    let ignored = ignored();
    numbers.iter().filter(|&&number| ignored & (1 << (number - 1)) == 0).filter_map(|&number| open(number)).collect()
}

/// Waits for one of the signals and returns its number.
#[cfg(unix)]
pub(super) async fn next(signals: &mut [(tokio::signal::unix::Signal, i32)]) -> i32 {
    std::future::poll_fn(|context| {
        for (signal, number) in &mut *signals {
            if let std::task::Poll::Ready(Some(())) = signal.poll_recv(context) {
                return std::task::Poll::Ready(*number);
            }
        }
        std::task::Poll::Pending
    })
    .await
}

#[cfg(unix)]
struct Signals(Vec<(tokio::signal::unix::Signal, i32)>);

#[cfg(unix)]
impl Signals {
    fn new() -> Self {
        use rustix::process::Signal;
        let mut signals = take(&[Signal::HUP.as_raw()]);
        // These always: a script's shell lets what it starts in the background ignore SIGINT, whoever sends it.
        signals.extend([Signal::INT, Signal::TERM].into_iter().filter_map(|signal| open(signal.as_raw())));
        Self(signals)
    }

    /// Waits for a signal and returns its number.
    async fn next(&mut self) -> i32 {
        next(&mut self.0).await
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> Self {
        Self
    }

    async fn next(&mut self) -> i32 {
        ctrl_c().await
    }
}

/// Waits for Ctrl-C and returns the number that it has elsewhere.
#[cfg(not(unix))]
pub(super) async fn ctrl_c() -> i32 {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
    2
}
