//! Parameters and examples that several operations share.

use serde_json::json;
use stream_registry::http::wire::{DEFAULT_LIMIT, MAX_LIMIT};
use stream_registry::query::SortField;
use stream_registry::stream::limits::{MAX_LABELS, MAX_STRING_BYTES};
use utoipa::openapi::ObjectBuilder;
use utoipa::openapi::path::ParameterBuilder;

use crate::server::openapi::build::{flag, header, integer, limited, list, query, schema, string, word};

/// An example of a record in a response.
pub(super) fn record() -> serde_json::Value {
    json!({
        "id": "cam1", "type": "srt", "source_addr": "203.0.113.7:40112", "status": "active",
        "created_at": "2026-11-22T14:08:10.927896530Z", "last_heartbeat": "2026-11-22T14:09:41.003318204Z",
        "video_codec": "HEVC", "resolution": "1920x1080", "bitrate": 5_000_000, "frame_rate": 50.0,
        "bytes_received": 56_250_000, "packets_received": 42_700, "packets_lost": 3, "node": "fra-1",
    })
}

/// Returns the parameters that select streams.
pub(super) fn filters() -> Vec<ParameterBuilder> {
    let text = |description| limited(description, MAX_STRING_BYTES);
    let label = string("A label as `name=value`.").pattern(Some(r"^[^=]{1,64}=[\s\S]{0,256}$"));
    let labels = list("Labels, all of which a stream must have.", label).max_items(Some(MAX_LABELS));
    vec![
        query("status", "Only streams with this status.", schema("StreamStatus")),
        query("type", "Only streams of this type.", schema("StreamType")),
        query("node", "Only streams of this node; empty for streams without a node.", text("Name of a node.")),
        query("label", "Only streams with this label, as `name=value`. Can occur several times.", labels),
        query(
            "search",
            "Only streams whose id, source address, node or label values contain this string, ignoring case.",
            text("Part of a string.").pattern(Some(r"^[^\x00]*$")),
        ),
    ]
}

/// Returns the parameters of a list.
pub(super) fn page() -> Vec<ParameterBuilder> {
    let names: Vec<_> = SortField::all().map(SortField::as_str).collect();
    let descending: Vec<_> = names.iter().map(|name| format!("-{name}")).collect();
    let orders = names.iter().copied().chain(descending.iter().map(String::as_str));
    let limit = integer("Number of streams.", 1, MAX_LIMIT.into()).default(Some(DEFAULT_LIMIT.into()));
    let mut parameters = filters();
    parameters.push(query("limit", "Maximum number of streams on the page.", limit));
    parameters.push(query("cursor", "`next_cursor` of the page before. Keep all other parameters.", schema("Cursor")));
    let sort = word("A member of the record.", orders).default(Some("id".into()));
    parameters.push(query("sort", "Sorts by this member; a leading `-` sorts descending.", sort));
    parameters
}

/// Returns the schema of a flag that is false by default.
pub(super) fn no(description: &str) -> ObjectBuilder {
    flag(description).default(Some(false.into()))
}

pub(super) fn idempotency_key() -> ParameterBuilder {
    let description = "Id of this call. A request with the same key within 60 s gets the first response again.";
    header("Idempotency-Key", description, schema("IdempotencyKey"))
}

pub(super) fn force() -> ParameterBuilder {
    query("force", "Writes even if another client holds the stream.", no("Whether to ignore leases."))
}
