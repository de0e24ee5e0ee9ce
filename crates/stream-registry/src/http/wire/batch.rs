//! Heartbeats and statistics of many streams in one request: `POST /api/v1/heartbeats`.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Problem, kind_of, patch};
use crate::error::{Error, ErrorKind, Result};
use crate::registry::rules;
use crate::registry::{Change, Guard, Write};
use crate::stream::encode::push_json_string;
use crate::stream::limits::MAX_WRITES;
use crate::stream::{Epoch, StreamId};

/// Where batches go.
pub const HEARTBEATS: &str = "/api/v1/heartbeats";
/// The most bytes of the body of a batch.
pub const MAX_BATCH_BYTES: usize = 1024 * 1024;

const HEAD: &str = "{\"streams\":[";
const TAIL: &str = "]}";

// ---- requests -------------------------------------------------------------------------------------

/// Whether a write can go in a batch: a heartbeat or statistics, without an operator's override.
pub(in crate::http) fn goes_in_a_batch(write: &Write) -> bool {
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

/// A body within the limits, and the writes in it with their places.
pub(in crate::http) type Batch<'a> = (String, Vec<(usize, &'a Write)>);

/// Writes bodies for writes to different streams, as few as the limits allow.
pub(in crate::http) fn batches<'a>(writes: impl IntoIterator<Item = (usize, &'a Write)>) -> Vec<Batch<'a>> {
    let mut batches: Vec<Batch<'a>> = Vec::new();
    for (at, write) in writes {
        let item = item(write);
        match batches.last_mut() {
            Some((body, there))
                if there.len() < MAX_WRITES && body.len() + 1 + item.len() + TAIL.len() <= MAX_BATCH_BYTES =>
            {
                body.push(',');
                body.push_str(&item);
                there.push((at, write));
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

/// Reads the body of a batch: `{"streams":[{"id":…,"epoch":…?,"stats":{…}?}…]}`, each stream once.
///
/// With `force` every write is an operator's override.
///
/// # Errors
///
/// `InvalidArgument` names the place in the list; nothing of the batch is to be done then.
pub fn read_batch(text: &str, force: bool) -> Result<Vec<Write>> {
    let body: BatchBody<'_> = serde_json::from_str(text).map_err(|fault| {
        Error::invalid(format!("the body is not {{\"streams\":[…]}} with a list: {fault}")).with_source(fault)
    })?;
    if body.streams.len() > MAX_WRITES {
        return Err(Error::invalid(format!("at most {MAX_WRITES} streams go in one request; send more of them")));
    }
    let mut seen = HashSet::with_capacity(body.streams.len());
    let mut writes = Vec::with_capacity(body.streams.len());
    for (at, raw) in body.streams.iter().enumerate() {
        let write = read_item(raw.get(), force)
            .map_err(|error| Error::invalid(format!("streams[{at}]: {}", error.message())).with_source(error))?;
        if !seen.insert(write.id.clone()) {
            return Err(Error::invalid(format!("streams[{at}]: the id is given twice; name each stream once")));
        }
        writes.push(write);
    }
    Ok(writes)
}

fn read_item(text: &str, force: bool) -> Result<Write> {
    let item: ItemBody<'_> = serde_json::from_str(text).map_err(|fault| {
        Error::invalid(format!("must be an object with id, and epoch and stats where they are needed: {fault}"))
            .with_source(fault)
    })?;
    let id: StreamId = item.id.parse()?;
    let guard = match (item.epoch.map(|epoch| epoch.parse::<Epoch>()).transpose()?, force) {
        (Some(_), true) => return Err(Error::invalid("epoch and force=true exclude one another; send one of them")),
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

// ---- answers --------------------------------------------------------------------------------------

#[derive(Default, Deserialize, Serialize)]
struct BatchAnswer {
    /// The ids that no live stream has.
    unknown: Vec<String>,
    /// The ids that are leased, and not with this epoch.
    not_holder: Vec<String>,
    failed: Vec<Failed>,
}

/// Why a write of a batch failed otherwise.
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

/// Writes the answer to a batch: the writes that failed, and no others.
pub fn batch_answer_body(writes: &[Write], answers: &[Result<()>]) -> String {
    let mut body = BatchAnswer::default();
    for (write, error) in writes.iter().zip(answers).filter_map(|(write, answer)| Some((write, answer.as_ref().err()?)))
    {
        let id = write.id.as_str().to_owned();
        match error.kind() {
            ErrorKind::NotFound => body.unknown.push(id),
            ErrorKind::NotHolder => body.not_holder.push(id),
            _ => {
                let Problem { code, detail, retryable, may_have_applied, .. } = Problem::from_error(error, "");
                body.failed.push(Failed { id, code, detail, retryable, may_have_applied });
            }
        }
    }
    // Texts and flags always serialise.
    serde_json::to_string(&body).unwrap_or_default()
}

/// Reads the answer to a batch, an error for each id that failed.
pub(in crate::http) fn read_batch_answer(text: &str) -> Result<HashMap<String, Error>> {
    let body: BatchAnswer = serde_json::from_str(text).map_err(super::not_ours)?;
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
        let otherwise = if failed.retryable { ErrorKind::Unavailable } else { ErrorKind::Internal };
        let kind = kind_of(&failed.code).unwrap_or(otherwise);
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
    fn writes_survive_the_way() {
        let stats = StreamStats { bytes_received: 1 << 62, viewers: Some(3), rtt_ms: Some(1e-7), ..Default::default() };
        let writes = [
            write("a\"/é", Guard::None, Change::Heartbeat),
            write("b", Guard::Holder("e\"\\1".parse().unwrap()), Change::Stats(stats)),
        ];
        let made = batches(writes.iter().enumerate());
        assert_eq!(made.len(), 1);
        assert_eq!(read_batch(&made[0].0, false).unwrap(), writes);
        assert_eq!(read_batch("{\"streams\":[]}", false).unwrap(), []);
        let forced = read_batch(r#"{"streams":[{"id":"a","epoch":null,"stats":null}]}"#, true).unwrap();
        assert_eq!(forced, [write("a", Guard::Force, Change::Heartbeat)]);
    }

    #[test]
    fn bodies_stay_within_the_limits() {
        let long = |n: usize| format!("{n:04}{}", "\"".repeat(252));
        let stats =
            || StreamStats { bitrate: 1 << 62, rtt_ms: Some(0.1), viewers: Some(1 << 62), ..Default::default() };
        let epoch: Epoch = "\"".repeat(128).parse().unwrap();
        let writes: Vec<_> =
            (0..2_500).map(|n| write(&long(n), Guard::Holder(epoch.clone()), Change::Stats(stats()))).collect();
        let made = batches(writes.iter().enumerate());
        assert!(made.len() > 2_500 / MAX_WRITES, "{}", made.len());
        let mut places = Vec::new();
        for (body, there) in &made {
            assert!(body.len() <= MAX_BATCH_BYTES && there.len() <= MAX_WRITES);
            let read = read_batch(body, false).unwrap();
            assert!(read.iter().eq(there.iter().map(|(_, write)| *write)));
            places.extend(there.iter().map(|(at, _)| *at));
        }
        assert_eq!(places, (0..2_500).collect::<Vec<_>>());
        let small: Vec<_> = (0..1_001).map(|n| write(&format!("s{n}"), Guard::None, Change::Heartbeat)).collect();
        assert_eq!(
            batches(small.iter().enumerate()).iter().map(|(_, there)| there.len()).collect::<Vec<_>>(),
            [1_000, 1]
        );
    }

    #[test]
    fn answers_survive_the_way() {
        let writes: Vec<_> =
            ["a", "b", "c\"", "d"].iter().map(|id| write(id, Guard::None, Change::Heartbeat)).collect();
        let answers = [
            Err(Error::not_found(&writes[0].id)),
            Ok(()),
            Err(Error::not_holder(&writes[2].id)),
            Err(Error::new(ErrorKind::Timeout, "late").with_operation(Operation::Heartbeat)),
        ];
        let errors = read_batch_answer(&batch_answer_body(&writes, &answers)).unwrap();
        assert_eq!(errors.len(), 3);
        for (write, answer) in writes.iter().zip(&answers) {
            let error = errors.get(write.id.as_str());
            assert_eq!(error.map(Error::kind), answer.as_ref().err().map(Error::kind));
            assert_eq!(error.map(Error::message), answer.as_ref().err().map(Error::message));
            assert_eq!(error.map(Error::may_have_applied), answer.as_ref().err().map(Error::may_have_applied));
        }
        let none = read_batch_answer(&batch_answer_body(&writes[..1], &[Ok(())])).unwrap();
        assert!(none.is_empty());
        assert_eq!(read_batch_answer("[]").unwrap_err().kind(), ErrorKind::Internal);
    }
}
