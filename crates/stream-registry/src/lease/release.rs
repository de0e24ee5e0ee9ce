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
use crate::registry::{EndOptions, Guard};
use crate::stream::{EndReason, OperationId, Stream};
use crate::{Error, ErrorKind, Operation, Result};

/// For how long an end is tried again while the store fails.
const PATIENCE: Duration = Duration::from_secs(5);
/// Ends under way at once when all leases are released.
const ENDS_AT_ONCE: usize = 64;

pub(super) async fn release(shared: &Arc<Shared>, cell: &Arc<Cell>, reason: &EndReason) -> Result<Stream> {
    let named = |error: Error| error.with_operation(Operation::Unregister);
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
        run(shared, &mut turns.turns).await;
    }
    let [turn] = turns.turns.as_mut_slice() else { unreachable!("one turn was put in") };
    let ended = end(shared, turn, reason).await;
    if let Err(error) = &ended {
        turn.fail(error);
    }
    ended.map_err(named)
}

async fn end(shared: &Shared, turn: &mut Turn, reason: &EndReason) -> Result<Stream> {
    let cell = Arc::clone(&turn.cell);
    let patience = Instant::now() + PATIENCE;
    let mut failures = 0;
    let mut looked = false;
    loop {
        // The name of a call whose answer was lost is used again: then it is the same call.
        let operation = cell.lock().release.get_or_insert_with(|| Box::new(OperationId::generate())).clone();
        let guard = Guard::Holder(cell.epoch.clone());
        let options = EndOptions::default().guard(guard).reason(reason.clone()).operation(*operation);
        turn.reopen();
        let error = match shared.registry.end(&cell.id, &options).await {
            Ok(last) => {
                shared.finish(&cell, LeaseEnd::Released);
                return Ok(last);
            }
            Err(error) => error,
        };
        let lost_before = failures > 0 && error.kind() == ErrorKind::NotFound;
        if !error.may_have_applied() && !error.is_retryable() && !lost_before {
            cell.lock().release = None;
        }
        match error.kind() {
            ErrorKind::NotFound => {
                let own = cell.lock().release.is_some();
                shared.finish(&cell, if own { LeaseEnd::Released } else { LeaseEnd::Removed });
            }
            ErrorKind::Closed => {
                shared.finish(&cell, LeaseEnd::Closed);
            }
            // Another program may have dropped the epoch.
            ErrorKind::NotHolder if !looked => {
                looked = true;
                recover::ask(shared, turn).await?;
                continue;
            }
            _ if error.is_retryable() => {
                failures += 1;
                let pause = shared.pace().back_off(failures);
                if Instant::now() + pause < patience {
                    tokio::time::sleep(pause).await;
                    continue;
                }
            }
            _ => {}
        }
        return Err(error);
    }
}

/// Ends all leases, and returns what failed.
pub(super) async fn release_all(shared: &Arc<Shared>, reason: &EndReason) -> Vec<Error> {
    let mut cells = shared.cells().into_iter();
    let mut under_way = JoinSet::new();
    let mut failed = Vec::new();
    loop {
        for cell in cells.by_ref().take(ENDS_AT_ONCE - under_way.len()) {
            let (shared, reason) = (Arc::clone(shared), reason.clone());
            under_way.spawn(async move { release(&shared, &cell, &reason).await.map(|_| ()) });
        }
        match under_way.join_next().await {
            None => return failed,
            Some(Ok(Ok(()))) => {}
            Some(Ok(Err(error))) => failed.push(error),
            Some(Err(error)) => failed.push(
                Error::new(ErrorKind::Internal, "the end of a lease broke off; release it again").with_source(error),
            ),
        }
    }
}
