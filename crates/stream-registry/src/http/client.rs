//! The operations of the registry as HTTP requests.

use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use hyper::Method;
use hyper::header::HeaderName;
use tokio::sync::watch::Sender;

use super::clock::ServerClock;
use super::options::HttpOptions;
use super::transport::{Call, LIST_LIMIT, Transport};
use super::watch;
use super::wire::{self, JSON};
use super::write::{self, PREFER, STREAM_EPOCH, guarded, with_query};
use crate::error::{Error, Result};
use crate::query::{By, Ended, Filter, Order, Query, Summary, history};
use crate::registry::{
    OnConflict, Page, RegisterOptions, Registered, Registry, SameSource, Snapshot, StoreInfo, UnregisterOptions, Write,
};
use crate::registry::{Operation, rules};
use crate::stream::{Cursor, OperationId, Stream, StreamId, Timestamp};
use crate::watch::{Event, Watch, WatchFrom};

/// Timeout for a history request. It is long, because the server may read the whole feed before it responds.
const HISTORY_TIMEOUT: Duration = history::CALL_TIMEOUT.saturating_add(Duration::from_secs(5));

/// Maximum size of the ids in the query of a request, in bytes. Some proxies reject URLs of more than 8 KiB.
const MAX_QUERY: usize = 6 * 1024;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static(wire::IDEMPOTENCY_KEY);

/// A registry on a server that runs `streamreg serve`.
///
/// The server decides the time to live of streams. Connections are reused. If a connection is lost before the response
/// arrives, a read or a request with an operation id is retried once. The client needs a Tokio runtime.
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
/// If the future of a write is dropped, the write is applied completely or not at all. A request in flight may still be
/// applied later. Writes of a batch that have not been sent are not applied. A [watch](Registry::watch) loses no event
/// if the future of [`Watch::next`] is dropped.
pub struct HttpRegistry {
    /// The connections to the server. `None` after `close`.
    transport: Mutex<Option<Transport>>,
    /// Set to `true` by `close`, which ends all watches.
    closed: Sender<bool>,
    clock: Arc<ServerClock>,
    base: String,
    ttl: Duration,
    read_only: bool,
    server_is_read_only: bool,
    /// The warning of the server's store when this client connected.
    warning: Option<String>,
}

impl fmt::Debug for HttpRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpRegistry")
            .field("base", &self.base)
            .field("ttl", &self.ttl)
            .field("read_only", &self.read_only)
            .field("server_is_read_only", &self.server_is_read_only)
            .finish_non_exhaustive()
    }
}

impl HttpRegistry {
    /// Connects to a server and reads its description.
    ///
    /// # Errors
    ///
    /// Returns `Unavailable` or `Timeout` if no server responds, or if the host name is unknown. Returns `Internal` if
    /// the response is not from `streamreg serve`. Returns `InvalidArgument` if the token contains characters that are
    /// invalid in a header, or if a TLS file is unusable. Returns `Unauthenticated` if one side rejects the certificate
    /// of the other, and `Unsupported` if the server does not use TLS, or if this build does not have it.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the connection is closed.
    pub async fn connect(options: HttpOptions) -> Result<Self> {
        Self::open(options).await.map_err(|error| error.with_operation(Operation::Connect))
    }

    async fn open(options: HttpOptions) -> Result<Self> {
        let transport = Transport::new(&options)?;
        if options.tls.as_ref().is_some_and(|tls| tls.insecure) {
            tracing::warn!("insecure=true: the certificate of the server is not checked; use this for tests only");
        }
        let info = wire::read_info(&transport.send_first(Call::new(Method::GET, "/api/v1/info")).await?)?;
        Ok(Self {
            clock: transport.clock(),
            transport: Mutex::new(Some(transport)),
            closed: Sender::new(false),
            base: options.base,
            ttl: Duration::from_millis(info.ttl_ms),
            read_only: options.read_only,
            server_is_read_only: info.read_only,
            warning: info.warning,
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
        if self.read_only {
            return Err(rules::read_only());
        }
        if self.server_is_read_only { Err(wire::read_only_server()) } else { Ok(transport) }
    }

    async fn post_registration(&self, policy: &str, body: String, options: &RegisterOptions) -> Result<Registered> {
        let transport = self.transport_to_write()?;
        let operation = options.operation.clone().unwrap_or_else(OperationId::generate);
        let mut query: Vec<_> = Some(policy).into_iter().filter(|policy| !policy.is_empty()).collect();
        if options.lease {
            query.push("lease=true");
        }
        if options.recover.is_some() {
            query.push("recover=true");
        }
        match options.same_source {
            SameSource::Address => {}
            SameSource::Host => query.push("same_source=host"),
            SameSource::Node => query.push("same_source=node"),
        }
        let mut call = Call::new(Method::POST, with_query("/api/v1/streams".to_owned(), &query.join("&")));
        if let Some(epoch) = &options.recover {
            call = call.header(STREAM_EPOCH, epoch.as_str());
        }
        let call = call.body(JSON, body).header(IDEMPOTENCY_KEY, operation.as_str());
        // If the response is unreadable, the server may still have applied the registration.
        wire::read_registered(&transport.send(call).await?).map_err(|error| error.with_may_have_applied(true))
    }

    async fn try_register(&self, stream: &Stream, options: &RegisterOptions) -> Result<Registered> {
        rules::check_registration(stream, options)?;
        let policy = match options.on_conflict {
            OnConflict::Reject => String::new(),
            OnConflict::CreateOnly => "on_conflict=create_only".to_owned(),
            OnConflict::TakeOver => "on_conflict=take_over".to_owned(),
            OnConflict::TakeOverIfStale(after) => {
                // No stream has a longer time to live than `MAX_STALE_MS`.
                let stale = after.min(Duration::from_millis(wire::MAX_STALE_MS));
                // The time is rounded up, so that no stream is taken over too early.
                let stale_ms = stale.as_nanos().div_ceil(1_000_000);
                format!("on_conflict=take_over_if_stale&stale_ms={stale_ms}")
            }
        };
        self.post_registration(&policy, stream.to_json(), options).await
    }

    async fn try_unregister(&self, id: &StreamId, options: &UnregisterOptions) -> Result<Stream> {
        let transport = self.transport_to_write()?;
        let mut query = Vec::new();
        if let Some(reason) = options.reason.as_str() {
            query.push(format!("reason={}", wire::encode_segment(reason)));
        }
        let call = guarded(Method::DELETE, wire::stream_path(id.as_str(), ""), query, &options.guard);
        let operation = options.operation.clone().unwrap_or_else(OperationId::generate);
        let call = call.header(IDEMPOTENCY_KEY, operation.as_str()).header(PREFER, "return=representation");
        let last = transport.send(call).await?;
        Stream::from_stored(id, &last).map_err(|invalid| Error::from(invalid).with_may_have_applied(true))
    }

    /// Reads one page of the results of a query.
    async fn find_page(&self, query: &Query) -> Result<Page> {
        query.filter.check()?;
        let mut pairs = query.filter.pairs();
        pairs.push(("limit", query.limit.get().min(wire::MAX_LIMIT).to_string()));
        if query.order != Order::default() {
            pairs.push(("sort", query.order.to_string()));
        }
        pairs.extend(query.cursor.as_ref().map(|cursor| ("cursor", cursor.to_string())));
        wire::read_page(&self.transport()?.send(list_request("/api/v1/streams", &pairs)).await?)
    }

    /// Reads the streams with these ids, some of which may be missing.
    async fn read_named(&self, pairs: &[(&str, String)]) -> Result<Vec<Stream>> {
        Ok(wire::read_page(&self.transport()?.send(list_request("/api/v1/streams", pairs)).await?)?.streams)
    }

    async fn read_one(&self, id: &StreamId) -> Result<Stream> {
        let json = self.transport()?.send(Call::new(Method::GET, wire::stream_path(id.as_str(), ""))).await?;
        Ok(Stream::from_stored(id, &json)?)
    }
}

/// Returns a `GET` request whose response may contain many streams.
fn list_request(path: &str, pairs: &[(&str, String)]) -> Call {
    let pairs: Vec<_> = pairs.iter().map(|(name, value)| format!("{name}={}", wire::encode_segment(value))).collect();
    Call::new(Method::GET, with_query(path.to_owned(), &pairs.join("&"))).limit(LIST_LIMIT)
}

/// Divides ids into parts, each of which fits into the query of one request.
fn requests_for(ids: &[StreamId]) -> Vec<&[StreamId]> {
    let (mut parts, mut start, mut bytes) = (Vec::new(), 0, 0);
    for (at, id) in ids.iter().enumerate() {
        let more = "&id=".len() + wire::encode_segment(id.as_str()).len();
        if at - start == wire::MAX_IDS || (at > start && bytes + more > MAX_QUERY) {
            parts.push(&ids[start..at]);
            (start, bytes) = (at, 0);
        }
        bytes += more;
    }
    if start < ids.len() {
        parts.push(&ids[start..]);
    }
    parts
}

#[async_trait]
impl Registry for HttpRegistry {
    async fn register_with(&self, stream: &Stream, options: &RegisterOptions) -> Result<Registered> {
        self.try_register(stream, options)
            .await
            .map_err(|error| error.with_stream(&stream.id).with_operation(Operation::Register))
    }

    async fn register_new(&self, stream: &Stream, options: &RegisterOptions) -> Result<Registered> {
        let registered = match rules::check_registration(stream, options).and_then(|()| rules::check_new(options)) {
            Ok(()) => self.post_registration("", wire::record_without_id(stream), options).await,
            Err(error) => Err(error),
        };
        registered.map_err(|error| error.with_operation(Operation::Register))
    }

    async fn unregister_with(&self, id: &StreamId, options: &UnregisterOptions) -> Result<Stream> {
        self.try_unregister(id, options)
            .await
            .map_err(|error| error.with_stream(id).with_operation(Operation::Unregister))
    }

    async fn write(&self, writes: &[Write]) -> Result<Vec<Result<()>>> {
        rules::check_batch(writes)?;
        let transport = self.transport_to_write()?;
        Ok(write::send(&transport, writes).await)
    }

    async fn get(&self, id: &StreamId) -> Result<Stream> {
        self.read_one(id).await.map_err(|error| error.with_stream(id).with_operation(Operation::Get))
    }

    async fn get_many(&self, ids: &[StreamId]) -> Result<Vec<Option<Stream>>> {
        let mut streams = HashMap::new();
        for part in requests_for(ids) {
            let pairs: Vec<_> = part.iter().map(|id| ("id", id.to_string())).collect();
            let read = self.read_named(&pairs).await.map_err(|error| error.with_operation(Operation::Get))?;
            streams.extend(read.into_iter().map(|stream| (stream.id.clone(), stream)));
        }
        Ok(ids.iter().map(|id| streams.get(id).cloned()).collect())
    }

    async fn snapshot(&self) -> Result<Snapshot> {
        let response = async {
            let call = Call::new(Method::GET, "/api/v1/snapshot").limit(LIST_LIMIT);
            wire::read_snapshot(&self.transport()?.send(call).await?)
        };
        response.await.map_err(|error| error.with_operation(Operation::List))
    }

    async fn list_page(&self, cursor: Option<&Cursor>, count: NonZeroU32) -> Result<Page> {
        let mut query = Query::default().limit(count);
        query.cursor = cursor.cloned();
        self.find_page(&query).await.map_err(|error| error.with_operation(Operation::ListPage))
    }

    async fn find(&self, query: &Query) -> Result<Page> {
        self.find_page(query).await.map_err(|error| error.with_operation(Operation::Find))
    }

    async fn summary(&self, filter: &Filter, by: By) -> Result<Summary> {
        let mut pairs = filter.pairs();
        pairs.push(("by", by.as_str().to_owned()));
        let response = async {
            filter.check()?;
            wire::read_summary(&self.transport()?.send(list_request("/api/v1/summary", &pairs)).await?)
        };
        response.await.map_err(|error| error.with_operation(Operation::Summary))
    }

    async fn history(&self, ended: &Ended, limit: NonZeroU32) -> Result<Vec<Event>> {
        let mut pairs = vec![("limit", limit.get().min(wire::MAX_LIMIT).to_string())];
        pairs.extend(ended.id.as_ref().map(|id| ("id", id.to_string())));
        pairs.extend(ended.kind.as_ref().map(|kind| ("type", kind.to_string())));
        pairs.extend(ended.node.as_ref().map(|node| ("node", node.clone())));
        let response = async {
            ended.check()?;
            let request = list_request("/api/v1/history", &pairs).min_timeout(HISTORY_TIMEOUT);
            wire::read_history(&self.transport()?.send(request).await?)
        };
        response.await.map_err(|error| error.with_operation(Operation::History))
    }

    async fn watch(&self, from: WatchFrom) -> Result<Watch> {
        let response = async { watch::follow(self.transport()?, self.closed.subscribe(), from).await };
        response.await.map_err(|error| error.with_operation(Operation::Watch))
    }

    async fn ping(&self) -> Result<()> {
        let response = async { self.transport()?.send(Call::new(Method::GET, "/readyz")).await };
        response.await.map(|_| ()).map_err(|error| error.with_operation(Operation::Ping))
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn info(&self) -> StoreInfo {
        let read_only = self.read_only || self.server_is_read_only;
        StoreInfo { read_only, warning: self.warning.clone(), ..StoreInfo::new("http", self.ttl) }
    }

    async fn close(&self) -> Result<()> {
        // Calls in flight hold clones of the transport, so they can finish. Idle connections close when the last clone
        // is dropped.
        self.slot().take();
        self.closed.send_replace(true);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_divided_into_requests_that_proxies_accept() {
        let id = |length: usize| StreamId::new("/".repeat(length)).unwrap();
        for (ids, expected) in [
            (Vec::new(), vec![]),
            (vec![id(1); 100], vec![100]),
            (vec![id(1); 250], vec![100, 100, 50]),
            // Each `/` is encoded as three bytes.
            (vec![id(256); 9], vec![7, 2]),
        ] {
            assert_eq!(requests_for(&ids).iter().map(|part| part.len()).collect::<Vec<_>>(), expected);
            assert_eq!(requests_for(&ids).concat(), ids);
        }
    }
}
