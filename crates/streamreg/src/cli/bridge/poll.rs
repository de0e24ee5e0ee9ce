//! Lists a server at intervals.

use std::sync::Arc;
use std::time::Duration;

use adapters::reconcile::Reconciler;
use stream_registry::{Stream, Timestamp};
use tokio::time::{Instant, sleep, sleep_until};

use super::config::Server;
use super::follow::Follower;
use crate::cli::failure::{Failure, Result, Status};
use crate::cli::output::{Output, TableOptions};

/// Interval for up to [`FEW`] streams.
const SHORT_INTERVAL: Duration = Duration::from_secs(1);
/// Shortest interval for more streams.
const INTERVAL: Duration = Duration::from_secs(2);
/// Number of streams up to which the short interval applies.
const FEW: usize = 100;
/// The interval is at least this many times the duration of the last list, so that lists use 1 % of a core at most.
const SHARE: u32 = 100;
/// Longest interval. A server that answers slowly is still listed this often.
const MAX_INTERVAL: Duration = Duration::from_secs(30);
/// Shortest time from one list to the next after a hook.
const AFTER_HOOK: Duration = Duration::from_millis(500);

/// Lists the server forever.
pub(super) async fn run(follower: Arc<Follower>) {
    let Some(api) = &follower.server.api else { return tick(&follower).await };
    let (mut is_failing, mut took_before) = (false, Duration::MAX);
    loop {
        let (started, requested) = (Instant::now(), follower.now());
        let listed = api.list().await;
        let took = started.elapsed();
        let live = match listed {
            Ok(snapshot) => {
                if std::mem::take(&mut is_failing) {
                    tracing::info!(server = %follower.server.name, "the server answers again");
                }
                follower.listed(requested, snapshot)
            }
            Err(fault) => {
                is_failing = true;
                follower.warn(&format!("{fault}; its streams stay registered until their time to live is over"));
                0
            }
        };
        follower.tick();
        // A single slow list is more likely due to other load on the machine than to the server.
        let cost = took.min(std::mem::replace(&mut took_before, took));
        let next = started + interval(live, cost).min(follower.forget_after() / 4);
        let after_hook = next.min(started + took.saturating_mul(20).max(AFTER_HOOK));
        tokio::select! {
            () = sleep_until(next) => {}
            () = follower.hooked.notified() => sleep_until(after_hook).await,
        }
    }
}

fn interval(live: usize, took: Duration) -> Duration {
    let least = if live <= FEW { SHORT_INTERVAL } else { INTERVAL };
    took.saturating_mul(SHARE).clamp(least, MAX_INTERVAL)
}

/// Calls the reconciler at intervals for a server that has no list.
async fn tick(follower: &Follower) {
    loop {
        follower.tick();
        sleep(SHORT_INTERVAL).await;
    }
}

/// Lists each server once and prints the streams.
///
/// # Errors
///
/// Fails if a server cannot be listed; the other servers are still printed.
pub(super) async fn print_once(servers: Vec<Server>, out: &mut Output<'_>) -> Result {
    let (mut streams, mut status): (Vec<Stream>, Status) = (Vec::new(), Status::Done);
    for Server { kind, name, node, ids, api } in servers {
        let Some(api) = api else {
            out.note(format_args!("{name}: nothing to print, because this server has hooks but no list of streams"));
            continue;
        };
        match api.list().await {
            Ok(snapshot) => {
                let mut reconciler = Reconciler::new(kind.profile(), ids, node, name.clone());
                reconciler.snapshot(Duration::ZERO, Duration::ZERO, snapshot);
                streams.extend(reconciler.streams().cloned());
                for problem in reconciler.take_problems() {
                    out.note(format_args!("{name}: {problem}"));
                }
            }
            Err(fault) => {
                status = Status::Failed;
                out.report(&Failure::new(Status::Failed, format_args!("{name}: {fault}")));
            }
        }
    }
    out.streams(&streams, Timestamp::now(), &TableOptions::default())?;
    if streams.is_empty() && status == Status::Done {
        out.note("no live streams");
    }
    status.into_result()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interval_depends_on_the_number_of_streams_and_on_the_duration_of_a_list() {
        let seconds = Duration::from_secs;
        for (live, took_millis, expected) in [
            (0, 0, seconds(1)),
            (100, 10, seconds(1)),
            (101, 0, seconds(2)),
            (300, 25, Duration::from_millis(2_500)),
            (1, 50, seconds(5)),
            (1, 10_000, seconds(30)),
        ] {
            assert_eq!(interval(live, Duration::from_millis(took_millis)), expected, "{live} {took_millis}");
        }
    }
}
