//! Schemas of lists, snapshots, summaries and histories.

use stream_registry::stream::limits::MAX_COUNT;
use utoipa::openapi::ObjectBuilder;

use crate::server::openapi::build::{
    AnySchema, Members, count, integer, list, object, or_null, schema, schema_or_null, string, word,
};

pub(super) fn all() -> Vec<(&'static str, AnySchema)> {
    vec![
        ("Page", page().into()),
        ("Snapshot", snapshot().into()),
        ("Summary", summary().into()),
        ("SummaryGroup", group().into()),
        ("History", history().into()),
        ("TargetGroup", target_group().into()),
    ]
}

fn unreadable() -> Members {
    vec![("unreadable", integer("Number of records that cannot be decoded. Missing if 0.", 1, MAX_COUNT).into())]
}

/// Returns the schema of a sum, which can be larger than one counter and than a signed integer of 64 bits.
fn sum(description: &str) -> AnySchema {
    integer(description, 0, u64::MAX).format(None).into()
}

fn page() -> ObjectBuilder {
    object(
        "A page of a list.",
        vec![
            ("streams", list("The streams of this page.", schema("Stream")).into()),
            ("next_cursor", schema_or_null("Cursor")),
            ("total", count("Number of streams that match, on all pages.").into()),
            ("revision", schema_or_null("Revision")),
        ],
        unreadable(),
    )
}

fn snapshot() -> ObjectBuilder {
    object(
        "All live streams at one moment.",
        vec![("streams", list("All live streams.", schema("Stream")).into()), ("revision", schema_or_null("Revision"))],
        unreadable(),
    )
}

fn summary() -> ObjectBuilder {
    object(
        "Numbers of live streams in groups.",
        vec![
            ("by", word("The member by which streams are grouped.", ["status", "type", "node"]).into()),
            ("total", count("Number of streams in all groups.").into()),
            ("bitrate", sum("Sum of all bit rates, in bits per second.")),
            ("groups", list("The groups, by key. Streams without a node come first.", schema("SummaryGroup")).into()),
        ],
        vec![],
    )
}

fn group() -> ObjectBuilder {
    let key = or_null(string("Status, type or node; null for streams without a node."));
    object(
        "Streams with the same status, type or node.",
        vec![
            ("key", key.into()),
            ("streams", count("Number of streams.").into()),
            ("bitrate", sum("Sum of the bit rates, in bits per second.")),
            ("packets_received", sum("Sum of the packets received.")),
            ("packets_lost", sum("Sum of the packets lost.")),
        ],
        vec![],
    )
}

fn history() -> ObjectBuilder {
    let ended = list("The streams, the latest first.", schema("EndedEvent"));
    object("Streams that have ended.", vec![("ended", ended.into())], vec![])
}

fn target_group() -> ObjectBuilder {
    let targets = list("The address of the node.", string("Address.")).min_items(Some(1)).max_items(Some(1));
    let labels = object(
        "Labels of the target.",
        vec![
            ("__meta_streamreg_node", string("Name of the node.").into()),
            ("__meta_streamreg_streams", string("Number of live streams of the node.").into()),
        ],
        vec![],
    );
    object(
        "An ingest node, as a target of Prometheus.",
        vec![("targets", targets.into()), ("labels", labels.into())],
        vec![],
    )
}
