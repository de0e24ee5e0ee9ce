//! One session: a publisher's connection that publishes, or tries to publish, a stream.

use std::time::Duration;

use crate::model::{Counters, Item, Snapshot};

/// How long a session may be missing in lists after its start. Servers send the hook before they list the stream.
const START_GRACE: Duration = Duration::from_secs(5);

/// How long a start that only a hook has reported waits for the end of the current session.
const PENDING: Duration = Duration::from_secs(30);

/// How long a session is kept without a list after the server has reported that it stops.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// The time, epoch and scope of a list, without its items.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Origin {
    /// When the list was received.
    pub(super) now: Duration,
    /// When the list was requested.
    pub(super) requested: Duration,
    pub(super) epoch: Option<String>,
    pub(super) scope: Option<String>,
    pub(super) complete: bool,
}

impl Origin {
    pub(super) fn new(now: Duration, requested: Duration, snapshot: &Snapshot) -> Self {
        let Snapshot { epoch, scope, complete, items: _ } = snapshot;
        Self { now, requested, epoch: epoch.clone(), scope: scope.clone(), complete: *complete }
    }
}

/// One session, current or pending.
#[derive(Clone, Debug)]
pub(super) struct Session {
    /// The last report of the server.
    pub(super) item: Item,
    /// The counters of this session that are already part of the stream's totals.
    pub(super) counted: Counters,
    /// When the session was first seen: the time of its hook, or of the request for the first list.
    since: Duration,
    /// When the session was last seen.
    seen: Duration,
    /// Epoch and scope of the last list that has shown the session; `None` if only a hook has reported it.
    listed: Option<(Option<String>, Option<String>)>,
    /// Whether another session replaced this one as the current session.
    replaced: bool,
    /// When the server reported that it stops or has started, unless a list has shown the session since then.
    outdated: Option<Outdated>,
}

/// A report of a server about itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Outdated {
    /// The server has started; the next complete list decides.
    Started,
    /// The server stops at this time.
    Stopped(Duration),
}

impl Session {
    /// Creates a session that a hook has reported.
    pub(super) fn started(now: Duration, item: Item) -> Self {
        Self {
            item,
            counted: Counters::default(),
            since: now,
            seen: now,
            listed: None,
            replaced: false,
            outdated: None,
        }
    }

    /// Creates a session that a list shows.
    pub(super) fn listed(list: &Origin, item: Item) -> Self {
        let mut session = Self::started(list.requested, item);
        session.show(list);
        session
    }

    /// Notes that a list shows the session.
    pub(super) fn show(&mut self, list: &Origin) {
        self.seen = list.now;
        self.listed = Some((list.epoch.clone(), list.scope.clone()));
        self.outdated = None;
    }

    /// Notes that another session has become the current one.
    pub(super) fn replace(&mut self, counted: Counters) {
        self.replaced = true;
        self.counted = counted;
    }

    /// Notes that the session has become the current one.
    pub(super) fn promote(&mut self) {
        self.replaced = false;
    }

    pub(super) fn outdate(&mut self, outdated: Outdated) {
        self.outdated = Some(outdated);
    }

    pub(super) fn is_outdated(&self) -> bool {
        self.outdated.is_some()
    }

    pub(super) fn was_listed(&self) -> bool {
        self.listed.is_some()
    }

    /// Returns whether the session was replaced, and might replace its successor in turn.
    pub(super) fn was_replaced(&self) -> bool {
        self.replaced
    }

    /// Returns whether an item of a list is this session. A server may use a value again after a restart, so epoch and
    /// scope must not differ.
    pub(super) fn is(&self, item: &Item, list: &Origin) -> bool {
        let differ = |a: &Option<String>, b: &Option<String>| a.is_some() && b.is_some() && a != b;
        self.item.session == item.session
            && self
                .listed
                .as_ref()
                .is_none_or(|(epoch, scope)| !differ(epoch, &list.epoch) && !differ(scope, &list.scope))
    }

    /// Returns whether the list would show the session if the session were live.
    pub(super) fn is_covered_by(&self, list: &Origin) -> bool {
        list.scope.is_none() || self.listed.as_ref().is_some_and(|(_, scope)| *scope == list.scope)
    }

    /// Returns whether the list may lack the session because the list was requested before, or soon after, the session
    /// began.
    pub(super) fn may_be_missing(&self, list: &Origin) -> bool {
        self.listed.is_none() && list.requested < self.since.saturating_add(START_GRACE)
    }

    /// Returns whether the list was requested after the session was first seen.
    pub(super) fn is_older_than(&self, list: &Origin) -> bool {
        self.since <= list.requested
    }

    /// Returns whether a session that is missing in a list of this epoch belongs to an earlier run of the server.
    pub(super) fn is_from_before(&self, list: &Origin) -> bool {
        let epoch = self.listed.as_ref().and_then(|(epoch, _)| epoch.as_ref());
        self.outdated.is_some() || epoch.zip(list.epoch.as_ref()).is_some_and(|(old, new)| old != new)
    }

    /// Returns whether the session is probably still live and may replace the current session, which began at `began`.
    pub(super) fn may_follow(&self, began: Duration) -> bool {
        if self.was_listed() { self.seen > began } else { !self.replaced }
    }

    /// Returns why the session is over, if nothing has shown it for too long.
    pub(super) fn expired(&self, now: Duration, forget_after: Duration) -> Option<&'static str> {
        match self.outdated {
            Some(Outdated::Stopped(at)) if now >= at.saturating_add(STOP_GRACE) => Some(super::SERVER_STOPPED),
            _ if now >= self.seen.saturating_add(forget_after) => Some(super::FORGOTTEN),
            _ => None,
        }
    }

    /// Returns whether a pending session is too old to become the current one.
    pub(super) fn is_stale(&self, now: Duration, forget_after: Duration) -> bool {
        let keep = if self.was_listed() { forget_after } else { PENDING };
        now >= self.seen.saturating_add(keep) || self.expired(now, forget_after).is_some()
    }

    /// Orders pending sessions: the session that was seen last is the most likely to be live.
    pub(super) fn last_seen(&self) -> (bool, Duration) {
        (self.was_listed(), self.seen)
    }
}
