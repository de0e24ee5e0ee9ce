//! The process that started this process. `register --hold` and `run` end when their parent has ended, because an
//! orphan would keep a dead stream alive for ever.

#[cfg(unix)]
pub(super) use unix::Parent;

#[cfg(unix)]
mod unix {
    use std::time::Duration;

    use rustix::process::{Pid, Signal, getppid};
    use tokio::time::{MissedTickBehavior, interval};

    use crate::cli::signal::Signals;

    /// Interval at which the command checks whether its parent still exists.
    const CHECK_INTERVAL: Duration = Duration::from_millis(500);
    /// The signal that the system sends when the parent ends. Without a handler, this signal does nothing.
    const DEATH_SIGNAL: Signal = Signal::URG;

    /// The parent of this process, or `None` if the end of the parent does not matter.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Parent(Option<Pid>);

    impl Parent {
        /// Returns the current parent, or no parent with `--no-parent-check`. Call this function before standard input
        /// is read: if the parent ends first, its end is not noticed.
        ///
        /// Process 1 is never checked. Either it started this process, and its end ends this process too, or it has
        /// adopted this process because the real parent has already ended on purpose.
        pub(crate) fn checked_unless(no_parent_check: bool) -> Self {
            Self(getppid().filter(|parent| !no_parent_check && *parent != Pid::INIT))
        }

        /// Waits until the parent has ended.
        pub(crate) async fn ended(self) {
            let Some(parent) = self.0 else { return std::future::pending().await };
            // Linux sends the signal when the thread that started this process ends. Other threads of the parent may
            // continue, so the signal only causes an early check.
            let mut death = Signals::unless_ignored(&[DEATH_SIGNAL.as_raw()]);
            request_death_signal();
            let mut checks = interval(CHECK_INTERVAL);
            checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            // When a process ends, the system gives its children another parent.
            while getppid() == Some(parent) {
                tokio::select! {
                    _ = checks.tick() => {}
                    _ = death.next() => {}
                }
            }
        }
    }

    fn request_death_signal() {
        #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
        if let Err(error) = rustix::process::set_parent_process_death_signal(Some(DEATH_SIGNAL)) {
            tracing::debug!(%error, "no signal when the parent process ends; checking twice per second");
        }
    }
}

/// On non-Unix systems, the end of the parent is not noticed.
#[cfg(not(unix))]
#[derive(Clone, Copy, Debug)]
pub(super) struct Parent;

#[cfg(not(unix))]
impl Parent {
    pub(super) fn checked_unless(_: bool) -> Self {
        Self
    }

    pub(super) async fn ended(self) {
        std::future::pending().await
    }
}
