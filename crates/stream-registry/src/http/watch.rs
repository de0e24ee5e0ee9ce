//! Follows the change feed of a server, and reconnects if the server restarts.

use std::time::Duration;

use futures_util::stream::unfold;
use http_body_util::BodyExt as _;
use hyper::Method;
use hyper::body::Incoming;
use tokio::sync::watch::Receiver;
use tokio::time::{sleep, timeout};

use super::sse::{EVENT_STREAM, Frame, Frames};
use super::transport::{Call, Transport};
use super::wire::encode_segment;
use crate::backoff::Backoff;
use crate::error::Result;
use crate::stream::Revision;
use crate::watch::{ALIVE_AFTER, Event, Watch, WatchFrom};

/// Idle time after which the client reconnects. By this time, two `alive` events have failed to arrive.
const MAX_IDLE: Duration = Duration::from_millis(ALIVE_AFTER.as_millis() as u64 * 5 / 2);
/// Pauses before attempts to reconnect.
const BACKOFF: Backoff = Backoff { min: Duration::from_millis(100), max: Duration::from_secs(5) };

/// Follows the change feed until the registry is closed or dropped.
pub(super) async fn follow(transport: Transport, closed: Receiver<bool>, from: WatchFrom) -> Result<Watch> {
    let last = match &from {
        WatchFrom::Revision(revision) => Some(revision.clone()),
        WatchFrom::Now | WatchFrom::Oldest => None,
    };
    let mut follower = Follower {
        transport,
        oldest: from == WatchFrom::Oldest,
        last,
        may_have_missed: false,
        open: None,
        attempts: 0,
    };
    follower.open = Some(follower.connect().await?);
    Ok(Watch::new(unfold((follower, closed), |(mut follower, mut closed)| async move {
        let event = tokio::select! {
            biased;
            // `wait_for` returns an error if the registry was dropped. This ends the watch too.
            () = async { drop(closed.wait_for(|closed| *closed).await) } => None,
            event = follower.next() => Some(event),
        };
        Some((event?, (follower, closed)))
    })))
}

/// An open HTTP response with server-sent events.
struct Open {
    body: Incoming,
    frames: Frames,
}

impl Open {
    /// Waits for the next event. Returns `None` if the connection was lost.
    async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.frames.next() {
                return Some(frame);
            }
            let piece = self.body.frame().await?.ok()?;
            self.frames.push(&piece.into_data().unwrap_or_default());
        }
    }
}

struct Follower {
    transport: Transport,
    /// Whether to start with the oldest retained event instead of the next new event.
    oldest: bool,
    /// Revision of the last received event. After a reconnection, the watch resumes from this revision.
    last: Option<Revision>,
    /// Whether earlier events may have been missed. If so, the next event is replaced with a `Resync`.
    may_have_missed: bool,
    open: Option<Open>,
    /// Number of attempts to reconnect since the last event.
    attempts: u32,
}

impl Follower {
    async fn connect(&self) -> Result<Open> {
        let path = match &self.last {
            Some(revision) => format!("/api/v1/events?from={}", encode_segment(revision.as_str())),
            None if self.oldest => "/api/v1/events?from=oldest".to_owned(),
            None => "/api/v1/events".to_owned(),
        };
        let body = self.transport.open(Call::new(Method::GET, path), EVENT_STREAM).await?;
        Ok(Open { body, frames: Frames::default() })
    }

    /// Waits for the next event, and reconnects as often as necessary.
    async fn next(&mut self) -> Event {
        loop {
            let Some(open) = &mut self.open else {
                self.reconnect().await;
                continue;
            };
            match timeout(MAX_IDLE, open.next()).await {
                Ok(Some(frame)) => match read(&frame) {
                    Some(event) => return self.received(event),
                    None => {
                        tracing::warn!("received an event without a revision; reconnecting");
                        self.may_have_missed = true;
                        self.open = None;
                    }
                },
                Ok(None) => {
                    tracing::debug!("the server closed the event stream; reconnecting");
                    self.open = None;
                }
                Err(_) => {
                    tracing::debug!(idle = ?MAX_IDLE, "no events from the server; reconnecting");
                    self.open = None;
                }
            }
        }
    }

    /// Pauses, then makes one attempt to reconnect.
    async fn reconnect(&mut self) {
        // Without a revision to resume from, the events before the reconnection are lost.
        self.may_have_missed |= self.last.is_none() && !self.oldest;
        self.attempts = self.attempts.saturating_add(1);
        sleep(BACKOFF.pause(self.attempts)).await;
        match self.connect().await {
            Ok(open) => self.open = Some(open),
            Err(error) => tracing::debug!(%error, "cannot reconnect to the event stream; retrying"),
        }
    }

    /// Stores the revision of an event and returns the event. If earlier events may have been missed, returns a
    /// `Resync` instead.
    fn received(&mut self, event: Event) -> Event {
        self.attempts = 0;
        self.last = Some(event.revision().clone());
        if std::mem::take(&mut self.may_have_missed) {
            // After a `Resync`, the caller takes a snapshot. The snapshot includes the change that this event reports.
            return Event::Resync { revision: event.revision().clone(), shard: None };
        }
        event
    }
}

/// Decodes an event. If decoding fails, returns a `Resync` with the id of the event as its revision. If the event has
/// no valid id, returns `None`.
fn read(frame: &Frame) -> Option<Event> {
    match frame.data.as_deref().map(Event::from_json) {
        Some(Ok(event)) => Some(event),
        unreadable => {
            let revision = frame.id.as_ref()?.parse().ok()?;
            let fault = unreadable.and_then(Result::err);
            tracing::warn!(%revision, ?fault, "received an unreadable event; emitting resync");
            Some(Event::Resync { revision, shard: None })
        }
    }
}
