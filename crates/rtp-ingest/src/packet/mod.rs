//! Parses and validates datagrams as RTP or RTCP. The input is untrusted.

mod rtcp;
mod rtp;

pub use rtcp::{MAX_REASON_BYTES, Rtcp};
pub use rtp::Rtp;

use std::fmt;

/// Protocol version of RFC 3550, in the two highest bits of the first byte.
const VERSION: u8 = 2;

/// A parsed datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// A media packet.
    Rtp(Rtp),
    /// One or more control packets.
    Rtcp(Rtcp),
}

impl Packet {
    /// Parses a datagram from a port that carries both protocols (RFC 5761, section 4).
    ///
    /// The second byte shows the protocol. In an RTCP packet, it is the packet type, 192 to 223. In an RTP packet, it
    /// holds the marker bit and the payload type. Payload types 64 to 95 are unused, so an RTP packet never looks like
    /// RTCP.
    ///
    /// # Errors
    ///
    /// Returns [`Malformed`] if the datagram is neither valid RTP nor valid RTCP.
    pub fn parse(datagram: &[u8]) -> Result<Self, Malformed> {
        match datagram.get(1) {
            Some(192..=223) => Rtcp::parse(datagram).map(Self::Rtcp),
            _ => Rtp::parse(datagram).map(Self::Rtp),
        }
    }
}

/// Reason why a datagram was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Malformed {
    /// The datagram is shorter than the fixed header.
    TooShort,
    /// The protocol version is not 2.
    Version,
    /// The list of contributing sources exceeds the datagram.
    Sources,
    /// The header extension exceeds the datagram.
    Extension,
    /// The padding length is zero or exceeds the payload.
    Padding,
    /// An RTCP length field does not match the datagram.
    Length,
    /// The packet type is not an RTCP packet type.
    Type,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooShort => "shorter than the fixed header",
            Self::Version => "not version 2",
            Self::Sources => "contributing sources exceed the datagram",
            Self::Extension => "header extension exceeds the datagram",
            Self::Padding => "padding is zero or exceeds the payload",
            Self::Length => "RTCP length does not match the datagram",
            Self::Type => "not an RTCP packet type",
        })
    }
}

impl std::error::Error for Malformed {}

/// Reads a big-endian 16-bit number.
fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_be_bytes(bytes.try_into().ok()?))
}

/// Reads a big-endian 32-bit number.
fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_byte_distinguishes_rtp_from_rtcp() {
        for second in 0..=255_u8 {
            let mut datagram = vec![0x80, second, 0, 2, 0, 0, 0, 0, 0, 0, 0, 7];
            let is_rtp = matches!(Packet::parse(&datagram), Ok(Packet::Rtp(_)));
            assert_eq!(is_rtp, !(192..=223).contains(&second), "{second}");
            datagram.truncate(1);
            assert_eq!(Packet::parse(&datagram), Err(Malformed::TooShort));
        }
        assert_eq!(Packet::parse(&[]), Err(Malformed::TooShort));
    }

    #[test]
    fn parse_never_panics_on_random_bytes() {
        // A xorshift generator with a fixed seed, so that every run uses the same datagrams.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let mut accepted = 0;
        for _ in 0..200_000 {
            let length = usize::try_from(next() % 80).unwrap();
            let mut datagram: Vec<u8> = (0..length).map(|_| next().to_le_bytes()[3]).collect();
            if let Some(first) = datagram.first_mut() {
                // Most random datagrams get the valid protocol version. Otherwise the parser would reject them at the
                // first byte.
                *first = if next() % 8 == 0 { *first } else { 0x80 | (*first & 0x3f) };
            }
            if next() % 2 == 0 && datagram.len() > 1 {
                datagram[1] = 200 + datagram[1] % 8;
            }
            match Packet::parse(&datagram) {
                Ok(Packet::Rtp(rtp)) => {
                    assert!(rtp.payload_bytes + 12 <= datagram.len());
                    accepted += 1;
                }
                Ok(Packet::Rtcp(rtcp)) => {
                    assert!(rtcp.byes.len() * 4 < datagram.len());
                    accepted += 1;
                }
                Err(_) => {}
            }
        }
        assert!(accepted > 10_000, "only {accepted} datagrams were accepted: too few reach the end of the parser");
    }
}
