//! go2rtc: `/api/streams`. It has no hooks.

use super::json::Object;
use super::{Answer, List, ReadError, Step, fields, one_request, words};
use crate::model::{Item, Name, Snapshot};
use crate::reconcile::Profile;

/// How go2rtc behaves. It accepts a second publisher; the first one is shown as long as it lives.
pub const PROFILE: Profile = fields::PROFILE;

/// Lists the streams with a producer. Streams that are named after their source are left out.
#[derive(Clone, Copy, Debug, Default)]
pub struct StreamList;

impl List for StreamList {
    fn step(&mut self, answers: &[Answer]) -> Result<Step, ReadError> {
        one_request::step("/api/streams", answers, read_streams)
    }
}

fn read_streams(body: &str) -> Result<Snapshot, ReadError> {
    let streams =
        Object::read(body).ok_or_else(|| ReadError::new("expected an object of streams; check the URL of the API"))?;
    let mut snapshot = Snapshot { complete: true, ..Snapshot::default() };
    for name in streams.names().filter(|name| !is_source(name)) {
        match streams.object(name).and_then(|stream| read_stream(name, &stream)) {
            Some(item) => snapshot.items.extend(item),
            // The stream may still be live, so this list must not end it.
            None => snapshot.complete = false,
        }
    }
    Ok(snapshot)
}

/// Returns whether the name is a source, which may contain a password. If a viewer opens a source that is not
/// configured, go2rtc uses the source as the name of the stream.
fn is_source(name: &str) -> bool {
    name.contains("://") || name.contains('?')
}

/// Reads one stream. Returns `Some(None)` if no producer runs, and `None` if the stream cannot be read.
fn read_stream(name: &str, stream: &Object<'_>) -> Option<Option<Item>> {
    let producers = stream.elements("producers")?;
    // A producer without an id is configured but not running. The lowest id belongs to the oldest producer.
    let running = producers.into_iter().filter_map(Object::read);
    let first = running.filter_map(|producer| Some((producer.count("id")?, producer))).min_by_key(|(id, _)| *id);
    Some(first.map(|(id, producer)| {
        let name = Name { name: name.to_owned(), ..Name::default() };
        let mut item = live_stream(name, id, &producer);
        let viewers = stream.array("consumers").map_or(0, |consumers| consumers.len());
        item.gauges.viewers = u64::try_from(viewers).ok();
        item
    }))
}

/// Reads a running producer. Its `url`, `source` and `sdp` may contain passwords and are never read.
fn live_stream(name: Name, id: u64, producer: &Object<'_>) -> Item {
    let protocol = producer.word("protocol").or_else(|| producer.word("format_name")).unwrap_or_default();
    let protocol = protocol.split('+').next().unwrap_or_default();
    let mut item = fields::item(name, id.to_string(), words::stream_type(protocol));
    item.source_addr = producer.string("remote_addr").unwrap_or_default();
    item.counters.bytes = producer.count("bytes_recv");
    let receivers = producer.array("receivers").unwrap_or_default();
    let receivers: Vec<Object<'_>> = receivers.into_iter().filter_map(Object::read).collect();
    let packets = receivers.iter().filter_map(|receiver| receiver.count("packets"));
    item.counters.packets = packets.reduce(u64::saturating_add);
    let codecs = receivers.iter().filter_map(|receiver| {
        let codec = receiver.object("codec")?;
        Some((codec.word("codec_type")?, codec.word("codec_name")?))
    });
    // Until the first viewer connects, RTMP producers have no receivers, only descriptions: `video, recvonly, H264`.
    let medias = producer.strings("medias");
    let described = medias.iter().filter_map(|media| {
        let mut parts = media.split(", ");
        let kind = parts.next()?;
        Some((kind.to_owned(), parts.nth(1)?.split('/').next()?.to_owned()))
    });
    for (kind, codec) in codecs.chain(described) {
        let known = match kind.as_str() {
            "video" => &mut item.media.video_codec,
            "audio" => &mut item.media.audio_codec,
            _ => continue,
        };
        if known.is_empty() {
            *known = words::codec(&codec).to_owned();
        }
    }
    item
}
