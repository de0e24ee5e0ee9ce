//! The fields of paths and connections.

use std::collections::BTreeMap;

use stream_registry::StreamType;

use super::Table;
use crate::model::{Counters, Gauges, Item, Media, Name};
use crate::servers::json::Object;
use crate::servers::{fields, words};

/// Returns whether a publisher or a pulled source feeds the path. Returns `None` if the path lacks these fields.
pub(super) fn is_live(path: &Object<'_>) -> Option<bool> {
    // A pull that fails is online but not available. The filler of `alwaysAvailable` is available but has no source.
    // Old versions have `ready` only.
    Some(
        !path.is_null("source")?
            && path.bool("available").or(path.bool("ready"))?
            && path.bool("online").unwrap_or(true),
    )
}

/// A stream, with the list and the id of its publisher's connection.
pub(super) type Found = (Item, Option<(Table, String)>);

/// Reads a live path, and finds the list and the id of the publisher's connection. Returns `None` if the stream has no
/// name or no session.
pub(super) fn item(name: &str, path: &Object<'_>) -> Option<Found> {
    let name = Name::from_path(name);
    if name.name.is_empty() {
        return None;
    }
    let source = path.object("source")?;
    let source_type = source.string("type").unwrap_or_default();
    let id = source.string("id")?;
    let (session, table) = if id.is_empty() {
        // A source that the server pulls has no id.
        (path.id("availableTime").or_else(|| path.id("readyTime"))?, None)
    } else {
        (id.clone(), connections_of(&source_type))
    };
    // The path counts bytes of tracks and a connection counts bytes of the transport. The two must not be mixed, so the
    // path's bytes are used only for sources that are in no list of connections.
    let bytes = if table.is_none() { path.first_count(&["inboundBytes", "bytesReceived"]) } else { None };
    let protocol = protocol(&source_type);
    let item = Item {
        media: media(path),
        counters: Counters { bytes, ..Counters::default() },
        gauges: Gauges { viewers: path.array("readers").map(|all| all.len() as u64), ..Gauges::default() },
        labels: labels(protocol),
        ..fields::item(name, session, stream_type(&source_type))
    };
    Some((item, table.map(|table| (table, id))))
}

/// Adds the address and the counters of the publisher's connection.
pub(super) fn add_connection(item: &mut Item, connection: &Object<'_>) {
    item.source_addr = connection.string("remoteAddr").unwrap_or_default();
    item.counters = Counters {
        bytes: connection.first_count(&["inboundBytes", "bytesReceived"]),
        packets: connection.first_count(&["packetsReceived", "inboundRTPPackets", "rtpPacketsReceived"]),
        // `packetsReceivedLoss` also counts packets that the publisher retransmitted in time.
        lost: connection.first_count(&["packetsReceivedDrop", "inboundRTPPacketsLost", "rtpPacketsLost"]),
        retransmitted: connection.count("packetsReceivedRetrans"),
        dropped: connection.count("packetsReceivedBelated"),
    };
    item.gauges.bitrate = words::bitrate(connection.number("mbpsReceiveRate"), 1e6);
    item.gauges.rtt_ms = connection.number("msRTT");
}

/// Returns the list of the connections of this type of source. Returns `None` for sources that are in no such list,
/// e.g. pulls.
fn connections_of(source_type: &str) -> Option<Table> {
    Some(match source_type {
        "rtmpConn" => "rtmpconns",
        "rtmpsConn" => "rtmpsconns",
        "rtspSession" => "rtspsessions",
        "rtspsSession" => "rtspssessions",
        "srtConn" => "srtconns",
        "webRTCSession" => "webrtcsessions",
        _ => return None,
    })
}

/// Returns the type of the stream that a type of source publishes.
pub(super) fn stream_type(source_type: &str) -> StreamType {
    words::stream_type(match protocol(source_type) {
        "rtmps" => "rtmp",
        "rtsps" => "rtsp",
        other => other,
    })
}

/// Returns the protocol of a type of source, e.g. `rtsps` for `rtspsSession`.
pub(super) fn protocol(source_type: &str) -> &str {
    let stem =
        ["Conn", "Session", "Source"].iter().find_map(|end| source_type.strip_suffix(end)).unwrap_or(source_type);
    if stem == "webRTC" { "webrtc" } else { stem }
}

pub(super) fn labels(protocol: &str) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::from([("server".to_owned(), "mediamtx".to_owned())]);
    if !protocol.is_empty() {
        labels.insert("proto".to_owned(), protocol.to_owned());
    }
    if ["rtmps", "rtsps", "webrtc"].contains(&protocol) {
        labels.insert("encrypted".to_owned(), "true".to_owned());
    }
    labels
}

/// Returns the first video track and the first audio track. Old versions report only the names of the codecs.
fn media(path: &Object<'_>) -> Media {
    let mut media = Media::default();
    let tracks = path.array("tracks2").unwrap_or_default().into_iter().filter_map(Object::read).collect::<Vec<_>>();
    for track in &tracks {
        let codec = track.string("codec").unwrap_or_default();
        if is_video(&codec) && media.video_codec.is_empty() {
            let size = track.object("codecProps");
            let side = |name| size.as_ref().and_then(|size| size.count(name));
            media.resolution = words::resolution(side("width"), side("height"));
        }
        add_codec(&mut media, &codec);
    }
    for track in path.array("tracks").unwrap_or_default() {
        add_codec(&mut media, &serde_json::from_str::<String>(track).unwrap_or_default());
    }
    media
}

fn add_codec(media: &mut Media, codec: &str) {
    let field = if is_video(codec) {
        &mut media.video_codec
    } else if is_audio(codec) {
        &mut media.audio_codec
    } else {
        return;
    };
    if field.is_empty() {
        words::codec(codec).clone_into(field);
    }
}

fn is_video(codec: &str) -> bool {
    codec.ends_with(" Video") || ["AV1", "VP9", "VP8", "H265", "H264", "M-JPEG"].contains(&codec)
}

fn is_audio(codec: &str) -> bool {
    let names = ["Opus", "FLAC", "Vorbis", "AC3", "Speex", "G726", "G722", "G711", "LPCM"];
    codec.contains(" Audio") || names.contains(&codec)
}
