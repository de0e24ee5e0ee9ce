//! Reading answers.

use redis::Value;

use super::fault::unexpected;
use crate::error::Result;

pub(super) fn array(value: Value) -> Result<Vec<Value>> {
    match value {
        Value::Array(items) | Value::Set(items) => Ok(items),
        other => Err(unexpected(&other)),
    }
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

/// A text or nothing.
pub(super) fn bytes(value: Value) -> Result<Option<Vec<u8>>> {
    match value {
        Value::BulkString(bytes) => Ok(Some(bytes)),
        Value::SimpleString(text) => Ok(Some(text.into_bytes())),
        Value::Okay => Ok(Some(b"OK".to_vec())),
        Value::Nil => Ok(None),
        other => Err(unexpected(&other)),
    }
}

/// A text that must be there.
pub(super) fn text(value: Value) -> Result<Vec<u8>> {
    bytes(value)?.ok_or_else(|| unexpected(&Value::Nil))
}

/// A field of an answer made of names and values, in either protocol's form.
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
