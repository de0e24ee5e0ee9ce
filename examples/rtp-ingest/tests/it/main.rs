//! Tests of the whole: real packets, real processes.

mod ffmpeg;
mod packets;
mod process;
mod relay;
mod sockets;
mod store;
