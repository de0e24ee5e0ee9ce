//! Holds all sessions of a node: on probation, live or ended. This module uses no network, no store and no clock.

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

/// Time during which packets of a source are ignored after its BYE (RFC 3550, section 6.3.4).
const LINGER: Duration = Duration::from_secs(2);

/// Limits of a [`Table`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct TableOptions {
    /// Maximum number of concurrent sessions. Default: 1 000.
    pub max_sessions: usize,
    /// Time without packets after which a session ends. Default: 10 s.
    pub silence: Duration,
}

impl Default for TableOptions {
    fn default() -> Self {
        Self { max_sessions: 1_000, silence: Duration::from_secs(10) }
    }
}

impl TableOptions {
    /// Sets the maximum number of concurrent sessions.
    #[must_use]
    pub fn max_sessions(mut self, max: usize) -> Self {
        self.max_sessions = max;
        self
    }

    /// Sets the time without packets after which a session ends.
    #[must_use]
    pub fn silence(mut self, silence: Duration) -> Self {
        self.silence = silence;
        self
    }
}

/// Number of a session in its table; never reused.
pub type Number = u64;

/// Reason why a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndCause {
    /// The sender sent RTCP BYE, with an optional reason.
    Bye(Option<String>),
    /// No packet arrived for this long.
    Silence(Duration),
    /// The node stopped.
    Shutdown,
}

/// Whether a call changed something that must be published immediately.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Effect {
    /// No session began or ended. Counters may have changed; the next report includes them.
    None,
    /// A session began or ended.
    Changed,
}

/// The current state of a session.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// Number of the session.
    pub number: Number,
    /// Address of the sender.
    pub source: SocketAddr,
    /// Synchronisation source.
    pub ssrc: u32,
    /// Most frequent payload type.
    pub payload_type: u8,
    /// Properties of the payload type.
    pub description: Description,
    /// Statistics, with the rates of the last second.
    pub stats: StreamStats,
    /// Reason why the session ended, if it has.
    pub ended: Option<EndCause>,
}

/// Identity of a session. In sort order, keys that differ only in the port are next to each other.
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
    /// Arrival of the last packet, RTP or RTCP.
    last_packet: Instant,
    description: Description,
    ended: Option<EndCause>,
}

/// The sessions of a node. Their number is bounded, whatever the input.
#[derive(Debug)]
pub struct Table {
    options: TableOptions,
    /// Port that receives RTP. It selects the media section of a session description.
    port: u16,
    sdp: Sdp,
    candidates: Candidates,
    sessions: BTreeMap<Number, Entry>,
    /// Live sessions, and sessions that recently sent BYE.
    by_key: BTreeMap<Key, Number>,
    /// Sessions that sent BYE and the time until which their packets are ignored, earliest first.
    lingering: VecDeque<(Instant, Key, Number)>,
    next: Number,
    periods: u64,
    is_full: bool,
}

impl Table {
    /// Returns an empty table for packets received on `port`.
    pub fn new(port: u16, options: TableOptions) -> Self {
        Self {
            options,
            port,
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

    /// Processes an RTP packet of `bytes` bytes, including its headers.
    pub fn rtp(&mut self, source: SocketAddr, packet: &Rtp, bytes: usize, now: Instant) -> Effect {
        let key = Key { ssrc: packet.ssrc, ip: source.ip(), port: source.port() };
        if let Some(number) = self.by_key.get(&key) {
            if let Some(entry) = self.sessions.get_mut(number).filter(|entry| entry.ended.is_none()) {
                entry.last_packet = now;
                entry.session.receive(packet, bytes, now, entry.description.clock_rate);
            }
            return Effect::None;
        }
        let clock_rate = self.sdp.describe(packet.payload_type, self.port).clock_rate;
        match self.candidates.receive(key, packet, bytes, now, clock_rate) {
            Some(session) => self.begin(key, source, session, now),
            None => Effect::None,
        }
    }

    /// Processes RTCP packets. A BYE ends its session. A report keeps its session alive.
    ///
    /// An RTCP packet belongs to the session with the same SSRC, address and port (RFC 5761). If no such session
    /// exists, the next lower port is tried (RFC 3550, section 11). If that port does not match either, the packet
    /// belongs to the session with this SSRC at the address, provided that there is only one.
    pub fn rtcp(&mut self, source: SocketAddr, packet: &Rtcp, now: Instant) -> Effect {
        for ssrc in &packet.reporters {
            if let Some(entry) = self.find(*ssrc, source).and_then(|number| self.sessions.get_mut(&number)) {
                entry.last_packet = now;
            }
        }
        let mut effect = Effect::None;
        for ssrc in &packet.byes {
            let Some(number) = self.find(*ssrc, source) else { continue };
            let Some(entry) = self.sessions.get_mut(&number).filter(|entry| entry.ended.is_none()) else { continue };
            entry.ended = Some(EndCause::Bye(packet.reason.clone()));
            self.lingering.push_back((now + LINGER, entry.key, number));
            effect = Effect::Changed;
        }
        while self.lingering.len() > self.options.max_sessions {
            self.stop_lingering();
        }
        effect
    }

    /// Ends the sessions that have timed out.
    pub fn reap(&mut self, now: Instant) -> Effect {
        while self.lingering.front().is_some_and(|(until, ..)| *until <= now) {
            self.stop_lingering();
        }
        let silence = self.options.silence;
        let mut effect = Effect::None;
        for entry in self.sessions.values_mut().filter(|entry| entry.ended.is_none()) {
            if now.saturating_duration_since(entry.last_packet) >= silence {
                entry.ended = Some(EndCause::Silence(silence));
                entry.session.stop();
                // The key is removed, so that a new session begins if the sender returns.
                self.by_key.remove(&entry.key);
                effect = Effect::Changed;
            }
        }
        effect
    }

    /// Ends a period of one second: recalculates the rates and the properties of each payload type.
    pub fn roll(&mut self, now: Instant) {
        self.periods += 1;
        for entry in self.sessions.values_mut().filter(|entry| entry.ended.is_none()) {
            entry.session.roll(now, entry.description.clock_rate);
            entry.description = self.sdp.describe(entry.session.payload_type(), self.port);
        }
    }

    /// Replaces the session description, including for existing sessions.
    pub fn set_sdp(&mut self, sdp: Sdp) {
        self.sdp = sdp;
        for entry in self.sessions.values_mut().filter(|entry| entry.ended.is_none()) {
            entry.description = self.sdp.describe(entry.session.payload_type(), self.port);
        }
    }

    /// Ends all sessions because the node stops.
    pub fn end_all(&mut self) {
        for entry in self.sessions.values_mut().filter(|entry| entry.ended.is_none()) {
            entry.ended = Some(EndCause::Shutdown);
        }
    }

    /// Returns the state of all sessions, including ended sessions that have not been removed.
    pub fn observe(&self) -> Vec<Observation> {
        self.sessions.iter().map(|(number, entry)| entry.observe(*number)).collect()
    }

    /// Returns the state of a session, or `None` if it was removed.
    pub fn get(&self, number: Number) -> Option<Observation> {
        self.sessions.get(&number).map(|entry| entry.observe(number))
    }

    /// Returns all session numbers that are at least `number`. Newer sessions have greater numbers.
    pub fn numbers_from(&self, number: Number) -> Vec<Number> {
        self.sessions.range(number..).map(|(number, _)| *number).collect()
    }

    /// Removes an ended session. Call this method after the end of the session has been published. A live session is
    /// not removed.
    pub fn remove(&mut self, number: Number) {
        let Some(entry) = self.sessions.get(&number).filter(|entry| entry.ended.is_some()) else { return };
        // After a BYE the key stays for a while, so that late packets do not start a new session.
        if !matches!(entry.ended, Some(EndCause::Bye(_))) && self.by_key.get(&entry.key) == Some(&number) {
            self.by_key.remove(&entry.key);
        }
        self.sessions.remove(&number);
        self.is_full = false;
    }

    /// Returns the number of periods that have ended.
    pub fn periods(&self) -> u64 {
        self.periods
    }

    fn begin(&mut self, key: Key, source: SocketAddr, session: Session, now: Instant) -> Effect {
        if self.sessions.len() >= self.options.max_sessions {
            if !self.is_full {
                let max = self.options.max_sessions;
                warn!(%source, max, "too many sessions; new sessions are ignored until a session ends (see --max-sessions)");
                self.is_full = true;
            }
            return Effect::None;
        }
        let number = self.next;
        self.next += 1;
        let description = self.sdp.describe(session.payload_type(), self.port);
        self.by_key.insert(key, number);
        self.sessions.insert(number, Entry { key, source, session, last_packet: now, description, ended: None });
        Effect::Changed
    }

    fn find(&self, ssrc: u32, source: SocketAddr) -> Option<Number> {
        let key = |port| Key { ssrc, ip: source.ip(), port };
        let exact = self.by_key.get(&key(source.port()));
        let lower_port = || source.port().checked_sub(1).and_then(|port| self.by_key.get(&key(port)));
        let single = || {
            let mut all = self.by_key.range(key(0)..=key(u16::MAX)).map(|(_, number)| number);
            all.next().filter(|_| all.next().is_none())
        };
        exact.or_else(lower_port).or_else(single).copied()
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
        // A frame rate from the session description takes precedence over the measured frame rate.
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
