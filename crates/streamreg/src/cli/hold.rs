//! `register --hold`: a stream that this process keeps alive.

use std::sync::Arc;
use std::time::Duration;

use stream_registry::Registry;
use stream_registry::lease::{Lease, LeaseEnd, LeaseOptions, LeaseState, Leases};
use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::failure::{Failure, Result, Status};
use super::output::Output;
use super::register::{Plan, print_id};
use super::signal;

/// Interval at which the command checks whether the lease is affected by an outage of the store.
const STATE_CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// Maximum time to finish writing output after a signal has caused the stream to be unregistered.
const LAST_WRITE_TIMEOUT: Duration = Duration::from_secs(2);

/// The end reason of a stream that was unregistered because the parent process had ended.
pub(super) const PARENT_ENDED: &str = "the parent process ended";

/// A stream that this process holds by a lease.
#[derive(Debug)]
pub(super) struct HeldStream {
    lease: Lease,
}

impl HeldStream {
    /// Registers the planned stream and acquires its lease.
    pub(super) async fn acquire(registry: &Arc<dyn Registry>, plan: &Plan, store: &str) -> Result<Self> {
        let leases = Leases::new(Arc::clone(registry), LeaseOptions::default().same_source(plan.same_source()));
        let lease = match plan.policy() {
            Some(policy) => leases.acquire_with(plan.stream().clone(), policy).await,
            None => leases.acquire_new(plan.stream().clone()).await,
        };
        Ok(Self { lease: lease.map_err(|error| Failure::store(&error, store))? })
    }

    pub(super) fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Waits until another client ends the lease. Reports outages of the store while waiting.
    pub(super) async fn lost(&self, out: &mut Output<'_>) -> LeaseEnd {
        let mut checks = interval(STATE_CHECK_INTERVAL);
        checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut reported = false;
        loop {
            tokio::select! {
                end = self.lease.ended() => return end,
                _ = checks.tick() => {}
            }
            let recovering = matches!(self.lease.state(), LeaseState::Recovering { .. });
            if recovering != reported {
                reported = recovering;
                let id = self.lease.id().as_str();
                out.note(if recovering {
                    format!("{id:?} may have expired: the store lost it or does not answer; retrying")
                } else {
                    format!("{id:?} is held again")
                });
            }
        }
    }

    /// Returns the failure to report when another client has ended the lease.
    pub(super) fn failure(&self, end: &LeaseEnd) -> Failure {
        let id = self.lease.id().as_str();
        match end {
            LeaseEnd::Superseded { by } => {
                let by = by.as_deref().unwrap_or("another holder");
                Failure::new(
                    Status::Conflict,
                    format_args!("{id:?} was taken over by {by}; this command no longer keeps it registered"),
                )
            }
            LeaseEnd::Removed => Failure::new(
                Status::Conflict,
                format_args!("{id:?} was unregistered by another client; this command no longer keeps it registered"),
            ),
            other => Failure::new(Status::Failed, format_args!("the lease of {id:?} ended: {other:?}")),
        }
    }

    /// Unregisters the stream.
    pub(super) async fn release(&self, reason: &str, store: &str) -> Result {
        // Parsing does not fail, because every reason in this program is short enough.
        match self.lease.release_with(reason.parse().unwrap_or_default()).await {
            Ok(_) => Ok(()),
            Err(error) => Err(match self.lease.state() {
                LeaseState::Ended(end) if end != LeaseEnd::Released => self.failure(&end),
                // The stream was unregistered, but the reply was lost.
                LeaseState::Ended(_) => return Ok(()),
                _ => Failure::store(&error, store),
            }),
        }
    }
}

/// Holds a stream until a signal arrives or the parent process has ended.
///
/// # Errors
///
/// Fails if the stream cannot be registered or unregistered. Also fails if standard output cannot be written, but
/// unregisters the stream first. Returns `Conflict` if another client takes over or unregisters the stream.
pub(super) async fn run(registry: &Arc<dyn Registry>, plan: &Plan, out: &mut Output<'_>) -> Result {
    // Install the signal handler before the stream exists. A signal during the registration then unregisters the
    // stream.
    let stop = signal::stop_requested(None);
    let held = Arc::new(HeldStream::acquire(registry, plan, out.store).await?);
    let (result, released) = oneshot::channel();
    // A separate task waits for the signal or the end of the parent. That task can unregister the stream even if a
    // write to standard output blocks.
    let release = tokio::spawn({
        let (held, store, parent) = (Arc::clone(&held), out.store.to_owned(), plan.parent());
        async move {
            let (signal, reason) = tokio::select! {
                signal = stop => (signal, format!("stopped by {}", signal::name(signal))),
                () = parent.ended() => (signal::TERMINATE, PARENT_ENDED.to_owned()),
            };
            // Sending fails if the command has already finished.
            let _ = result.send(held.release(&reason, &store).await);
            sleep(LAST_WRITE_TIMEOUT).await;
            std::process::exit(128 + signal);
        }
    });
    let done = until_ended(&held, released, out).await;
    release.abort();
    done
}

/// Prints the id. Then waits until the stream has been unregistered (after a signal, or after the end of the parent
/// process), or another client has ended the lease.
async fn until_ended(held: &HeldStream, released: oneshot::Receiver<Result>, out: &mut Output<'_>) -> Result {
    let escaped_id = match print_id(held.lease().id(), out) {
        Ok(escaped_id) => escaped_id,
        Err(failure) => {
            // Without the id, the user cannot unregister the stream, so unregister it here.
            if let Err(second) = held.release("the id could not be printed", out.store).await {
                out.report(&second);
            }
            return Err(failure);
        }
    };
    out.note(format_args!("{escaped_id:?} is held until Ctrl-C or SIGTERM"));
    tokio::pin!(released);
    let end = tokio::select! {
        biased;
        result = &mut released => return result.unwrap_or(Ok(())),
        end = held.lost(out) => end,
    };
    match end {
        // The task that waits for the signal has released the lease, so the result arrives at once.
        LeaseEnd::Released => released.await.unwrap_or(Ok(())),
        end => Err(held.failure(&end)),
    }
}
