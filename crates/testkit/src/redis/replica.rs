//! A read-only copy of a server.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use super::RedisServer;
use crate::wait_until;

/// A replica: a [`RedisServer`] that copies another one and refuses writes.
#[derive(Debug)]
pub struct Replica(RedisServer);

impl Replica {
    /// Starts a replica and waits until the link is up.
    ///
    /// # Panics
    ///
    /// When `primary` has no port, or the link is not up within 30 s.
    pub async fn of(primary: &RedisServer) -> Self {
        Self(RedisServer::builder().replica_of(primary).start().await)
    }

    /// Waits until the replica has everything that the primary holds at this moment.
    ///
    /// # Panics
    ///
    /// When it has not within 10 s.
    pub async fn caught_up(&self, primary: &RedisServer) {
        let goal = offset(primary, "master_repl_offset:").await;
        wait_until(Duration::from_secs(10), async || offset(&self.0, "slave_repl_offset:").await >= goal).await;
    }

    /// Ends the copying: the replica becomes a primary, as in a failover.
    pub async fn promote(&self) {
        let answer = self.0.cli(&["REPLICAOF", "NO", "ONE"]).await;
        assert_eq!(answer, "OK", "the replica cannot be promoted");
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
