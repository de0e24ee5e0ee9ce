//! Streams that have ended, out of what the change feed still keeps.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::time::Duration;

use stream_registry::{
    Error, ErrorKind, Event, Operation, Registry, Result, Revision, Stream, StreamId, StreamType, WatchFrom,
};
use tokio::time::timeout;

/// How many are shown where nobody says.
pub(crate) const DEFAULT_LIMIT: usize = 100;
/// The most that are shown.
pub(crate) const MAX_LIMIT: usize = 10_000;
/// How long the next event may take: all of them are there already.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a reading may take in all.
const LONGEST: Duration = Duration::from_secs(30);
/// How often it begins anew where the oldest events went before they could be read.
const TRIES: u32 = 8;

/// Which streams.
#[derive(Clone, Debug, Default)]
pub(crate) struct Which {
    pub(crate) id: Option<StreamId>,
    pub(crate) kind: Option<StreamType>,
    pub(crate) node: Option<String>,
}

impl Which {
    fn has(&self, stream: &Stream) -> bool {
        self.id.as_ref().is_none_or(|id| stream.id == *id)
            && self.kind.as_ref().is_none_or(|kind| stream.kind == *kind)
            && self.node.as_ref().is_none_or(|node| stream.node.as_ref() == Some(node))
    }
}

/// Returns the ends of streams, the last one first: at most `limit` of them.
///
/// Reads the whole feed that is kept; a stream whose id was taken over has not ended.
///
/// # Errors
///
/// `Unsupported` where the store has no feed, `Timeout` where it stops in between or takes too long, `Unavailable`
/// where it moves faster than its beginning can be read.
pub(crate) async fn read(registry: &dyn Registry, which: &Which, limit: usize) -> Result<Vec<Event>> {
    timeout(LONGEST, read_anew(registry, which, limit)).await.unwrap_or_else(|_| Err(stopped()))
}

async fn read_anew(registry: &dyn Registry, which: &Which, limit: usize) -> Result<Vec<Event>> {
    let mut met = None;
    for _ in 0..TRIES {
        match read_once(registry, which, limit, met.as_ref()).await? {
            Read::Ends(ends) => return Ok(ends.into()),
            Read::Trimmed(place) => met = Some(place),
        }
    }
    let message = "the change feed moves faster than its beginning can be read; try again when less happens";
    Err(Error::new(ErrorKind::Unavailable, message).with_operation(Operation::Watch).with_may_have_applied(false))
}

/// What came of a reading.
enum Read {
    Ends(VecDeque<Event>),
    /// The oldest event went before it could be read; the watch says that it goes on from here.
    Trimmed(Revision),
}

/// Reads from the oldest event to the last one. A gap at the place `met` before was no trim: an entry that cannot be told.
async fn read_once(registry: &dyn Registry, which: &Which, limit: usize, met: Option<&Revision>) -> Result<Read> {
    let mut watch = registry.watch(WatchFrom::Oldest).await?;
    let mut tail = tail(registry).await?;
    let mut ends = VecDeque::new();
    let mut begun = false;
    let mut reached = watch.begins() == Some(&tail);
    while !reached {
        let event = timeout(PATIENCE, watch.next()).await.map_err(|_| stopped())?.ok_or_else(Error::closed)?;
        match &event {
            Event::Resync { revision } if !begun && met != Some(revision) => {
                return Ok(Read::Trimmed(revision.clone()));
            }
            // Its place may be past the tail that was read before; it is not past the one that is read now.
            Event::Resync { .. } => tail = self::tail(registry).await?,
            _ => {}
        }
        begun |= !matches!(event, Event::Alive { .. });
        reached = *event.revision() == tail;
        if let Event::Ended { last, .. } = &event
            && which.has(last)
        {
            ends.truncate(limit.saturating_sub(1));
            ends.push_front(event);
        }
    }
    Ok(Read::Ends(ends))
}

/// Where the feed ends for this call: the watch itself has no end.
async fn tail(registry: &dyn Registry) -> Result<Revision> {
    let tail = match registry.list_page(None, NonZeroU32::MIN).await?.revision {
        Some(revision) => Some(revision),
        None => registry.snapshot().await?.revision,
    };
    let unknown = "the store does not say where its change feed ends; follow it by watch instead";
    tail.ok_or_else(|| Error::unsupported(unknown).with_operation(Operation::Watch))
}

fn stopped() -> Error {
    let message = "the change feed stopped before its end; try again";
    Error::new(ErrorKind::Timeout, message).with_operation(Operation::Watch).with_may_have_applied(false)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use async_trait::async_trait;
    use futures_util::StreamExt as _;
    use futures_util::stream::{once, pending};
    use stream_registry::{
        Cursor, EndOptions, MemoryRegistry, Page, RegisterOptions, Registered, Snapshot, StoreInfo, Watch, Write,
    };

    use super::*;

    async fn ended(registry: &MemoryRegistry, id: &str, kind: StreamType, node: &str) {
        let mut stream = Stream::new(id.parse().unwrap(), kind, "h:1");
        stream.node = Some(node.to_owned());
        registry.register(&stream).await.unwrap();
        registry.unregister(&stream.id).await.unwrap();
    }

    fn names(ends: &[Event]) -> Vec<&str> {
        ends.iter().map(|end| end.stream().unwrap().id.as_str()).collect()
    }

    #[tokio::test]
    async fn the_last_end_comes_first_and_filters_choose() {
        let registry = MemoryRegistry::new();
        let all = Which::default();
        assert_eq!(read(&registry, &all, 10).await.unwrap(), []);
        for (id, kind, node) in
            [("a", StreamType::Srt, "n1"), ("b", StreamType::Rtp, "n1"), ("a", StreamType::Srt, "n2")]
        {
            ended(&registry, id, kind, node).await;
        }
        registry.register(&Stream::new("live".parse().unwrap(), StreamType::Srt, "h:1")).await.unwrap();
        assert_eq!(names(&read(&registry, &all, 10).await.unwrap()), ["a", "b", "a"]);
        assert_eq!(names(&read(&registry, &all, 2).await.unwrap()), ["a", "b"]);
        let which = Which { id: Some("a".parse().unwrap()), ..Which::default() };
        assert_eq!(names(&read(&registry, &which, 10).await.unwrap()), ["a", "a"]);
        let which = Which { node: Some("n1".into()), kind: Some(StreamType::Rtp), ..Which::default() };
        assert_eq!(names(&read(&registry, &which, 10).await.unwrap()), ["b"]);
    }

    /// A store whose feed is trimmed after the call of `watch`, as often as it is told to.
    #[derive(Debug, Default)]
    struct Trimmed {
        inner: MemoryRegistry,
        times: AtomicU32,
    }

    #[async_trait]
    impl Registry for Trimmed {
        async fn register_with(&self, stream: &Stream, options: &RegisterOptions) -> Result<Registered> {
            self.inner.register_with(stream, options).await
        }
        async fn end(&self, id: &StreamId, options: &EndOptions) -> Result<Stream> {
            self.inner.end(id, options).await
        }
        async fn write(&self, writes: &[Write]) -> Result<Vec<Result<()>>> {
            self.inner.write(writes).await
        }
        async fn get(&self, id: &StreamId) -> Result<Stream> {
            self.inner.get(id).await
        }
        async fn snapshot(&self) -> Result<Snapshot> {
            self.inner.snapshot().await
        }
        async fn list_page(&self, cursor: Option<&Cursor>, count: NonZeroU32) -> Result<Page> {
            self.inner.list_page(cursor, count).await
        }
        async fn watch(&self, from: WatchFrom) -> Result<Watch> {
            let left = self.times.load(Ordering::SeqCst);
            if left == 0 {
                return self.inner.watch(from).await;
            }
            self.times.store(left - 1, Ordering::SeqCst);
            // It goes on at a place past every tail that is read now.
            let place = format!("later-{left}").parse().unwrap();
            let resync = once(async { Event::Resync { revision: place } });
            Ok(Watch::new(resync.chain(pending())))
        }
        async fn ping(&self) -> Result<()> {
            self.inner.ping().await
        }
        fn info(&self) -> StoreInfo {
            self.inner.info()
        }
        async fn close(&self) -> Result<()> {
            self.inner.close().await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn where_the_oldest_went_meanwhile_it_begins_anew_and_never_waits_without_end() {
        let registry = Trimmed::default();
        ended(&registry.inner, "a", StreamType::Srt, "n1").await;
        registry.times.store(TRIES - 1, Ordering::SeqCst);
        let all = Which::default();
        let began = tokio::time::Instant::now();
        assert_eq!(names(&read(&registry, &all, 10).await.unwrap()), ["a"]);
        assert_eq!(began.elapsed(), Duration::ZERO);
        registry.times.store(u32::MAX, Ordering::SeqCst);
        let error = read(&registry, &all, 10).await.unwrap_err();
        assert!(error.kind() == ErrorKind::Unavailable && error.message().contains("try again"), "{error}");
    }
}
