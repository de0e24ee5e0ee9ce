//! Passes the changes of all servers to the store.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use adapters::reconcile::Change;
use stream_registry::StreamId;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::held::{self, Store, Wanted};
use super::repeats::Repeats;

/// Maximum time for which a bridge that stops waits for streams that have just ended.
const FINISH_TIMEOUT: Duration = Duration::from_secs(2);

/// Where the changes go.
#[derive(Clone)]
pub(super) enum Sink {
    /// To the store.
    Store(Arc<Publisher>),
    /// To the task that prints lines, for `--dry-run`. If standard output is blocked, lines are lost.
    Print(mpsc::Sender<String>),
}

impl Sink {
    pub(super) fn apply(&self, changes: Vec<Change>) {
        for change in changes {
            match self {
                Self::Store(publisher) => publisher.apply(change),
                Self::Print(lines) => {
                    if let Some(line) = line(&change) {
                        let _ = lines.try_send(line);
                    }
                }
            }
        }
    }
}

fn line(change: &Change) -> Option<String> {
    match change {
        Change::Register(stream) => {
            Some(format!("register {:?}: {} from {:?}", stream.id.as_str(), stream.kind, stream.source_addr))
        }
        Change::Unregister { id, reason } => Some(format!("unregister {:?}: {reason}", id.as_str())),
        Change::Update { .. } => None,
    }
}

/// Has one task per stream, so that a stream whose write fails does not delay the others.
pub(super) struct Publisher {
    /// `None` until the store was reached.
    store: watch::Receiver<Option<Store>>,
    streams: Mutex<HashMap<StreamId, watch::Sender<Wanted>>>,
    /// The number of streams that have ended, but may still be registered.
    ending: watch::Sender<usize>,
    warnings: Arc<Repeats>,
}

impl Publisher {
    pub(super) fn new(store: watch::Receiver<Option<Store>>) -> Arc<Self> {
        let (ending, _) = watch::channel(0);
        Arc::new(Self { store, streams: Mutex::default(), ending, warnings: Arc::default() })
    }

    fn apply(&self, change: Change) {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        match change {
            Change::Register(stream) => match streams.get(&stream.id) {
                Some(wanted) => wanted.send_modify(|wanted| {
                    wanted.record = *stream;
                    wanted.connections += 1;
                }),
                None => {
                    let id = stream.id.clone();
                    let (sender, wanted) = watch::channel(Wanted { record: *stream, connections: 1, end: None });
                    streams.insert(id, sender);
                    let (store, ending, warnings) =
                        (self.store.clone(), self.ending.clone(), Arc::clone(&self.warnings));
                    tokio::spawn(async move {
                        held::run(store, wanted, warnings).await;
                        ending.send_modify(|ending| *ending -= 1);
                    });
                }
            },
            Change::Update { id, status, stats, patch } => {
                let Some(wanted) = streams.get(&id) else { return };
                wanted.send_modify(|wanted| {
                    wanted.record.update_stats(&stats);
                    wanted.record.apply_patch(&patch);
                    if let Some(status) = status {
                        wanted.record.set_status(status);
                    }
                });
            }
            // If the stream starts again, it gets a new task. The epoch of the new lease protects the stream from the
            // release of the old one.
            Change::Unregister { id, reason } => {
                let Some(wanted) = streams.remove(&id) else { return };
                self.ending.send_modify(|ending| *ending += 1);
                wanted.send_modify(|wanted| wanted.end = Some(reason));
            }
        }
    }

    /// Waits until the streams that have ended are unregistered, but not longer than 2 s.
    pub(super) async fn finish(&self) {
        let _ = timeout(FINISH_TIMEOUT, self.ending.subscribe().wait_for(|ending| *ending == 0)).await;
    }
}
