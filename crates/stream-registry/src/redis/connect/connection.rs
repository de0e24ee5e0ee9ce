//! One connection to the server.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redis::aio::MultiplexedConnection;
use redis::{Cmd, Pipeline, RedisError, Value};
use tokio::task::JoinHandle;

use crate::redis::clock::StoreClock;
use crate::redis::reply;

/// A connection to Redis, with an estimate of the server's clock.
#[derive(Clone)]
pub(in crate::redis) struct Connection {
    pub(super) inner: MultiplexedConnection,
    pub(super) clock: Arc<StoreClock>,
    /// Set when the connection fails, so that new calls use another connection.
    pub(super) broken: Arc<AtomicBool>,
    _driver: Arc<Driver>,
}

/// The task that writes commands to the stream and reads the replies. Dropping this value ends the task and closes the
/// stream, even if the server has not answered yet.
pub(super) struct Driver(JoinHandle<()>);

impl Driver {
    pub(super) fn spawn(driver: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(driver))
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Connection {
    pub(super) fn new(
        inner: MultiplexedConnection,
        clock: StoreClock,
        broken: Arc<AtomicBool>,
        driver: Driver,
    ) -> Self {
        Self { inner, clock: Arc::new(clock), broken, _driver: Arc::new(driver) }
    }

    /// Sends one command without a time limit. Returns the error of the Redis client unchanged.
    pub(in crate::redis) async fn send(&mut self, command: &Cmd) -> Result<Value, RedisError> {
        self.inner.send_packed_command(command).await.and_then(reply::checked)
    }

    pub(super) fn mark_broken(&self) {
        self.broken.store(true, Ordering::Release);
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }
}

/// A request whose reply may be large.
#[derive(Clone, Copy)]
pub(in crate::redis) enum Request<'a> {
    One(&'a Cmd),
    /// A transaction: several commands that end with `EXEC`. The result is the reply to `EXEC`. If the server rejects
    /// an earlier command, the result is the error of that command, because the error of `EXEC` gives no reason.
    Transaction(&'a Pipeline),
}

impl Request<'_> {
    pub(super) async fn send(self, connection: &mut MultiplexedConnection) -> Result<Value, RedisError> {
        match self {
            Self::One(command) => connection.send_packed_command(command).await.and_then(reply::checked),
            Self::Transaction(pipeline) => {
                // The transaction is sent as an ordinary pipeline. The transactions of the Redis client do not work for
                // a user who lacks the permission for `MULTI`.
                let answers = connection.send_packed_commands(pipeline, 0, pipeline.len()).await?;
                let mut last = Ok(Value::Nil);
                for answer in answers {
                    last = Ok(reply::checked(answer)?);
                }
                last
            }
        }
    }
}
