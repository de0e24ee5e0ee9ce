//! How the server serves.

use std::fmt;
use std::time::Duration;

/// Where lists come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lists {
    /// A view of all streams in the server's memory, kept current by the store's feed.
    #[default]
    View,
    /// The store, each time: nothing is held or followed, and every list costs it a walk.
    Store,
}

/// How the server serves.
#[derive(Clone)]
#[non_exhaustive]
pub struct ServeOptions {
    /// What writers must send as `Authorization: Bearer`. Default none: loopback only.
    pub token: Option<String>,
    /// How long a request's head may take, and how long a connection may idle. Default 20 seconds.
    pub header_timeout: Duration,
    /// How long a request's body may take. Default 10 seconds.
    pub body_timeout: Duration,
    /// How long a client may refuse to take more of an answer. Default 30 seconds.
    pub write_timeout: Duration,
    /// How many readers may follow the events at once; each has a watch of the store. Default 1 000; fewer
    /// where three quarters of the file descriptors that the process may have are not two for each.
    pub event_readers: usize,
    /// How long a reader of events may refuse to take more of them. Default 10 seconds.
    pub event_timeout: Duration,
    /// Where lists come from. Default [`Lists::View`].
    pub lists: Lists,
    /// How long requests under way have to finish when the server stops. Default 10 seconds.
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
            lists: Lists::default(),
            grace: Duration::from_secs(10),
        }
    }
}

impl ServeOptions {
    /// Sets the token that writers must send.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Sets how long a request's head may take, and how long a connection may idle.
    #[must_use]
    pub fn header_timeout(mut self, timeout: Duration) -> Self {
        self.header_timeout = timeout;
        self
    }

    /// Sets how long a request's body may take.
    #[must_use]
    pub fn body_timeout(mut self, timeout: Duration) -> Self {
        self.body_timeout = timeout;
        self
    }

    /// Sets how long a client may refuse to take more of an answer.
    #[must_use]
    pub fn write_timeout(mut self, timeout: Duration) -> Self {
        self.write_timeout = timeout;
        self
    }

    /// Sets how many readers may follow the events at once, file descriptors allowing.
    #[must_use]
    pub fn event_readers(mut self, readers: usize) -> Self {
        self.event_readers = readers;
        self
    }

    /// Sets how long a reader of events may refuse to take more of them.
    #[must_use]
    pub fn event_timeout(mut self, timeout: Duration) -> Self {
        self.event_timeout = timeout;
        self
    }

    /// Sets where lists come from.
    #[must_use]
    pub fn lists(mut self, from: Lists) -> Self {
        self.lists = from;
        self
    }

    /// Sets how long requests under way have to finish when the server stops.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }
}

impl fmt::Debug for ServeOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServeOptions")
            .field("token", &self.token.as_ref().map(|_| "***"))
            .field("header_timeout", &self.header_timeout)
            .field("body_timeout", &self.body_timeout)
            .field("write_timeout", &self.write_timeout)
            .field("event_readers", &self.event_readers)
            .field("event_timeout", &self.event_timeout)
            .field("lists", &self.lists)
            .field("grace", &self.grace)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_debug_output_shows_the_token() {
        assert!(!format!("{:?}", ServeOptions::default().token("hush")).contains("hush"));
    }
}
