//! A store for users' tests: errors, delays and time on demand.

mod script;

use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use crate::error::{Error, ErrorKind, Result};
use crate::memory::Clock;
use crate::memory::MemoryRegistry;
use crate::registry::ttl::{DEFAULT_TTL, check_ttl};
use crate::registry::{
    Operation, Page, RegisterOptions, Registered, Registry, Snapshot, StoreInfo, UnregisterOptions, Write, rules,
};
use crate::stream::{Cursor, Stream, StreamId, Timestamp};
use crate::watch::{Watch, WatchFrom};

pub use script::Call;
use script::{Fault, Script};

/// A [`MemoryRegistry`] for tests of programs that use a registry.
///
/// Its clock stands still until [`advance`](Self::advance) moves it, calls fail or take time as they
/// are told to, and it remembers the calls that were made. Everything else is the in-memory store.
///
/// # A program that goes on when the store is away for a moment
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> stream_registry::Result<()> {
/// use std::time::Duration;
/// use stream_registry::{ErrorKind, Registry, Stream, StreamType};
/// use stream_registry::mock::MockRegistry;
/// use stream_registry::registry::Operation;
///
/// let registry = MockRegistry::with_ttl(Duration::from_secs(60))?;
/// let id = "cam1".parse()?;
/// registry.register(&Stream::new("cam1".parse()?, StreamType::Srt, "203.0.113.7:40112")).await?;
///
/// // The next heartbeat fails and changes nothing; the one after it is good.
/// registry.fail_next(Operation::Heartbeat, ErrorKind::Unavailable);
/// let error = registry.update_heartbeat(&id).await.unwrap_err();
/// assert!(error.is_retryable() && !error.may_have_applied());
/// registry.advance(Duration::from_secs(59));
/// registry.update_heartbeat(&id).await?;
///
/// // An unregister whose answer is lost: done, though it failed.
/// registry.fail_next_after_applying(Operation::Unregister, ErrorKind::Timeout);
/// assert!(registry.unregister(&id).await.unwrap_err().may_have_applied());
/// assert_eq!(registry.get(&id).await.unwrap_err().kind(), ErrorKind::NotFound);
///
/// let calls: Vec<_> = registry.calls().iter().map(|call| (call.operation, call.outcome)).collect();
/// assert_eq!(calls[1], (Operation::Heartbeat, Err(ErrorKind::Unavailable)));
/// assert_eq!(calls[2], (Operation::Heartbeat, Ok(())));
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
    /// Makes an empty registry whose streams live for 5 minutes of its own clock.
    pub fn new() -> Self {
        Self::with_checked_ttl(DEFAULT_TTL)
    }

    /// Makes an empty registry with another time to live.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` outside of 1 second to 30 days.
    pub fn with_ttl(ttl: Duration) -> Result<Self> {
        Ok(Self::with_checked_ttl(check_ttl(ttl)?))
    }

    fn with_checked_ttl(ttl: Duration) -> Self {
        let clock = Clock::manual();
        Self { memory: MemoryRegistry::with_clock(ttl, clock.clone()), clock, script: Mutex::default() }
    }

    /// Lets the next call of an operation fail with an error of this kind; it changes nothing.
    ///
    /// Calls queue: told twice, the next two fail. The operation of a single write (`Heartbeat`, `Status`,
    /// `Stats`, `Patch`, `Update`) fails that write, alone or within a batch; `Write` fails a whole batch,
    /// which a single write is too.
    pub fn fail_next(&self, operation: Operation, kind: ErrorKind) {
        self.fail_next_with(operation, Error::new(kind, "the mock registry was told to fail this call"));
    }

    /// As [`fail_next`](Self::fail_next), with an error of your own.
    pub fn fail_next_with(&self, operation: Operation, error: Error) {
        self.script().push(operation, Fault::Before(error));
    }

    /// As [`fail_next`](Self::fail_next), but the change is made before the call fails, as when the answer is
    /// lost; [`Error::may_have_applied`] is set.
    ///
    /// Where the call would fail anyway, its own error is the answer.
    pub fn fail_next_after_applying(&self, operation: Operation, kind: ErrorKind) {
        let error = Error::new(kind, "the mock registry was told to lose the answer of this call");
        self.script().push(operation, Fault::After(error.with_may_have_applied(true)));
    }

    /// Lets every call of an operation take this long before anything happens; zero ends it.
    ///
    /// Time passes as Tokio's does, also when it is paused, and apart from the registry's own clock. A batch
    /// takes the longest delay of `Write` and of the writes in it. A call that is dropped meanwhile is not made.
    pub fn delay(&self, operation: Operation, by: Duration) {
        self.script().delay(operation, by);
    }

    /// Moves the registry's clock; streams whose time is over are gone.
    pub fn advance(&self, by: Duration) {
        self.clock.advance(by);
        self.memory.wake();
    }

    /// Returns the time of the registry's clock.
    pub fn now(&self) -> Timestamp {
        self.clock.now().wall
    }

    /// Puts a record under an id as another program may have written it: read leniently, with its own times,
    /// epoch and unknown fields; in place of the live one, if there is one.
    ///
    /// # Errors
    ///
    /// `Corrupt` where the text is not a JSON object; `Closed`.
    pub fn put_stored(&self, id: &StreamId, text: &str) -> Result<()> {
        self.memory.put_stored(Stream::from_stored(id, text)?)
    }

    /// Returns the calls that were answered since the beginning or the last [`clear_calls`](Self::clear_calls),
    /// in the order of their answers.
    ///
    /// A batch counts as the writes in it, in their order, and as one call of `Write` where it failed as a whole.
    pub fn calls(&self) -> Vec<Call> {
        self.script().calls.clone()
    }

    /// Forgets the calls made so far.
    pub fn clear_calls(&self) {
        self.script().calls.clear();
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        // No panic is possible between the two halves of a change to it.
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits as long as the slowest of these operations was told to take.
    async fn wait(&self, operations: impl IntoIterator<Item = Operation>) {
        let longest = {
            let script = self.script();
            operations.into_iter().map(|operation| script.delay_of(operation)).max().unwrap_or_default()
        };
        if !longest.is_zero() {
            tokio::time::sleep(longest).await;
        }
    }

    /// Makes one call as the script says, and remembers it.
    async fn call<T>(
        &self,
        operation: Operation,
        id: Option<&StreamId>,
        call: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        self.wait([operation]).await;
        let name = |error: Error| {
            let error = error.with_operation(operation);
            if let Some(id) = id { error.with_stream(id) } else { error }
        };
        let fault = self.script().pop(operation);
        let answer = match fault {
            Some(Fault::Before(error)) => Err(name(error)),
            Some(Fault::After(error)) => call.await.and_then(|_| Err(name(error))),
            None => call.await,
        };
        self.script().remember(operation, id, &answer);
        answer
    }

    /// Makes the writes that the script lets through, and puts the others' errors in their places.
    async fn write_scripted(&self, writes: &[Write]) -> Result<Vec<Result<()>>> {
        rules::check_batch(writes)?;
        let faults: Vec<_> = {
            let mut script = self.script();
            writes.iter().map(|write| script.pop(write.change.operation())).collect()
        };
        let through = |fault: &Option<Fault>| !matches!(fault, Some(Fault::Before(_)));
        let made: Vec<_> =
            writes.iter().zip(&faults).filter(|(_, fault)| through(fault)).map(|(write, _)| write.clone()).collect();
        let mut answers = self.memory.write(&made).await?.into_iter();
        let merged = writes.iter().zip(faults).map(|(write, fault)| {
            let name = |error| rules::name_write(error, write);
            match fault {
                Some(Fault::Before(error)) => Err(name(error)),
                Some(Fault::After(error)) => answers.next().unwrap_or(Ok(())).and(Err(name(error))),
                None => answers.next().unwrap_or(Ok(())),
            }
        });
        Ok(merged.collect())
    }
}

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
                    script.remember(write.change.operation(), Some(&write.id), answer);
                }
            }
            Err(_) => script.remember(Operation::Write, None, &answers),
        }
        answers
    }

    async fn get(&self, id: &StreamId) -> Result<Stream> {
        self.call(Operation::Get, Some(id), self.memory.get(id)).await
    }

    async fn snapshot(&self) -> Result<Snapshot> {
        self.call(Operation::List, None, self.memory.snapshot()).await
    }

    async fn list_page(&self, cursor: Option<&Cursor>, count: NonZeroU32) -> Result<Page> {
        self.call(Operation::ListPage, None, self.memory.list_page(cursor, count)).await
    }

    async fn watch(&self, from: WatchFrom) -> Result<Watch> {
        self.call(Operation::Watch, None, self.memory.watch(from)).await
    }

    async fn ping(&self) -> Result<()> {
        self.call(Operation::Ping, None, self.memory.ping()).await
    }

    fn info(&self) -> StoreInfo {
        StoreInfo::new("mock", self.memory.info().ttl)
    }

    async fn close(&self) -> Result<()> {
        self.call(Operation::Close, None, self.memory.close()).await
    }
}
