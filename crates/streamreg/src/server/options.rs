//! Options of the server.

use std::sync::Arc;
use std::time::Duration;

use stream_registry::Secret;

use super::access::{AccessFile, AllowedOrigin, TokenFiles};
use super::tls::ServerTls;
use crate::webhook::Figures;

/// Options of the server.
///
/// ```
/// use streamreg::server::ServeOptions;
/// let options = ServeOptions::default().token("secret").event_readers(100);
/// assert!(!format!("{options:?}").contains("secret"));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServeOptions {
    /// Token that writes must send as `Authorization: Bearer`. Default: none, which restricts the server to loopback
    /// unless its store is read-only.
    pub token: Option<Secret>,
    /// Token that reads must send, unless they send `token`. Default: none, so that reads need no token.
    ///
    /// With this option, writes need a token too: the store must be read-only, or `token` must be set.
    pub read_token: Option<Secret>,
    /// The files from which `token` and `read_token` were read. Default: none, so that the tokens never change.
    pub token_files: TokenFiles,
    /// Named tokens with their rights. Default: none.
    ///
    /// The file replaces `token` and `read_token`, which must not be set.
    pub access_file: Option<AccessFile>,
    /// Origins whose web pages may read from this server. If writes need a token, these pages may also write with a
    /// token. Default: none.
    pub allowed_origins: Vec<AllowedOrigin>,
    /// Host names for which the server accepts requests, in addition to `localhost`, names below it, and IP addresses.
    /// Default: none.
    ///
    /// Requests for any other host get 421. Add the names under which clients reach the server, including the name of a
    /// reverse proxy that forwards the `Host` header.
    pub allowed_hosts: Vec<String>,
    /// Certificate for HTTPS. Default: none, which means HTTP without encryption.
    pub tls: Option<ServerTls>,
    /// Figures of webhooks, which `/metrics` includes. Default: none.
    pub webhooks: Vec<Arc<Figures>>,
    /// Maximum time to receive the headers of a request, to keep an idle connection open, and to perform the handshake
    /// of TLS. With HTTP/2, also the maximum time to answer a ping. Default: 20 seconds.
    pub header_timeout: Duration,
    /// Maximum time to receive the body of a request. Default: 10 seconds.
    pub body_timeout: Duration,
    /// Time after which a client that does not read its response is disconnected. With HTTP/2, only this response is
    /// reset if the client reads others. Default: 30 seconds.
    pub write_timeout: Duration,
    /// Maximum number of concurrent event readers. Each reader has its own watch of the store. Default: 1 000.
    ///
    /// Each event reader needs two file descriptors, so a low file descriptor limit reduces this number.
    pub event_readers: usize,
    /// Time after which an event reader is disconnected if it does not read its events. Default: 10 seconds.
    pub event_timeout: Duration,
    /// Maximum age of the local view from which lists are served. Default: 15 seconds.
    ///
    /// If the view is older than this, lists come from the store. With zero, lists always come from the store.
    pub max_view_age: Duration,
    /// Maximum time for requests in flight to finish when the server stops. Default: 10 seconds.
    pub grace: Duration,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            token: None,
            read_token: None,
            token_files: TokenFiles::default(),
            access_file: None,
            allowed_origins: Vec::new(),
            allowed_hosts: Vec::new(),
            tls: None,
            webhooks: Vec::new(),
            header_timeout: Duration::from_secs(20),
            body_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(30),
            event_readers: 1_000,
            event_timeout: Duration::from_secs(10),
            max_view_age: Duration::from_secs(15),
            grace: Duration::from_secs(10),
        }
    }
}

impl ServeOptions {
    /// Sets the token that writes must send.
    #[must_use]
    pub fn token(mut self, token: impl Into<Secret>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Sets the token that reads must send.
    #[must_use]
    pub fn read_token(mut self, token: impl Into<Secret>) -> Self {
        self.read_token = Some(token.into());
        self
    }

    /// Sets the files from which the tokens were read.
    #[must_use]
    pub fn token_files(mut self, files: TokenFiles) -> Self {
        self.token_files = files;
        self
    }

    /// Sets the file with named tokens.
    #[must_use]
    pub fn access_file(mut self, file: AccessFile) -> Self {
        self.access_file = Some(file);
        self
    }

    /// Adds an origin whose web pages may read from this server.
    #[must_use]
    pub fn allowed_origin(mut self, origin: AllowedOrigin) -> Self {
        self.allowed_origins.push(origin);
        self
    }

    /// Adds a host name for which the server accepts requests.
    #[must_use]
    pub fn allowed_host(mut self, name: impl Into<String>) -> Self {
        self.allowed_hosts.push(name.into());
        self
    }

    /// Sets the certificate for HTTPS.
    #[must_use]
    pub fn tls(mut self, tls: ServerTls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Sets the maximum time to receive the headers of a request, to keep an idle connection open, and to perform the
    /// handshake of TLS.
    #[must_use]
    pub fn header_timeout(mut self, timeout: Duration) -> Self {
        self.header_timeout = timeout;
        self
    }

    /// Sets the maximum time to receive the body of a request.
    #[must_use]
    pub fn body_timeout(mut self, timeout: Duration) -> Self {
        self.body_timeout = timeout;
        self
    }

    /// Sets the time after which a client that does not read its response is disconnected.
    #[must_use]
    pub fn write_timeout(mut self, timeout: Duration) -> Self {
        self.write_timeout = timeout;
        self
    }

    /// Sets the maximum number of concurrent event readers.
    #[must_use]
    pub fn event_readers(mut self, max: usize) -> Self {
        self.event_readers = max;
        self
    }

    /// Sets the time after which an event reader is disconnected if it does not read its events.
    #[must_use]
    pub fn event_timeout(mut self, timeout: Duration) -> Self {
        self.event_timeout = timeout;
        self
    }

    /// Sets the maximum age of the local view from which lists are served.
    #[must_use]
    pub fn max_view_age(mut self, age: Duration) -> Self {
        self.max_view_age = age;
        self
    }

    /// Sets the maximum time for requests in flight to finish when the server stops.
    #[must_use]
    pub fn grace(mut self, time: Duration) -> Self {
        self.grace = time;
        self
    }
}
