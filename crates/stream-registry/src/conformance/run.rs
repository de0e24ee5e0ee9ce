//! Running behaviours, many at once.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::behaviours::{Behaviour, Life, behaviours};
use super::case::{Case, Fault};
use super::report::{Report, Verdict};
use super::subject::Subject;

/// Behaviours that mostly wait go on beside one another; more at once would make a small machine late.
const AT_ONCE: usize = 12;
/// No behaviour takes nearly so long, on a machine with ten times the load it can bear: one that does hangs.
const DEADLINE: Duration = Duration::from_secs(180);
/// The time to live where nothing is to expire.
const LONG: Duration = Duration::from_secs(300);
/// The time to live where something is to expire, at the first try.
const SHORT: Duration = Duration::from_secs(1);
/// A machine that was too busy to look in time gets twice the time to live, this often.
const TRIES: u32 = 5;

/// Runs every behaviour on a store, and returns all verdicts.
///
/// Takes a few seconds on a store whose time cannot be moved. Needs a Tokio runtime with time.
///
/// # Cancel safety
///
/// Behaviours that are under way stop at their next await.
pub async fn run(subject: Arc<dyn Subject>) -> Report {
    run_matching(subject, "").await
}

/// As [`run`], for the behaviours whose names begin with `prefix`: a clause (`register/`), or one whole name.
pub async fn run_matching(subject: Arc<dyn Subject>, prefix: &str) -> Report {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut running = JoinSet::new();
    let chosen: Vec<_> = behaviours().into_iter().filter(|behaviour| behaviour.name.starts_with(prefix)).collect();
    for (at, behaviour) in chosen.iter().copied().enumerate() {
        let (subject, places) = (Arc::clone(&subject), Arc::clone(&places));
        running.spawn(async move {
            let place = places.acquire_owned().await;
            // A task of its own, whose panic is this behaviour's failure and no other's.
            let mut one = JoinSet::new();
            one.spawn(timeout(DEADLINE, judge(subject, behaviour)));
            let verdict = match one.join_next().await {
                Some(Ok(Ok(verdict))) => verdict,
                Some(Ok(Err(_))) => Verdict::Failed(format!("does not end within {DEADLINE:?}")),
                Some(Err(fault)) => Verdict::Failed(format!("panics: {fault}")),
                None => Verdict::Failed("was not run".to_owned()),
            };
            drop(place);
            (at, verdict)
        });
    }
    let mut verdicts: Vec<_> =
        chosen.iter().map(|behaviour| (behaviour.name, Verdict::Failed("was not run".to_owned()))).collect();
    while let Some(done) = running.join_next().await {
        if let Ok((at, verdict)) = done {
            verdicts[at].1 = verdict;
        }
    }
    Report::new(verdicts)
}

async fn judge(subject: Arc<dyn Subject>, behaviour: Behaviour) -> Verdict {
    let mut ttl = match behaviour.life {
        Life::Long => LONG,
        Life::Short => SHORT,
    };
    for _ in 0..TRIES {
        let instance = match subject.open(ttl).await {
            Ok(instance) => instance,
            Err(error) => return Verdict::Failed(format!("the subject does not open: {error}")),
        };
        let case = Case::new(instance, ttl);
        match (behaviour.check)(&case).await {
            Ok(()) => return Verdict::Passed,
            Err(Fault::Failed(why)) => return Verdict::Failed(why),
            Err(Fault::NoHook(hook)) => return Verdict::NotApplicable(hook),
            Err(Fault::TooLate) => ttl *= 2,
        }
    }
    Verdict::Failed("this machine was too busy each time to look before the time to live was over".to_owned())
}
