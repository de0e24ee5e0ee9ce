//! A reconciler with a clock, and a registry that checks every change.

use std::collections::BTreeMap;
use std::time::Duration;

use adapters::model::{Counters, Event, Gauges, Item, ItemState, Media, Name, Snapshot};
use adapters::reconcile::{Change, Duplicates, IdTemplate, Profile, Reconciler};
use stream_registry::{Stream, StreamType};

pub(crate) const KEEP_FIRST: Profile = Profile {
    duplicates: Duplicates::KeepFirst,
    stall_after: Duration::from_secs(10),
    rate_window: Duration::from_secs(2),
    forget_after: Duration::from_secs(300),
};

pub(crate) const TAKE_OVER: Profile = Profile { duplicates: Duplicates::TakeOver, ..KEEP_FIRST };

/// Returns a publisher of `live/cam1`.
pub(crate) fn publisher(session: &str) -> Item {
    publisher_of("live/cam1", session)
}

pub(crate) fn publisher_of(path: &str, session: &str) -> Item {
    Item {
        name: Name::from_path(path),
        session: session.to_owned(),
        kind: StreamType::Srt,
        source_addr: "203.0.113.7:40112".to_owned(),
        state: ItemState::Active,
        media: Media::default(),
        counters: Counters::default(),
        gauges: Gauges::default(),
        labels: BTreeMap::new(),
    }
}

pub(crate) fn with_bytes(session: &str, bytes: u64) -> Item {
    Item { counters: Counters { bytes: Some(bytes), ..Counters::default() }, ..publisher(session) }
}

/// Returns a complete list of the whole server.
pub(crate) fn list(items: &[Item]) -> Snapshot {
    Snapshot { complete: true, items: items.to_vec(), ..Snapshot::default() }
}

pub(crate) fn list_of_epoch(epoch: &str, items: &[Item]) -> Snapshot {
    Snapshot { epoch: Some(epoch.to_owned()), ..list(items) }
}

pub(crate) fn list_of_scope(scope: &str, items: &[Item]) -> Snapshot {
    Snapshot { scope: Some(scope.to_owned()), ..list(items) }
}

/// A registry that panics if a change is illegal.
#[derive(Debug, Default)]
pub(crate) struct Table(pub(crate) BTreeMap<String, Stream>);

impl Table {
    pub(crate) fn apply(&mut self, change: &Change) {
        match change {
            Change::Register(stream) => {
                stream.check().unwrap();
                let before = self.0.insert(stream.id.to_string(), (**stream).clone());
                if let Some(before) = before {
                    assert_eq!(stream.created_at, before.created_at, "created_at has changed");
                    check_counters(&before, stream);
                }
            }
            Change::Update { id, status, stats, patch } => {
                let stream = self.0.get_mut(id.as_str()).unwrap_or_else(|| panic!("update of {id} before its start"));
                let before = stream.clone();
                stats.check().unwrap();
                patch.check().unwrap();
                if let Some(status) = status {
                    assert_ne!(*status, before.status, "update with the same status");
                    stream.set_status(status.clone());
                }
                stream.update_stats(stats);
                stream.apply_patch(patch);
                assert_ne!(*stream, before, "update without a change");
                stream.check().unwrap();
                check_counters(&before, stream);
            }
            Change::Unregister { id, .. } => {
                assert!(self.0.remove(id.as_str()).is_some(), "{id} ends twice");
            }
        }
    }
}

fn check_counters(before: &Stream, after: &Stream) {
    let counters = |stream: &Stream| {
        [
            stream.bytes_received,
            stream.packets_received,
            stream.packets_lost,
            stream.packets_retransmitted.unwrap_or(0),
            stream.packets_dropped.unwrap_or(0),
        ]
    };
    for (before, after) in counters(before).into_iter().zip(counters(after)) {
        assert!(after >= before, "a counter goes back from {before} to {after}");
    }
}

/// A reconciler, its registry and the time.
pub(crate) struct Bench {
    pub(crate) reconciler: Reconciler,
    pub(crate) table: Table,
    now: Duration,
}

impl Bench {
    pub(crate) fn new(profile: Profile) -> Self {
        Self::with_ids(profile, "{path}")
    }

    pub(crate) fn with_ids(profile: Profile, ids: &str) -> Self {
        let ids: IdTemplate = ids.parse().unwrap();
        let reconciler = Reconciler::new(profile, ids, "edge1".to_owned(), "main".to_owned());
        Self { reconciler, table: Table::default(), now: Duration::from_secs(1_000) }
    }

    pub(crate) fn now(&self) -> Duration {
        self.now
    }

    /// Lets time pass, with a tick each second.
    pub(crate) fn pass(&mut self, seconds: f64) -> Vec<Change> {
        let end = self.now + Duration::from_secs_f64(seconds);
        let mut changes = Vec::new();
        while self.now < end {
            self.now = end.min(self.now + Duration::from_secs(1));
            changes.extend(self.tick());
        }
        changes
    }

    pub(crate) fn set_time(&mut self, now: Duration) {
        assert!(now >= self.now);
        self.now = now;
    }

    pub(crate) fn tick(&mut self) -> Vec<Change> {
        let changes = self.reconciler.tick(self.now);
        self.check(changes)
    }

    /// Applies a list that is answered at once.
    pub(crate) fn list(&mut self, snapshot: Snapshot) -> Vec<Change> {
        self.late_list(self.now, snapshot)
    }

    pub(crate) fn late_list(&mut self, requested: Duration, snapshot: Snapshot) -> Vec<Change> {
        let changes = self.reconciler.snapshot(self.now, requested, snapshot);
        self.check(changes)
    }

    pub(crate) fn event(&mut self, event: Event) -> Vec<Change> {
        let changes = self.reconciler.event(self.now, event);
        self.check(changes)
    }

    /// Applies the hook of a start; no media has arrived yet.
    pub(crate) fn start(&mut self, session: &str) -> Vec<Change> {
        self.event(Event::Started(Item { state: ItemState::Connecting, ..publisher(session) }))
    }

    pub(crate) fn end(&mut self, session: &str) -> Vec<Change> {
        self.event(Event::Ended { name: Name::from_path("live/cam1"), session: Some(session.to_owned()) })
    }

    pub(crate) fn end_of_any(&mut self) -> Vec<Change> {
        self.event(Event::Ended { name: Name::from_path("live/cam1"), session: None })
    }

    /// Returns the session of `live/cam1` in the registry; `None` if the stream is not registered.
    pub(crate) fn session(&self) -> Option<&str> {
        self.table.0.get("live/cam1").map(|stream| &*stream.labels["session"])
    }

    /// Returns the record of `live/cam1`.
    pub(crate) fn stream(&self) -> &Stream {
        &self.table.0["live/cam1"]
    }

    /// Applies the changes to the registry and compares it with the reconciler.
    fn check(&mut self, changes: Vec<Change>) -> Vec<Change> {
        for change in &changes {
            self.table.apply(change);
        }
        let records: BTreeMap<_, _> =
            self.reconciler.streams().map(|stream| (stream.id.to_string(), stream.clone())).collect();
        assert_eq!(records, self.table.0, "the changes do not lead to the records of the reconciler");
        changes
    }
}
