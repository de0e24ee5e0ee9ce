//! One known stream: its record, its current session, and the sessions that may follow.

use std::time::Duration;

use stream_registry::{Stream, StreamId};

use super::meter::Meter;
use super::record::{self, Measured};
use super::session::{Origin, Outdated, Session};
use super::{Change, Duplicates, Settings};
use crate::model::{Item, ItemState, Media};

/// Upper bound of the sessions that wait behind the current one.
const MAX_PENDING: usize = 8;

/// How late the message about the end of a session may arrive. Only messages without a session need this limit.
const LATE_END: Duration = Duration::from_secs(10);

/// The state of a stream after a report was applied.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a fate lives only until it is applied")]
pub(super) enum Fate {
    /// The stream is live; the registry needs this change, if any.
    Live(Option<Change>),
    /// The stream has ended for this reason.
    Over(&'static str),
}

/// A stream that is registered.
#[derive(Debug)]
pub(super) struct Known {
    /// The record as the registry should have it.
    pub(super) record: Stream,
    current: Session,
    pending: Vec<Session>,
    meter: Meter,
    /// When the current session became the current one.
    began: Duration,
    reconnects: u64,
}

impl Known {
    /// Creates a stream and returns it with its registration.
    pub(super) fn new(now: Duration, id: StreamId, session: Session, settings: &Settings) -> (Self, Change) {
        let record = Stream::new(id, session.item.kind.clone(), "");
        let (pending, meter) = (Vec::new(), Meter::default());
        let mut known = Self { record, current: session, pending, meter, began: now, reconnects: 0 };
        let register = known.register(now, settings);
        (known, register)
    }

    /// Returns the value that identifies the current session.
    pub(super) fn session(&self) -> &str {
        &self.current.item.session
    }

    /// Returns whether this is the current session or a pending one.
    pub(super) fn has_session(&self, session: &str) -> bool {
        self.session() == session || self.pending.iter().any(|pending| pending.item.session == session)
    }

    /// Applies the items of a list that have the name of this stream. There may be no such items.
    pub(super) fn show(&mut self, list: &Origin, items: Vec<Item>, settings: &Settings) -> Fate {
        let mut current = None;
        let mut shown = Vec::new();
        for item in items {
            if current.is_none() && self.current.is(&item, list) {
                current = Some(item);
                continue;
            }
            let known = self.pending.iter().position(|session| session.is(&item, list));
            shown.push(match known.map(|at| self.pending.remove(at)) {
                Some(mut session) => {
                    session.item = item;
                    session.show(list);
                    session
                }
                None => Session::listed(list, item),
            });
        }
        let is_over = |session: &Session| list.complete && session.is_covered_by(list) && !session.may_be_missing(list);
        self.pending.retain(|session| !is_over(session));
        if let Some(item) = current {
            self.current.show(list);
            shown.into_iter().for_each(|session| self.wait(session));
            return Fate::Live(self.observe(list.now, item, settings));
        }
        let is_over = is_over(&self.current);
        let is_covered = self.current.is_covered_by(list);
        // Two workers of one server may each have a publisher of this name. Their lists alternate. So once a list has
        // shown the current session, the list of the other worker must not bring back the session before.
        let may_revert = is_covered || !self.current.was_listed();
        let next = shown
            .iter()
            .position(|session| self.current.is_older_than(list) && (may_revert || !session.was_replaced()))
            .map(|at| shown.remove(at));
        shown.into_iter().for_each(|session| self.wait(session));
        match next {
            Some(next) => {
                let keep = !(is_over || is_covered && self.current.was_listed());
                Fate::Live(Some(self.replace(list.now, next, keep, settings)))
            }
            None if is_over => {
                let reason =
                    if self.current.is_from_before(list) { super::SERVER_RESTARTED } else { super::NOT_LISTED };
                self.follow(list.now, reason, settings)
            }
            None => Fate::Live(None),
        }
    }

    /// Applies the start of a publisher.
    pub(super) fn start(&mut self, now: Duration, item: Item, settings: &Settings) -> Option<Change> {
        if self.current.is_outdated() {
            // The server's message may be late, and the current session may already belong to the new run. So the
            // current session stays pending until a list decides, and its counters are not counted twice.
            let mut session = Session::started(now, item);
            let is_same = self.session() == session.item.session;
            if is_same {
                session.counted = self.meter.current();
            }
            return Some(self.replace(now, session, !is_same, settings));
        }
        if self.session() == item.session {
            // A list is more reliable than a hook, which may be late or sent twice.
            return if self.current.was_listed() { None } else { self.observe(now, item, settings) };
        }
        if self.has_session(&item.session) {
            return None;
        }
        let session = Session::started(now, item);
        match settings.profile.duplicates {
            // The message may be late, and the new session already over. So the current session stays pending until a
            // list decides.
            Duplicates::TakeOver => Some(self.replace(now, session, true, settings)),
            Duplicates::KeepFirst => {
                self.wait(session);
                None
            }
        }
    }

    /// Applies the end of a session; `None` means the current session.
    pub(super) fn end(&mut self, now: Duration, session: Option<&str>, settings: &Settings) -> Fate {
        match session {
            Some(session) => {
                self.pending.retain(|pending| pending.item.session != session);
                if self.session() == session {
                    self.follow(now, super::DISCONNECTED, settings)
                } else {
                    Fate::Live(None)
                }
            }
            // The message may be late, and about an earlier session. The next list decides.
            None if self.current.was_listed() && now < self.began.saturating_add(LATE_END) => Fate::Live(None),
            None => {
                self.pending.retain(Session::was_listed);
                self.follow(now, super::DISCONNECTED, settings)
            }
        }
    }

    /// Notes that the server has started or stops.
    pub(super) fn outdate(&mut self, outdated: Outdated) {
        self.pending.iter_mut().chain([&mut self.current]).for_each(|session| session.outdate(outdated));
    }

    /// Ends sessions that nothing has shown for too long.
    pub(super) fn tick(&mut self, now: Duration, settings: &Settings) -> Fate {
        let forget_after = settings.profile.forget_after;
        self.pending.retain(|session| !session.is_stale(now, forget_after));
        match self.current.expired(now, forget_after) {
            Some(reason) => self.follow(now, reason, settings),
            None => Fate::Live(None),
        }
    }

    /// Adds a session that waits behind the current one.
    pub(super) fn wait(&mut self, session: Session) {
        if self.pending.len() >= MAX_PENDING {
            // Many rejected publishers must not displace a session that a list has shown.
            let oldest = self.pending.iter().position(|session| !session.was_listed()).unwrap_or(0);
            self.pending.remove(oldest);
        }
        self.pending.push(session);
    }

    /// Ends the current session. The pending session that was seen last, if any, becomes the current one.
    fn follow(&mut self, now: Duration, reason: &'static str, settings: &Settings) -> Fate {
        self.pending.retain(|session| !session.is_stale(now, settings.profile.forget_after));
        // If only a hook has reported the current session, no list has confirmed that earlier sessions are over.
        let is_unconfirmed = !self.current.was_listed();
        let candidates = self
            .pending
            .iter()
            .enumerate()
            .filter(|(_, session)| session.may_follow(self.began) || (is_unconfirmed && session.was_listed()));
        match candidates.max_by_key(|(_, session)| session.last_seen()).map(|(at, _)| at) {
            Some(at) => {
                let next = self.pending.remove(at);
                Fate::Live(Some(self.replace(now, next, false, settings)))
            }
            None => Fate::Over(reason),
        }
    }

    /// Makes another session the current one. `keep` says whether the old one may still be live.
    fn replace(&mut self, now: Duration, next: Session, keep: bool, settings: &Settings) -> Change {
        let mut old = std::mem::replace(&mut self.current, next);
        self.current.promote();
        if keep {
            old.replace(self.meter.current());
            self.wait(old);
        }
        self.began = now;
        self.reconnects = self.reconnects.saturating_add(1);
        self.meter.begin_session(self.current.counted);
        self.register(now, settings)
    }

    /// Begins the record of the current session.
    fn register(&mut self, now: Duration, settings: &Settings) -> Change {
        let created_at = self.record.created_at;
        self.record = Stream::new(self.record.id.clone(), self.current.item.kind.clone(), "");
        self.record.created_at = created_at;
        self.meter.observe(now, self.current.item.counters, &settings.profile);
        let measured = self.measured(now, settings);
        record::fill(&mut self.record, &self.current.item, &measured, settings);
        Change::Register(Box::new(self.record.clone()))
    }

    /// Applies what the server reports about the current session now.
    fn observe(&mut self, now: Duration, mut item: Item, settings: &Settings) -> Option<Change> {
        let was_listed = self.current.was_listed();
        let old = &mut self.current.item;
        // Servers sometimes leave out what they have shown before.
        keep_if_empty(&mut item.source_addr, &mut old.source_addr);
        let Media { video_codec, resolution, frame_rate, audio_codec } = &mut item.media;
        keep_if_empty(video_codec, &mut old.media.video_codec);
        keep_if_empty(resolution, &mut old.media.resolution);
        keep_if_empty(audio_codec, &mut old.media.audio_codec);
        if *frame_rate == 0.0 {
            *frame_rate = old.media.frame_rate;
        }
        if !was_listed && item.state == ItemState::Connecting {
            item.state = old.state;
        }
        self.current.item = item;
        self.meter.observe(now, self.current.item.counters, &settings.profile);
        let mut next = self.record.clone();
        record::fill(&mut next, &self.current.item, &self.measured(now, settings), settings);
        let change = record::difference(&self.record, &next);
        self.record = next;
        change
    }

    fn measured(&self, now: Duration, settings: &Settings) -> Measured {
        Measured {
            totals: self.meter.totals(),
            bitrate: self.meter.bitrate(),
            stalled: self.current.item.state == ItemState::Active && self.meter.is_stalled(now, &settings.profile),
            reconnects: self.reconnects,
        }
    }
}

fn keep_if_empty(new: &mut String, old: &mut String) {
    if new.is_empty() {
        std::mem::swap(new, old);
    }
}
