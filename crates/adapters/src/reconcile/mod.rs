//! Compares what a media server reports with the streams that are known so far.

mod ends;
mod ids;
mod known;
mod meter;
mod record;
mod session;
mod template;

use std::collections::BTreeMap;
use std::time::Duration;

use stream_registry::{Stream, StreamId, StreamPatch, StreamStats, StreamStatus};

use ends::Ends;
use ids::Ids;
use known::{Fate, Known};
use session::{Origin, Outdated, Session};

use crate::model::{Event, Item, Name, Snapshot};

pub use record::difference;
pub use template::{IdTemplate, TemplateError};

/// The label with the name of the media server.
pub const SERVER_LABEL: &str = "server";
/// The label with the session of the publisher.
pub const SESSION_LABEL: &str = "session";

/// A change for the registry.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "a change lives only until it is applied")]
pub enum Change {
    /// A stream has started, or its publisher has connected again: register this record.
    Register(Box<Stream>),
    /// A live stream has changed.
    Update {
        /// The stream.
        id: StreamId,
        /// The new status, if the status has changed.
        status: Option<StreamStatus>,
        /// The current statistics.
        stats: StreamStats,
        /// The changed descriptive fields.
        patch: StreamPatch,
    },
    /// A stream has ended.
    Unregister {
        /// The stream.
        id: StreamId,
        /// Why the stream has ended, as text for `end_reason`.
        reason: &'static str,
    },
}

/// How a server treats a second publisher of a stream that is already live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duplicates {
    /// The server rejects the second publisher, or accepts both and keeps showing the first.
    KeepFirst,
    /// The second publisher replaces the first one at once.
    TakeOver,
}

/// How a kind of server behaves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Profile {
    /// How the server treats a second publisher.
    pub duplicates: Duplicates,
    /// A stream whose counters have not changed for this long is reported as paused.
    pub stall_after: Duration,
    /// The shortest time over which a bit rate is computed from the byte counter.
    pub rate_window: Duration,
    /// A stream that the server has not shown for this long has ended.
    pub forget_after: Duration,
}

const DISCONNECTED: &str = "publisher disconnected";
const NOT_LISTED: &str = "media server no longer lists the stream";
const SERVER_RESTARTED: &str = "media server restarted";
const SERVER_STOPPED: &str = "media server stopped";
const FORGOTTEN: &str = "media server has not listed the stream for too long";

/// The configuration of a reconciler.
#[derive(Debug)]
struct Settings {
    profile: Profile,
    node: String,
    server: String,
}

/// Follows the streams of one server, and returns the changes for the registry.
///
/// The reconciler reads no clock: `now` is the time since any fixed moment, and never decreases.
///
/// ```
/// # use std::time::Duration;
/// use adapters::model::{Name, Snapshot};
/// # use adapters::model::{Counters, Gauges, Item, ItemState, Media};
/// # use adapters::reconcile::{Duplicates, Profile};
/// use adapters::reconcile::{Change, IdTemplate, Reconciler};
///
/// # let profile = Profile {
/// #     duplicates: Duplicates::KeepFirst,
/// #     stall_after: Duration::from_secs(10),
/// #     rate_window: Duration::from_secs(2),
/// #     forget_after: Duration::from_secs(300),
/// # };
/// # let item = Item {
/// #     name: Name::from_path("live/cam1"),
/// #     session: "7".to_owned(),
/// #     kind: stream_registry::StreamType::Srt,
/// #     source_addr: "203.0.113.7:40112".to_owned(),
/// #     state: ItemState::Active,
/// #     media: Media::default(),
/// #     counters: Counters::default(),
/// #     gauges: Gauges::default(),
/// #     labels: std::collections::BTreeMap::new(),
/// # };
/// let mut reconciler = Reconciler::new(profile, IdTemplate::default(), "edge1".to_owned(), "srs".to_owned());
/// let list = Snapshot { complete: true, items: vec![item], ..Snapshot::default() };
/// let changes = reconciler.snapshot(Duration::from_secs(1), Duration::from_secs(1), list);
/// assert!(matches!(&changes[..], [Change::Register(stream)] if stream.id.as_str() == "edge1/live/cam1"));
///
/// let list = Snapshot { complete: true, ..Snapshot::default() };
/// let changes = reconciler.snapshot(Duration::from_secs(2), Duration::from_secs(2), list);
/// assert!(matches!(&changes[..], [Change::Unregister { .. }]));
/// ```
#[derive(Debug)]
pub struct Reconciler {
    settings: Settings,
    ids: Ids,
    streams: BTreeMap<Name, Known>,
    ends: Ends,
    /// When the last list of each scope was requested.
    requested: BTreeMap<Option<String>, Duration>,
    /// The epoch of the last list.
    epoch: Option<String>,
    /// When the server last reported that it has started or stops. Lists that were requested earlier are ignored.
    restarted: Duration,
}

impl Reconciler {
    /// Creates a reconciler that knows no streams.
    ///
    /// `node` becomes the node of each record, and `server` becomes the label `server`.
    pub fn new(profile: Profile, ids: IdTemplate, node: String, server: String) -> Self {
        Self {
            ids: Ids::new(ids),
            settings: Settings { profile, node, server },
            streams: BTreeMap::new(),
            ends: Ends::default(),
            requested: BTreeMap::new(),
            epoch: None,
            restarted: Duration::ZERO,
        }
    }

    /// Sets [`Profile::forget_after`], e.g. to the time to live of the registry.
    pub fn set_forget_after(&mut self, forget_after: Duration) {
        self.settings.profile.forget_after = forget_after;
    }

    /// Returns how the server behaves.
    pub fn profile(&self) -> &Profile {
        &self.settings.profile
    }

    /// Applies a list of streams.
    ///
    /// `requested` is the time at which the first request for the list was sent. The list says nothing about what
    /// happened later.
    pub fn snapshot(&mut self, now: Duration, requested: Duration, snapshot: Snapshot) -> Vec<Change> {
        let last = self.requested.get(&snapshot.scope).copied().unwrap_or_default();
        if requested < last.max(self.restarted) {
            return Vec::new();
        }
        let list = Origin::new(now, requested, &snapshot);
        self.requested.insert(snapshot.scope, requested);
        self.epoch = snapshot.epoch.or(self.epoch.take());
        let mut shown = BTreeMap::<Name, Vec<Item>>::new();
        for item in snapshot.items {
            match self.ends.ended_at(now, &item.name, &item.session) {
                Some(ended) if ended > requested => continue,
                Some(_) => self.ends.forget(&item.name, &item.session),
                None => {}
            }
            shown.entry(item.name.clone()).or_default().push(item);
        }
        let mut changes =
            self.each(now, |name, known, settings| known.show(&list, shown.remove(name).unwrap_or_default(), settings));
        for (name, items) in shown {
            let mut sessions = items.into_iter().map(|item| Session::listed(&list, item));
            let (Some(first), Some(id)) = (sessions.next(), self.ids.claim(&name, &self.settings)) else { continue };
            let (mut known, register) = Known::new(now, id, first, &self.settings);
            sessions.for_each(|session| known.wait(session));
            self.streams.insert(name, known);
            changes.push(register);
        }
        changes
    }

    /// Applies a message of the server.
    pub fn event(&mut self, now: Duration, event: Event) -> Vec<Change> {
        match event {
            Event::Started(item) => self.start(now, item).into_iter().collect(),
            Event::Ended { name, session } => self.end(now, &name, session.as_deref()).into_iter().collect(),
            Event::ServerStarted { epoch } => {
                if epoch.is_none() || epoch != self.epoch {
                    self.outdate(now, Outdated::Started);
                }
                Vec::new()
            }
            Event::ServerExited => {
                self.outdate(now, Outdated::Stopped(now));
                Vec::new()
            }
        }
    }

    /// Ends streams that no list has shown for [`Profile::forget_after`], and the streams of a server that has stopped.
    /// Call this method about once a second.
    pub fn tick(&mut self, now: Duration) -> Vec<Change> {
        self.ends.forget_old(now);
        let forget_after = self.settings.profile.forget_after;
        self.requested.retain(|_, requested| now < requested.saturating_add(forget_after));
        self.each(now, |_, known, settings| known.tick(now, settings))
    }

    /// Returns the current records, ordered by name.
    pub fn streams(&self) -> impl Iterator<Item = &Stream> {
        self.streams.values().map(|known| &known.record)
    }

    /// Returns why streams were skipped since the last call, e.g. because of an illegal id. Each stream is reported
    /// once.
    pub fn take_problems(&mut self) -> Vec<String> {
        self.ids.take_problems()
    }

    fn start(&mut self, now: Duration, item: Item) -> Option<Change> {
        if self.ends.ended_at(now, &item.name, &item.session).is_some() {
            return None;
        }
        if !self.streams.contains_key(&item.name) {
            let id = self.ids.claim(&item.name, &self.settings)?;
            let name = item.name.clone();
            let (known, register) = Known::new(now, id, Session::started(now, item), &self.settings);
            self.streams.insert(name, known);
            return Some(register);
        }
        let name = item.name.clone();
        self.apply(now, &name, |known, settings| Fate::Live(known.start(now, item, settings)))
    }

    fn end(&mut self, now: Duration, name: &Name, session: Option<&str>) -> Option<Change> {
        if let Some(session) = session {
            self.ends.remember(now, name, session);
        }
        self.apply(now, name, |known, settings| known.end(now, session, settings))
    }

    fn outdate(&mut self, now: Duration, outdated: Outdated) {
        self.restarted = now;
        self.streams.values_mut().for_each(|known| known.outdate(outdated));
    }

    /// Applies a step to one stream.
    fn apply(
        &mut self,
        now: Duration,
        name: &Name,
        step: impl FnOnce(&mut Known, &Settings) -> Fate,
    ) -> Option<Change> {
        let known = self.streams.get_mut(name)?;
        let (change, is_live) = settle(now, name, known, &self.settings, &mut self.ends, &mut self.ids, step);
        if !is_live {
            self.streams.remove(name);
        }
        change
    }

    /// Applies a step to each stream.
    fn each(&mut self, now: Duration, mut step: impl FnMut(&Name, &mut Known, &Settings) -> Fate) -> Vec<Change> {
        let Self { streams, settings, ends, ids, .. } = self;
        let mut changes = Vec::new();
        streams.retain(|name, known| {
            let (change, is_live) =
                settle(now, name, known, settings, ends, ids, |known, settings| step(name, known, settings));
            changes.extend(change);
            is_live
        });
        changes
    }
}

/// Applies a step to a stream, and remembers the session that it has ended. Returns the change for the registry, and
/// whether the stream is still live.
fn settle(
    now: Duration,
    name: &Name,
    known: &mut Known,
    settings: &Settings,
    ends: &mut Ends,
    ids: &mut Ids,
    step: impl FnOnce(&mut Known, &Settings) -> Fate,
) -> (Option<Change>, bool) {
    let before = known.session().to_owned();
    let fate = step(known, settings);
    let is_live = matches!(fate, Fate::Live(_));
    if !is_live || !known.has_session(&before) {
        ends.remember(now, name, &before);
    }
    match fate {
        Fate::Live(change) => (change, true),
        Fate::Over(reason) => {
            let id = known.record.id.clone();
            ids.release(&id);
            (Some(Change::Unregister { id, reason }), is_live)
        }
    }
}
