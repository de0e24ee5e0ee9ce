//! Being asked to stop.

use std::future::Future;
use std::time::Duration;

/// Waits for SIGINT (Ctrl-C) or SIGTERM; a second one ends the process at once.
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

/// As [`asked_to_stop`], and returns the signal's name.
pub(super) fn asked_to_stop_by() -> impl Future<Output = &'static str> + Send + 'static {
    stop(None)
}

fn stop(longest: Option<Duration>) -> impl Future<Output = &'static str> + Send + 'static {
    let (tell, asked) = tokio::sync::oneshot::channel();
    let mut signals = Signals::new();
    tokio::spawn(async move {
        let first = signals.next().await;
        // Whoever waited may have ended by itself.
        let _ = tell.send(if first == 2 { "SIGINT" } else { "SIGTERM" });
        let number = match longest {
            Some(longest) => tokio::time::timeout(longest, signals.next()).await.unwrap_or(first),
            None => signals.next().await,
        };
        std::process::exit(128 + number);
    });
    async move {
        match asked.await {
            Ok(name) => name,
            // The sender only goes with the runtime.
            Err(_) => std::future::pending().await,
        }
    }
}

#[cfg(unix)]
struct Signals {
    interrupt: Option<tokio::signal::unix::Signal>,
    terminate: Option<tokio::signal::unix::Signal>,
}

#[cfg(unix)]
impl Signals {
    fn new() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        let open = |kind| {
            signal(kind).inspect_err(|error| tracing::warn!(%error, "a signal will end the process at once")).ok()
        };
        Self { interrupt: open(SignalKind::interrupt()), terminate: open(SignalKind::terminate()) }
    }

    /// Waits for a signal and returns its number.
    async fn next(&mut self) -> i32 {
        async fn one(signal: &mut Option<tokio::signal::unix::Signal>) {
            // Without a handler, or when the runtime goes, nothing comes any more.
            let came = match signal {
                Some(signal) => signal.recv().await.is_some(),
                None => false,
            };
            if !came {
                std::future::pending::<()>().await;
            }
        }
        tokio::select! {
            () = one(&mut self.interrupt) => 2,
            () = one(&mut self.terminate) => 15,
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> Self {
        Self
    }

    /// Waits for Ctrl-C and returns the number that it has elsewhere.
    async fn next(&mut self) -> i32 {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        2
    }
}
