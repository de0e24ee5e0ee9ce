//! Watches of all shards: merges the followers of the shards' feeds into one watch.
//!
//! The events of one stream are in order, because a stream is always in the same shard. The events of different shards
//! are in the order of their arrival. A shard that is down delays no event of another shard.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::{BoxStream, SelectAll, StreamExt as _, unfold};
use tokio::time::Instant;

use super::position::{self, UNKNOWN};
use super::{Shard, Shards};
use crate::backoff::Backoff;
use crate::error::{Error, Result};
use crate::redis::feed::follow::follow;
use crate::redis::feed::position::Position;
use crate::redis::store::Store;
use crate::watch::{self, ALIVE_AFTER, Event, Watch, WatchFrom};

/// Pauses between attempts to follow the feed of a shard that is down.
const BACKOFF: Backoff = Backoff { min: Duration::from_millis(100), max: Duration::from_secs(2) };
/// Time without any event after which a shard counts as down. A readable feed emits `Alive` after 10 s without events.
const SILENT_AFTER: Duration = ALIVE_AFTER.saturating_add(Duration::from_secs(5));

impl Shards {
    /// Follows the feeds of all shards. If some shards are down, follows them when they are back.
    ///
    /// # Errors
    ///
    /// Returns the error of a shard if no shard can be followed, or if the error is not retryable.
    pub(in crate::redis) async fn watch(&self, from: &WatchFrom) -> Result<Watch> {
        if let [single] = &*self.shards {
            return follow(&single.store, from).await;
        }
        let known = match from {
            WatchFrom::Revision(revision) => position::positions(revision, self.shards.len()),
            _ => None,
        };
        // A revision of another store is not a position in any of the feeds.
        let is_foreign = matches!(from, WatchFrom::Revision(_)) && known.is_none();
        let starts = self.iter().enumerate().map(|(number, shard)| {
            let known = known.as_ref().map(|known| known[number]);
            let from = match (known, from) {
                (Some(position), _) => WatchFrom::Revision(position.revision()),
                (None, WatchFrom::Revision(_)) => WatchFrom::Now,
                (None, from) => from.clone(),
            };
            async move { Part::start(number, shard, known, from).await }
        });
        let parts = join_all(starts).await;
        let are_all_down = parts.iter().all(|part| matches!(part, Err((error, _)) if error.is_retryable()));
        let parts = parts.into_iter().map(|part| match part {
            Err((error, down)) if error.is_retryable() && !are_all_down => Ok(down),
            part => part.map_err(|(error, _)| error),
        });
        let parts: Vec<Part> = parts.collect::<Result<_>>()?;

        let positions: Vec<Position> = parts.iter().map(|part| part.position).collect();
        let is_known = !is_foreign && !positions.contains(&UNKNOWN);
        let start = position::revision(&positions);
        let merged = Merged {
            resync: is_foreign,
            heard: parts.iter().map(|part| part.is_followed().then(Instant::now)).collect(),
            positions,
            events: parts.into_iter().map(Part::events).collect(),
            alive_at: Instant::now(),
        };
        let watch = Watch::new(unfold(merged, |mut merged| async move { Some((merged.next().await?, merged)) }));
        Ok(if is_known { watch.starting_after(start) } else { watch })
    }
}

/// The follower of one shard.
struct Part {
    number: usize,
    /// The position from which the shard is followed; `UNKNOWN` if events may be missing.
    position: Position,
    source: Source,
}

enum Source {
    Following(Watch),
    /// The shard is down. The store is a weak reference, so that a watch does not keep the registry open.
    Down {
        store: Weak<Store>,
        from: WatchFrom,
        failures: u32,
    },
}

impl Part {
    /// Follows a shard. If this fails, returns the error and a part that retries.
    async fn start(
        number: usize,
        shard: &Shard,
        known: Option<Position>,
        from: WatchFrom,
    ) -> Result<Self, (Error, Self)> {
        match follow(&shard.store, &from).await {
            Ok(watch) => {
                let position = watch.start().and_then(Position::from_revision).or(known).unwrap_or(UNKNOWN);
                Ok(Self { number, position, source: Source::Following(watch) })
            }
            Err(error) => {
                let source = Source::Down { store: Arc::downgrade(&shard.store), from, failures: 0 };
                Err((shard.named(error), Self { number, position: known.unwrap_or(UNKNOWN), source }))
            }
        }
    }

    fn is_followed(&self) -> bool {
        matches!(self.source, Source::Following(_))
    }

    /// Returns the next event of the shard. Returns `None` if the registry was closed.
    fn events(self) -> BoxStream<'static, (usize, Option<Event>)> {
        let number = self.number;
        let events = unfold(Some(self), move |part| async move {
            let mut part = part?;
            let event = part.next().await;
            let part = event.is_some().then_some(part);
            Some(((number, event), part))
        });
        events.boxed()
    }

    async fn next(&mut self) -> Option<Event> {
        loop {
            let (store, from, failures) = match &mut self.source {
                Source::Following(watch) => return watch.next().await,
                Source::Down { store, from, failures } => (store, from, failures),
            };
            tokio::time::sleep(BACKOFF.pause(*failures)).await;
            *failures = failures.saturating_add(1);
            let store = store.upgrade()?;
            if store.link.is_closed() {
                return None;
            }
            let Ok(watch) = follow(&store, from).await else { continue };
            // Without a known position, events may be missing: the watch was started before the shard could be read.
            let resync = match from {
                WatchFrom::Now => watch.start().cloned(),
                _ => None,
            };
            self.source = Source::Following(watch);
            if let Some(revision) = resync {
                return Some(Event::Resync { revision, shard: None });
            }
        }
    }
}

/// The merged events of all shards.
struct Merged {
    events: SelectAll<BoxStream<'static, (usize, Option<Event>)>>,
    /// The position of the last emitted event of each shard.
    positions: Vec<Position>,
    /// When each shard last emitted an event. `None` if the shard has been down since the start.
    heard: Vec<Option<Instant>>,
    /// When the last `Alive` was emitted.
    alive_at: Instant,
    /// Whether the first event is a `Resync`.
    resync: bool,
}

impl Merged {
    /// Waits for the next event. `Alive` is emitted only if all shards are alive.
    async fn next(&mut self) -> Option<Event> {
        if std::mem::take(&mut self.resync) {
            return Some(Event::Resync { revision: position::revision(&self.positions), shard: None });
        }
        loop {
            let (number, event) = self.events.next().await?;
            let event = event?;
            let now = Instant::now();
            self.heard[number] = Some(now);
            let position = Position::from_revision(event.revision()).unwrap_or(UNKNOWN);
            let has_advanced = std::mem::replace(&mut self.positions[number], position) != position;
            if matches!(event, Event::Alive { .. }) {
                // `Alive` at a new position reports entries without an event. Consumers may wait for this position.
                let since = if has_advanced { now.checked_sub(SILENT_AFTER) } else { Some(self.alive_at) };
                if self.heard.iter().any(|heard| *heard < since) {
                    continue;
                }
                self.alive_at = now;
            }
            let mut event = event.at(position::revision(&self.positions));
            if let Event::Resync { shard, .. } = &mut event {
                *shard = watch::Shard::new(number, self.positions.len());
            }
            return Some(event);
        }
    }
}
