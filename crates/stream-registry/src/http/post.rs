//! Sends requests to a server of another program, such as the receiver of webhooks.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{HeaderMap, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, Response, Uri};
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::timeout;

use super::connect::Connector;
use super::fault::{causes, is_lost, is_not_http, is_unknown_host};
use crate::error::{Error, ErrorKind, Result};
use crate::stream::Timestamp;
use crate::tls::options::{Peer, TlsOptions};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Timeout of a request, until the headers of the response.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Maximum time to read the body of a response, which is discarded.
const BODY_TIMEOUT: Duration = Duration::from_secs(1);
/// Size in bytes up to which the body of a response is read. After a larger one, the connection is closed.
const BODY_LIMIT: usize = 64 * 1024;
/// Time after which an idle connection is closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// Sends POST requests to one URL. Cheap to clone. Neither its debug output nor its errors contain more of the URL than
/// scheme, host and port.
#[derive(Clone)]
pub struct Poster {
    client: Client<Connector, Full<Bytes>>,
    connector: Connector,
    uri: Uri,
    address: String,
}

/// A response without its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The time to wait that the header `Retry-After` demands (RFC 9110, section 10.2.3).
    pub retry_after: Option<Duration>,
}

impl Poster {
    /// Creates a client for a URL that begins with `http://` or `https://`. With `ca`, only certificates of the CAs in
    /// this PEM file are trusted, instead of those of the system. Reads the file, so it blocks.
    ///
    /// # Errors
    ///
    /// Returns `InvalidArgument` if the URL or the file is invalid. The message does not repeat the URL.
    pub fn new(url: &str, ca: Option<PathBuf>) -> Result<Self> {
        let invalid = || Error::invalid("invalid URL; expected http://host or https://host, with a path if needed");
        let mut url = url::Url::parse(url).map_err(|fault| invalid().with_source(fault))?;
        let tls = match (url.scheme(), ca) {
            ("http", None) => None,
            ("http", Some(_)) => return Err(Error::invalid("ca_file needs an https:// URL")),
            ("https", ca) => Some(TlsOptions { ca, ..TlsOptions::default() }),
            _ => return Err(invalid()),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Error::invalid("the URL must not contain a user or password; check the signature instead"));
        }
        url.set_fragment(None);
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(invalid)?;
        let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
        let address = format!("{}://{host}{port}", url.scheme());
        let uri = url.as_str().parse().map_err(|fault| invalid().with_source(fault))?;
        let connector = Connector::new(tls, Peer::Receiver, CONNECT_TIMEOUT)?;
        connector.check()?;
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_timer(TokioTimer::new())
            .build(connector.clone());
        Ok(Self { client, connector, uri, address })
    }

    /// Returns scheme, host and port of the URL.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Sends a request and waits up to 15 s for the response, whose body is discarded. Redirections are not followed.
    ///
    /// If the connection is lost before the response arrives, the request is sent once more: a server may close an idle
    /// connection at any time.
    ///
    /// # Errors
    ///
    /// Returns an error if no response arrives.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the request may or may not have been received.
    pub async fn post(&self, headers: &HeaderMap, body: Bytes) -> Result<Answer> {
        let exchange = async {
            match self.client.request(self.request(headers, &body)).await {
                Err(fault) if is_lost(&fault) => self.client.request(self.request(headers, &body)).await,
                response => response,
            }
        };
        match timeout(TIMEOUT, exchange).await {
            Ok(Ok(response)) => Ok(finish(response).await),
            Ok(Err(fault)) => Err(self.explain(&fault)),
            Err(_) => {
                let seconds = TIMEOUT.as_secs();
                Err(Error::new(ErrorKind::Timeout, format!("{} did not respond within {seconds} s", self.address)))
            }
        }
    }

    fn request(&self, headers: &HeaderMap, body: &Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = headers.clone();
        request
    }

    fn explain(&self, fault: &legacy::Error) -> Error {
        // The connector has already explained why the handshake failed.
        if let Some(error) = causes(fault).find_map(|cause| cause.downcast_ref::<Error>()) {
            return error.clone();
        }
        let tls_fault = causes(fault)
            .filter_map(|cause| cause.downcast_ref())
            .find_map(|error| self.connector.tls_fault(error, &self.address));
        if let Some(error) = tls_fault {
            return error;
        }
        let address = &self.address;
        let message = if is_unknown_host(fault) {
            format!("cannot resolve the host name of {address}")
        } else if is_not_http(fault) {
            format!("{address} did not reply with HTTP")
        } else if fault.is_connect() {
            // The outer errors only repeat that the connection failed.
            let cause = causes(fault).last().map_or_else(String::new, |cause| format!(": {cause}"));
            format!("cannot connect to {address}{cause}")
        } else {
            format!("lost the connection to {address} before a response arrived")
        };
        Error::new(ErrorKind::Unavailable, message)
    }
}

impl fmt::Debug for Poster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Poster").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Reads a short body, so that the connection can be used again.
async fn finish(response: Response<Incoming>) -> Answer {
    let status = response.status().as_u16();
    let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| until(value, Timestamp::now()));
    let answer = Answer { status, retry_after };
    // The status alone decides. If the body is endless, the connection is closed.
    let _ = timeout(BODY_TIMEOUT, Limited::new(response.into_body(), BODY_LIMIT).collect()).await;
    answer
}

/// Parses a value of `Retry-After`, which is a number of seconds or a date.
fn until(value: &HeaderValue, now: Timestamp) -> Option<Duration> {
    let value = value.to_str().ok()?.trim();
    let seconds = value.parse().ok().map(Duration::from_secs);
    seconds.or_else(|| Timestamp::from_http_date(value).map(|date| date.since(now)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_a_number_of_seconds_or_a_date() {
        let now = "2026-11-22T14:08:10Z".parse().unwrap();
        for (value, expected) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Sun, 22 Nov 2026 14:09:10 GMT", Some(60)),
            ("Sun, 22 Nov 2026 14:07:10 GMT", Some(0)),
            ("-1", None),
            ("1.5", None),
            ("99999999999999999999", None),
            ("soon", None),
        ] {
            let until = until(&HeaderValue::from_str(value).unwrap(), now);
            assert_eq!(until, expected.map(Duration::from_secs), "{value}");
        }
    }

    #[test]
    fn poster_shows_only_the_address_of_its_url() {
        for (url, address) in [
            ("http://127.0.0.1:8080/hooks/s3cret?key=s3cret#x", "http://127.0.0.1:8080"),
            ("https://Hooks.example/a", "https://hooks.example"),
            ("http://[::1]:80", "http://[::1]"),
        ] {
            let poster = Poster::new(url, None);
            if !cfg!(feature = "tls") && url.starts_with("https:") {
                assert!(poster.unwrap_err().message().contains("this build has no TLS"));
                continue;
            }
            let poster = poster.unwrap();
            assert_eq!(poster.address(), address);
            assert!(!format!("{poster:?}").contains("s3cret"));
        }
    }

    #[test]
    fn invalid_url_or_ca_is_rejected_without_repeating_the_url() {
        let nowhere = || Some(PathBuf::from("/nonexistent/ca.pem"));
        for (url, ca, expected) in [
            ("", None, "invalid URL; expected http://host"),
            ("hooks.example/s3cret", None, "invalid URL"),
            ("ftp://hooks.example/s3cret", None, "invalid URL"),
            ("http://", None, "invalid URL"),
            ("http://u:s3cret@h/", None, "must not contain a user or password"),
            ("http://h/s3cret", nowhere(), "ca_file needs an https:// URL"),
            #[cfg(feature = "tls")]
            ("https://h/s3cret", nowhere(), "cannot read the file in ca_file: /nonexistent/ca.pem"),
        ] {
            let error = Poster::new(url, ca).unwrap_err();
            assert!(error.message().contains(expected), "{url}: {error}");
            assert!(!format!("{error:?}{error}").contains("s3cret"), "{url}: {error:?}");
        }
    }
}
