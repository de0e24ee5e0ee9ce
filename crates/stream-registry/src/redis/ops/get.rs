//! Reads one or several streams.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::time::Instant;

use super::not_a_string;
use crate::error::{Error, Result};
use crate::redis::coalesce::{Coalescer, Job};
use crate::redis::fault::{Effect, translate};
use crate::redis::store::{Store, within};
use crate::redis::{record, reply};
use crate::stream::{Stream, StreamId};

/// Maximum number of records read by one command, so that large batches do not block the server.
const CHUNK: usize = 500;

/// Coalesces this process's reads of single streams into batches.
pub(in crate::redis) struct GetJob(pub(in crate::redis) Arc<Store>);

#[async_trait]
impl Job for GetJob {
    type Item = StreamId;
    type Answer = Vec<u8>;
    const MAX_IN_FLIGHT: usize = 2;

    fn key(_: &StreamId) -> Option<&StreamId> {
        None
    }

    async fn run(&self, ids: &[StreamId]) -> Vec<Result<Vec<u8>>> {
        read(&self.0, ids).await.unwrap_or_else(|error| ids.iter().map(|_| Err(error.clone())).collect())
    }
}

pub(in crate::redis) async fn get(
    coalescer: &Arc<Coalescer<GetJob>>,
    id: &StreamId,
    deadline: Instant,
) -> Result<Stream> {
    // The record is decoded in the caller's task, so that concurrent calls use all cores.
    record::decode(id, &coalescer.call(id.clone(), deadline).await?)
}

/// Reads several streams, in the order of the ids. An element is `None` if the record is missing or cannot be decoded,
/// or if the key does not hold a string.
pub(in crate::redis) async fn get_many(store: &Arc<Store>, ids: &[StreamId]) -> Result<Vec<Option<Stream>>> {
    let mut streams = Vec::with_capacity(ids.len());
    for chunk in ids.chunks(CHUNK) {
        let command = mget(store, chunk);
        let answer = within(Effect::Read, store.bulk.read(&command)).await?;
        let mut records = reply::array(answer)?.into_iter().map(reply::optional_bytes);
        for id in chunk {
            let json = records.next().transpose()?.flatten();
            streams.push(json.and_then(|json| record::decode(id, &json).ok()));
        }
    }
    Ok(streams)
}

fn mget(store: &Store, ids: &[StreamId]) -> redis::Cmd {
    let mut command = redis::cmd("MGET");
    for id in ids {
        command.arg(store.keys.record(id));
    }
    command
}

/// Returns the raw JSON of each record.
async fn read(store: &Arc<Store>, ids: &[StreamId]) -> Result<Vec<Result<Vec<u8>>>> {
    let answer = store.link.read(&mget(store, ids)).await?;
    let mut records: Vec<Option<Vec<u8>>> =
        reply::array(answer)?.into_iter().map(reply::optional_bytes).collect::<Result<_>>()?;
    records.resize(ids.len(), None);
    let missing: Vec<&StreamId> =
        ids.iter().zip(&records).filter(|(_, record)| record.is_none()).map(|(id, _)| id).collect();
    // `MGET` returns nil for a key of any other type too. So the type of each such key is checked.
    let foreign = if missing.is_empty() { Ok(Vec::new()) } else { hold_other_types(store, &missing).await };
    let mut at = 0;
    let answers = ids.iter().zip(records).map(|(id, record)| {
        if let Some(record) = record {
            return Ok(record);
        }
        at += 1;
        match &foreign {
            Ok(foreign) if foreign.get(at - 1) == Some(&true) => Err(not_a_string(id)),
            Ok(_) => Err(Error::not_found(id)),
            Err(error) => Err(error.clone()),
        }
    });
    Ok(answers.collect())
}

/// Returns, for each id, whether the record key holds a value other than a string.
async fn hold_other_types(store: &Arc<Store>, ids: &[&StreamId]) -> Result<Vec<bool>> {
    let mut pipeline = redis::pipe();
    for id in ids {
        pipeline.cmd("TYPE").arg(store.keys.record(id));
    }
    let answers = store.link.read_many(&pipeline).await?;
    let foreign = answers.into_iter().map(|answer| {
        let kind = reply::bytes(reply::checked(answer).map_err(|error| translate(error, false))?)?;
        // If the key holds a string now, the record was stored after the MGET. At the time of the MGET, the stream was
        // missing.
        Ok(!matches!(&*kind, b"none" | b"string"))
    });
    foreign.collect()
}
