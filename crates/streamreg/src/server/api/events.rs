//! The change feed as server-sent events (HTML Living Standard, section 9.2): `/api/v1/events`.
//!
//! Each reader has its own watch of the store, and the server buffers few events for each reader. If the store has
//! already discarded a reader's next event, the reader gets a `resync` event. If a reader's connection stays blocked,
//! the server closes the connection, and the reader can resume later.
//!
//! With `limit` or `wait_ms`, the response ends, for clients that cannot read an endless response.

use std::future::pending;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName};
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use futures_util::stream::unfold;
use stream_registry::http::sse::{EVENT_STREAM, event_frame};
use stream_registry::watch::{Event, Watch, WatchFrom};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};

use crate::server::access::Caller;
use crate::server::connection::Peer;
use crate::server::params::{MAX_EVENTS, MAX_WAIT_MS, Params, last_event_id};
use crate::server::problem::{Failure, Result};
use crate::server::state::App;

/// Stops nginx from buffering events.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
/// Value of the parameter `from` that selects the oldest retained event.
const OLDEST: &str = "oldest";

pub(super) fn routes() -> Router<App> {
    Router::new().route("/api/v1/events", get(events).fallback(async || Failure::method_not_allowed("GET, HEAD")))
}

async fn events(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    caller: Caller,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response> {
    let params = Params::read(&uri, &["from", "limit", "wait_ms"])?;
    let from = start(&params, &headers)?;
    let limit = params.number("limit", 1..=MAX_EVENTS)?;
    let wait = params.number("wait_ms", 1..=MAX_WAIT_MS)?.map(Duration::from_millis);
    let permit = app.event_readers.clone().try_acquire_owned().map_err(|_| Failure::too_many_readers())?;
    // Start the watch before sending the headers. A client then receives every event that occurs after the headers
    // arrive.
    let watch = app.registry.watch(from).await?;
    peer.set_write_timeout(app.options.event_timeout);
    peer.shrink_send_buffer();
    let greeting = watch.start().cloned().map(|revision| Event::Alive { revision });
    let end = wait.map(|wait| Instant::now() + wait);
    let reader = Reader { greeting, watch, peer, app, caller, left: limit.unwrap_or(u64::MAX), end, _permit: permit };
    let frames = unfold(reader, |mut reader| async move {
        let event = reader.next().await?;
        reader.wait_for_turn().await;
        Some((Ok::<_, std::convert::Infallible>(Bytes::from(event_frame(&event))), reader))
    });
    let headers = [
        (CONTENT_TYPE, EVENT_STREAM),
        // Proxies must not cache or change the events.
        (CACHE_CONTROL, "no-cache, no-transform"),
        (X_ACCEL_BUFFERING, "no"),
    ];
    Ok((headers, Body::from_stream(frames)).into_response())
}

/// Parses the start position. `Last-Event-ID` overrides `from`, because a reconnecting browser repeats its first query.
fn start(params: &Params, headers: &HeaderMap) -> Result<WatchFrom> {
    let from = match params.get("from") {
        None => WatchFrom::Now,
        Some(OLDEST) => WatchFrom::Oldest,
        Some(revision) => WatchFrom::Revision(revision.parse()?),
    };
    Ok(last_event_id(headers)?.map_or(from, WatchFrom::Revision))
}

/// An event reader.
struct Reader {
    /// First event. It contains the watch's start position, so that a reader that disconnects early can resume there.
    greeting: Option<Event>,
    watch: Watch,
    peer: Peer,
    app: App,
    caller: Caller,
    /// Number of events after which the response ends.
    left: u64,
    /// When the response ends.
    end: Option<Instant>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Reader {
    fn drop(&mut self) {
        if self.peer.has_timed_out() {
            self.app.metrics.dropped_readers.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Reader {
    /// Waits for the next event. Returns `None` if the server stops, the store is closed, the reader's token has expired
    /// or was revoked, or the response is as long as the request allows.
    async fn next(&mut self) -> Option<Event> {
        self.left = self.left.checked_sub(1)?;
        if let Some(greeting) = self.greeting.take() {
            return Some(greeting);
        }
        let ended = async {
            match self.end {
                Some(end) => sleep_until(end).await,
                None => pending().await,
            }
        };
        let event = tokio::select! {
            biased;
            () = self.peer.stopped() => None,
            // This comes before the events, so that the response also ends if there is always a next event.
            () = ended => None,
            event = self.watch.next() => event,
        };
        event.filter(|_| self.app.access.may_still_read(&self.caller))
    }

    /// Waits until other requests have had a chance to run.
    ///
    /// If a thousand readers have events to send, they wait here and not in the queue of the runtime, where all other
    /// requests would wait behind them. The turn ends before the event is sent, so a blocked client delays no other reader.
    async fn wait_for_turn(&mut self) {
        // The semaphore is never closed. If it were, the reader would only lose its place in the queue.
        let turn = self.app.event_turns.acquire().await;
        yield_now().await;
        drop(turn);
    }
}
