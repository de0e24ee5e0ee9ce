//! Real servers, a fault proxy and helpers for the tests of stream-registry.
//!
//! | helper | for |
//! |---|---|
//! | [`RedisServer`] | a Redis server for one test, on a free loopback port and a unix socket |
//! | [`ServerKind`] | the program of the server: the installed Redis, Redis 8 or Valkey 8 |
//! | [`Replica`] | a read-only replica of such a server |
//! | [`SentinelSet`] | a primary with two replicas, watched by three Sentinels |
//! | [`ClusterSet`] | a cluster of primaries and replicas |
//! | [`TestTls`] | a certificate authority and the certificates of a server and a client |
//! | [`FaultProxy`] | a TCP proxy that cuts, stalls, delays and refuses connections on demand |
//! | [`LossyUdp`] | a UDP proxy that loses packets |
//! | [`free_port`] | a free port that a server can open again after a restart |
//! | [`CapturedLog`] | the log output of a test |
//! | [`wait_until`] | waits for a condition with a deadline, instead of a fixed pause |
//! | [`streamreg_binary`] | path of the `streamreg` binary |
//! | [`node_example`] | path of the example ingest node |
//!
//! Helpers panic if a server or a program cannot be started. The test then fails with the reason.
#![allow(clippy::expect_used, reason = "a helper that fails must fail the test")]

mod binary;
mod log;
mod port;
mod proxy;
mod redis;
mod tls;
mod udp;
mod wait;

pub use binary::{node_example, streamreg_binary};
pub use log::CapturedLog;
pub use port::free_port;
pub use proxy::FaultProxy;
pub use redis::{
    ClusterBuilder, ClusterSet, Data, RedisBuilder, RedisServer, Replica, SentinelBuilder, SentinelSet, ServerKind,
};
pub use tls::TestTls;
pub use udp::LossyUdp;
pub use wait::wait_until;
