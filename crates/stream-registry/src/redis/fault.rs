//! Translation of the Redis client's errors into errors of this crate.

use redis::{ErrorKind as RedisKind, RedisError, ServerErrorKind};

use crate::error::{Error, ErrorKind};

/// The effect of a call on the stored data. It decides the flag `may_have_applied` of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// The call only reads.
    Read,
    /// The call changes data on behalf of a caller.
    Write,
    /// The call changes data in the background. If a replica rejects the call, the client does not reconnect.
    Housekeeping,
}

/// Returns whether the connection must be replaced after this error.
pub(super) fn breaks_connection(error: &RedisError, effect: Effect) -> bool {
    // After one of these replies, the server may no longer be the primary. The next call reconnects and resolves the
    // address again.
    error.is_io_error()
        || error.is_unrecoverable_error()
        || effect != Effect::Housekeeping && matches!(error.code(), Some("READONLY" | "LOADING" | "MASTERDOWN"))
        // A new connection logs in again.
        || error.code() == Some("NOAUTH")
}

/// Returns whether the reply was lost. The command may have run. A truncated reply counts as lost.
pub(super) fn is_lost(error: &RedisError) -> bool {
    error.is_io_error() || error.kind() == RedisKind::Parse
}

/// Returns whether a reply does not follow the Redis protocol, such as the reply of an HTTP server.
///
/// A truncated reply does follow the protocol, as far as it was received.
pub(super) fn is_not_redis(error: &RedisError) -> bool {
    error.kind() == RedisKind::Parse && !error.detail().is_some_and(|detail| detail.contains("end of input"))
}

/// Returns whether the host name could not be resolved. In this case, nothing was sent.
pub(super) fn is_unknown_host(error: &RedisError) -> bool {
    // The standard library has no error kind for this case, so the error message is searched.
    error.is_io_error() && error.to_string().contains("failed to lookup address")
}

/// Returns whether the server's script cache does not hold the script.
pub(super) fn is_no_script(error: &RedisError) -> bool {
    error.kind() == RedisKind::Server(ServerErrorKind::NoScript)
}

/// Returns whether the key holds a value of the wrong type.
pub(super) fn is_wrong_type(error: &RedisError) -> bool {
    error.code() == Some("WRONGTYPE")
}

/// Returns whether the server does not know the command, for example because the command was renamed.
pub(super) fn is_unknown_command(error: &RedisError) -> bool {
    error.detail().is_some_and(|detail| detail.contains("unknown command"))
}

/// Returns whether the server rejected the command because its memory limit, `maxmemory`, is reached.
pub(super) fn is_out_of_memory(error: &RedisError) -> bool {
    error.code() == Some("OOM")
}

/// Returns whether the Redis user lacks a permission.
pub(super) fn is_no_permission(error: &RedisError) -> bool {
    // Some rejections do not have the code `NOPERM`, so the message is searched too. Redis 7.0 sends no code if it
    // rejects a command inside a script or a pattern of SORT. The Redis client replaces the code of an error that
    // occurs while it connects.
    const PHRASES: [&str; 5] = [
        "NOPERM",
        "No permissions",
        "has no permissions to run",
        "The user executing the script can't",
        "insufficient ACL permissions",
    ];
    error.code() == Some("NOPERM")
        || error.detail().is_some_and(|detail| PHRASES.iter().any(|phrase| detail.contains(phrase)))
}

/// Parts of the messages with which servers reject a script that reads keys of a slot that is being moved: Redis 7.0,
/// and later servers.
const MOVED_KEYS: [&str; 2] =
    ["access a non local key in a cluster node", "undeclared keys were accessed during rehashing of the slot"];

/// Translates an error of the Redis client. `writing` is true if the command can change data.
pub(super) fn translate(error: RedisError, writing: bool) -> Error {
    let detail = error.detail().unwrap_or_default().to_owned();
    let code = error.code().unwrap_or_default().to_owned();
    if is_unknown_command(&error) {
        // The server's message repeats the arguments, which may include a password. So the new error contains neither
        // the message nor the source error.
        return Error::new(
            ErrorKind::Unsupported,
            "the server lacks a required command; use Redis 7.0 or Valkey 7.2, with no command renamed",
        );
    }
    let (kind, message) = match code.as_str() {
        _ if is_no_permission(&error) => {
            (ErrorKind::Denied, format!("the Redis user lacks a permission: {detail}; grant it with ACL SETUSER"))
        }
        "NOAUTH" | "WRONGPASS" => {
            (ErrorKind::Unauthenticated, "Redis rejected the user name or password; check the store URL".to_owned())
        }
        "OOM" => {
            (ErrorKind::Unavailable, "Redis is out of memory (maxmemory); raise maxmemory or remove keys".to_owned())
        }
        "READONLY" => {
            (ErrorKind::Unavailable, "this Redis is a read-only replica; connect to the primary to write".to_owned())
        }
        "LOADING" => (ErrorKind::Unavailable, "Redis is loading its data; try again shortly".to_owned()),
        "MASTERDOWN" => (ErrorKind::Unavailable, "this replica has lost its primary; try again shortly".to_owned()),
        "MOVED" | "ASK" | "TRYAGAIN" => (
            ErrorKind::Unavailable,
            "the Redis Cluster is moving these streams to another node; try again shortly".to_owned(),
        ),
        // A script cannot read keys that were moved while it runs.
        _ if MOVED_KEYS.iter().any(|phrase| detail.contains(phrase)) => (
            ErrorKind::Unavailable,
            "the Redis Cluster is moving these streams to another node; try again shortly".to_owned(),
        ),
        "CLUSTERDOWN" => (
            ErrorKind::Unavailable,
            "the Redis Cluster does not serve these streams now; try again, or check CLUSTER INFO".to_owned(),
        ),
        "MISCONF" => {
            (ErrorKind::Unavailable, format!("Redis refuses writes because it cannot save its data: {detail}"))
        }
        "NOREPLICAS" => (ErrorKind::Unavailable, "Redis refuses writes because it has too few replicas".to_owned()),
        "BUSY" => (ErrorKind::Unavailable, "Redis is busy with another client's script; try again shortly".to_owned()),
        "WRONGTYPE" => (
            ErrorKind::Corrupt,
            "a registry key holds a value of the wrong type; remove the index key if it is not a set".to_owned(),
        ),
        _ if matches!(error.kind(), RedisKind::AuthenticationFailed) => {
            (ErrorKind::Unauthenticated, "Redis rejected the user name or password; check the store URL".to_owned())
        }
        _ if error.is_timeout() => (ErrorKind::Timeout, "Redis did not answer in time".to_owned()),
        _ if error.is_connection_refusal() => {
            (ErrorKind::Unavailable, "the connection to Redis was refused; check that Redis is running".to_owned())
        }
        _ if is_lost(&error) || error.is_connection_dropped() => {
            (ErrorKind::Unavailable, "the connection to Redis was lost; try again".to_owned())
        }
        _ if detail.contains("max number of clients") => (
            ErrorKind::Unavailable,
            "Redis has reached maxclients; raise maxclients or close other connections".to_owned(),
        ),
        _ => (ErrorKind::Internal, format!("Redis replied with an error: {code} {detail}")),
    };
    let lost = is_lost(&error) && !error.is_connection_refusal() && !is_unknown_host(&error);
    // Only errors that the server sent have a code.
    let is_reply = !code.is_empty();
    Error::new(kind, message).with_may_have_applied(writing && lost).with_store_reply(is_reply).with_source(error)
}

/// Returns the error for a call that got no reply in time. The error says that the call was not applied. After a write,
/// the caller must correct this with `with_may_have_applied`.
pub(super) fn no_reply() -> Error {
    Error::new(ErrorKind::Timeout, "Redis did not answer in time").with_may_have_applied(false)
}
