//! The metrics of single streams, for `/metrics/streams`.

use stream_registry::{Page, Stream, Timestamp};

use super::text::{Family, Text};

const RATE: Family = Family::gauge(
    "streamreg_stream_bytes_per_second",
    "Bit rate as the ingest node reported it, in bytes as is usual in Prometheus.",
);
const BYTES: Family =
    Family::counter("streamreg_stream_received_bytes_total", "Bytes received since the stream began.");
const PACKETS: Family =
    Family::counter("streamreg_stream_received_packets_total", "Packets received since the stream began.");
const LOST: Family = Family::counter("streamreg_stream_lost_packets_total", "Packets lost since the stream began.");
const VIEWERS: Family = Family::gauge("streamreg_stream_viewers", "Viewers, if the ingest node reports them.");
const HEARTBEAT_AGE: Family =
    Family::gauge("streamreg_stream_heartbeat_age_seconds", "Time since the last write to the record.");
const OMITTED: Family =
    Family::gauge("streamreg_streams_omitted", "Matching streams that are not in this response because of its limit.");

/// Writes the metrics of the streams on a page.
pub(in crate::server) fn write(text: &mut Text, page: &Page, now: Timestamp) {
    family(text, page, &RATE, |stream| Some(stream.bitrate as f64 / 8.0));
    family(text, page, &BYTES, |stream| Some(stream.bytes_received));
    family(text, page, &PACKETS, |stream| Some(stream.packets_received));
    family(text, page, &LOST, |stream| Some(stream.packets_lost));
    family(text, page, &VIEWERS, |stream| stream.viewers);
    family(text, page, &HEARTBEAT_AGE, |stream| Some(now.since(stream.last_heartbeat).as_secs_f64()));
    text.single(&OMITTED, page.total.saturating_sub(page.streams.len() as u64));
}

fn family<T: std::fmt::Display>(text: &mut Text, page: &Page, family: &Family, value: impl Fn(&Stream) -> Option<T>) {
    text.begin(family);
    for stream in &page.streams {
        if let Some(value) = value(stream) {
            let node = stream.node.as_deref().unwrap_or_default();
            let labels = [("id", stream.id.as_str()), ("node", node), ("type", stream.kind.as_str())];
            text.sample(family, &labels, value);
        }
    }
}
