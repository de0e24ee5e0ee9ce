//! Reading one stream.

use std::sync::Arc;

use async_trait::async_trait;

use super::replace;
use crate::error::{Error, Result};
use crate::redis::connect::Effect;
use crate::redis::fault::{checked, translate};
use crate::redis::join::{Job, Joiner};
use crate::redis::{Store, reply};
use crate::stream::{Stream, StreamId};

/// Single reads of this process, joined.
pub(in crate::redis) struct GetJob(pub(in crate::redis) Arc<Store>);

#[async_trait]
impl Job for GetJob {
    type Item = StreamId;
    type Answer = Vec<u8>;

    fn key(_: &StreamId) -> Option<&StreamId> {
        None
    }

    async fn run(&self, ids: &[StreamId]) -> Vec<Result<Vec<u8>>> {
        read(&self.0, ids).await.unwrap_or_else(|error| ids.iter().map(|_| Err(error.clone())).collect())
    }
}

pub(in crate::redis) async fn get(joiner: &Arc<Joiner<GetJob>>, id: &StreamId) -> Result<Stream> {
    // Decoded by the caller's task, so that all cores take part.
    replace::decode(id, &joiner.call(id.clone()).await?)
}

async fn read(store: &Arc<Store>, ids: &[StreamId]) -> Result<Vec<Result<Vec<u8>>>> {
    let mut command = redis::cmd("MGET");
    for id in ids {
        command.arg(store.keys.record(id));
    }
    let answer = store.link.read(&command).await?;
    let mut texts: Vec<Option<Vec<u8>>> = reply::array(answer)?.into_iter().map(reply::bytes).collect::<Result<_>>()?;
    texts.resize(ids.len(), None);
    let absent: Vec<&StreamId> = ids.iter().zip(&texts).filter(|(_, text)| text.is_none()).map(|(id, _)| id).collect();
    // MGET says nothing of a key of another type: absent means absent only if nothing is there.
    let others = if absent.is_empty() { Ok(Vec::new()) } else { existing(store, &absent).await };
    let mut at = 0;
    let answers = ids.iter().zip(texts).map(|(id, text)| {
        if let Some(text) = text {
            return Ok(text);
        }
        at += 1;
        match &others {
            Ok(others) if others.get(at - 1) == Some(&true) => {
                Err(Error::corrupt(id, "the key holds no string; remove it with redis-cli"))
            }
            Ok(_) => Err(Error::not_found(id)),
            Err(error) => Err(error.clone()),
        }
    });
    Ok(answers.collect())
}

/// Which of these keys hold something that is not a string.
async fn existing(store: &Arc<Store>, ids: &[&StreamId]) -> Result<Vec<bool>> {
    let mut pipeline = redis::pipe();
    for id in ids {
        pipeline.cmd("TYPE").arg(store.keys.record(id));
    }
    let answers = store.link.pipeline(&pipeline, Effect::Read).await?;
    let others = answers.into_iter().map(|answer| {
        let kind = reply::text(checked(answer).map_err(|error| translate(error, false))?)?;
        // A string that is there now has just been registered: absent when we looked.
        Ok(!matches!(&*kind, b"none" | b"string"))
    });
    others.collect()
}
