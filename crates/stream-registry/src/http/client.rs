//! The registry's operations as requests.

use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use hyper::Method;
use hyper::header::HeaderName;
use tokio::sync::watch::Sender;

use super::options::HttpOptions;
use super::transport::{Call, LIST, Transport};
use super::watch;
use super::wire::{self, JSON, LabelsMode, MERGE_PATCH_JSON};
use crate::error::{Error, ErrorKind, Result};
use crate::query::{By, Ended, Filter, Order, Query, Summary};
use crate::registry::{
    Change, Guard, OnConflict, Page, RegisterOptions, Registered, Registry, Snapshot, StoreInfo, UnregisterOptions,
    Write,
};
use crate::registry::{Operation, rules};
use crate::stream::{Cursor, OperationId, Stream, StreamId};
use crate::watch::{Event, Watch, WatchFrom};

/// How many requests of one call of [`Registry::write`] are under way at once.
const CONCURRENT_WRITES: usize = 16;

const STREAM_EPOCH: HeaderName = HeaderName::from_static(wire::STREAM_EPOCH);
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static(wire::IDEMPOTENCY_KEY);
const PREFER: HeaderName = HeaderName::from_static("prefer");

/// A registry behind a running `streamreg serve`.
///
/// The time to live is the server's. Connections are kept and used again; a request whose connection
/// was lost before an answer came is sent once more, under the same operation id. Needs a Tokio runtime.
///
/// ```no_run
/// # async fn example() -> stream_registry::Result<()> {
/// use stream_registry::{HttpRegistry, Registry};
/// let registry = HttpRegistry::connect("http://127.0.0.1:8580".parse()?).await?;
/// println!("{} streams", registry.list().await?.len());
/// # Ok(()) }
/// ```
///
/// # Cancel safety
///
/// A write whose future is dropped has happened whole, or not at all, or happens yet if its request
/// was on the way. Of a batch, those that were not sent are not done. A [watch](Registry::watch) loses no event
/// when [`Watch::next`] is dropped.
pub struct HttpRegistry {
    /// `None` after `close`.
    transport: Mutex<Option<Transport>>,
    /// Ends those who follow.
    closed: Sender<bool>,
    base: String,
    ttl: Duration,
    read_only: bool,
}

impl fmt::Debug for HttpRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpRegistry")
            .field("base", &self.base)
            .field("ttl", &self.ttl)
            .field("read_only", &self.read_only)
            .finish_non_exhaustive()
    }
}

impl HttpRegistry {
    /// Asks the server what it is, and keeps the connection.
    ///
    /// # Errors
    ///
    /// `Unavailable` or `Timeout` where no server answers; `Internal` where something else than
    /// `streamreg serve` does; `InvalidArgument` for a token that no header carries.
    ///
    /// # Cancel safety
    ///
    /// Nothing stays when the future is dropped.
    pub async fn connect(options: HttpOptions) -> Result<Self> {
        Self::open(options).await.map_err(|error| error.with_operation(Operation::Connect))
    }

    async fn open(options: HttpOptions) -> Result<Self> {
        let transport = Transport::new(&options)?;
        let info = wire::read_info(&transport.send(Call::new(Method::GET, "/api/v1/info")).await?)?;
        Ok(Self {
            transport: Mutex::new(Some(transport)),
            closed: Sender::new(false),
            base: options.base,
            ttl: Duration::from_millis(info.ttl_ms),
            read_only: options.read_only || info.read_only,
        })
    }

    fn slot(&self) -> MutexGuard<'_, Option<Transport>> {
        self.transport.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn transport(&self) -> Result<Transport> {
        self.slot().clone().ok_or_else(Error::closed)
    }

    fn transport_to_write(&self) -> Result<Transport> {
        let transport = self.transport()?;
        if self.read_only { Err(rules::read_only()) } else { Ok(transport) }
    }

    async fn register_by(&self, policy: &str, body: String, options: &RegisterOptions) -> Result<Registered> {
        let transport = self.transport_to_write()?;
        let operation = options.operation.clone().unwrap_or_else(OperationId::generate);
        let mut query: Vec<_> = Some(policy).into_iter().filter(|policy| !policy.is_empty()).collect();
        if options.lease {
            query.push("lease=true");
        }
        if options.recover.is_some() {
            query.push("recover=true");
        }
        let mut call = Call::new(Method::POST, with_query("/api/v1/streams".to_owned(), &query.join("&")));
        if let Some(epoch) = &options.recover {
            call = call.header(STREAM_EPOCH, epoch.as_str());
        }
        let call = call.body(JSON, body).header(IDEMPOTENCY_KEY, operation.as_str());
        // An answer that cannot be read came from a server that has done it.
        wire::read_registered(&transport.send(call).await?).map_err(|error| error.with_may_have_applied(true))
    }

    async fn register_given(&self, stream: &Stream, options: &RegisterOptions) -> Result<Registered> {
        rules::check_registration(stream, options)?;
        let policy = match options.on_conflict {
            OnConflict::Reject => String::new(),
            OnConflict::CreateOnly => "on_conflict=create_only".to_owned(),
            OnConflict::TakeOver => "on_conflict=take_over".to_owned(),
            OnConflict::TakeOverIfStale(after) => {
                // Nothing lives longer, so that a longer time says the same.
                let stale = after.min(Duration::from_millis(wire::MAX_STALE_MS));
                // Up, so that nothing is taken over too early.
                let stale_ms = stale.as_nanos().div_ceil(1_000_000);
                format!("on_conflict=take_over_if_stale&stale_ms={stale_ms}")
            }
        };
        self.register_by(&policy, wire::record_body(stream), options).await
    }

    async fn end_given(&self, id: &StreamId, options: &UnregisterOptions) -> Result<Stream> {
        let transport = self.transport_to_write()?;
        let mut query = Vec::new();
        if let Some(reason) = options.reason.as_str() {
            query.push(format!("reason={}", wire::encode_segment(reason)));
        }
        let call = guarded(Method::DELETE, wire::stream_path(id.as_str()), query, &options.guard);
        let operation = options.operation.clone().unwrap_or_else(OperationId::generate);
        let call = call.header(IDEMPOTENCY_KEY, operation.as_str()).header(PREFER, "return=representation");
        let last = transport.send(call).await?;
        Stream::from_stored(id, &last).map_err(|invalid| Error::from(invalid).with_may_have_applied(true))
    }

    /// Reads an answer that may be as long as a list.
    async fn read_list(&self, path: &str, pairs: &[(&str, String)]) -> Result<String> {
        let pairs: Vec<_> =
            pairs.iter().map(|(name, value)| format!("{name}={}", wire::encode_segment(value))).collect();
        let path = with_query(path.to_owned(), &pairs.join("&"));
        self.transport()?.send(Call::new(Method::GET, path).cap(LIST)).await
    }

    async fn read_one(&self, id: &StreamId) -> Result<Stream> {
        let text = self.transport()?.send(Call::new(Method::GET, wire::stream_path(id.as_str()))).await?;
        Ok(Stream::from_stored(id, &text)?)
    }
}

fn with_query(path: String, query: &str) -> String {
    if query.is_empty() { path } else { format!("{path}?{query}") }
}

/// Makes the request of a write with its condition.
fn guarded(method: Method, path: String, mut query: Vec<String>, guard: &Guard) -> Call {
    if *guard == Guard::Force {
        query.push("force=true".to_owned());
    }
    let call = Call::new(method, with_query(path, &query.join("&")));
    match guard {
        Guard::Holder(epoch) => call.header(STREAM_EPOCH, epoch.as_str()),
        Guard::None | Guard::Force => call,
    }
}

fn call_of(write: &Write) -> Call {
    let path = wire::stream_path(write.id.as_str());
    let guard = &write.guard;
    match &write.change {
        Change::Heartbeat => guarded(Method::POST, format!("{path}/heartbeat"), Vec::new(), guard),
        Change::Status(status) => {
            guarded(Method::PUT, format!("{path}/status"), Vec::new(), guard).body(JSON, wire::status_body(status))
        }
        Change::Stats(stats) => {
            guarded(Method::PUT, format!("{path}/stats"), Vec::new(), guard).body(JSON, wire::stats_body(stats))
        }
        Change::Patch(patch) => {
            let (body, labels) = wire::patch_body(patch);
            let query = match labels {
                LabelsMode::Merge => Vec::new(),
                LabelsMode::Replace => vec!["labels=replace".to_owned()],
            };
            guarded(Method::PATCH, path, query, guard).body(MERGE_PATCH_JSON, body).header(PREFER, "return=minimal")
        }
        Change::Update(stream) => guarded(Method::PUT, path, Vec::new(), guard)
            .body(JSON, wire::record_body(stream))
            .header(PREFER, "return=minimal"),
    }
}

/// Whether nothing answered in time. A problem that the server reports is one write's own, full memory
/// say, unless its store was too slow; only what the connection says has a source.
fn is_down(error: &Error) -> bool {
    error.kind() == ErrorKind::Timeout || (error.is_retryable() && std::error::Error::source(error).is_some())
}

/// What a write is answered that was not sent.
///
/// Waiting for a dead server again and again would take minutes, and a request that got no
/// answer may still arrive there: a later one to the same stream must not overtake it.
fn not_sent() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "not sent, since the server did not answer another write of this call; try again",
    )
}

/// Sends heartbeats and statistics of different streams in one request.
async fn write_batch(
    transport: &Transport,
    down: &AtomicBool,
    (body, writes): wire::Batch<'_>,
) -> Vec<(usize, Result<()>)> {
    let answer = if down.load(Ordering::Relaxed) {
        Err(not_sent())
    } else {
        let call = Call::new(Method::POST, wire::HEARTBEATS).body(JSON, body).cap(LIST);
        // An answer that cannot be read came from a server that has done it.
        let answer = transport.send(call).await;
        answer.and_then(|text| wire::read_batch_answer(&text).map_err(|error| error.with_may_have_applied(true)))
    };
    if answer.as_ref().is_err_and(is_down) {
        down.store(true, Ordering::Relaxed);
    }
    let answer_to = |write: &Write| match &answer {
        Err(error) => Err(error.clone()),
        Ok(errors) => errors.get(write.id.as_str()).cloned().map_or(Ok(()), Err),
    };
    let named = |write: &Write| answer_to(write).map_err(|error| rules::name_write(error, write));
    writes.into_iter().map(|(at, write)| (at, named(write))).collect()
}

/// Sends the writes to one stream, one after the other.
async fn write_group(
    transport: &Transport,
    down: &AtomicBool,
    writes: Vec<(usize, &Write)>,
) -> Vec<(usize, Result<()>)> {
    let mut answers = Vec::with_capacity(writes.len());
    for (at, write) in writes {
        let answer = match rules::check_write(write) {
            Err(error) => Err(error),
            Ok(()) if down.load(Ordering::Relaxed) => Err(not_sent()),
            Ok(()) => transport.send(call_of(write)).await.map(|_| ()),
        };
        if answer.as_ref().is_err_and(is_down) {
            down.store(true, Ordering::Relaxed);
        }
        answers.push((at, answer.map_err(|error| rules::name_write(error, write))));
    }
    answers
}

#[async_trait]
impl Registry for HttpRegistry {
    async fn register_with(&self, stream: &Stream, options: &RegisterOptions) -> Result<Registered> {
        self.register_given(stream, options)
            .await
            .map_err(|error| error.with_stream(&stream.id).with_operation(Operation::Register))
    }

    async fn register_new(&self, stream: &Stream, options: &RegisterOptions) -> Result<Registered> {
        let registered = match rules::check_registration(stream, options).and_then(|()| rules::check_new(options)) {
            Ok(()) => self.register_by("", wire::record_without_id(stream), options).await,
            Err(error) => Err(error),
        };
        registered.map_err(|error| error.with_operation(Operation::Register))
    }

    async fn unregister_with(&self, id: &StreamId, options: &UnregisterOptions) -> Result<Stream> {
        self.end_given(id, options).await.map_err(|error| error.with_stream(id).with_operation(Operation::Unregister))
    }

    async fn write(&self, writes: &[Write]) -> Result<Vec<Result<()>>> {
        rules::check_batch(writes)?;
        let transport = self.transport_to_write()?;
        let mut places = HashMap::new();
        let mut groups: Vec<Vec<(usize, &Write)>> = Vec::new();
        for (at, write) in writes.iter().enumerate() {
            let place = *places.entry(&write.id).or_insert(groups.len());
            if place == groups.len() {
                groups.push(Vec::new());
            }
            groups[place].push((at, write));
        }
        // What is alone with its stream can go beside others; one after the other goes what has an order.
        let (beside, mut groups): (Vec<_>, Vec<_>) = groups.into_iter().partition(|group| match &group[..] {
            [(_, write)] => wire::goes_in_a_batch(write) && rules::check_write(write).is_ok(),
            _ => false,
        });
        let mut beside: Vec<_> = beside.into_iter().flatten().collect();
        if beside.len() == 1 {
            groups.push(std::mem::take(&mut beside));
        }
        let down = AtomicBool::new(false);
        let batches = wire::batches(beside).into_iter().map(|batch| write_batch(&transport, &down, batch).boxed());
        let singles = groups.into_iter().map(|group| write_group(&transport, &down, group).boxed());
        // Collected first: the compiler cannot prove `Send` for a stream that borrows within its closure.
        let under_way: Vec<_> = batches.chain(singles).collect();
        let mut answers: Vec<_> = stream::iter(under_way).buffer_unordered(CONCURRENT_WRITES).concat().await;
        answers.sort_unstable_by_key(|(at, _)| *at);
        Ok(answers.into_iter().map(|(_, answer)| answer).collect())
    }

    async fn get(&self, id: &StreamId) -> Result<Stream> {
        self.read_one(id).await.map_err(|error| error.with_stream(id).with_operation(Operation::Get))
    }

    async fn snapshot(&self) -> Result<Snapshot> {
        let answer = async {
            let call = Call::new(Method::GET, "/api/v1/snapshot").cap(LIST);
            wire::read_snapshot(&self.transport()?.send(call).await?)
        };
        answer.await.map_err(|error| error.with_operation(Operation::List))
    }

    async fn list_page(&self, cursor: Option<&Cursor>, count: NonZeroU32) -> Result<Page> {
        let mut query = Query::default().limit(count);
        query.cursor = cursor.cloned();
        self.find(&query).await
    }

    async fn find(&self, query: &Query) -> Result<Page> {
        let mut pairs = query.filter.pairs();
        pairs.push(("limit", query.limit.get().min(wire::MAX_LIMIT).to_string()));
        if query.order != Order::default() {
            pairs.push(("sort", query.order.to_string()));
        }
        pairs.extend(query.cursor.as_ref().map(|cursor| ("cursor", cursor.to_string())));
        let answer = async { wire::read_page(&self.read_list("/api/v1/streams", &pairs).await?) };
        answer.await.map_err(|error| error.with_operation(Operation::ListPage))
    }

    async fn summary(&self, filter: &Filter, by: By) -> Result<Summary> {
        let mut pairs = filter.pairs();
        pairs.push(("by", by.as_str().to_owned()));
        let answer = async { wire::read_summary(&self.read_list("/api/v1/summary", &pairs).await?) };
        answer.await.map_err(|error| error.with_operation(Operation::ListPage))
    }

    async fn history(&self, ended: &Ended, limit: NonZeroU32) -> Result<Vec<Event>> {
        let mut pairs = vec![("limit", limit.get().min(wire::MAX_LIMIT).to_string())];
        pairs.extend(ended.id.as_ref().map(|id| ("id", id.to_string())));
        pairs.extend(ended.kind.as_ref().map(|kind| ("type", kind.to_string())));
        pairs.extend(ended.node.as_ref().map(|node| ("node", node.clone())));
        let answer = async { wire::read_history(&self.read_list("/api/v1/history", &pairs).await?) };
        answer.await.map_err(|error| error.with_operation(Operation::Watch))
    }

    async fn watch(&self, from: WatchFrom) -> Result<Watch> {
        let answer = async { watch::follow(self.transport()?, self.closed.subscribe(), from).await };
        answer.await.map_err(|error| error.with_operation(Operation::Watch))
    }

    async fn ping(&self) -> Result<()> {
        let answer = async { self.transport()?.send(Call::new(Method::GET, "/readyz")).await };
        answer.await.map(|_| ()).map_err(|error| error.with_operation(Operation::Ping))
    }

    fn info(&self) -> StoreInfo {
        StoreInfo::new("http", self.ttl).read_only(self.read_only)
    }

    async fn close(&self) -> Result<()> {
        // Calls under way hold a clone and finish; the idle connections close with the last one.
        self.slot().take();
        self.closed.send_replace(true);
        Ok(())
    }
}
