//! Sequence numbers: RFC 3550, A.1 (validity) and A.3 (packets expected and lost).

/// How many packets in sequence make a source valid.
const MIN_SEQUENTIAL: u8 = 2;
/// The greatest gap that counts as loss; beyond it the sender may have started anew.
const MAX_DROPOUT: u16 = 3_000;
/// How far behind a packet may be and still count as late.
const MAX_MISORDER: u16 = 100;

/// What a packet's sequence number says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The source is not valid yet; the packet counts nowhere.
    Probation,
    /// The packet that makes the source valid: the first one that counts.
    Validated,
    /// In order, perhaps behind a gap.
    InOrder,
    /// Late, or a second copy.
    Misordered,
    /// A jump too large to be loss; counts nowhere unless its successor follows.
    Jump,
    /// The successor of a jump: the sender started anew, and counting goes on from here.
    Restarted,
}

/// The state of RFC 3550, A.1, for one source.
///
/// Where the RFC sets its counters to zero for a sender that started anew, the sums of what was before
/// are kept, since a stream's counters are totals.
#[derive(Clone, Debug)]
pub struct Sequence {
    /// The highest sequence number seen.
    max_seq: u16,
    /// Sequence numbers in the wraps so far: 65 536 times their count.
    cycles: u64,
    /// The first sequence number that counts.
    base_seq: u16,
    /// What would follow the last jump, if one is pending.
    bad_seq: Option<u16>,
    /// Packets in sequence that are still needed.
    probation: u8,
    /// Packets that counted since `base_seq`.
    received: u64,
    /// Packets and losses before the last restart.
    before: Totals,
}

/// Packets that came, and that did not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Packets received, late and repeated ones included.
    pub received: u64,
    /// Packets expected and not received; at least 0, although copies can outnumber losses.
    pub lost: u64,
}

impl Sequence {
    /// Starts with the first packet of a source, which is on probation: feed it to [`update`](Self::update) too.
    pub fn new(first: u16) -> Self {
        Self {
            max_seq: first.wrapping_sub(1),
            cycles: 0,
            base_seq: first,
            bad_seq: None,
            probation: MIN_SEQUENTIAL,
            received: 0,
            before: Totals::default(),
        }
    }

    /// Takes in the sequence number of a packet.
    pub fn update(&mut self, seq: u16) -> Verdict {
        if self.probation > 0 {
            return self.prove(seq);
        }
        let ahead = seq.wrapping_sub(self.max_seq);
        // The RFC's jump begins at MAX_DROPOUT and ends where MAX_MISORDER behind begins.
        let verdict = if ahead == 0 {
            Verdict::Misordered
        } else if ahead < MAX_DROPOUT {
            if seq < self.max_seq {
                self.cycles = self.cycles.saturating_add(1 << 16);
            }
            self.max_seq = seq;
            Verdict::InOrder
        } else if ahead <= u16::MAX - MAX_MISORDER + 1 {
            if self.bad_seq != Some(seq) {
                self.bad_seq = Some(seq.wrapping_add(1));
                return Verdict::Jump;
            }
            self.before = self.totals();
            self.restart(seq);
            Verdict::Restarted
        } else {
            Verdict::Misordered
        };
        self.received = self.received.saturating_add(1);
        verdict
    }

    /// Returns the totals since the source became valid.
    pub fn totals(&self) -> Totals {
        if self.probation > 0 {
            return self.before;
        }
        let expected = self.extended().saturating_sub(u64::from(self.base_seq)).saturating_add(1);
        Totals {
            received: self.before.received.saturating_add(self.received),
            lost: self.before.lost.saturating_add(expected.saturating_sub(self.received)),
        }
    }

    /// Returns the highest sequence number with its wraps: 64 bits, where the RFC has 32.
    pub fn extended(&self) -> u64 {
        self.cycles.saturating_add(u64::from(self.max_seq))
    }

    fn prove(&mut self, seq: u16) -> Verdict {
        if seq == self.max_seq.wrapping_add(1) {
            self.probation -= 1;
            self.max_seq = seq;
            if self.probation == 0 {
                self.restart(seq);
                self.received = 1;
                return Verdict::Validated;
            }
        } else {
            self.probation = MIN_SEQUENTIAL - 1;
            self.max_seq = seq;
        }
        Verdict::Probation
    }

    /// `init_seq` of the RFC.
    fn restart(&mut self, seq: u16) {
        self.base_seq = seq;
        self.max_seq = seq;
        self.bad_seq = None;
        self.cycles = 0;
        self.received = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(sequence_numbers: impl IntoIterator<Item = u16>) -> Sequence {
        let mut numbers = sequence_numbers.into_iter().peekable();
        let mut sequence = Sequence::new(*numbers.peek().unwrap());
        for number in numbers {
            sequence.update(number);
        }
        sequence
    }

    /// Each by hand: the first packet of a source does not count, as in the RFC.
    #[test]
    fn received_and_lost_of_known_runs() {
        let up = |from: u16, count: u16| (0..count).map(move |n| from.wrapping_add(n));
        type Case = (&'static str, Vec<u16>, u64, u64);
        let cases: Vec<Case> = vec![
            ("one packet", vec![7], 0, 0),
            ("two make it valid", vec![7, 8], 1, 0),
            ("two copies do not", vec![7, 7], 0, 0),
            ("nor two with a gap", vec![7, 9], 0, 0),
            ("the gap begins a new probation", vec![7, 9, 10], 1, 0),
            ("ten in a row", up(100, 10).collect(), 9, 0),
            ("one lost", vec![1, 2, 3, 5], 3, 1),
            ("three lost in two gaps", vec![1, 2, 4, 5, 8], 4, 3),
            ("late one takes the loss back", vec![1, 2, 4, 3, 5], 4, 0),
            ("a copy hides a loss (A.3)", vec![1, 2, 4, 4, 5], 4, 0),
            ("more copies than losses are not less than none", vec![1, 2, 3, 3, 3, 3], 5, 0),
            ("wrap without loss", vec![65_533, 65_534, 65_535, 0, 1], 4, 0),
            ("wrap with 65535 lost", vec![65_533, 65_534, 0, 1], 3, 1),
            ("wrap with 65535 and 0 lost", vec![65_533, 65_534, 1], 2, 2),
            ("65535 late, behind the wrap", vec![65_533, 65_534, 0, 65_535, 1], 4, 0),
            ("valid at the wrap", vec![65_535, 0, 1], 2, 0),
            ("late, from before the base", vec![199, 200, 101], 2, 0),
            ("a gap of 2 999 is loss", vec![1, 2, 3_001], 2, 2_998),
            ("a gap of 3 000 is a jump", vec![1, 2, 3_002], 1, 0),
            ("a jump and back again", vec![1, 2, 40_000, 3, 4], 3, 0),
            ("two different jumps", vec![1, 2, 40_000, 20_000, 3], 2, 0),
            ("a jump and its successor are a restart", vec![1, 2, 3, 40_000, 40_001, 40_002], 4, 0),
            ("losses before a restart stay", vec![1, 2, 4, 40_000, 40_001, 40_003], 4, 2),
            ("restart at zero", vec![30_000, 30_001, 30_002, 0, 1, 2], 4, 0),
            ("behind by 100 is a jump", vec![1_000, 1_001, 901], 1, 0),
            ("behind by 99 is late", vec![1_000, 1_001, 902], 2, 0),
        ];
        for (what, numbers, received, lost) in cases {
            assert_eq!(after(numbers).totals(), Totals { received, lost }, "{what}");
        }
    }

    #[test]
    fn verdicts_are_those_of_the_rfc() {
        use Verdict::{InOrder, Jump, Misordered, Probation, Restarted, Validated};
        let run = [
            (10, Probation),
            (11, Validated),
            (12, InOrder),
            (14, InOrder),
            (13, Misordered),
            (14, Misordered),
            (50_000, Jump),
            (50_002, Jump),
            (50_003, Restarted),
            (50_004, InOrder),
        ];
        let mut sequence = Sequence::new(10);
        for (place, (number, verdict)) in run.into_iter().enumerate() {
            assert_eq!(sequence.update(number), verdict, "packet {place}, number {number}");
        }
    }

    #[test]
    fn the_extended_number_counts_wraps() {
        let numbers = (0..200_000_u32).map(|n| u16::try_from((n + 65_000) % 65_536).unwrap());
        let sequence = after(numbers);
        assert_eq!(sequence.extended(), 65_000 + 199_999);
        assert_eq!(sequence.totals(), Totals { received: 199_999, lost: 0 });
    }

    #[test]
    fn a_tenth_lost_over_many_wraps_is_exact() {
        let numbers = (0..500_000_u32).filter(|n| *n < 20 || n % 10 != 5);
        let dropped = (20..500_000_u32).filter(|n| n % 10 == 5).count();
        let sequence = after(numbers.map(|n| u16::try_from(n % 65_536).unwrap()));
        let totals = sequence.totals();
        assert_eq!(totals.lost, u64::try_from(dropped).unwrap());
        assert_eq!(totals.received + totals.lost, 499_999);
    }

    #[test]
    fn counters_beyond_32_bits_hold() {
        let mut sequence = after([1, 2]);
        sequence.cycles = 1 << 47;
        sequence.received = (1 << 47) - 5;
        assert_eq!(sequence.totals(), Totals { received: (1 << 47) - 5, lost: 6 });
        sequence.cycles = u64::MAX;
        sequence.received = u64::MAX;
        sequence.update(3);
        assert_eq!(sequence.totals(), Totals { received: u64::MAX, lost: 0 });
    }
}
