//! A store that records its calls and fails on demand.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use stream_registry::registry::StoreInfo;
use stream_registry::watch::{Watch, WatchFrom};
use stream_registry::{
    Change, Error, ErrorKind, RegisterOptions, Registered, Registry, Result, Stream, StreamId, UnregisterOptions,
    Write, forward_registry,
};

#[derive(Debug)]
pub(crate) struct FaultyStore {
    inner: Arc<dyn Registry>,
    /// If set, every call fails, as if the store were unreachable.
    down: AtomicBool,
    /// If set, an outage fails each write in a call, as over HTTP, instead of the whole call.
    pub(crate) fail_each_write: AtomicBool,
    /// If set, every registration and patch fails, as in a store with full memory.
    pub(crate) memory_full: AtomicBool,
    /// If set, the store has no change feed.
    pub(crate) without_feed: AtomicBool,
    /// If set, the change feed cannot be reached.
    pub(crate) watch_down: AtomicBool,
    /// The time to live that the store reports instead of its real time to live.
    pub(crate) reported_ttl: Mutex<Option<Duration>>,
    /// The recorded calls of `write`, each with its writes.
    calls: Mutex<Vec<Vec<Write>>>,
    writes_in_flight: AtomicUsize,
    /// Greatest number of calls of `write` that were in flight at once.
    pub(crate) max_writes: AtomicUsize,
    /// Number of attempted registrations.
    pub(crate) registrations: AtomicUsize,
    registrations_in_flight: AtomicUsize,
    /// Greatest number of registrations that were in flight at once.
    pub(crate) max_registrations: AtomicUsize,
}

impl FaultyStore {
    pub(crate) fn new(inner: Arc<dyn Registry>) -> Self {
        Self {
            inner,
            down: AtomicBool::new(false),
            fail_each_write: AtomicBool::new(false),
            memory_full: AtomicBool::new(false),
            without_feed: AtomicBool::new(false),
            watch_down: AtomicBool::new(false),
            reported_ttl: Mutex::default(),
            calls: Mutex::default(),
            writes_in_flight: AtomicUsize::new(0),
            max_writes: AtomicUsize::new(0),
            registrations: AtomicUsize::new(0),
            registrations_in_flight: AtomicUsize::new(0),
            max_registrations: AtomicUsize::new(0),
        }
    }

    pub(crate) fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }

    /// Returns the recorded calls of `write` and clears the record.
    pub(crate) fn take_calls(&self) -> Vec<Vec<Write>> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }

    /// Returns the operations of all recorded writes and clears the record.
    pub(crate) fn take_operations(&self) -> Vec<&'static str> {
        self.take_calls().into_iter().flatten().map(|write| write.change.operation().as_str()).collect()
    }

    fn check_up(&self) -> Result<()> {
        if self.down.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Unavailable, "the store is down"));
        }
        Ok(())
    }
}

fn out_of_memory() -> Error {
    Error::new(ErrorKind::Unavailable, "out of memory")
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Registry for FaultyStore {
    async fn register_with(&self, stream: &Stream, options: &RegisterOptions) -> Result<Registered> {
        self.registrations.fetch_add(1, Ordering::SeqCst);
        self.check_up()?;
        if self.memory_full.load(Ordering::SeqCst) {
            return Err(out_of_memory());
        }
        let now = self.registrations_in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        self.max_registrations.fetch_max(now, Ordering::SeqCst);
        let mut result = self.inner.register_with(stream, options).await;
        if let (Ok(registered), Some(ttl)) = (&mut result, *self.reported_ttl.lock().unwrap()) {
            registered.ttl = ttl;
        }
        self.registrations_in_flight.fetch_sub(1, Ordering::SeqCst);
        result
    }
    async fn unregister_with(&self, id: &StreamId, options: &UnregisterOptions) -> Result<Stream> {
        self.check_up()?;
        self.inner.unregister_with(id, options).await
    }
    async fn write(&self, writes: &[Write]) -> Result<Vec<Result<()>>> {
        self.calls.lock().unwrap().push(writes.to_vec());
        match self.check_up() {
            Err(error) if self.fail_each_write.load(Ordering::SeqCst) => return Ok(vec![Err(error); writes.len()]),
            result => result?,
        }
        if !self.memory_full.load(Ordering::SeqCst) {
            let now = self.writes_in_flight.fetch_add(1, Ordering::SeqCst) + 1;
            self.max_writes.fetch_max(now, Ordering::SeqCst);
            let result = self.inner.write(writes).await;
            self.writes_in_flight.fetch_sub(1, Ordering::SeqCst);
            return result;
        }
        // If a call has only one write, the whole call fails, as in Redis.
        let rejected = |write: &Write| matches!(write.change, Change::Patch(_));
        if let [write] = writes
            && rejected(write)
        {
            return Err(out_of_memory());
        }
        let accepted: Vec<_> = writes.iter().filter(|write| !rejected(write)).cloned().collect();
        let mut results = self.inner.write(&accepted).await?.into_iter();
        let result = |write| if rejected(write) { Err(out_of_memory()) } else { results.next().unwrap() };
        Ok(writes.iter().map(result).collect())
    }
    async fn watch(&self, from: WatchFrom) -> Result<Watch> {
        if self.without_feed.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Unsupported, "no change feed"));
        }
        if self.watch_down.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Unavailable, "the change feed is down"));
        }
        self.inner.watch(from).await
    }
    fn info(&self) -> StoreInfo {
        let info = self.inner.info();
        StoreInfo::new(info.kind, self.reported_ttl.lock().unwrap().unwrap_or(info.ttl))
    }

    forward_registry!(|this| this.inner => get, get_many, snapshot, list_page, find, summary, history, ping, now, close);
    forward_registry!(provided => metrics, register_new, conveniences);
}
