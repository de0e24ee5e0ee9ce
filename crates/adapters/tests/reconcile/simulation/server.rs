//! A model of a media server: its true sessions, the hooks that it sends and the lists that it answers.

use std::collections::BTreeMap;
use std::time::Duration;

use adapters::model::{Event, Item, ItemState, Name, Snapshot};
use adapters::reconcile::{Duplicates, Profile};
use fastrand::Rng;

use crate::bench::{KEEP_FIRST, TAKE_OVER, publisher_of};

/// How a model server behaves.
#[derive(Clone, Debug)]
pub(super) struct Kind {
    pub(super) profile: Profile,
    /// Number of workers, each with a list of its own. One worker means that the list describes the whole server.
    pub(super) workers: usize,
    /// Whether the lists have an epoch.
    epochs: bool,
    /// Whether the session numbers begin again after a restart.
    pub(super) reuses_sessions: bool,
    /// Whether the hook of an end names the session. If not, the server sends its hooks in order.
    pub(super) ends_name_session: bool,
    /// Whether a rejected publisher causes the hook of an end.
    reports_refused: bool,
    /// Whether the server reports that it starts and stops.
    reports_itself: bool,
}

impl Kind {
    pub(super) fn random(rng: &mut Rng) -> Self {
        let workers = if rng.u8(..3) == 0 { 2 } else { 1 };
        let epochs = workers == 1 && rng.bool();
        // With several workers, such an end may belong to the publisher in another worker.
        let ends_name_session = workers > 1 || rng.u8(..4) > 0;
        Self {
            profile: if workers == 1 && ends_name_session && rng.bool() { TAKE_OVER } else { KEEP_FIRST },
            workers,
            epochs,
            reuses_sessions: (epochs || workers > 1) && rng.bool(),
            ends_name_session,
            reports_refused: ends_name_session && rng.bool(),
            reports_itself: workers == 1 && rng.bool(),
        }
    }
}

/// A live session.
#[derive(Clone, Debug)]
pub(super) struct Live {
    pub(super) session: String,
    pub(super) bytes: u64,
    pub(super) stalled: bool,
    /// When the lists begin to show the session.
    listed_from: Duration,
}

/// The model server.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) kind: Kind,
    /// Number of the run; greater after each restart.
    pub(super) run: u32,
    pub(super) is_up: bool,
    next_session: u32,
    /// The live sessions by worker and path.
    pub(super) live: BTreeMap<(usize, &'static str), Live>,
    /// Bytes that all sessions of a path have sent.
    pub(super) sent: BTreeMap<&'static str, u64>,
}

pub(super) const PATHS: [&str; 5] = ["live/a", "live/b", "live/c", "tv/a", "d"];

impl Server {
    pub(super) fn new(kind: Kind) -> Self {
        let (live, sent) = Default::default();
        Self { kind, run: 1, is_up: true, next_session: 1, live, sent }
    }

    /// Lets a publisher start, end, stall or continue. Returns the hooks that the server sends.
    pub(super) fn act(&mut self, now: Duration, rng: &mut Rng) -> Vec<Event> {
        if !self.is_up {
            return Vec::new();
        }
        let key = (rng.usize(..self.kind.workers), PATHS[rng.usize(..PATHS.len())]);
        match rng.u8(..10) {
            0..5 => self.start(now, key, rng),
            5..8 => self.live.remove(&key).map(|live| self.ended(key.1, live)).into_iter().collect(),
            _ => {
                if let Some(live) = self.live.get_mut(&key) {
                    live.stalled = !live.stalled;
                }
                Vec::new()
            }
        }
    }

    fn start(&mut self, now: Duration, key: (usize, &'static str), rng: &mut Rng) -> Vec<Event> {
        let session = if self.kind.reuses_sessions {
            self.next_session.to_string()
        } else {
            format!("{}-{}", self.run, self.next_session)
        };
        self.next_session += 1;
        let listed_from = now + Duration::from_millis(rng.u64(..2_000));
        let live = Live { session, bytes: 0, stalled: false, listed_from };
        let item = Item { state: ItemState::Connecting, ..publisher_of(key.1, &live.session) };
        let mut hooks = vec![Event::Started(item)];
        if !self.live.contains_key(&key) {
            self.live.insert(key, live);
        } else if self.kind.profile.duplicates == Duplicates::TakeOver {
            let old = self.live.insert(key, live);
            hooks.extend(old.map(|old| self.ended(key.1, old)));
        } else if self.kind.reports_refused {
            hooks.push(self.ended(key.1, live));
        }
        hooks
    }

    fn ended(&self, path: &str, live: Live) -> Event {
        let session = self.kind.ends_name_session.then_some(live.session);
        Event::Ended { name: Name::from_path(path), session }
    }

    /// Stops the server; all sessions are over without a hook.
    pub(super) fn stop(&mut self) -> Option<Event> {
        self.is_up = false;
        self.live.clear();
        self.kind.reports_itself.then_some(Event::ServerExited)
    }

    pub(super) fn restart(&mut self, rng: &mut Rng) -> Option<Event> {
        self.is_up = true;
        self.run += 1;
        if self.kind.reuses_sessions {
            self.next_session = 1;
        }
        let epoch = (self.kind.epochs && rng.bool()).then(|| self.run.to_string());
        self.kind.reports_itself.then_some(Event::ServerStarted { epoch })
    }

    /// Returns the list of one worker.
    pub(super) fn list(&mut self, now: Duration, worker: usize, rng: &mut Rng) -> Snapshot {
        let mut items = Vec::new();
        for ((at, path), live) in &mut self.live {
            if !live.stalled {
                let bytes = rng.u64(1..10_000);
                live.bytes += bytes;
                *self.sent.entry(path).or_default() += bytes;
            }
            if *at == worker && live.listed_from <= now {
                let mut item = publisher_of(path, &live.session);
                item.counters.bytes = Some(live.bytes);
                items.push(item);
            }
        }
        Snapshot {
            epoch: self.kind.epochs.then(|| self.run.to_string()),
            scope: (self.kind.workers > 1).then(|| self.scope(worker)),
            complete: true,
            items,
        }
    }

    /// Returns the process id of a worker.
    fn scope(&self, worker: usize) -> String {
        format!("{}{worker}", self.run)
    }
}
