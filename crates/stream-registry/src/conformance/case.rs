//! Helpers for behaviours: an open registry, test streams and checks.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::num::NonZeroU32;
use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::subject::Instance;
use crate::error::{Error, ErrorKind, Result};
use crate::registry::{Change, Guard, Page, RegisterOptions, Registry, Write};
use crate::stream::{InvalidValue, OperationId, Stream, StreamId, StreamStats, StreamStatus, StreamType};

/// The reason why a behaviour did not pass.
#[derive(Debug)]
pub(super) enum Fault {
    Failed(String),
    /// The store under test lacks the hook with this name.
    NoHook(&'static str),
    /// The streams expired before the behaviour could check them, so the behaviour has no result.
    TooLate,
}

pub(super) type Check<T = ()> = std::result::Result<T, Fault>;

impl From<InvalidValue> for Fault {
    fn from(invalid: InvalidValue) -> Self {
        Error::from(invalid).into()
    }
}

impl From<Error> for Fault {
    #[track_caller]
    fn from(error: Error) -> Self {
        fault(&format!("unexpected {error:?}"))
    }
}

#[track_caller]
pub(super) fn fault(message: &str) -> Fault {
    let caller = Location::caller();
    let file = caller.file().rsplit(['/', '\\']).next().unwrap_or_default();
    Fault::Failed(format!("{file}:{}: {message}", caller.line()))
}

/// Checks a condition.
#[track_caller]
pub(super) fn ensure(holds: bool, message: &str) -> Check {
    if holds { Ok(()) } else { Err(fault(message)) }
}

/// Checks that two values are equal.
#[track_caller]
pub(super) fn same<T: PartialEq + Debug>(subject: &str, actual: T, expected: T) -> Check {
    if actual == expected { Ok(()) } else { Err(fault(&format!("{subject}: expected {expected:?}, got {actual:?}"))) }
}

/// Checks that a call failed with an error of this kind, and returns the error.
#[track_caller]
pub(super) fn fails<T: Debug>(answer: Result<T>, kind: ErrorKind) -> Check<Error> {
    match answer {
        Err(error) if error.kind() == kind => Ok(error),
        other => Err(fault(&format!("expected an error of kind {kind}, got {other:?}"))),
    }
}

/// Runs calls concurrently, each in its own task, and returns their results in order.
pub(super) async fn concurrently<T: Send + 'static>(
    calls: impl IntoIterator<Item = impl Future<Output = T> + Send + 'static>,
) -> Check<Vec<T>> {
    let tasks: Vec<_> = calls.into_iter().map(tokio::spawn).collect();
    let mut answers = Vec::with_capacity(tasks.len());
    for task in tasks {
        answers.push(task.await.map_err(|error| fault(&format!("a task panicked: {error}")))?);
    }
    Ok(answers)
}

/// Parses the id of a test stream.
pub(super) fn id(name: &str) -> StreamId {
    name.parse().unwrap_or_else(|error| panic!("{name:?} is not a valid id: {error}"))
}

/// Returns a stream without optional fields. Most behaviours use such a stream.
pub(super) fn stream(name: &str) -> Stream {
    Stream::new(id(name), StreamType::Srt, "203.0.113.7:40112")
}

/// Returns a stream with every field set.
pub(super) fn full(name: &str) -> Stream {
    let mut full = stream(name);
    full.status = StreamStatus::Active;
    full.video_codec = "HEVC".to_owned();
    full.resolution = "1920x1080".to_owned();
    full.bitrate = 8_000_000;
    full.frame_rate = 59.94;
    full.bytes_received = 100_000_000_000_000;
    full.packets_received = 76_000_000_000;
    full.packets_lost = 12;
    full.node = Some("ingest-1".to_owned());
    full.labels = BTreeMap::from([("event".to_owned(), "derby".to_owned()), ("tenant".to_owned(), "acme".to_owned())]);
    full.audio_codec = Some("AAC".to_owned());
    full.rtt_ms = Some(12.5);
    full.jitter_ms = Some(0.25);
    full.packets_retransmitted = Some(34);
    full.packets_dropped = Some(5);
    full.viewers = Some(67);
    full
}

/// Returns the four statistics that every record has. A store may handle exactly these four in a special way.
pub(super) fn totals() -> StreamStats {
    StreamStats {
        bytes_received: Some(1),
        packets_received: Some(2),
        packets_lost: Some(3),
        bitrate: Some(4),
        ..StreamStats::default()
    }
}

/// Returns a write without a guard.
pub(super) fn write(to: &str, change: Change) -> Write {
    Write { id: id(to), guard: Guard::None, change }
}

/// Returns a copy of a record with both times set to zero. Two such copies are equal if all other fields are equal.
pub(super) fn without_times(stream: &Stream) -> Stream {
    let mut copy = stream.clone();
    copy.created_at = crate::Timestamp::ZERO;
    copy.last_heartbeat = crate::Timestamp::ZERO;
    copy
}

/// Returns the guard that the holder of a leased stream uses for its writes.
pub(super) fn holder(leased: &Stream) -> Check<Guard> {
    leased.epoch().cloned().map(Guard::Holder).ok_or_else(|| fault("the stream has no epoch"))
}

/// Converts a page size or limit to a nonzero number.
pub(super) fn count(count: u32) -> NonZeroU32 {
    NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN)
}

/// The open registry that one behaviour checks.
pub(super) struct Case {
    pub(super) instance: Box<dyn Instance>,
    registry: Arc<dyn Registry>,
    pub(super) ttl: Duration,
}

impl Case {
    pub(super) fn new(instance: Box<dyn Instance>, ttl: Duration) -> Self {
        Self { registry: instance.registry(), instance, ttl }
    }

    /// Returns the registry itself. Calls on it do not go through the implementation of `Registry` for `Arc`.
    pub(super) fn registry(&self) -> &dyn Registry {
        &*self.registry
    }

    pub(super) fn shared(&self) -> Arc<dyn Registry> {
        Arc::clone(&self.registry)
    }

    /// Returns an id that begins with `name` and is in the same part of the store as all other ids from this method.
    pub(super) fn together(&self, name: &str) -> String {
        let candidates = std::iter::once(name.to_owned()).chain((1_u32..).map(|number| format!("{name}~{number}")));
        candidates.into_iter().find(|id| self.instance.are_together("a", id)).unwrap_or_else(|| name.to_owned())
    }

    /// Returns a new operation id in the same part of the store as the ids from [`together`](Self::together).
    pub(super) fn operation(&self) -> OperationId {
        loop {
            let operation = OperationId::generate();
            if self.instance.are_together("a", operation.as_str()) {
                return operation;
            }
        }
    }

    /// Registers a stream and returns the record.
    pub(super) async fn put(&self, stream: &Stream) -> Check<Stream> {
        Ok(self.registry().register(stream).await?.stream)
    }

    /// Registers a stream without optional fields for each name.
    pub(super) async fn put_all(&self, names: impl IntoIterator<Item = String>) -> Check {
        let names: Vec<_> = names.into_iter().collect();
        // The calls run in groups, because a store may open a connection for each call.
        for group in names.chunks(32) {
            let calls = group.iter().map(|name| {
                let (registry, given) = (self.shared(), stream(name));
                async move { registry.register(&given).await }
            });
            for answer in concurrently(calls).await? {
                answer?;
            }
        }
        Ok(())
    }

    pub(super) async fn get(&self, name: &str) -> Check<Stream> {
        Ok(self.registry().get(&id(name)).await?)
    }

    /// Returns the sorted ids of the streams in the atomic list.
    pub(super) async fn listed(&self) -> Check<Vec<String>> {
        Ok(sorted(&self.registry().list().await?))
    }

    /// Returns the sorted ids of the streams on all pages, including duplicates.
    pub(super) async fn paged(&self, size: u32) -> Check<Vec<String>> {
        let mut found = Vec::new();
        self.pages(size, |page| found.extend(page.streams)).await?;
        Ok(sorted(&found))
    }

    /// Reads all pages and calls `each` with every page.
    pub(super) async fn pages(&self, size: u32, mut each: impl FnMut(Page)) -> Check {
        let mut cursor = None;
        for _ in 0..100_000 {
            let page = self.registry().list_page(cursor.as_ref(), count(size)).await?;
            cursor.clone_from(&page.next);
            each(page);
            if cursor.is_none() {
                return Ok(());
            }
        }
        Err(fault("the pages do not end"))
    }

    /// Lets a fraction of the time to live pass. A store with a real clock waits; other stores move their clock.
    pub(super) async fn pass(&self, part: f64) {
        self.instance.advance(self.ttl.mul_f64(part)).await;
    }

    /// Checks that a stream is live. `since` is the time when the last call that renewed the stream was sent.
    pub(super) async fn assert_live(&self, name: &str, since: Instant) -> Check<Stream> {
        match self.registry().get(&id(name)).await {
            Err(error) if error.kind() == ErrorKind::NotFound && since.elapsed() >= self.ttl => Err(Fault::TooLate),
            other => Ok(other.map_err(|error| fault(&format!("{name} is not live: {error}")))?),
        }
    }

    /// Checks that a stream is not live.
    pub(super) async fn assert_gone(&self, name: &str) -> Check {
        fails(self.registry().get(&id(name)).await, ErrorKind::NotFound)?;
        ensure(!self.listed().await?.iter().any(|listed| listed == name), &format!("{name} is still in the list"))
    }

    /// Checks that the JSON of the stored record still equals that of `before`.
    pub(super) async fn unchanged(&self, before: &Stream) -> Check {
        let now = self.registry().get(&before.id).await?;
        same("the record", now.to_json(), before.to_json())
    }

    /// Registers a leased stream and returns the record.
    pub(super) async fn lease(&self, stream: &Stream) -> Check<Stream> {
        let registered = self.registry().register_with(stream, &RegisterOptions::default().lease()).await?;
        same("the answer's epoch", registered.epoch.as_ref(), registered.stream.epoch())?;
        Ok(registered.stream)
    }

    /// Shortens the remaining time of a stream by a fraction of the time to live, as if its last write was older.
    pub(super) async fn age(&self, name: &str, part: f64) -> Check {
        self.instance.age(&id(name), self.ttl.mul_f64(part)).await.ok_or(Fault::NoHook("age"))
    }

    /// Stores raw JSON under an id, as another program would.
    pub(super) async fn put_stored(&self, name: &str, json: &str) -> Check {
        self.instance.put_stored(&id(name), json).await.ok_or(Fault::NoHook("put_stored"))
    }
}

pub(super) fn sorted(streams: &[Stream]) -> Vec<String> {
    let mut ids: Vec<_> = streams.iter().map(|stream| stream.id.as_str().to_owned()).collect();
    ids.sort();
    ids
}
