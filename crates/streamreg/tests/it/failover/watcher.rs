//! A watcher that keeps a copy of the registry, as the documentation of watches describes.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};

use stream_registry::watch::{Event, Watch, WatchFrom};
use stream_registry::{Registry, StreamId};
use tokio::task::JoinHandle;
use tokio::time::{Duration, sleep};

/// The state of the watcher.
#[derive(Default)]
pub(super) struct Seen {
    /// The live streams and their publishers.
    pub(super) live: BTreeMap<StreamId, String>,
    /// All streams of the lists and events so far.
    pub(super) ever: HashSet<StreamId>,
    pub(super) resyncs: usize,
}

pub(super) struct Watcher {
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

impl Watcher {
    /// Takes a snapshot, and follows the registry from there.
    pub(super) async fn start(registry: Arc<dyn Registry>) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let watch = snapshot(&*registry, &seen).await.expect("the registry works at the start");
        Self { seen: Arc::clone(&seen), task: tokio::spawn(follow(registry, watch, seen)) }
    }

    pub(super) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Replaces the copy. Returns a watch from the revision of the snapshot.
async fn snapshot(registry: &dyn Registry, seen: &Mutex<Seen>) -> stream_registry::Result<Watch> {
    let snapshot = registry.snapshot().await?;
    let watch = registry.watch(WatchFrom::Revision(snapshot.revision.expect("the store has a feed"))).await?;
    let mut seen = seen.lock().unwrap();
    seen.live = snapshot.streams.into_iter().map(|stream| (stream.id, stream.source_addr)).collect();
    let ids: Vec<_> = seen.live.keys().cloned().collect();
    seen.ever.extend(ids);
    Ok(watch)
}

async fn follow(registry: Arc<dyn Registry>, mut watch: Watch, seen: Arc<Mutex<Seen>>) {
    while let Some(event) = watch.next().await {
        match event {
            Event::Changed { stream, .. } => {
                let mut seen = seen.lock().unwrap();
                seen.ever.insert(stream.id.clone());
                seen.live.insert(stream.id.clone(), stream.source_addr.clone());
            }
            Event::Ended { last, .. } => {
                seen.lock().unwrap().live.remove(&last.id);
            }
            Event::Resync { .. } => {
                seen.lock().unwrap().resyncs += 1;
                watch = loop {
                    match snapshot(&*registry, &seen).await {
                        Ok(watch) => break watch,
                        Err(_) => sleep(Duration::from_millis(50)).await,
                    }
                };
            }
            _ => {}
        }
    }
}
