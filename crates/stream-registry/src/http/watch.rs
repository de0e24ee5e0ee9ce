//! The change feed of a server, followed through its restarts.

use std::time::Duration;

use futures_util::stream::unfold;
use http_body_util::BodyExt as _;
use hyper::Method;
use hyper::body::Incoming;
use tokio::sync::watch::Receiver;
use tokio::time::{sleep, timeout};

use super::sse::{Frame, Frames};
use super::transport::{Call, Transport};
use super::wire;
use crate::error::Result;
use crate::stream::Revision;
use crate::watch::{ALIVE_AFTER, Event, Watch, WatchFrom};

/// After how long without a sign of life the server is asked anew: two of them are missing then.
const LIFE: Duration = Duration::from_millis(ALIVE_AFTER.as_millis() as u64 * 5 / 2);
/// How long the first pause between tries is at most; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause between tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Follows the changes until the registry is closed or gone.
pub(super) async fn follow(transport: Transport, closed: Receiver<bool>, from: WatchFrom) -> Result<Watch> {
    let told = match &from {
        WatchFrom::Revision(revision) => Some(revision.clone()),
        WatchFrom::Now | WatchFrom::Oldest => None,
    };
    let mut follower =
        Follower { transport, oldest: from == WatchFrom::Oldest, told, unsure: false, open: None, pause: FIRST_PAUSE };
    follower.open = Some(follower.connect().await?);
    Ok(Watch::new(unfold((follower, closed), |(mut follower, mut closed)| async move {
        let event = tokio::select! {
            biased;
            // An error means that the registry is gone.
            () = async { drop(closed.wait_for(|closed| *closed).await) } => None,
            event = follower.next() => Some(event),
        };
        Some((event?, (follower, closed)))
    })))
}

/// An answer whose body goes on.
struct Open {
    body: Incoming,
    frames: Frames,
}

impl Open {
    /// Waits for the next event; `None` where the connection has ended.
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
    /// Whether it begins with the oldest event that is kept, rather than with the next one.
    oldest: bool,
    /// The revision to resume after.
    told: Option<Revision>,
    /// Whether events may have been missed, before it was known where to resume.
    unsure: bool,
    open: Option<Open>,
    /// How long the next pause is at most.
    pause: Duration,
}

impl Follower {
    async fn connect(&self) -> Result<Open> {
        let path = match &self.told {
            Some(revision) => format!("/api/v1/events?from={}", wire::encode_segment(revision.as_str())),
            None if self.oldest => "/api/v1/events?from=oldest".to_owned(),
            None => "/api/v1/events".to_owned(),
        };
        let body = self.transport.open(Call::new(Method::GET, path), wire::EVENT_STREAM).await?;
        Ok(Open { body, frames: Frames::default() })
    }

    /// Waits for the next event, over as many connections as it takes.
    async fn next(&mut self) -> Event {
        loop {
            let Some(open) = &mut self.open else {
                self.reconnect().await;
                continue;
            };
            match timeout(LIFE, open.next()).await {
                Ok(Some(frame)) => match read(&frame) {
                    Some(event) => return self.tell(event),
                    None => {
                        tracing::warn!("the server sent an event without its revision; following anew");
                        self.unsure = true;
                        self.open = None;
                    }
                },
                Ok(None) => {
                    tracing::debug!("the server ended the events; following anew");
                    self.open = None;
                }
                Err(_) => {
                    tracing::debug!(after = ?LIFE, "no sign of life from the server; following anew");
                    self.open = None;
                }
            }
        }
    }

    /// Pauses, then tries once.
    async fn reconnect(&mut self) {
        // Nobody has said yet where it was: what happens meanwhile is lost.
        self.unsure |= self.told.is_none() && !self.oldest;
        // Half of it by chance, so that not all clients of a server that comes back ask at once.
        sleep(self.pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        match self.connect().await {
            Ok(open) => self.open = Some(open),
            Err(error) => tracing::debug!(%error, "cannot follow the events yet"),
        }
    }

    fn tell(&mut self, event: Event) -> Event {
        self.pause = FIRST_PAUSE;
        self.told = Some(event.revision().clone());
        if std::mem::take(&mut self.unsure) {
            // What this event says is in the snapshot that is taken now.
            return Event::Resync { revision: event.revision().clone() };
        }
        event
    }
}

/// Reads an event. One that this version cannot read is a gap, of which its id tells the place; `None` without that.
fn read(frame: &Frame) -> Option<Event> {
    match frame.data.as_deref().map(wire::read_event) {
        Some(Ok(event)) => Some(event),
        unreadable => {
            let revision = frame.id.as_ref()?.parse().ok()?;
            let fault = unreadable.and_then(Result::err);
            tracing::warn!(%revision, ?fault, "the server sent an event that cannot be read");
            Some(Event::Resync { revision })
        }
    }
}
