//! Schemas of single values.

use stream_registry::stream::limits::{MAX_ID_BYTES, MAX_TOKEN_BYTES};
use utoipa::openapi::ObjectBuilder;

use crate::server::openapi::build::{AnySchema, except, limited, visible};

/// A pattern for a string without control characters, and without white space at its ends.
const ID: &str = r"^[^\s\x00-\x1f\x7f-\x9f]([^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f])?$";
/// A pattern for a word without white space and control characters.
const TOKEN: &str = r"^[^\s\x00-\x1f\x7f-\x9f]+$";
/// Maximum length of an epoch and of an idempotency key, in bytes.
const MAX_OPAQUE: usize = 128;
const MAX_CURSOR: usize = 1_024;
const MAX_REVISION: usize = 5_120;

pub(super) fn all() -> Vec<(&'static str, AnySchema)> {
    let cursor = visible("Position at which the next page of a list begins. Opaque.", MAX_CURSOR);
    let revision = visible("Position in the change feed. Opaque.", MAX_REVISION);
    vec![
        ("StreamId", stream_id().into()),
        ("StreamType", stream_type().into()),
        ("StreamStatus", stream_status().into()),
        ("Epoch", epoch().into()),
        ("IdempotencyKey", visible("Id of one call.", MAX_OPAQUE).into()),
        ("Cursor", cursor.into()),
        ("Revision", revision.into()),
        ("LastEventId", last_event_id().into()),
    ]
}

pub(super) fn stream_id() -> ObjectBuilder {
    let rules = "Id of a stream: 1 to 256 bytes without control characters, and without white space at the ends.";
    let id = limited(rules, MAX_ID_BYTES).min_length(Some(1)).pattern(Some(ID)).examples(["cam1"]);
    except(id, &["active", ".", ".."])
}

pub(super) fn stream_type() -> ObjectBuilder {
    token("Protocol of the publisher: `srt`, `rtp` or another word.").examples(["srt", "rtp"])
}

pub(super) fn stream_status() -> ObjectBuilder {
    token("Status: `connecting`, `active`, `paused`, `error`, `closed` or another word.").examples(["active", "paused"])
}

pub(super) fn epoch() -> ObjectBuilder {
    visible("Epoch of a lease, which proves who holds the stream.", MAX_OPAQUE)
}

/// Returns the schema of a revision that can be empty. Browsers send an empty one if no event has an id yet.
fn last_event_id() -> ObjectBuilder {
    limited("Position in the change feed; empty for none.", MAX_REVISION).pattern(Some("^[!-~]*$"))
}

fn token(description: &str) -> ObjectBuilder {
    limited(description, MAX_TOKEN_BYTES).min_length(Some(1)).pattern(Some(TOKEN))
}
