//! Batches of heartbeats and statistics: `POST /api/v1/heartbeats`.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::patch;
use super::problem::{Problem, kind_of, unexpected_response};
use super::read_batch::BatchRequest;
use crate::error::{Error, ErrorKind, Result};
use crate::registry::{Change, Guard, Write};
use crate::stream::encode::push_json_string;
use crate::stream::limits::MAX_WRITES;

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

#[derive(Default, Deserialize, Serialize)]
struct BatchResponse {
    /// Ids that have no live stream.
    unknown: Vec<String>,
    /// Ids of streams that are leased under another epoch.
    not_holder: Vec<String>,
    failed: Vec<Failed>,
}

/// A write that failed for a reason other than `unknown` and `not_holder`, or an invalid item.
#[derive(Default, Deserialize, Serialize)]
struct Failed {
    /// Missing if the item has no valid id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// Position of an invalid item in the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    index: Option<usize>,
    /// Whether an invalid item was applied as a heartbeat.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    heartbeat_applied: bool,
    code: String,
    #[serde(default)]
    detail: String,
    #[serde(default)]
    retryable: bool,
    #[serde(default)]
    may_have_applied: bool,
    /// Whether the error concerns only a part of the store.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    partial: bool,
}

impl Failed {
    fn new(error: &Error) -> Self {
        let Problem { code, detail, retryable, may_have_applied, partial, .. } = Problem::from_error(error);
        Self { code, detail, retryable, may_have_applied, partial, ..Self::default() }
    }
}

/// Encodes the response to a batch, which lists only the failed writes and the invalid items. `results` has one element
/// for each of `batch.writes`.
pub fn batch_response(batch: &BatchRequest, results: &[Result<()>]) -> String {
    let mut body = BatchResponse::default();
    for (write, result) in batch.writes.iter().zip(results) {
        let Err(error) = result else { continue };
        let id = write.id.as_str().to_owned();
        match error.kind() {
            ErrorKind::NotFound => body.unknown.push(id),
            ErrorKind::NotHolder => body.not_holder.push(id),
            _ => body.failed.push(Failed { id: Some(id), ..Failed::new(error) }),
        }
    }
    body.failed.extend(batch.rejected.iter().map(|rejected| Failed {
        id: rejected.id.as_ref().map(|id| id.as_str().to_owned()),
        index: Some(rejected.index),
        heartbeat_applied: rejected.heartbeat.and_then(|at| results.get(at)).is_some_and(Result::is_ok),
        ..Failed::new(&rejected.error)
    }));
    // Serialising strings and flags cannot fail.
    serde_json::to_string(&body).unwrap_or_default()
}

/// Parses the response to a batch of `writes`. Returns the error of each failed write, by stream id.
pub(in crate::http) fn read_batch_response(json: &str, writes: &[(usize, &Write)]) -> Result<HashMap<String, Error>> {
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
        let error = error.with_may_have_applied(failed.may_have_applied).with_partial(failed.partial);
        let error = error.with_store_reply(true);
        let at_index = || Some(writes.get(failed.index?)?.1.id.as_str().to_owned());
        if let Some(id) = failed.id.or_else(at_index) {
            // If the stream is also unknown or leased, that error decides what the caller does next.
            errors.entry(id).or_insert(error);
        }
    }
    Ok(errors)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Operation;
    use crate::http::wire::read_batch::read_batch;
    use crate::stream::{Epoch, StreamStats};

    fn write(id: &str, guard: Guard, change: Change) -> Write {
        Write { id: id.parse().unwrap(), guard, change }
    }

    #[test]
    fn batch_request_survives_a_round_trip_through_json() {
        let stats =
            StreamStats { bytes_received: Some(1 << 62), viewers: Some(3), rtt_ms: Some(1e-7), ..Default::default() };
        let writes = [
            write("a\"/é", Guard::None, Change::Heartbeat),
            write("b", Guard::Holder("e\"\\1".parse().unwrap()), Change::Stats(Box::new(stats))),
        ];
        let packed = batches(writes.iter().enumerate());
        assert_eq!(packed.len(), 1);
        let read = read_batch(&packed[0].0, false).unwrap();
        assert_eq!(read.writes, writes);
        assert!(read.rejected.is_empty());
    }

    #[test]
    fn batch_requests_stay_within_the_limits() {
        let long = |n: usize| format!("{n:04}{}", "\"".repeat(252));
        let stats =
            || StreamStats { bitrate: Some(1 << 62), rtt_ms: Some(0.1), viewers: Some(1 << 62), ..Default::default() };
        let epoch: Epoch = "\"".repeat(128).parse().unwrap();
        let writes: Vec<_> = (0..2_500)
            .map(|n| write(&long(n), Guard::Holder(epoch.clone()), Change::Stats(Box::new(stats()))))
            .collect();
        let packed = batches(writes.iter().enumerate());
        assert!(packed.len() > 2_500 / MAX_WRITES, "{}", packed.len());
        let mut positions = Vec::new();
        for (body, writes) in &packed {
            assert!(body.len() <= MAX_BATCH_BYTES && writes.len() <= MAX_WRITES);
            let read = read_batch(body, false).unwrap().writes;
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
        let writes = ["a", "b", "c\"", "d"].map(|id| write(id, Guard::None, Change::Heartbeat));
        let results = [
            Err(Error::not_found(&writes[0].id)),
            Ok(()),
            Err(Error::not_holder(&writes[2].id)),
            Err(Error::new(ErrorKind::Timeout, "late").with_operation(Operation::Heartbeat)),
        ];
        let sent: Vec<_> = writes.iter().enumerate().collect();
        let batch = BatchRequest { writes: writes.to_vec(), rejected: Vec::new() };
        let errors = read_batch_response(&batch_response(&batch, &results), &sent).unwrap();
        assert_eq!(errors.len(), 3);
        for (write, result) in writes.iter().zip(&results) {
            let error = errors.get(write.id.as_str());
            assert_eq!(error.map(Error::kind), result.as_ref().err().map(Error::kind));
            assert_eq!(error.map(Error::message), result.as_ref().err().map(Error::message));
            assert_eq!(error.map(Error::may_have_applied), result.as_ref().err().map(Error::may_have_applied));
        }
        let all_applied = [(); 4].map(|()| Ok(()));
        assert!(read_batch_response(&batch_response(&batch, &all_applied), &sent).unwrap().is_empty());
        assert_eq!(read_batch_response("[]", &sent).unwrap_err().kind(), ErrorKind::Internal);
    }

    #[test]
    fn batch_response_names_invalid_items_and_says_whether_their_heartbeat_was_applied() {
        let json = r#"{"streams":[{"id":""},{"id":"a","stats":{"viewers":-1}},{"id":"b","stats":5}]}"#;
        let batch = read_batch(json, false).unwrap();
        let response = batch_response(&batch, &[Ok(()), Err(Error::not_found(&"b".parse().unwrap()))]);
        let value: serde_json::Value = serde_json::from_str(&response).unwrap();
        assert_eq!(value["unknown"], serde_json::json!(["b"]));
        for (at, id) in [serde_json::Value::Null, "a".into(), "b".into()].into_iter().enumerate() {
            let failed = &value["failed"][at];
            assert_eq!((&failed["index"], &failed["id"]), (&at.into(), &id), "{response}");
            assert_eq!(failed["code"], "invalid", "{response}");
        }
        assert_eq!(value["failed"][1]["heartbeat_applied"], true);
        assert!(value["failed"][2].get("heartbeat_applied").is_none());
        let sent = ["x", "a", "b"].map(|id| write(id, Guard::None, Change::Heartbeat));
        let errors = read_batch_response(&response, &sent.iter().enumerate().collect::<Vec<_>>()).unwrap();
        let kinds = ["x", "a", "b"].map(|id| errors[id].kind());
        assert_eq!(kinds, [ErrorKind::InvalidArgument, ErrorKind::InvalidArgument, ErrorKind::NotFound]);
    }
}
