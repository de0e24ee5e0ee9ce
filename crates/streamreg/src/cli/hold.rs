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

/// Upper bound of the heartbeat interval. It bounds how long this process needs to notice a take-over.
const MAX_HEARTBEAT_INTERVAL: Duration = Duration::from_secs(10);
/// Interval at which the state of the lease is checked for an outage.
const STATE_CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// Time limit for pending output after a signal has unregistered the stream.
const LAST_WRITE_TIMEOUT: Duration = Duration::from_secs(2);

/// A stream that this process holds a lease on.
#[derive(Debug)]
pub(super) struct HeldStream {
    lease: Lease,
}

impl HeldStream {
    /// Registers the plan's stream and takes a lease on it.
    pub(super) async fn acquire(registry: &Arc<dyn Registry>, plan: &Plan, store: &str) -> Result<Self> {
        let heartbeat = (registry.info().ttl / 5).min(MAX_HEARTBEAT_INTERVAL);
        let leases = Leases::new(Arc::clone(registry), LeaseOptions::default().heartbeat(heartbeat));
        let lease = match plan.policy() {
            Some(policy) => leases.acquire_with(plan.stream().clone(), policy).await,
            None => leases.acquire_new(plan.stream().clone()).await,
        };
        Ok(Self { lease: lease.map_err(|error| Failure::store(&error, store))? })
    }

    pub(super) fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Waits until another client ends the lease, and reports outages of the store until then.
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

    /// Returns the failure of a lease that another client has ended.
    pub(super) fn failure(&self, end: &LeaseEnd) -> Failure {
        let id = self.lease.id().as_str();
        match end {
            LeaseEnd::Superseded { by } => {
                let by = by.as_deref().unwrap_or("another holder");
                Failure::new(Status::Conflict, format_args!("{id:?} was taken over by {by}; it is no longer held"))
            }
            LeaseEnd::Removed => Failure::new(
                Status::Conflict,
                format_args!("{id:?} was unregistered by another client; it is no longer held"),
            ),
            other => Failure::new(Status::Failed, format_args!("the lease of {id:?} ended: {other:?}")),
        }
    }

    /// Unregisters the stream.
    pub(super) async fn release(&self, reason: &str, store: &str) -> Result {
        // The reasons of this program are short enough to be valid.
        match self.lease.release_with(reason.parse().unwrap_or_default()).await {
            Ok(_) => Ok(()),
            Err(error) => Err(match self.lease.state() {
                LeaseState::Ended(end) if end != LeaseEnd::Released => self.failure(&end),
                // The stream is unregistered; only the reply was lost.
                LeaseState::Ended(_) => return Ok(()),
                _ => Failure::store(&error, store),
            }),
        }
    }
}

/// Holds a stream until a signal arrives.
///
/// # Errors
///
/// Returns the failure of the registration, or of the store at the end; a failed write to standard output, after which
/// the stream is unregistered; `Conflict` if another client takes over or unregisters the stream.
pub(super) async fn run(registry: &Arc<dyn Registry>, plan: &Plan, out: &mut Output<'_>) -> Result {
    // Handle signals before the stream exists, so that a signal during the registration unregisters it again.
    let stop = signal::stop_requested(None);
    let held = Arc::new(HeldStream::acquire(registry, plan, out.store).await?);
    let (result, released) = oneshot::channel();
    // In a separate task: even if a write to standard output blocks, the stream must be unregistered.
    let release = tokio::spawn({
        let (held, store) = (Arc::clone(&held), out.store.to_owned());
        async move {
            let signal = stop.await;
            let reason = format!("stopped by {}", signal::name(signal));
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

/// Prints the id, and waits until a signal has unregistered the stream or another client has ended the lease.
async fn until_ended(held: &HeldStream, released: oneshot::Receiver<Result>, out: &mut Output<'_>) -> Result {
    let escaped_id = match print_id(held.lease().id(), out) {
        Ok(escaped_id) => escaped_id,
        Err(failure) => {
            // Without the id, the caller could not unregister the stream.
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
        // The signal's task released the lease; its result follows at once.
        LeaseEnd::Released => released.await.unwrap_or(Ok(())),
        end => Err(held.failure(&end)),
    }
}
