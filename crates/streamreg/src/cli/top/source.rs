//! Reads the registry for `top`: a view that follows the change feed, and readings of what the feed does not report.
//!
//! The feed reports neither statistics nor heartbeats. So the streams on the screen are read again every 2 s, and all
//! streams at the pace of `pace`.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use stream_registry::query::Ended;
use stream_registry::view::{View, ViewOptions};
use stream_registry::{Error, ErrorKind, Registry};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::data::{Data, Wants};
use super::pace::Pace;
use super::recorder::Recorder;
use super::tap::Tap;
use crate::cli::outage;
use crate::cli::output::Zone;

/// Time between two readings of the streams on the screen.
const ROWS: Duration = Duration::from_secs(2);
/// Shortest time between two copies of the data. Faster changes of a table cannot be read.
const PUBLISH: Duration = Duration::from_millis(500);
/// Number of ended streams that are read.
const ENDED: NonZeroU32 = NonZeroU32::MIN.saturating_add(199);

/// The running source. Its tasks end when it is dropped.
pub(in crate::cli) struct Source {
    /// The newest copy of the registry.
    pub(in crate::cli) data: watch::Receiver<Arc<Data>>,
    /// What has to be read.
    pub(in crate::cli) wants: watch::Sender<Wants>,
    _tasks: JoinSet<()>,
}

impl Source {
    /// Starts to read a registry. `start` is the start of the program.
    pub(in crate::cli) fn start(inner: Arc<dyn Registry>, start: Instant) -> Self {
        let recorder = Arc::new(Recorder::default());
        let registry = Arc::new(Tap { inner, recorder: Arc::clone(&recorder) });
        let view = View::new(registry.clone(), ViewOptions::default());
        let (wants, wanted) = watch::channel(Wants::default());
        let publisher = Publisher { registry: registry.clone(), view: view.clone(), start, zone: Zone::utc() };
        let (send, data) = watch::channel(Arc::new(publisher.copy(&Wants::default())));
        let mut tasks = JoinSet::new();
        tasks.spawn(publisher.run(wanted.clone(), send));
        tasks.spawn(Reader { registry, view, ends: None, pace: Pace::new(Instant::now()) }.run(wanted));
        Self { data, wants, _tasks: tasks }
    }
}

/// Publishes copies of the data when something has changed.
struct Publisher {
    registry: Arc<Tap>,
    view: View,
    start: Instant,
    /// The time zone of an outage, which is that of the times in the details.
    zone: Zone,
}

impl Publisher {
    async fn run(self, mut wanted: watch::Receiver<Wants>, send: watch::Sender<Arc<Data>>) {
        loop {
            let next = Instant::now() + PUBLISH;
            let wants = wanted.borrow_and_update().clone();
            if send.send(Arc::new(self.copy(&wants))).is_err() {
                return;
            }
            // Another detail pane needs other data at once.
            let other_detail = async { wanted.wait_for(|now| now.detail != wants.detail).await.is_ok() };
            let changed = async {
                self.registry.recorder.changed.notified().await;
                sleep_until(next).await;
                true
            };
            let is_wanted = tokio::select! {
                is_wanted = other_detail => is_wanted,
                is_wanted = changed => is_wanted,
            };
            if !is_wanted {
                return;
            }
        }
    }

    fn copy(&self, wants: &Wants) -> Data {
        let record = self.registry.recorder.lock();
        let health = &record.health;
        // While the store does not answer, ages must not grow: the streams may well send heartbeats.
        let answered = health.answered.filter(|_| health.error.is_some());
        Data {
            ready: self.view.is_ready(),
            streams: self.view.all(),
            now: answered.unwrap_or_else(|| self.registry.now()),
            age: self.view.age(),
            outage: health.error.as_ref().map(|error| outage::describe(error, health.answered, &self.zone)),
            at: self.start.elapsed(),
            unreadable: self.view.unreadable(),
            bitrates: record.statistics.totals(),
            taken_over: record.taken_over(),
            detail: wants.detail.as_ref().map(|id| record.detail(id)),
            ended: record.ended.clone(),
        }
    }
}

/// Reads what the change feed does not report.
struct Reader {
    registry: Arc<Tap>,
    view: View,
    /// The number of ends that the list of ended streams includes.
    ends: Option<u64>,
    pace: Pace,
}

impl Reader {
    async fn run(mut self, mut wanted: watch::Receiver<Wants>) {
        let mut ticks = interval(ROWS);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let wants = wanted.borrow_and_update().clone();
            // The list of ended streams is read as soon as it is shown.
            let opens_ended = async { wanted.wait_for(|now| now.ended && !wants.ended).await.is_ok() };
            tokio::select! {
                _ = ticks.tick() => self.rows(&wants).await,
                () = sleep_until(self.pace.due), if self.view.is_ready() => self.all().await,
                is_wanted = opens_ended => if !is_wanted {
                    return;
                },
            }
            let shows_ended = wanted.borrow().ended;
            if shows_ended {
                self.ended().await;
            } else {
                self.ends = None;
            }
        }
    }

    /// Reads the streams on the screen. If the screen has no streams, only checks that the store answers.
    async fn rows(&mut self, wants: &Wants) {
        let ids: Vec<_> = wants.visible.iter().chain(&wants.detail).cloned().collect();
        let done = if ids.is_empty() || !self.view.is_ready() {
            self.registry.ping().await
        } else {
            self.view.refresh_many(&ids).await
        };
        self.pace.check(self.view.metrics().resyncs, done.is_ok(), Instant::now());
        self.note(done.err());
    }

    /// Reads all streams, for totals and sorting.
    async fn all(&mut self) {
        let start = Instant::now();
        let done = self.view.reconcile().await;
        let usual = self.pace.interval;
        self.pace.plan(start.elapsed(), done.is_ok(), Instant::now());
        match done {
            Ok(()) => {
                self.registry.recorder.lock().reading(&self.view.all(), usual);
                self.note(None);
            }
            // The view was loaded again during the reading, or the store is unreachable. The next reading of the
            // streams on the screen tells.
            Err(error) if error.kind() == ErrorKind::Unavailable => {}
            Err(error) => self.note(Some(error)),
        }
    }

    async fn ended(&mut self) {
        let ends = self.registry.recorder.lock().ends;
        if self.ends == Some(ends) {
            return;
        }
        let ended = self.registry.history(&Ended::default(), ENDED).await;
        self.ends = ended.is_ok().then_some(ends);
        let ended = ended.map(Arc::new).map_err(|error| error.message().to_owned());
        self.registry.recorder.lock().ended = Some(ended);
        self.registry.recorder.changed.notify_one();
    }

    fn note(&self, error: Option<Error>) {
        self.registry.recorder.answer(error, self.registry.now());
    }
}

#[cfg(test)]
mod tests {
    use stream_registry::mock::MockRegistry;
    use stream_registry::registry::Operation;
    use stream_registry::{Stream, StreamStats, StreamType};
    use tokio::time::timeout;

    use super::*;

    /// Waits until the data meets a condition. Tokio's clock is paused, so this takes no real time.
    async fn until(source: &mut Source, is_met: impl Fn(&Data) -> bool) -> Arc<Data> {
        let met = timeout(Duration::from_secs(60), source.data.wait_for(|data| is_met(data))).await;
        Arc::clone(&met.expect("the data meets the condition in time").unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn all_streams_are_read_at_once_when_the_store_is_back() {
        let store = Arc::new(MockRegistry::new());
        let stream = Stream::new("cam1".parse().unwrap(), StreamType::Srt, "203.0.113.7:40112");
        store.register(&stream).await.unwrap();
        let mut source = Source::start(store.clone(), Instant::now());
        until(&mut source, |data| data.bitrates.len() == 1).await;
        // The checks after 2 s and 4 s fail, and so does the reading of all streams after 5 s.
        for operation in [Operation::Ping, Operation::Ping, Operation::ListPage] {
            store.fail_next(operation, ErrorKind::Unavailable);
        }
        until(&mut source, |data| data.outage.is_some()).await;
        let stats = StreamStats { bitrate: Some(9), ..StreamStats::default() };
        store.update_stats(&stream.id, &stats).await.unwrap();
        let back = until(&mut source, |data| data.outage.is_none()).await;
        let read = until(&mut source, |data| data.streams[0].bitrate == 9).await;
        assert!(read.at < back.at + ROWS, "{:?} {:?}", back.at, read.at);
    }
}
