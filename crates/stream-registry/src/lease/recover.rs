//! The way back of a stream that its store does not know any more, or not as ours.

use std::sync::Arc;

use super::cell::Cell;
use super::gate::Word;
use super::handle::LeaseEnd;
use super::shared::Shared;
use super::write::{Turn, Turns, is_store};
use crate::error::{Error, ErrorKind};
use crate::registry::{Outcome, RegisterOptions};

/// Asks for the stream, with its epoch, `created_at` and counters.
pub(super) async fn recover(shared: Arc<Shared>, turn: Turn) -> Word {
    let mut turns = Turns::new(&shared, vec![turn]);
    let Some(turn) = turns.turns.first_mut() else { return Word::None };
    match ask(&shared, turn).await {
        Ok(()) => Word::Works,
        Err(error) if is_store(&error) => Word::Fails(error),
        Err(_) if turn.cell.lock().is_over() => Word::Works,
        // One that cannot be read, say.
        Err(_) => Word::None,
    }
}

/// As [`recover`], within a turn. On an error other than those of a failed store the lease has ended.
pub(super) async fn ask(shared: &Shared, turn: &mut Turn) -> Result<(), Error> {
    let cell = Arc::clone(&turn.cell);
    let record = cell.lock().record.clone();
    let options = RegisterOptions::default().lease(true).recover(cell.epoch.clone());
    let sent = shared.clock.lived();
    let error = match shared.registry.register_with(&record, &options).await {
        Ok(registered) => {
            shared.told(registered.ttl);
            match registered.outcome {
                Outcome::Renewed => turn.found(sent),
                _ => turn.recovered(sent),
            }
            return Ok(());
        }
        Err(error) => error,
    };
    match end_of(&cell, &error) {
        Some(end) => {
            tracing::info!(stream = %cell.id, ?end, "a lease has ended");
            shared.finish(&cell, end);
        }
        None => {
            turn.fail(&error);
        }
    }
    Err(error)
}

/// What the answer to a recovery means, if it is final.
fn end_of(cell: &Cell, error: &Error) -> Option<LeaseEnd> {
    match error.kind() {
        // Our own end, whose answer was lost.
        ErrorKind::NotFound if cell.lock().release.is_some() => Some(LeaseEnd::Released),
        ErrorKind::NotFound => Some(LeaseEnd::Removed),
        ErrorKind::NotHolder | ErrorKind::AlreadyExists => {
            let by = error.existing().map(|by| by.node.clone().unwrap_or_else(|| by.source_addr.clone()));
            Some(LeaseEnd::Superseded { by: by.filter(|by| !by.is_empty()) })
        }
        ErrorKind::Closed => Some(LeaseEnd::Closed),
        _ => None,
    }
}
