//! Builds RTP and RTCP packets.

/// Returns an RTP packet of 112 bytes, with payload type 96 and 100 bytes of payload.
pub(crate) fn rtp(ssrc: u32, sequence: u16) -> Vec<u8> {
    let mut bytes = vec![0x80, 96];
    bytes.extend_from_slice(&sequence.to_be_bytes());
    bytes.extend_from_slice(&(u32::from(sequence) * 3_600).to_be_bytes());
    bytes.extend_from_slice(&ssrc.to_be_bytes());
    bytes.extend_from_slice(&[0; 100]);
    bytes
}

/// Returns an RTCP BYE with the reason "camera off".
pub(crate) fn bye(ssrc: u32) -> Vec<u8> {
    let mut bytes = vec![0x81, 203, 0, 4];
    bytes.extend_from_slice(&ssrc.to_be_bytes());
    bytes.extend_from_slice(b"\x0acamera off\0");
    bytes
}
