//! Options of the server.

use std::time::Duration;

use stream_registry::Secret;

/// Options of the server.
///
/// ```
/// use streamreg::server::ServeOptions;
/// let options = ServeOptions { token: Some("secret".into()), event_readers: 100, ..ServeOptions::default() };
/// assert!(!format!("{options:?}").contains("secret"));
/// ```
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// Token that writes need as `Authorization: Bearer`. Default: none, which restricts the server to loopback.
    pub token: Option<Secret>,
    /// Timeout of the request headers, and of an idle connection. Default: 20 seconds.
    pub header_timeout: Duration,
    /// Timeout of a request body. Default: 10 seconds.
    pub body_timeout: Duration,
    /// Time after which a client that does not read the response is disconnected. Default: 30 seconds.
    pub write_timeout: Duration,
    /// Maximum number of concurrent event readers. Each one has its own watch of the store. Default: 1 000.
    ///
    /// A reader needs two file descriptors, so a low limit of file descriptors reduces this number.
    pub event_readers: usize,
    /// Time after which an event reader that does not read is disconnected. Default: 10 seconds.
    pub event_timeout: Duration,
    /// Maximum age of the local view that lists come from. Default: 15 seconds.
    ///
    /// If the view is older, lists come from the store. With zero they always do.
    pub max_view_age: Duration,
    /// Time for requests in flight to finish when the server stops. Default: 10 seconds.
    pub grace: Duration,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            token: None,
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
