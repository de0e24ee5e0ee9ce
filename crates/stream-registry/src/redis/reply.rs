//! Parsing of replies from Redis.

use redis::{RedisError, Value};

use crate::error::{Error, ErrorKind, Result};

/// Converts an error reply to an error. Callers must check for errors inside an array, such as the reply to `EXEC`.
pub(super) fn checked(value: Value) -> Result<Value, RedisError> {
    match value {
        Value::ServerError(error) => Err(error.into()),
        reply => Ok(reply),
    }
}

/// Returns the error for a reply of an unexpected type.
pub(super) fn unexpected(value: &Value) -> Error {
    let shape = match value {
        Value::Nil => "nil",
        Value::Int(_) => "an integer",
        Value::BulkString(_) | Value::SimpleString(_) => "a string",
        Value::Array(_) => "an array",
        _ => "a value of another type",
    };
    Error::new(ErrorKind::Internal, format!("unexpected reply from Redis: {shape}"))
}

pub(super) fn array(value: Value) -> Result<Vec<Value>> {
    match value {
        Value::Array(items) | Value::Set(items) => Ok(items),
        other => Err(unexpected(&other)),
    }
}

/// Returns the elements of an array reply, or `None` for nil.
pub(super) fn array_or_nil(value: Value) -> Result<Option<Vec<Value>>> {
    if value == Value::Nil { Ok(None) } else { array(value).map(Some) }
}

pub(super) fn number(value: &Value) -> Result<i64> {
    match value {
        Value::Int(number) => Ok(*number),
        Value::BulkString(bytes) => {
            std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok()).ok_or_else(|| unexpected(value))
        }
        Value::SimpleString(text) => text.parse().map_err(|_| unexpected(value)),
        other => Err(unexpected(other)),
    }
}

/// Returns a string reply as bytes, or `None` for nil.
pub(super) fn optional_bytes(value: Value) -> Result<Option<Vec<u8>>> {
    match value {
        Value::BulkString(bytes) => Ok(Some(bytes)),
        Value::SimpleString(text) => Ok(Some(text.into_bytes())),
        Value::Okay => Ok(Some(b"OK".to_vec())),
        Value::Nil => Ok(None),
        other => Err(unexpected(&other)),
    }
}

/// Returns a string reply as bytes. Returns an error for nil.
pub(super) fn bytes(value: Value) -> Result<Vec<u8>> {
    optional_bytes(value)?.ok_or_else(|| unexpected(&Value::Nil))
}

/// Returns the value of a named field in a reply. The reply is a map in RESP3, and a flat array of names and values in
/// RESP2.
pub(super) fn field(value: &Value, name: &str) -> Option<String> {
    let is_name = |value: &Value| {
        matches!(value, Value::BulkString(bytes) if bytes == name.as_bytes())
            || matches!(value, Value::SimpleString(text) if text == name)
    };
    let found = match value {
        Value::Map(pairs) => pairs.iter().find(|(key, _)| is_name(key)).map(|(_, value)| value),
        Value::Array(items) => items.chunks_exact(2).find(|pair| is_name(&pair[0])).map(|pair| &pair[1]),
        _ => None,
    };
    match found? {
        Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok(),
        Value::SimpleString(text) => Some(text.clone()),
        Value::Int(number) => Some(number.to_string()),
        _ => None,
    }
}
