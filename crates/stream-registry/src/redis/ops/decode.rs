//! Decoding of listed records in parallel tasks.

use std::sync::Arc;

use tokio::task::JoinHandle;

use super::prune;
use crate::error::{Error, ErrorKind, Result};
use crate::redis::connect::transfer::Part;
use crate::redis::record;
use crate::redis::store::Store;
use crate::stream::{Stream, StreamId};

/// A member of the index and the raw JSON of its record, if there is one.
pub(super) type Found = (Vec<u8>, Option<Vec<u8>>);

/// Maximum number of records that one task decodes.
pub(super) const RECORDS_PER_TASK: usize = 2_500;

/// Decoded records, the ids that have no record, and the number of records that cannot be decoded.
#[derive(Default)]
struct Decoded {
    streams: Vec<Stream>,
    without_record: Vec<Vec<u8>>,
    unreadable: u64,
}

/// Listed records, some of which are still being decoded.
#[derive(Default)]
pub(super) struct Decoding {
    first: Decoded,
    tasks: Vec<JoinHandle<Decoded>>,
}

impl Decoding {
    /// Decodes records that have been received.
    pub(super) fn of(mut found: Vec<Found>) -> Self {
        let mut tasks = Vec::new();
        while found.len() > RECORDS_PER_TASK {
            let part = found.split_off(found.len() - RECORDS_PER_TASK);
            tasks.push(tokio::spawn(async move { decode_found(&part) }));
        }
        Self { first: decode_found(&found), tasks }
    }

    /// Starts to decode a part of a reply.
    pub(super) fn add(&mut self, part: Part) {
        self.tasks.push(tokio::spawn(async move {
            // Redis returns no nil for the id of a stream.
            decode_all(part.count, part.pairs().map(|(id, json)| (id.unwrap_or_default(), json)))
        }));
    }

    /// Waits until all records are decoded, and removes ids without a record from the index. Records that cannot be
    /// decoded are skipped, logged and counted.
    pub(super) async fn finish(self, store: &Arc<Store>) -> Result<(Vec<Stream>, u64)> {
        let Self { first: mut decoded, tasks } = self;
        let mut parts = Vec::with_capacity(tasks.len());
        for task in tasks {
            // The task does not panic and is not aborted, so it fails only if the runtime shuts down.
            parts.push(task.await.map_err(|error| {
                Error::new(ErrorKind::Internal, "the runtime shut down before the list was decoded").with_source(error)
            })?);
        }
        decoded.streams.reserve_exact(parts.iter().map(|part| part.streams.len()).sum());
        for part in parts {
            decoded.streams.extend(part.streams);
            decoded.without_record.extend(part.without_record);
            decoded.unreadable += part.unreadable;
        }
        let unreadable = decoded.unreadable + prune::prune(store, &decoded.without_record).await;
        store.counters.add_unreadable(unreadable);
        Ok((decoded.streams, unreadable))
    }
}

fn decode_found(found: &[Found]) -> Decoded {
    decode_all(found.len(), found.iter().map(|(id, json)| (id.as_slice(), json.as_deref())))
}

fn decode_all<'a>(count: usize, found: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>) -> Decoded {
    let mut decoded = Decoded { streams: Vec::with_capacity(count), ..Decoded::default() };
    for (id, json) in found {
        let Some(json) = json else {
            decoded.without_record.push(id.to_vec());
            continue;
        };
        let stream = std::str::from_utf8(id)
            .map_err(|_| Error::invalid("the id is not UTF-8"))
            .and_then(|id| Ok(id.parse::<StreamId>()?))
            .and_then(|id| record::decode(&id, json));
        match stream {
            Ok(stream) => decoded.streams.push(stream),
            Err(error) => {
                decoded.unreadable += 1;
                let id = String::from_utf8_lossy(id);
                tracing::warn!(id = %id.escape_debug(), %error, "skipped an unreadable record in a list");
            }
        }
    }
    decoded
}
