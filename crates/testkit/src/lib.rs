//! Real servers, a fault proxy and helpers for the tests of stream-registry.
//!
//! | helper | for |
//! |---|---|
//! | [`RedisServer`] | a Redis of the test's own, on a free loopback port and a unix socket |
//! | [`Replica`] | a read-only copy of one |
//! | [`FaultProxy`] | a network that cuts, stalls, swallows and refuses on demand |
//! | [`wait_until`] | a condition with a deadline, in place of a fixed pause |
//! | [`streamreg_binary`] | the command line under test |
//!
//! Helpers panic where something cannot be started: that is a failed test, and says why.
#![allow(clippy::expect_used, reason = "a helper that cannot do its work has to fail the test")]

mod binary;
mod proxy;
mod redis;
mod wait;

pub use binary::streamreg_binary;
pub use proxy::FaultProxy;
pub use redis::{Data, RedisBuilder, RedisServer, Replica};
pub use wait::wait_until;
