//! Reads the feed metadata: the generation of the feed, and the id of its last entry.

use redis::{Cmd, RedisError, Value};

use super::position::Position;
use crate::error::{ErrorKind, Result};
use crate::redis::fault::{Effect, is_wrong_type, translate};
use crate::redis::keys::Keys;
use crate::redis::reply;
use crate::redis::store::Store;

/// Returns the command that reads the position of the feed's last entry.
pub(in crate::redis) fn command(keys: &Keys) -> Cmd {
    let mut command = redis::cmd("HMGET");
    command.arg(keys.feed_metadata()).arg("history").arg("tail");
    command
}

/// Parses the reply to [`command`] in a pipeline. The inner error is the error that the server sent.
pub(in crate::redis) fn parse(answer: Value) -> Result<Result<Position, RedisError>> {
    match answer {
        // If the key holds a value of another type, the value is ignored. The next event starts a new generation of the
        // feed.
        Value::ServerError(error) => {
            let error = error.into();
            if is_wrong_type(&error) { Ok(Ok(Position::default())) } else { Ok(Err(error)) }
        }
        answer => {
            let mut fields = reply::array(answer)?.into_iter();
            let mut next = || fields.next().unwrap_or(Value::Nil);
            Position::from_metadata(next(), next()).map(Ok)
        }
    }
}

/// Parses the reply to [`command`] that was sent without a pipeline.
pub(in crate::redis) fn parse_single(answer: Result<Value, RedisError>) -> Result<Position> {
    match answer {
        Ok(answer) => parse(answer)?.map_err(|error| translate(error, false)),
        Err(error) if is_wrong_type(&error) => Ok(Position::default()),
        Err(error) => Err(translate(error, false)),
    }
}

/// Returns the position of the feed's last entry.
pub(in crate::redis) async fn tail(store: &Store) -> Result<Position> {
    let command = command(&store.keys);
    match store.link.command(&command, Effect::Read).await {
        // If the connection was lost, reconnects and retries once.
        Err(lost) if lost.kind() == ErrorKind::Unavailable => {
            parse_single(store.link.command(&command, Effect::Read).await?)
        }
        answer => parse_single(answer?),
    }
}
