//! Operations on many streams.

use axum::http::Method;
use serde_json::json;
use stream_registry::http::wire::{JSON, MAX_IDS, MAX_STALE_MS};
use utoipa::openapi::path::OperationBuilder;
use utoipa::openapi::response::ResponseBuilder;

use super::shared::{filters, force, idempotency_key, no, page, record};
use super::{Operation, STREAMS, of_store, one_stream, operation, with};
use crate::server::openapi::build::{body, header, integer, list, query, schema, word};
use crate::server::openapi::responses::{json as json_response, location, problems};

pub(super) fn all() -> Vec<Operation> {
    vec![
        (Method::GET, "/api/v1/streams", list_streams()),
        (Method::POST, "/api/v1/streams", register()),
        (Method::GET, "/api/v1/summary", summarise()),
        (Method::GET, "/api/v1/snapshot", snapshot()),
        (Method::POST, "/api/v1/heartbeats", heartbeats()),
    ]
}

fn list_streams() -> OperationBuilder {
    let example = json!({ "streams": [record()], "next_cursor": null, "total": 1, "revision": "18c1f2-7" });
    let operation = operation("listStreams", STREAMS, "List streams", "Returns a page of live streams.");
    let ids = list("Ids of streams.", schema("StreamId")).max_items(Some(MAX_IDS));
    let ids = query(
        "id",
        "Only this stream. Can occur several times, but not with other parameters. The page has the streams in the \
         same order, without those that are not live.",
        ids,
    );
    with(of_store(operation), page())
        .parameter(ids)
        .response("200", json_response("A page.", schema("Page"), Some(example)))
}

fn register() -> OperationBuilder {
    let policy = word("A policy.", ["reject", "create_only", "take_over", "take_over_if_stale"]);
    let same = word("What identifies a publisher.", ["address", "host", "node"]);
    let example = json!({ "id": "cam1", "type": "srt", "source_addr": "203.0.113.7:40112" });
    let new = body(&[JSON], "NewStream", "The record. Without an id, the server generates one.", example);
    let registered = |description: &str, outcome: &str| -> ResponseBuilder {
        let example = json!({ "stream": record(), "outcome": outcome, "epoch": null, "ttl_ms": 300_000 });
        let response = json_response(description, schema("Registered"), Some(example)).header("Location", location());
        one_stream::links().into_iter().fold(response, |response, (name, link)| response.link(name, link))
    };
    let operation = operation(
        "registerStream",
        STREAMS,
        "Register a stream",
        "If another publisher has the id, the result depends on `on_conflict`.",
    );
    let parameters = vec![
        query(
            "on_conflict",
            "What to do if a live stream has the id. `reject` renews a stream of the same publisher, and rejects any other. \
             `create_only` rejects both. `take_over_if_stale` needs `stale_ms`.",
            policy.default(Some("reject".into())),
        ),
        query(
            "stale_ms",
            "Time since the last heartbeat, in milliseconds, after which `take_over_if_stale` takes a stream over.",
            integer("Milliseconds.", 0, MAX_STALE_MS),
        ),
        query(
            "same_source",
            "What identifies the same publisher: the address, the host of the address, or the node.",
            same.default(Some("address".into())),
        ),
        query("lease", "Gives the stream an epoch, which later writes need.", no("Whether to lease the stream.")),
        query(
            "recover",
            "Registers a leased stream again that the store has lost. Needs the header `Stream-Epoch`, and `created_at` in \
             the record.",
            no("Whether to recover the stream."),
        ),
        header("Stream-Epoch", "The epoch of the lease to recover. Only with `recover=true`.", schema("Epoch")),
        idempotency_key(),
    ];
    problems(with(of_store(operation), parameters), &[404, 408, 409, 413, 415, 422])
        .request_body(Some(new))
        .response("200", registered("The stream was renewed or taken over.", "renewed"))
        .response("201", registered("The stream is new.", "created"))
}

fn summarise() -> OperationBuilder {
    let by = word("A member of the record.", ["status", "type", "node"]).default(Some("status".into()));
    let example = json!({
        "by": "status", "total": 1, "bitrate": 5_000_000,
        "groups": [{ "key": "active", "streams": 1, "bitrate": 5_000_000, "packets_received": 42_700, "packets_lost": 3 }],
    });
    let operation = operation("summariseStreams", STREAMS, "Count streams", "Counts live streams in groups.");
    with(of_store(operation), filters())
        .parameter(query("by", "Groups streams by this member.", by))
        .response("200", json_response("The groups.", schema("Summary"), Some(example)))
}

fn snapshot() -> OperationBuilder {
    let operation = operation(
        "takeSnapshot",
        STREAMS,
        "Read all streams at once",
        "Returns an atomic snapshot. To follow all later changes, read the events from its revision.",
    );
    let example = json!({ "streams": [record()], "revision": "18c1f2-7" });
    of_store(operation).response("200", json_response("All live streams.", schema("Snapshot"), Some(example)))
}

fn heartbeats() -> OperationBuilder {
    let example = json!({ "streams": [{ "id": "cam9" }, { "id": "cam1", "stats": { "bitrate": 5_000_000 } }] });
    let batch = body(&[JSON], "Batch", "The streams.", example);
    let result = json!({ "unknown": ["cam9"], "not_holder": [], "failed": [] });
    let operation = operation(
        "sendHeartbeats",
        STREAMS,
        "Send heartbeats of many streams",
        "An invalid item does not affect the other items: the response is 200, and lists the item in `failed`.",
    );
    problems(of_store(operation), &[408, 413, 415])
        .parameter(force())
        .request_body(Some(batch))
        .response("200", json_response("The streams that failed.", schema("BatchResult"), Some(result)))
}
