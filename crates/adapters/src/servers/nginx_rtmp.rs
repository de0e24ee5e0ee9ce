//! nginx with the RTMP module: the statistics page (`rtmp_stat all`) and the hooks.
//!
//! The session is the number of the publisher's connection, because hooks and list share no other value. The number is
//! unique while nginx runs and begins again after a restart. The scope of a list is the process id of the worker that
//! answered, so after a restart the same session appears in another scope.

use std::collections::BTreeSet;

use super::xml::{self, Element};
use super::{Answer, Hooks, List, ReadError, Step, fields, one_request, words};
use crate::model::{Event, Item, ItemState, Name, Snapshot};
use crate::reconcile::Profile;

/// How nginx behaves. One worker answers at a time, so the streams of another worker may be missing for minutes.
pub const PROFILE: Profile = fields::PROFILE;

/// Lists the publishers on the statistics page. The URL of the API is the URL of that page.
#[derive(Clone, Copy, Debug, Default)]
pub struct StatList;

impl List for StatList {
    fn step(&mut self, answers: &[Answer]) -> Result<Step, ReadError> {
        one_request::step("", answers, read_stat)
    }
}

fn read_stat(body: &str) -> Result<Snapshot, ReadError> {
    let stat = xml::parse(body)?;
    if stat.name != "rtmp" {
        return Err(ReadError::new("expected the XML of rtmp_stat; give the URL of the location that has rtmp_stat"));
    }
    let scope = Some(stat.text("pid").trim().to_owned()).filter(|pid| !pid.is_empty());
    // Without the worker's process id, a missing stream may belong to another worker.
    let mut snapshot = Snapshot { epoch: None, complete: scope.is_some(), scope, items: Vec::new() };
    let mut names = BTreeSet::new();
    for application in stat.all("server").flat_map(|server| server.all("application")) {
        let app = application.text("name");
        for stream in application.all("live").flat_map(|live| live.all("stream")) {
            let publisher = stream.all("client").find(|client| client.has("publishing"));
            if publisher.is_none() && !stream.has("publishing") {
                continue;
            }
            let name = Name { vhost: String::new(), app: app.to_owned(), name: stream.text("name").to_owned() };
            if name.app.is_empty() || name.name.is_empty() {
                snapshot.complete = false;
            } else if names.insert(name.clone()) {
                snapshot.items.push(live_stream(name, stream, publisher));
            }
        }
    }
    Ok(snapshot)
}

fn live_stream(name: Name, stream: &Element, publisher: Option<&Element>) -> Item {
    let session = publisher.map_or("", |client| client.text("id").trim());
    let mut item = new_item(name, session, publisher.map_or("", |client| client.text("address")));
    if !stream.has("active") && !publisher.is_some_and(|client| client.has("active")) {
        item.state = ItemState::Connecting;
    }
    if let Some(meta) = stream.child("meta") {
        if let Some(video) = meta.child("video") {
            item.media.video_codec = words::codec(video.text("codec")).to_owned();
            item.media.resolution = words::resolution(video.count("width"), video.count("height"));
            item.media.frame_rate = video.number("frame_rate").unwrap_or_default();
        }
        if let Some(audio) = meta.child("audio") {
            item.media.audio_codec = words::codec(audio.text("codec")).to_owned();
        }
    }
    item.counters.bytes = stream.count("bytes_in");
    // The rate is 0 for the first 10 s of a stream.
    item.gauges.bitrate = words::bitrate(stream.number("bw_in"), 1.0);
    // `nclients` also counts the publisher.
    item.gauges.viewers = stream.count("nclients").map(|clients| clients.saturating_sub(1));
    item
}

fn new_item(name: Name, session: &str, address: &str) -> Item {
    let app = name.app.clone();
    let mut item = fields::item(name, session.to_owned(), words::stream_type("rtmp"));
    item.source_addr = address.to_owned();
    item.labels.insert("app".to_owned(), app);
    item
}

/// Reads the bodies of `on_publish` and `on_publish_done`. All other hooks are accepted and ignored.
#[derive(Clone, Copy, Debug, Default)]
pub struct HookReader;

impl Hooks for HookReader {
    fn read(&mut self, body: &[u8]) -> Result<Vec<Event>, ReadError> {
        // nginx appends the publisher's own arguments, so only the first value of a field comes from nginx.
        let field = |name: &str| {
            let value = form_urlencoded::parse(body).find(|(field, _)| field == name).map(|(_, value)| value);
            value.filter(|value| !value.is_empty()).map(String::from)
        };
        let required = |name: &str| field(name).ok_or_else(|| missing(name));
        let call = required("call")?;
        if call != "publish" && call != "publish_done" {
            return Ok(Vec::new());
        }
        let name = Name { vhost: String::new(), app: required("app")?, name: required("name")? };
        // An end without a session would also end the stream of another publisher.
        let session = required("clientid")?;
        Ok(vec![if call == "publish" {
            let mut item = new_item(name, &session, &field("addr").unwrap_or_default());
            item.state = ItemState::Connecting;
            Event::Started(item)
        } else {
            Event::Ended { name, session: Some(session) }
        }])
    }
}

fn missing(field: &str) -> ReadError {
    ReadError::new(format!("the hook has no field `{field}`; send the hooks of nginx-rtmp to this URL"))
}
