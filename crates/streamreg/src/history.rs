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
    /// Empty: of none, as where streams are listed.
    pub(crate) node: Option<String>,
}

impl Which {
    fn has(&self, stream: &Stream) -> bool {
        self.id.as_ref().is_none_or(|id| stream.id == *id)
            && self.kind.as_ref().is_none_or(|kind| stream.kind == *kind)
            && self.node.as_ref().is_none_or(|node| node == stream.node.as_deref().unwrap_or_default())
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
    use std::sync::{Arc, Mutex};

    use async_trait::async_trait;
    use futures_util::StreamExt as _;
    use futures_util::stream::{iter, pending};
    use stream_registry::{
        Cursor, EndCause, EndOptions, MemoryRegistry, Page, RegisterOptions, Registered, Snapshot, StoreInfo,
        Timestamp, Watch, Write,
    };
    use tokio::time::Instant;

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

    /// A store whose feed tells what it is told to; where nothing is left of that, as the one inside.
    #[derive(Debug, Default)]
    struct Told {
        inner: MemoryRegistry,
        /// What each watch tells before it waits for ever.
        watches: Mutex<VecDeque<Vec<Event>>>,
        /// The time before each event.
        pause: Duration,
        /// Where the feed ends, each time that is asked; the last one stays.
        tails: Mutex<VecDeque<Revision>>,
        /// It does not say where its feed ends.
        is_placeless: bool,
    }

    impl Told {
        fn new(watches: impl IntoIterator<Item = Vec<Event>>, tails: &[&str]) -> Self {
            let tails = tails.iter().map(|tail| at(tail)).collect();
            Self { watches: Mutex::new(watches.into_iter().collect()), tails: Mutex::new(tails), ..Self::default() }
        }

        fn unread(&self) -> usize {
            self.watches.lock().unwrap().len()
        }
    }

    fn at(place: &str) -> Revision {
        place.parse().unwrap()
    }

    fn alive(place: &str) -> Event {
        Event::Alive { revision: at(place) }
    }

    fn resync(place: &str) -> Event {
        Event::Resync { revision: at(place) }
    }

    fn end(place: &str, id: &str) -> Event {
        let last = Arc::new(Stream::new(id.parse().unwrap(), StreamType::Srt, "h:1"));
        Event::Ended { revision: at(place), reason: EndCause::Expired, last, as_of: Timestamp::ZERO }
    }

    #[async_trait]
    impl Registry for Told {
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
            let mut snapshot = self.inner.snapshot().await?;
            snapshot.revision = snapshot.revision.filter(|_| !self.is_placeless);
            Ok(snapshot)
        }
        async fn list_page(&self, cursor: Option<&Cursor>, count: NonZeroU32) -> Result<Page> {
            let mut page = self.inner.list_page(cursor, count).await?;
            let mut tails = self.tails.lock().unwrap();
            let told = if tails.len() > 1 { tails.pop_front() } else { tails.front().cloned() };
            page.revision = told.or(page.revision).filter(|_| !self.is_placeless);
            Ok(page)
        }
        async fn watch(&self, from: WatchFrom) -> Result<Watch> {
            let Some(told) = self.watches.lock().unwrap().pop_front() else { return self.inner.watch(from).await };
            let pause = self.pause;
            let events = iter(told).then(move |event| async move {
                tokio::time::sleep(pause).await;
                event
            });
            Ok(Watch::new(events.chain(pending())))
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
    async fn where_the_oldest_went_meanwhile_it_begins_anew_and_not_for_ever() {
        // It goes on at a place past every tail that is read now; a sign of life before is no beginning.
        let trimmed = (1..TRIES).map(|n| vec![alive("0"), resync(&format!("later-{n}"))]);
        let registry = Told::new(trimmed, &[]);
        ended(&registry.inner, "a", StreamType::Srt, "n1").await;
        let all = Which::default();
        let began = Instant::now();
        assert_eq!(names(&read(&registry, &all, 10).await.unwrap()), ["a"]);
        assert_eq!(began.elapsed(), Duration::ZERO);
        let registry = Told::new((0..100).map(|n| vec![resync(&format!("later-{n}"))]), &[]);
        let error = read(&registry, &all, 10).await.unwrap_err();
        assert!(error.kind() == ErrorKind::Unavailable && error.message().contains("try again"), "{error}");
        assert_eq!(registry.unread(), 100 - usize::try_from(TRIES).unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn an_entry_that_cannot_be_told_costs_nothing_but_itself() {
        let all = Which::default();
        let began = Instant::now();
        // The oldest one: what is met at the same place again was no trim.
        let once = || vec![resync("1"), end("2", "a")];
        let registry = Told::new([once(), once()], &["2"]);
        assert_eq!(names(&read(&registry, &all, 10).await.unwrap()), ["a"]);
        assert_eq!(registry.unread(), 0);
        // One in the middle, and one whose place is past the tail that was read first.
        for (place, tails) in [("2", &["3", "3"]), ("4", &["3", "4"])] {
            let whole = || vec![end("1", "a"), resync(place), end("3", "b")];
            let registry = Told::new([whole(), whole()], tails);
            let shown = read(&registry, &all, 10).await.unwrap();
            assert_eq!(names(&shown), if place == "2" { vec!["b", "a"] } else { vec!["a"] }, "{place}");
            assert_eq!(registry.unread(), 1, "it does not begin anew");
        }
        assert_eq!(began.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn it_waits_for_no_feed_without_end() {
        let all = Which::default();
        // One that stops, and one that never comes to where it ended.
        for (events, pause, longest) in [(3, Duration::ZERO, PATIENCE), (100, PATIENCE / 2, LONGEST)] {
            let told = (0..events).map(|n| end(&format!("{n}"), "a")).collect();
            let registry = Told { pause, ..Told::new([told], &["never"]) };
            let began = Instant::now();
            let error = read(&registry, &all, 10).await.unwrap_err();
            assert_eq!((error.kind(), began.elapsed()), (ErrorKind::Timeout, longest), "{error}");
        }
        let registry = Told { is_placeless: true, ..Told::default() };
        let error = read(&registry, &all, 10).await.unwrap_err();
        assert!(
            error.kind() == ErrorKind::Unsupported && error.message().contains("where its change feed ends"),
            "{error}"
        );
    }
}
