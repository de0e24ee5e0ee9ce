//! Reads whose reply may be large, so that the server is busy for a long time.

use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};
use redis::{Cmd, Pipeline, RedisError, Value};
use tokio::time::{Instant, timeout, timeout_at};

use super::Link;
use super::connection::{Connection, Request};
use super::transfer::Transfer;
use crate::error::Result;
use crate::redis::fault::{self, Effect, no_reply};
use crate::redis::reply;

/// Pause between attempts to connect while a large read waits for a server that does not answer.
const CONNECT_PAUSE: Duration = Duration::from_millis(100);

impl Link {
    /// Like [`read`](Self::read), but for a reply that may be large.
    pub(in crate::redis) async fn read_long(&self, command: &Cmd) -> Result<Value> {
        self.long_command(Request::One(command)).await?.map_err(|error| fault::translate(error, false))
    }

    /// Sends a command whose reply may be large, and waits for the reply for at most `list_timeout`.
    ///
    /// A server that is still working on this command answers nothing else. So there is no other sign that the server
    /// is alive, and only the timeout ends the wait.
    pub(in crate::redis) async fn long_command(&self, request: Request<'_>) -> Result<Result<Value, RedisError>> {
        let deadline = self.long_deadline();
        for redirects in 0.. {
            let (connection, _) = self.probe(&redis::cmd("PING"), deadline).await?;
            let answer = self.send_long(&connection, request, deadline).await?;
            let Err(error) = &answer else { return Ok(answer) };
            // A command that reads a whole shard cannot be answered in part by another node, so `ASK` is not followed.
            if error.code() == Some("ASK") || self.redirect(&connection, error, redirects, deadline).await?.is_none() {
                return Ok(answer);
            }
        }
        Err(no_reply())
    }

    /// Returns the deadline of a command that is sent now and whose reply may be large.
    pub(in crate::redis) fn long_deadline(&self) -> Instant {
        Instant::now() + self.list_timeout
    }

    /// Returns a connection on which the server has just answered, and the answer to the probe. The answer is `None` if
    /// the server sent an error, e.g. because of a missing permission, or answered too late.
    pub(in crate::redis) async fn probe(&self, probe: &Cmd, deadline: Instant) -> Result<(Connection, Option<Value>)> {
        timeout_at(deadline, self.responding_connection(probe)).await.map_err(|_| no_reply())?
    }

    /// Sends a command whose reply may be large over a connection that [`probe`](Self::probe) has returned.
    pub(in crate::redis) async fn send_long(
        &self,
        connection: &Connection,
        request: Request<'_>,
        deadline: Instant,
    ) -> Result<Result<Value, RedisError>> {
        let mut sender = connection.inner.clone();
        let answer = timeout_at(deadline, request.send(&mut sender)).await;
        self.classify(connection, answer, Effect::Read)
    }

    /// Sends a transaction to the server of a connection, over a separate connection, and receives the reply in parts.
    pub(in crate::redis) async fn transfer(&self, connection: &Connection, transaction: &Pipeline) -> Result<Transfer> {
        Transfer::begin(&connection.endpoint, transaction).await
    }

    /// Returns a connection on which the server has just answered, and the answer unless it is an error. Waits without
    /// a limit if the server is busy.
    async fn responding_connection(&self, probe: &Cmd) -> Result<(Connection, Option<Value>)> {
        let connection = self.connection().await?;
        let mut pinger = connection.inner.clone();
        let mut pong = pin!(pinger.send_packed_command(probe));
        let is_alive =
            |pong: &Result<Value, RedisError>| pong.as_ref().err().is_none_or(|error| !fault::is_lost(error));
        match timeout(self.response_timeout, &mut pong).await {
            Ok(pong) if is_alive(&pong) => return Ok((connection, pong.and_then(reply::checked).ok())),
            Ok(_) => {
                connection.mark_broken();
                return Ok((self.connection().await?, None));
            }
            Err(_) => {}
        }
        // Either the idle connection has failed unnoticed, or the server is busy. If the connection has failed, a new
        // connection works at once. If the server is busy, the old connection may be the first that answers.
        connection.mark_broken();
        loop {
            let error = match select(pong.as_mut(), pin!(self.connection())).await {
                Either::Left((pong, _)) if is_alive(&pong) => return Ok((connection, None)),
                Either::Left((_, new)) => return Ok((new.await?, None)),
                Either::Right((Ok(new), _)) => return Ok((new, None)),
                Either::Right((Err(error), _)) => error,
            };
            // The server is still busy, or another server is about to take its place.
            if let Ok(pong) = timeout(CONNECT_PAUSE, pong.as_mut()).await {
                return if is_alive(&pong) { Ok((connection, None)) } else { Err(error) };
            }
        }
    }
}
