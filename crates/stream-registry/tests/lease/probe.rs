//! A store that counts calls and goes away when it is told to.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use stream_registry::registry::StoreInfo;
use stream_registry::{
    Change, Cursor, Error, ErrorKind, Page, RegisterOptions, Registered, Registry, Result, Snapshot, Stream, StreamId,
    UnregisterOptions, Write,
};

#[derive(Debug)]
pub(crate) struct Probe {
    inner: Arc<dyn Registry>,
    /// Every write fails.
    pub(crate) away: AtomicBool,
    /// While it is away each write is answered on its own, as over HTTP.
    pub(crate) each: AtomicBool,
    /// Every registration and patch fails, as with full memory.
    pub(crate) full: AtomicBool,
    /// The time to live that it tells, where it is not the true one.
    pub(crate) tells: Mutex<Option<Duration>>,
    /// The writes of each call.
    batches: Mutex<Vec<Vec<Write>>>,
    /// Registrations tried.
    pub(crate) registrations: AtomicUsize,
    under_way: AtomicUsize,
    /// The most registrations under way at once.
    pub(crate) most: AtomicUsize,
}

impl Probe {
    pub(crate) fn new(inner: Arc<dyn Registry>) -> Self {
        Self {
            inner,
            away: AtomicBool::new(false),
            each: AtomicBool::new(false),
            full: AtomicBool::new(false),
            tells: Mutex::default(),
            batches: Mutex::default(),
            registrations: AtomicUsize::new(0),
            under_way: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
        }
    }

    pub(crate) fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::SeqCst);
    }

    /// The calls since it was last asked.
    pub(crate) fn take(&self) -> Vec<Vec<Write>> {
        std::mem::take(&mut self.batches.lock().unwrap())
    }

    /// The operations of all writes since it was last asked.
    pub(crate) fn operations(&self) -> Vec<&'static str> {
        self.take().into_iter().flatten().map(|write| write.change.operation().as_str()).collect()
    }

    fn ask(&self) -> Result<()> {
        if self.away.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Unavailable, "the store is away"));
        }
        Ok(())
    }
}

fn out_of_memory() -> Error {
    Error::new(ErrorKind::Unavailable, "out of memory")
}

#[async_trait]
impl Registry for Probe {
    async fn register_with(&self, stream: &Stream, options: &RegisterOptions) -> Result<Registered> {
        self.registrations.fetch_add(1, Ordering::SeqCst);
        self.ask()?;
        if self.full.load(Ordering::SeqCst) {
            return Err(out_of_memory());
        }
        let now = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        let mut answer = self.inner.register_with(stream, options).await;
        if let (Ok(registered), Some(ttl)) = (&mut answer, *self.tells.lock().unwrap()) {
            registered.ttl = ttl;
        }
        self.under_way.fetch_sub(1, Ordering::SeqCst);
        answer
    }
    async fn unregister_with(&self, id: &StreamId, options: &UnregisterOptions) -> Result<Stream> {
        self.ask()?;
        self.inner.unregister_with(id, options).await
    }
    async fn write(&self, writes: &[Write]) -> Result<Vec<Result<()>>> {
        self.batches.lock().unwrap().push(writes.to_vec());
        match self.ask() {
            Err(error) if self.each.load(Ordering::SeqCst) => return Ok(vec![Err(error); writes.len()]),
            answer => answer?,
        }
        if !self.full.load(Ordering::SeqCst) {
            return self.inner.write(writes).await;
        }
        // As Redis does: one write alone fails as a call.
        let refused = |write: &Write| matches!(write.change, Change::Patch(_));
        if let [write] = writes
            && refused(write)
        {
            return Err(out_of_memory());
        }
        let taken: Vec<_> = writes.iter().filter(|write| !refused(write)).cloned().collect();
        let mut answers = self.inner.write(&taken).await?.into_iter();
        let answer = |write| if refused(write) { Err(out_of_memory()) } else { answers.next().unwrap() };
        Ok(writes.iter().map(answer).collect())
    }
    async fn get(&self, id: &StreamId) -> Result<Stream> {
        self.inner.get(id).await
    }
    async fn snapshot(&self) -> Result<Snapshot> {
        self.inner.snapshot().await
    }
    async fn list_page(&self, cursor: Option<&Cursor>, count: NonZeroU32) -> Result<Page> {
        self.inner.list_page(cursor, count).await
    }
    async fn ping(&self) -> Result<()> {
        self.inner.ping().await
    }
    fn info(&self) -> StoreInfo {
        let info = self.inner.info();
        StoreInfo::new(info.kind, self.tells.lock().unwrap().unwrap_or(info.ttl))
    }
    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}
