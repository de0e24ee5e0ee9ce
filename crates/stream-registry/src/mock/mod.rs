//! A registry for your own tests: scripted errors, scripted delays and a manual clock.
//!
//! [`MockRegistry`] is the in-memory store with three additions:
//!
//! - **Errors.** [`fail_next`](MockRegistry::fail_next) makes the next call of an operation fail without a change.
//!   [`fail_next_after_applying`](MockRegistry::fail_next_after_applying) applies the change of the next call and
//!   then makes the call fail, as if the reply was lost.
//! - **Delays.** [`delay`](MockRegistry::delay) makes every call of an operation wait for a given time.
//! - **Time.** The clock of the registry stands still until [`advance`](MockRegistry::advance) moves it.
//!
//! [`calls`](MockRegistry::calls) returns the completed calls with their results.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> stream_registry::Result<()> {
//! use std::time::Duration;
//! use stream_registry::mock::MockRegistry;
//! use stream_registry::registry::Operation;
//! use stream_registry::{ErrorKind, Registry, Stream, StreamId, StreamType};
//!
//! let registry = MockRegistry::with_ttl(Duration::from_secs(60))?;
//! let id = StreamId::new("cam1")?;
//! registry.register(&Stream::new(id.clone(), StreamType::Srt, "203.0.113.7:40112")).await?;
//!
//! // The next heartbeat fails and changes nothing. The heartbeat after that succeeds.
//! registry.fail_next(Operation::Heartbeat, ErrorKind::Unavailable);
//! let error = registry.update_heartbeat(&id).await.unwrap_err();
//! assert!(error.is_retryable() && !error.may_have_applied());
//! registry.update_heartbeat(&id).await?;
//!
//! // Every read takes 200 ms, so a caller with a timeout of 50 ms gives up.
//! registry.delay(Operation::Get, Duration::from_millis(200));
//! assert!(tokio::time::timeout(Duration::from_millis(50), registry.get(&id)).await.is_err());
//! registry.delay(Operation::Get, Duration::ZERO);
//!
//! // The stream expires when its time to live has passed on the clock of the registry.
//! registry.advance(Duration::from_secs(59));
//! assert!(registry.get(&id).await.is_ok());
//! registry.advance(Duration::from_secs(1));
//! assert_eq!(registry.get(&id).await.unwrap_err().kind(), ErrorKind::NotFound);
//!
//! let calls: Vec<_> = registry.calls().iter().map(|call| (call.operation, call.outcome)).collect();
//! assert_eq!(calls[1], (Operation::Heartbeat, Err(ErrorKind::Unavailable)));
//! assert_eq!(calls[2], (Operation::Heartbeat, Ok(())));
//! # Ok(()) }
//! ```

mod script;

use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use crate::error::{Error, ErrorKind, Result};
use crate::memory::{Clock, MemoryRegistry};
use crate::query::{By, Ended, Filter, Query, Summary};
use crate::registry::ttl::{DEFAULT_TTL, check_ttl};
use crate::registry::{
    Operation, Page, RegisterOptions, Registered, Registry, Snapshot, StoreInfo, UnregisterOptions, Write, rules,
};
use crate::stream::{Cursor, Stream, StreamId, Timestamp};
use crate::watch::{Event, Watch, WatchFrom};

pub use script::Call;
use script::{Fault, Script};

/// A [`MemoryRegistry`] with scripted errors and delays and a manual clock, for tests of programs that use a registry.
///
/// The clock stands still until [`advance`](Self::advance) moves it. The registry records all completed calls.
/// Otherwise, it behaves like the in-memory store.
///
/// # Testing a lost reply
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> stream_registry::Result<()> {
/// use stream_registry::mock::MockRegistry;
/// use stream_registry::registry::Operation;
/// use stream_registry::{ErrorKind, Registry, Stream, StreamId, StreamType};
///
/// let registry = MockRegistry::new();
/// let id = StreamId::new("cam1")?;
/// registry.register(&Stream::new(id.clone(), StreamType::Srt, "203.0.113.7:40112")).await?;
///
/// // The call fails, but the stream was unregistered.
/// registry.fail_next_after_applying(Operation::Unregister, ErrorKind::Timeout);
/// assert!(registry.unregister(&id).await.unwrap_err().may_have_applied());
/// assert_eq!(registry.get(&id).await.unwrap_err().kind(), ErrorKind::NotFound);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct MockRegistry {
    memory: MemoryRegistry,
    clock: Clock,
    script: Mutex<Script>,
}

impl Default for MockRegistry {
    fn default() -> Self {
        Self::new()
    }
}

impl MockRegistry {
    /// Creates an empty registry with a time to live of 5 minutes on its own clock.
    pub fn new() -> Self {
        Self::with_checked_ttl(DEFAULT_TTL)
    }

    /// Creates an empty registry with the given time to live.
    ///
    /// # Errors
    ///
    /// Returns `InvalidArgument` if the time to live is not between 1 second and 30 days.
    pub fn with_ttl(ttl: Duration) -> Result<Self> {
        Ok(Self::with_checked_ttl(check_ttl(ttl)?))
    }

    fn with_checked_ttl(ttl: Duration) -> Self {
        let clock = Clock::manual();
        Self { memory: MemoryRegistry::with_clock(ttl, clock.clone()), clock, script: Mutex::default() }
    }

    /// Makes the next call of an operation fail with an error of this kind; the call changes nothing.
    ///
    /// Scripted errors are queued: after two calls of this method, the next two calls of the operation fail.
    ///
    /// An error for `Heartbeat`, `Status`, `Stats`, `Patch` or `Update` applies to one write, alone or in a batch.
    /// An error for `Write` applies to a whole batch; a single write is a batch of one. An error for `Get` applies
    /// to one call of `get` or `get_many`. `Find`, `Summary` and `History` count as one call each, regardless of
    /// how many pages or events they read.
    pub fn fail_next(&self, operation: Operation, kind: ErrorKind) {
        self.fail_next_with(operation, Error::new(kind, "scripted error of the mock registry"));
    }

    /// Makes the next call of an operation fail with this error, as [`fail_next`](Self::fail_next) does.
    pub fn fail_next_with(&self, operation: Operation, error: Error) {
        self.script().push(operation, Fault::Before(error));
    }

    /// Makes the next call of an operation fail after its change was applied, as if the reply was lost.
    /// [`Error::may_have_applied`] is set.
    ///
    /// If the call itself fails, it returns its own error instead of the scripted error.
    pub fn fail_next_after_applying(&self, operation: Operation, kind: ErrorKind) {
        let error = Error::new(kind, "mock registry: simulated loss of the reply");
        self.script().push(operation, Fault::After(error.with_may_have_applied(true)));
    }

    /// Delays the start of every call of an operation. A duration of zero removes the delay.
    ///
    /// The delay uses Tokio's clock, which a test can pause. The delay does not advance the registry's clock. A batch
    /// waits for the longest of the delays for `Write` and for the operations in the batch. A call that is dropped
    /// during its delay has no effect.
    pub fn delay(&self, operation: Operation, by: Duration) {
        self.script().delay(operation, by);
    }

    /// Advances the clock of the registry. Streams expire if their time to live is then over.
    pub fn advance(&self, by: Duration) {
        self.clock.advance(by);
        self.memory.wake();
    }

    /// Returns the time of the registry's clock.
    pub fn now(&self) -> Timestamp {
        self.clock.now().wall
    }

    /// Stores raw JSON under an id, as if another program had written it. Replaces the live record, if there is
    /// one.
    ///
    /// The JSON is decoded leniently. Its times, epoch and unknown fields are kept.
    ///
    /// # Errors
    ///
    /// Returns `Corrupt` if the string is not a JSON object, and `Closed` after the registry was closed.
    pub fn put_stored(&self, id: &StreamId, json: &str) -> Result<()> {
        self.memory.put_stored(Stream::from_stored(id, json)?)
    }

    /// Returns the completed calls since the registry was created or since the last
    /// [`clear_calls`](Self::clear_calls), in the order in which the calls completed.
    ///
    /// A batch is recorded as one call per write, in the order of the writes. If the whole batch failed, it is
    /// recorded as one call of `Write`.
    pub fn calls(&self) -> Vec<Call> {
        self.script().calls.clone()
    }

    /// Clears the recorded calls.
    pub fn clear_calls(&self) {
        self.script().calls.clear();
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        // No code panics while holding this lock, so a poisoned lock can be ignored.
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the longest delay of these operations.
    async fn wait(&self, operations: impl IntoIterator<Item = Operation>) {
        let longest = {
            let script = self.script();
            operations.into_iter().map(|operation| script.delay_of(operation)).max().unwrap_or_default()
        };
        if !longest.is_zero() {
            tokio::time::sleep(longest).await;
        }
    }

    /// Makes one call with the scripted delay and error, and records it.
    async fn call<T>(
        &self,
        operation: Operation,
        id: Option<&StreamId>,
        call: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        self.wait([operation]).await;
        let with_context = |error: Error| {
            let error = error.with_operation(operation);
            if let Some(id) = id { error.with_stream(id) } else { error }
        };
        let fault = self.script().pop(operation);
        let answer = match fault {
            Some(Fault::Before(error)) => Err(with_context(error)),
            Some(Fault::After(error)) => call.await.and_then(|_| Err(with_context(error))),
            None => call.await,
        };
        self.script().record(operation, id, &answer);
        answer
    }

    /// Applies the writes, except those whose scripted error prevents the change. Returns one result per write, in
    /// order.
    async fn write_scripted(&self, writes: &[Write]) -> Result<Vec<Result<()>>> {
        rules::check_batch(writes)?;
        let faults: Vec<_> = {
            let mut script = self.script();
            writes.iter().map(|write| script.pop(write.change.operation())).collect()
        };
        let applies = |fault: &Option<Fault>| !matches!(fault, Some(Fault::Before(_)));
        let applied: Vec<_> =
            writes.iter().zip(&faults).filter(|(_, fault)| applies(fault)).map(|(write, _)| write.clone()).collect();
        let mut answers = self.memory.write(&applied).await?.into_iter();
        let merged = writes.iter().zip(faults).map(|(write, fault)| {
            let with_context = |error| rules::name_write(error, write);
            match fault {
                Some(Fault::Before(error)) => Err(with_context(error)),
                Some(Fault::After(error)) => answers.next().unwrap_or(Ok(())).and(Err(with_context(error))),
                None => answers.next().unwrap_or(Ok(())),
            }
        });
        Ok(merged.collect())
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Registry for MockRegistry {
    async fn register_with(&self, stream: &Stream, options: &RegisterOptions) -> Result<Registered> {
        self.call(Operation::Register, Some(&stream.id), self.memory.register_with(stream, options)).await
    }

    async fn unregister_with(&self, id: &StreamId, options: &UnregisterOptions) -> Result<Stream> {
        self.call(Operation::Unregister, Some(id), self.memory.unregister_with(id, options)).await
    }

    async fn write(&self, writes: &[Write]) -> Result<Vec<Result<()>>> {
        self.wait(writes.iter().map(|write| write.change.operation()).chain([Operation::Write])).await;
        let fault = self.script().pop(Operation::Write);
        let answers = match fault {
            Some(Fault::Before(error)) => Err(error),
            Some(Fault::After(error)) => self.write_scripted(writes).await.and(Err(error)),
            None => self.write_scripted(writes).await,
        };
        let mut script = self.script();
        match &answers {
            Ok(answers) => {
                for (write, answer) in writes.iter().zip(answers) {
                    script.record(write.change.operation(), Some(&write.id), answer);
                }
            }
            Err(_) => script.record(Operation::Write, None, &answers),
        }
        answers
    }

    async fn get(&self, id: &StreamId) -> Result<Stream> {
        self.call(Operation::Get, Some(id), self.memory.get(id)).await
    }

    async fn get_many(&self, ids: &[StreamId]) -> Result<Vec<Option<Stream>>> {
        self.call(Operation::Get, None, self.memory.get_many(ids)).await
    }

    async fn snapshot(&self) -> Result<Snapshot> {
        self.call(Operation::List, None, self.memory.snapshot()).await
    }

    async fn list_page(&self, cursor: Option<&Cursor>, count: NonZeroU32) -> Result<Page> {
        self.call(Operation::ListPage, None, self.memory.list_page(cursor, count)).await
    }

    async fn find(&self, query: &Query) -> Result<Page> {
        self.call(Operation::Find, None, self.memory.find(query)).await
    }

    async fn summary(&self, filter: &Filter, by: By) -> Result<Summary> {
        self.call(Operation::Summary, None, self.memory.summary(filter, by)).await
    }

    async fn history(&self, ended: &Ended, limit: NonZeroU32) -> Result<Vec<Event>> {
        self.call(Operation::History, None, self.memory.history(ended, limit)).await
    }

    async fn watch(&self, from: WatchFrom) -> Result<Watch> {
        self.call(Operation::Watch, None, self.memory.watch(from)).await
    }

    async fn ping(&self) -> Result<()> {
        self.call(Operation::Ping, None, self.memory.ping()).await
    }

    fn now(&self) -> Timestamp {
        self.memory.now()
    }

    fn info(&self) -> StoreInfo {
        StoreInfo::new("mock", self.memory.info().ttl)
    }

    async fn close(&self) -> Result<()> {
        self.call(Operation::Close, None, self.memory.close()).await
    }

    // The convenience methods call the methods above, so these calls are also recorded, and scripted errors apply
    // to them.
    crate::forward_registry!(provided => metrics, register_new, conveniences);
}
