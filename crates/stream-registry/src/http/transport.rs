//! One request and its answer.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, Uri, body::Incoming};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::timeout;

use super::options::HttpOptions;
use super::wire::{IDEMPOTENCY_KEY, JSON, PROBLEM_JSON, Problem};
use crate::error::{Error, ErrorKind, Result};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Shorter than the time after which the server closes idle connections.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// The most bytes of an answer that holds at most one record, and of an error: other programs' records have no limit.
const ONE: usize = 64 * 1024 * 1024;
/// The most bytes of a list: some 600 000 usual records.
pub(super) const LIST: usize = 256 * 1024 * 1024;

/// A request, before it is sent.
pub(super) struct Call {
    pub(super) method: Method,
    /// Path and query below the base.
    pub(super) path: String,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: Option<(&'static str, String)>,
    /// The most bytes that the answer may have.
    pub(super) cap: usize,
}

impl Call {
    pub(super) fn new(method: Method, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), headers: Vec::new(), body: None, cap: ONE }
    }

    pub(super) fn body(mut self, media_type: &'static str, text: String) -> Self {
        self.body = Some((media_type, text));
        self
    }

    pub(super) fn cap(mut self, cap: usize) -> Self {
        self.cap = cap;
        self
    }

    pub(super) fn header(mut self, name: HeaderName, value: &str) -> Self {
        // Epochs and operation ids are visible ASCII: they always are header values.
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((name, value));
        }
        self
    }

    /// Whether sent twice is the same as sent once: reads, and what carries an operation id. A status is not:
    /// the second time it might undo a newer one.
    fn is_repeatable(&self) -> bool {
        !self.changes() || self.headers.iter().any(|(name, _)| *name == IDEMPOTENCY_KEY)
    }

    fn changes(&self) -> bool {
        self.method != Method::GET
    }
}

/// Connections to one server. Cheap to clone.
#[derive(Clone)]
pub(super) struct Transport {
    client: Client<HttpConnector, Full<Bytes>>,
    base: String,
    authorization: Option<HeaderValue>,
    timeout: Duration,
}

impl Transport {
    pub(super) fn new(options: &HttpOptions) -> Result<Self> {
        let authorization = match &options.token {
            None => None,
            Some(token) => {
                let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
                    .map_err(|_| Error::invalid("the token must be visible ASCII characters; check the token file"))?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_timer(TokioTimer::new())
            .build(connector);
        Ok(Self { client, base: options.base.clone(), authorization, timeout: options.timeout })
    }

    /// Sends a request and reads its whole answer; an answer of 400 and above is an error.
    ///
    /// Where the connection was lost before an answer came, a request that does the same sent twice as once
    /// is sent once more, over a new connection.
    pub(super) async fn send(&self, call: Call) -> Result<String> {
        match self.attempt(&call).await? {
            Ok(response) => self.finish(&call, response).await,
            Err(lost) if call.is_repeatable() && is_lost(&lost) => {
                let again = async {
                    let response = self.attempt(&call).await?.map_err(|fault| self.failed(&call, fault))?;
                    self.finish(&call, response).await
                };
                // Whatever the second says, the first may have been done.
                again.await.map_err(|error| error.with_may_have_applied(call.changes()))
            }
            Err(fault) => Err(self.failed(&call, fault)),
        }
    }

    /// Sends a request whose answer goes on, and returns its body once it begins.
    pub(super) async fn open(&self, call: Call, expected: &str) -> Result<Incoming> {
        let answer = match self.attempt(&call).await? {
            Err(lost) if is_lost(&lost) => self.attempt(&call).await?,
            answer => answer,
        };
        let response = answer.map_err(|fault| self.failed(&call, fault))?;
        if response.status().is_success() && media_type(&response) == expected {
            return Ok(response.into_body());
        }
        let status = response.status().as_u16();
        // An error's own words; whatever else answers is not ours.
        self.finish(&call, response).await.and_then(|_| Err(self.not_ours(&call, status, "")))
    }

    /// Reads the whole answer; one of 400 and above is an error.
    async fn finish(&self, call: &Call, response: Response<Incoming>) -> Result<String> {
        let status = response.status().as_u16();
        let media_type = media_type(&response).to_owned();
        let cap = if response.status().is_success() { call.cap } else { ONE };
        let text = self.read(call, response, cap).await?;
        if (200..300).contains(&status) && (text.is_empty() || media_type == JSON) {
            return Ok(text);
        }
        if media_type == PROBLEM_JSON
            && let Ok(problem) = serde_json::from_str::<Problem>(&text)
        {
            return Err(problem.into_error());
        }
        Err(self.not_ours(call, status, &media_type))
    }

    /// Sends a request and waits for the head of its answer; the outer error is the time-out's.
    async fn attempt(&self, call: &Call) -> Result<Result<Response<Incoming>, hyper_util::client::legacy::Error>> {
        let uri: Uri = format!("{}{}", self.base, call.path)
            .parse()
            .map_err(|fault| Error::invalid("the server's URL makes no valid address").with_source(fault))?;
        let mut request = Request::builder().method(call.method.clone()).uri(uri).header(ACCEPT, JSON);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        for (name, value) in &call.headers {
            request = request.header(name, value.clone());
        }
        let body = match &call.body {
            Some((media_type, text)) => {
                request = request.header(CONTENT_TYPE, *media_type);
                Full::new(Bytes::copy_from_slice(text.as_bytes()))
            }
            None => Full::default(),
        };
        let request = request
            .body(body)
            .map_err(|fault| Error::new(ErrorKind::Internal, "the request could not be made").with_source(fault))?;
        timeout(self.timeout, self.client.request(request)).await.map_err(|_| self.late(call))
    }

    async fn read(&self, call: &Call, response: Response<Incoming>, cap: usize) -> Result<String> {
        let mut body = response.into_body();
        let mut bytes = Vec::new();
        loop {
            let piece = match timeout(self.timeout, body.frame()).await.map_err(|_| self.late(call))? {
                None => break,
                Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
                Some(Err(fault)) => {
                    return Err(Error::new(
                        ErrorKind::Unavailable,
                        "the connection was lost within the answer; try again",
                    )
                    .with_may_have_applied(call.changes())
                    .with_source(fault));
                }
            };
            if bytes.len() + piece.len() > cap {
                let remedy = if cap == LIST { "ask for fewer by list_page" } else { "look at the record in the store" };
                let message = format!("the answer is larger than {} MiB; {remedy}", cap / (1024 * 1024));
                return Err(Error::new(ErrorKind::Internal, message).with_may_have_applied(call.changes()));
            }
            bytes.extend_from_slice(&piece);
        }
        String::from_utf8(bytes).map_err(|fault| {
            Error::new(ErrorKind::Internal, "the answer is not UTF-8; check the store's URL")
                .with_may_have_applied(call.changes())
                .with_source(fault)
        })
    }

    fn late(&self, call: &Call) -> Error {
        Error::new(ErrorKind::Timeout, format!("the server at {} gave no answer within {:?}", self.base, self.timeout))
            .with_may_have_applied(call.changes())
    }

    fn failed(&self, call: &Call, fault: hyper_util::client::legacy::Error) -> Error {
        if fault.is_connect() {
            return Error::new(
                ErrorKind::Unavailable,
                format!("no server answers at {}; start one with `streamreg serve`", self.base),
            )
            .with_source(fault);
        }
        Error::new(ErrorKind::Unavailable, format!("the connection to {} was lost before an answer came", self.base))
            .with_may_have_applied(call.changes())
            .with_source(fault)
    }

    fn not_ours(&self, call: &Call, status: u16, media_type: &str) -> Error {
        let kind = if matches!(status, 502..=504) { ErrorKind::Unavailable } else { ErrorKind::Internal };
        let media_type: String = media_type.chars().take(64).collect();
        Error::new(
            kind,
            format!(
                "what answers at {} is not a streamreg server (status {status}, {media_type:?}); check the store's URL",
                self.base
            ),
        )
        .with_may_have_applied(call.changes())
    }
}

fn media_type(response: &Response<Incoming>) -> &str {
    let given = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    given.split(';').next().unwrap_or("").trim()
}

/// Whether the connection ended before an answer came, as one does that idled too long.
fn is_lost(fault: &hyper_util::client::legacy::Error) -> bool {
    if fault.is_connect() {
        return false;
    }
    let mut source = std::error::Error::source(fault);
    while let Some(fault) = source {
        if let Some(fault) = fault.downcast_ref::<hyper::Error>() {
            if fault.is_canceled() || fault.is_closed() || fault.is_incomplete_message() {
                return true;
            }
        } else if let Some(fault) = fault.downcast_ref::<std::io::Error>() {
            use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof};
            return matches!(
                fault.kind(),
                BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | UnexpectedEof
            );
        }
        source = fault.source();
    }
    false
}
