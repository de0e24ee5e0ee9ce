//! Schemas of request bodies other than records, and of the responses to writes.

use stream_registry::stream::limits::{MAX_LABEL_VALUE_BYTES, MAX_WRITES};
use utoipa::openapi::ObjectBuilder;

use super::{record, values};
use crate::server::openapi::build::{
    AnySchema, closed, flag, integer, limited, list, object, or_null, rate, schema, schema_or_null, string, word,
};

pub(super) fn all() -> Vec<(&'static str, AnySchema)> {
    vec![
        ("NewStatus", closed(object("A status.", vec![("status", schema("StreamStatus"))], vec![])).into()),
        ("Statistics", statistics().into()),
        ("StreamPatch", patch().into()),
        ("Batch", batch().into()),
        ("BatchItem", batch_item().into()),
        ("BatchResult", batch_result().into()),
        ("FailedItem", failed_item().into()),
        ("Registered", registered().into()),
    ]
}

fn statistics() -> ObjectBuilder {
    closed(object(
        "Statistics. A member that is missing or null keeps its value. Without any member, this is a heartbeat.",
        vec![],
        record::given_statistics(),
    ))
}

fn patch() -> ObjectBuilder {
    let value = or_null(limited("Value of the label; null removes it.", MAX_LABEL_VALUE_BYTES));
    let labels =
        record::given_labels(value, "Labels, which are merged with the present ones; null removes all labels.");
    let mut members = record::patched_strings();
    members.push(("frame_rate", or_null(rate("Frames per second; 0 if unknown.")).into()));
    members.push(("labels", or_null(labels).into()));
    closed(object("A merge patch (RFC 7396). The value null clears a member.", vec![], members))
}

fn batch() -> ObjectBuilder {
    let streams = list("The streams, each at most once.", schema("BatchItem")).max_items(Some(MAX_WRITES));
    closed(object("A batch of heartbeats and statistics, at most 1 MiB.", vec![("streams", streams.into())], vec![]))
}

fn batch_item() -> ObjectBuilder {
    closed(object(
        "A heartbeat of a stream, with its statistics. An invalid item gets an entry in `failed` of the response.",
        vec![("id", schema("StreamId"))],
        vec![("epoch", or_null(values::epoch()).into()), ("stats", schema_or_null("Statistics"))],
    ))
}

fn batch_result() -> ObjectBuilder {
    let ids = |description| AnySchema::from(list(description, schema("StreamId")));
    object(
        "The streams of a batch that failed. If all lists are empty, all heartbeats were applied.",
        vec![
            ("unknown", ids("Ids that are not live. Register these streams again.")),
            ("not_holder", ids("Ids of leased streams whose epoch was missing or is no longer valid.")),
            ("failed", list("Streams with other errors.", schema("FailedItem")).into()),
        ],
        vec![],
    )
}

fn failed_item() -> ObjectBuilder {
    object(
        "An item of a batch that failed.",
        vec![
            ("code", schema("ProblemCode")),
            ("detail", string("What is wrong, and what to do about it.").into()),
            ("retryable", flag("Whether the same item may succeed later.").into()),
            ("may_have_applied", flag("Whether the statistics may have been applied.").into()),
        ],
        vec![
            ("id", schema("StreamId")),
            ("index", integer("Position of an invalid item in the request, from 0.", 0, MAX_WRITES as u64 - 1).into()),
            ("heartbeat_applied", flag("True if an invalid item was applied as a heartbeat.").into()),
            ("partial", flag("True if only a part of a Redis Cluster is down.").into()),
        ],
    )
}

fn registered() -> ObjectBuilder {
    object(
        "The result of a registration.",
        vec![
            ("stream", schema("Stream")),
            ("outcome", word("How the stream was registered.", ["created", "renewed", "taken_over"]).into()),
            ("epoch", or_null(values::epoch()).into()),
            ("ttl_ms", super::service::ttl().into()),
        ],
        vec![],
    )
}
