//! Decoding of stored records.

use crate::error::{Error, Result};
use crate::stream::{Stream, StreamId, StreamType, Timestamp};

/// Decodes the raw JSON of a record.
pub(super) fn decode(id: &StreamId, json: &[u8]) -> Result<Stream> {
    let json = std::str::from_utf8(json).map_err(|error| Error::corrupt(id, "it is not UTF-8").with_source(error))?;
    Ok(Stream::from_stored(id, json)?)
}

/// Returns a placeholder for the last record of an ended stream. It is used if the last record cannot be decoded.
pub(super) fn placeholder(id: &StreamId) -> Stream {
    let mut stream = Stream::new(id.clone(), StreamType::stored(""), "");
    (stream.created_at, stream.last_heartbeat) = (Timestamp::ZERO, Timestamp::ZERO);
    stream
}
