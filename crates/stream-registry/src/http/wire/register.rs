//! Registrations: `POST /api/v1/streams`, and the records in requests.

use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::info::millis;
use super::patch::members;
use super::problem::unexpected_response;
use crate::error::{Error, ErrorKind, Result};
use crate::registry::Registered;
use crate::stream::Stream;
use crate::stream::{decode, encode};

/// Upper limit of `stale_ms`: 30 days, the longest time to live.
pub const MAX_STALE_MS: u64 = 30 * 24 * 3600 * 1000;

/// Encodes a record without its id, for a registration with a generated id.
pub(in crate::http) fn record_without_id(stream: &Stream) -> String {
    let json = stream.to_json();
    let mut id = String::from("{\"id\":");
    encode::push_json_string(&mut id, stream.id.as_str());
    id.push(',');
    match json.strip_prefix(&id) {
        Some(rest) => format!("{{{rest}"),
        None => json,
    }
}

/// Parses a record from a request body. The fields `type` and `source_addr` are required.
///
/// The returned flag is `true` if the body has an id. Otherwise, the record gets a generated id.
///
/// # Errors
///
/// Returns `InvalidArgument` if a field is missing or invalid. The message names the field.
pub fn read_record(json: &str) -> Result<(Stream, bool)> {
    let (stream, has_id) = Stream::from_json_any_id(json)?;
    if stream.source_addr.is_empty() && is_missing(json, "source_addr")? {
        return Err(Error::invalid("missing source_addr; expected the publisher's host:port or an empty string"));
    }
    Ok((stream, has_id))
}

/// Parses the record of a stream whose lease is to be recovered. The fields `type`, `source_addr` and `created_at` are
/// required.
///
/// # Errors
///
/// Returns `InvalidArgument` if a field is missing or invalid. The message names the field.
pub fn read_recovered(json: &str) -> Result<(Stream, bool)> {
    let read = read_record(json)?;
    if is_missing(json, "created_at")? {
        return Err(Error::invalid("missing created_at; send the record that the server returned"));
    }
    Ok(read)
}

fn is_missing(json: &str, field: &str) -> Result<bool> {
    Ok(members(json)?.get(field).is_none_or(|raw| raw.get() == "null"))
}

/// Encodes the response to a registration.
pub fn registered_body(registered: &Registered) -> String {
    let mut out = String::with_capacity(640);
    out.push_str("{\"stream\":");
    out.push_str(&registered.stream.to_json());
    out.push_str(",\"outcome\":\"");
    out.push_str(registered.outcome.as_str());
    out.push_str("\",\"epoch\":");
    match &registered.epoch {
        Some(epoch) => encode::push_json_string(&mut out, epoch.as_str()),
        None => out.push_str("null"),
    }
    out.push_str(&format!(",\"ttl_ms\":{}}}", millis(registered.ttl)));
    out
}

#[derive(Deserialize)]
struct RegisterResponse<'a> {
    #[serde(borrow)]
    stream: &'a RawValue,
    outcome: String,
    #[serde(default)]
    epoch: Option<String>,
    ttl_ms: u64,
}

/// Parses the response to a registration.
pub(in crate::http) fn read_registered(json: &str) -> Result<Registered> {
    let response: RegisterResponse<'_> = serde_json::from_str(json).map_err(unexpected_response)?;
    let stream = decode::decode_listed(response.stream.get())?;
    let outcome = response.outcome.parse().map_err(|_| {
        Error::new(ErrorKind::Internal, format!("unknown outcome {:?}; update the client", response.outcome))
    })?;
    let mut registered = Registered::new(stream, outcome, Duration::from_millis(response.ttl_ms));
    if let Some(epoch) = response.epoch {
        registered.epoch = Some(epoch.parse().map_err(unexpected_response)?);
    }
    Ok(registered)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Outcome;
    use crate::stream::StreamType;

    #[test]
    fn record_without_id_keeps_all_other_fields() {
        let stream = Stream::new("a \"b\",".parse().unwrap(), StreamType::Srt, "h:1");
        let json = record_without_id(&stream);
        assert!(json.starts_with(r#"{"type":"srt","source_addr":"h:1","#), "{json}");
        assert!(!Stream::from_json_any_id(&json).unwrap().1);
    }

    #[test]
    fn registration_response_survives_a_round_trip_through_json() {
        let stream = Stream::new("cam/1".parse().unwrap(), StreamType::Srt, "h:1");
        let registered = Registered::new(stream, Outcome::TakenOver, Duration::from_millis(1_500));
        assert_eq!(read_registered(&registered_body(&registered)).unwrap(), registered);
    }
}
