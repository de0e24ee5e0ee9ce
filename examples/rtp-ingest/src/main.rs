//! Registers live RTP sessions.
fn main() {}
