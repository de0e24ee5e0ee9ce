//! A wrapper that counts the calls of a registry.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use async_trait::async_trait;

use super::counters::CallCounters;
use super::snapshot::MetricsSnapshot;
use crate::error::{Operation, Result};
use crate::query::{By, Ended, Filter, Query, Summary};
use crate::registry::{Page, RegisterOptions, Registered, Registry, Snapshot, UnregisterOptions, Write};
use crate::stream::{Cursor, Stream, StreamId};
use crate::watch::{Event, Watch, WatchFrom};

/// Returns a registry that counts its calls, for [`Registry::metrics`]. If the registry already counts its calls, it is
/// returned unchanged.
///
/// Counting costs two readings of the clock and a few atomic additions per call.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> stream_registry::Result<()> {
/// use std::sync::Arc;
/// use stream_registry::metrics::counted;
/// use stream_registry::{MemoryRegistry, Registry};
///
/// let registry = counted(Arc::new(MemoryRegistry::new()));
/// registry.ping().await?;
/// assert_eq!(registry.metrics().calls.expect("it counts its calls").operations[0].results.ok, 1);
/// # Ok(()) }
/// ```
pub fn counted(registry: Arc<dyn Registry>) -> Arc<dyn Registry> {
    match registry.metrics().calls {
        Some(_) => registry,
        None => Arc::new(Counted { inner: registry, counters: CallCounters::default() }),
    }
}

struct Counted {
    inner: Arc<dyn Registry>,
    counters: CallCounters,
}

impl fmt::Debug for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl Counted {
    async fn count<T>(&self, operation: Operation, answer: impl Future<Output = Result<T>>) -> Result<T> {
        let call = self.counters.begin(operation);
        let answer = answer.await;
        call.end(answer.as_ref());
        answer
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Registry for Counted {
    async fn register_with(&self, stream: &Stream, options: &RegisterOptions) -> Result<Registered> {
        let answer = self.count(Operation::Register, self.inner.register_with(stream, options)).await;
        self.counters.add_registration(options.recover.is_some(), &answer);
        answer
    }

    async fn register_new(&self, stream: &Stream, options: &RegisterOptions) -> Result<Registered> {
        let answer = self.count(Operation::Register, self.inner.register_new(stream, options)).await;
        self.counters.add_registration(false, &answer);
        answer
    }

    async fn unregister_with(&self, id: &StreamId, options: &UnregisterOptions) -> Result<Stream> {
        self.count(Operation::Unregister, self.inner.unregister_with(id, options)).await
    }

    async fn write(&self, writes: &[Write]) -> Result<Vec<Result<()>>> {
        let operation = match writes {
            [write] => write.change.operation(),
            _ => Operation::Write,
        };
        let call = self.counters.begin(operation);
        let answers = self.inner.write(writes).await;
        match &answers {
            Ok(answers) => {
                // The result of a single write is the result of its call.
                call.end(if let [answer] = answers.as_slice() { answer.as_ref() } else { Ok(&()) });
                for (write, answer) in writes.iter().zip(answers) {
                    self.counters.add_write(write.change.operation(), answer.as_ref());
                }
            }
            Err(error) => {
                call.end::<()>(Err(error));
                writes.iter().for_each(|write| self.counters.add_write(write.change.operation(), Err(error)));
            }
        }
        answers
    }

    async fn get(&self, id: &StreamId) -> Result<Stream> {
        self.count(Operation::Get, self.inner.get(id)).await
    }

    async fn get_many(&self, ids: &[StreamId]) -> Result<Vec<Option<Stream>>> {
        self.count(Operation::Get, self.inner.get_many(ids)).await
    }

    async fn snapshot(&self) -> Result<Snapshot> {
        self.count(Operation::List, self.inner.snapshot()).await
    }

    async fn list_page(&self, cursor: Option<&Cursor>, count: NonZeroU32) -> Result<Page> {
        self.count(Operation::ListPage, self.inner.list_page(cursor, count)).await
    }

    async fn find(&self, query: &Query) -> Result<Page> {
        self.count(Operation::Find, self.inner.find(query)).await
    }

    async fn summary(&self, filter: &Filter, by: By) -> Result<Summary> {
        self.count(Operation::Summary, self.inner.summary(filter, by)).await
    }

    async fn history(&self, ended: &Ended, limit: NonZeroU32) -> Result<Vec<Event>> {
        self.count(Operation::History, self.inner.history(ended, limit)).await
    }

    async fn watch(&self, from: WatchFrom) -> Result<Watch> {
        self.count(Operation::Watch, self.inner.watch(from)).await
    }

    async fn ping(&self) -> Result<()> {
        self.count(Operation::Ping, self.inner.ping()).await
    }

    fn metrics(&self) -> MetricsSnapshot {
        MetricsSnapshot { calls: Some(self.counters.read()), ..self.inner.metrics() }
    }

    crate::forward_registry!(|this| this.inner => info, now, close);
    // The conveniences call the methods above, so their calls are counted, too.
    crate::forward_registry!(provided => conveniences);
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::error::ErrorKind;
    use crate::memory::MemoryRegistry;
    use crate::mock::MockRegistry;
    use crate::registry::metrics::{CallMetrics, OperationMetrics, ResultCounts};
    use crate::registry::{Change, OnConflict};
    use crate::stream::StreamType;

    fn stream(id: &str, source: &str) -> Stream {
        Stream::new(id.parse().unwrap(), StreamType::Srt, source)
    }

    fn calls(registry: &Arc<dyn Registry>) -> CallMetrics {
        registry.metrics().calls.unwrap()
    }

    fn of(calls: &CallMetrics, operation: Operation) -> Option<&OperationMetrics> {
        calls.operations.iter().find(|calls| calls.operation == operation)
    }

    #[tokio::test]
    async fn registrations_are_counted_by_result() {
        let mock = Arc::new(MockRegistry::new());
        let registry = counted(Arc::clone(&mock) as _);
        registry.register(&stream("a", "h:1")).await.unwrap();
        registry.register(&stream("a", "h:1")).await.unwrap();
        registry.register(&stream("a", "other:1")).await.unwrap_err();
        let take_over = RegisterOptions::default().on_conflict(OnConflict::TakeOver);
        registry.register_with(&stream("a", "other:1"), &take_over).await.unwrap();
        registry.register_new(&stream("ignored", "h:2"), &RegisterOptions::default()).await.unwrap();
        mock.fail_next(Operation::Register, ErrorKind::Unavailable);
        registry.register(&stream("b", "h:1")).await.unwrap_err();
        let leased = registry.register_with(&stream("b", "h:1"), &RegisterOptions::default().lease()).await.unwrap();
        mock.advance(Duration::from_secs(3_600));
        let recover = RegisterOptions::default().lease().recover(leased.epoch.unwrap());
        registry.register_with(&stream("b", "h:1"), &recover).await.unwrap();

        let calls = calls(&registry);
        let counts = calls.registrations;
        assert_eq!((counts.created, counts.renewed, counts.taken_over, counts.recovered), (3, 1, 1, 1));
        assert_eq!((counts.rejected, counts.failed), (1, 1));
        let results = &of(&calls, Operation::Register).unwrap().results;
        assert_eq!(results.errors, [(ErrorKind::AlreadyExists, 1), (ErrorKind::Unavailable, 1)]);
        assert_eq!(results.ok, 6);
    }

    #[tokio::test]
    async fn single_writes_count_as_their_change_and_batches_count_each_write() {
        let mock = Arc::new(MockRegistry::new());
        let registry = counted(Arc::clone(&mock) as _);
        let (live, missing) = (stream("a", "h:1").id, stream("missing", "h:1").id);
        registry.register(&stream("a", "h:1")).await.unwrap();
        registry.update_heartbeat(&live).await.unwrap();
        registry.update_heartbeat(&missing).await.unwrap_err();
        let batch = [Write::new(&live, Change::Heartbeat), Write::new(&missing, Change::Heartbeat)];
        registry.write(&batch).await.unwrap();
        mock.fail_next(Operation::Write, ErrorKind::Timeout);
        registry.write(&batch).await.unwrap_err();

        let calls = calls(&registry);
        let single = &of(&calls, Operation::Heartbeat).unwrap().results;
        assert_eq!((single.ok, single.errors.as_slice()), (1, [(ErrorKind::NotFound, 1)].as_slice()));
        let batches = of(&calls, Operation::Write).unwrap();
        assert_eq!((batches.results.ok, batches.results.errors.as_slice()), (1, [(ErrorKind::Timeout, 1)].as_slice()));
        assert_eq!(batches.durations.count(), 2);
        let [heartbeats] = calls.writes.as_slice() else { panic!("expected heartbeats only: {:?}", calls.writes) };
        let errors = [(ErrorKind::NotFound, 2), (ErrorKind::Timeout, 2)];
        assert_eq!((heartbeats.results.ok, heartbeats.results.errors.as_slice()), (2, errors.as_slice()));
    }

    #[tokio::test]
    async fn cancelled_call_is_counted_with_its_duration() {
        let mock = Arc::new(MockRegistry::new());
        let registry = counted(Arc::clone(&mock) as _);
        mock.delay(Operation::Ping, Duration::from_secs(3_600));
        tokio::time::timeout(Duration::from_millis(20), registry.ping()).await.unwrap_err();
        let calls = calls(&registry);
        let ping = of(&calls, Operation::Ping).unwrap();
        assert_eq!(ping.results, ResultCounts { cancelled: 1, ..ResultCounts::default() });
        assert!(ping.durations.sum >= Duration::from_millis(15), "{ping:?}");
    }

    #[tokio::test]
    async fn every_operation_is_counted_once() {
        let registry = counted(Arc::new(MemoryRegistry::new()));
        let cam = stream("a", "h:1");
        registry.register(&cam).await.unwrap();
        registry.get(&cam.id).await.unwrap();
        registry.list().await.unwrap();
        registry.list_page(None, NonZeroU32::MIN).await.unwrap();
        registry.find(&Query::default()).await.unwrap();
        registry.summary(&Filter::default(), By::Type).await.unwrap();
        registry.history(&Ended::default(), NonZeroU32::MIN).await.unwrap();
        registry.watch(WatchFrom::Now).await.unwrap();
        registry.ping().await.unwrap();
        registry.unregister(&cam.id).await.unwrap();
        let calls = calls(&registry);
        let counted: Vec<_> = calls.operations.iter().map(|calls| calls.operation.as_str()).collect();
        let expected =
            ["register", "unregister", "get", "list", "list_page", "find", "summary", "history", "watch", "ping"];
        assert_eq!(counted, expected);
        assert!(calls.operations.iter().all(|calls| calls.results.ok == 1 && calls.durations.count() == 1));
    }

    #[test]
    fn registry_that_counts_is_not_wrapped_again() {
        let registry = counted(Arc::new(MemoryRegistry::new()));
        assert!(Arc::ptr_eq(&registry, &counted(Arc::clone(&registry))));
    }

    #[test]
    fn counting_a_call_takes_less_than_a_microsecond() {
        // The bound is ten times the promised cost, because tests run unoptimised on busy machines. The fastest of many
        // rounds counts.
        let counters = CallCounters::default();
        let round = || {
            let started = Instant::now();
            (0..1_000).for_each(|_| counters.begin(Operation::Get).end::<()>(Ok(&())));
            started.elapsed()
        };
        let fastest = (0..50).map(|_| round()).min().unwrap();
        assert!(fastest < Duration::from_millis(1), "1 000 calls took {fastest:?}");
    }
}
