//! Releases: the holder unregisters its streams.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::cell::Cell;
use super::recover::recover_with_permit;
use super::shared::Shared;
use super::status::LeaseEnd;
use super::write::{Permits, Standing, WritePermit, write_all};
use crate::error::{Error, ErrorKind, Operation, Result};
use crate::registry::{Guard, UnregisterOptions, rules};
use crate::stream::{EndReason, Stream};

/// Time for which a release is retried while the store fails.
const RETRY_FOR: Duration = Duration::from_secs(5);
/// Maximum number of releases in flight when all leases are released. Enough for a full batch while another batch is in
/// flight.
const MAX_IN_FLIGHT: usize = 256;

pub(super) async fn release(shared: &Arc<Shared>, cell: &Arc<Cell>, reason: &EndReason) -> Result<Stream> {
    release_by(shared, cell, reason, Instant::now() + RETRY_FOR).await
}

/// Releases a lease. Starts no retry after the deadline, but waits for the call in flight.
async fn release_by(shared: &Arc<Shared>, cell: &Arc<Cell>, reason: &EndReason, deadline: Instant) -> Result<Stream> {
    let with_context = |error: Error| error.with_operation(Operation::Unregister).with_stream(&cell.id);
    // A write in flight has the write permit, so the release waits for that write.
    let (permit, standing) = cell
        .wait_for(|state| match state.ended_error(&cell.id) {
            Some(error) => Some(Err(error)),
            None => WritePermit::take_locked(shared, cell, state, shared.clock.boottime()).map(Ok),
        })
        .await?;
    let mut permits = Permits::new(shared, vec![permit]);
    if standing == Standing::Held && permits.permits.iter().any(WritePermit::has_more) {
        // Pending reports are written first, so that the last record includes them. If the store fails, the
        // unregistration below reports the error.
        let failure = write_all(shared, &mut permits.permits).await;
        if let Some(error) = failure.filter(|error| error.is_retryable() && Instant::now() >= deadline) {
            return Err(with_context(error));
        }
    }
    let Some(permit) = permits.permits.first_mut() else {
        return Err(with_context(Error::new(ErrorKind::Internal, "the write permit is missing; release it again")));
    };
    let result = unregister(shared, permit, reason, deadline).await;
    if let Err(error) = &result {
        permit.record_failure(error);
    }
    result.map_err(with_context)
}

async fn unregister(
    shared: &Shared,
    permit: &mut WritePermit,
    reason: &EndReason,
    deadline: Instant,
) -> Result<Stream> {
    let cell = Arc::clone(&permit.cell);
    let mut failures = 0;
    let mut recovered = false;
    loop {
        // The flag is set before the call, because the call may be applied even if this future is dropped.
        let was_unconfirmed = std::mem::replace(&mut cell.lock().unconfirmed_release, true);
        let options = UnregisterOptions::default().guard(Guard::Holder(cell.epoch.clone())).reason(reason.clone());
        permit.reset();
        let mut error = match shared.registry.unregister_with(&cell.id, &options).await {
            Ok(last) => {
                shared.finish(&cell, LeaseEnd::Released);
                return Ok(last);
            }
            Err(error) => error,
        };
        if !error.may_have_applied() {
            cell.lock().unconfirmed_release = was_unconfirmed;
        }
        match error.kind() {
            ErrorKind::NotFound => {
                shared.finish(&cell, if was_unconfirmed { LeaseEnd::Released } else { LeaseEnd::Removed });
            }
            ErrorKind::Closed => {
                shared.finish(&cell, LeaseEnd::Closed);
            }
            // Another program may have removed the epoch from the record. A recovery restores the epoch, but the
            // other program may remove it again.
            ErrorKind::NotHolder => match recover_with_permit(shared, permit).await {
                Ok(()) if !std::mem::replace(&mut recovered, true) => continue,
                Ok(()) => {
                    error = Error::new(
                        ErrorKind::Unavailable,
                        "another program removes the epoch from the record; stop that program and release again",
                    );
                }
                Err(failed) => error = failed,
            },
            _ => {}
        }
        if was_unconfirmed && error.kind() != ErrorKind::Closed && cell.lock().has_ended() {
            // An earlier call has unregistered the stream, but its reply was lost.
            return Ok(rules::with_end_reason(cell.lock().record.clone(), reason));
        }
        if error.is_retryable() {
            failures += 1;
            let pause = shared.schedule().backoff(failures);
            if Instant::now() + pause < deadline {
                tokio::time::sleep(pause).await;
                continue;
            }
        }
        return Err(error);
    }
}

/// Releases all leases and returns the errors. All leases share one deadline.
pub(super) async fn release_all(shared: &Arc<Shared>, reason: &EndReason) -> Vec<Error> {
    let deadline = Instant::now() + RETRY_FOR;
    let mut cells = shared.cells().into_iter();
    let mut in_flight = JoinSet::new();
    let mut errors = Vec::new();
    // The error of the release that finished last, if that error was retryable. Such an error means that the store
    // may be down.
    let mut outage: Option<Error> = None;
    loop {
        if let Some(error) = outage.as_ref().filter(|_| Instant::now() >= deadline) {
            let not_attempted = |cell: Arc<Cell>| error.clone().with_may_have_applied(false).with_stream(&cell.id);
            errors.extend(cells.by_ref().map(not_attempted));
        }
        for cell in cells.by_ref().take(MAX_IN_FLIGHT - in_flight.len()) {
            let (shared, reason) = (Arc::clone(shared), reason.clone());
            in_flight.spawn(async move { release_by(&shared, &cell, &reason, deadline).await.map(|_| ()) });
        }
        match in_flight.join_next().await {
            None => return errors,
            Some(Ok(Ok(()))) => outage = None,
            Some(Ok(Err(error))) => {
                outage = Some(&error).filter(|error| error.is_retryable()).cloned();
                errors.push(error);
            }
            Some(Err(error)) => errors.push(
                Error::new(ErrorKind::Internal, "a release task failed; release the leases again").with_source(error),
            ),
        }
    }
}
