//! One shared connection that is made again when it breaks.

mod single;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::{Either, select};
use redis::aio::MultiplexedConnection;
use redis::{Cmd, Pipeline, RedisError, Value};
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::{Instant, timeout, timeout_at};

use super::clock::{Staleness, StoreClock};
use super::fault;
use super::options::{CALL_TIMEOUT, CONNECT_TIMEOUT, RedisOptions};
use crate::error::{Error, ErrorKind, Result};
use crate::stream::Timestamp;

/// How long a server that owes a large answer may take to answer a ping.
const PROBE_TIMEOUT: Duration = Duration::from_millis(800);

/// A connection with the clock that was measured over it.
#[derive(Clone)]
pub(super) struct Connection {
    inner: MultiplexedConnection,
    pub(super) clock: Arc<StoreClock>,
    /// Set when the connection is seen to be broken: nobody begins a call on it then.
    broken: Arc<AtomicBool>,
    /// How many long answers are due on it, after a sign of life.
    receiving: Arc<AtomicUsize>,
}

/// A long answer that is due.
struct Receiving(Arc<AtomicUsize>);

impl Receiving {
    fn begin(connection: &Connection) -> Self {
        connection.receiving.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(&connection.receiving))
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Connection {
    /// Sends one command, without a time limit; errors are the server's own.
    pub(super) async fn send(&mut self, command: &Cmd) -> Result<Value, RedisError> {
        self.inner.send_packed_command(command).await.and_then(fault::checked)
    }

    pub(super) fn mark_broken(&self) {
        self.broken.store(true, Ordering::Release);
    }
}

/// What is sent whose answer may be large.
#[derive(Clone, Copy)]
pub(super) enum Request<'a> {
    One(&'a Cmd),
    /// Several commands whose last one's answer counts, which is EXEC. Where one was refused, that refusal is the answer:
    /// EXEC says only that there was one.
    Transaction(&'a Pipeline),
}

impl Request<'_> {
    async fn send(self, connection: &mut MultiplexedConnection) -> Result<Value, RedisError> {
        match self {
            Self::One(command) => connection.send_packed_command(command).await.and_then(fault::checked),
            Self::Transaction(pipeline) => {
                // As a plain pipeline: the client crate stumbles over a MULTI that the user may not run.
                let answers = connection.send_packed_commands(pipeline, 0, pipeline.len()).await?;
                let mut last = Ok(Value::Nil);
                for answer in answers {
                    last = Ok(fault::checked(answer)?);
                }
                last
            }
        }
    }
}

/// Whether a call may change something, for `may_have_applied`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Read,
    Write,
    /// A write that nobody asked for, and that a replica may well refuse.
    Tidy,
}

/// The way to the server: connects at first use and again after a break, for all callers at once.
pub(super) struct Link {
    options: RedisOptions,
    current: Mutex<Option<Connection>>,
    /// Held by the one caller that connects; the others wait for its result.
    connecting: AsyncMutex<()>,
    /// Counts finished attempts, so that who waited during a failed one shares its error.
    attempts: AtomicU64,
    last_failure: Mutex<Option<Error>>,
    closed: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // The values are replaced whole: a panic elsewhere leaves them good.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Link {
    pub(super) fn new(options: RedisOptions) -> Self {
        Self {
            options,
            current: Mutex::new(None),
            connecting: AsyncMutex::new(()),
            attempts: AtomicU64::new(0),
            last_failure: Mutex::new(None),
            closed: AtomicBool::new(false),
        }
    }

    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        lock(&self.current).take();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Opens a connection beside the shared one, for calls that wait.
    pub(super) async fn open_another(&self) -> Result<Connection> {
        let made = timeout(CALL_TIMEOUT, single::open(&self.options)).await;
        made.unwrap_or_else(|_| Err(self.unreachable()))
    }

    fn usable(&self) -> Result<Option<Connection>> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::closed());
        }
        Ok(lock(&self.current).clone().filter(|connection| !connection.broken.load(Ordering::Acquire)))
    }

    /// Returns the connection, made if there is none.
    pub(super) async fn connection(&self) -> Result<Connection> {
        if let Some(connection) = self.usable()? {
            return Ok(connection);
        }
        let came = Instant::now();
        let before = self.attempts.load(Ordering::Acquire);
        // Bounded: who has the turn may be a future that its owner does not poll for long.
        let turn = timeout_at(came + CALL_TIMEOUT, self.connecting.lock()).await;
        let _turn = turn.map_err(|_| self.unreachable())?;
        if let Some(connection) = self.usable()? {
            return Ok(connection);
        }
        // An attempt that began after this call came and failed speaks for this call too: else a
        // thousand callers would wait for a thousand attempts, one after the other.
        if self.attempts.load(Ordering::Acquire) > before + 1
            && let Some(error) = lock(&self.last_failure).clone()
        {
            return Err(error);
        }
        // Who has waited for another's attempt has less time for its own.
        let deadline = (Instant::now() + CONNECT_TIMEOUT).min(came + CALL_TIMEOUT);
        let made = timeout_at(deadline, single::open(&self.options)).await.unwrap_or_else(|_| Err(self.unreachable()));
        match made {
            Ok(connection) => {
                if lock(&self.last_failure).take().is_some() {
                    tracing::info!(address = %self.options.address, "connected to Redis again");
                }
                *lock(&self.current) = Some(connection.clone());
                self.attempts.fetch_add(1, Ordering::AcqRel);
                if self.closed.load(Ordering::Acquire) {
                    // Closed meanwhile: the connection goes with it.
                    self.close();
                    return Err(Error::closed());
                }
                Ok(connection)
            }
            Err(error) => {
                let first = lock(&self.last_failure).replace(error.clone()).is_none();
                self.attempts.fetch_add(1, Ordering::AcqRel);
                if first {
                    tracing::warn!(address = %self.options.address, %error, "no connection to Redis");
                }
                Err(error)
            }
        }
    }

    fn unreachable(&self) -> Error {
        Error::new(
            ErrorKind::Unavailable,
            format!("Redis at {} does not answer; is it running and reachable?", self.options.address),
        )
    }

    /// Until when an answer is waited for, from now on, in a call that began at a time: connecting counts too.
    fn patience(&self, began: Instant) -> Instant {
        (Instant::now() + self.options.response_timeout).min(began + CALL_TIMEOUT)
    }

    /// Sends one command; the inner error is the server's own, for callers that know what to do with it.
    pub(super) async fn command(&self, command: &Cmd, effect: Effect) -> Result<Result<Value, RedisError>> {
        let began = Instant::now();
        let mut connection = self.connection().await?;
        let deadline = self.patience(began);
        let sent = connection.inner.send_packed_command(command);
        let answer = timeout_at(deadline, sent).await.map(|answer| answer.and_then(fault::checked));
        self.judge(&connection, answer, effect)
    }

    /// Sends a command that reads. A connection that was lost meanwhile is made again, once.
    pub(super) async fn read(&self, command: &Cmd) -> Result<Value> {
        let answer = match self.command(command, Effect::Read).await {
            Err(lost) if lost.kind() == ErrorKind::Unavailable => self.command(command, Effect::Read).await?,
            answer => answer?,
        };
        answer.map_err(|error| fault::translate(error, false))
    }

    /// As [`read`](Self::read), for an answer that may be large.
    pub(super) async fn read_long(&self, command: &Cmd, probe: &Link) -> Result<Value> {
        self.long_command(Request::One(command), probe).await?.map_err(|error| fault::translate(error, false))
    }

    /// Sends several commands at once; errors of single commands stay inside the answers.
    pub(super) async fn pipeline(&self, pipeline: &Pipeline, effect: Effect) -> Result<Vec<Value>> {
        let began = Instant::now();
        let mut connection = self.connection().await?;
        let deadline = self.patience(began);
        let sent = connection.inner.send_packed_commands(pipeline, 0, pipeline.len());
        let answer = timeout_at(deadline, sent).await;
        self.judge(&connection, answer, effect)?.map_err(|error| fault::translate(error, effect == Effect::Write))
    }

    /// Sends a command whose answer may be large: waits at most `list_timeout`, and only as long as the
    /// server answers others, asked through `probe`. Without a sign of life it ends like any other call.
    pub(super) async fn long_command(&self, request: Request<'_>, probe: &Link) -> Result<Result<Value, RedisError>> {
        let mut alive_at = Instant::now();
        let connection = self.connection().await?;
        let deadline = Instant::now() + self.options.list_timeout;
        let (mut first, mut sender) = (connection.inner.clone(), connection.inner.clone());
        let ping = redis::cmd("PING");
        let mut pong = std::pin::pin!(first.send_packed_command(&ping));
        let mut sent = std::pin::pin!(request.send(&mut sender));
        // A connection that was idle may be dead with nobody knowing. The answer to a ping before the command shows
        // that it is not; it is late only where another long answer is on its way.
        let begun = timeout_at(self.patience(alive_at), select(&mut pong, &mut sent)).await;
        let _receiving = match begun {
            Ok(Either::Left((Ok(_), _))) => {
                alive_at = Instant::now();
                Some(Receiving::begin(&connection))
            }
            Ok(Either::Left((Err(error), _))) => {
                return self.judge(&connection, Ok(Err(error)), Effect::Read);
            }
            Ok(Either::Right((answer, _))) => {
                return self.judge(&connection, Ok(answer), Effect::Read);
            }
            Err(_) if connection.receiving.load(Ordering::Acquire) == 0 => {
                connection.mark_broken();
                return Err(no_answer());
            }
            Err(_) => None,
        };
        loop {
            // Early enough to ask, and be answered, before the last sign of life is too old.
            let patience =
                (Instant::now() + self.options.response_timeout).min(alive_at + CALL_TIMEOUT - PROBE_TIMEOUT);
            if let Ok(answer) = timeout_at(patience.min(deadline), &mut sent).await {
                return self.judge(&connection, Ok(answer), Effect::Read);
            }
            let ping = async {
                let mut probed = probe.connection().await?;
                let answer = timeout(PROBE_TIMEOUT, probed.inner.send_packed_command(&redis::cmd("PING"))).await;
                if !matches!(answer, Ok(Ok(_))) {
                    probed.mark_broken();
                    return Err(no_answer());
                }
                Ok(())
            };
            let alive = timeout_at(alive_at + CALL_TIMEOUT, ping).await;
            if Instant::now() >= deadline || !matches!(alive, Ok(Ok(()))) {
                connection.mark_broken();
                return Err(no_answer());
            }
            alive_at = Instant::now();
        }
    }

    /// Brings the connection's clock up to date where it has to be, or in the background where it should be.
    pub(super) async fn now(self: &Arc<Self>) -> Result<Timestamp> {
        let connection = self.connection().await?;
        match connection.clock.staleness() {
            Staleness::Fresh => {}
            Staleness::Old => {
                let link = Arc::clone(self);
                let clock = Arc::clone(&connection.clock);
                // Once in a while and short; it ends with its time-out.
                tokio::spawn(async move { link.read_clock(&clock).await });
            }
            Staleness::Unusable => self.read_clock(&connection.clock).await?,
        }
        Ok(connection.clock.now())
    }

    async fn read_clock(&self, clock: &StoreClock) -> Result<()> {
        clock.begin_renewal();
        let answer = self.command(&redis::cmd("TIME"), Effect::Read).await?;
        clock.renew(answer.map_err(|error| fault::translate(error, false))?)
    }

    /// Sorts an answer: no answer and broken connections become errors of ours, the rest is the caller's to judge.
    fn judge<T>(
        &self,
        connection: &Connection,
        answer: Result<Result<T, RedisError>, tokio::time::error::Elapsed>,
        effect: Effect,
    ) -> Result<Result<T, RedisError>> {
        match answer {
            // A server that is stuck, or a path that swallows packets: the next call tries anew.
            Err(_) => {
                connection.mark_broken();
                Err(no_answer().with_may_have_applied(effect == Effect::Write))
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

fn no_answer() -> Error {
    Error::new(ErrorKind::Timeout, "Redis did not answer in time").with_may_have_applied(false)
}
