//! Forwards every call through `Arc` and `Box`.

use std::num::NonZeroU32;
use std::sync::Arc;

use async_trait::async_trait;

use super::Registry;
use super::options::{Page, RegisterOptions, Registered, Snapshot, StoreInfo, UnregisterOptions, Write};
use crate::error::Result;
use crate::query::{By, Ended, Filter, Query, Summary};
use crate::stream::{Cursor, Stream, StreamId, StreamPatch, StreamStats, StreamStatus};
use crate::watch::{Event, Watch, WatchFrom};

macro_rules! forward {
    ($($pointer:ident)::+) => {
        #[deny(clippy::missing_trait_methods)]
        #[async_trait]
        impl<R: Registry + ?Sized> Registry for $($pointer)::+<R> {
            async fn register_with(&self, stream: &Stream, options: &RegisterOptions) -> Result<Registered> {
                (**self).register_with(stream, options).await
            }
            async fn unregister_with(&self, id: &StreamId, options: &UnregisterOptions) -> Result<Stream> {
                (**self).unregister_with(id, options).await
            }
            async fn write(&self, writes: &[Write]) -> Result<Vec<Result<()>>> {
                (**self).write(writes).await
            }
            async fn get(&self, id: &StreamId) -> Result<Stream> {
                (**self).get(id).await
            }
            async fn get_many(&self, ids: &[StreamId]) -> Result<Vec<Option<Stream>>> {
                (**self).get_many(ids).await
            }
            async fn snapshot(&self) -> Result<Snapshot> {
                (**self).snapshot().await
            }
            async fn list_page(&self, cursor: Option<&Cursor>, count: NonZeroU32) -> Result<Page> {
                (**self).list_page(cursor, count).await
            }
            async fn find(&self, query: &Query) -> Result<Page> {
                (**self).find(query).await
            }
            async fn summary(&self, filter: &Filter, by: By) -> Result<Summary> {
                (**self).summary(filter, by).await
            }
            async fn history(&self, ended: &Ended, limit: NonZeroU32) -> Result<Vec<Event>> {
                (**self).history(ended, limit).await
            }
            async fn watch(&self, from: WatchFrom) -> Result<Watch> {
                (**self).watch(from).await
            }
            async fn ping(&self) -> Result<()> {
                (**self).ping().await
            }
            async fn close(&self) -> Result<()> {
                (**self).close().await
            }
            async fn register(&self, stream: &Stream) -> Result<Registered> {
                (**self).register(stream).await
            }
            async fn register_new(&self, stream: &Stream, options: &RegisterOptions) -> Result<Registered> {
                (**self).register_new(stream, options).await
            }
            async fn unregister(&self, id: &StreamId) -> Result<Stream> {
                (**self).unregister(id).await
            }
            async fn delete(&self, id: &StreamId) -> Result<Stream> {
                (**self).delete(id).await
            }
            async fn list(&self) -> Result<Vec<Stream>> {
                (**self).list().await
            }
            async fn write_one(&self, write: Write) -> Result<()> {
                (**self).write_one(write).await
            }
            async fn update_heartbeat(&self, id: &StreamId) -> Result<()> {
                (**self).update_heartbeat(id).await
            }
            async fn update_status(&self, id: &StreamId, status: StreamStatus) -> Result<()> {
                (**self).update_status(id, status).await
            }
            async fn update_stats(&self, id: &StreamId, stats: &StreamStats) -> Result<()> {
                (**self).update_stats(id, stats).await
            }
            async fn patch(&self, id: &StreamId, patch: &StreamPatch) -> Result<()> {
                (**self).patch(id, patch).await
            }
            async fn update(&self, stream: &Stream) -> Result<()> {
                (**self).update(stream).await
            }
            fn info(&self) -> StoreInfo {
                (**self).info()
            }
        }
    };
}
forward!(Arc);
forward!(Box);
