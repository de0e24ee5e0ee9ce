//! The change feed: its places, its entries, and those who follow it.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::stream::unfold;
use redis::Value;
use tokio::time::{Instant, timeout};

use super::connect::{Connection, Effect};
use super::ops::end::unreadable;
use super::ops::replace;
use super::options::CALL_TIMEOUT;
use super::{Store, fault, reply};
use crate::error::{Error, ErrorKind, Result};
use crate::registry::rules;
use crate::stream::{EndReason, Revision, Stream, StreamId, StreamStatus, Timestamp};
use crate::watch::{ALIVE_AFTER, Ending, Event, Watch, WatchFrom};

/// How many entries are read at once, unless they prove too large for that.
const CHUNK: usize = 500;
/// How long the server keeps a reader waiting for the next entry: less than after what time a watch shows that it is alive.
const BLOCK: Duration = Duration::from_secs(3);
/// The longest wait between two tries to reach the server.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The id of an entry: milliseconds and a number within them.
type EntryId = (u64, u64);

/// A place in a feed: its history, named by the first entry, and an entry of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    history: EntryId,
    last: EntryId,
}

impl Place {
    /// Reads the facts `history` and `tail`; the beginning where there are none yet.
    pub(super) fn of_facts(history: Value, tail: Value) -> Result<Self> {
        let id = |value: Value| -> Result<EntryId> {
            let Some(text) = reply::bytes(value)? else { return Ok((0, 0)) };
            entry_id(&text).ok_or_else(|| fault::unexpected(&Value::BulkString(text)))
        };
        Ok(Self { history: id(history)?, last: id(tail)? })
    }

    pub(super) fn revision(self) -> Revision {
        let ((a, b), (c, d)) = (self.history, self.last);
        let text = format!("{a}-{b}.{c}-{d}");
        text.parse().unwrap_or_else(|_| unreachable!("{text:?} is a revision"))
    }

    fn of_revision(revision: &Revision) -> Option<Self> {
        let (history, last) = revision.as_str().split_once('.')?;
        let place = Self { history: entry_id(history.as_bytes())?, last: entry_id(last.as_bytes())? };
        (place.revision() == *revision).then_some(place)
    }
}

fn entry_id(text: &[u8]) -> Option<EntryId> {
    let (millis, number) = std::str::from_utf8(text).ok()?.split_once('-')?;
    Some((millis.parse().ok()?, number.parse().ok()?))
}

/// Follows the feed from a place on, until the registry is closed or gone.
pub(super) async fn follow(store: &Arc<Store>, from: &WatchFrom) -> Result<Watch> {
    // Read now, not when the watch is first asked: "from now on" is the moment of the call.
    let tail = store.place().await?;
    let (told, lost) = match from {
        WatchFrom::Now => (tail, false),
        WatchFrom::Revision(revision) => Place::of_revision(revision).map_or((tail, true), |place| (place, false)),
        WatchFrom::Oldest => (oldest(store).await?.map_or(tail, |last| Place { last, ..tail }), false),
    };
    let begins = (!lost && !is_behind(told, tail)).then(|| told.revision());
    let follower = Follower {
        store: Arc::downgrade(store),
        connection: None,
        told,
        lost,
        ahead: VecDeque::new(),
        alive_at: Instant::now() + ALIVE_AFTER,
        count: CHUNK,
        pause: Duration::ZERO,
        failing: false,
    };
    let watch = Watch::new(unfold(follower, |mut follower| async move { Some((follower.next().await?, follower)) }));
    Ok(match begins {
        Some(revision) => watch.starting_after(revision),
        None => watch,
    })
}

/// The entry before the oldest one that is kept, if any is.
async fn oldest(store: &Store) -> Result<Option<EntryId>> {
    let mut command = redis::cmd("XREAD");
    command.arg("COUNT").arg(1).arg("STREAMS").arg(store.keys.feed()).arg("0-0");
    match store.link.command(&command, Effect::Read).await? {
        Ok(first) => Ok(entries(first)?.first().map(|first| first.before)),
        Err(error) if fault::is_wrong_type(&error) => Ok(None),
        Err(error) => Err(fault::translate(error, false)),
    }
}

/// Whether a feed with this tail is one that a place is no part of.
fn is_behind(told: Place, tail: Place) -> bool {
    // Before the first event of all there is no history.
    let begun = told.history != (0, 0);
    begun && tail.history != told.history || tail.last < told.last
}

/// Reads the facts; the inner error is of the client.
pub(super) fn facts(answer: Value) -> Result<Result<Place>, redis::RedisError> {
    match answer {
        // What is of another type is nobody's: the next event begins a new history.
        Value::ServerError(error) => {
            let error = error.into();
            if fault::is_wrong_type(&error) { Ok(Ok(Place::default())) } else { Err(error) }
        }
        answer => Ok(reply::array(answer).and_then(|facts| {
            let mut facts = facts.into_iter();
            Place::of_facts(facts.next().unwrap_or(Value::Nil), facts.next().unwrap_or(Value::Nil))
        })),
    }
}

impl Store {
    /// Asks where the feed begins and ends.
    pub(super) fn ask_facts(&self) -> redis::Cmd {
        let mut command = redis::cmd("HMGET");
        command.arg(self.keys.facts()).arg("history").arg("tail");
        command
    }

    /// The last place of the feed.
    pub(super) async fn place(&self) -> Result<Place> {
        match self.link.command(&self.ask_facts(), Effect::Read).await {
            // A connection that was lost meanwhile is made again, once.
            Err(lost) if lost.kind() == ErrorKind::Unavailable => {
                judge(self.link.command(&self.ask_facts(), Effect::Read).await?)
            }
            answer => judge(answer?),
        }
    }
}

/// The last place of the feed, over the connection of one who follows.
async fn tail(connection: &mut Connection, store: &Store) -> Result<Place> {
    let answer = timeout(CALL_TIMEOUT, connection.send(&store.ask_facts())).await;
    judge(answer.map_err(|_| no_answer())?)
}

fn judge(answer: Result<Value, redis::RedisError>) -> Result<Place> {
    match answer {
        Ok(answer) => facts(answer).unwrap_or_else(|error| Err(fault::translate(error, false))),
        Err(error) if fault::is_wrong_type(&error) => Ok(Place::default()),
        Err(error) => Err(fault::translate(error, false)),
    }
}

fn no_answer() -> Error {
    Error::new(ErrorKind::Timeout, "Redis did not answer in time").with_may_have_applied(false)
}

/// One who follows, on a connection of its own.
struct Follower {
    /// Weak: a watch keeps no registry open.
    store: Weak<Store>,
    connection: Option<Connection>,
    told: Place,
    /// Whether events may be missing after `told`.
    lost: bool,
    /// Events that were read and not told yet; nothing for an entry that tells nothing.
    ahead: VecDeque<(EntryId, Option<Event>)>,
    alive_at: Instant,
    /// How many entries are asked for.
    count: usize,
    pause: Duration,
    failing: bool,
}

/// What a reading came to.
enum Read {
    Events,
    Nothing,
    Lost,
}

impl Follower {
    /// Waits for the next event. Nothing is lost when the future is dropped: the server keeps the feed, and what is
    /// told is noted in the same breath.
    async fn next(&mut self) -> Option<Event> {
        loop {
            let mut passed = false;
            while let Some((id, event)) = self.ahead.pop_front() {
                self.told.last = id;
                if event.is_some() {
                    self.alive_at = Instant::now() + ALIVE_AFTER;
                    return event;
                }
                passed = true;
            }
            // So that who waits for that place learns that it is reached.
            if passed {
                self.alive_at = Instant::now() + ALIVE_AFTER;
                return Some(Event::Alive { revision: self.told.revision() });
            }
            let store = self.store.upgrade()?;
            if store.link.is_closed() {
                return None;
            }
            match self.read(&store).await {
                Ok(Read::Events) => self.pause = Duration::ZERO,
                Ok(Read::Nothing) => {
                    self.pause = Duration::ZERO;
                    if Instant::now() >= self.alive_at {
                        self.alive_at = Instant::now() + ALIVE_AFTER;
                        return Some(Event::Alive { revision: self.told.revision() });
                    }
                }
                Ok(Read::Lost) => {
                    self.lost = false;
                    self.alive_at = Instant::now() + ALIVE_AFTER;
                    return Some(Event::Resync { revision: self.told.revision() });
                }
                Err(error) => {
                    self.connection = None;
                    if !std::mem::replace(&mut self.failing, true) {
                        tracing::warn!(%error, "the change feed cannot be read; trying again");
                    }
                    self.pause = (self.pause * 2).clamp(Duration::from_millis(20), LONGEST_PAUSE);
                    drop(store);
                    tokio::time::sleep(self.pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
                    continue;
                }
            }
            if std::mem::take(&mut self.failing) {
                tracing::info!("the change feed is read again");
            }
        }
    }

    async fn read(&mut self, store: &Arc<Store>) -> Result<Read> {
        if self.connection.is_none() {
            let mut connection = store.link.open_another().await?;
            // Another history, or a tail before what was told, is seen before anything else is.
            let tail = tail(&mut connection, store).await?;
            self.connection = Some(connection);
            if self.lost || is_behind(self.told, tail) {
                self.told = tail;
                return Ok(Read::Lost);
            }
            self.told.history = tail.history;
        }
        let Some(connection) = &mut self.connection else { return Ok(Read::Nothing) };
        let mut command = redis::cmd("XREAD");
        let (millis, number) = self.told.last;
        // No longer than until the next sign of life; 0 would be for ever.
        let block = BLOCK.min(self.alive_at.saturating_duration_since(Instant::now())).max(Duration::from_millis(1));
        command.arg("COUNT").arg(self.count).arg("BLOCK").arg(block.as_millis().to_string()).arg("STREAMS");
        command.arg(store.keys.feed()).arg(format!("{millis}-{number}"));
        let asked = Instant::now();
        let answer = timeout(block + CALL_TIMEOUT, connection.send(&command)).await;
        let answer = answer.map_err(|_| {
            // Perhaps the way is too slow for so many records. Each try takes seconds: a few have to do.
            self.count = (self.count / 8).max(1);
            no_answer()
        })?;
        let entries = match answer {
            Ok(answer) => entries(answer)?,
            Err(error) if fault::is_wrong_type(&error) => {
                // Whose writes go on puts that right; until then there is nothing to read.
                let now = tail(connection, store).await?;
                if self.told == now {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    return Ok(Read::Nothing);
                }
                self.told = now;
                return Ok(Read::Lost);
            }
            Err(error) => return Err(fault::translate(error, false)),
        };
        if entries.is_empty() {
            // Nothing after what was told: then that must be the tail, or something was appended meanwhile.
            let now = tail(connection, store).await?;
            if is_behind(self.told, now) {
                self.told = now;
                return Ok(Read::Lost);
            }
            self.told.history = now.history;
            return Ok(Read::Nothing);
        }
        if entries.len() == self.count && asked.elapsed() < CALL_TIMEOUT / 4 {
            self.count = (self.count * 2).min(CHUNK);
        }
        let mut before = self.told.last;
        for entry in entries {
            if entry.before != before {
                if self.ahead.is_empty() {
                    // Trimmed, or of another history.
                    self.told = tail(connection, store).await?;
                    return Ok(Read::Lost);
                }
                // What was read so far is good; the next reading meets the gap again.
                break;
            }
            if before == (0, 0) {
                self.told.history = entry.id;
            }
            before = entry.id;
            let revision = Place { history: self.told.history, last: entry.id }.revision();
            // Another program may keep what can be no stream; what else cannot be told is not skipped silently.
            let id = std::str::from_utf8(&entry.stream_id).ok().and_then(|id| id.parse().ok());
            let event = id.map(|id| entry.event(&id, revision.clone()).unwrap_or(Event::Resync { revision }));
            self.ahead.push_back((entry.id, event));
        }
        Ok(Read::Events)
    }
}

/// An entry of the feed.
struct Entry {
    id: EntryId,
    before: EntryId,
    what: Vec<u8>,
    stream_id: Vec<u8>,
    record: Vec<u8>,
    /// Where the record is the one before its status changed: the new one, as the inside of a JSON string, and the time.
    status: Vec<u8>,
    now: Vec<u8>,
    reason: Vec<u8>,
    read_at: Vec<u8>,
}

/// Reads the answer to XREAD of one feed: a map or a list of one pair, or nothing.
fn entries(answer: Value) -> Result<Vec<Entry>> {
    let list = match answer {
        Value::Nil => return Ok(Vec::new()),
        Value::Map(mut feeds) => feeds.pop().map_or(Value::Array(Vec::new()), |(_, entries)| entries),
        other => match reply::array(other)?.pop() {
            Some(feed) => reply::array(feed)?.pop().unwrap_or(Value::Nil),
            None => return Ok(Vec::new()),
        },
    };
    reply::array(list)?.into_iter().map(entry).collect()
}

fn entry(value: Value) -> Result<Entry> {
    let mut parts = reply::array(value)?.into_iter();
    let id = reply::text(parts.next().unwrap_or(Value::Nil))?;
    let mut fields = reply::array(parts.next().unwrap_or(Value::Nil))?.into_iter();
    let bad = || Error::new(ErrorKind::Internal, "an entry of the change feed cannot be read");
    let mut entry = Entry {
        id: entry_id(&id).ok_or_else(bad)?,
        before: (0, 0),
        what: Vec::new(),
        stream_id: Vec::new(),
        record: Vec::new(),
        status: Vec::new(),
        now: Vec::new(),
        reason: Vec::new(),
        read_at: Vec::new(),
    };
    while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
        let value = reply::text(value)?;
        match &*reply::text(name)? {
            b"w" => entry.what = value,
            b"i" => entry.stream_id = value,
            b"p" => entry.before = entry_id(&value).ok_or_else(bad)?,
            b"r" => entry.record = value,
            b"s" => entry.status = value,
            b"n" => entry.now = value,
            b"c" => entry.reason = value,
            b"t" => entry.read_at = value,
            _ => {}
        }
    }
    Ok(entry)
}

impl Entry {
    /// What it tells of this stream; nothing where it is of a kind that is not known here.
    fn event(&self, id: &StreamId, revision: Revision) -> Option<Event> {
        let mut stream = replace::decode(id, &self.record).unwrap_or_else(|_| unreadable(id));
        if !self.now.is_empty() {
            let status = format!("\"{}\"", std::str::from_utf8(&self.status).ok()?);
            stream.status = StreamStatus::stored(&serde_json::from_str::<String>(&status).ok()?);
            stream.last_heartbeat = std::str::from_utf8(&self.now).ok()?.parse().ok()?;
        }
        let word = std::str::from_utf8(&self.what).ok()?;
        let appended = Timestamp::from_unix_nanos(i128::from(self.id.0) * 1_000_000);
        let event = match word {
            "unregistered" => {
                let reason: EndReason = std::str::from_utf8(&self.reason).ok()?.parse().unwrap_or_default();
                let last: Stream = rules::with_end_reason(stream, &reason);
                Event::Ended { revision, reason: Ending::Unregistered(reason), last: Arc::new(last), as_of: appended }
            }
            "expired" => {
                let read = std::str::from_utf8(&self.read_at).ok().and_then(|text| text.parse::<i128>().ok());
                let as_of = read.map_or(Timestamp::ZERO, |millis| Timestamp::from_unix_nanos(millis * 1_000_000));
                Event::Ended { revision, reason: Ending::Expired, last: Arc::new(stream), as_of }
            }
            other => Event::Changed { revision, kind: other.parse().ok()?, stream: Arc::new(stream) },
        };
        Some(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_revisions_and_back() {
        let place = Place { history: (1_800_000_000_000, 0), last: (1_800_000_000_001, 7) };
        assert_eq!(place.revision().as_str(), "1800000000000-0.1800000000001-7");
        assert_eq!(Place::of_revision(&place.revision()), Some(place));
        for other in ["x", "1-2", "1-2.3", "1-2.3-", "01-2.3-4", "1-2.3-4.5", "+1-2.3-4", "-1-2.3-4"] {
            assert_eq!(Place::of_revision(&other.parse().unwrap()), None, "{other}");
        }
    }
}
