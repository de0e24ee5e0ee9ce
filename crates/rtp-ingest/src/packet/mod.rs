//! What arrives on a socket: RTP or RTCP, told apart and checked. Nothing here trusts its input.

mod rtcp;
mod rtp;

pub use rtcp::{MAX_REASON_BYTES, Rtcp};
pub use rtp::Rtp;

use std::fmt;

/// The protocol version of RFC 3550, in the two highest bits of the first byte.
const VERSION: u8 = 2;

/// One datagram, told apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// Media.
    Rtp(Rtp),
    /// Control.
    Rtcp(Rtcp),
}

impl Packet {
    /// Reads a datagram from a port that carries both protocols (RFC 5761, section 4).
    ///
    /// The second byte of RTCP is its packet type, 192 to 223; in RTP it is the marker and the payload
    /// type, where 64 to 95 are not used, so that the two never meet.
    ///
    /// # Errors
    ///
    /// [`Malformed`] for everything that is neither.
    pub fn parse(datagram: &[u8]) -> Result<Self, Malformed> {
        match datagram.get(1) {
            Some(192..=223) => Rtcp::parse(datagram).map(Self::Rtcp),
            _ => Rtp::parse(datagram).map(Self::Rtp),
        }
    }
}

/// Why a datagram is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Malformed {
    /// Shorter than the fixed header.
    TooShort,
    /// Not version 2 of the protocol.
    Version,
    /// The list of contributing sources goes beyond the end.
    Sources,
    /// The header extension goes beyond the end.
    Extension,
    /// The padding is zero or goes beyond the payload.
    Padding,
    /// A length of RTCP does not fit its datagram.
    Length,
    /// Not an RTCP packet type.
    Type,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooShort => "shorter than its header",
            Self::Version => "not version 2",
            Self::Sources => "contributing sources beyond the end",
            Self::Extension => "header extension beyond the end",
            Self::Padding => "padding beyond the payload",
            Self::Length => "RTCP lengths do not add up",
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
    fn the_second_byte_tells_rtp_from_rtcp() {
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
    fn no_datagram_of_random_bytes_panics() {
        // A xorshift generator: the run is the same each time.
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
                // Most of them get the right version, so that the rest of the parser is met as well.
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
        assert!(accepted > 10_000, "only {accepted} were accepted: the test does not reach far");
    }
}
