//! Batches of heartbeats and statistics: `POST /api/v1/heartbeats`.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::patch;
use super::problem::{Problem, kind_of, unexpected_response};
use crate::error::{Error, ErrorKind, Result};
use crate::registry::rules;
use crate::registry::{Change, Guard, Write};
use crate::stream::encode::push_json_string;
use crate::stream::limits::MAX_WRITES;
use crate::stream::{Epoch, StreamId};

/// Path of the endpoint for batches.
pub const HEARTBEATS: &str = "/api/v1/heartbeats";
/// Size limit of the body of a batch, in bytes.
pub const MAX_BATCH_BYTES: usize = 1024 * 1024;

const HEAD: &str = "{\"streams\":[";
const TAIL: &str = "]}";

/// Returns whether a write can be sent in a batch. Batches accept heartbeats and statistics, but not the guard `Force`.
pub(in crate::http) fn can_be_batched(write: &Write) -> bool {
    write.guard != Guard::Force && matches!(write.change, Change::Heartbeat | Change::Stats(_))
}

fn item(write: &Write) -> String {
    let mut out = String::from("{\"id\":");
    push_json_string(&mut out, write.id.as_str());
    if let Guard::Holder(epoch) = &write.guard {
        out.push_str(",\"epoch\":");
        push_json_string(&mut out, epoch.as_str());
    }
    if let Change::Stats(stats) = &write.change {
        out.push_str(",\"stats\":");
        out.push_str(&patch::stats_body(stats));
    }
    out.push('}');
    out
}

/// The body of a batch request, and the writes in the body with their positions in the call.
pub(in crate::http) type Batch<'a> = (String, Vec<(usize, &'a Write)>);

/// Packs writes to different streams into as few request bodies as the limits allow.
pub(in crate::http) fn batches<'a>(writes: impl IntoIterator<Item = (usize, &'a Write)>) -> Vec<Batch<'a>> {
    let mut batches: Vec<Batch<'a>> = Vec::new();
    for (at, write) in writes {
        let item = item(write);
        match batches.last_mut() {
            Some((body, packed))
                if packed.len() < MAX_WRITES && body.len() + 1 + item.len() + TAIL.len() <= MAX_BATCH_BYTES =>
            {
                body.push(',');
                body.push_str(&item);
                packed.push((at, write));
            }
            _ => batches.push((format!("{HEAD}{item}"), vec![(at, write)])),
        }
    }
    for (body, _) in &mut batches {
        body.push_str(TAIL);
    }
    batches
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BatchBody<'a> {
    #[serde(borrow)]
    streams: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ItemBody<'a> {
    id: String,
    #[serde(default)]
    epoch: Option<String>,
    #[serde(borrow, default)]
    stats: Option<&'a RawValue>,
}

/// Parses the body of a batch: `{"streams":[{"id":…,"epoch":…?,"stats":{…}?}…]}`. Each stream may occur once.
///
/// If `force` is true, all writes ignore leases.
///
/// # Errors
///
/// Returns `InvalidArgument` if an element is invalid. The message names the element. In this case, the caller must
/// apply none of the writes.
pub fn read_batch(json: &str, force: bool) -> Result<Vec<Write>> {
    let body: BatchBody<'_> = serde_json::from_str(json).map_err(|fault| {
        Error::invalid(format!("invalid body; expected {{\"streams\":[…]}}: {fault}")).with_source(fault)
    })?;
    if body.streams.len() > MAX_WRITES {
        return Err(Error::invalid(format!("too many streams; send at most {MAX_WRITES} per request")));
    }
    let mut seen = HashSet::with_capacity(body.streams.len());
    let mut writes = Vec::with_capacity(body.streams.len());
    for (at, raw) in body.streams.iter().enumerate() {
        let write = read_item(raw.get(), force)
            .map_err(|error| Error::invalid(format!("streams[{at}]: {}", error.message())).with_source(error))?;
        if !seen.insert(write.id.clone()) {
            return Err(Error::invalid(format!("streams[{at}]: duplicate id; list each stream once")));
        }
        writes.push(write);
    }
    Ok(writes)
}

fn read_item(json: &str, force: bool) -> Result<Write> {
    let item: ItemBody<'_> = serde_json::from_str(json).map_err(|fault| {
        Error::invalid(format!("expected an object with id, optional epoch and stats: {fault}")).with_source(fault)
    })?;
    let id: StreamId = item.id.parse()?;
    let guard = match (item.epoch.map(|epoch| epoch.parse::<Epoch>()).transpose()?, force) {
        (Some(_), true) => return Err(Error::invalid("epoch and force=true are mutually exclusive; send one of them")),
        (Some(epoch), false) => Guard::Holder(epoch),
        (None, true) => Guard::Force,
        (None, false) => Guard::None,
    };
    let change = match item.stats {
        Some(raw) => Change::Stats(patch::read_stats(raw.get())?),
        None => Change::Heartbeat,
    };
    let write = Write { id, guard, change };
    rules::check_write(&write)?;
    Ok(write)
}

#[derive(Default, Deserialize, Serialize)]
struct BatchResponse {
    /// Ids that have no live stream.
    unknown: Vec<String>,
    /// Ids of streams that are leased under another epoch.
    not_holder: Vec<String>,
    failed: Vec<Failed>,
}

/// A write that failed for a reason other than `unknown` and `not_holder`.
#[derive(Deserialize, Serialize)]
struct Failed {
    id: String,
    code: String,
    #[serde(default)]
    detail: String,
    #[serde(default)]
    retryable: bool,
    #[serde(default)]
    may_have_applied: bool,
}

/// Encodes the response to a batch, which lists only the failed writes.
pub fn batch_response(writes: &[Write], results: &[Result<()>]) -> String {
    let mut body = BatchResponse::default();
    for (write, result) in writes.iter().zip(results) {
        let Err(error) = result else { continue };
        let id = write.id.as_str().to_owned();
        match error.kind() {
            ErrorKind::NotFound => body.unknown.push(id),
            ErrorKind::NotHolder => body.not_holder.push(id),
            _ => {
                let Problem { code, detail, retryable, may_have_applied, .. } = Problem::from_error(error);
                body.failed.push(Failed { id, code, detail, retryable, may_have_applied });
            }
        }
    }
    // Serialising strings and flags cannot fail.
    serde_json::to_string(&body).unwrap_or_default()
}

/// Parses the response to a batch. Returns the error of each failed write, by stream id.
pub(in crate::http) fn read_batch_response(json: &str) -> Result<HashMap<String, Error>> {
    let body: BatchResponse = serde_json::from_str(json).map_err(unexpected_response)?;
    let mut errors = HashMap::new();
    for id in body.unknown {
        let error = id.parse().map(|id| Error::not_found(&id))?;
        errors.insert(id, error);
    }
    for id in body.not_holder {
        let error = id.parse().map(|id| Error::not_holder(&id))?;
        errors.insert(id, error);
    }
    for failed in body.failed {
        let default = if failed.retryable { ErrorKind::Unavailable } else { ErrorKind::Internal };
        let kind = kind_of(&failed.code).unwrap_or(default);
        let error = Error::new(kind, failed.detail);
        let error = error.with_may_have_applied(failed.may_have_applied).with_store_reply(true);
        errors.insert(failed.id, error);
    }
    Ok(errors)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Operation;
    use crate::stream::StreamStats;

    fn write(id: &str, guard: Guard, change: Change) -> Write {
        Write { id: id.parse().unwrap(), guard, change }
    }

    #[test]
    fn batch_request_survives_a_round_trip_through_json() {
        let stats = StreamStats { bytes_received: 1 << 62, viewers: Some(3), rtt_ms: Some(1e-7), ..Default::default() };
        let writes = [
            write("a\"/é", Guard::None, Change::Heartbeat),
            write("b", Guard::Holder("e\"\\1".parse().unwrap()), Change::Stats(stats)),
        ];
        let packed = batches(writes.iter().enumerate());
        assert_eq!(packed.len(), 1);
        assert_eq!(read_batch(&packed[0].0, false).unwrap(), writes);
        assert_eq!(read_batch("{\"streams\":[]}", false).unwrap(), []);
        let forced = read_batch(r#"{"streams":[{"id":"a","epoch":null,"stats":null}]}"#, true).unwrap();
        assert_eq!(forced, [write("a", Guard::Force, Change::Heartbeat)]);
    }

    #[test]
    fn batch_requests_stay_within_the_limits() {
        let long = |n: usize| format!("{n:04}{}", "\"".repeat(252));
        let stats =
            || StreamStats { bitrate: 1 << 62, rtt_ms: Some(0.1), viewers: Some(1 << 62), ..Default::default() };
        let epoch: Epoch = "\"".repeat(128).parse().unwrap();
        let writes: Vec<_> =
            (0..2_500).map(|n| write(&long(n), Guard::Holder(epoch.clone()), Change::Stats(stats()))).collect();
        let packed = batches(writes.iter().enumerate());
        assert!(packed.len() > 2_500 / MAX_WRITES, "{}", packed.len());
        let mut positions = Vec::new();
        for (body, writes) in &packed {
            assert!(body.len() <= MAX_BATCH_BYTES && writes.len() <= MAX_WRITES);
            let read = read_batch(body, false).unwrap();
            assert!(read.iter().eq(writes.iter().map(|(_, write)| *write)));
            positions.extend(writes.iter().map(|(at, _)| *at));
        }
        assert_eq!(positions, (0..2_500).collect::<Vec<_>>());
        let small: Vec<_> = (0..1_001).map(|n| write(&format!("s{n}"), Guard::None, Change::Heartbeat)).collect();
        assert_eq!(
            batches(small.iter().enumerate()).iter().map(|(_, writes)| writes.len()).collect::<Vec<_>>(),
            [1_000, 1]
        );
    }

    #[test]
    fn batch_response_survives_a_round_trip_through_json() {
        let writes: Vec<_> =
            ["a", "b", "c\"", "d"].iter().map(|id| write(id, Guard::None, Change::Heartbeat)).collect();
        let results = [
            Err(Error::not_found(&writes[0].id)),
            Ok(()),
            Err(Error::not_holder(&writes[2].id)),
            Err(Error::new(ErrorKind::Timeout, "late").with_operation(Operation::Heartbeat)),
        ];
        let errors = read_batch_response(&batch_response(&writes, &results)).unwrap();
        assert_eq!(errors.len(), 3);
        for (write, result) in writes.iter().zip(&results) {
            let error = errors.get(write.id.as_str());
            assert_eq!(error.map(Error::kind), result.as_ref().err().map(Error::kind));
            assert_eq!(error.map(Error::message), result.as_ref().err().map(Error::message));
            assert_eq!(error.map(Error::may_have_applied), result.as_ref().err().map(Error::may_have_applied));
        }
        let none = read_batch_response(&batch_response(&writes[..1], &[Ok(())])).unwrap();
        assert!(none.is_empty());
        assert_eq!(read_batch_response("[]").unwrap_err().kind(), ErrorKind::Internal);
    }
}
