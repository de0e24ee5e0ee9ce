//! The operations of a Redis store. Each operation has its own file, and most have a script.

mod compare;
mod decode;
pub(super) mod eviction;
pub(super) mod get;
pub(super) mod history;
pub(super) mod layout;
pub(super) mod list;
pub(super) mod page;
mod postpone;
pub(super) mod prune;
pub(super) mod register;
mod replace;
pub(super) mod restore;
pub(super) mod sweep;
pub(super) mod unregister;
pub(super) mod write;

use std::time::Duration;

use redis::Value;

use super::reply::{self, unexpected};
use crate::error::{Error, ErrorKind, Result};
use crate::stream::encode::push_json_string;
use crate::stream::{Epoch, StreamId};

/// Maximum number of attempts to update a record that other writers keep changing.
const ATTEMPTS: u32 = 16;

/// Sleeps for a random time, so that competing writers do not collide again. The upper bound doubles with each attempt.
async fn back_off(attempt: u32) {
    let max_micros = 1_000 << attempt.min(5);
    tokio::time::sleep(Duration::from_micros(fastrand::u64(0..max_micros))).await;
}

/// Returns the error for a call if every attempt conflicted with another write.
fn contended() -> Error {
    Error::new(ErrorKind::Unavailable, "other writers keep changing the record; try again")
}

/// Splits the reply to a batch into one result per item. An error of the whole call is the result of each item.
fn split<T>(reply: Result<Value>, items: usize, parse: impl Fn(Value) -> Result<T>) -> Vec<Result<T>> {
    let replies = reply.and_then(reply::array).and_then(|replies| match replies.len() == items {
        true => Ok(replies),
        false => Err(unexpected(&Value::Array(replies))),
    });
    match replies {
        Ok(replies) => replies.into_iter().map(parse).collect(),
        Err(error) => (0..items).map(|_| Err(error.clone())).collect(),
    }
}

/// Translates a result code of the scripts `write` and `replace`.
fn outcome(code: i64, id: &StreamId) -> Result<()> {
    match code {
        1 => Ok(()),
        0 => Err(Error::not_found(id)),
        -1 => Err(Error::not_holder(id)),
        -2 => Err(not_a_string(id)),
        other => Err(unexpected(&Value::Int(other))),
    }
}

/// Returns the error for a record key whose value is not a string.
fn not_a_string(id: &StreamId) -> Error {
    Error::corrupt(id, "the key does not hold a string; remove it with redis-cli")
}

/// Returns the error for a record key that does not hold a string. `kind` is the type that the script found instead.
fn wrong_type(id: &StreamId, kind: &[u8]) -> Error {
    let kind = String::from_utf8_lossy(kind);
    Error::corrupt(id, format!("the key holds a {kind}; remove it with redis-cli"))
}

/// Returns the JSON field `"epoch":"…"` as it appears in the record of a leased stream.
fn epoch_field(epoch: &Epoch) -> String {
    let mut field = String::from("\"epoch\":");
    push_json_string(&mut field, epoch.as_str());
    field
}
