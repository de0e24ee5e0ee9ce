//! Icecast: `status-json.xsl`. The page shows neither addresses nor byte counters.

use super::json::Object;
use super::{Answer, List, ReadError, Step, fields, one_request, words};
use crate::model::{Item, Name, Snapshot};
use crate::reconcile::Profile;

/// How Icecast behaves. Without counters, a stall cannot be detected; Icecast itself disconnects a stalled source.
pub const PROFILE: Profile = Profile { stall_after: fields::NEVER, ..fields::PROFILE };

/// Lists the mounts with a source. The URL of the API is the URL of `status-json.xsl`.
#[derive(Clone, Copy, Debug, Default)]
pub struct StatusList;

impl List for StatusList {
    fn step(&mut self, answers: &[Answer]) -> Result<Step, ReadError> {
        one_request::step("", answers, read_status)
    }
}

fn read_status(body: &str) -> Result<Snapshot, ReadError> {
    let stats = Object::read(body).and_then(|answer| answer.object("icestats"));
    let stats = stats.ok_or_else(|| ReadError::new("expected `icestats`; give the URL of status-json.xsl"))?;
    // Icecast sends a single source as an object, not as an array.
    let sources = match (stats.is_null("source"), stats.array("source")) {
        (None | Some(true), _) => Vec::new(),
        (_, Some(sources)) => sources.into_iter().map(Object::read).collect(),
        (_, None) => vec![stats.object("source")],
    };
    let epoch = stats.word("server_start_iso8601").or_else(|| stats.word("server_start"));
    let mut snapshot = Snapshot { epoch, scope: None, complete: true, items: Vec::new() };
    for source in sources {
        let name = source.as_ref().and_then(|source| mount(&source.string("listenurl")?));
        match source.zip(name) {
            Some((source, name)) => snapshot.items.extend(live_mount(name, &source)),
            None => snapshot.complete = false,
        }
    }
    Ok(snapshot)
}

/// Returns the path of the URL, without the query.
fn mount(url: &str) -> Option<Name> {
    let (_, rest) = url.split_once("://")?;
    let (_, path) = rest.split_once('/')?;
    let path = path.split(['?', '#']).next().unwrap_or(path);
    Some(Name::from_path(path)).filter(|name| !name.name.is_empty())
}

/// Returns `None` for a configured mount that has no source.
fn live_mount(name: Name, source: &Object<'_>) -> Option<Item> {
    let started = source.word("stream_start_iso8601").or_else(|| source.word("stream_start"));
    let listeners = source.count("listeners");
    if started.is_none() && listeners.is_none() {
        return None;
    }
    let mut item = fields::item(name, started.unwrap_or_default(), words::stream_type("icecast"));
    item.media.audio_codec = match source.string("server_type").unwrap_or_default().as_str() {
        "audio/mpeg" => "MP3".to_owned(),
        "audio/aac" | "audio/aacp" => "AAC".to_owned(),
        _ => String::new(),
    };
    item.gauges.viewers = listeners;
    // The source announces its rate in kbit/s, as a number or as a string.
    let rate = |name| source.number(name).or_else(|| source.string(name)?.parse().ok());
    item.gauges.bitrate = words::bitrate(rate("bitrate").or_else(|| rate("ice-bitrate")), 1_000.0);
    Some(item)
}
