//! From errors of the client crate to errors of this one.

use redis::{ErrorKind as RedisKind, RedisError, ServerErrorKind, Value};

use super::connect::Effect;
use crate::error::{Error, ErrorKind};

/// Turns an answer that is an error into one. None of our commands answers with errors inside a list.
pub(super) fn checked(value: Value) -> Result<Value, RedisError> {
    match value {
        Value::ServerError(error) => Err(error.into()),
        answer => Ok(answer),
    }
}

/// Whether the connection is of no use after this error.
pub(super) fn breaks_connection(error: &RedisError, effect: Effect) -> bool {
    // A demoted, loading or masterless server may not be the one to talk to any more.
    error.is_io_error()
        || error.is_unrecoverable_error()
        || effect != Effect::Tidy && matches!(error.code(), Some("READONLY" | "LOADING" | "MASTERDOWN"))
}

/// Whether the answer was lost on the way: what was asked may be done all the same. An answer that ends in
/// the middle is one that cannot be read.
pub(super) fn is_lost(error: &RedisError) -> bool {
    error.is_io_error() || error.kind() == RedisKind::Parse
}

/// Whether the server's name has no address: nothing was sent.
fn is_unknown_host(error: &RedisError) -> bool {
    // The standard library has no kind for it; these are its own words.
    error.is_io_error() && error.to_string().contains("failed to lookup address")
}

/// Whether a script is not in the server's cache.
pub(super) fn is_no_script(error: &RedisError) -> bool {
    error.kind() == RedisKind::Server(ServerErrorKind::NoScript)
}

/// Whether a key holds another type of value.
pub(super) fn is_wrong_type(error: &RedisError) -> bool {
    error.code() == Some("WRONGTYPE")
}

/// Whether the server does not know a command, or knows it by another name.
pub(super) fn is_unknown_command(error: &RedisError) -> bool {
    error.detail().is_some_and(|detail| detail.contains("unknown command"))
}

/// Whether the server lacks memory for the command, or so it thinks.
pub(super) fn is_out_of_memory(error: &RedisError) -> bool {
    error.code() == Some("OOM")
}

/// Whether the user lacks a right.
pub(super) fn is_no_permission(error: &RedisError) -> bool {
    // Inside a script, and of SORT's patterns, Redis 7.0 says it in words only; a script's own refusal comes with
    // the code behind its text. What is refused while the client crate connects has another code there.
    const WORDS: [&str; 5] = [
        "NOPERM",
        "No permissions",
        "has no permissions to run",
        "The user executing the script can't",
        "insufficient ACL permissions",
    ];
    error.code() == Some("NOPERM")
        || error.detail().is_some_and(|detail| WORDS.iter().any(|words| detail.contains(words)))
}

/// Tells what an error means to a caller. `writing` says whether the command could have changed something.
pub(super) fn translate(error: RedisError, writing: bool) -> Error {
    let detail = error.detail().unwrap_or_default().to_owned();
    let code = error.code().unwrap_or_default().to_owned();
    if is_unknown_command(&error) {
        // The server repeats the arguments, a password among them: neither its words nor the source go on.
        return Error::new(
            ErrorKind::Unsupported,
            "the server does not know a command that is needed; use Redis 7.0 or Valkey 7.2, with no command renamed",
        );
    }
    let (kind, message) = match code.as_str() {
        _ if is_no_permission(&error) => {
            (ErrorKind::Denied, format!("the Redis user lacks a right: {detail}; grant it with ACL SETUSER"))
        }
        "NOAUTH" | "WRONGPASS" => {
            (ErrorKind::Denied, "Redis refuses user or password; check them in the store's URL".to_owned())
        }
        "OOM" => (ErrorKind::Unavailable, "Redis is out of memory (maxmemory); give it more or remove keys".to_owned()),
        "READONLY" => {
            (ErrorKind::Unavailable, "this Redis is a read-only replica; connect to the primary to write".to_owned())
        }
        "LOADING" => (ErrorKind::Unavailable, "Redis is loading its data; try again shortly".to_owned()),
        "MASTERDOWN" => (ErrorKind::Unavailable, "this replica has lost its primary; try again shortly".to_owned()),
        "MISCONF" => {
            (ErrorKind::Unavailable, format!("Redis refuses writes because it cannot save its data: {detail}"))
        }
        "NOREPLICAS" => (ErrorKind::Unavailable, "Redis refuses writes because it has too few replicas".to_owned()),
        "BUSY" => {
            (ErrorKind::Unavailable, "Redis is busy with a script of somebody else; try again shortly".to_owned())
        }
        "WRONGTYPE" => (
            ErrorKind::Corrupt,
            "a key of the registry holds another type of value; look at the index key and remove it if it is not a set"
                .to_owned(),
        ),
        _ if matches!(error.kind(), RedisKind::AuthenticationFailed) => {
            (ErrorKind::Denied, "Redis refuses user or password; check them in the store's URL".to_owned())
        }
        _ if error.is_timeout() => (ErrorKind::Timeout, "Redis did not answer in time".to_owned()),
        _ if error.is_connection_refusal() => {
            (ErrorKind::Unavailable, "nothing accepts connections at Redis' address; is it running?".to_owned())
        }
        _ if is_unknown_host(&error) => (
            ErrorKind::Unavailable,
            "the host name in the store's URL is not known; correct it, or see to the name server".to_owned(),
        ),
        _ if is_lost(&error) || error.is_connection_dropped() => {
            (ErrorKind::Unavailable, "the connection to Redis was lost; try again".to_owned())
        }
        _ if detail.contains("max number of clients") => {
            (ErrorKind::Unavailable, "Redis has reached its maxclients; raise it or close others".to_owned())
        }
        _ => (ErrorKind::Internal, format!("Redis answered with an error: {code} {detail}")),
    };
    let lost = is_lost(&error) && !error.is_connection_refusal() && !is_unknown_host(&error);
    // Only what the server says has a code.
    let answered = !code.is_empty();
    Error::new(kind, message).with_may_have_applied(writing && lost).with_store_reply(answered).with_source(error)
}

/// An answer of a shape that none of our commands has.
pub(super) fn unexpected(value: &Value) -> Error {
    let shape = match value {
        Value::Nil => "nil",
        Value::Int(_) => "a number",
        Value::BulkString(_) | Value::SimpleString(_) => "a text",
        Value::Array(_) => "an array",
        _ => "a value of another type",
    };
    Error::new(ErrorKind::Internal, format!("Redis answered {shape} where something else was due"))
}
