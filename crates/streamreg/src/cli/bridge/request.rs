//! Requests to the API of a media server.

use std::fmt;
use std::time::Duration;

use adapters::model::Snapshot;
use adapters::servers::{Answer, Kind, List, ReadError, Request, Step};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::header::{AUTHORIZATION, HeaderValue};
use hyper::{Method, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use stream_registry::Secret;
use tokio::time::timeout;

use crate::cli::failure::{Failure, Result};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Maximum time for one request.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum time for all requests of one list.
const LIST_TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum size of an answer, in bytes: about ten times the answer for 3 000 streams.
const LIMIT: usize = 64 * 1024 * 1024;
/// Maximum number of requests for one list. It stops the list of a server that always names another page.
const MAX_STEPS: usize = 1_000;

/// The API of one media server.
#[derive(Debug)]
pub(in crate::cli) struct Api {
    kind: Kind,
    /// The URL without a slash at the end.
    base: String,
    authority: String,
    secret: Option<Secret>,
    authorization: Option<HeaderValue>,
    client: Client<HttpConnector, Empty<Bytes>>,
}

/// Why a list failed.
#[derive(Debug)]
pub(in crate::cli) enum Fault {
    /// The server gave no answer. The message names the URL without secrets.
    NoAnswer(String),
    /// The answer cannot be used.
    Unusable(ReadError),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAnswer(message) => f.write_str(message),
            Self::Unusable(error) => error.fmt(f),
        }
    }
}

impl Api {
    /// Creates the API of a server at a URL.
    ///
    /// # Errors
    ///
    /// Returns a usage error if the URL or the secret is invalid.
    pub(in crate::cli) fn new(kind: Kind, url: &str, secret: Option<Secret>) -> Result<Self> {
        let invalid = |fault: &str| {
            let example = kind.default_url();
            Failure::usage(format_args!("the URL of the API {fault}; expected e.g. {example}"))
        };
        let uri: Uri = url.parse().map_err(|_| invalid("is not a URL"))?;
        let authority = uri.authority().ok_or_else(|| invalid("has no host"))?;
        if uri.scheme_str() != Some("http") {
            return Err(invalid("must begin with http://"));
        }
        if authority.as_str().contains('@') {
            return Err(Failure::usage("the URL of the API contains a password; put user:password into --secret-file"));
        }
        if uri.query().is_some() {
            return Err(Failure::usage("the URL of the API must have no query; put a secret into --secret-file"));
        }
        let base =
            if uri.path() == "/" { format!("http://{authority}{}", kind.default_path()) } else { url.to_owned() };
        let authorization = match &secret {
            Some(secret) if !kind.has_secret_parameter() => {
                let encoded = format!("Basic {}", STANDARD.encode(secret.reveal()));
                let mut value =
                    HeaderValue::from_str(&encoded).map_err(|_| Failure::usage("invalid secret for the API"))?;
                value.set_sensitive(true);
                Some(value)
            }
            _ => None,
        };
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.set_nodelay(true);
        let mut client = Client::builder(TokioExecutor::new());
        client.pool_timer(TokioTimer::new());
        if kind == Kind::NginxRtmp {
            // A connection stays with one worker of nginx, so an idle connection would always show the same worker.
            client.pool_max_idle_per_host(0);
        }
        let client = client.build(connector);
        let (base, authority) = (base.trim_end_matches('/').to_owned(), authority.to_string());
        Ok(Self { kind, base, authority, secret, authorization, client })
    }

    /// Returns the host and port.
    pub(super) fn authority(&self) -> String {
        self.authority.clone()
    }

    /// Lists the live streams of the server.
    pub(super) async fn list(&self) -> std::result::Result<Snapshot, Fault> {
        match self.kind.list(self.secret.as_ref().map(Secret::reveal)) {
            Some(mut list) => self.read(&mut *list).await,
            None => Err(Fault::NoAnswer(format!("{} has no list of streams", self.kind.name()))),
        }
    }

    /// Sends the requests of a list until it is complete.
    pub(in crate::cli) async fn read(&self, list: &mut dyn List) -> std::result::Result<Snapshot, Fault> {
        timeout(LIST_TIMEOUT, self.read_pages(list)).await.unwrap_or_else(|_| {
            let limit = LIST_TIMEOUT.as_secs();
            Err(Fault::NoAnswer(format!("the list of {} is not complete within {limit} s", self.base)))
        })
    }

    async fn read_pages(&self, list: &mut dyn List) -> std::result::Result<Snapshot, Fault> {
        let mut answers = Vec::new();
        for _ in 0..MAX_STEPS {
            match list.step(&answers).map_err(Fault::Unusable)? {
                Step::Done(snapshot) => return Ok(snapshot),
                Step::Ask(requests) => {
                    answers.clear();
                    for request in &requests {
                        answers.push(self.send(request).await?);
                    }
                }
            }
        }
        Err(Fault::Unusable(ReadError::new(format!(
            "the list has more than {MAX_STEPS} pages; check that the URL leads to the API of this kind of server"
        ))))
    }

    /// Sends one request.
    async fn send(&self, request: &Request) -> std::result::Result<Answer, Fault> {
        let no_answer = |fault: &dyn fmt::Display| {
            let hint = "check that the media server runs and that its API is enabled";
            Fault::NoAnswer(format!("no answer from {}: {fault}; {hint}", self.base))
        };
        let mut builder = hyper::Request::builder().method(Method::GET).uri(format!("{}{}", self.base, request.path));
        if let Some(value) = &self.authorization {
            builder = builder.header(AUTHORIZATION, value);
        }
        let request = builder.body(Empty::new()).map_err(|error| no_answer(&error))?;
        let exchange = async {
            let response = self.client.request(request).await.map_err(|error| no_answer(&root_cause(&error)))?;
            let status = response.status().as_u16();
            let body = Limited::new(response.into_body(), LIMIT).collect().await;
            let body = body.map_err(|error| no_answer(&error))?.to_bytes();
            Ok(Answer { status, body: body.to_vec() })
        };
        timeout(TIMEOUT, exchange)
            .await
            .map_err(|_| no_answer(&format_args!("timed out after {} s", TIMEOUT.as_secs())))?
    }
}

/// Returns the innermost error, e.g. "Connection refused", because the outer ones only repeat that a request failed.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
