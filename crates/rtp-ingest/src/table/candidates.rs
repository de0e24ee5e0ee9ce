//! Holds the sources on probation. Their number is bounded, so that a flood of forged sources uses a fixed amount of
//! memory.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::Key;
use crate::packet::Rtp;
use crate::session::{Session, Verdict};

/// Maximum number of sources on probation. A new source replaces the oldest one.
///
/// The second packet of a real sender arrives within the duration of a frame. A real sender therefore leaves probation
/// even during a flood.
pub(super) const MAX_CANDIDATES: usize = 4_096;
/// Maximum time between the first and second packet of a source.
const MAX_AGE: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct Candidates {
    candidates: BTreeMap<Key, Candidate>,
    /// Ring buffer of keys in order of arrival.
    slots: Vec<Key>,
    next: usize,
}

#[derive(Debug)]
struct Candidate {
    session: Session,
    began: Instant,
    slot: usize,
}

impl Candidates {
    /// Counts a packet and returns the session if the packet makes its source valid.
    pub(super) fn receive(
        &mut self,
        key: Key,
        packet: &Rtp,
        bytes: usize,
        now: Instant,
        clock_rate: u32,
    ) -> Option<Session> {
        let is_recent = |candidate: &Candidate| now.saturating_duration_since(candidate.began) < MAX_AGE;
        match self.candidates.get_mut(&key) {
            Some(candidate) if is_recent(candidate) => {
                let verdict = candidate.session.receive(packet, bytes, now, clock_rate);
                if verdict == Verdict::Probation {
                    candidate.began = now;
                    return None;
                }
                self.candidates.remove(&key).map(|candidate| candidate.session)
            }
            Some(candidate) => {
                *candidate = Candidate { session: Session::new(packet, now), began: now, slot: candidate.slot };
                None
            }
            None => {
                self.insert(key, packet, now);
                None
            }
        }
    }

    fn insert(&mut self, key: Key, packet: &Rtp, now: Instant) {
        let slot = self.next;
        self.next = (slot + 1) % MAX_CANDIDATES;
        match self.slots.get_mut(slot) {
            Some(occupied) => {
                let oldest = std::mem::replace(occupied, key);
                if self.candidates.get(&oldest).is_some_and(|candidate| candidate.slot == slot) {
                    self.candidates.remove(&oldest);
                }
            }
            None => self.slots.push(key),
        }
        self.candidates.insert(key, Candidate { session: Session::new(packet, now), began: now, slot });
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        assert!(self.slots.len() <= MAX_CANDIDATES);
        self.candidates.len()
    }
}
