//! Configuration of a primary with replicas under Sentinel.

use std::net::SocketAddr;
use std::time::Duration;

use super::{QUORUM, SentinelSet};
use crate::TestTls;
use crate::redis::{ADMIN, ADMIN_PASSWORD, RedisBuilder, Role, ServerKind};

/// Configures and starts a [`SentinelSet`].
#[derive(Clone, Debug)]
#[must_use]
pub struct SentinelBuilder {
    pub(super) service: String,
    pub(super) replicas: usize,
    down_after: Duration,
    failover_timeout: Duration,
    pub(super) server: RedisBuilder,
    sentinel: RedisBuilder,
}

impl Default for SentinelBuilder {
    fn default() -> Self {
        Self {
            service: "mymaster".to_owned(),
            replicas: 2,
            down_after: Duration::from_secs(1),
            failover_timeout: Duration::from_secs(3),
            server: RedisBuilder::default(),
            sentinel: RedisBuilder { role: Role::Sentinel, ..RedisBuilder::default() },
        }
    }
}

impl SentinelBuilder {
    /// Selects the program of all servers, the Sentinels included. Default: the installed `redis-server`.
    pub fn server(mut self, kind: ServerKind) -> Self {
        self.server = self.server.server(kind);
        self.sentinel = self.sentinel.server(kind);
        self
    }

    /// Sets the name of the service. Default: `mymaster`.
    pub fn service(mut self, name: &str) -> Self {
        name.clone_into(&mut self.service);
        self
    }

    /// Sets the number of replicas. Default: 2.
    pub fn replicas(mut self, count: usize) -> Self {
        self.replicas = count;
        self
    }

    /// Sets the time without a reply after which a Sentinel considers a server as down. Default: 1 s.
    pub fn down_after(mut self, time: Duration) -> Self {
        self.down_after = time;
        self
    }

    /// Sets Sentinel's `failover-timeout`. Default: 3 s. After an election, won or not, the next one starts at the
    /// earliest after twice this time.
    pub fn failover_timeout(mut self, time: Duration) -> Self {
        self.failover_timeout = time;
        self
    }

    /// Adds a line to the configuration of the primary and the replicas, e.g. `requirepass secret`.
    pub fn server_config(mut self, line: impl Into<String>) -> Self {
        self.server = self.server.config(line);
        self
    }

    /// Adds a line to the configuration of the Sentinels, e.g. `requirepass secret`.
    ///
    /// By default, the Sentinels log in to the other servers and to each other as a user with all permissions. A line
    /// such as `sentinel auth-user mymaster sentinel` selects another user.
    pub fn sentinel_config(mut self, line: impl Into<String>) -> Self {
        self.sentinel = self.sentinel.config(line);
        self
    }

    /// Encrypts the ports of all servers with TLS, and all connections between them. Clients need no certificate.
    pub fn tls(mut self, tls: &TestTls) -> Self {
        self.server = self.server.tls(tls).config("tls-replication yes");
        self.sentinel = self.sentinel.tls(tls).config("tls-replication yes");
        self
    }

    /// Starts all servers and waits until the set is [healthy](SentinelSet::wait_until_healthy).
    ///
    /// # Panics
    ///
    /// Panics if the set is not healthy within 60 s.
    pub async fn start(self) -> SentinelSet {
        SentinelSet::launch(self).await
    }

    /// Returns the configuration of a replica.
    pub(super) fn replica_of(&self, primary: SocketAddr) -> RedisBuilder {
        self.server.clone().config(format!("replicaof {} {}", primary.ip(), primary.port()))
    }

    /// Returns the configuration of a Sentinel.
    pub(super) fn sentinel_of(&self, primary: SocketAddr) -> RedisBuilder {
        let service = &self.service;
        let lines = [
            format!("sentinel monitor {service} {} {} {QUORUM}", primary.ip(), primary.port()),
            format!("sentinel auth-user {service} {ADMIN}"),
            format!("sentinel auth-pass {service} {ADMIN_PASSWORD}"),
            format!("sentinel sentinel-user {ADMIN}"),
            format!("sentinel sentinel-pass {ADMIN_PASSWORD}"),
            format!("sentinel down-after-milliseconds {service} {}", self.down_after.as_millis()),
            format!("sentinel failover-timeout {service} {}", self.failover_timeout.as_millis()),
        ];
        let mut sentinel = self.sentinel.clone();
        // The lines of the test are last, so that they override these lines.
        sentinel.config_lines.splice(0..0, lines);
        sentinel
    }
}
