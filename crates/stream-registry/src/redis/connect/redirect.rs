//! Redirections by the nodes of a Redis Cluster. A command that was redirected has not run.

use std::time::Duration;

use redis::{Cmd, RedisError, Value};
use tokio::time::Instant;

use super::Link;
use super::connection::Connection;
use super::topology::Route;
use crate::error::Result;
use crate::redis::reply;

/// Bounds of the pause before a command is sent again, in milliseconds. The pause applies if a node has moved only some
/// of the command's keys, or if the nodes contradict each other.
const PAUSE: std::ops::Range<u64> = 20..100;
/// Minimum time for the reply to a command that is sent again after a pause. With less time, a busy server could apply
/// a change after the call has failed.
const REPLY_TIME: Duration = Duration::from_millis(300);
/// Number of redirections that are followed without a pause: from the former node of a slot to its present node, and
/// from there to the node that is about to receive the slot. More redirections mean that the nodes do not agree on the
/// slot yet.
const IMMEDIATE: u32 = 2;

/// Returns whether an error code means that another node, or the same node later, answers the command.
pub(super) fn is_redirect(code: &str) -> bool {
    matches!(code, "MOVED" | "ASK" | "TRYAGAIN")
}

/// Where to send a command.
pub(super) struct Target {
    pub(super) connection: Connection,
    /// Whether the node is about to receive the slot, and answers only after `ASKING`.
    asking: bool,
}

impl From<Connection> for Target {
    fn from(connection: Connection) -> Self {
        Self { connection, asking: false }
    }
}

impl Target {
    pub(super) async fn send(&mut self, command: &Cmd) -> Result<Value, RedisError> {
        let inner = &mut self.connection.inner;
        if !self.asking {
            return inner.send_packed_command(command).await.and_then(reply::checked);
        }
        let mut pipeline = redis::pipe();
        pipeline.cmd("ASKING").add_command(command.clone());
        let mut answers = inner.send_packed_commands(&pipeline, 0, 2).await?.into_iter();
        reply::checked(answers.next().unwrap_or(Value::Nil))?;
        reply::checked(answers.next().unwrap_or(Value::Nil))
    }
}

impl Link {
    /// Returns where to send a command again after an error. Returns `None` if the error is no redirection, or if the
    /// deadline is too close. `redirects` is the number of earlier redirections of the command.
    pub(super) async fn redirect(
        &self,
        asked: &Connection,
        error: &RedisError,
        redirects: u32,
        deadline: Instant,
    ) -> Result<Option<Target>> {
        let Route::Slot(slot) = &self.state.route else { return Ok(None) };
        let address = &asked.endpoint.address;
        let left = deadline.saturating_duration_since(Instant::now());
        let pause = Duration::from_millis(fastrand::u64(PAUSE));
        let is_contradicted = redirects >= IMMEDIATE;
        if is_contradicted && matches!(error.code(), Some("MOVED" | "ASK")) {
            if left < pause + REPLY_TIME {
                return Ok(None);
            }
            tokio::time::sleep(pause).await;
        }
        match error.code() {
            // Another node serves the slot.
            Some("MOVED") => {
                if !is_contradicted {
                    slot.moved(error, address);
                }
                self.forget();
                if left < pause {
                    return Ok(None);
                }
                Ok(Some(self.connection().await?.into()))
            }
            // The slot is being moved to another node, and the keys of the command are there already.
            Some("ASK") if left > pause => {
                let Some(node) = slot.asked(error, address) else { return Ok(None) };
                Ok(Some(Target { connection: node.boxed_connection().await?, asking: true }))
            }
            // The slot is being moved, and only some of the command's keys have arrived.
            Some("TRYAGAIN") if left > pause + REPLY_TIME => {
                tokio::time::sleep(pause).await;
                Ok(Some(self.connection().await?.into()))
            }
            // The cluster does not serve the slot now, e.g. during a failover.
            Some("CLUSTERDOWN") => {
                self.forget();
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    /// Makes the next call find the server again. The connection itself stays usable for other shards.
    fn forget(&self) {
        super::lock(&self.state.current).take();
    }
}
