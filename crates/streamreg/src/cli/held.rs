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

/// The longest time between two heartbeats: who takes the stream over need not wait longer for this process to learn.
const LONGEST_HEARTBEAT: Duration = Duration::from_secs(10);
/// How often the state is looked at, to tell of an outage.
const LOOK: Duration = Duration::from_millis(500);
/// How long what is being written may take once the stream has ended by a signal.
const LAST_WRITE: Duration = Duration::from_secs(2);

/// A stream that this process holds.
#[derive(Debug)]
pub(super) struct Held {
    lease: Lease,
}

impl Held {
    /// Leases the stream of a plan.
    pub(super) async fn acquire(registry: &Arc<dyn Registry>, plan: &Plan, store: &str) -> Result<Self> {
        let heartbeat = (registry.info().ttl / 5).min(LONGEST_HEARTBEAT);
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
    pub(super) async fn release(&self, reason: &str, store: &str) -> Result {
        // What this program writes is never too long for a reason.
        match self.lease.release_with(reason.parse().unwrap_or_default()).await {
            Ok(_) => Ok(()),
            Err(error) => Err(match self.lease.state() {
                LeaseState::Ended(end) if end != LeaseEnd::Released => self.failure(&end),
                // Its answer was lost, and it is done.
                LeaseState::Ended(_) => return Ok(()),
                _ => Failure::store(&error, store),
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
    let held = Arc::new(Held::acquire(registry, plan, out.store).await?);
    let (ended, ending) = oneshot::channel();
    // Apart from this: writing what nobody takes waits, and the stream is to end all the same.
    let ender = tokio::spawn({
        let (held, store) = (Arc::clone(&held), out.store.to_owned());
        async move {
            let signal = stop.await;
            let reason = format!("stopped by {}", signal::name(signal));
            // Nobody may be there to take it.
            let _ = ended.send(held.release(&reason, &store).await);
            sleep(LAST_WRITE).await;
            std::process::exit(128 + signal);
        }
    });
    let done = until_ended(&held, ending, out).await;
    ender.abort();
    done
}

/// Prints the id, and waits for the end that a signal asked for or somebody else made.
async fn until_ended(held: &Held, ending: oneshot::Receiver<Result>, out: &mut Output<'_>) -> Result {
    let shown = match print_id(held.lease().id(), out) {
        Ok(shown) => shown,
        Err(failure) => {
            // Whoever was to read the id cannot end the stream.
            if let Err(second) = held.release("the id could not be printed", out.store).await {
                out.tell(&second);
            }
            return Err(failure);
        }
    };
    out.note(format_args!("{shown:?} is held; Ctrl-C or SIGTERM ends it"));
    tokio::pin!(ending);
    let end = tokio::select! {
        biased;
        released = &mut ending => return released.unwrap_or(Ok(())),
        end = held.lost(out) => end,
    };
    match end {
        // By the signal: what came of it follows at once.
        LeaseEnd::Released => ending.await.unwrap_or(Ok(())),
        end => Err(held.failure(&end)),
    }
}
