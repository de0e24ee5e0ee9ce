//! Packets written by hand.

/// An RTP packet of payload type 96 with 100 bytes of payload: 112 bytes.
pub(crate) fn rtp(ssrc: u32, sequence: u16) -> Vec<u8> {
    let mut bytes = vec![0x80, 96];
    bytes.extend_from_slice(&sequence.to_be_bytes());
    bytes.extend_from_slice(&(u32::from(sequence) * 3_600).to_be_bytes());
    bytes.extend_from_slice(&ssrc.to_be_bytes());
    bytes.extend_from_slice(&[0; 100]);
    bytes
}

/// An RTCP BYE with a reason of two words.
pub(crate) fn bye(ssrc: u32) -> Vec<u8> {
    let mut bytes = vec![0x81, 203, 0, 4];
    bytes.extend_from_slice(&ssrc.to_be_bytes());
    bytes.extend_from_slice(b"\x0acamera off\0");
    bytes
}
