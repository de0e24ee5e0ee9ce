//! The fields of streams, clients and virtual hosts.

use std::collections::BTreeMap;

use stream_registry::StreamType;

use crate::model::{Item, Name};
use crate::servers::json::Object;
use crate::servers::{fields, words};

/// A live stream whose virtual host is known by its id only.
pub(super) struct Live {
    pub(super) item: Item,
    pub(super) vhost: String,
}

/// Returns the name of a virtual host as part of a stream's name. The default host is empty.
pub(super) fn vhost(name: &str) -> String {
    if name == "__defaultVhost__" { String::new() } else { name.to_owned() }
}

/// Returns the id of the client that publishes the stream; `Some(None)` if the stream has only players. Returns `None`
/// if the fields about the publisher are missing.
pub(super) fn publisher(stream: &Object<'_>) -> Option<Option<String>> {
    let publish = stream.object("publish")?;
    if publish.bool("active")? { publish.id("cid").map(Some) } else { Some(None) }
}

/// Reads a live stream. Returns `None` if the stream has no name or no virtual host.
pub(super) fn live(stream: &Object<'_>, session: String) -> Option<Live> {
    let name = name(&stream.string("app").unwrap_or_default(), &stream.string("name")?)?;
    let mut item = item(name, session, kind_of_url(&stream.string("tcUrl").unwrap_or_default()));
    item.gauges.bitrate = kbps(stream);
    item.gauges.viewers = stream.count("clients").map(|clients| clients.saturating_sub(1));
    if let Some(video) = stream.object("video") {
        item.media.video_codec = words::codec(&video.string("codec").unwrap_or_default()).to_owned();
        item.media.resolution = words::resolution(video.count("width"), video.count("height"));
    }
    if let Some(audio) = stream.object("audio") {
        item.media.audio_codec = words::codec(&audio.string("codec").unwrap_or_default()).to_owned();
    }
    Some(Live { item, vhost: stream.id("vhost")? })
}

/// Creates an item without measurements.
pub(super) fn item(name: Name, session: String, kind: StreamType) -> Item {
    let labels = BTreeMap::from([("server".to_owned(), "srs".to_owned()), ("app".to_owned(), name.app.clone())]);
    Item { labels, ..fields::item(name, session, kind) }
}

/// Returns the name of a stream of the default virtual host; `None` if the stream's own name is empty. Publishers add
/// tokens as a query, which is never part of a name.
pub(super) fn name(app: &str, name: &str) -> Option<Name> {
    let path = |text: &str| text.split('?').next().unwrap_or_default().to_owned();
    let name = Name { vhost: String::new(), app: path(app), name: path(name) };
    (!name.name.is_empty()).then_some(name)
}

/// Moves the item to this virtual host; the default host is empty.
pub(super) fn set_vhost(item: &mut Item, vhost: &str) {
    if !vhost.is_empty() {
        vhost.clone_into(&mut item.name.vhost);
        item.labels.insert("vhost".to_owned(), vhost.to_owned());
    }
}

/// Adds the address and the measurements of the publishing client. The measurements of the stream itself are sums over
/// all clients.
pub(super) fn add_client(item: &mut Item, client: &Object<'_>) {
    item.source_addr = client.string("ip").unwrap_or_default();
    item.counters.bytes = client.count("recv_bytes");
    item.gauges.bitrate = kbps(client).or(item.gauges.bitrate);
    let client_type = client.string("type").unwrap_or_default();
    item.kind = match client_type.strip_suffix("-publish") {
        Some("fmle" | "flash" | "haivision") => words::stream_type("rtmp"),
        Some("rtc") => words::stream_type("webrtc"),
        Some("srt") => words::stream_type("srt"),
        _ => return,
    };
}

/// Returns the bit rate over the last 30 s, in bits per second. The server reports 0 for the first 35 s.
fn kbps(object: &Object<'_>) -> Option<u64> {
    words::bitrate(object.object("kbps")?.number("recv_30s"), 1e3)
}

/// Returns the protocol of a publisher from the URL to which it connected.
pub(super) fn kind_of_url(url: &str) -> StreamType {
    words::stream_type(match url.split_once("://").map_or("", |(scheme, _)| scheme) {
        "rtmps" => "rtmp",
        "rtc" => "webrtc",
        scheme => scheme,
    })
}
