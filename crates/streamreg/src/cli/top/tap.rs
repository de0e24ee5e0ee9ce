//! A registry that records the events of its watches. So the view of `top` and its notes share one watch.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use stream_registry::watch::{Watch, WatchFrom};
use stream_registry::{Registry, Result, forward_registry};

use super::recorder::Recorder;

#[derive(Debug)]
pub(super) struct Tap {
    pub(super) inner: Arc<dyn Registry>,
    pub(super) recorder: Arc<Recorder>,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Registry for Tap {
    forward_registry!(|this| this.inner => register_with, unregister_with, write, get, snapshot, list_page, ping, info, now,
        close, metrics, get_many, find, summary, history, register_new, conveniences);

    async fn watch(&self, from: WatchFrom) -> Result<Watch> {
        let watch = self.inner.watch(from).await?;
        let start = watch.start().cloned();
        let recorder = Arc::clone(&self.recorder);
        let watch = Watch::new(watch.inspect(move |event| recorder.event(event)));
        Ok(match start {
            Some(start) => watch.starting_after(start),
            None => watch,
        })
    }
}
