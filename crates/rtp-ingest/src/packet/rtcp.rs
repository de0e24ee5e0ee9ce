//! Parses the RTCP packets that ingest needs (RFC 3550, section 6): reports, which show that a sender is alive, and
//! BYE.

use super::{Malformed, VERSION, be16, be32};

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const BYE: u8 = 203;

/// Maximum length of a BYE reason in bytes: its length field is one byte (RFC 3550, section 6.6).
pub const MAX_REASON_BYTES: usize = 255;

/// Content of a datagram with one or more RTCP packets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rtcp {
    /// SSRCs that sent a sender report or receiver report.
    pub reporters: Vec<u32>,
    /// SSRCs that sent BYE.
    pub byes: Vec<u32>,
    /// Reason of the BYE, if given, without control characters.
    pub reason: Option<String>,
}

impl Rtcp {
    /// Parses and validates an RTCP datagram. Accepts compound packets and also single packets (RFC 5506).
    ///
    /// The checks are those of RFC 3550, appendix A.2: every packet has version 2, only the last packet has padding,
    /// and the lengths add up to the length of the datagram. If one packet is invalid, the whole datagram is rejected.
    /// A truncated datagram therefore never ends a session.
    ///
    /// # Errors
    ///
    /// Returns [`Malformed`] if the datagram is invalid. The variant names the invalid part.
    pub fn parse(datagram: &[u8]) -> Result<Self, Malformed> {
        if datagram.len() < 4 {
            return Err(Malformed::TooShort);
        }
        let mut content = Self::default();
        let mut rest = datagram;
        while !rest.is_empty() {
            let (packet, after) = split(rest)?;
            content.add(packet, after.is_empty())?;
            rest = after;
        }
        Ok(content)
    }

    /// Adds the content of one packet of a compound datagram.
    fn add(&mut self, packet: &[u8], is_last: bool) -> Result<(), Malformed> {
        let mut body = &packet[4..];
        if packet[0] & 0x20 != 0 {
            let padding = usize::from(packet[packet.len() - 1]);
            if !is_last || padding == 0 || padding % 4 != 0 || padding > body.len() {
                return Err(Malformed::Padding);
            }
            body = &body[..body.len() - padding];
        }
        let count = usize::from(packet[0] & 0x1f);
        match packet[1] {
            SENDER_REPORT | RECEIVER_REPORT => {
                let report = if packet[1] == SENDER_REPORT { 24 } else { 4 };
                if body.len() < report + 24 * count {
                    return Err(Malformed::Length);
                }
                self.reporters.push(be32(body, 0).ok_or(Malformed::Length)?);
            }
            BYE => {
                for index in 0..count {
                    self.byes.push(be32(body, 4 * index).ok_or(Malformed::Length)?);
                }
                if let Some((&length, reason)) = body[4 * count..].split_first() {
                    let reason = reason.get(..usize::from(length)).ok_or(Malformed::Length)?;
                    self.reason = printable(reason).or_else(|| self.reason.take());
                }
            }
            192..=223 => {}
            _ => return Err(Malformed::Type),
        }
        Ok(())
    }
}

/// Splits off the first packet of a compound datagram.
fn split(rest: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let words = be16(rest, 2).ok_or(Malformed::Length)?;
    if rest[0] >> 6 != VERSION {
        return Err(Malformed::Version);
    }
    rest.split_at_checked(4 * (usize::from(words) + 1)).ok_or(Malformed::Length)
}

/// Decodes the reason of a BYE. Removes control characters and invalid UTF-8; returns `None` if nothing is left.
fn printable(bytes: &[u8]) -> Option<String> {
    let text: String = String::from_utf8_lossy(bytes)
        .chars()
        .filter(|c| !c.is_control() && *c != char::REPLACEMENT_CHARACTER)
        .collect();
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sender report captured from ffmpeg.
    const SR: [u8; 28] = [
        0x80, 200, 0, 6, 0x10, 0xcf, 0x99, 0xbe, 0xee, 0xad, 0xbe, 0x92, 0xab, 0xc6, 0xa7, 0xef, 0x2f, 0xb5, 0x3d,
        0x2f, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    const BYE_ONE: [u8; 8] = [0x81, 203, 0, 1, 0x10, 0xcf, 0x99, 0xbe];

    fn compound(parts: &[&[u8]]) -> Vec<u8> {
        parts.concat()
    }

    #[test]
    fn parse_returns_reporters_byes_and_reason() {
        let ssrc = 0x10cf_99be;
        let one =
            |reason: Option<&str>| Rtcp { byes: vec![ssrc], reason: reason.map(str::to_owned), ..Rtcp::default() };
        let report = Rtcp { reporters: vec![ssrc], ..Rtcp::default() };
        for (case, bytes, expected) in [
            ("sender report", SR.to_vec(), report.clone()),
            ("empty receiver report", vec![0x80, 201, 0, 1, 0x10, 0xcf, 0x99, 0xbe], report),
            ("bye alone (RFC 5506)", BYE_ONE.to_vec(), one(None)),
            (
                "report and bye, as ffmpeg sends when it stops",
                compound(&[&SR, &BYE_ONE]),
                Rtcp { reporters: vec![ssrc], ..one(None) },
            ),
            (
                "bye with a reason",
                vec![0x81, 203, 0, 3, 0x10, 0xcf, 0x99, 0xbe, 4, b'd', b'o', b'n', b'e', 0, 0, 0],
                one(Some("done")),
            ),
            (
                "reason with control characters and invalid UTF-8",
                vec![0x81, 203, 0, 3, 0x10, 0xcf, 0x99, 0xbe, 7, b'\n', 0xff, b'o', 0x1b, b'k', 0, b' '],
                one(Some("ok")),
            ),
            ("empty reason", vec![0x81, 203, 0, 2, 0x10, 0xcf, 0x99, 0xbe, 0, 0, 0, 0], one(None)),
            (
                "bye of two sources",
                vec![0x82, 203, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2],
                Rtcp { byes: vec![1, 2], ..Rtcp::default() },
            ),
            ("bye without sources", vec![0x80, 203, 0, 0], Rtcp::default()),
            (
                "source description and other types are ignored",
                vec![0x80, 202, 0, 0, 0x80, 205, 0, 1, 0, 0, 0, 0],
                Rtcp::default(),
            ),
            ("padding at the end", vec![0xa1, 203, 0, 2, 0x10, 0xcf, 0x99, 0xbe, 0, 0, 0, 4], one(None)),
        ] {
            assert_eq!(Rtcp::parse(&bytes), Ok(expected), "{case}");
        }
    }

    #[test]
    fn parse_rejects_the_datagram_if_one_packet_is_malformed() {
        let with = |at: usize, value: u8, bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            bytes[at] = value;
            bytes
        };
        for length in 0..4 {
            assert_eq!(Rtcp::parse(&SR[..length]), Err(Malformed::TooShort), "{length} bytes");
        }
        for length in 4..SR.len() {
            assert_eq!(Rtcp::parse(&SR[..length]), Err(Malformed::Length), "{length} bytes");
        }
        for (case, bytes, error) in [
            ("version 1", with(0, 0x40, &SR), Malformed::Version),
            ("version 0 in the second packet", compound(&[&SR, &with(0, 1, &BYE_ONE)]), Malformed::Version),
            ("length exceeds the datagram", with(3, 7, &SR), Malformed::Length),
            ("maximum length", with(2, 0xff, &SR), Malformed::Length),
            ("length shorter than the report", with(3, 5, &SR), Malformed::Length),
            ("missing report block", with(0, 0x81, &SR), Malformed::Length),
            ("report shorter than its header", vec![0x80, 201, 0, 0], Malformed::Length),
            ("three bytes after the last packet", compound(&[&BYE_ONE, &[0x80, 203, 0]]), Malformed::Length),
            ("bye of one source without its SSRC", vec![0x81, 203, 0, 0], Malformed::Length),
            ("bye of 31 sources with one SSRC", with(0, 0x9f, &BYE_ONE), Malformed::Length),
            ("reason exceeds the packet", vec![0x80, 203, 0, 1, 9, b'a', b'b', b'c'], Malformed::Length),
            ("padding in the first packet", compound(&[&with(0, 0xa0, &SR), &BYE_ONE]), Malformed::Padding),
            ("padding of zero", vec![0xa0, 203, 0, 1, 0, 0, 0, 0], Malformed::Padding),
            ("padding of three", vec![0xa0, 203, 0, 1, 0, 0, 0, 3], Malformed::Padding),
            ("padding exceeds the packet", vec![0xa0, 203, 0, 1, 0, 0, 0, 8], Malformed::Padding),
            ("not RTCP", with(1, 96, &SR), Malformed::Type),
            ("RTP as the second packet", compound(&[&SR, &with(1, 0x60, &BYE_ONE)]), Malformed::Type),
        ] {
            assert_eq!(Rtcp::parse(&bytes), Err(error), "{case}");
        }
    }
}
