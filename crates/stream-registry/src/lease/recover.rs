//! Recovery of a stream that its store has lost, or that may belong to another holder.

use std::sync::Arc;

use super::breaker::ProbeResult;
use super::cell::Cell;
use super::shared::Shared;
use super::status::LeaseEnd;
use super::write::{Permits, WritePermit, is_store_failure};
use crate::error::{Error, ErrorKind, Result};
use crate::registry::{Outcome, RegisterOptions};

/// Registers the stream again, with its epoch, `created_at` and counters.
pub(super) async fn recover(shared: Arc<Shared>, permit: WritePermit) -> ProbeResult {
    let mut permits = Permits::new(&shared, vec![permit]);
    let Some(permit) = permits.permits.first_mut() else { return ProbeResult::Inconclusive };
    match recover_with_permit(&shared, permit).await {
        Ok(()) => ProbeResult::Works,
        Err(error) if is_store_failure(&error) => ProbeResult::Fails(error),
        // The store has decided that the lease is over.
        Err(_) if permit.cell.lock().has_ended() => ProbeResult::Works,
        // For example, the store holds a record that cannot be decoded.
        Err(_) => ProbeResult::Inconclusive,
    }
}

/// Recovers the stream for a caller that already has the write permit. Ends the lease if the store reports that the
/// lease is over.
pub(super) async fn recover_with_permit(shared: &Shared, permit: &mut WritePermit) -> Result<()> {
    let cell = Arc::clone(&permit.cell);
    let record = cell.lock().record.clone();
    let options = RegisterOptions::default().lease().recover(cell.epoch.clone());
    let sent_at = shared.clock.boottime();
    let error = match shared.registry.register_with(&record, &options).await {
        Ok(registered) => {
            shared.observe_ttl(registered.ttl);
            match registered.outcome {
                Outcome::Renewed => permit.record_renewed(sent_at),
                _ => {
                    shared.counters.count_recovery();
                    permit.record_recovered(sent_at);
                }
            }
            return Ok(());
        }
        Err(error) => error,
    };
    match final_end(&cell, &error) {
        Some(end) => {
            tracing::info!(stream = %cell.id, ?end, "lease ended");
            shared.finish(&cell, end);
        }
        None => permit.record_failure(&error),
    }
    Err(error)
}

/// If the error of a recovery is final, returns why the lease ended.
fn final_end(cell: &Cell, error: &Error) -> Option<LeaseEnd> {
    match error.kind() {
        // This process unregistered the stream, but the reply was lost. Another holder may have registered it since.
        ErrorKind::NotFound | ErrorKind::NotHolder | ErrorKind::AlreadyExists if cell.lock().unconfirmed_release => {
            Some(LeaseEnd::Released)
        }
        ErrorKind::NotFound => Some(LeaseEnd::Removed),
        ErrorKind::NotHolder | ErrorKind::AlreadyExists => {
            Some(error.existing().map_or(LeaseEnd::Superseded { by: None }, LeaseEnd::superseded_by))
        }
        ErrorKind::Closed => Some(LeaseEnd::Closed),
        _ => None,
    }
}
