//! Responses with many streams: pages, snapshots, summaries and the history.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::problem::unexpected_response;
use crate::error::{ErrorKind, Result};
use crate::query::Summary;
use crate::registry::{Page, Snapshot};
use crate::stream::{Cursor, Revision, Stream};
use crate::stream::{decode, encode};
use crate::watch::Event;

/// Default number of streams on a page.
pub const DEFAULT_LIMIT: u32 = 1_000;
/// Largest number of streams on a page.
pub const MAX_LIMIT: u32 = 10_000;
/// Maximum number of streams that one request for a list can name.
pub const MAX_IDS: usize = 100;
/// Default number of ended streams in a history.
pub const DEFAULT_HISTORY: u32 = 100;

/// Encodes the response to a list request.
pub fn page_body(page: &Page) -> String {
    let mut out = streams(&page.streams);
    out.push_str(",\"next_cursor\":");
    match &page.next {
        Some(cursor) => encode::push_json_string(&mut out, cursor.as_str()),
        None => out.push_str("null"),
    }
    out.push_str(&format!(",\"total\":{}", page.total));
    push_revision(&mut out, page.revision.as_ref());
    finish(out, page.unreadable)
}

/// Encodes the response to a snapshot request.
pub fn snapshot_body(snapshot: &Snapshot) -> String {
    let mut out = streams(&snapshot.streams);
    push_revision(&mut out, snapshot.revision.as_ref());
    finish(out, snapshot.unreadable)
}

/// Encodes the response to a history request.
pub fn history_body(ended: &[Event]) -> String {
    let ended: Vec<_> = ended.iter().map(Event::to_json_with_duration).collect();
    format!("{{\"ended\":[{}]}}", ended.join(","))
}

fn push_revision(out: &mut String, revision: Option<&Revision>) {
    out.push_str(",\"revision\":");
    match revision {
        Some(revision) => encode::push_json_string(out, revision.as_str()),
        None => out.push_str("null"),
    }
}

fn streams(streams: &[Stream]) -> String {
    let mut out = String::with_capacity(32 + streams.len() * 512);
    out.push_str("{\"streams\":[");
    for (at, stream) in streams.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        encode::encode_into(&mut out, stream);
    }
    out.push(']');
    out
}

/// Completes the JSON of a response. Adds the number of unreadable records if it is not zero.
fn finish(mut out: String, unreadable: u64) -> String {
    if unreadable > 0 {
        out.push_str(&format!(",\"unreadable\":{unreadable}"));
    }
    out.push('}');
    out
}

#[derive(Deserialize)]
struct ListResponse<'a> {
    #[serde(borrow)]
    streams: Vec<&'a RawValue>,
    #[serde(default)]
    next_cursor: Option<String>,
    #[serde(default)]
    total: u64,
    #[serde(default)]
    revision: Option<String>,
    #[serde(default)]
    unreadable: u64,
}

impl ListResponse<'_> {
    /// Decodes the records. Also returns the number of unreadable records, including those that the server skipped.
    fn records(&self) -> (Vec<Stream>, u64) {
        let mut unreadable = self.unreadable;
        let mut streams = Vec::with_capacity(self.streams.len());
        for raw in &self.streams {
            match decode::decode_listed(raw.get()) {
                Ok(stream) => streams.push(stream),
                Err(_) => unreadable += 1,
            }
        }
        (streams, unreadable)
    }
}

/// Parses the response to a list request.
pub(in crate::http) fn read_page(json: &str) -> Result<Page> {
    let response: ListResponse<'_> = serde_json::from_str(json).map_err(unexpected_response)?;
    let (streams, unreadable) = response.records();
    let next = response.next_cursor.map(|cursor| cursor.parse::<Cursor>()).transpose().map_err(unexpected_response)?;
    let mut page = Page::new(streams, next, response.total);
    page.unreadable = unreadable;
    page.revision = response.revision.map(|revision| revision.parse()).transpose().map_err(unexpected_response)?;
    Ok(page)
}

/// Parses the response to a snapshot request.
pub(in crate::http) fn read_snapshot(json: &str) -> Result<Snapshot> {
    let response: ListResponse<'_> = serde_json::from_str(json).map_err(unexpected_response)?;
    let (streams, unreadable) = response.records();
    let mut snapshot = Snapshot::new(streams);
    snapshot.unreadable = unreadable;
    snapshot.revision = response.revision.map(|revision| revision.parse()).transpose().map_err(unexpected_response)?;
    Ok(snapshot)
}

/// Parses the response to a summary request.
pub(in crate::http) fn read_summary(json: &str) -> Result<Summary> {
    serde_json::from_str(json).map_err(unexpected_response)
}

#[derive(Deserialize)]
struct HistoryResponse<'a> {
    #[serde(borrow)]
    ended: Vec<&'a RawValue>,
}

/// Parses the response to a history request.
pub(in crate::http) fn read_history(json: &str) -> Result<Vec<Event>> {
    let response: HistoryResponse<'_> = serde_json::from_str(json).map_err(unexpected_response)?;
    let read = |raw: &RawValue| match Event::from_json(raw.get()) {
        Err(error) if error.kind() == ErrorKind::InvalidArgument => Err(unexpected_response(error)),
        event => event,
    };
    response.ended.into_iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_response_survives_a_round_trip_through_json() {
        let id = "cam/1".parse().unwrap();
        let json = r#"{"type":"srt","bytes_received":9223372036854775807,"bitrate":-5,"x":[1.0e5],"y":{"id":"no"}}"#;
        let stream = Stream::from_stored(&id, json).unwrap();
        let mut page = Page::new(vec![stream.clone(), stream.clone()], Some("m1".parse().unwrap()), 7);
        page.unreadable = 2;
        page.revision = Some("a-1".parse().unwrap());
        let read = read_page(&page_body(&page)).unwrap();
        assert_eq!(read, page);
        assert_eq!(read.streams[0].to_json(), stream.to_json());
        let snapshot = Snapshot::new(vec![stream]);
        assert_eq!(read_snapshot(&snapshot_body(&snapshot)).unwrap(), snapshot);
    }

    #[test]
    fn list_response_of_another_kind_of_server_is_rejected() {
        assert_eq!(read_page("<html>").unwrap_err().kind(), ErrorKind::Internal);
        assert_eq!(read_history(r#"{"ended":[{}]}"#).unwrap_err().kind(), ErrorKind::Internal);
    }
}
