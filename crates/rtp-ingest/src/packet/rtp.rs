//! Parses the RTP header (RFC 3550, section 5.1).

use super::{Malformed, VERSION, be16, be32};

/// Length of the header without contributing sources and extension.
const FIXED_HEADER_BYTES: usize = 12;

/// The fields of an RTP packet that ingest needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rtp {
    /// Payload type, 0 to 127. The session description maps it to a codec.
    pub payload_type: u8,
    /// Marker bit. Most video formats set it on the last packet of a frame.
    pub marker: bool,
    /// Sequence number. It grows by one per packet and wraps around.
    pub sequence: u16,
    /// Sampling instant of the payload, in units of the payload type's clock.
    pub timestamp: u32,
    /// Synchronisation source (SSRC), which the sender chose at random.
    pub ssrc: u32,
    /// Length of the payload in bytes, without headers and padding.
    pub payload_bytes: usize,
}

impl Rtp {
    /// Parses and validates an RTP packet.
    ///
    /// # Errors
    ///
    /// Returns [`Malformed`] if the packet is invalid. The variant names the invalid part.
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
    fn parse_returns_every_field() {
        let parsed = Rtp::parse(&packet(0x80, &[1, 2, 3])).unwrap();
        let expected = Rtp {
            payload_type: 96,
            marker: true,
            sequence: 0x1234,
            timestamp: 0xcafe_babe,
            ssrc: 0x10cf_99be,
            payload_bytes: 3,
        };
        assert_eq!(parsed, expected);
    }

    #[test]
    fn payload_bytes_exclude_sources_extension_and_padding() {
        for (case, bytes, payload) in [
            ("empty payload", packet(0x80, &[]), 0),
            ("one contributing source", packet(0x81, &[0, 0, 0, 1, 9]), 1),
            ("fifteen contributing sources", packet(0x8f, &[0; 61]), 1),
            ("empty extension", packet(0x90, &[0xbe, 0xde, 0, 0, 9, 9]), 2),
            ("extension of one word", packet(0x90, &[0xbe, 0xde, 0, 1, 1, 2, 3, 4, 9]), 1),
            ("source and extension", packet(0x91, &[0, 0, 0, 1, 0, 0, 0, 1, 1, 2, 3, 4, 9]), 1),
            ("one byte of padding", packet(0xa0, &[9, 9, 1]), 2),
            ("only padding", packet(0xa0, &[0, 0, 0, 4]), 0),
            ("source, extension and padding", packet(0xb1, &[0, 0, 0, 1, 0, 0, 0, 0, 9, 9, 0, 2]), 2),
        ] {
            assert_eq!(Rtp::parse(&bytes).unwrap_or_else(|e| panic!("{case}: {e}")).payload_bytes, payload, "{case}");
        }
    }

    #[test]
    fn parse_rejects_malformed_packets() {
        let valid = packet(0x80, &[]);
        for length in 0..valid.len() {
            assert_eq!(Rtp::parse(&valid[..length]), Err(Malformed::TooShort), "{length} bytes");
        }
        for (case, bytes, error) in [
            ("version 0, as in STUN", packet(0x00, &[0; 8]), Malformed::Version),
            ("version 1", packet(0x40, &[0; 8]), Malformed::Version),
            ("version 3", packet(0xc0, &[0; 8]), Malformed::Version),
            ("missing contributing source", packet(0x81, &[]), Malformed::Sources),
            ("truncated contributing source", packet(0x81, &[0, 0]), Malformed::Sources),
            ("fourteen of fifteen contributing sources", packet(0x8f, &[0; 56]), Malformed::Sources),
            ("missing extension header", packet(0x90, &[]), Malformed::Extension),
            ("truncated extension header", packet(0x90, &[0xbe, 0xde, 0]), Malformed::Extension),
            ("extension exceeds the datagram", packet(0x90, &[0xbe, 0xde, 0, 2, 0, 0, 0, 0]), Malformed::Extension),
            ("extension of maximum length", packet(0x90, &[0xbe, 0xde, 0xff, 0xff, 0]), Malformed::Extension),
            ("padding without payload", packet(0xa0, &[]), Malformed::Padding),
            ("padding of zero", packet(0xa0, &[1, 0]), Malformed::Padding),
            ("padding reaches into the header", packet(0xa0, &[1, 3]), Malformed::Padding),
            ("padding reaches into the extension", packet(0xb0, &[0, 0, 0, 1, 0, 0, 0, 1]), Malformed::Padding),
        ] {
            assert_eq!(Rtp::parse(&bytes), Err(error), "{case}");
        }
    }
}
