//! Tests of the whole: real packets, real processes.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "what helpers cannot do is a failed test")]

mod ffmpeg;
mod lease;
mod packets;
mod process;
mod readme;
mod relay;
mod sockets;
mod store;
