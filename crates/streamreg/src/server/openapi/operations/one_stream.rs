//! Operations on one stream. Each has a path with the id, and a path with the id in the query.

use axum::http::Method;
use serde_json::json;
use stream_registry::http::wire::{JSON, MERGE_PATCH_JSON};
use stream_registry::stream::limits::MAX_STRING_BYTES;
use utoipa::openapi::Required;
use utoipa::openapi::link::{Link, LinkBuilder};
use utoipa::openapi::path::{OperationBuilder, ParameterBuilder};
use utoipa::openapi::request_body::RequestBody;

use super::shared::{force, idempotency_key, record};
use super::{ONE_STREAM, Operation, of_store, operation};
use crate::server::openapi::build::{body, header, limited, query, schema, segment, string, word};
use crate::server::openapi::responses::{json as json_response, problems, response};

/// Where a request has the id of the stream.
#[derive(Clone, Copy)]
enum Id {
    Path,
    Query,
}

impl Id {
    /// Starts an operation. The operations with the id in the query have other names.
    fn operation(self, name: &str, summary: &str, description: &str) -> OperationBuilder {
        let about = "The id of the stream, percent-encoded.";
        let (name, id) = match self {
            Self::Path => (name.to_owned(), segment("id", about, schema("StreamId"))),
            Self::Query => (format!("{name}ByQuery"), query("id", about, schema("StreamId")).required(Required::True)),
        };
        let operation = of_store(operation(&name, ONE_STREAM, summary, description)).parameter(id);
        problems(operation, &[404, 422])
    }

    /// Starts an operation that writes.
    fn write(self, name: &str, summary: &str, description: &str) -> OperationBuilder {
        let epoch = "Epoch of the lease. A leased stream needs it, or `force=true`.";
        let operation = self.operation(name, summary, description).parameter(force());
        problems(operation.parameter(header("Stream-Epoch", epoch, schema("Epoch"))), &[408, 409, 413])
    }

    /// Starts an operation that writes a body.
    fn write_body(self, name: &str, summary: &str, description: &str, body: RequestBody) -> OperationBuilder {
        problems(self.write(name, summary, description), &[415]).request_body(Some(body))
    }
}

pub(super) fn all() -> Vec<Operation> {
    vec![
        (Method::GET, "/api/v1/streams/{id}", read(Id::Path)),
        (Method::PUT, "/api/v1/streams/{id}", update(Id::Path)),
        (Method::PATCH, "/api/v1/streams/{id}", patch(Id::Path)),
        (Method::DELETE, "/api/v1/streams/{id}", unregister(Id::Path)),
        (Method::POST, "/api/v1/streams/{id}/heartbeat", heartbeat(Id::Path)),
        (Method::PUT, "/api/v1/streams/{id}/status", status(Id::Path)),
        (Method::PUT, "/api/v1/streams/{id}/stats", statistics(Id::Path)),
        (Method::GET, "/api/v1/stream", read(Id::Query)),
        (Method::PUT, "/api/v1/stream", update(Id::Query)),
        (Method::PATCH, "/api/v1/stream", patch(Id::Query)),
        (Method::DELETE, "/api/v1/stream", unregister(Id::Query)),
        (Method::POST, "/api/v1/stream/heartbeat", heartbeat(Id::Query)),
        (Method::PUT, "/api/v1/stream/status", status(Id::Query)),
        (Method::PUT, "/api/v1/stream/stats", statistics(Id::Query)),
    ]
}

/// Returns links from a registration to all operations on the new stream.
pub(super) fn links() -> Vec<(String, Link)> {
    let names = all().into_iter().filter_map(|(.., operation)| operation.build().operation_id);
    let link = |name: String| {
        let link = LinkBuilder::new().operation_id(&name).parameter("id", "$response.body#/stream/id").build();
        (name, link)
    };
    names.map(link).collect()
}

fn prefer(value: &str, description: &str) -> ParameterBuilder {
    header("Prefer", description, string("A preference (RFC 7240).").examples([value]))
}

/// Adds the responses of an operation that returns the record unless the client wants an empty response.
fn returns_record(operation: OperationBuilder) -> OperationBuilder {
    let minimal = "With `return=minimal`, the response is 204 without the record.";
    operation
        .parameter(prefer("return=minimal", minimal))
        .response("200", json_response("The new record.", schema("Stream"), Some(record())))
        .response("204", response("The change was applied."))
}

fn read(id: Id) -> OperationBuilder {
    let record = json_response("The record.", schema("Stream"), Some(record()));
    id.operation("getStream", "Read a stream", "").response("200", record)
}

fn update(id: Id) -> OperationBuilder {
    let example = json!({ "type": "srt", "source_addr": "203.0.113.7:40112", "node": "fra-1" });
    let new =
        body(&[JSON], "NewStream", "The record. It can omit the id. Otherwise, the id must be the same.", example);
    let description = "Replaces the descriptive members and the statistics of the record.";
    returns_record(id.write_body("updateStream", "Replace a record", description, new))
}

fn patch(id: Id) -> OperationBuilder {
    let example = json!({ "video_codec": "HEVC", "labels": { "tenant": "acme", "old": null } });
    let changes = body(&[MERGE_PATCH_JSON, JSON], "StreamPatch", "The changes.", example);
    let mode = word("How labels change.", ["merge", "replace"]).default(Some("merge".into()));
    let mode = query(
        "labels",
        "With `replace`, labels that the patch does not name are removed, and no label can be null.",
        mode,
    );
    let description = "Sets descriptive members as they become known.";
    returns_record(id.write_body("patchStream", "Change a record", description, changes).parameter(mode))
}

fn unregister(id: Id) -> OperationBuilder {
    let last = json_response("The last record.", schema("Stream"), Some(record()));
    let reason = limited("A reason.", MAX_STRING_BYTES).examples(["over"]);
    id.write("unregisterStream", "Unregister a stream", "Ends a stream when its publisher disconnects.")
        .parameter(query("reason", "Why the stream ended; `end_reason` of its last record.", reason))
        .parameter(idempotency_key())
        .parameter(prefer(
            "return=representation",
            "With `return=representation`, the response is 200 with the last record.",
        ))
        .response("200", last)
        .response("204", response("The stream was unregistered."))
}

fn heartbeat(id: Id) -> OperationBuilder {
    id.write("sendHeartbeat", "Send a heartbeat", "Renews the time to live. Needs no body.")
        .response("204", response("The stream is live."))
}

fn status(id: Id) -> OperationBuilder {
    let new = body(&[JSON], "NewStatus", "The status.", json!({ "status": "active" }));
    id.write_body("setStatus", "Set the status", "", new).response("204", response("The status was set."))
}

fn statistics(id: Id) -> OperationBuilder {
    let example =
        json!({ "bytes_received": 625_000, "packets_received": 475, "packets_lost": 2, "bitrate": 5_000_000 });
    let new = body(&[JSON], "Statistics", "The statistics.", example);
    id.write_body("setStatistics", "Report statistics", "A report also counts as a heartbeat.", new)
        .response("204", response("The statistics were set."))
}
