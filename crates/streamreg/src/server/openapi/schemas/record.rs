//! Schemas of the record of a stream.

use stream_registry::stream::limits::{
    MAX_COUNT, MAX_LABEL_NAME_BYTES, MAX_LABEL_VALUE_BYTES, MAX_LABELS, MAX_STRING_BYTES,
};
use utoipa::openapi::schema::{AdditionalProperties, Object, SchemaType, Type};
use utoipa::openapi::{ObjectBuilder, RefOr, Schema};

use super::values;
use crate::server::openapi::build::{
    AnySchema, Members, count, limited, object, open, or_null, rate, schema, string, time,
};

pub(super) fn all() -> Vec<(&'static str, AnySchema)> {
    vec![("Stream", stream().into()), ("NewStream", new_stream().into())]
}

/// The counters and the rates of a record, each with its description.
pub(super) const COUNTS: [(&str, &str); 7] = [
    ("bitrate", "Bit rate in bits per second."),
    ("bytes_received", "Bytes received since the stream began."),
    ("packets_received", "Packets received since the stream began."),
    ("packets_lost", "Packets lost since the stream began. A negative number counts as 0 (RFC 3550, 6.4.1)."),
    ("packets_retransmitted", "Packets that the publisher retransmitted since the stream began."),
    ("packets_dropped", "Packets that arrived too late and were dropped since the stream began."),
    ("viewers", "Current number of viewers."),
];
pub(super) const RATES: [(&str, &str); 3] = [
    ("frame_rate", "Frames per second; 0 if unknown."),
    ("rtt_ms", "Round-trip time in milliseconds."),
    ("jitter_ms", "Interarrival jitter in milliseconds (RFC 3550)."),
];

/// The strings of a record that are free text, each with its description.
const VIDEO_CODEC: (&str, &str) = ("video_codec", "Video codec, e.g. `HEVC`; empty if unknown.");
const RESOLUTION: (&str, &str) = ("resolution", "Width and height, e.g. `1920x1080`; empty if unknown.");
const AUDIO_CODEC: (&str, &str) = ("audio_codec", "Audio codec, e.g. `AAC`.");
const NODE: (&str, &str) = ("node", "The ingest node that owns the stream.");
const SOURCE_ADDR: (&str, &str) =
    ("source_addr", "Address of the publisher as `host:port`, with an IPv6 address in brackets; empty if unknown.");
const END_REASON: (&str, &str) = ("end_reason", "Why the stream ended. Only in the last record of a stream.");

/// Returns the schema of a record in a response. Other programs can store any string in the same store, so its strings
/// have no limits.
fn stream() -> ObjectBuilder {
    let text = |(name, description): (&'static str, &str)| (name, string(description).into());
    let all_counts: Members = COUNTS.map(|(name, description)| (name, count(description).into())).into();
    let (required_counts, optional_counts) = all_counts.split_at(4);
    let all_rates: Members = RATES.map(|(name, description)| (name, rate(description).into())).into();
    let (frame_rate, optional_rates) = all_rates.split_at(1);
    let required = [
        vec![
            ("id", schema("StreamId")),
            text((
                "type",
                "Protocol of the publisher, e.g. `srt`. Empty if another program stored an unreadable value.",
            )),
            text(SOURCE_ADDR),
            text(("status", "Status, e.g. `active`. Empty if another program stored an unreadable value.")),
            ("created_at", time("When the stream was registered, by the clock of the store.").into()),
            ("last_heartbeat", time("When the record was last written, by the clock of the store.").into()),
            text(VIDEO_CODEC),
            text(RESOLUTION),
        ],
        required_counts.to_vec(),
        frame_rate.to_vec(),
    ];
    let labels = labels(string("Value of the label."), "Labels.");
    let optional = [
        vec![text(NODE), ("epoch", schema("Epoch")), ("labels", labels.into()), text(AUDIO_CODEC)],
        optional_rates.to_vec(),
        optional_counts.to_vec(),
        vec![text(END_REASON)],
    ];
    open(object(
        "A live stream. Members that other programs have added to the record are kept.",
        required.concat(),
        optional.concat(),
    ))
}

/// Returns the schema of a record in a request.
fn new_stream() -> ObjectBuilder {
    let text =
        |(name, description): (&'static str, &str)| (name, or_null(limited(description, MAX_STRING_BYTES)).into());
    let required = vec![
        ("type", schema("StreamType")),
        (SOURCE_ADDR.0, limited(SOURCE_ADDR.1, MAX_STRING_BYTES).examples(["203.0.113.7:40112"]).into()),
    ];
    let labels = or_null(given_labels(limited("Value of the label.", MAX_LABEL_VALUE_BYTES), "Labels."));
    let optional = [
        vec![
            ("id", or_null(values::stream_id()).into()),
            ("status", or_null(values::stream_status()).into()),
            ("created_at", or_null(time("Only for `recover=true`: the time of the lost record.")).into()),
            ("last_heartbeat", or_null(time("Ignored: the store sets it.")).into()),
            text(VIDEO_CODEC),
            text(RESOLUTION),
            text(AUDIO_CODEC),
            text(NODE),
            ("labels", labels.into()),
            ("epoch", or_null(values::epoch()).into()),
            text(END_REASON),
        ],
        given_statistics(),
    ];
    open(object(
        "A record in a request, at most 64 KiB and 64 nested levels. A member that is missing or null is empty or 0. \
         Other members are stored unchanged.",
        required,
        optional.concat(),
    ))
}

/// Returns the schemas of statistics in a request. A fraction in the place of an integer is rounded.
pub(super) fn given_statistics() -> Members {
    let number = |description: &str| {
        let number = Object::builder().schema_type(SchemaType::from_iter([Type::Number, Type::Null]));
        number.description(Some(description))
    };
    let counts = COUNTS.map(|(name, description)| {
        let count = number(description).maximum(usize::try_from(MAX_COUNT).ok());
        // A receiver that gets duplicates can report a negative loss.
        let count = if name == "packets_lost" { count } else { count.minimum(Some(0_usize)) };
        (name, count.into())
    });
    let rates = RATES.map(|(name, description)| (name, or_null(rate(description)).into()));
    counts.into_iter().chain(rates).collect()
}

fn labels(value: ObjectBuilder, description: &str) -> ObjectBuilder {
    let labels = Object::builder().schema_type(Type::Object).description(Some(description));
    labels.additional_properties(Some(AdditionalProperties::RefOr(RefOr::<Schema>::from(value))))
}

/// Returns the schema of labels in a request.
pub(super) fn given_labels(value: ObjectBuilder, description: &str) -> ObjectBuilder {
    let name = limited("Name of the label.", MAX_LABEL_NAME_BYTES).min_length(Some(1));
    labels(value, description).max_properties(Some(MAX_LABELS)).property_names(Some(name))
}

/// Returns the schemas of the descriptive strings that a patch can change.
pub(super) fn patched_strings() -> Members {
    [VIDEO_CODEC, RESOLUTION, AUDIO_CODEC, NODE]
        .map(|(name, description)| (name, or_null(limited(description, MAX_STRING_BYTES)).into()))
        .into()
}
