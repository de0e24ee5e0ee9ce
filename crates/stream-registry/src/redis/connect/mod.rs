//! A shared connection that reconnects after a failure.

pub(super) mod cluster;
pub(super) mod connection;
mod credentials;
mod endpoint;
mod long;
mod redirect;
pub(super) mod sentinel;
mod session;
pub(super) mod topology;
pub(super) mod transfer;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use redis::{Cmd, Pipeline, RedisError, Value};
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::{Instant, timeout, timeout_at};

pub(super) use self::cluster::slots::slot_of;
use self::connection::Connection;
use self::endpoint::Endpoint;
use self::redirect::Target;
use self::topology::{Route, Topology};
use super::clock::{Staleness, StoreClock};
use super::fault::{self, Effect, no_reply};
use super::options::{CALL_TIMEOUT, CONNECT_TIMEOUT, RedisOptions};
use super::servers::Address;
use crate::error::{Error, ErrorKind, Result};
use crate::stream::Timestamp;

/// What a link is for. Lists have a link of their own, so that small calls do not queue behind large replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::redis) enum Purpose {
    Calls,
    Bulk,
}

/// A link to a server: one connection that all callers share. The link connects at first use, and reconnects after a
/// failure. With Sentinel or a cluster, it first finds the server again.
pub(super) struct Link {
    response_timeout: Duration,
    list_timeout: Duration,
    state: Arc<State>,
}

/// The state of a link, which the tasks that connect share with it.
struct State {
    route: Route,
    current: Mutex<Option<Connection>>,
    /// Locked by the task that is connecting. The other tasks wait for the result.
    connecting: AsyncMutex<()>,
    /// Number of finished connection attempts. Callers that waited for a failed attempt share its error.
    attempts: AtomicU64,
    last_failure: Mutex<Option<Error>>,
    /// Number of connections that replaced a lost one.
    reconnects: AtomicU64,
    /// Whether there has been a connection. Until then, the caller that opens the store reports failures.
    was_connected: AtomicBool,
    closed: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // A poisoned lock is safe to use. Each value is replaced as a whole, so a panic cannot leave a partial value.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn close(&self) {
        self.closed.store(true, Ordering::Release);
        lock(&self.current).take();
    }

    /// Returns the current connection. Returns `None` if there is no connection or it has failed.
    fn usable(&self) -> Result<Option<Connection>> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::closed());
        }
        Ok(lock(&self.current).clone().filter(|connection| !connection.is_broken()))
    }

    /// Connects, or waits for the attempt of another caller.
    async fn connect(self: Arc<Self>) -> Result<Connection> {
        let started = Instant::now();
        let before = self.attempts.load(Ordering::Acquire);
        let guard = timeout_at(started + CALL_TIMEOUT, self.connecting.lock()).await;
        let _guard = guard.map_err(|_| self.unreachable())?;
        if let Some(connection) = self.usable()? {
            return Ok(connection);
        }
        // If an attempt that began after this call has failed, this call returns the error of that attempt. Otherwise,
        // a thousand callers would make a thousand attempts in sequence.
        if self.attempts.load(Ordering::Acquire) > before + 1
            && let Some(error) = lock(&self.last_failure).clone()
        {
            return Err(error);
        }
        // Time spent waiting for another caller's attempt counts towards `CALL_TIMEOUT`.
        let deadline = (Instant::now() + CONNECT_TIMEOUT).min(started + CALL_TIMEOUT);
        let opened = timeout_at(deadline, self.route.open()).await.unwrap_or_else(|_| Err(self.unreachable()));
        match opened {
            Ok(connection) => {
                if lock(&self.last_failure).take().is_some() && self.route.logs() {
                    tracing::info!(address = %connection.endpoint.address, "reconnected to Redis");
                }
                if self.was_connected.swap(true, Ordering::Relaxed) {
                    self.reconnects.fetch_add(1, Ordering::Relaxed);
                }
                *lock(&self.current) = Some(connection.clone());
                self.attempts.fetch_add(1, Ordering::AcqRel);
                if self.closed.load(Ordering::Acquire) {
                    // Another caller closed the registry during the attempt.
                    self.close();
                    return Err(Error::closed());
                }
                Ok(connection)
            }
            Err(error) => {
                let is_first = lock(&self.last_failure).replace(error.clone()).is_none();
                self.attempts.fetch_add(1, Ordering::AcqRel);
                if is_first && self.route.logs() && self.was_connected.load(Ordering::Relaxed) {
                    tracing::warn!(address = %self.route, %error, "cannot connect to Redis");
                }
                Err(error)
            }
        }
    }

    fn unreachable(&self) -> Error {
        Error::new(
            ErrorKind::Unavailable,
            format!("Redis at {} does not answer; is it running and reachable?", self.route),
        )
    }
}

impl Link {
    /// Returns the link to the server that has a slot.
    pub(super) fn to_slot(topology: &Topology, slot: u16, purpose: Purpose, options: &RedisOptions) -> Self {
        Self::new(topology.route(slot, purpose), options)
    }

    /// Returns the link to a node of a cluster, whichever slots the node serves.
    fn to_node(endpoint: Endpoint, options: &RedisOptions) -> Self {
        Self::new(Route::ClusterNode(endpoint), options)
    }

    fn new(route: Route, options: &RedisOptions) -> Self {
        let state = State {
            route,
            current: Mutex::new(None),
            connecting: AsyncMutex::new(()),
            attempts: AtomicU64::new(0),
            last_failure: Mutex::new(None),
            reconnects: AtomicU64::new(0),
            was_connected: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        };
        Self { response_timeout: options.response_timeout, list_timeout: options.list_timeout, state: Arc::new(state) }
    }

    pub(super) fn close(&self) {
        self.state.close();
    }

    /// Describes the server that the link leads to, for messages.
    pub(super) fn server(&self) -> String {
        self.state.route.to_string()
    }

    /// Returns whether there is a connection that has not failed, or none was needed yet. A failure may be noticed only
    /// at the next call.
    pub(super) fn is_up(&self) -> bool {
        match self.state.usable() {
            Ok(Some(_)) => true,
            Ok(None) => self.state.attempts.load(Ordering::Acquire) == 0,
            Err(_) => false,
        }
    }

    pub(super) fn reconnects(&self) -> u64 {
        self.state.reconnects.load(Ordering::Relaxed)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state.closed.load(Ordering::Acquire)
    }

    /// Opens a separate connection for commands that block, such as `XREAD` with `BLOCK`.
    pub(super) async fn open_separate(&self) -> Result<Connection> {
        let opened = timeout(CALL_TIMEOUT, self.state.route.open_separate()).await;
        opened.unwrap_or_else(|_| Err(self.state.unreachable()))
    }

    /// Opens a connection to another server of the store, e.g. a replica, with the same settings and credentials.
    pub(super) async fn open_at(&self, address: &Address) -> Result<Connection> {
        let opened = timeout(CONNECT_TIMEOUT, self.state.route.open_at(&self.connection().await?, address)).await;
        opened
            .unwrap_or_else(|_| Err(Error::new(ErrorKind::Unavailable, format!("Redis at {address} does not answer"))))
    }

    /// Returns the connection, and connects first if necessary.
    ///
    /// The attempt runs in a task, because the caller's future may not be polled for a long time, and all other callers
    /// wait for the attempt.
    pub(super) async fn connection(&self) -> Result<Connection> {
        if let Some(connection) = self.state.usable()? {
            return Ok(connection);
        }
        let connecting = tokio::spawn(Arc::clone(&self.state).connect());
        connecting.await.unwrap_or_else(|_| Err(self.state.unreachable()))
    }

    /// Like [`connection`](Self::connection), for a link that another link uses while it connects.
    fn boxed_connection(&self) -> BoxFuture<'_, Result<Connection>> {
        Box::pin(self.connection())
    }

    /// Returns the deadline for the reply to a call that began at `started`. Time spent connecting counts towards
    /// `CALL_TIMEOUT`.
    fn reply_deadline(&self, started: Instant) -> Instant {
        (Instant::now() + self.response_timeout).min(started + CALL_TIMEOUT)
    }

    /// Sends one command. The outer error is a timeout or a connection failure. The inner error is any other error of
    /// the Redis client, which the caller handles.
    ///
    /// If a node of a cluster redirects the command, it has not run, so it is sent to the right node.
    pub(super) async fn command(&self, command: &Cmd, effect: Effect) -> Result<Result<Value, RedisError>> {
        let started = Instant::now();
        let mut target = Target::from(self.connection().await?);
        for redirects in 0.. {
            let deadline = self.reply_deadline(started);
            let answer = timeout_at(deadline, target.send(command)).await;
            let answer = self.classify(&target.connection, answer, effect)?;
            let Err(error) = &answer else { return Ok(answer) };
            match self.redirect(&target.connection, error, redirects, started + CALL_TIMEOUT).await? {
                Some(next) => target = next,
                None => return Ok(answer),
            }
        }
        Err(no_reply())
    }

    /// Sends a command that only reads. If the connection was lost, reconnects and retries once.
    pub(super) async fn read(&self, command: &Cmd) -> Result<Value> {
        let answer = match self.command(command, Effect::Read).await {
            Err(lost) if lost.kind() == ErrorKind::Unavailable => self.command(command, Effect::Read).await?,
            answer => answer?,
        };
        answer.map_err(|error| fault::translate(error, false))
    }

    /// Sends several commands that only read, and returns one reply per command. The reply to a failed command is its
    /// error.
    pub(super) async fn read_many(&self, pipeline: &Pipeline) -> Result<Vec<Value>> {
        let (_, mut answers) = self.answers(pipeline, Instant::now(), Effect::Read).await?;
        // A node of a cluster redirects each command on its own.
        for (answer, command) in answers.iter_mut().zip(pipeline.cmd_iter()) {
            if matches!(answer, Value::ServerError(error) if redirect::is_redirect(error.code())) {
                *answer = self.command(command, Effect::Read).await?.map_err(|error| fault::translate(error, false))?;
            }
        }
        Ok(answers)
    }

    /// Like [`read_many`](Self::read_many), but one server replies to all commands. If that server has only a part of
    /// the keys, the reply to each command about another key is an error.
    pub(super) async fn read_together(&self, pipeline: &Pipeline) -> Result<Vec<Value>> {
        let started = Instant::now();
        for redirects in 0.. {
            let (connection, answers) = self.answers(pipeline, started, Effect::Read).await?;
            let moved = answers.iter().find_map(|answer| match answer {
                Value::ServerError(error) if error.code() == "MOVED" => Some(RedisError::from(error.clone())),
                _ => None,
            });
            let Some(moved) = moved else { return Ok(answers) };
            if self.redirect(&connection, &moved, redirects, started + CALL_TIMEOUT).await?.is_none() {
                return Ok(answers);
            }
        }
        Err(no_reply())
    }

    /// Sends several commands that write, and returns one reply per command. The reply to a command that failed or was
    /// redirected is its error.
    pub(super) async fn write_many(&self, pipeline: &Pipeline) -> Result<Vec<Value>> {
        Ok(self.answers(pipeline, Instant::now(), Effect::Write).await?.1)
    }

    /// Sends several commands, and returns the connection and one reply per command.
    async fn answers(&self, pipeline: &Pipeline, started: Instant, effect: Effect) -> Result<(Connection, Vec<Value>)> {
        let mut connection = self.connection().await?;
        let deadline = self.reply_deadline(started);
        let sent = connection.inner.send_packed_commands(pipeline, 0, pipeline.len());
        let answer = timeout_at(deadline, sent).await;
        let answers = self.classify(&connection, answer, effect)?;
        Ok((connection, answers.map_err(|error| fault::translate(error, effect == Effect::Write))?))
    }

    /// Returns an estimate of the server's time. If there is no usable estimate, reads the server's clock first. If the
    /// estimate is old, reads the server's clock in the background.
    pub(super) async fn now(self: &Arc<Self>) -> Result<Timestamp> {
        let connection = self.connection().await?;
        match connection.clock.staleness() {
            Staleness::Fresh => {}
            Staleness::Old => {
                let link = Arc::clone(self);
                let clock = Arc::clone(&connection.clock);
                // This task starts at most once a minute, and its command has a timeout.
                tokio::spawn(async move { link.read_clock(&clock).await });
            }
            Staleness::Unusable => self.read_clock(&connection.clock).await?,
        }
        Ok(connection.clock.now())
    }

    /// Returns an estimate of the server's time without a call. Without a connection, returns the local time.
    pub(super) fn estimated_now(&self) -> Timestamp {
        lock(&self.state.current).as_ref().map_or_else(Timestamp::now, |connection| connection.clock.now())
    }

    async fn read_clock(&self, clock: &StoreClock) -> Result<()> {
        clock.begin_renewal();
        let answer = self.command(&redis::cmd("TIME"), Effect::Read).await?;
        clock.renew(answer.map_err(|error| fault::translate(error, false))?)
    }

    /// Translates timeouts and connection failures into errors of this crate, and marks the connection as broken.
    /// Returns other errors of the Redis client to the caller unchanged.
    fn classify<T>(
        &self,
        connection: &Connection,
        answer: Result<Result<T, RedisError>, tokio::time::error::Elapsed>,
        effect: Effect,
    ) -> Result<Result<T, RedisError>> {
        match answer {
            // The server hangs or packets are lost. The next call reconnects.
            Err(_) => {
                connection.mark_broken();
                Err(no_reply().with_may_have_applied(effect == Effect::Write))
            }
            Ok(Err(error)) => {
                if fault::breaks_connection(&error, effect) {
                    connection.mark_broken();
                }
                if fault::is_lost(&error) {
                    return Err(fault::translate(error, effect == Effect::Write));
                }
                Ok(Err(error))
            }
            Ok(Ok(value)) => Ok(Ok(value)),
        }
    }
}
