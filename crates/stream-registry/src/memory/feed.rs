//! The change feed of an in-memory store. It keeps the most recent events, numbered in order.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::watch::{Receiver, Sender};

use crate::stream::{Revision, Stream, Timestamp};
use crate::watch::{ChangeKind, Ending, Event, RETAINED};

/// An event without its position in the feed.
#[derive(Clone, Debug)]
pub(super) enum FeedEvent {
    Changed(ChangeKind, Arc<Stream>),
    Ended(Ending, Arc<Stream>, Timestamp),
}

impl FeedEvent {
    /// Returns the complete event, with its revision in the feed.
    pub(super) fn at(self, revision: Revision) -> Event {
        match self {
            Self::Changed(kind, stream) => Event::Changed { revision, kind, stream },
            Self::Ended(reason, last, as_of) => Event::Ended { revision, reason, last, as_of: Some(as_of) },
        }
    }
}

/// A change feed, which keeps the most recent events. Events are numbered from 1.
#[derive(Debug)]
pub(super) struct Feed {
    /// A random string that is part of every revision of this feed. It distinguishes these revisions from those of
    /// another store or process.
    generation: String,
    /// The number of the most recent event; 0 before the first event.
    last: u64,
    events: VecDeque<FeedEvent>,
    /// Notifies watches of new events.
    tail: Sender<u64>,
}

impl Default for Feed {
    fn default() -> Self {
        let generation = format!("{:016x}", fastrand::u64(..));
        Self { generation, last: 0, events: VecDeque::new(), tail: Sender::new(0) }
    }
}

/// The result of looking up the event that follows a position in the feed.
pub(super) enum Lookup {
    /// The next event and its number.
    Next(u64, FeedEvent),
    /// The position is the end of the feed, so there is no next event yet.
    Tail,
    /// The position is not in the feed, or the events after it have been dropped.
    Lost,
}

impl Feed {
    pub(super) fn push(&mut self, event: FeedEvent) {
        if self.events.len() == RETAINED {
            self.events.pop_front();
        }
        self.events.push_back(event);
        self.last += 1;
        self.tail.send_replace(self.last);
    }

    /// Wakes all watches. Called after the clock was advanced or the store was closed.
    pub(super) fn wake(&self) {
        self.tail.send_replace(self.last);
    }

    /// Subscribes to the notifications of new events.
    pub(super) fn subscribe(&self) -> Receiver<u64> {
        self.tail.subscribe()
    }

    /// Returns the number of the last event.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// Returns the number of the most recently dropped event, or 0 if no event has been dropped.
    pub(super) fn oldest(&self) -> u64 {
        // The feed holds at most `RETAINED` events, so the conversion is lossless.
        self.last - self.events.len() as u64
    }

    /// Returns the revision of the last event.
    pub(super) fn revision(&self) -> Revision {
        self.revision_of(self.last)
    }

    /// Returns the revision of the event with this number.
    pub(super) fn revision_of(&self, number: u64) -> Revision {
        let string = format!("{}-{number}", self.generation);
        string.parse().unwrap_or_else(|_| unreachable!("{string:?} is a valid revision"))
    }

    /// Returns the event number in a revision. Returns `None` if the revision belongs to another feed.
    pub(super) fn number_of(&self, revision: &Revision) -> Option<u64> {
        let number = revision.as_str().strip_prefix(self.generation.as_str())?.strip_prefix('-')?.parse().ok()?;
        (self.revision_of(number) == *revision).then_some(number)
    }

    /// Returns at most `count` events with their numbers, the newest first. The first one has the number `last`.
    pub(super) fn backwards_from(&self, last: u64, count: u64) -> impl Iterator<Item = (u64, &FeedEvent)> {
        let oldest = self.oldest();
        let first = last.saturating_sub(count).max(oldest);
        (first..last).rev().filter_map(move |before| {
            let index = usize::try_from(before - oldest).ok()?;
            Some((before + 1, self.events.get(index)?))
        })
    }

    /// Returns the event that follows a position.
    pub(super) fn after(&self, position: u64) -> Lookup {
        let oldest = self.oldest();
        match position {
            _ if position == self.last => Lookup::Tail,
            _ if position < oldest || position > self.last => Lookup::Lost,
            _ => {
                let index = usize::try_from(position - oldest).unwrap_or(usize::MAX);
                self.events.get(index).map_or(Lookup::Lost, |event| Lookup::Next(position + 1, event.clone()))
            }
        }
    }
}
