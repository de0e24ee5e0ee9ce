//! Runs behaviours concurrently.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::behaviours::{Behaviour, Lifetime, behaviours};
use super::case::{Case, Fault};
use super::report::{Report, Verdict};
use super::subject::Subject;

/// Number of behaviours that run at once. A greater number would overload a small machine.
const CONCURRENCY: usize = 12;
/// Time limit of one behaviour. The limit is long enough even for a heavily overloaded machine.
const DEADLINE: Duration = Duration::from_secs(180);
/// Time to live for behaviours in which no stream should expire.
const LONG: Duration = Duration::from_secs(300);
/// Time to live for behaviours in which streams should expire. Each further try doubles this time.
const SHORT: Duration = Duration::from_secs(1);
/// Maximum number of tries for a behaviour. Only a machine that is too busy to check streams in time needs a second
/// try.
const TRIES: u32 = 5;

/// Runs every behaviour on a store and returns the verdicts.
///
/// The run needs a Tokio runtime with time enabled. It takes a few seconds on a store whose clock cannot be moved.
///
/// # Cancel safety
///
/// If the future is dropped, the running behaviours stop at their next await.
pub async fn run(subject: Arc<dyn Subject>) -> Report {
    run_matching(subject, "").await
}

/// Runs the behaviours whose names start with `prefix`, such as a clause (`register/`) or a full name; see [`run`].
pub async fn run_matching(subject: Arc<dyn Subject>, prefix: &str) -> Report {
    let permits = Arc::new(Semaphore::new(CONCURRENCY));
    let mut running = JoinSet::new();
    let chosen: Vec<_> = behaviours().into_iter().filter(|behaviour| behaviour.name.starts_with(prefix)).collect();
    for (index, behaviour) in chosen.iter().copied().enumerate() {
        let (subject, permits) = (Arc::clone(&subject), Arc::clone(&permits));
        running.spawn(async move {
            let permit = permits.acquire_owned().await;
            // Each behaviour runs in its own task, so that a panic fails only this behaviour.
            let mut one = JoinSet::new();
            one.spawn(timeout(DEADLINE, run_one(subject, behaviour)));
            let verdict = match one.join_next().await {
                Some(Ok(Ok(verdict))) => verdict,
                Some(Ok(Err(_))) => Verdict::Failed(format!("the behaviour did not end within {DEADLINE:?}")),
                Some(Err(fault)) => Verdict::Failed(format!("the behaviour panicked: {fault}")),
                None => Verdict::Failed("the behaviour was not run".to_owned()),
            };
            drop(permit);
            (index, verdict)
        });
    }
    let mut verdicts: Vec<_> = chosen
        .iter()
        .map(|behaviour| (behaviour.name, Verdict::Failed("the behaviour was not run".to_owned())))
        .collect();
    while let Some(done) = running.join_next().await {
        if let Ok((index, verdict)) = done {
            verdicts[index].1 = verdict;
        }
    }
    Report::new(verdicts)
}

async fn run_one(subject: Arc<dyn Subject>, behaviour: Behaviour) -> Verdict {
    let mut ttl = match behaviour.lifetime {
        Lifetime::Long => LONG,
        Lifetime::Short => SHORT,
    };
    for _ in 0..TRIES {
        let instance = match subject.open(ttl).await {
            Ok(instance) => instance,
            Err(error) => return Verdict::Failed(format!("cannot open a registry of the store under test: {error}")),
        };
        let case = Case::new(instance, ttl);
        match (behaviour.check)(&case).await {
            Ok(()) => return Verdict::Passed,
            Err(Fault::Failed(why)) => return Verdict::Failed(why),
            Err(Fault::NoHook(hook)) => return Verdict::NotApplicable(hook),
            Err(Fault::TooLate) => ttl *= 2,
        }
    }
    Verdict::Failed("the machine was too busy to check the streams before they expired; try again".to_owned())
}
