//! Sources on probation: bounded in number, so that a flood of made-up sources costs a fixed amount of memory.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::Key;
use crate::packet::Rtp;
use crate::session::{Session, Verdict};

/// The most sources on probation; the oldest gives way to a new one.
///
/// A real sender's second packet comes within a frame's time, so it passes even through a flood.
pub(super) const MAX_CANDIDATES: usize = 4_096;
/// How old a first packet may be for a second one to count with it.
const MAX_AGE: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct Candidates {
    found: BTreeMap<Key, Candidate>,
    /// A ring of places; each holds the key of the candidate that took it last.
    places: Vec<Key>,
    next: usize,
}

#[derive(Debug)]
struct Candidate {
    session: Session,
    began: Instant,
    place: usize,
}

impl Candidates {
    /// Takes in a packet; gives the session out when the packet makes its source valid.
    pub(super) fn receive(
        &mut self,
        key: Key,
        packet: &Rtp,
        bytes: usize,
        now: Instant,
        clock_rate: u32,
    ) -> Option<Session> {
        let fresh = |candidate: &Candidate| now.saturating_duration_since(candidate.began) < MAX_AGE;
        match self.found.get_mut(&key) {
            Some(candidate) if fresh(candidate) => {
                let verdict = candidate.session.receive(packet, bytes, now, clock_rate);
                if verdict == Verdict::Probation {
                    candidate.began = now;
                    return None;
                }
                self.found.remove(&key).map(|candidate| candidate.session)
            }
            Some(candidate) => {
                *candidate = Candidate { session: Session::new(packet, now), began: now, place: candidate.place };
                None
            }
            None => {
                self.admit(key, packet, now);
                None
            }
        }
    }

    fn admit(&mut self, key: Key, packet: &Rtp, now: Instant) {
        let place = self.next;
        self.next = (place + 1) % MAX_CANDIDATES;
        match self.places.get_mut(place) {
            Some(taken) => {
                let before = std::mem::replace(taken, key);
                if self.found.get(&before).is_some_and(|candidate| candidate.place == place) {
                    self.found.remove(&before);
                }
            }
            None => self.places.push(key),
        }
        self.found.insert(key, Candidate { session: Session::new(packet, now), began: now, place });
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        assert!(self.places.len() <= MAX_CANDIDATES);
        self.found.len()
    }
}
