//! The rules that all stores share, as functions without a store.

use std::time::Duration;

use super::{Change, Guard, OnConflict, Outcome, RegisterOptions, Write, epoch};
use crate::error::{Error, ErrorKind, Result};
use crate::stream::limits::{MAX_LABELS, MAX_WRITES};
use crate::stream::{Epoch, Stream, Timestamp, encode};
use crate::watch::ChangeKind;

/// Refuses records outside their limits.
pub(crate) fn check_registration(stream: &Stream, options: &RegisterOptions) -> Result<()> {
    stream.check()?;
    // The same for both, so that what was accepted can be recovered.
    if options.lease || options.recover.is_some() {
        encode::check_leased_size(stream)?;
    }
    Ok(())
}

/// Refuses what a registration under a generated id cannot mean.
pub(crate) fn check_new(options: &RegisterOptions) -> Result<()> {
    match options.recover {
        Some(_) => Err(Error::invalid("a lease is recovered under its own id; give the id, or leave the recovery out")),
        None => Ok(()),
    }
}

/// What a registration meets in the store.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Met<'a> {
    /// The live record.
    pub(crate) existing: Option<&'a Stream>,
    /// For how long nobody wrote it, by the time that it has left.
    pub(crate) idle: Duration,
    /// The epoch of the end mark, or what stands for it.
    pub(crate) ended: Option<&'a str>,
}

/// Decides what a registration does, and makes the new record.
pub(crate) fn register(
    met: Met<'_>,
    given: &Stream,
    options: &RegisterOptions,
    now: Timestamp,
) -> Result<(Stream, Outcome)> {
    if let Some(epoch) = &options.recover {
        return recover(met, given, epoch, now);
    }
    let mut stream = given.clone();
    stream.created_at = now;
    stream.last_heartbeat = now;
    stream.epoch = None;
    stream.end_reason = None;
    stream.extra.forget_odd(&["epoch", "end_reason"]);
    let outcome = match (met.existing, options.on_conflict) {
        (None, _) => Outcome::Created,
        (Some(_), OnConflict::TakeOver) => Outcome::TakenOver,
        (Some(_), OnConflict::TakeOverIfStale(after)) if met.idle >= after => Outcome::TakenOver,
        (Some(existing), OnConflict::Reject | OnConflict::TakeOverIfStale(_))
            if same_publisher(existing, given) && (options.lease || existing.epoch.is_none()) =>
        {
            stream.created_at = existing.created_at;
            stream.extra.copy_odd("created_at", &existing.extra);
            Outcome::Renewed
        }
        (Some(existing), _) => return Err(Error::already_exists(existing.clone())),
    };
    if options.lease {
        let before = met.existing.and_then(Stream::epoch).map(Epoch::as_str);
        stream.epoch = Some(epoch::next(now, before.into_iter().chain(met.ended)));
    }
    Ok((stream, outcome))
}

/// Decides whether a holder's stream comes back, with its epoch, `created_at` and counters.
fn recover(met: Met<'_>, given: &Stream, epoch: &Epoch, now: Timestamp) -> Result<(Stream, Outcome)> {
    let still_there = |existing: &Stream| {
        let mut stream = existing.clone();
        stream.epoch = Some(epoch.clone());
        stream.extra.forget_odd(&["epoch"]);
        stream.last_heartbeat = now;
        Ok((stream, Outcome::Renewed))
    };
    let theirs = met.existing.and_then(Stream::epoch);
    match met.existing {
        // The same call again, or the stream was never gone.
        Some(existing) if theirs == Some(epoch) => return still_there(existing),
        Some(existing) if theirs > Some(epoch) => return Err(Error::superseded(existing.clone())),
        _ => {}
    }
    if let Some(ended) = met.ended.filter(|ended| *ended >= epoch.as_str()) {
        return Err(match met.existing {
            Some(existing) => Error::superseded(existing.clone()),
            None if ended > epoch.as_str() => Error::not_holder(&given.id),
            None => Error::new(ErrorKind::NotFound, "the stream was ended; register it anew").with_stream(&given.id),
        });
    }
    let outcome = match met.existing {
        None => Outcome::Created,
        // A whole-record write of another program dropped the epoch.
        Some(existing) if theirs.is_none() && same_origin(existing, given) => return still_there(existing),
        Some(existing) if theirs.is_none() => return Err(Error::superseded(existing.clone())),
        Some(_) => Outcome::TakenOver,
    };
    let mut stream = given.clone();
    stream.epoch = Some(epoch.clone());
    stream.end_reason = None;
    stream.extra.forget_odd(&["epoch", "end_reason"]);
    stream.last_heartbeat = now;
    Ok((stream, outcome))
}

/// Same type, same non-empty address, same node where both have one.
fn same_publisher(a: &Stream, b: &Stream) -> bool {
    !a.source_addr.is_empty() && same_origin(a, b)
}

fn same_origin(a: &Stream, b: &Stream) -> bool {
    let same_node = match (&a.node, &b.node) {
        (Some(a), Some(b)) => a == b,
        _ => true,
    };
    a.kind == b.kind && a.source_addr == b.source_addr && same_node
}

/// Checks the condition of a write or an end against the live record.
pub(crate) fn check_guard(stream: &Stream, guard: &Guard) -> Result<()> {
    let holds = match guard {
        Guard::None => stream.epoch.is_none(),
        Guard::Holder(epoch) => stream.epoch.as_ref() == Some(epoch),
        Guard::Force => true,
    };
    if holds { Ok(()) } else { Err(Error::not_holder(&stream.id)) }
}

/// Checks what can be said of a batch without the records.
pub(crate) fn check_batch(writes: &[Write]) -> Result<()> {
    if writes.len() > MAX_WRITES {
        return Err(Error::invalid(format!("at most {MAX_WRITES} writes go in one call, not {}", writes.len())));
    }
    Ok(())
}

/// Checks what can be said of one write without the record.
pub(crate) fn check_write(write: &Write) -> Result<()> {
    match &write.change {
        Change::Heartbeat => Ok(()),
        Change::Status(status) => Ok(status.check()?),
        Change::Stats(stats) => Ok(stats.check()?),
        Change::Patch(patch) => Ok(patch.check()?),
        Change::Update(stream) if stream.id != write.id => {
            Err(Error::invalid("the record's id is not the one that the write is about"))
        }
        Change::Update(stream) => Ok(stream.check()?),
    }
}

/// Makes the record after a change that was checked; the record itself stays as it is on an error.
pub(crate) fn apply(stream: &Stream, change: &Change, now: Timestamp) -> Result<Stream> {
    let mut next = stream.clone();
    apply_in_place(&mut next, change, now)?;
    Ok(next)
}

/// As [`apply`], in place. A patch that fails may leave the record half changed.
pub(crate) fn apply_in_place(stream: &mut Stream, change: &Change, now: Timestamp) -> Result<()> {
    match change {
        Change::Heartbeat => {}
        Change::Status(status) => stream.set_status(status.clone()),
        Change::Stats(stats) => stream.update_stats(stats),
        Change::Patch(patch) => {
            stream.apply_patch(patch);
            if stream.labels.len() > MAX_LABELS {
                return Err(Error::invalid(format!("the stream would have more than {MAX_LABELS} labels")));
            }
            match stream.epoch {
                Some(_) => encode::check_leased_size(stream)?,
                None => encode::measure(stream)?,
            }
        }
        Change::Update(given) => {
            let mut next = (**given).clone();
            next.created_at = stream.created_at;
            next.extra.copy_odd("created_at", &stream.extra);
            next.epoch.clone_from(&stream.epoch);
            next.extra.copy_odd("epoch", &stream.extra);
            if next.epoch.is_some() {
                encode::check_leased_size(&next)?;
            }
            *stream = next;
        }
    }
    stream.last_heartbeat = now;
    Ok(())
}

/// The error of a write or registration through a read-only store.
pub(crate) fn read_only() -> Error {
    Error::new(ErrorKind::Denied, "the registry was opened read-only; open it without that to write")
}

/// Names operation and stream of a failed write.
pub(crate) fn name_write(error: Error, write: &Write) -> Error {
    error.with_stream(&write.id).with_operation(write.change.operation())
}

/// Marks an end: the last record with its reason.
pub(crate) fn ended(mut last: Stream, reason: &crate::stream::EndReason) -> Stream {
    if let Some(reason) = reason.as_str() {
        last.end_reason = Some(reason.to_owned());
    }
    last
}

/// An operation id was used for a call about another stream.
pub(crate) fn operation_reused() -> Error {
    Error::invalid("this operation id was used for another call; give each call its own")
}

/// Returns the change that a registration is in the feed; `None` if a holder only confirmed that its stream is live.
pub(crate) fn change_of_registration(
    outcome: Outcome,
    before: Option<&Stream>,
    options: &RegisterOptions,
) -> Option<ChangeKind> {
    match outcome {
        Outcome::Renewed if options.recover.is_some() && before.and_then(Stream::epoch) == options.recover.as_ref() => {
            None
        }
        Outcome::Created => Some(ChangeKind::Registered),
        Outcome::Renewed => Some(ChangeKind::Updated),
        Outcome::TakenOver => Some(ChangeKind::TakenOver),
    }
}

/// Returns the change that a write is in the feed; `None` for a write that changes no state, such as a status that was
/// set already.
pub(crate) fn change_of_write(change: &Change, before: &Stream) -> Option<ChangeKind> {
    match change {
        Change::Heartbeat | Change::Stats(_) => None,
        Change::Status(status) => (*status != before.status).then_some(ChangeKind::Status),
        Change::Patch(_) => Some(ChangeKind::Patched),
        Change::Update(_) => Some(ChangeKind::Updated),
    }
}
