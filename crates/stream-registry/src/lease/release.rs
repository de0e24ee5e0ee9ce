//! The graceful end of leases.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::cell::Cell;
use super::handle::LeaseEnd;
use super::recover;
use super::shared::Shared;
use super::write::{Turn, Turns, run};
use crate::error::{Error, ErrorKind, Operation, Result};
use crate::registry::{Guard, UnregisterOptions};
use crate::stream::{EndReason, OperationId, Stream};

/// For how long an end is tried again while the store fails.
const PATIENCE: Duration = Duration::from_secs(5);
/// Ends under way at once when all leases are released.
const ENDS_AT_ONCE: usize = 64;

pub(super) async fn release(shared: &Arc<Shared>, cell: &Arc<Cell>, reason: &EndReason) -> Result<Stream> {
    release_by(shared, cell, reason, Instant::now() + PATIENCE).await
}

/// Tries while the store fails until this time; what is under way then is waited for.
async fn release_by(shared: &Arc<Shared>, cell: &Arc<Cell>, reason: &EndReason, until: Instant) -> Result<Stream> {
    let named = |error: Error| error.with_operation(Operation::Unregister).with_stream(&cell.id);
    // A write that is under way ends first.
    let (turn, recovering) = cell
        .watch(|state| match state.over(&cell.id) {
            Some(over) => Some(Err(over)),
            None => Turn::take_locked(shared, cell, state, shared.clock.lived()).map(Ok),
        })
        .await?;
    let mut turns = Turns::new(shared, vec![turn]);
    if !recovering && turns.turns.iter().any(Turn::has_more) {
        // For the last record. Where it fails, the end says why.
        let failed = run(shared, &mut turns.turns).await;
        if let Some(error) = failed.filter(|error| error.is_retryable() && Instant::now() >= until) {
            return Err(named(error));
        }
    }
    let [turn] = turns.turns.as_mut_slice() else { unreachable!("one turn was put in") };
    let ended = end(shared, turn, reason, until).await;
    if let Err(error) = &ended {
        turn.fail(error);
    }
    ended.map_err(named)
}

async fn end(shared: &Shared, turn: &mut Turn, reason: &EndReason, until: Instant) -> Result<Stream> {
    let cell = Arc::clone(&turn.cell);
    let mut failures = 0;
    let mut looked = false;
    loop {
        // The name of a call whose answer was lost is used again: then it is the same call.
        let before = cell.lock().release.clone();
        let operation = before.clone().unwrap_or_else(|| Box::new(OperationId::generate()));
        cell.lock().release = Some(operation.clone());
        let guard = Guard::Holder(cell.epoch.clone());
        let options = UnregisterOptions::default().guard(guard).reason(reason.clone()).operation(*operation);
        turn.reopen();
        let mut error = match shared.registry.unregister_with(&cell.id, &options).await {
            Ok(last) => {
                shared.finish(&cell, LeaseEnd::Released);
                return Ok(last);
            }
            Err(error) => error,
        };
        if !error.may_have_applied() {
            cell.lock().release.clone_from(&before);
        }
        match error.kind() {
            ErrorKind::NotFound => {
                shared.finish(&cell, if before.is_some() { LeaseEnd::Released } else { LeaseEnd::Removed });
            }
            ErrorKind::Closed => {
                shared.finish(&cell, LeaseEnd::Closed);
            }
            // Another program may have dropped the epoch, and may do so again.
            ErrorKind::NotHolder => match recover::ask(shared, turn).await {
                Ok(_) if !std::mem::replace(&mut looked, true) => continue,
                Ok(_) => {
                    error = Error::new(
                        ErrorKind::Unavailable,
                        "another program writes the record without its epoch; see that it keeps it, and release it again",
                    );
                }
                Err(failed) => error = failed,
            },
            _ => {}
        }
        if error.is_retryable() {
            failures += 1;
            let pause = shared.pace().back_off(failures);
            if Instant::now() + pause < until {
                tokio::time::sleep(pause).await;
                continue;
            }
        }
        return Err(error);
    }
}

/// Ends all leases, and returns what failed. A store that fails is tried for as long as for one lease.
pub(super) async fn release_all(shared: &Arc<Shared>, reason: &EndReason) -> Vec<Error> {
    let until = Instant::now() + PATIENCE;
    let mut cells = shared.cells().into_iter();
    let mut under_way = JoinSet::new();
    let mut failed = Vec::new();
    let mut away: Option<Error> = None;
    loop {
        if let Some(error) = away.as_ref().filter(|_| Instant::now() >= until) {
            let untried = |cell: Arc<Cell>| error.clone().with_may_have_applied(false).with_stream(&cell.id);
            failed.extend(cells.by_ref().map(untried));
        }
        for cell in cells.by_ref().take(ENDS_AT_ONCE - under_way.len()) {
            let (shared, reason) = (Arc::clone(shared), reason.clone());
            under_way.spawn(async move { release_by(&shared, &cell, &reason, until).await.map(|_| ()) });
        }
        match under_way.join_next().await {
            None => return failed,
            Some(Ok(Ok(()))) => away = None,
            Some(Ok(Err(error))) => {
                away = Some(&error).filter(|error| error.is_retryable()).cloned();
                failed.push(error);
            }
            Some(Err(error)) => failed.push(
                Error::new(ErrorKind::Internal, "the end of a lease broke off; release it again").with_source(error),
            ),
        }
    }
}
