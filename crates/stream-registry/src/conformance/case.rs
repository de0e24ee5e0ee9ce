//! What behaviours work with: an open registry, made-up streams, and checks that say what was found.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::num::NonZeroU32;
use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::subject::Instance;
use crate::error::{Error, ErrorKind, Result};
use crate::registry::{Change, Guard, Page, RegisterOptions, Registry, Write};
use crate::stream::{InvalidValue, Stream, StreamId, StreamStatus, StreamType};

/// Why a behaviour did not pass.
#[derive(Debug)]
pub(super) enum Fault {
    Failed(String),
    /// The subject lacks this hook.
    NoHook(&'static str),
    /// The time to live was over before the behaviour could look: nothing was found out.
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
pub(super) fn fault(what: &str) -> Fault {
    let place = Location::caller();
    let file = place.file().rsplit(['/', '\\']).next().unwrap_or_default();
    Fault::Failed(format!("{file}:{}: {what}", place.line()))
}

/// Checks that something holds.
#[track_caller]
pub(super) fn ensure(holds: bool, what: &str) -> Check {
    if holds { Ok(()) } else { Err(fault(what)) }
}

/// Checks that two values are the same.
#[track_caller]
pub(super) fn same<T: PartialEq + Debug>(what: &str, is: T, should: T) -> Check {
    if is == should { Ok(()) } else { Err(fault(&format!("{what} is {is:?} and should be {should:?}"))) }
}

/// Checks that a call failed in this way, and returns the error.
#[track_caller]
pub(super) fn fails<T: Debug>(answer: Result<T>, kind: ErrorKind) -> Check<Error> {
    match answer {
        Err(error) if error.kind() == kind => Ok(error),
        other => Err(fault(&format!("{other:?}, and should fail with {kind}"))),
    }
}

/// Runs calls on tasks of their own and returns their answers in order.
pub(super) async fn at_once<T: Send + 'static>(
    calls: impl IntoIterator<Item = impl Future<Output = T> + Send + 'static>,
) -> Check<Vec<T>> {
    let tasks: Vec<_> = calls.into_iter().map(tokio::spawn).collect();
    let mut answers = Vec::with_capacity(tasks.len());
    for task in tasks {
        answers.push(task.await.map_err(|error| fault(&format!("a task failed: {error}")))?);
    }
    Ok(answers)
}

/// Parses an id that the suite itself wrote down.
pub(super) fn id(text: &str) -> StreamId {
    text.parse().unwrap_or_else(|error| panic!("{text:?} should be legal: {error}"))
}

/// Makes the plain stream that most behaviours use.
pub(super) fn stream(name: &str) -> Stream {
    Stream::new(id(name), StreamType::Srt, "203.0.113.7:40112")
}

/// Makes a stream with every field set.
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

/// A write without a guard.
pub(super) fn write(to: &str, change: Change) -> Write {
    Write { id: id(to), guard: Guard::None, change }
}

/// The record with its times and end reason blanked, to compare what a caller gave.
pub(super) fn timeless(stream: &Stream) -> Stream {
    let mut copy = stream.clone();
    copy.created_at = crate::Timestamp::ZERO;
    copy.last_heartbeat = crate::Timestamp::ZERO;
    copy
}

/// The guard of a leased stream's holder.
pub(super) fn holder(leased: &Stream) -> Check<Guard> {
    leased.epoch().cloned().map(Guard::Holder).ok_or_else(|| fault("the stream has no epoch"))
}

/// A count for pages.
pub(super) fn count(count: u32) -> NonZeroU32 {
    NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN)
}

/// One behaviour's registry.
pub(super) struct Case {
    pub(super) instance: Box<dyn Instance>,
    registry: Arc<dyn Registry>,
    pub(super) ttl: Duration,
}

impl Case {
    pub(super) fn new(instance: Box<dyn Instance>, ttl: Duration) -> Self {
        Self { registry: instance.registry(), instance, ttl }
    }

    /// The registry itself, not the implementation for the pointer.
    pub(super) fn registry(&self) -> &dyn Registry {
        &*self.registry
    }

    pub(super) fn shared(&self) -> Arc<dyn Registry> {
        Arc::clone(&self.registry)
    }

    /// Registers a stream and returns the record.
    pub(super) async fn put(&self, stream: &Stream) -> Check<Stream> {
        Ok(self.registry().register(stream).await?.stream)
    }

    /// Registers a plain stream for each name.
    pub(super) async fn put_all(&self, names: impl IntoIterator<Item = String>) -> Check {
        let names: Vec<_> = names.into_iter().collect();
        // Some at a time: a store may open a connection for each call.
        for some in names.chunks(32) {
            let calls = some.iter().map(|name| {
                let (registry, given) = (self.shared(), stream(name));
                async move { registry.register(&given).await }
            });
            for answer in at_once(calls).await? {
                answer?;
            }
        }
        Ok(())
    }

    pub(super) async fn get(&self, name: &str) -> Check<Stream> {
        Ok(self.registry().get(&id(name)).await?)
    }

    /// The ids of the atomic list, sorted.
    pub(super) async fn listed(&self) -> Check<Vec<String>> {
        Ok(sorted(&self.registry().list().await?))
    }

    /// The ids of all pages, sorted, with repetitions.
    pub(super) async fn paged(&self, size: u32) -> Check<Vec<String>> {
        let mut found = Vec::new();
        self.pages(size, |page| found.extend(page.streams)).await?;
        Ok(sorted(&found))
    }

    /// Reads pages to the end.
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

    /// Lets a part of the time to live pass.
    pub(super) async fn pass(&self, part: f64) {
        self.instance.advance(self.ttl.mul_f64(part)).await;
    }

    /// Checks that a stream is live whose time was renewed by a call that was sent at `since`.
    pub(super) async fn lives(&self, name: &str, since: Instant) -> Check<Stream> {
        match self.registry().get(&id(name)).await {
            Err(error) if error.kind() == ErrorKind::NotFound && since.elapsed() >= self.ttl => Err(Fault::TooLate),
            other => Ok(other.map_err(|error| fault(&format!("{name} should still live: {error}")))?),
        }
    }

    /// Checks that a stream is not live.
    pub(super) async fn is_gone(&self, name: &str) -> Check {
        fails(self.registry().get(&id(name)).await, ErrorKind::NotFound)?;
        ensure(!self.listed().await?.iter().any(|listed| listed == name), &format!("{name} is still in the list"))
    }

    /// Checks that the stored record is, in every byte, what it was.
    pub(super) async fn unchanged(&self, before: &Stream) -> Check {
        let now = self.registry().get(&before.id).await?;
        same("the record", now.to_json(), before.to_json())
    }

    /// Registers a leased stream and returns the record.
    pub(super) async fn lease(&self, stream: &Stream) -> Check<Stream> {
        let registered = self.registry().register_with(stream, &RegisterOptions::default().lease(true)).await?;
        same("the answer's epoch", registered.epoch.as_ref(), registered.stream.epoch())?;
        Ok(registered.stream)
    }

    /// Lets a stream look as if nobody had written it for a part of the time to live longer.
    pub(super) async fn age(&self, name: &str, part: f64) -> Check {
        self.instance.age(&id(name), self.ttl.mul_f64(part)).await.ok_or(Fault::NoHook("age"))
    }

    /// Puts a record as another program would.
    pub(super) async fn put_stored(&self, name: &str, text: &str) -> Check {
        self.instance.put_stored(&id(name), text).await.ok_or(Fault::NoHook("put_stored"))
    }
}

pub(super) fn sorted(streams: &[Stream]) -> Vec<String> {
    let mut ids: Vec<_> = streams.iter().map(|stream| stream.id.as_str().to_owned()).collect();
    ids.sort();
    ids
}
