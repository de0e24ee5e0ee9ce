//! Failovers of a primary under Sentinel, and of the primaries of a cluster.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic fails the test")]
#![allow(clippy::print_stdout, reason = "measurements, shown with --nocapture")]

mod cluster;
mod connect;
mod hostile;
mod load;
mod sentinel;
mod watcher;
