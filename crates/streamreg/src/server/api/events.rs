//! The change feed: `/api/v1/events`, as server-sent events (HTML Living Standard, 9.2).
//!
//! Each reader has a watch of the store of its own, which is read no faster than the reader takes: the server keeps
//! no events. A reader that falls behind what the store keeps is told `resync` by the store; one whose connection takes
//! nothing at all is cut off, and resumes when it comes back.

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName};
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use futures_util::stream::unfold;
use stream_registry::http::wire::{EVENT_STREAM, event_frame};
use stream_registry::watch::{Event, Watch, WatchFrom};
use tokio::sync::OwnedSemaphorePermit;

use crate::server::app::App;
use crate::server::connection::Peer;
use crate::server::params::{Params, last_event_id};
use crate::server::problem::{Failure, Result};

/// Keeps nginx from collecting events before it hands them on.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
/// In place of a revision: from the oldest event that is kept.
const OLDEST: &str = "oldest";

pub(super) fn routes() -> Router<App> {
    Router::new().route("/api/v1/events", get(events).fallback(async || Failure::method_not_allowed("GET, HEAD")))
}

async fn events(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response> {
    let from = begin(&uri, &headers)?;
    let place = app.event_readers.clone().try_acquire_owned().map_err(|_| Failure::too_many_readers())?;
    // Subscribed before the answer begins: whoever has its head misses nothing that comes after.
    let watch = app.registry.watch(from).await?;
    peer.be_patient_for(app.options.event_timeout);
    let greeting = watch.start().cloned().map(|revision| Event::Alive { revision });
    let reader = Reader { greeting, watch, peer, _place: place };
    let frames = unfold(reader, |mut reader| async move {
        let frame = Bytes::from(event_frame(&reader.next().await?));
        Some((Ok::<_, std::convert::Infallible>(frame), reader))
    });
    let headers = [
        (CONTENT_TYPE, EVENT_STREAM),
        // No proxy may keep it or change it.
        (CACHE_CONTROL, "no-cache, no-transform"),
        (X_ACCEL_BUFFERING, "no"),
    ];
    Ok((headers, Body::from_stream(frames)).into_response())
}

/// Reads where to begin. A reader that comes back says so in the header, and repeats its first query.
fn begin(uri: &Uri, headers: &HeaderMap) -> Result<WatchFrom> {
    let params = Params::read(uri, &["from"])?;
    let from = match params.get("from") {
        None => WatchFrom::Now,
        Some(OLDEST) => WatchFrom::Oldest,
        Some(revision) => WatchFrom::Revision(revision.parse()?),
    };
    Ok(last_event_id(headers)?.map_or(from, WatchFrom::Revision))
}

/// One who follows.
struct Reader {
    /// Where the watch begins, said at once: a reader that is cut off before the first event can resume.
    greeting: Option<Event>,
    watch: Watch,
    peer: Peer,
    _place: OwnedSemaphorePermit,
}

impl Reader {
    /// Waits for the next event; `None` where the server stops or the store is closed.
    async fn next(&mut self) -> Option<Event> {
        if let Some(greeting) = self.greeting.take() {
            return Some(greeting);
        }
        tokio::select! {
            biased;
            () = self.peer.stopped() => None,
            event = self.watch.next() => event,
        }
    }
}
