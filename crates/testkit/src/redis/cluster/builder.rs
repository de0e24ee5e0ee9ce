//! Configuration of a cluster.

use std::time::Duration;

use super::ClusterSet;
use crate::TestTls;
use crate::redis::{RedisBuilder, Role, ServerKind};

/// Configures and starts a [`ClusterSet`].
#[derive(Clone, Debug)]
#[must_use]
pub struct ClusterBuilder {
    pub(super) primaries: usize,
    pub(super) replicas: usize,
    pub(super) server: RedisBuilder,
}

impl Default for ClusterBuilder {
    fn default() -> Self {
        let server = RedisBuilder { role: Role::ClusterNode, ..RedisBuilder::default() };
        Self { primaries: 3, replicas: 1, server }.node_timeout(Duration::from_secs(2))
    }
}

impl ClusterBuilder {
    /// Selects the program of all nodes. Default: the installed `redis-server`.
    pub fn server(mut self, kind: ServerKind) -> Self {
        self.server = self.server.server(kind);
        self
    }

    /// Sets the number of primaries. Default: 3. With fewer than three primaries, no replica can replace a failed one.
    pub fn primaries(mut self, count: usize) -> Self {
        self.primaries = count;
        self
    }

    /// Sets the number of replicas of each primary. Default: 1.
    pub fn replicas(mut self, count: usize) -> Self {
        self.replicas = count;
        self
    }

    /// Sets the time without a reply after which a node considers another node as failed. Default: 2 s.
    pub fn node_timeout(self, time: Duration) -> Self {
        self.config(format!("cluster-node-timeout {}", time.as_millis()))
    }

    /// Adds a line to the configuration of all nodes, e.g. `cluster-require-full-coverage no`.
    pub fn config(mut self, line: impl Into<String>) -> Self {
        self.server = self.server.config(line);
        self
    }

    /// Encrypts the ports of all nodes with TLS, and all connections between them. Clients need no certificate.
    pub fn tls(mut self, tls: &TestTls) -> Self {
        // Unlike other clients, a node must present a certificate to another node.
        self.server = (self.server.tls(tls).config("tls-replication yes").config("tls-cluster yes"))
            .config(format!("tls-client-cert-file {}", tls.client_cert().display()))
            .config(format!("tls-client-key-file {}", tls.client_key().display()));
        self
    }

    /// Starts all nodes and waits until the cluster is [healthy](ClusterSet::wait_until_healthy).
    ///
    /// # Panics
    ///
    /// Panics if the cluster is not healthy within 60 s.
    pub async fn start(self) -> ClusterSet {
        ClusterSet::launch(self).await
    }
}
