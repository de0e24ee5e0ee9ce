//! State that all handlers share.

use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use stream_registry::http::wire::{RejectedKind, is_refused_by_store};
use stream_registry::{Error, Registry};
use tokio::sync::Semaphore;

use super::access::{Access, Caller, Writer};
use super::bodies::Bodies;
use super::metrics::Metrics;
use super::once_per_minute::OncePerMinute;
use super::options::ServeOptions;
use super::reloaded::ReloadedFile;

/// Time for which a refusal makes the server not ready. If the permission is still missing, later requests renew it.
const REFUSAL_AGE: Duration = Duration::from_secs(10);

/// A handle to the state that all handlers share. It is cheap to clone, because every request clones the handle.
#[derive(Clone, Debug)]
pub(super) struct App(Arc<State>);

impl From<State> for App {
    fn from(state: State) -> Self {
        Self(Arc::new(state))
    }
}

impl Deref for App {
    type Target = State;

    fn deref(&self) -> &State {
        &self.0
    }
}

/// State that all handlers share.
#[derive(Debug)]
pub(super) struct State {
    /// The store. Its lists come from a view.
    pub(super) registry: Arc<dyn Registry>,
    pub(super) options: ServeOptions,
    pub(super) access: Access,
    /// Permits that limit the number of event readers.
    pub(super) event_readers: Arc<Semaphore>,
    /// The number of these permits, used and free.
    pub(super) event_reader_limit: usize,
    /// Turns of event readers that have an event to send; see `api/events.rs`.
    pub(super) event_turns: Arc<Semaphore>,
    /// Permits that limit the number of histories that are read at the same time.
    pub(super) histories: Arc<Semaphore>,
    /// The memory for the bodies of large responses.
    pub(super) bodies: Bodies,
    /// Limits of the warnings about rejected items of batches, one per kind.
    pub(super) rejected: [OncePerMinute; RejectedKind::ALL.len()],
    pub(super) metrics: Metrics,
    /// The last refusal of the store, which `/readyz` reports.
    pub(super) refusal: LastRefusal,
}

impl State {
    /// Returns the store as a caller may write it. All writes of the API go through this.
    pub(super) fn writer<'a>(&'a self, caller: &'a Caller) -> Writer<'a> {
        Writer::new(&*self.registry, caller)
    }

    /// Returns the kinds of the changed files that are unusable, so that the server uses their earlier contents.
    pub(super) fn outdated_files(&self) -> impl Iterator<Item = ReloadedFile> {
        let tls = self.options.tls.as_ref().filter(|tls| tls.is_outdated());
        self.access.outdated_file().into_iter().chain(tls.map(|_| ReloadedFile::Tls))
    }
}

/// The last error with which the store refused the credentials of this server.
#[derive(Debug, Default)]
pub(super) struct LastRefusal(Mutex<Option<(Instant, Error)>>);

impl LastRefusal {
    /// Records an error if it is a refusal.
    pub(super) fn record(&self, error: &Error) {
        if is_refused_by_store(error) {
            *self.lock() = Some((Instant::now(), error.clone()));
        }
    }

    /// Returns the last refusal if it is recent.
    pub(super) fn recent(&self) -> Option<Error> {
        self.lock().as_ref().filter(|(at, _)| at.elapsed() < REFUSAL_AGE).map(|(_, error)| error.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Option<(Instant, Error)>> {
        // The value is replaced as a whole, so a panic cannot leave a partial value.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
