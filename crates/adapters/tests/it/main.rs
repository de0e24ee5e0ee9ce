//! All integration tests, in one binary.
// Helpers count as tests too, but clippy recognises only functions with `#[test]`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod captures;
mod ffmpeg;
mod go2rtc;
mod icecast;
mod listing;
mod mediamtx;
mod mediamtx_publisher;
mod mutate;
mod nginx;
mod ome;
mod requests;
mod slt;
mod srs;
mod xml;
mod zlm;
