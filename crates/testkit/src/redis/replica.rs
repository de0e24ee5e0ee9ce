//! A read-only replica of a server.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use super::RedisServer;
use crate::wait_until;

/// A [`RedisServer`] that replicates another server and rejects writes.
#[derive(Debug)]
pub struct Replica(RedisServer);

impl Replica {
    /// Starts a replica and waits until the replication link is up.
    ///
    /// # Panics
    ///
    /// Panics if `primary` has no port or the link is not up within 30 s.
    pub async fn of(primary: &RedisServer) -> Self {
        Self(RedisServer::builder().replica_of(primary).start().await)
    }

    /// Waits until the replica has received everything that the primary has written so far.
    ///
    /// # Panics
    ///
    /// Panics if the replica needs longer than 10 s.
    pub async fn caught_up(&self, primary: &RedisServer) {
        let target = offset(primary, "master_repl_offset:").await;
        wait_until(Duration::from_secs(10), async || offset(&self.0, "slave_repl_offset:").await >= target).await;
    }

    /// Stops replication and makes this server a primary, as in a failover.
    pub async fn promote(&self) {
        let reply = self.0.cli(&["REPLICAOF", "NO", "ONE"]).await;
        assert_eq!(reply, "OK", "cannot promote the replica");
    }
}

async fn offset(server: &RedisServer, field: &str) -> u64 {
    let info = server.cli(&["INFO", "replication"]).await;
    let value = info.lines().find_map(|line| line.strip_prefix(field)).map(str::trim);
    value.and_then(|value| value.parse().ok()).unwrap_or(0)
}

impl Deref for Replica {
    type Target = RedisServer;

    fn deref(&self) -> &RedisServer {
        &self.0
    }
}

impl DerefMut for Replica {
    fn deref_mut(&mut self) -> &mut RedisServer {
        &mut self.0
    }
}
