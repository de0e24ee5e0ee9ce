//! One connection to the server.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use redis::aio::MultiplexedConnection;
use redis::{Cmd, Pipeline, RedisError, Value};
use tokio::task::JoinHandle;

use super::endpoint::Endpoint;
use crate::redis::clock::StoreClock;
use crate::redis::reply;
use crate::redis::servers::Address;

/// A connection to Redis, with an estimate of the server's clock.
#[derive(Clone)]
pub(in crate::redis) struct Connection {
    pub(super) inner: MultiplexedConnection,
    pub(super) endpoint: Endpoint,
    pub(super) clock: Arc<StoreClock>,
    /// Whether the server's `SET` has the option `IFEQ`.
    pub(in crate::redis) has_ifeq: bool,
    /// Set when the connection fails, so that new calls use another connection.
    broken: Arc<AtomicBool>,
    /// With Sentinel: the term of the primary that the connection leads to.
    pub(super) term: Option<Term>,
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

/// The time in which one server is the primary, as a number that increases with each new primary.
#[derive(Clone, Debug)]
pub(super) struct Term {
    pub(super) current: Arc<AtomicU64>,
    pub(super) number: u64,
}

impl Term {
    fn is_over(&self) -> bool {
        self.current.load(Ordering::Acquire) != self.number
    }
}

impl Connection {
    pub(super) fn new(
        inner: MultiplexedConnection,
        endpoint: Endpoint,
        clock: StoreClock,
        has_ifeq: bool,
        broken: Arc<AtomicBool>,
        driver: Driver,
    ) -> Self {
        Self { inner, endpoint, clock: Arc::new(clock), has_ifeq, broken, term: None, _driver: Arc::new(driver) }
    }

    /// Sends one command without a time limit. Returns the error of the Redis client unchanged.
    pub(in crate::redis) async fn send(&mut self, command: &Cmd) -> Result<Value, RedisError> {
        self.inner.send_packed_command(command).await.and_then(reply::checked)
    }

    /// Returns the address of the server.
    pub(in crate::redis) fn address(&self) -> &Address {
        &self.endpoint.address
    }

    pub(in crate::redis) fn mark_broken(&self) {
        self.broken.store(true, Ordering::Release);
    }

    /// Returns whether new calls must use another connection: this one has failed, or leads to a former primary.
    pub(in crate::redis) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire) || self.term.as_ref().is_some_and(Term::is_over)
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
