//! Watches of an in-memory store. A watch reads the feed and makes streams expire on time.

use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;

use futures_util::stream::unfold;
use tokio::sync::watch::Receiver;

use super::clock::Clock;
use super::feed::Lookup;
use super::state::State;
use crate::stream::Revision;
use crate::watch::{ALIVE_AFTER, Event, Watch, WatchFrom};

/// The state of one watch.
struct Follower {
    state: Weak<RwLock<State>>,
    clock: Clock,
    tail: Receiver<u64>,
    /// The number of the last emitted event. `None` if the watch's starting position is not in this feed.
    position: Option<u64>,
}

/// Follows the feed of a store from a position until the store is closed or dropped.
pub(super) fn follow(state: &Arc<RwLock<State>>, clock: &Clock, from: &WatchFrom) -> Watch {
    let start;
    let follower = {
        let guard = state.read().unwrap_or_else(PoisonError::into_inner);
        let feed = &guard.feed;
        let position = match from {
            WatchFrom::Now => Some(feed.last()),
            WatchFrom::Revision(revision) => feed.number_of(revision),
            WatchFrom::Oldest => Some(feed.oldest()),
        };
        let position = position.filter(|position| (feed.oldest()..=feed.last()).contains(position));
        start = position.map(|position| feed.revision_of(position));
        Follower { state: Arc::downgrade(state), clock: clock.clone(), tail: feed.subscribe(), position }
    };
    let watch = Watch::new(unfold(follower, |mut follower| async move { Some((follower.next().await?, follower)) }));
    match start {
        Some(revision) => watch.starting_after(revision),
        None => watch,
    }
}

impl Follower {
    /// Waits for the next event. No event is lost if the future is dropped, because there is no await point between
    /// reading an event and returning it.
    async fn next(&mut self) -> Option<Event> {
        let alive_at = tokio::time::Instant::now() + ALIVE_AFTER;
        loop {
            self.tail.mark_unchanged();
            let due = match self.poll()? {
                Ok(event) => return Some(event),
                Err(due) => due,
            };
            // Nothing removes expired streams in the background. So the watch wakes when the next stream expires, and
            // removes the stream itself.
            let due = due.map_or(ALIVE_AFTER, |due| due.min(ALIVE_AFTER));
            tokio::select! {
                changed = self.tail.changed() => changed.ok()?,
                () = tokio::time::sleep(due) => {}
                () = tokio::time::sleep_until(alive_at) => {
                    // Checks for an event once more. `Alive` carries the revision of the last emitted event, not the
                    // revision at the end of the feed. With the end of the feed, a caller that resumes after `Alive`
                    // could miss an event that was just added.
                    return Some(match self.poll()? {
                        Ok(event) => event,
                        Err(_) => Event::Alive { revision: self.revision()? },
                    });
                }
            }
        }
    }

    /// Returns the revision of the last emitted event, or `None` if the store was dropped.
    fn revision(&self) -> Option<Revision> {
        let state = self.state.upgrade()?;
        let state = state.read().unwrap_or_else(PoisonError::into_inner);
        Some(state.feed.revision_of(self.position.unwrap_or(state.feed.last())))
    }

    /// Returns the next event if there is one. Otherwise, returns the time until the next stream may expire. Returns
    /// `None` if the store was closed or dropped.
    fn poll(&mut self) -> Option<Result<Event, Option<Duration>>> {
        let state = self.state.upgrade()?;
        let mut state = state.write().unwrap_or_else(PoisonError::into_inner);
        if state.closed {
            return None;
        }
        let now = self.clock.now();
        state.purge(now);
        let next = self.position.map_or(Lookup::Lost, |position| state.feed.after(position));
        Some(match next {
            Lookup::Next(number, event) => {
                self.position = Some(number);
                Ok(event.at(state.feed.revision_of(number)))
            }
            Lookup::Tail => Err(state.next_due().map(|bound| now.until(bound).max(Duration::from_millis(1)))),
            Lookup::Lost => {
                self.position = Some(state.feed.last());
                Ok(Event::Resync { revision: state.feed.revision(), shard: None })
            }
        })
    }
}
