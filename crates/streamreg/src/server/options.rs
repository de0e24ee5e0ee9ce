//! How the server serves.

use std::fmt;
use std::time::Duration;

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
    /// Lists come from a local view while it is at most this old, and from the store otherwise; zero: always from the
    /// store. Default 15 seconds.
    pub max_view_age: Duration,
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
            max_view_age: Duration::from_secs(15),
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

    /// Sets how old the view may be that lists come from.
    #[must_use]
    pub fn max_view_age(mut self, age: Duration) -> Self {
        self.max_view_age = age;
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
            .field("max_view_age", &self.max_view_age)
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
