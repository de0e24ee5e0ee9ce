//! The history: streams that have ended, read from the change feed.
//!
//! The stores of this crate read their feeds from the newest event to the oldest, and stop at the limit. This module
//! also has the default for other stores, which can only follow the feed from its oldest event.

use std::collections::VecDeque;
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::yield_now;
use tokio::time::timeout;

use super::filter::check_string;
use crate::error::{Error, ErrorKind, Result};
use crate::stream::{InvalidValue, Revision, Stream, StreamId, StreamType};
use crate::watch::{Event, Watch, vector};

/// Timeout for the next event. The events of the history have already happened, so they arrive without delay.
const EVENT_TIMEOUT: Duration = Duration::from_secs(10);
/// Timeout of one call.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Number of events after which a reading of the whole feed lets other tasks run.
const EVENTS_PER_TURN: u32 = 256;
/// Maximum number of attempts to read the history. An attempt fails if the oldest events are trimmed before they
/// are read.
const MAX_ATTEMPTS: u32 = 8;

/// Conditions on a stream that has ended, all of which must hold. The default matches every stream.
///
/// ```
/// use stream_registry::StreamType;
/// use stream_registry::query::Ended;
///
/// let ended = Ended::default().kind(StreamType::Srt).node("ingest-1");
/// assert_eq!(ended.node.as_deref(), Some("ingest-1"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ended {
    /// Selects streams with this id.
    pub id: Option<StreamId>,
    /// Selects streams of this type.
    pub kind: Option<StreamType>,
    /// Selects streams of this ingest node; an empty name selects streams without a node.
    pub node: Option<String>,
}

impl Ended {
    /// Selects streams with this id. An id that was registered several times has several ended streams.
    #[must_use]
    pub fn id(mut self, id: StreamId) -> Self {
        self.id = Some(id);
        self
    }

    /// Selects streams of this type.
    #[must_use]
    pub fn kind(mut self, kind: StreamType) -> Self {
        self.kind = Some(kind);
        self
    }

    /// Selects streams of this ingest node; an empty name selects streams without a node.
    #[must_use]
    pub fn node(mut self, node: impl Into<String>) -> Self {
        self.node = Some(node.into());
        self
    }

    /// Checks the limits of the conditions. Every store calls this method before it reads the history.
    ///
    /// # Errors
    ///
    /// Returns [`InvalidValue`] if the node is longer than a record allows.
    pub fn check(&self) -> Result<(), InvalidValue> {
        check_string("node", self.node.as_deref())
    }

    /// Returns whether a stream meets the conditions. If only its id is known, the stream matches no type and no node.
    pub(crate) fn matches(&self, stream: &Stream, is_known: bool) -> bool {
        (is_known || self.kind.is_none() && self.node.is_none())
            && self.id.as_ref().is_none_or(|id| stream.id == *id)
            && self.kind.as_ref().is_none_or(|kind| stream.kind == *kind)
            && self.node.as_ref().is_none_or(|node| node == stream.node.as_deref().unwrap_or_default())
    }
}

/// The operations on a change feed that the history needs.
#[async_trait]
pub(crate) trait Feed: Sync {
    /// Follows the feed from its oldest event.
    async fn oldest(&self) -> Result<Watch>;

    /// Returns the position of the last event; `None` if the store does not know the position.
    async fn tail(&self) -> Result<Option<Revision>>;
}

/// Returns at most `limit` events of streams that have ended, the latest first.
///
/// # Errors
///
/// Returns `Unsupported` if the store has no feed. Returns `Timeout` if the feed stops or takes too long. Returns
/// `Unavailable` if the store trims the feed faster than it can be read.
pub(crate) async fn read(feed: &dyn Feed, ended: &Ended, limit: usize) -> Result<Vec<Event>> {
    ended.check()?;
    within(read_whole(feed, ended, limit)).await
}

/// Limits a reading of the history to [`CALL_TIMEOUT`].
pub(crate) async fn within<T>(reading: impl Future<Output = Result<T>> + Send) -> Result<T> {
    timeout(CALL_TIMEOUT, reading).await.unwrap_or_else(|_| Err(stopped()))
}

async fn read_whole(feed: &dyn Feed, ended: &Ended, limit: usize) -> Result<Vec<Event>> {
    let mut gap = None;
    for _ in 0..MAX_ATTEMPTS {
        match read_once(feed, ended, limit, gap.as_ref()).await? {
            Reading::Complete(events) => return Ok(events.into()),
            Reading::Trimmed(position) => gap = Some(position),
        }
    }
    let message = "the change feed is trimmed faster than it can be read; try again later";
    Err(Error::new(ErrorKind::Unavailable, message).with_may_have_applied(false))
}

/// The result of one attempt.
enum Reading {
    Complete(VecDeque<Event>),
    /// The oldest event was trimmed before it could be read; the watch continues from this position.
    Trimmed(Revision),
}

/// Reads from the oldest event to the last one.
///
/// `gap` is the position of the gap that the previous attempt found. If this attempt finds a gap at the same
/// position, the feed was not trimmed: it has an entry that cannot be decoded.
async fn read_once(feed: &dyn Feed, ended: &Ended, limit: usize, gap: Option<&Revision>) -> Result<Reading> {
    let mut watch = feed.oldest().await?;
    let mut tail = tail(feed).await?;
    let mut events = VecDeque::new();
    let mut started = false;
    let mut until_yield = EVENTS_PER_TURN;
    let mut reached = watch.start().is_some_and(|start| vector::includes(start, &tail));
    while !reached {
        let event = timeout(EVENT_TIMEOUT, watch.next()).await.map_err(|_| stopped())?.ok_or_else(Error::closed)?;
        match &event {
            Event::Resync { revision, .. } if !started && gap != Some(revision) => {
                return Ok(Reading::Trimmed(revision.clone()));
            }
            // The undecodable entry may have been added after the tail was read, so the tail is read again.
            Event::Resync { .. } => tail = self::tail(feed).await?,
            _ => {}
        }
        started |= !matches!(event, Event::Alive { .. });
        // A watch of a local store is always ready, so without this pause the reading would block its thread.
        until_yield -= 1;
        if until_yield == 0 {
            until_yield = EVENTS_PER_TURN;
            yield_now().await;
        }
        reached = vector::includes(event.revision(), &tail);
        if let Event::Ended { last, as_of, .. } = &event
            && ended.matches(last, as_of.is_some())
        {
            events.truncate(limit.saturating_sub(1));
            events.push_front(event);
        }
    }
    Ok(Reading::Complete(events))
}

/// Returns the current end of the feed, where this attempt stops. A watch itself never ends.
async fn tail(feed: &dyn Feed) -> Result<Revision> {
    feed.tail()
        .await?
        .ok_or_else(|| Error::unsupported("the store does not report the end of its change feed; use watch instead"))
}

fn stopped() -> Error {
    Error::new(ErrorKind::Timeout, "the change feed could not be read to its end; try again")
        .with_may_have_applied(false)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use futures_util::StreamExt as _;
    use futures_util::stream::{iter, pending};
    use tokio::time::Instant;

    use super::*;
    use crate::stream::Timestamp;
    use crate::watch::Ending;

    fn names(events: &[Event]) -> Vec<&str> {
        events.iter().map(|event| event.stream().unwrap().id.as_str()).collect()
    }

    /// A scripted feed. After the scripted watches, each further watch emits one event.
    #[derive(Default)]
    struct Scripted {
        /// The events of each scripted watch. After its last event, a watch waits forever.
        watches: Mutex<VecDeque<Vec<Event>>>,
        /// Pause before each event of a watch.
        pause: Duration,
        /// The results of `tail`; the last result is repeated.
        tails: Mutex<VecDeque<Revision>>,
        /// Whether `tail` returns `None`.
        without_tail: bool,
    }

    impl Scripted {
        fn new(watches: impl IntoIterator<Item = Vec<Event>>, tails: &[&str]) -> Self {
            let tails = tails.iter().map(|tail| at(tail)).collect();
            Self { watches: Mutex::new(watches.into_iter().collect()), tails: Mutex::new(tails), ..Self::default() }
        }

        fn unused_watches(&self) -> usize {
            self.watches.lock().unwrap().len()
        }
    }

    #[async_trait]
    impl Feed for Scripted {
        async fn oldest(&self) -> Result<Watch> {
            let events = self.watches.lock().unwrap().pop_front().unwrap_or_else(|| vec![end("last", "a")]);
            let pause = self.pause;
            let events = iter(events).then(move |event| async move {
                tokio::time::sleep(pause).await;
                event
            });
            Ok(Watch::new(events.chain(pending())))
        }

        async fn tail(&self) -> Result<Option<Revision>> {
            let mut tails = self.tails.lock().unwrap();
            let tail = if tails.len() > 1 { tails.pop_front() } else { tails.front().cloned() };
            Ok(Some(tail.unwrap_or_else(|| at("last"))).filter(|_| !self.without_tail))
        }
    }

    fn at(position: &str) -> Revision {
        position.parse().unwrap()
    }

    fn alive(position: &str) -> Event {
        Event::Alive { revision: at(position) }
    }

    fn resync(position: &str) -> Event {
        Event::Resync { revision: at(position), shard: None }
    }

    fn end(position: &str, id: &str) -> Event {
        let last = Arc::new(Stream::new(id.parse().unwrap(), StreamType::Srt, "h:1"));
        Event::Ended { revision: at(position), reason: Ending::Expired, last, as_of: Some(Timestamp::ZERO) }
    }

    #[tokio::test(start_paused = true)]
    async fn history_retries_a_limited_number_of_times_after_trimming() {
        // Each attempt finds a gap at a new position, as if the feed was trimmed. `Alive` does not count as an
        // event.
        let trimmed = (1..MAX_ATTEMPTS).map(|n| vec![alive("0"), resync(&format!("later-{n}"))]);
        let feed = Scripted::new(trimmed, &[]);
        let all = Ended::default();
        let started = Instant::now();
        assert_eq!(names(&read(&feed, &all, 10).await.unwrap()), ["a"]);
        assert_eq!(started.elapsed(), Duration::ZERO);
        let feed = Scripted::new((0..100).map(|n| vec![resync(&format!("later-{n}"))]), &[]);
        let error = read(&feed, &all, 10).await.unwrap_err();
        assert!(error.kind() == ErrorKind::Unavailable && error.message().contains("try again"), "{error}");
        assert_eq!(feed.unused_watches(), 100 - usize::try_from(MAX_ATTEMPTS).unwrap());
    }

    #[tokio::test]
    async fn history_of_a_node_omits_streams_whose_last_record_is_unknown() {
        let last = Arc::new(Stream::from_stored(&"a".parse().unwrap(), "{}").unwrap());
        let unknown = Event::Ended { revision: at("1"), reason: Ending::Expired, last, as_of: None };
        let kind = Ended { kind: Some(StreamType::stored("")), ..Ended::default() };
        for (ended, expected) in
            [(Ended::default().node(""), vec!["b"]), (kind, vec![]), (Ended::default(), vec!["b", "a"])]
        {
            let feed = Scripted::new([vec![unknown.clone(), end("2", "b")]], &["2"]);
            assert_eq!(names(&read(&feed, &ended, 10).await.unwrap()), expected, "{ended:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn undecodable_feed_entry_hides_no_other_event() {
        let all = Ended::default();
        let started = Instant::now();
        // The oldest entry cannot be decoded, so both attempts find a gap at the same position.
        let once = || vec![resync("1"), end("2", "a")];
        let feed = Scripted::new([once(), once()], &["2"]);
        assert_eq!(names(&read(&feed, &all, 10).await.unwrap()), ["a"]);
        assert_eq!(feed.unused_watches(), 0);
        // In the first case, an entry in the middle cannot be decoded. In the second case, the undecodable entry
        // was added after the tail was first read.
        for (position, tails) in [("2", &["3", "3"]), ("4", &["3", "4"])] {
            let complete = || vec![end("1", "a"), resync(position), end("3", "b")];
            let feed = Scripted::new([complete(), complete()], tails);
            let events = read(&feed, &all, 10).await.unwrap();
            assert_eq!(names(&events), if position == "2" { vec!["b", "a"] } else { vec!["a"] }, "{position}");
            assert_eq!(feed.unused_watches(), 1, "there is no second attempt");
        }
        assert_eq!(started.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn history_times_out_when_the_feed_never_reaches_its_tail() {
        let all = Ended::default();
        // The first feed stops sending events. The second feed continues, but never reaches its tail.
        for (events, pause, longest) in [(3, Duration::ZERO, EVENT_TIMEOUT), (100, EVENT_TIMEOUT / 2, CALL_TIMEOUT)] {
            let script = (0..events).map(|n| end(&format!("{n}"), "a")).collect();
            let feed = Scripted { pause, ..Scripted::new([script], &["never"]) };
            let started = Instant::now();
            let error = read(&feed, &all, 10).await.unwrap_err();
            assert_eq!((error.kind(), started.elapsed()), (ErrorKind::Timeout, longest), "{error}");
        }
        let feed = Scripted { without_tail: true, ..Scripted::default() };
        let error = read(&feed, &all, 10).await.unwrap_err();
        assert!(
            error.kind() == ErrorKind::Unsupported && error.message().contains("the end of its change feed"),
            "{error}"
        );
    }
}
