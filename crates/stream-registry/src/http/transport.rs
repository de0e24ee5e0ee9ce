//! Sends HTTP requests over pooled connections, and reads the responses.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, DATE, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, Uri, body::Incoming};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::timeout;

use super::clock::ServerClock;
use super::connect::Connector;
use super::fault::{causes, is_lost, is_not_http, is_unknown_host};
use super::options::HttpOptions;
use super::wire::{IDEMPOTENCY_KEY, JSON, PROBLEM_JSON, Problem};
use crate::error::{Error, ErrorKind, Result};
use crate::tls::options::Peer;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Time after which an idle connection is closed. It is shorter than the idle timeout of the server.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// Size limit, in bytes, of an error response and of a response with at most one record. The limit is generous, because
/// other programs can store large records.
const RECORD_LIMIT: usize = 64 * 1024 * 1024;
/// Size limit of a list, in bytes: about 600 000 typical records.
pub(super) const LIST_LIMIT: usize = 256 * 1024 * 1024;

/// A request that has not been sent yet.
pub(super) struct Call {
    pub(super) method: Method,
    /// Path and query, relative to the base URL.
    pub(super) path: String,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: Option<(&'static str, String)>,
    /// Size limit of the response, in bytes.
    pub(super) limit: usize,
    /// Minimum timeout for the response headers. It applies if the client's own timeout is shorter.
    pub(super) min_timeout: Duration,
}

impl Call {
    pub(super) fn new(method: Method, path: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            headers: Vec::new(),
            body: None,
            limit: RECORD_LIMIT,
            min_timeout: Duration::ZERO,
        }
    }

    pub(super) fn body(mut self, media_type: &'static str, body: String) -> Self {
        self.body = Some((media_type, body));
        self
    }

    pub(super) fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Sets the minimum timeout for the response headers.
    pub(super) fn min_timeout(mut self, min_timeout: Duration) -> Self {
        self.min_timeout = min_timeout;
        self
    }

    pub(super) fn header(mut self, name: HeaderName, value: &str) -> Self {
        // Epochs and operation ids are visible ASCII, so they are always valid header values.
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((name, value));
        }
        self
    }

    /// Returns whether sending the request twice has the same effect as sending it once.
    ///
    /// Reads and requests with an operation id are idempotent. A status change is not idempotent, because the second
    /// request might overwrite a newer status.
    fn is_idempotent(&self) -> bool {
        !self.is_write() || self.headers.iter().any(|(name, _)| *name == IDEMPOTENCY_KEY)
    }

    fn is_write(&self) -> bool {
        self.method != Method::GET
    }
}

/// A pool of connections to one server. Cheap to clone.
#[derive(Clone)]
pub(super) struct Transport {
    client: Client<Connector, Full<Bytes>>,
    connector: Connector,
    base: String,
    authorization: Option<HeaderValue>,
    timeout: Duration,
    clock: Arc<ServerClock>,
}

impl Transport {
    pub(super) fn new(options: &HttpOptions) -> Result<Self> {
        let authorization = match &options.token {
            None => None,
            Some(token) => {
                let mut value = HeaderValue::from_str(&format!("Bearer {}", token.reveal())).map_err(|_| {
                    Error::invalid("the token must consist of visible ASCII characters; check the token file")
                })?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        let connector = Connector::new(options.tls.clone(), Peer::Http, CONNECT_TIMEOUT)?;
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_timer(TokioTimer::new())
            .build(connector.clone());
        let (base, timeout) = (options.base.clone(), options.timeout);
        Ok(Self { client, connector, base, authorization, timeout, clock: Arc::default() })
    }

    /// Returns the estimate of the server's clock, which each response updates.
    pub(super) fn clock(&self) -> Arc<ServerClock> {
        Arc::clone(&self.clock)
    }

    /// Sends a request and reads the whole response. An HTTP status outside 200–299 becomes an error.
    ///
    /// If the connection is lost before the response arrives, an idempotent request is retried once on a new
    /// connection.
    pub(super) async fn send(&self, call: Call) -> Result<String> {
        match self.attempt(&call).await? {
            Ok(response) => self.finish(&call, response).await,
            Err(lost) if call.is_idempotent() && is_lost(&lost) => {
                let retry = async {
                    let response = self.attempt(&call).await?.map_err(|fault| self.failed(&call, fault))?;
                    self.finish(&call, response).await
                };
                // Even if the retry fails, the first request may have been applied.
                retry.await.map_err(|error| error.with_may_have_applied(call.is_write()))
            }
            Err(fault) => Err(self.failed(&call, fault)),
        }
    }

    /// Sends the first request of a client. If the server closes the connection without a response, the error names
    /// Redis as a possible cause: Redis closes the connection when it receives the header `Host`.
    pub(super) async fn send_first(&self, call: Call) -> Result<String> {
        self.send(call).await.map_err(|error| {
            let fault = std::error::Error::source(&error).and_then(|source| source.downcast_ref());
            if !fault.is_some_and(is_lost) {
                return error;
            }
            let message = format!(
                "the server at {} closed the connection without a response; if it is Redis, use a redis:// URL",
                self.base
            );
            Error::new(ErrorKind::Unavailable, message).with_source(error)
        })
    }

    /// Sends a request whose response is endless. Returns the body as soon as the headers have arrived.
    pub(super) async fn open(&self, call: Call, expected: &str) -> Result<Incoming> {
        let response = match self.attempt(&call).await? {
            Err(lost) if is_lost(&lost) => self.attempt(&call).await?,
            response => response,
        };
        let response = response.map_err(|fault| self.failed(&call, fault))?;
        if response.status().is_success() && media_type(&response) == expected {
            return Ok(response.into_body());
        }
        let status = response.status().as_u16();
        // `finish` converts a problem document to an error. Any other response does not come from a streamreg server.
        self.finish(&call, response).await.and_then(|_| Err(self.unexpected(&call, status, "")))
    }

    /// Reads the whole response. An HTTP status outside 200–299 becomes an error.
    async fn finish(&self, call: &Call, response: Response<Incoming>) -> Result<String> {
        let status = response.status().as_u16();
        let media_type = media_type(&response).to_owned();
        let limit = if response.status().is_success() { call.limit } else { RECORD_LIMIT };
        let body = self.read(call, response, limit).await?;
        if (200..300).contains(&status) && (body.is_empty() || media_type == JSON) {
            return Ok(body);
        }
        if media_type == PROBLEM_JSON
            && let Ok(problem) = serde_json::from_str::<Problem>(&body)
        {
            return Err(problem.into_error());
        }
        Err(self.unexpected(call, status, &media_type))
    }

    /// Sends a request and waits for the response headers. The outer error is a timeout or an invalid request. The
    /// inner error is a failure of the connection.
    async fn attempt(&self, call: &Call) -> Result<Result<Response<Incoming>, hyper_util::client::legacy::Error>> {
        let uri: Uri = format!("{}{}", self.base, call.path)
            .parse()
            .map_err(|fault| Error::invalid("invalid server URL").with_source(fault))?;
        let mut request = Request::builder().method(call.method.clone()).uri(uri).header(ACCEPT, JSON);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        for (name, value) in &call.headers {
            request = request.header(name, value.clone());
        }
        let body = match &call.body {
            Some((media_type, body)) => {
                request = request.header(CONTENT_TYPE, *media_type);
                Full::new(Bytes::copy_from_slice(body.as_bytes()))
            }
            None => Full::default(),
        };
        let request = request
            .body(body)
            .map_err(|fault| Error::new(ErrorKind::Internal, "cannot build the request").with_source(fault))?;
        let response = timeout(self.timeout.max(call.min_timeout), self.client.request(request)).await;
        if let Ok(Ok(response)) = &response
            && let Some(date) = response.headers().get(DATE)
        {
            self.clock.update(date.as_bytes());
        }
        response.map_err(|_| self.timed_out(call))
    }

    async fn read(&self, call: &Call, response: Response<Incoming>, limit: usize) -> Result<String> {
        let mut body = response.into_body();
        let mut bytes = Vec::new();
        loop {
            let chunk = match timeout(self.timeout, body.frame()).await.map_err(|_| self.timed_out(call))? {
                None => break,
                Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
                Some(Err(fault)) => {
                    return Err(Error::new(ErrorKind::Unavailable, "connection lost during the response; try again")
                        .with_may_have_applied(call.is_write())
                        .with_source(fault));
                }
            };
            if bytes.len() + chunk.len() > limit {
                let remedy = if limit == LIST_LIMIT {
                    "read smaller pages with list_page"
                } else {
                    "check the record in the store"
                };
                let message = format!("the response is larger than {} MiB; {remedy}", limit / (1024 * 1024));
                return Err(Error::new(ErrorKind::Internal, message).with_may_have_applied(call.is_write()));
            }
            bytes.extend_from_slice(&chunk);
        }
        String::from_utf8(bytes).map_err(|fault| {
            Error::new(ErrorKind::Internal, "the response is not UTF-8; check the store URL")
                .with_may_have_applied(call.is_write())
                .with_source(fault)
        })
    }

    fn timed_out(&self, call: &Call) -> Error {
        Error::new(
            ErrorKind::Timeout,
            format!("the server at {} did not respond within {:?}", self.base, self.timeout.max(call.min_timeout)),
        )
        .with_may_have_applied(call.is_write())
    }

    fn failed(&self, call: &Call, fault: hyper_util::client::legacy::Error) -> Error {
        // The connector has already explained why the handshake failed.
        if let Some(error) = causes(&fault).find_map(|cause| cause.downcast_ref::<Error>()) {
            return error.clone();
        }
        if is_unknown_host(&fault) {
            return Error::new(
                ErrorKind::Unavailable,
                format!("unknown host name in the store URL {}; check the name and the DNS server", self.base),
            )
            .with_source(fault);
        }
        if fault.is_connect() {
            return Error::new(
                ErrorKind::Unavailable,
                format!("no server is running at {}; start one with `streamreg serve`", self.base),
            )
            .with_source(fault);
        }
        let tls_fault = causes(&fault)
            .filter_map(|cause| cause.downcast_ref())
            .find_map(|error| self.connector.tls_fault(error, &self.base));
        if let Some(error) = tls_fault {
            let may_have_applied = error.kind() == ErrorKind::Unavailable && call.is_write();
            return error.with_may_have_applied(may_have_applied);
        }
        if is_not_http(&fault) {
            let message = format!("the server at {} did not reply with HTTP; check the store URL", self.base);
            return Error::new(ErrorKind::Internal, message).with_may_have_applied(call.is_write()).with_source(fault);
        }
        Error::new(ErrorKind::Unavailable, format!("lost the connection to {} before a response arrived", self.base))
            .with_may_have_applied(call.is_write())
            .with_source(fault)
    }

    fn unexpected(&self, call: &Call, status: u16, media_type: &str) -> Error {
        let kind = if matches!(status, 502..=504) { ErrorKind::Unavailable } else { ErrorKind::Internal };
        let media_type: String = media_type.chars().take(64).collect();
        Error::new(
            kind,
            format!(
                "the server at {} is not streamreg (status {status}, {media_type:?}); check the store URL",
                self.base
            ),
        )
        .with_may_have_applied(call.is_write())
    }
}

fn media_type(response: &Response<Incoming>) -> &str {
    let given = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    given.split(';').next().unwrap_or("").trim()
}
