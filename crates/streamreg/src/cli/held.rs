//! `register --hold`: a stream that this process keeps alive.

use std::sync::Arc;
use std::time::Duration;

use stream_registry::{EndReason, Lease, LeaseEnd, LeaseOptions, LeaseState, Leases, Registry};
use tokio::time::{MissedTickBehavior, interval};

use super::failure::{Failure, Result, Status};
use super::output::Output;
use super::register::{Plan, print_id};
use super::signal;

/// The longest time between two heartbeats: who takes the stream over need not wait longer for this process to learn.
const LONGEST_HEARTBEAT: Duration = Duration::from_secs(10);
/// How often the state is looked at, to tell of an outage.
const LOOK: Duration = Duration::from_millis(500);

/// A stream that this process holds.
#[derive(Debug)]
pub(super) struct Held {
    lease: Lease,
}

impl Held {
    /// Leases the stream of a plan.
    pub(super) async fn acquire(registry: &Arc<dyn Registry>, plan: &Plan, out: &Output<'_>) -> Result<Self> {
        let heartbeat = (registry.info().ttl / 5).min(LONGEST_HEARTBEAT);
        let leases = Leases::new(Arc::clone(registry), LeaseOptions::default().heartbeat(heartbeat));
        let lease = match plan.policy() {
            Some(policy) => leases.acquire_with(plan.stream().clone(), policy).await,
            None => leases.acquire_new(plan.stream().clone()).await,
        };
        Ok(Self { lease: lease.map_err(|error| out.failure(&error))? })
    }

    pub(super) fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Waits until somebody else has ended the lease, and tells of outages meanwhile.
    pub(super) async fn lost(&self, out: &mut Output<'_>) -> LeaseEnd {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = false;
        loop {
            tokio::select! {
                end = self.lease.ended() => return end,
                _ = look.tick() => {}
            }
            let away = matches!(self.lease.state(), LeaseState::Recovering { .. });
            if away != told {
                told = away;
                let id = self.lease.id().as_str();
                out.note(match away {
                    true => {
                        format!("{id:?} may be gone: the store lost it or does not answer; it comes back by itself")
                    }
                    false => format!("{id:?} is held again"),
                });
            }
        }
    }

    /// Words the end of the lease by somebody else.
    pub(super) fn failure(&self, end: &LeaseEnd) -> Failure {
        let id = self.lease.id().as_str();
        match end {
            LeaseEnd::Superseded { by } => {
                let by = by.as_deref().unwrap_or("another holder");
                Failure::new(
                    Status::Conflict,
                    format_args!("{id:?} was taken over by {by}; this process lets go of it"),
                )
            }
            LeaseEnd::Removed => Failure::new(
                Status::Conflict,
                format_args!("{id:?} was unregistered by somebody else; this process lets go of it"),
            ),
            other => Failure::new(Status::Failed, format_args!("the lease of {id:?} ended: {other:?}")),
        }
    }

    /// Ends the stream.
    pub(super) async fn release(&self, reason: &EndReason, out: &Output<'_>) -> Result {
        match self.lease.release_with(reason.clone()).await {
            Ok(_) => Ok(()),
            Err(error) => Err(match self.lease.state() {
                LeaseState::Ended(end) if end != LeaseEnd::Released => self.failure(&end),
                // Its answer was lost, and it is done.
                LeaseState::Ended(_) => return Ok(()),
                _ => out.failure(&error),
            }),
        }
    }
}

/// Holds a stream until a signal comes.
///
/// # Errors
///
/// As the registration fails; where standard output takes no more, with the stream ended; `Conflict` when somebody else
/// takes the stream over or ends it; as the store fails at the end.
pub(super) async fn run(registry: &Arc<dyn Registry>, plan: &Plan, out: &mut Output<'_>) -> Result {
    // Before the stream is there: it ends when it is not wanted any more by then.
    let stop = signal::asked_to_stop_by();
    let held = Held::acquire(registry, plan, out).await?;
    let shown = match print_id(held.lease().id(), out) {
        Ok(shown) => shown,
        Err(failure) => {
            // Whoever was to read the id cannot end the stream.
            if let Err(second) = held.release(&reason("the id could not be printed"), out).await {
                out.tell(&second);
            }
            return Err(failure);
        }
    };
    out.note(format_args!("{shown:?} is held; Ctrl-C or SIGTERM ends it"));
    let lost = tokio::select! {
        signal = stop => Err(signal),
        end = held.lost(out) => Ok(end),
    };
    match lost {
        Ok(end) => Err(held.failure(&end)),
        Err(signal) => {
            let reason = reason(&format!("stopped by {signal}"));
            held.release(&reason, out).await
        }
    }
}

/// Makes a reason; what this program writes is never too long for one.
pub(super) fn reason(text: &str) -> EndReason {
    text.parse().unwrap_or_default()
}
