//! Operations on the change feed.

use axum::http::Method;
use serde_json::json;
use stream_registry::http::sse::EVENT_STREAM;
use stream_registry::http::wire::{DEFAULT_HISTORY, MAX_LIMIT};
use stream_registry::stream::limits::MAX_STRING_BYTES;
use utoipa::openapi::ContentBuilder;
use utoipa::openapi::path::OperationBuilder;

use super::shared::record;
use super::{CHANGES, Operation, of_store, operation, with};
use crate::server::openapi::build::{header, integer, limited, query, schema};
use crate::server::openapi::responses::{json as json_response, response};
use crate::server::params::{MAX_EVENTS, MAX_WAIT_MS};

pub(super) fn all() -> Vec<Operation> {
    vec![(Method::GET, "/api/v1/events", events()), (Method::GET, "/api/v1/history", history())]
}

fn events() -> OperationBuilder {
    let description = "\
        Server-sent events (HTML Living Standard, section 9.2) without end. The field `data` of each event is an `Event` as \
        JSON on one line, and `id` is its revision. The first event is `alive`.\n\nAfter a lost connection, continue with \
        the header `Last-Event-ID`, as browsers do. With `limit` or `wait_ms`, the response ends, so that a client without \
        support for server-sent events can poll: it continues from the last `id`.";
    let frame =
        "id: 18c1f2-8\ndata: {\"event\":\"status\",\"revision\":\"18c1f2-8\",\"stream\":{\"id\":\"cam1\",…}}\n\n";
    // OpenAPI 3.1 has no keyword for the events of a stream, so by convention this is the schema of one event.
    let content = ContentBuilder::new().schema(Some(schema("ServerSentEvent"))).example(Some(frame.into())).build();
    let parameters = vec![
        query(
            "from",
            "Starts after this revision, or with `oldest` at the oldest event that is kept. By default, starts now.",
            schema("Revision"),
        ),
        query("limit", "The response ends after this many events.", integer("Number of events.", 1, MAX_EVENTS)),
        query(
            "wait_ms",
            "The response ends after this time, in milliseconds.",
            integer("Milliseconds.", 1, MAX_WAIT_MS),
        ),
        header(
            "Last-Event-ID",
            "Revision of the last event that the client received. Overrides `from`.",
            schema("LastEventId"),
        ),
    ];
    with(of_store(operation("watchEvents", CHANGES, "Follow all changes", description)), parameters)
        .response("200", response("The events.").content(EVENT_STREAM, content))
}

fn history() -> OperationBuilder {
    let limit = integer("Number of streams.", 1, MAX_LIMIT.into()).default(Some(DEFAULT_HISTORY.into()));
    let node = limited("Name of a node.", MAX_STRING_BYTES);
    let example = json!({ "ended": [{
        "event": "unregistered", "revision": "18c1f2-9", "as_of": "2026-11-22T14:10:00.000000000Z", "reason": "over",
        "duration_ms": 109_072, "stream": record(),
    }] });
    let description = "Returns ended streams that are still in the change feed, the latest first.";
    let parameters = vec![
        query("limit", "Maximum number of streams.", limit),
        query("id", "Only the stream with this id.", schema("StreamId")),
        query("type", "Only streams of this type.", schema("StreamType")),
        query("node", "Only streams of this node; empty for streams without a node.", node),
    ];
    with(of_store(operation("readHistory", CHANGES, "List ended streams", description)), parameters)
        .response("200", json_response("The ended streams.", schema("History"), Some(example)))
}
