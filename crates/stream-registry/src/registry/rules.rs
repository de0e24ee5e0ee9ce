//! The rules that all stores share, as pure functions.

use std::time::Duration;

use super::epoch;
use super::options::{Change, Guard, OnConflict, Outcome, RegisterOptions, SameSource, Write};
use crate::error::{Error, ErrorKind, Result};
use crate::stream::limits::{MAX_LABELS, MAX_WRITES};
use crate::stream::{Epoch, Stream, Timestamp, encode};
use crate::watch::{ChangeKind, WatchFrom, vector};

/// Checks that a record is within its limits.
pub(crate) fn check_registration(stream: &Stream, options: &RegisterOptions) -> Result<()> {
    stream.check()?;
    // The same limit applies to a new lease and to a recovery, so a record that was leased can always be recovered.
    if options.lease || options.recover.is_some() {
        encode::check_leased_size(stream)?;
    }
    Ok(())
}

/// Rejects a start position that cannot be the revision of any store of this crate.
///
/// A revision of another store or of an earlier feed passes this check, because the server that a watch reconnects to
/// may have changed its store. Such a watch starts with a `Resync`.
pub(crate) fn check_start(from: &WatchFrom) -> Result<()> {
    let WatchFrom::Revision(revision) = from else { return Ok(()) };
    let is_number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.parse::<u64>().is_ok();
    let is_entry_id = |id: &str| id.split_once('-').is_some_and(|(a, b)| is_number(a) && is_number(b));
    let revision = revision.as_str();
    let is_revision = match revision.split_once('.') {
        // Redis Cluster: a position in the feed of each shard.
        _ if vector::has_form(revision) => true,
        // Redis: the ids of the first entry of the feed and of the entry at the position.
        Some((generation, last)) => is_entry_id(generation) && is_entry_id(last),
        // Memory: 16 hexadecimal digits that identify the feed, and the number of the event.
        None => revision.split_once('-').is_some_and(|(generation, number)| {
            generation.len() == 16 && generation.bytes().all(|byte| byte.is_ascii_hexdigit()) && is_number(number)
        }),
    };
    if is_revision { Ok(()) } else { Err(Error::invalid("invalid revision; expected one from an event or a list")) }
}

/// Rejects options that contradict a generated id.
pub(crate) fn check_new(options: &RegisterOptions) -> Result<()> {
    match options.recover {
        Some(_) => Err(Error::invalid("a generated id cannot recover a lease; give the id of the lease")),
        None => Ok(()),
    }
}

/// The record that the store holds under the id being registered, if any.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Found<'a> {
    /// The live record.
    pub(crate) existing: Option<&'a Stream>,
    /// The time since the last write to the live record, computed from its remaining time to live.
    pub(crate) idle: Duration,
    /// The content of the tombstone under this id.
    pub(crate) tombstone: Option<&'a str>,
}

/// Decides the outcome of a registration and returns the new record.
pub(crate) fn register(
    found: Found<'_>,
    given: &Stream,
    options: &RegisterOptions,
    now: Timestamp,
) -> Result<(Stream, Outcome)> {
    if let Some(epoch) = &options.recover {
        return recover(found, given, epoch, now);
    }
    let mut stream = given.clone();
    stream.created_at = now;
    stream.last_heartbeat = now;
    stream.epoch = None;
    stream.end_reason = None;
    stream.extra.discard_nonconforming(&["epoch", "end_reason"]);
    let outcome = match (found.existing, options.on_conflict) {
        (None, _) => Outcome::Created,
        (Some(_), OnConflict::TakeOver) => Outcome::TakenOver,
        (Some(_), OnConflict::TakeOverIfStale(after)) if found.idle >= after => Outcome::TakenOver,
        (Some(existing), OnConflict::Reject | OnConflict::TakeOverIfStale(_))
            if same_publisher(existing, given, options.same_source) && (options.lease || existing.epoch.is_none()) =>
        {
            stream.created_at = existing.created_at;
            stream.extra.copy_nonconforming("created_at", &existing.extra);
            Outcome::Renewed
        }
        (Some(existing), _) => return Err(Error::already_exists(existing.clone())),
    };
    if options.lease {
        let previous = found.existing.and_then(Stream::epoch).map(Epoch::as_str);
        stream.epoch = Some(epoch::next(now, previous.into_iter().chain(found.tombstone)));
    }
    Ok((stream, outcome))
}

/// Decides a recovery: whether the holder of a lease gets its stream back with the same epoch, `created_at` and
/// counters.
fn recover(found: Found<'_>, given: &Stream, epoch: &Epoch, now: Timestamp) -> Result<(Stream, Outcome)> {
    let current = found.existing.and_then(Stream::epoch);
    match found.existing {
        // Either the call was sent twice, or the store never lost the stream.
        Some(existing) if current == Some(epoch) => {
            return Ok((Stream { last_heartbeat: now, ..existing.clone() }, Outcome::Renewed));
        }
        Some(existing) if current > Some(epoch) => return Err(Error::superseded(existing.clone())),
        _ => {}
    }
    if let Some(tombstone) = found.tombstone.filter(|tombstone| *tombstone >= epoch.as_str()) {
        return Err(match found.existing {
            Some(existing) => Error::superseded(existing.clone()),
            None if tombstone > epoch.as_str() => Error::not_holder(&given.id),
            None => {
                Error::new(ErrorKind::NotFound, "the stream was unregistered; register it again").with_stream(&given.id)
            }
        });
    }
    let mut stream = given.clone();
    let outcome = match found.existing {
        None => Outcome::Created,
        // Another program replaced the whole record. It dropped the epoch, and probably all fields that it does not
        // know, such as the labels.
        Some(existing) if current.is_none() && same_origin(existing, given) => {
            stream.fill_unset(existing);
            if encode::check_leased_size(&stream).is_err() {
                stream.clone_from(given);
            }
            Outcome::Renewed
        }
        Some(existing) if current.is_none() => return Err(Error::superseded(existing.clone())),
        Some(_) => Outcome::TakenOver,
    };
    stream.epoch = Some(epoch.clone());
    stream.end_reason = None;
    stream.extra.discard_nonconforming(&["epoch", "end_reason"]);
    stream.last_heartbeat = now;
    Ok((stream, outcome))
}

/// Returns whether two records come from the same publisher: the types are equal, the addresses or their hosts are
/// equal and not empty, and the nodes do not differ. With [`SameSource::Node`], only the nodes must be equal and not
/// empty.
fn same_publisher(a: &Stream, b: &Stream, same_source: SameSource) -> bool {
    let (a_source, b_source) = match same_source {
        SameSource::Address => (&*a.source_addr, &*b.source_addr),
        SameSource::Host => (host(&a.source_addr), host(&b.source_addr)),
        SameSource::Node => return a.node.as_ref().is_some_and(|node| !node.is_empty()) && a.node == b.node,
    };
    !a_source.is_empty() && a_source == b_source && same_kind_and_node(a, b)
}

fn same_origin(a: &Stream, b: &Stream) -> bool {
    a.source_addr == b.source_addr && same_kind_and_node(a, b)
}

fn same_kind_and_node(a: &Stream, b: &Stream) -> bool {
    let same_node = match (&a.node, &b.node) {
        (Some(a), Some(b)) => a == b,
        _ => true,
    };
    a.kind == b.kind && same_node
}

/// Returns the host of an address `host:port`, with the brackets of an IPv6 address. An address in any other form is
/// its own host.
fn host(address: &str) -> &str {
    match address.rsplit_once(':') {
        Some((host, port)) if is_port(port) && (host.ends_with(']') || !host.contains(':')) => host,
        _ => address,
    }
}

fn is_port(port: &str) -> bool {
    !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())
}

/// Checks the guard of a write or an unregistration against the live record.
pub(crate) fn check_guard(stream: &Stream, guard: &Guard) -> Result<()> {
    let holds = match guard {
        Guard::None => stream.epoch.is_none(),
        Guard::Holder(epoch) => stream.epoch.as_ref() == Some(epoch),
        Guard::Force => true,
    };
    if holds { Ok(()) } else { Err(Error::not_holder(&stream.id)) }
}

/// Checks a batch of writes before the records are read.
pub(crate) fn check_batch(writes: &[Write]) -> Result<()> {
    if writes.len() > MAX_WRITES {
        return Err(Error::invalid(format!(
            "too many writes in one call; expected at most {MAX_WRITES}, got {}",
            writes.len()
        )));
    }
    Ok(())
}

/// Checks one write before the record is read.
pub(crate) fn check_write(write: &Write) -> Result<()> {
    match &write.change {
        Change::Heartbeat => Ok(()),
        Change::Status(status) => Ok(status.check()?),
        Change::Stats(stats) => Ok(stats.check()?),
        Change::Patch(patch) => Ok(patch.check()?),
        Change::Update(stream) if stream.id != write.id => {
            Err(Error::invalid("the record's id differs from the id of the write; use the same id"))
        }
        Change::Update(stream) => Ok(stream.check()?),
    }
}

/// Returns the record after a change that [`check_write`] has accepted.
pub(crate) fn apply(stream: &Stream, change: &Change, now: Timestamp) -> Result<Stream> {
    let mut next = stream.clone();
    apply_in_place(&mut next, change, now)?;
    Ok(next)
}

/// Applies a change like [`apply`], but to the given record. If a patch fails, the record may be partly changed.
pub(crate) fn apply_in_place(stream: &mut Stream, change: &Change, now: Timestamp) -> Result<()> {
    match change {
        Change::Heartbeat => {}
        Change::Status(status) => stream.set_status(status.clone()),
        Change::Stats(stats) => stream.update_stats(stats),
        Change::Patch(patch) => {
            stream.apply_patch(patch);
            if stream.labels.len() > MAX_LABELS {
                return Err(Error::invalid(format!("too many labels; a stream has at most {MAX_LABELS}")));
            }
            match stream.epoch {
                Some(_) => encode::check_leased_size(stream)?,
                None => encode::check_exact_size(stream)?,
            }
        }
        Change::Update(given) => {
            let mut next = (**given).clone();
            next.created_at = stream.created_at;
            next.extra.copy_nonconforming("created_at", &stream.extra);
            next.epoch.clone_from(&stream.epoch);
            next.extra.copy_nonconforming("epoch", &stream.extra);
            if next.epoch.is_some() {
                encode::check_leased_size(&next)?;
            }
            *stream = next;
        }
    }
    stream.last_heartbeat = now;
    Ok(())
}

/// Returns the error for a change through a read-only registry.
pub(crate) fn read_only() -> Error {
    Error::new(ErrorKind::Denied, "the registry is read-only; open it for writing")
}

/// Adds the operation and the stream to the error of a failed write.
pub(crate) fn name_write(error: Error, write: &Write) -> Error {
    error.with_stream(&write.id).with_operation(write.change.operation())
}

/// Returns the last record of a stream with the reason why it ended.
pub(crate) fn with_end_reason(mut last: Stream, reason: &crate::stream::EndReason) -> Stream {
    if let Some(reason) = reason.as_str() {
        last.end_reason = Some(reason.to_owned());
    }
    last
}

/// Returns the error for an operation id that was used for a call about another stream.
pub(crate) fn operation_reused() -> Error {
    Error::invalid("this operation id was used for another call; use a new id for each call")
}

/// Returns the change that the feed reports for a registration. Returns `None` for a recovery if the store still
/// had the stream.
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

/// Returns the change that the feed reports for a write; `None` if the write changes no state.
///
/// A write of the same status again changes no state.
pub(crate) fn change_of_write(change: &Change, before: &Stream) -> Option<ChangeKind> {
    match change {
        Change::Heartbeat | Change::Stats(_) => None,
        Change::Status(status) => (*status != before.status).then_some(ChangeKind::Status),
        Change::Patch(_) => Some(ChangeKind::Patched),
        Change::Update(_) => Some(ChangeKind::Updated),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::{StreamId, StreamStats};

    fn stored(json: &str) -> Stream {
        Stream::from_stored(&"cam/1 \"x\"".parse::<StreamId>().unwrap(), json).unwrap()
    }

    fn later() -> Timestamp {
        "2030-01-01T00:00:00Z".parse().unwrap()
    }

    #[test]
    fn host_is_the_address_without_its_port() {
        for (address, expected) in [
            ("203.0.113.7:40112", "203.0.113.7"),
            ("cam.example:5004", "cam.example"),
            ("[2001:db8::1]:5004", "[2001:db8::1]"),
            // These addresses have no port.
            ("203.0.113.7", "203.0.113.7"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "[2001:db8::1]"),
            ("cam.example:", "cam.example:"),
            ("cam.example:x", "cam.example:x"),
            (":5004", ""),
            ("", ""),
        ] {
            assert_eq!(host(address), expected, "{address}");
        }
    }

    #[test]
    fn heartbeat_keeps_all_fields_that_another_program_wrote() {
        for (json, end) in [
            // The unknown fields are nested, empty or duplicate, or contain the names of known fields.
            (
                r#"{"x":[],"y":{"last_heartbeat":"no","a":[{}]},"z":"\"last_heartbeat\":1","x":1.0e5,"bytes_received":1e+14}"#,
                r#""bytes_received":100000000000000,"packets_received":0,"packets_lost":0,"x":[],"y":{"last_heartbeat":"no","a":[{}]},"z":"\"last_heartbeat\":1","x":1.0e5}"#,
            ),
            // Nonconforming values keep their raw JSON and their position.
            (
                r#"{"bitrate":-5,"frame_rate":"25","bytes_received":1.5,"node":7,"labels":[],"viewers":-1,"epoch":3}"#,
                r#""bitrate":-5,"frame_rate":"25","bytes_received":1.5,"packets_received":0,"packets_lost":0,"node":7,"epoch":3,"labels":[],"viewers":-1}"#,
            ),
            // If a field occurs twice, the last value counts.
            (
                r#" { "packets_lost" : 1 , "packets_lost" : 2, "last_heartbeat":"2020-01-01T00:00:00Z", "last_heartbeat": "x" } "#,
                r#""bytes_received":0,"packets_received":0,"packets_lost":2}"#,
            ),
        ] {
            let stream = stored(json);
            let written = apply(&stream, &Change::Heartbeat, later()).unwrap().to_stored_json();
            assert!(written.ends_with(end), "{written}");
            assert!(written.contains(r#""last_heartbeat":"2030-01-01T00:00:00.000000000Z","#), "{written}");
            assert_eq!(stored(&written).to_stored_json(), written);
        }
    }

    #[test]
    fn setting_a_field_discards_its_nonconforming_value() {
        let stream = stored(r#"{"bitrate":-5,"bytes_received":-7,"status":9}"#);
        let stats = StreamStats { bitrate: Some(0), bytes_received: Some(3), ..Default::default() };
        let written = apply(&stream, &Change::Stats(Box::new(stats)), later()).unwrap().to_stored_json();
        assert!(written.contains(r#""status":9,"#), "{written}");
        assert!(written.contains(r#""bitrate":0,"frame_rate":0,"bytes_received":3,"#), "{written}");
    }

    #[test]
    fn stored_timestamp_out_of_range_survives_a_heartbeat() {
        let stream = stored(r#"{"created_at":"9999-12-31T23:59:59.999999999Z"}"#);
        assert_eq!(stream.created_at, Timestamp::from_unix_nanos(i128::MAX));
        let written = apply(&stream, &Change::Heartbeat, later()).unwrap().to_stored_json();
        assert!(written.contains(r#""created_at":"9999-12-31T23:59:59.999999999Z""#), "{written}");
    }
}
