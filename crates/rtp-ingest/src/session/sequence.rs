//! Sequence numbers: RFC 3550, appendix A.1 (validity) and A.3 (packets expected and lost).

/// Number of consecutive packets that make a source valid.
const MIN_SEQUENTIAL: u8 = 2;
/// Gaps of at least this size count as a jump instead of loss, because the sender may have restarted.
const MAX_DROPOUT: u16 = 3_000;
/// Packets this far behind, or farther, count as a jump instead of late packets.
const MAX_MISORDER: u16 = 100;

/// Classification of a packet by its sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The source is not valid yet; the packet is not counted.
    Probation,
    /// The packet makes the source valid and is the first one counted.
    Validated,
    /// The packet is in order, possibly after a gap.
    InOrder,
    /// The packet is late or a duplicate.
    Misordered,
    /// The jump is too large to be loss; the packet is not counted.
    Jump,
    /// The packet follows a jump: the sender has restarted, and counting continues from here.
    Restarted,
}

/// Sequence state of one source (RFC 3550, appendix A.1).
///
/// If the sender restarts, the RFC resets the counters. This type keeps the previous totals, because a stream's
/// counters never decrease.
#[derive(Clone, Debug)]
pub struct Sequence {
    /// Highest sequence number received.
    max_seq: u16,
    /// Number of wrap-arounds, times 65 536.
    cycles: u64,
    /// First counted sequence number.
    base_seq: u16,
    /// The next packet with this sequence number confirms that the sender has restarted. `None` if no jump is pending.
    bad_seq: Option<u16>,
    /// Consecutive packets still needed to make the source valid.
    probation: u8,
    /// Packets counted since `base_seq`.
    received: u64,
    /// Totals before the last restart.
    before_restart: Totals,
}

/// Packets received and lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Packets received, including late packets and duplicates.
    pub received: u64,
    /// Packets expected minus packets received; 0 if duplicates outnumber losses.
    pub lost: u64,
}

impl Sequence {
    /// Starts probation with the first sequence number of a source. Pass that number to [`update`](Self::update) as
    /// well.
    pub fn new(first: u16) -> Self {
        Self {
            max_seq: first.wrapping_sub(1),
            cycles: 0,
            base_seq: first,
            bad_seq: None,
            probation: MIN_SEQUENTIAL,
            received: 0,
            before_restart: Totals::default(),
        }
    }

    /// Counts and classifies a packet by its sequence number.
    pub fn update(&mut self, seq: u16) -> Verdict {
        if self.probation > 0 {
            return self.validate(seq);
        }
        let ahead = seq.wrapping_sub(self.max_seq);
        // As in the RFC, a packet less than MAX_DROPOUT ahead is in order, and a packet less than MAX_MISORDER behind
        // is late. Every other packet is a jump.
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
            self.before_restart = self.totals();
            self.restart(seq);
            Verdict::Restarted
        } else {
            Verdict::Misordered
        };
        self.received = self.received.saturating_add(1);
        verdict
    }

    /// Returns the totals since the source became valid (RFC 3550, appendix A.3).
    pub fn totals(&self) -> Totals {
        if self.probation > 0 {
            return self.before_restart;
        }
        let expected = self.extended().saturating_sub(u64::from(self.base_seq)).saturating_add(1);
        Totals {
            received: self.before_restart.received.saturating_add(self.received),
            lost: self.before_restart.lost.saturating_add(expected.saturating_sub(self.received)),
        }
    }

    /// Returns the extended highest sequence number, with 64 bits instead of the RFC's 32.
    pub fn extended(&self) -> u64 {
        self.cycles.saturating_add(u64::from(self.max_seq))
    }

    fn validate(&mut self, seq: u16) -> Verdict {
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

    /// Equivalent of `init_seq` in RFC 3550, appendix A.1.
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

    /// The expected values were calculated by hand. As in the RFC, the first packet of a source is not counted.
    #[test]
    fn totals_match_rfc_3550_for_known_sequences() {
        let up = |from: u16, count: u16| (0..count).map(move |n| from.wrapping_add(n));
        type Case = (&'static str, Vec<u16>, u64, u64);
        let cases: Vec<Case> = vec![
            ("one packet", vec![7], 0, 0),
            ("two consecutive packets make the source valid", vec![7, 8], 1, 0),
            ("duplicates do not make the source valid", vec![7, 7], 0, 0),
            ("two packets with a gap do not make the source valid", vec![7, 9], 0, 0),
            ("a gap restarts the probation", vec![7, 9, 10], 1, 0),
            ("ten in a row", up(100, 10).collect(), 9, 0),
            ("one lost", vec![1, 2, 3, 5], 3, 1),
            ("three lost in two gaps", vec![1, 2, 4, 5, 8], 4, 3),
            ("late packet cancels its loss", vec![1, 2, 4, 3, 5], 4, 0),
            ("duplicate hides a loss (A.3)", vec![1, 2, 4, 4, 5], 4, 0),
            ("more duplicates than losses", vec![1, 2, 3, 3, 3, 3], 5, 0),
            ("wrap without loss", vec![65_533, 65_534, 65_535, 0, 1], 4, 0),
            ("wrap with 65535 lost", vec![65_533, 65_534, 0, 1], 3, 1),
            ("wrap with 65535 and 0 lost", vec![65_533, 65_534, 1], 2, 2),
            ("65535 late, after the wrap", vec![65_533, 65_534, 0, 65_535, 1], 4, 0),
            ("the source becomes valid at the wrap", vec![65_535, 0, 1], 2, 0),
            ("late packet from before the first packet", vec![199, 200, 101], 2, 0),
            ("gap of 2 999 is loss", vec![1, 2, 3_001], 2, 2_998),
            ("gap of 3 000 is a jump", vec![1, 2, 3_002], 1, 0),
            ("jump and back", vec![1, 2, 40_000, 3, 4], 3, 0),
            ("two different jumps", vec![1, 2, 40_000, 20_000, 3], 2, 0),
            ("jump followed by its successor is a restart", vec![1, 2, 3, 40_000, 40_001, 40_002], 4, 0),
            ("losses before a restart are kept", vec![1, 2, 4, 40_000, 40_001, 40_003], 4, 2),
            ("restart at zero", vec![30_000, 30_001, 30_002, 0, 1, 2], 4, 0),
            ("100 behind is a jump", vec![1_000, 1_001, 901], 1, 0),
            ("99 behind is late", vec![1_000, 1_001, 902], 2, 0),
        ];
        for (case, numbers, received, lost) in cases {
            assert_eq!(after(numbers).totals(), Totals { received, lost }, "{case}");
        }
    }

    #[test]
    fn update_classifies_packets_as_in_rfc_3550() {
        use Verdict::{InOrder, Jump, Misordered, Probation, Restarted, Validated};
        let packets = [
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
        for (index, (number, verdict)) in packets.into_iter().enumerate() {
            assert_eq!(sequence.update(number), verdict, "packet {index}, number {number}");
        }
    }

    #[test]
    fn extended_number_includes_wraps() {
        let numbers = (0..200_000_u32).map(|n| u16::try_from((n + 65_000) % 65_536).unwrap());
        let sequence = after(numbers);
        assert_eq!(sequence.extended(), 65_000 + 199_999);
        assert_eq!(sequence.totals(), Totals { received: 199_999, lost: 0 });
    }

    #[test]
    fn loss_is_exact_over_many_wraps() {
        let numbers = (0..500_000_u32).filter(|n| *n < 20 || n % 10 != 5);
        let dropped = (20..500_000_u32).filter(|n| n % 10 == 5).count();
        let sequence = after(numbers.map(|n| u16::try_from(n % 65_536).unwrap()));
        let totals = sequence.totals();
        assert_eq!(totals.lost, u64::try_from(dropped).unwrap());
        assert_eq!(totals.received + totals.lost, 499_999);
    }

    #[test]
    fn counters_exceed_32_bits_and_saturate_at_64() {
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
