//! What the HTTP server and its client say to each other.
//!
//! Shared by `HttpRegistry` and `streamreg serve`, so that there is one spelling of everything.
//! Records travel as [`Stream::to_json`] writes them and are never taken apart on the way: unknown
//! fields and exact integers survive in both directions.

mod batch;
mod event;
mod patch;
mod problem;

use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

pub(super) use batch::{Batch, batches, goes_in_a_batch, read_batch_answer};
pub use batch::{HEARTBEATS, MAX_BATCH_BYTES, batch_answer_body, read_batch};
pub(super) use event::read_history;
pub use event::{EVENT_STREAM, LAST_EVENT_ID, end_body, event_body, event_frame, history_body, lifetime, read_event};
pub use patch::{LabelsMode, patch_body, read_patch, read_stats, read_status, stats_body, status_body};
pub use problem::{PROBLEM_JSON, Problem, kind_of, status_and_code};

use crate::error::{Error, ErrorKind, Result};
use crate::query::Summary;
use crate::registry::{Page, Registered, Snapshot};
use crate::stream::{Cursor, Revision, Stream};
use crate::stream::{decode, encode};

/// The media type of every body that is not a problem document.
pub const JSON: &str = "application/json";
/// The media type of a patch (RFC 7396).
pub const MERGE_PATCH_JSON: &str = "application/merge-patch+json";
/// The header that carries the epoch of a lease.
pub const STREAM_EPOCH: &str = "stream-epoch";
/// The header that carries an operation id.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// The most bytes of a request's body.
pub const MAX_BODY_BYTES: usize = 64 * 1024;
/// The longest staleness that can be asked for: 30 days, as the longest time to live.
pub const MAX_STALE_MS: u64 = 30 * 24 * 3600 * 1000;
/// How many streams a page has where the request does not say.
pub const DEFAULT_LIMIT: u32 = 1_000;
/// The most streams of a page.
pub const MAX_LIMIT: u32 = 10_000;
/// How many ended streams a history holds unless the request says otherwise.
pub const DEFAULT_HISTORY: u32 = 100;

/// Everything but the unreserved characters of RFC 3986, 2.3.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Writes a text so that it fits in one segment of a path, or in a query's value.
pub fn encode_segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

/// Reads a percent-encoded text; `None` where an escape is not one, or the bytes are not UTF-8.
pub fn decode_percent(text: &str) -> Option<String> {
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        let digits = rest.as_bytes().get(at + 1..at + 3)?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        rest = &rest[at + 3..];
    }
    percent_decode_str(text).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

/// The path of a stream.
pub fn stream_path(id: &str) -> String {
    format!("/api/v1/streams/{}", encode_segment(id))
}

// ---- answers, written -----------------------------------------------------------------------------

/// Writes the answer to a list request.
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

/// Writes the answer to a snapshot request.
pub fn snapshot_body(snapshot: &Snapshot) -> String {
    let mut out = streams(&snapshot.streams);
    push_revision(&mut out, snapshot.revision.as_ref());
    finish(out, snapshot.unreadable)
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
        out.push_str(&stream.to_json());
    }
    out.push(']');
    out
}

/// Ends an answer; records that cannot be read are counted where there are any.
fn finish(mut out: String, unreadable: u64) -> String {
    if unreadable > 0 {
        out.push_str(&format!(",\"unreadable\":{unreadable}"));
    }
    out.push('}');
    out
}

/// Writes the answer to a registration.
pub fn registered_body(registered: &Registered) -> String {
    let mut out = String::with_capacity(640);
    out.push_str("{\"stream\":");
    out.push_str(&registered.stream.to_json());
    out.push_str(",\"outcome\":\"");
    out.push_str(registered.outcome.as_str());
    out.push_str("\",\"epoch\":");
    match &registered.epoch {
        Some(epoch) => encode::push_json_string(&mut out, epoch.as_str()),
        None => out.push_str("null"),
    }
    out.push_str(&format!(",\"ttl_ms\":{}}}", millis(registered.ttl)));
    out
}

/// Writes a record as a caller may give it.
///
/// Values that another writer stored and that are not legal (`-5` bytes) ride along in a record that
/// was read; a server refuses them from a caller, so that their nearest legal values go instead.
pub fn record_body(stream: &Stream) -> String {
    let mut stream = stream.clone();
    stream.extra.discard_nonconforming(&decode::NAMES);
    stream.to_json()
}

/// As [`record_body`] without the id, for a registration under a generated one.
pub fn record_without_id(stream: &Stream) -> String {
    let text = record_body(stream);
    let mut head = String::from("{\"id\":");
    encode::push_json_string(&mut head, stream.id.as_str());
    head.push(',');
    match text.strip_prefix(&head) {
        Some(rest) => format!("{{{rest}"),
        None => text,
    }
}

/// Returns a duration in whole milliseconds.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// What a server says about itself.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Info {
    /// `streamreg`.
    pub name: String,
    /// The server's version.
    pub version: String,
    /// The kind of store behind it: `memory`, `redis` …
    pub store: String,
    /// How long a stream lives without a write, in milliseconds.
    pub ttl_ms: u64,
    /// Whether the store refuses every write.
    pub read_only: bool,
}

// ---- answers, read --------------------------------------------------------------------------------

#[derive(Deserialize)]
struct ListAnswer<'a> {
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

impl ListAnswer<'_> {
    /// Reads the records; those that cannot be read hide no others.
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

/// Reads the answer to a list request.
pub(super) fn read_page(text: &str) -> Result<Page> {
    let answer: ListAnswer<'_> = serde_json::from_str(text).map_err(not_ours)?;
    let (streams, unreadable) = answer.records();
    let next = answer.next_cursor.map(|cursor| cursor.parse::<Cursor>()).transpose().map_err(not_ours)?;
    let mut page = Page::new(streams, next, answer.total);
    page.unreadable = unreadable;
    page.revision = answer.revision.map(|revision| revision.parse()).transpose().map_err(not_ours)?;
    Ok(page)
}

/// Reads the answer to a summary request.
pub(super) fn read_summary(text: &str) -> Result<Summary> {
    serde_json::from_str(text).map_err(not_ours)
}

/// Reads the answer to a snapshot request.
pub(super) fn read_snapshot(text: &str) -> Result<Snapshot> {
    let answer: ListAnswer<'_> = serde_json::from_str(text).map_err(not_ours)?;
    let (streams, unreadable) = answer.records();
    let mut snapshot = Snapshot::new(streams);
    snapshot.unreadable = unreadable;
    snapshot.revision = answer.revision.map(|revision| revision.parse()).transpose().map_err(not_ours)?;
    Ok(snapshot)
}

#[derive(Deserialize)]
struct RegisterAnswer<'a> {
    #[serde(borrow)]
    stream: &'a RawValue,
    outcome: String,
    #[serde(default)]
    epoch: Option<String>,
    ttl_ms: u64,
}

/// Reads the answer to a registration.
pub(super) fn read_registered(text: &str) -> Result<Registered> {
    let answer: RegisterAnswer<'_> = serde_json::from_str(text).map_err(not_ours)?;
    let stream = decode::decode_listed(answer.stream.get())?;
    let outcome = answer.outcome.parse().map_err(|_| {
        Error::new(ErrorKind::Internal, "the server answered an outcome that this version does not know")
    })?;
    let mut registered = Registered::new(stream, outcome, Duration::from_millis(answer.ttl_ms));
    if let Some(epoch) = answer.epoch {
        registered.epoch = Some(epoch.parse().map_err(not_ours)?);
    }
    Ok(registered)
}

/// Reads what a server says about itself.
pub(super) fn read_info(text: &str) -> Result<Info> {
    serde_json::from_str(text).map_err(not_ours)
}

fn not_ours(source: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Internal, "the answer is not that of a streamreg server; check the store's URL")
        .with_source(source)
}

// ---- requests, read -------------------------------------------------------------------------------

/// Reads a record from a request's body, whose `type` and `source_addr` must be there.
///
/// The flag says whether the body has an id; a generated one stands in its place otherwise.
///
/// # Errors
///
/// `InvalidArgument` names the field.
pub fn read_record(text: &str) -> Result<(Stream, bool)> {
    let (stream, has_id) = Stream::from_json_any_id(text)?;
    if stream.source_addr.is_empty() && patch::members(text)?.get("source_addr").is_none_or(|raw| raw.get() == "null") {
        return Err(Error::invalid("source_addr is missing; give the publisher's host:port, or an empty text"));
    }
    Ok((stream, has_id))
}

/// As [`read_record`], for a lease that comes back: what has been lost began before now.
///
/// # Errors
///
/// `InvalidArgument` names the field.
pub fn read_recovered(text: &str) -> Result<(Stream, bool)> {
    let read = read_record(text)?;
    if patch::members(text)?.get("created_at").is_none_or(|raw| raw.get() == "null") {
        return Err(Error::invalid("created_at is missing; recover with the record as the server answered it"));
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::StreamType;

    #[test]
    fn every_legal_id_fits_in_one_segment() {
        for id in ["a", "a b", "a/b", "%", "%2F", "*", "?", "#", "\"'\\", "é📺", "a+b", "...", "a;b=c&d"] {
            let segment = encode_segment(id);
            assert!(segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~%".contains(&b)), "{segment}");
            assert_eq!(decode_percent(&segment).as_deref(), Some(id));
        }
        for bad in ["%", "%2", "a%", "%zz", "%+1", "%ff", "%c3%28", "%é1"] {
            assert_eq!(decode_percent(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_record_without_its_id_is_the_rest_of_it() {
        let stream = Stream::new("a \"b\",".parse().unwrap(), StreamType::Srt, "h:1");
        let text = record_without_id(&stream);
        assert!(text.starts_with(r#"{"type":"srt","source_addr":"h:1","#), "{text}");
        assert!(!Stream::from_json_any_id(&text).unwrap().1);
    }

    #[test]
    fn answers_survive_the_way() {
        let id = "cam/1".parse().unwrap();
        let text = r#"{"type":"srt","bytes_received":9223372036854775807,"bitrate":-5,"x":[1.0e5],"y":{"id":"no"}}"#;
        let stream = Stream::from_stored(&id, text).unwrap();
        let mut page = Page::new(vec![stream.clone(), stream.clone()], Some("m1".parse().unwrap()), 7);
        page.unreadable = 2;
        page.revision = Some("a-1".parse().unwrap());
        let read = read_page(&page_body(&page)).unwrap();
        assert_eq!(read, page);
        assert_eq!(read.streams[0].to_json(), stream.to_json());
        let snapshot = Snapshot::new(vec![stream.clone()]);
        assert_eq!(read_snapshot(&snapshot_body(&snapshot)).unwrap(), snapshot);
        let registered = Registered::new(stream, crate::registry::Outcome::TakenOver, Duration::from_millis(1_500));
        assert_eq!(read_registered(&registered_body(&registered)).unwrap(), registered);
        assert!(read_page("<html>").is_err());
    }
}
