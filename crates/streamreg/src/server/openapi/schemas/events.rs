//! Schemas of the events of the change feed.

use stream_registry::http::wire::JSON;
use utoipa::openapi::ObjectBuilder;
use utoipa::openapi::schema::{AnyOfBuilder, OneOfBuilder};

use crate::server::openapi::build::{AnySchema, Members, count, integer, object, schema, string, time, word};

/// Largest number of shards of a registry.
const MAX_SHARDS: u64 = 64;

pub(super) fn all() -> Vec<(&'static str, AnySchema)> {
    vec![
        ("ServerSentEvent", server_sent_event().into()),
        ("Event", event().into()),
        ("ChangedEvent", changed().into()),
        ("EndedEvent", ended().into()),
        ("ResyncEvent", resync().into()),
        ("AliveEvent", alive().into()),
        ("StreamReference", reference().into()),
    ]
}

fn server_sent_event() -> ObjectBuilder {
    let data = string("An `Event` as JSON.").content_media_type(JSON).content_schema(Some(schema("Event")));
    let id = string("Revision of the event.");
    object("One event of the stream.", vec![("id", id.into()), ("data", data.into())], vec![])
}

fn event() -> OneOfBuilder {
    let kinds = ["ChangedEvent", "EndedEvent", "ResyncEvent", "AliveEvent"];
    let event = OneOfBuilder::new().description(Some("The data of one server-sent event, as JSON."));
    kinds.into_iter().fold(event, |event, kind| event.item(schema(kind)))
}

/// Returns the members that every event has.
fn named(words: &[&'static str], what_to_do: &str) -> Members {
    vec![("event", word(what_to_do, words.iter().copied()).into()), ("revision", schema("Revision"))]
}

fn changed() -> ObjectBuilder {
    let words = ["registered", "updated", "status", "patched", "taken_over"];
    let required =
        [named(&words, "The kind of change. Replace or insert the stream."), vec![("stream", schema("Stream"))]];
    object("A live stream changed. Heartbeats and statistics are not events.", required.concat(), vec![])
}

fn ended() -> ObjectBuilder {
    let stream = AnyOfBuilder::new().item(schema("Stream")).item(schema("StreamReference"));
    let required =
        [named(&["unregistered", "expired"], "How the stream ended. Remove it."), vec![("stream", stream.into())]];
    let optional = vec![
        ("as_of", time("When the stream ended. Missing if the last record is unknown.").into()),
        ("reason", string("The reason that was given when the stream was unregistered.").into()),
        ("duration_ms", count("How long the stream existed, in milliseconds. Only in a history.").into()),
    ];
    object("A stream ended. `stream` is its last record.", required.concat(), optional)
}

fn resync() -> ObjectBuilder {
    let optional = vec![
        (
            "shard",
            integer("Number of the shard whose events were lost; missing if all were.", 0, MAX_SHARDS - 1).into(),
        ),
        ("shards", integer("Number of all shards.", 1, MAX_SHARDS).into()),
    ];
    let what_to_do = "Events may have been lost. Take a new snapshot, and continue from its revision.";
    object("Events may have been lost.", named(&["resync"], what_to_do), optional)
}

fn alive() -> ObjectBuilder {
    object(
        "Nothing happened for 10 s, or the connection has just begun.",
        named(&["alive"], "Nothing to do. The revision is a position from which to resume."),
        vec![],
    )
}

fn reference() -> ObjectBuilder {
    object("A stream of which only the id is known.", vec![("id", schema("StreamId"))], vec![])
}
