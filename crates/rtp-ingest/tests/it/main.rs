//! End-to-end tests with real packets and processes.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a helper that fails must fail the test")]

mod ffmpeg;
mod lease;
mod packets;
mod process;
mod readme;
mod relay;
mod sockets;
mod store;
