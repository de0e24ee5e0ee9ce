//! The in-memory store.

mod clock;
mod feed;
mod follow;
mod state;

use std::num::NonZeroU32;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::yield_now;

pub(crate) use clock::Clock;
use clock::{Now, nanos};
use feed::FeedEvent;
use state::{Answer, State};

use crate::error::{Error, Result};
use crate::query::Ended;
use crate::registry::cursor;
use crate::registry::ttl::{DEFAULT_TTL, OPERATION_RETENTION, check_ttl, tombstone_ttl};
use crate::registry::{
    Change, Guard, Operation, Outcome, Page, RegisterOptions, Registered, Registry, Snapshot, StoreInfo,
    UnregisterOptions, Write, epoch, rules,
};
use crate::stream::{Cursor, OperationId, Stream, StreamId, Timestamp};
use crate::watch::{ChangeKind, Ending, Event, Watch, WatchFrom};

const KIND: char = 'm';
/// Number of events that a history reads before it releases the lock and lets other tasks run.
const HISTORY_CHUNK: u64 = 1_000;

/// A registry in this process's memory.
///
/// Use this registry in a single process, in tests and for first experiments. It needs no async runtime and starts no
/// background tasks. Its contents are lost when it is dropped. Streams expire with nanosecond precision; the next call
/// removes expired streams. To share the registry between tasks, put it into an `Arc`.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> stream_registry::Result<()> {
/// use stream_registry::{MemoryRegistry, Registry, Stream, StreamType};
/// let registry = MemoryRegistry::new();
/// registry.register(&Stream::new("cam1".parse()?, StreamType::Rtp, "[2001:db8::1]:5004")).await?;
/// assert_eq!(registry.list().await?[0].source_addr, "[2001:db8::1]:5004");
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct MemoryRegistry {
    /// The contents of the store, shared with the watches.
    state: Arc<RwLock<State>>,
    clock: Clock,
    ttl: Duration,
    read_only: bool,
}

impl Default for MemoryRegistry {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryRegistry {
    /// Creates an empty registry whose streams have a time to live of 5 minutes.
    pub fn new() -> Self {
        Self::with_clock(DEFAULT_TTL, Clock::system())
    }

    /// Creates an empty registry whose streams have the given time to live.
    ///
    /// # Errors
    ///
    /// Returns `InvalidArgument` if the time to live is not between 1 second and 30 days.
    pub fn with_ttl(ttl: Duration) -> Result<Self> {
        Ok(Self::with_clock(check_ttl(ttl)?, Clock::system()))
    }

    pub(crate) fn with_clock(ttl: Duration, clock: Clock) -> Self {
        Self { state: Arc::default(), clock, ttl, read_only: false }
    }

    /// Makes the registry read-only: every write fails with `Denied`.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// Locks the state for writing, and removes all expired streams.
    fn lock(&self) -> Result<(RwLockWriteGuard<'_, State>, Now)> {
        // A poisoned lock is safe to use. Each change is one insertion or removal, so a panic cannot leave a partial
        // change.
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if state.closed {
            return Err(Error::closed());
        }
        // The time is read while the lock is held, so that later writes have later times.
        let now = self.clock.now();
        state.purge(now);
        Ok((state, now))
    }

    /// Locks the state for reading, and returns the current time. Expired streams may still be present, so callers
    /// compare each deadline with the returned time.
    fn lock_shared(&self) -> Result<(RwLockReadGuard<'_, State>, u64)> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        if state.closed {
            return Err(Error::closed());
        }
        Ok((state, self.clock.mono()))
    }

    fn lock_to_write(&self) -> Result<(RwLockWriteGuard<'_, State>, Now)> {
        let locked = self.lock()?;
        if self.read_only { Err(rules::read_only()) } else { Ok(locked) }
    }

    /// Stores a record without any checks, like a write by another program.
    pub(crate) fn put_stored(&self, stream: Stream) -> Result<()> {
        let (mut state, now) = self.lock_to_write()?;
        state.put(stream, self.deadline(now));
        Ok(())
    }

    fn deadline(&self, now: Now) -> u64 {
        now.mono.saturating_add(nanos(self.ttl))
    }

    fn register_now(&self, stream: &Stream, options: &RegisterOptions) -> Result<Registered> {
        rules::check_registration(stream, options)?;
        let (mut state, now) = self.lock_to_write()?;
        match options.operation.as_ref().and_then(|operation| state.answer(operation)) {
            Some(Answer::Registered(first, was_generated))
                if *was_generated == options.generated_id && (*was_generated || first.stream.id == stream.id) =>
            {
                return Ok(first.clone());
            }
            Some(_) => return Err(rules::operation_reused()),
            None => {}
        }
        let entry = state.get(&stream.id);
        let found = rules::Found {
            existing: entry.map(|entry| &*entry.stream),
            idle: entry.map_or(Duration::ZERO, |entry| self.ttl.saturating_sub(now.until(entry.deadline))),
            tombstone: state.tombstone(&stream.id),
        };
        let (stream, outcome) = rules::register(found, stream, options, now.wall)?;
        let kind = rules::change_of_registration(outcome, found.existing, options);
        if outcome == Outcome::TakenOver {
            self.leave_tombstone(&mut state, &stream.id, now);
        }
        state.put(stream.clone(), self.deadline(now));
        if let Some(kind) = kind {
            Self::publish(&mut state, &stream.id, kind);
        }
        let registered = Registered::new(stream, outcome, self.ttl);
        Self::remember(&mut state, options.operation.as_ref(), now, || {
            Answer::Registered(registered.clone(), options.generated_id)
        });
        Ok(registered)
    }

    fn unregister_now(&self, id: &StreamId, options: &UnregisterOptions) -> Result<Stream> {
        let (mut state, now) = self.lock_to_write()?;
        match options.operation.as_ref().and_then(|operation| state.answer(operation)) {
            Some(Answer::Unregistered(first)) if first.id == *id => return Ok(first.clone()),
            Some(_) => return Err(rules::operation_reused()),
            None => {}
        }
        let entry = state.get(id).ok_or_else(|| Error::not_found(id))?;
        rules::check_guard(&entry.stream, &options.guard)?;
        // Only a lease needs a tombstone. `Force` leaves one too, because another program may have removed the epoch.
        if entry.stream.epoch().is_some() || options.guard == Guard::Force || state.tombstone(id).is_some() {
            self.leave_tombstone(&mut state, id, now);
        }
        let entry = state.remove(id).ok_or_else(|| Error::not_found(id))?;
        let last = rules::with_end_reason(Arc::unwrap_or_clone(entry.stream), &options.reason);
        let ending = Ending::Unregistered(options.reason.clone());
        state.feed.push(FeedEvent::Ended(ending, Arc::new(last.clone()), now.wall));
        Self::remember(&mut state, options.operation.as_ref(), now, || Answer::Unregistered(last.clone()));
        Ok(last)
    }

    /// Stores a tombstone for a live stream that is about to end, so that its holder cannot recover the stream later.
    fn leave_tombstone(&self, state: &mut State, id: &StreamId, now: Now) {
        let Some(entry) = state.get(id) else { return };
        let ended = epoch::tombstone(entry.stream.epoch(), now.wall, state.tombstone(id));
        state.put_tombstone(id, ended, now.mono.saturating_add(nanos(tombstone_ttl(self.ttl))));
    }

    fn remember(state: &mut State, operation: Option<&OperationId>, now: Now, answer: impl FnOnce() -> Answer) {
        if let Some(operation) = operation {
            state.remember(operation, answer(), now.mono.saturating_add(nanos(OPERATION_RETENTION)));
        }
    }

    fn write_one(&self, state: &mut State, now: Now, write: &Write) -> Result<()> {
        rules::check_write(write)?;
        let entry = state.get_mut(&write.id).ok_or_else(|| Error::not_found(&write.id))?;
        rules::check_guard(&entry.stream, &write.guard)?;
        let kind = rules::change_of_write(&write.change, &entry.stream);
        match &write.change {
            change @ Change::Patch(_) => entry.stream = Arc::new(rules::apply(&entry.stream, change, now.wall)?),
            change => rules::apply_in_place(Arc::make_mut(&mut entry.stream), change, now.wall)?,
        }
        entry.deadline = self.deadline(now);
        if let Some(kind) = kind {
            Self::publish(state, &write.id, kind);
        }
        Ok(())
    }

    /// Adds the current record of a live stream to the change feed.
    fn publish(state: &mut State, id: &StreamId, kind: ChangeKind) {
        if let Some(stream) = state.get(id).map(|entry| Arc::clone(&entry.stream)) {
            state.feed.push(FeedEvent::Changed(kind, stream));
        }
    }

    /// Wakes all watches. Called after the clock was advanced.
    pub(crate) fn wake(&self) {
        self.state.read().unwrap_or_else(PoisonError::into_inner).feed.wake();
    }

    /// Adds matching events of ended streams to `events`, the latest first. Reads [`HISTORY_CHUNK`] events before the
    /// position `last`, and returns the position before these events. Returns `None` if there are no more events.
    fn history_chunk(&self, ended: &Ended, limit: usize, last: u64, events: &mut Vec<Event>) -> Result<Option<u64>> {
        let (state, _) = self.lock_shared()?;
        for (number, event) in state.feed.backwards_from(last, HISTORY_CHUNK) {
            if let FeedEvent::Ended(_, stream, _) = event
                && ended.matches(stream, true)
            {
                events.push(event.clone().at(state.feed.revision_of(number)));
                if events.len() >= limit {
                    return Ok(None);
                }
            }
        }
        Ok(last.checked_sub(HISTORY_CHUNK).filter(|last| *last > state.feed.oldest()))
    }

    async fn read_history(&self, ended: &Ended, limit: NonZeroU32) -> Result<Vec<Event>> {
        ended.check()?;
        let limit = usize::try_from(limit.get()).unwrap_or(usize::MAX);
        let mut events = Vec::new();
        let mut next = Some(self.lock()?.0.feed.last());
        while let Some(last) = next {
            next = self.history_chunk(ended, limit, last, &mut events)?;
            yield_now().await;
        }
        Ok(events)
    }

    fn page_now(&self, cursor: Option<&Cursor>, count: NonZeroU32) -> Result<Page> {
        let before = cursor.map_or(Ok(u64::MAX), |cursor| cursor::read(KIND, cursor))?;
        let (state, _) = self.lock()?;
        let count = usize::try_from(count.get()).unwrap_or(usize::MAX);
        let mut found = state.before(before);
        let (positions, streams): (Vec<_>, Vec<_>) =
            found.by_ref().take(count).map(|(position, stream)| (position, Arc::clone(stream))).unzip();
        let more = found.next().is_some();
        drop(found);
        let next = positions.last().filter(|_| more).map(|position| cursor::make(KIND, *position)).transpose()?;
        let total = u64::try_from(state.len()).unwrap_or(u64::MAX);
        let revision = state.feed.revision();
        drop(state);
        let mut page = Page::new(streams.into_iter().map(|stream| (*stream).clone()).collect(), next, total);
        page.revision = Some(revision);
        Ok(page)
    }
}

#[async_trait]
impl Registry for MemoryRegistry {
    async fn register_with(&self, stream: &Stream, options: &RegisterOptions) -> Result<Registered> {
        self.register_now(stream, options)
            .map_err(|error| error.with_stream(&stream.id).with_operation(Operation::Register))
    }

    async fn unregister_with(&self, id: &StreamId, options: &UnregisterOptions) -> Result<Stream> {
        self.unregister_now(id, options).map_err(|error| error.with_stream(id).with_operation(Operation::Unregister))
    }

    async fn write(&self, writes: &[Write]) -> Result<Vec<Result<()>>> {
        rules::check_batch(writes)?;
        let (mut state, now) = self.lock_to_write()?;
        Ok(writes
            .iter()
            .map(|write| self.write_one(&mut state, now, write).map_err(|error| rules::name_write(error, write)))
            .collect())
    }

    async fn get(&self, id: &StreamId) -> Result<Stream> {
        let found = self.lock_shared().and_then(|(state, now)| {
            // The record is copied after the lock is released.
            state.get_live(id, now).ok_or_else(|| Error::not_found(id))
        });
        found.map(Arc::unwrap_or_clone).map_err(|error| error.with_stream(id).with_operation(Operation::Get))
    }

    async fn get_many(&self, ids: &[StreamId]) -> Result<Vec<Option<Stream>>> {
        let (state, now) = self.lock_shared().map_err(|error| error.with_operation(Operation::Get))?;
        let found: Vec<_> = ids.iter().map(|id| state.get_live(id, now)).collect();
        drop(state);
        // The records are copied after the lock is released.
        Ok(found.into_iter().map(|stream| stream.map(Arc::unwrap_or_clone)).collect())
    }

    async fn snapshot(&self) -> Result<Snapshot> {
        let (state, _) = self.lock().map_err(|error| error.with_operation(Operation::List))?;
        let streams: Vec<_> = state.before(u64::MAX).map(|(_, stream)| Arc::clone(stream)).collect();
        let revision = state.feed.revision();
        drop(state);
        let mut snapshot = Snapshot::new(streams.into_iter().map(Arc::unwrap_or_clone).collect());
        snapshot.revision = Some(revision);
        Ok(snapshot)
    }

    async fn list_page(&self, cursor: Option<&Cursor>, count: NonZeroU32) -> Result<Page> {
        self.page_now(cursor, count).map_err(|error| error.with_operation(Operation::ListPage))
    }

    async fn history(&self, ended: &Ended, limit: NonZeroU32) -> Result<Vec<Event>> {
        self.read_history(ended, limit).await.map_err(|error| error.with_operation(Operation::History))
    }

    async fn watch(&self, from: WatchFrom) -> Result<Watch> {
        let check = rules::check_start(&from).and_then(|()| self.lock_shared().map(drop));
        check.map_err(|error| error.with_operation(Operation::Watch))?;
        Ok(follow::follow(&self.state, &self.clock, &from))
    }

    async fn ping(&self) -> Result<()> {
        self.lock().map(|_| ()).map_err(|error| error.with_operation(Operation::Ping))
    }

    fn now(&self) -> Timestamp {
        self.clock.now().wall
    }

    fn info(&self) -> StoreInfo {
        StoreInfo { read_only: self.read_only, ..StoreInfo::new("memory", self.ttl) }
    }

    async fn close(&self) -> Result<()> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.close();
        Ok(())
    }
}
