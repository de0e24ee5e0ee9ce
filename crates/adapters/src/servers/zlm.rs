//! ZLMediaKit: `getMediaList` of its API, and its hooks.
//!
//! The session is the time at which the server created the stream (`createStamp`). The stream outlives its publisher by
//! up to 15 s. A publisher that returns within this time continues the stream and its counters. The number of the
//! publisher's connection cannot be the session, because the server shows no number while the publisher is gone.

use std::collections::{BTreeMap, BTreeSet};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use stream_registry::Secret;

use super::json::{self, Object};
use super::{Answer, Hooks, List, ReadError, Step, fields, one_request, words};
use crate::model::{Counters, Event, Gauges, Item, ItemState, Name, Snapshot};
use crate::reconcile::Profile;

/// Upper bound of the streams whose schemas are remembered between hooks.
const MAX_STREAMS: usize = 10_000;

/// How ZLMediaKit behaves.
pub const PROFILE: Profile = fields::PROFILE;

/// Lists the streams.
#[derive(Clone, Debug, Default)]
pub struct MediaList {
    secret: Option<Secret>,
}

impl MediaList {
    /// Creates a list. `secret` is `api.secret` of the server's configuration.
    pub fn new(secret: Option<&str>) -> Self {
        Self { secret: secret.map(Secret::from) }
    }
}

impl List for MediaList {
    fn step(&mut self, answers: &[Answer]) -> Result<Step, ReadError> {
        let mut path = "/index/api/getMediaList".to_owned();
        if let Some(secret) = &self.secret {
            path.push_str("?secret=");
            path.extend(utf8_percent_encode(secret.reveal(), NON_ALPHANUMERIC));
        }
        one_request::step(&path, answers, read_media_list)
    }
}

fn read_media_list(body: &str) -> Result<Snapshot, ReadError> {
    let foreign = || ReadError::new("expected an answer of ZLMediaKit; check the URL of the API");
    let answer = Object::read(body).ok_or_else(foreign)?;
    match answer.integer("code") {
        Some(0) => {}
        Some(-100) => return Err(ReadError::new("the server rejects the secret; check api.secret")),
        Some(code) => return Err(ReadError::new(format!("the server reports error {code}; see its log"))),
        None => return Err(foreign()),
    }
    // Without any stream, the server leaves out `data`.
    let data = answer.elements("data").ok_or_else(foreign)?;
    // The preferred entry of each stream, with its rank.
    let mut streams: BTreeMap<Name, (usize, Object<'_>)> = BTreeMap::new();
    let mut complete = true;
    for entry in data {
        match Object::read(entry).and_then(|entry| Some((name(&entry)?, rank(&entry), entry))) {
            Some((name, rank, _)) if streams.get(&name).is_some_and(|(best, _)| *best <= rank) => {}
            Some((name, rank, entry)) => {
                streams.insert(name, (rank, entry));
            }
            None => complete = false,
        }
    }
    let items = streams.into_iter().map(|(name, (_, entry))| live_stream(name, &entry)).collect();
    Ok(Snapshot { epoch: None, scope: None, complete, items })
}

fn name(entry: &Object<'_>) -> Option<Name> {
    let vhost = entry.string("vhost").filter(|vhost| vhost != "__defaultVhost__").unwrap_or_default();
    Some(Name { vhost, app: entry.word("app")?, name: entry.word("stream")? })
}

/// Returns the order in which the schemas of one stream are preferred. The server lists a stream once for each schema
/// that it offers to viewers. The schema of the publisher has the bytes that the publisher sent.
fn rank(entry: &Object<'_>) -> usize {
    let (schema, origin) = (schema(entry), origin(entry));
    let own = match origin.as_str() {
        "srt" => "ts",
        other => other,
    };
    if schema == own {
        return 0;
    }
    let order = ["rtmp", "rtsp", "ts", "fmp4", "hls"];
    1 + order.iter().position(|other| *other == schema).unwrap_or(order.len())
}

/// Returns the protocol of the publisher, e.g. `rtmp` for the origin `rtmp_push`.
fn origin(entry: &Object<'_>) -> String {
    let mut origin = entry.string("originTypeStr").unwrap_or_default();
    origin.truncate(origin.find('_').unwrap_or(origin.len()));
    origin
}

fn schema(entry: &Object<'_>) -> String {
    entry.string("schema").unwrap_or_default()
}

fn session(entry: &Object<'_>) -> String {
    entry.id("createStamp").unwrap_or_default()
}

fn live_stream(name: Name, entry: &Object<'_>) -> Item {
    let origin = origin(entry);
    let kind = match origin.as_str() {
        "rtc" => "webrtc",
        other => other,
    };
    let mut item = fields::item(name, session(entry), words::stream_type(kind));
    if let Some(socket) = entry.object("originSock") {
        item.source_addr =
            fields::socket_addr(&socket.string("peer_ip").unwrap_or_default(), socket.count("peer_port"));
    }
    item.counters.bytes = entry.count("totalBytes");
    item.gauges.viewers = entry.count("totalReaderCount");
    if entry.is_null("originSock") == Some(true) {
        // The publisher is gone. The server waits for it to return, and repeats its last rate.
        item.state = ItemState::Paused;
    } else {
        item.gauges.bitrate = words::bitrate(entry.number("bytesSpeed"), 8.0);
    }
    for track in entry.array("tracks").unwrap_or_default().into_iter().filter_map(Object::read) {
        let codec = track.string("codec_id_name").unwrap_or_default();
        let codec = words::codec(&codec).to_owned();
        match track.count("codec_type") {
            Some(0) if item.media.video_codec.is_empty() => {
                item.media.video_codec = codec;
                item.media.resolution = words::resolution(track.count("width"), track.count("height"));
                item.media.frame_rate = track.number("fps").unwrap_or_default();
            }
            Some(1) if item.media.audio_codec.is_empty() => item.media.audio_codec = codec,
            _ => {}
        }
    }
    item.labels.insert("app".to_owned(), item.name.app.clone());
    if !item.name.vhost.is_empty() {
        item.labels.insert("vhost".to_owned(), item.name.vhost.clone());
    }
    item
}

/// Reads `on_stream_changed`, `on_server_started` and `on_server_exited`. All other hooks are accepted and ignored.
///
/// The server sends `on_stream_changed` for each schema of a stream. The first schema that appears is the start of the
/// stream, and the last one that disappears is its end.
///
/// `on_publish` is ignored: the server sends it also for a publisher that it rejects, and then sends nothing else.
#[derive(Clone, Debug, Default)]
pub struct HookReader {
    streams: BTreeMap<Name, Schemas>,
}

/// The schemas of a live stream.
#[derive(Clone, Debug, Default)]
struct Schemas {
    session: String,
    live: BTreeSet<String>,
}

impl Hooks for HookReader {
    fn read(&mut self, body: &[u8]) -> Result<Vec<Event>, ReadError> {
        let body = json::text(body);
        let hook = Object::read(&body)
            .ok_or_else(|| ReadError::new("expected an object; send the hooks of ZLMediaKit to this URL"))?;
        // The body does not name the hook. Only `on_server_started` has the configuration, and only `on_server_exited`
        // has no other fields.
        if hook.names().any(|key| key.starts_with("general.")) {
            self.streams.clear();
            return Ok(vec![Event::ServerStarted { epoch: None }]);
        }
        if hook.names().eq(["hook_index", "mediaServerId"]) {
            self.streams.clear();
            return Ok(vec![Event::ServerExited]);
        }
        if hook.is_null("regist").is_none() {
            return Ok(Vec::new());
        }
        let registered = hook.bool("regist").ok_or_else(|| invalid("regist"))?;
        let name = name(&hook).ok_or_else(|| invalid("stream"))?;
        let event = if registered { self.registered(name, &hook) } else { self.ended(name, &schema(&hook)) };
        Ok(event.into_iter().collect())
    }
}

/// Returns the stream that an `on_publish` asks for; `None` for other hooks.
///
/// The body does not name the hook. A viewer's `on_play` has no `originType`, and of the hooks that have it, only
/// `on_publish` has the `id` of a connection but no `regist`.
pub(super) fn requested_stream(body: &[u8]) -> Option<Name> {
    let body = json::text(body);
    let hook = Object::read(&body)?;
    hook.integer("originType")?;
    hook.id("id")?;
    if hook.is_null("regist").is_some() { None } else { name(&hook) }
}

fn invalid(field: &str) -> ReadError {
    ReadError::new(format!("the hook has no valid `{field}`; send the hooks of ZLMediaKit to this URL"))
}

impl HookReader {
    fn registered(&mut self, name: Name, hook: &Object<'_>) -> Option<Event> {
        let session = session(hook);
        if self.streams.len() >= MAX_STREAMS {
            // The hooks about many ends must have been lost. A live stream that registers another schema is reported as
            // started again.
            self.streams.clear();
        }
        let schemas = self.streams.entry(name.clone()).or_default();
        let started = schemas.live.is_empty() || schemas.session != session;
        if started {
            *schemas = Schemas { session, live: BTreeSet::new() };
        }
        schemas.live.insert(schema(hook));
        // The hook may describe another schema than the publisher's, whose counters do not match those of the list.
        started.then(|| {
            Event::Started(Item { counters: Counters::default(), gauges: Gauges::default(), ..live_stream(name, hook) })
        })
    }

    /// A stream whose start was not received gives no event: it is unknown whether other schemas are still live.
    fn ended(&mut self, name: Name, schema: &str) -> Option<Event> {
        let schemas = self.streams.get_mut(&name)?;
        schemas.live.remove(schema);
        if !schemas.live.is_empty() {
            return None;
        }
        let session = self.streams.remove(&name)?.session;
        Some(Event::Ended { name, session: Some(session).filter(|session| !session.is_empty()) })
    }
}
