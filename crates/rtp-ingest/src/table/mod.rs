//! All sessions of a node: who is on probation, who is live, who has ended. No network, no store, no clock.

mod candidates;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use stream_registry::StreamStats;
use tracing::warn;

use crate::packet::{Rtcp, Rtp};
use crate::sdp::{Description, Sdp};
use crate::session::Session;
use candidates::Candidates;

/// How long late packets of a source that said good-bye are ignored (RFC 3550, 6.3.4).
const LINGER: Duration = Duration::from_secs(2);

/// Limits of a [`Table`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct TableOptions {
    /// The most sessions at a time. Default 1 000.
    pub max_sessions: usize,
    /// How long a session lives without a packet. Default 10 s.
    pub silence: Duration,
    /// The port that the media come to; tells sections of a session description apart. Default 5004.
    pub port: u16,
}

impl Default for TableOptions {
    fn default() -> Self {
        Self { max_sessions: 1_000, silence: Duration::from_secs(10), port: 5004 }
    }
}

/// A session's number in its table; never used twice.
pub type Number = u64;

/// Why a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The sender said good-bye, and perhaps why.
    Bye(Option<String>),
    /// Nothing came for this long.
    Silence(Duration),
    /// The node stops.
    Shutdown,
}

/// Whether a call changed what the store should hear of at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Effect {
    /// Counters at most; the next report has them.
    None,
    /// A session began or ended.
    News,
}

/// What is known of a session at this moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// The session.
    pub number: Number,
    /// The sender's address.
    pub source: SocketAddr,
    /// The synchronisation source.
    pub ssrc: u32,
    /// The payload type of most packets.
    pub payload_type: u8,
    /// What the payload is.
    pub description: Description,
    /// Statistics; rates are those of the last second.
    pub stats: StreamStats,
    /// Why the session ended, if it has.
    pub ended: Option<Ending>,
}

/// What tells sessions apart. The order puts all ports of a source side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Key {
    ssrc: u32,
    ip: IpAddr,
    port: u16,
}

#[derive(Debug)]
struct Entry {
    key: Key,
    source: SocketAddr,
    session: Session,
    /// When the last packet came, RTP or RTCP.
    heard: Instant,
    description: Description,
    ended: Option<Ending>,
}

/// The sessions of a node, their number bounded whatever comes.
#[derive(Debug)]
pub struct Table {
    options: TableOptions,
    sdp: Sdp,
    candidates: Candidates,
    sessions: BTreeMap<Number, Entry>,
    /// Live sessions, and for a while those that said good-bye.
    by_key: BTreeMap<Key, Number>,
    /// Those that said good-bye, and until when their packets are ignored; the earliest first.
    lingering: VecDeque<(Instant, Key, Number)>,
    next: Number,
    periods: u64,
    is_full: bool,
}

impl Table {
    /// Makes an empty table.
    pub fn new(options: TableOptions) -> Self {
        Self {
            options,
            sdp: Sdp::default(),
            candidates: Candidates::default(),
            sessions: BTreeMap::new(),
            by_key: BTreeMap::new(),
            lingering: VecDeque::new(),
            next: 0,
            periods: 0,
            is_full: false,
        }
    }

    /// Takes in an RTP packet of `bytes` bytes, headers included.
    pub fn rtp(&mut self, source: SocketAddr, packet: &Rtp, bytes: usize, now: Instant) -> Effect {
        let key = Key { ssrc: packet.ssrc, ip: source.ip(), port: source.port() };
        if let Some(number) = self.by_key.get(&key) {
            if let Some(entry) = self.sessions.get_mut(number).filter(|entry| entry.ended.is_none()) {
                entry.heard = now;
                entry.session.receive(packet, bytes, now, entry.description.clock_rate);
            }
            return Effect::None;
        }
        let clock_rate = self.sdp.describe(packet.payload_type, self.options.port).clock_rate;
        match self.candidates.receive(key, packet, bytes, now, clock_rate) {
            Some(session) => self.begin(key, source, session, now),
            None => Effect::None,
        }
    }

    /// Takes in RTCP. A good-bye ends the session; a report is a sign of life.
    ///
    /// The session is that of the same address and port (RFC 5761), or of the port below (RFC 3550,
    /// section 11), or the only one of that source at the address.
    pub fn rtcp(&mut self, source: SocketAddr, packet: &Rtcp, now: Instant) -> Effect {
        for ssrc in &packet.reporters {
            if let Some(entry) = self.find(*ssrc, source).and_then(|number| self.sessions.get_mut(&number)) {
                entry.heard = now;
            }
        }
        let mut effect = Effect::None;
        for ssrc in &packet.byes {
            let Some(number) = self.find(*ssrc, source) else { continue };
            let Some(entry) = self.sessions.get_mut(&number).filter(|entry| entry.ended.is_none()) else { continue };
            entry.ended = Some(Ending::Bye(packet.reason.clone()));
            self.lingering.push_back((now + LINGER, entry.key, number));
            effect = Effect::News;
        }
        while self.lingering.len() > self.options.max_sessions {
            self.stop_lingering();
        }
        effect
    }

    /// Ends the sessions that have been silent for too long.
    pub fn reap(&mut self, now: Instant) -> Effect {
        while self.lingering.front().is_some_and(|(until, ..)| *until <= now) {
            self.stop_lingering();
        }
        let silence = self.options.silence;
        let mut effect = Effect::None;
        for entry in self.sessions.values_mut().filter(|entry| entry.ended.is_none()) {
            if now.saturating_duration_since(entry.heard) >= silence {
                entry.ended = Some(Ending::Silence(silence));
                entry.session.stop();
                // Should the sender come back, that is a new session.
                self.by_key.remove(&entry.key);
                effect = Effect::News;
            }
        }
        effect
    }

    /// Closes a period of a second: rates, and what the payload is, are made up anew.
    pub fn roll(&mut self, now: Instant) {
        self.periods += 1;
        for entry in self.sessions.values_mut().filter(|entry| entry.ended.is_none()) {
            entry.session.roll(now, entry.description.clock_rate);
            entry.description = self.sdp.describe(entry.session.payload_type(), self.options.port);
        }
    }

    /// Replaces the session description; it counts for the sessions that are there, too.
    pub fn set_sdp(&mut self, sdp: Sdp) {
        self.sdp = sdp;
        for entry in self.sessions.values_mut().filter(|entry| entry.ended.is_none()) {
            entry.description = self.sdp.describe(entry.session.payload_type(), self.options.port);
        }
    }

    /// Ends all sessions: the node stops.
    pub fn end_all(&mut self) {
        for entry in self.sessions.values_mut().filter(|entry| entry.ended.is_none()) {
            entry.ended = Some(Ending::Shutdown);
        }
    }

    /// Returns what is known of all sessions, ended ones that were not forgotten included.
    pub fn observe(&self) -> Vec<Observation> {
        self.sessions.iter().map(|(number, entry)| entry.observe(*number)).collect()
    }

    /// Returns what is known of a session, unless it was forgotten.
    pub fn look(&self, number: Number) -> Option<Observation> {
        self.sessions.get(&number).map(|entry| entry.observe(number))
    }

    /// Returns the sessions from a number on; newer ones have greater numbers.
    pub fn numbers_from(&self, number: Number) -> Vec<Number> {
        self.sessions.range(number..).map(|(number, _)| *number).collect()
    }

    /// Drops a session that has ended: nobody needs to hear of it any more.
    pub fn forget(&mut self, number: Number) {
        let Some(entry) = self.sessions.get(&number).filter(|entry| entry.ended.is_some()) else { return };
        // The key of one that said good-bye stays for a while, so that its late packets begin nothing.
        if !matches!(entry.ended, Some(Ending::Bye(_))) && self.by_key.get(&entry.key) == Some(&number) {
            self.by_key.remove(&entry.key);
        }
        self.sessions.remove(&number);
        self.is_full = false;
    }

    /// Returns how many periods were closed.
    pub fn periods(&self) -> u64 {
        self.periods
    }

    fn begin(&mut self, key: Key, source: SocketAddr, session: Session, now: Instant) -> Effect {
        if self.sessions.len() >= self.options.max_sessions {
            if !self.is_full {
                let most = self.options.max_sessions;
                warn!(%source, most, "too many sessions; new ones are ignored until one ends (see --max-sessions)");
                self.is_full = true;
            }
            return Effect::None;
        }
        let number = self.next;
        self.next += 1;
        let description = self.sdp.describe(session.payload_type(), self.options.port);
        self.by_key.insert(key, number);
        self.sessions.insert(number, Entry { key, source, session, heard: now, description, ended: None });
        Effect::News
    }

    fn find(&self, ssrc: u32, source: SocketAddr) -> Option<Number> {
        let key = |port| Key { ssrc, ip: source.ip(), port };
        let exact = self.by_key.get(&key(source.port()));
        let below = || source.port().checked_sub(1).and_then(|port| self.by_key.get(&key(port)));
        let only = || {
            let mut all = self.by_key.range(key(0)..=key(u16::MAX)).map(|(_, number)| number);
            all.next().filter(|_| all.next().is_none())
        };
        exact.or_else(below).or_else(only).copied()
    }

    fn stop_lingering(&mut self) {
        if let Some((_, key, number)) = self.lingering.pop_front()
            && self.by_key.get(&key) == Some(&number)
        {
            self.by_key.remove(&key);
        }
    }
}

impl Entry {
    fn observe(&self, number: Number) -> Observation {
        let mut stats = self.session.stats();
        // A frame rate that the description states is not measured.
        if !self.description.video_codec.is_empty() && self.description.frame_rate == 0.0 {
            stats.frame_rate = self.session.frame_rate();
        }
        Observation {
            number,
            source: self.source,
            ssrc: self.key.ssrc,
            payload_type: self.session.payload_type(),
            description: self.description.clone(),
            stats,
            ended: self.ended.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
