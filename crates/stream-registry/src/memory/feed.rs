//! The change feed of an in-memory store: the last events, and those who follow them.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;

use futures_util::stream::unfold;
use tokio::sync::watch::{Receiver, Sender};

use super::clock::Clock;
use super::state::State;
use crate::stream::{Revision, Stream, Timestamp};
use crate::watch::{ALIVE_AFTER, ChangeKind, Ending, Event, RETAINED, Watch, WatchFrom};

/// What happened, without its place in the feed.
#[derive(Clone, Debug)]
pub(super) enum Happened {
    Changed(ChangeKind, Arc<Stream>),
    Ended(Ending, Arc<Stream>, Timestamp),
}

/// The last events, numbered from 1.
#[derive(Debug)]
pub(super) struct Feed {
    /// Tells this feed from that of another store, or of this one in another process.
    history: String,
    last: u64,
    events: VecDeque<Happened>,
    /// Wakes those who wait for the next event.
    tail: Sender<u64>,
}

impl Default for Feed {
    fn default() -> Self {
        let history = format!("{:016x}", fastrand::u64(..));
        Self { history, last: 0, events: VecDeque::new(), tail: Sender::new(0) }
    }
}

/// What a place in the feed is to this feed.
enum Reached {
    /// The event after it.
    Next(u64, Happened),
    /// The last one.
    Tail,
    /// Not, or no longer, a place in it.
    Lost,
}

impl Feed {
    pub(super) fn push(&mut self, happened: Happened) {
        if self.events.len() == RETAINED {
            self.events.pop_front();
        }
        self.events.push_back(happened);
        self.last += 1;
        self.tail.send_replace(self.last);
    }

    /// Wakes those who wait, since time was moved or the store was closed.
    pub(super) fn wake(&self) {
        self.tail.send_replace(self.last);
    }

    pub(super) fn revision(&self) -> Revision {
        self.at(self.last)
    }

    fn at(&self, number: u64) -> Revision {
        let text = format!("{}-{number}", self.history);
        text.parse().unwrap_or_else(|_| unreachable!("{text:?} is a revision"))
    }

    /// The number of a revision of this feed.
    fn number(&self, revision: &Revision) -> Option<u64> {
        let number = revision.as_str().strip_prefix(self.history.as_str())?.strip_prefix('-')?.parse().ok()?;
        (self.at(number) == *revision).then_some(number)
    }

    /// The number before that of the oldest event that is kept.
    fn oldest(&self) -> u64 {
        // At most `RETAINED`.
        self.last - self.events.len() as u64
    }

    fn after(&self, place: u64) -> Reached {
        let first = self.oldest();
        match place {
            _ if place == self.last => Reached::Tail,
            _ if place < first || place > self.last => Reached::Lost,
            _ => {
                let at = usize::try_from(place - first).unwrap_or(usize::MAX);
                self.events.get(at).map_or(Reached::Lost, |event| Reached::Next(place + 1, event.clone()))
            }
        }
    }
}

/// One who follows.
struct Follower {
    state: Weak<RwLock<State>>,
    clock: Clock,
    tail: Receiver<u64>,
    /// The number of the event that was told last; `None` where the place to begin is not in this feed.
    told: Option<u64>,
}

/// Follows the feed of a store from a place on, until the store is closed or gone.
pub(super) fn follow(state: &Arc<RwLock<State>>, clock: &Clock, from: &WatchFrom) -> Watch {
    let begins;
    let follower = {
        let guard = state.read().unwrap_or_else(PoisonError::into_inner);
        let told = match from {
            WatchFrom::Now => Some(guard.feed.last),
            WatchFrom::Revision(revision) => guard.feed.number(revision),
            WatchFrom::Oldest => Some(guard.feed.oldest()),
        };
        let told = told.filter(|told| (guard.feed.oldest()..=guard.feed.last).contains(told));
        begins = told.map(|told| guard.feed.at(told));
        Follower { state: Arc::downgrade(state), clock: clock.clone(), tail: guard.feed.tail.subscribe(), told }
    };
    let watch = Watch::new(unfold(follower, |mut follower| async move { Some((follower.next().await?, follower)) }));
    match begins {
        Some(revision) => watch.starting_after(revision),
        None => watch,
    }
}

impl Follower {
    /// Waits for the next event. Nothing is lost when the future is dropped: what is told is noted in the
    /// same breath.
    async fn next(&mut self) -> Option<Event> {
        let alive_at = tokio::time::Instant::now() + ALIVE_AFTER;
        loop {
            self.tail.mark_unchanged();
            let due = match self.look()? {
                Ok(event) => return Some(event),
                Err(due) => due,
            };
            // The next deadline may be earlier than the next call that would see to it.
            let due = due.map_or(ALIVE_AFTER, |due| due.min(ALIVE_AFTER));
            tokio::select! {
                changed = self.tail.changed() => changed.ok()?,
                () = tokio::time::sleep(due) => {}
                () = tokio::time::sleep_until(alive_at) => {
                    // Once more, and not the tail's revision: an event that comes just now would be skipped by whoever
                    // resumes there.
                    return Some(match self.look()? {
                        Ok(event) => event,
                        Err(_) => Event::Alive { revision: self.reached()? },
                    });
                }
            }
        }
    }

    /// The place of the event that was told last.
    fn reached(&self) -> Option<Revision> {
        let state = self.state.upgrade()?;
        let state = state.read().unwrap_or_else(PoisonError::into_inner);
        Some(state.feed.at(self.told.unwrap_or(state.feed.last)))
    }

    /// The next event, or how long until a stream may expire; `None` where the store is closed.
    fn look(&mut self) -> Option<Result<Event, Option<Duration>>> {
        let state = self.state.upgrade()?;
        let mut state = state.write().unwrap_or_else(PoisonError::into_inner);
        if state.closed {
            return None;
        }
        let now = self.clock.now();
        state.purge(now);
        let reached = self.told.map_or(Reached::Lost, |told| state.feed.after(told));
        Some(match reached {
            Reached::Next(number, happened) => {
                self.told = Some(number);
                let revision = state.feed.at(number);
                Ok(match happened {
                    Happened::Changed(kind, stream) => Event::Changed { revision, kind, stream },
                    Happened::Ended(reason, last, as_of) => Event::Ended { revision, reason, last, as_of },
                })
            }
            Reached::Tail => Err(state.next_due().map(|bound| now.until(bound).max(Duration::from_millis(1)))),
            Reached::Lost => {
                self.told = Some(state.feed.last);
                Ok(Event::Resync { revision: state.feed.revision() })
            }
        })
    }
}
