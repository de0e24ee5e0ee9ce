//! The task of one webhook.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use stream_registry::http::post::Answer;
use stream_registry::watch::Event;
use stream_registry::{Error, Revision};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use super::feed::Feed;
use super::position::Position;
use super::queue::{Job, Queue};
use super::retry::{Gate, Verdict};
use super::{Figures, Retry, Webhook, message, position};
use crate::selection::Selection;

/// Pause between two writes of the position.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);
/// Number of remembered streams for which the pause is one second longer.
const STREAMS_PER_SECOND: usize = 10_000;

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// The result of one attempt.
type Attempt = (Job, Result<Answer, Error>);

/// The delivery of the events of one webhook.
pub(super) struct Delivery {
    webhook: Arc<Webhook>,
    feed: Feed,
    selection: Selection,
    queue: Queue,
    gate: Gate,
    retry: Retry,
    in_flight: FuturesUnordered<BoxFuture<'static, Attempt>>,
    figures: Arc<Figures>,
    /// Whether the log says that the receiver fails.
    is_failing: bool,
    saves: Saves,
}

/// The writes of the position.
struct Saves {
    file: PathBuf,
    /// The revision that was written last.
    written: Option<Revision>,
    running: Option<JoinHandle<io::Result<Revision>>>,
    next_at: Instant,
    is_failing: bool,
}

impl Delivery {
    /// Creates the delivery of events after a position, or from the start of the feed.
    pub(super) fn new(webhook: Webhook, feed: Feed, position: Option<Position>, file: PathBuf, retry: Retry) -> Self {
        let now = Instant::now();
        let (reached, matched, written) = match position {
            Some(Position { revision, matched }) => (Some(revision.clone()), matched, Some(revision)),
            None => (feed.start().cloned(), Vec::new(), None),
        };
        Self {
            feed,
            selection: Selection::filter(webhook.filter.clone()).with_shown(matched),
            queue: Queue::new(reached),
            gate: Gate::new(retry, now),
            retry,
            in_flight: FuturesUnordered::new(),
            figures: Arc::new(Figures::new(&webhook.name)),
            webhook: Arc::new(webhook),
            is_failing: false,
            saves: Saves { file, written, running: None, next_at: now, is_failing: false },
        }
    }

    /// Returns the figures, which the delivery updates.
    pub(super) fn figures(&self) -> Arc<Figures> {
        Arc::clone(&self.figures)
    }

    /// Delivers events until `stopped` becomes true or the registry is closed. Then, requests in flight may take up to
    /// `grace` to finish, and the position is stored.
    pub(super) async fn run(mut self, mut stopped: watch::Receiver<bool>, grace: Duration) {
        let (name, receiver) = (&self.webhook.name, self.webhook.poster.address());
        tracing::info!(webhook = %name, %receiver, "webhook started");
        loop {
            self.send_due();
            self.figures.set_waiting(self.queue.len(), self.queue.oldest());
            let wake = self.wake();
            let save = self.next_save();
            tokio::select! {
                // The sender is dropped if the server fails.
                _ = stopped.wait_for(|stopped| *stopped) => break,
                event = self.feed.next(), if self.queue.has_room() => match event {
                    Some(event) => self.receive(event),
                    None => break,
                },
                Some(attempt) = self.in_flight.next() => self.finish(attempt),
                () = at(wake) => {}
                saved = written(&mut self.saves.running) => self.saved(saved),
                () = at(save) => self.begin_save(),
            }
        }
        let rest = async {
            while let Some(attempt) = self.in_flight.next().await {
                self.finish(attempt);
            }
        };
        // A request that does not finish in time is sent again after the next start.
        let _ = timeout(grace, rest).await;
        if let Err((file, error)) = self.save().await {
            tracing::warn!(file = %file.display(), %error, "cannot store the position of a webhook; events will be repeated");
        }
    }

    /// Sends the events that are due.
    fn send_due(&mut self) {
        let now = Instant::now();
        while self.in_flight.len() < self.gate.limit() && self.gate.opens_at() <= now {
            let Some(job) = self.queue.take_due(now) else { return };
            self.in_flight.push(Box::pin(send(Arc::clone(&self.webhook), job)));
        }
    }

    /// Returns the time at which the next event can be sent, unless that depends on requests in flight.
    fn wake(&self) -> Option<Instant> {
        let due = self.queue.next_due().filter(|_| self.in_flight.len() < self.gate.limit());
        due.map(|due| due.max(self.gate.opens_at()))
    }

    /// Adds an event of the feed to the queue if the receiver gets it.
    fn receive(&mut self, event: Event) {
        let toggle_of = |selection: &Selection| {
            event.stream().map(|stream| (stream.id.clone(), selection.shown().contains(&stream.id)))
        };
        let before = toggle_of(&self.selection);
        let is_known = event.stream().is_some() || matches!(event, Event::Resync { .. });
        let selected = self.selection.selects(&event) && is_known;
        let toggle = before.filter(|before| toggle_of(&self.selection).as_ref() != Some(before));
        if selected && self.webhook.kinds.contains(&event) {
            let time = message::time(&event, self.feed.now());
            self.queue.push(event, time, toggle, Instant::now());
        } else {
            self.queue.skip(event.revision().clone(), toggle);
        }
    }

    /// Notes the result of an attempt.
    fn finish(&mut self, (job, answer): Attempt) {
        let now = Instant::now();
        let status = answer.as_ref().map_or(0, |answer| answer.status);
        let verdict = Verdict::of(status);
        self.figures.set_status(status);
        self.gate.note(verdict, answer.as_ref().ok().and_then(|answer| answer.retry_after), now);
        if verdict == Verdict::Accepted {
            self.figures.delivered.fetch_add(1, Ordering::Relaxed);
            self.queue.settle(job.number, now);
            self.log_recovery();
            return;
        }
        let (failures, first_attempt) = self.queue.count_failure(job.number, now);
        let (webhook, event) = (&self.webhook.name, job.event.as_str());
        let stream = job.event.stream().map(|stream| stream.id.as_str());
        let error = answer.err().map_or_else(|| format!("status {status}"), |error| error.message().to_owned());
        if self.gate.is_hopeless(verdict, failures, first_attempt, now) {
            self.figures.given_up.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(%webhook, event, stream, status, %error, attempts = failures, "webhook gave up on an event");
            self.queue.settle(job.number, now);
            self.log_recovery();
            return;
        }
        self.figures.retried.fetch_add(1, Ordering::Relaxed);
        self.queue.postpone(job.number, now + self.retry.pause(failures));
        if !std::mem::replace(&mut self.is_failing, true) {
            tracing::warn!(%webhook, event, stream, status, %error, "receiver of a webhook fails; retrying");
        }
    }

    fn log_recovery(&mut self) {
        if self.is_failing && !self.queue.has_failures() {
            self.is_failing = false;
            tracing::info!(webhook = %self.webhook.name, "receiver of a webhook works again");
        }
    }

    /// Returns when to write the position, if it has changed.
    fn next_save(&self) -> Option<Instant> {
        let is_new = self.queue.reached().is_some() && self.queue.reached() != self.saves.written.as_ref();
        (is_new && self.saves.running.is_none()).then_some(self.saves.next_at)
    }

    /// Begins to write the position.
    fn begin_save(&mut self) {
        let Some(revision) = self.queue.reached().cloned() else { return };
        let shown = self.selection.shown();
        let content = position::encode(&revision, self.queue.matched_at_reached(shown));
        let pause = SAVE_INTERVAL * u32::try_from(1 + shown.len() / STREAMS_PER_SECOND).unwrap_or(u32::MAX);
        self.saves.next_at = Instant::now() + pause;
        let file = self.saves.file.clone();
        let write = move || position::write(&file, &content).map(|()| revision);
        self.saves.running = Some(tokio::task::spawn_blocking(write));
    }

    /// Notes the result of a write of the position.
    fn saved(&mut self, result: io::Result<Revision>) {
        let (webhook, file) = (&self.webhook.name, self.saves.file.display());
        match result {
            Ok(revision) => {
                self.saves.written = Some(revision);
                if std::mem::take(&mut self.saves.is_failing) {
                    tracing::info!(%webhook, %file, "the position of a webhook can be stored again");
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut self.saves.is_failing, true) {
                    tracing::warn!(%webhook, %file, %error, "cannot store the position of a webhook; retrying");
                }
            }
        }
    }

    /// Writes the position now.
    ///
    /// # Errors
    ///
    /// Returns the file and the I/O error.
    pub(super) async fn save(&mut self) -> Result<(), (PathBuf, io::Error)> {
        if self.saves.running.is_some() {
            let saved = written(&mut self.saves.running).await;
            self.saved(saved);
        }
        if self.next_save().is_some() {
            self.begin_save();
            let saved = written(&mut self.saves.running).await;
            self.saves.written = Some(saved.map_err(|error| (self.saves.file.clone(), error))?);
        }
        Ok(())
    }
}

/// Sends an event once.
async fn send(webhook: Arc<Webhook>, job: Job) -> Attempt {
    let id = message::id(&job.event);
    let body = message::body(&job.event, job.time);
    let timestamp = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let signature = webhook.secrets.sign(&id, timestamp, &body);
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("streamreg/", env!("CARGO_PKG_VERSION"))));
    headers.insert(WEBHOOK_TIMESTAMP, HeaderValue::from(timestamp));
    for (name, value) in [(WEBHOOK_ID, id), (WEBHOOK_SIGNATURE, signature)] {
        // Both values consist of characters of base64, commas and spaces, so they are always valid.
        headers.extend(HeaderValue::try_from(value).ok().map(|value| (name, value)));
    }
    let answer = webhook.poster.post(&headers, body.into()).await;
    (job, answer)
}

/// Waits until a time; for ever without one.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Waits for a running write; for ever without one.
async fn written(running: &mut Option<JoinHandle<io::Result<Revision>>>) -> io::Result<Revision> {
    let Some(write) = running else { return std::future::pending().await };
    let result = write.await;
    *running = None;
    result.unwrap_or_else(|panic| Err(io::Error::other(panic)))
}
