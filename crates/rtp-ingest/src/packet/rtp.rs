//! The RTP header, RFC 3550, section 5.1.

use super::{Malformed, VERSION, be16, be32};

/// The bytes of the header without contributing sources and extension.
const FIXED_HEADER_BYTES: usize = 12;

/// What ingest needs of an RTP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rtp {
    /// What the payload is, 0 to 127; the session description says more.
    pub payload_type: u8,
    /// The marker: with most video formats the last packet of a frame.
    pub marker: bool,
    /// The sequence number, which grows by one each packet and wraps.
    pub sequence: u16,
    /// The sampling instant, in units of the payload type's clock.
    pub timestamp: u32,
    /// The synchronisation source, which the sender chose at random.
    pub ssrc: u32,
    /// Bytes of media, without headers and padding.
    pub payload_bytes: usize,
}

impl Rtp {
    /// Reads and checks an RTP packet.
    ///
    /// # Errors
    ///
    /// [`Malformed`] names the part that is wrong.
    pub fn parse(datagram: &[u8]) -> Result<Self, Malformed> {
        let [first, second, ..] = *datagram else { return Err(Malformed::TooShort) };
        if first >> 6 != VERSION {
            return Err(Malformed::Version);
        }
        let (Some(sequence), Some(timestamp), Some(ssrc)) = (be16(datagram, 2), be32(datagram, 4), be32(datagram, 8))
        else {
            return Err(Malformed::TooShort);
        };
        let mut header = FIXED_HEADER_BYTES + 4 * usize::from(first & 0x0f);
        if datagram.len() < header {
            return Err(Malformed::Sources);
        }
        if first & 0x10 != 0 {
            let words = be16(datagram, header + 2).ok_or(Malformed::Extension)?;
            header += 4 + 4 * usize::from(words);
            if datagram.len() < header {
                return Err(Malformed::Extension);
            }
        }
        let mut payload_bytes = datagram.len() - header;
        if first & 0x20 != 0 {
            let padding = usize::from(datagram[datagram.len() - 1]);
            if padding == 0 || padding > payload_bytes {
                return Err(Malformed::Padding);
            }
            payload_bytes -= padding;
        }
        Ok(Self { payload_type: second & 0x7f, marker: second & 0x80 != 0, sequence, timestamp, ssrc, payload_bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(first: u8, rest: &[u8]) -> Vec<u8> {
        let mut bytes = vec![first, 0xe0, 0x12, 0x34, 0xca, 0xfe, 0xba, 0xbe, 0x10, 0xcf, 0x99, 0xbe];
        bytes.extend_from_slice(rest);
        bytes
    }

    #[test]
    fn reads_every_field() {
        let read = Rtp::parse(&packet(0x80, &[1, 2, 3])).unwrap();
        let expected = Rtp {
            payload_type: 96,
            marker: true,
            sequence: 0x1234,
            timestamp: 0xcafe_babe,
            ssrc: 0x10cf_99be,
            payload_bytes: 3,
        };
        assert_eq!(read, expected);
    }

    #[test]
    fn the_optional_parts_are_taken_off_the_payload() {
        for (what, bytes, payload) in [
            ("empty payload", packet(0x80, &[]), 0),
            ("one contributing source", packet(0x81, &[0, 0, 0, 1, 9]), 1),
            ("fifteen of them", packet(0x8f, &[0; 61]), 1),
            ("empty extension", packet(0x90, &[0xbe, 0xde, 0, 0, 9, 9]), 2),
            ("extension of one word", packet(0x90, &[0xbe, 0xde, 0, 1, 1, 2, 3, 4, 9]), 1),
            ("source and extension", packet(0x91, &[0, 0, 0, 1, 0, 0, 0, 1, 1, 2, 3, 4, 9]), 1),
            ("one byte of padding", packet(0xa0, &[9, 9, 1]), 2),
            ("nothing but padding", packet(0xa0, &[0, 0, 0, 4]), 0),
            ("all of them", packet(0xb1, &[0, 0, 0, 1, 0, 0, 0, 0, 9, 9, 0, 2]), 2),
        ] {
            assert_eq!(Rtp::parse(&bytes).unwrap_or_else(|e| panic!("{what}: {e}")).payload_bytes, payload, "{what}");
        }
    }

    #[test]
    fn refuses_what_is_no_rtp() {
        let whole = packet(0x80, &[]);
        for length in 0..whole.len() {
            assert_eq!(Rtp::parse(&whole[..length]), Err(Malformed::TooShort), "{length} bytes");
        }
        for (what, bytes, why) in [
            ("version 0, as STUN has it", packet(0x00, &[0; 8]), Malformed::Version),
            ("version 1", packet(0x40, &[0; 8]), Malformed::Version),
            ("version 3", packet(0xc0, &[0; 8]), Malformed::Version),
            ("no source where one is announced", packet(0x81, &[]), Malformed::Sources),
            ("half a source", packet(0x81, &[0, 0]), Malformed::Sources),
            ("fourteen sources of fifteen", packet(0x8f, &[0; 56]), Malformed::Sources),
            ("no extension header", packet(0x90, &[]), Malformed::Extension),
            ("half an extension header", packet(0x90, &[0xbe, 0xde, 0]), Malformed::Extension),
            ("extension beyond the end", packet(0x90, &[0xbe, 0xde, 0, 2, 0, 0, 0, 0]), Malformed::Extension),
            ("the longest extension", packet(0x90, &[0xbe, 0xde, 0xff, 0xff, 0]), Malformed::Extension),
            ("padding without payload", packet(0xa0, &[]), Malformed::Padding),
            ("padding of zero", packet(0xa0, &[1, 0]), Malformed::Padding),
            ("padding into the header", packet(0xa0, &[1, 3]), Malformed::Padding),
            ("padding into the extension", packet(0xb0, &[0, 0, 0, 1, 0, 0, 0, 1]), Malformed::Padding),
        ] {
            assert_eq!(Rtp::parse(&bytes), Err(why), "{what}");
        }
    }
}
