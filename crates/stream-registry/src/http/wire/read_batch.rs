//! Parses the body of a batch: `POST /api/v1/heartbeats`.

use std::collections::HashSet;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::patch::{check_names, members, read_stats};
use crate::error::{Error, Result};
use crate::registry::{Change, Guard, Write};
use crate::stream::invalid::brief;
use crate::stream::lenient::replace_non_numbers;
use crate::stream::limits::MAX_WRITES;
use crate::stream::{Epoch, StreamId};

/// A batch: the writes to apply, and the items that are invalid.
#[derive(Debug, Default)]
pub struct BatchRequest {
    /// The writes, each to a different stream.
    pub writes: Vec<Write>,
    /// The invalid items, in the order of the body.
    pub rejected: Vec<Rejected>,
}

/// An invalid item of a batch.
#[derive(Debug)]
pub struct Rejected {
    /// Position of the item in the body, starting at 0.
    pub index: usize,
    /// The id of the item, if the id is valid.
    pub id: Option<StreamId>,
    /// The kind of fault, which limits the warnings in the log.
    pub kind: RejectedKind,
    /// The error for the caller.
    pub error: Error,
    /// Position in [`BatchRequest::writes`] of the heartbeat that replaces the item, if its id and epoch are valid.
    pub heartbeat: Option<usize>,
}

/// The kind of fault in an item of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RejectedKind {
    /// The item is not an object, or its id or epoch is invalid.
    Id,
    /// An earlier item has the same id.
    Duplicate,
    /// The item has an unknown field.
    Field,
    /// The statistics are invalid.
    Stats,
}

impl RejectedKind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Id, Self::Duplicate, Self::Field, Self::Stats];

    /// Returns the kind as a stable lower-case word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Duplicate => "duplicate",
            Self::Field => "field",
            Self::Stats => "stats",
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BatchBody<'a> {
    #[serde(borrow)]
    streams: Vec<&'a RawValue>,
}

/// Parses the body of a batch: `{"streams":[{"id":…,"epoch":…?,"stats":{…}?}…]}`.
///
/// An invalid item does not affect the other items. If the id and the epoch of an invalid item are valid, the item
/// becomes a heartbeat, so that a wrong figure never lets a stream expire. If an id occurs twice, the first item
/// counts. If `force` is true, all writes ignore leases.
///
/// # Errors
///
/// Returns `InvalidArgument` if the body is not JSON of this form, or has too many items.
pub fn read_batch(json: &str, force: bool) -> Result<BatchRequest> {
    let replaced = replace_non_numbers(json);
    let json = replaced.as_deref().unwrap_or(json);
    let body: BatchBody<'_> = serde_json::from_str(json).map_err(|fault| {
        Error::invalid(format!("invalid body; expected {{\"streams\":[…]}}: {}", brief(&fault))).with_source(fault)
    })?;
    if body.streams.len() > MAX_WRITES {
        return Err(Error::invalid(format!("too many streams; send at most {MAX_WRITES} per request")));
    }
    let mut seen = HashSet::with_capacity(body.streams.len());
    let mut batch = BatchRequest { writes: Vec::with_capacity(body.streams.len()), rejected: Vec::new() };
    for (index, raw) in body.streams.iter().enumerate() {
        let mut item = read_item(raw.get(), force);
        if item.id.as_ref().is_some_and(|id| seen.contains(id)) {
            let error = Error::invalid("duplicate id; list each stream once");
            item = Item { target: None, fault: Some((RejectedKind::Duplicate, error)), ..item };
        }
        let Item { id, target, change, fault } = item;
        let heartbeat = target.is_some().then_some(batch.writes.len());
        if let Some((kind, error)) = fault {
            batch.rejected.push(Rejected { index, id: id.clone(), kind, error, heartbeat });
        }
        if let (Some(id), Some(guard)) = (id, target) {
            seen.insert(id.clone());
            batch.writes.push(Write { id, guard, change });
        }
    }
    Ok(batch)
}

/// One item of a batch, valid or not.
struct Item {
    id: Option<StreamId>,
    /// The guard of the write; `None` if the item must not be applied.
    target: Option<Guard>,
    change: Change,
    fault: Option<(RejectedKind, Error)>,
}

fn read_item(json: &str, force: bool) -> Item {
    let mut item = Item { id: None, target: None, change: Change::Heartbeat, fault: None };
    item.fault = fill(&mut item, json, force).err();
    item
}

/// Sets the parts of an item, up to the first fault.
fn fill(item: &mut Item, json: &str, force: bool) -> Result<(), (RejectedKind, Error)> {
    let invalid_id = |error: Error| (RejectedKind::Id, error);
    let members = members(json)
        .map_err(|_| invalid_id(Error::invalid("expected an object with id, and optionally epoch and stats")))?;
    let given = |name: &str| members.get(name).map(|raw| raw.get()).filter(|raw| *raw != "null");
    let string = |name: &str| -> Result<Option<String>, (RejectedKind, Error)> {
        let string = given(name).map(serde_json::from_str).transpose();
        string.map_err(|_| invalid_id(Error::invalid(format!("{name} must be a string"))))
    };
    let id = string("id")?.ok_or_else(|| invalid_id(Error::invalid("missing id")))?;
    item.id = Some(id.parse::<StreamId>().map_err(|invalid| invalid_id(invalid.into()))?);
    let epoch = string("epoch")?.map(|epoch| epoch.parse::<Epoch>()).transpose();
    item.target = Some(match (epoch.map_err(|invalid| invalid_id(invalid.into()))?, force) {
        (Some(_), true) => {
            return Err(invalid_id(Error::invalid("epoch and force=true are mutually exclusive; send one of them")));
        }
        (Some(epoch), false) => Guard::Holder(epoch),
        (None, true) => Guard::Force,
        (None, false) => Guard::None,
    });
    check_names(&members, &["id", "epoch", "stats"]).map_err(|error| (RejectedKind::Field, error))?;
    if let Some(raw) = given("stats") {
        let stats = read_stats(raw).map_err(|error| (RejectedKind::Stats, error))?;
        if !stats.is_empty() {
            item.change = Change::Stats(Box::new(stats));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::StreamStats;

    fn write(id: &str, guard: Guard, change: Change) -> Write {
        Write { id: id.parse().unwrap(), guard, change }
    }

    #[test]
    fn null_members_of_a_batch_item_count_as_missing() {
        let batch = read_batch(r#"{"streams":[{"id":"a","epoch":null,"stats":null},{"id":"b","stats":{}}]}"#, true);
        let batch = batch.unwrap();
        assert_eq!(batch.writes, ["a", "b"].map(|id| write(id, Guard::Force, Change::Heartbeat)));
        assert!(batch.rejected.is_empty());
        assert!(read_batch("{\"streams\":[]}", false).unwrap().writes.is_empty());
    }

    #[test]
    fn invalid_item_of_a_batch_does_not_affect_other_items() {
        use RejectedKind::{Duplicate, Field, Id, Stats};
        let good = Change::Stats(Box::new(StreamStats { bitrate: Some(7), ..Default::default() }));
        for (item, kind, id, is_heartbeat) in [
            ("5", Id, None, false),
            ("NaN", Id, None, false),
            ("{}", Id, None, false),
            (r#"{"id":5}"#, Id, None, false),
            (r#"{"id":"active"}"#, Id, None, false),
            (r#"{"id":"b","epoch":5}"#, Id, Some("b"), false),
            (r#"{"id":"b","epoch":"a b"}"#, Id, Some("b"), false),
            (r#"{"id":"good","stats":{"bitrate":8}}"#, Duplicate, Some("good"), false),
            (r#"{"id":"b","status":"active"}"#, Field, Some("b"), true),
            (r#"{"id":"b","stats":[]}"#, Stats, Some("b"), true),
            (r#"{"id":"b","stats":{"fps":1}}"#, Stats, Some("b"), true),
            (r#"{"id":"b","stats":{"bitrate":-1}}"#, Stats, Some("b"), true),
            (r#"{"id":"b","stats":{"bitrate":NaN,"viewers":1}}"#, Stats, Some("b"), true),
            (r#"{"id":"b","stats":{"rtt_ms":1e999}}"#, Stats, Some("b"), true),
        ] {
            let json = format!(r#"{{"streams":[{{"id":"good","stats":{{"bitrate":7}}}},{item},{{"id":"last"}}]}}"#);
            let batch = read_batch(&json, false).unwrap();
            let mut writes = vec![write("good", Guard::None, good.clone())];
            writes.extend(is_heartbeat.then(|| write("b", Guard::None, Change::Heartbeat)));
            writes.push(write("last", Guard::None, Change::Heartbeat));
            assert_eq!(batch.writes, writes, "{item}");
            assert_eq!(batch.rejected.len(), 1, "{item}");
            let rejected = &batch.rejected[0];
            assert_eq!((rejected.index, rejected.kind), (1, kind), "{item}");
            assert_eq!(rejected.id.as_ref().map(StreamId::as_str), id, "{item}");
            assert_eq!(rejected.heartbeat, is_heartbeat.then_some(1), "{item}");
        }
    }

    #[test]
    fn body_that_is_not_a_batch_is_rejected() {
        for json in ["", "[]", "{}", r#"{"streams":NaN}"#, r#"{"streams":[],"x":1}"#, r#"{"streams":[{"id":"a"}"#] {
            assert!(read_batch(json, false).is_err(), "{json}");
        }
    }
}
