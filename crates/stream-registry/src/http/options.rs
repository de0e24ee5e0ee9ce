//! Where the server is and how it is asked.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::error::{Error, Result};

/// How a server is reached. Read from a URL, `http://host:port` or `http://host:port/base`.
///
/// ```
/// use std::time::Duration;
/// use stream_registry::http::HttpOptions;
/// let options: HttpOptions = "http://127.0.0.1:8580".parse()?;
/// let options = options.token("secret").timeout(Duration::from_secs(2));
/// assert!(!format!("{options:?}").contains("secret"));
/// # Ok::<(), stream_registry::Error>(())
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct HttpOptions {
    /// Scheme and authority, then the base path without a slash at its end.
    pub(super) base: String,
    pub(super) token: Option<String>,
    pub(super) read_only: bool,
    pub(super) timeout: Duration,
}

impl HttpOptions {
    /// Sets the token that goes with every request as `Authorization: Bearer`. Default none.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Refuses every write before it is sent. Default no.
    #[must_use]
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// Sets how long an answer may take to begin, and each further piece of it to come. Default 5 seconds.
    ///
    /// A connection is given up after 1 second, whatever this is.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}

impl FromStr for HttpOptions {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let url = url::Url::parse(text)
            .map_err(|fault| Error::invalid("the server's URL is none; give http://host:port").with_source(fault))?;
        match url.scheme() {
            "http" => {}
            "https" => {
                return Err(Error::unsupported(
                    "https is not supported yet; put a TLS tunnel or proxy before the server and give its local http:// address",
                ));
            }
            _ => return Err(Error::invalid("the server's URL must begin with http://")),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Error::invalid("the server's URL must not hold a user or password; give the token on its own"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(Error::invalid("the server's URL must end before any ? or #"));
        }
        let host = url.host_str().filter(|host| !host.is_empty());
        let host = host.ok_or_else(|| Error::invalid("the server's URL names no host; give http://host:port"))?;
        let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
        let base = format!("http://{host}{port}{}", url.path().trim_end_matches('/'));
        Ok(Self { base, token: None, read_only: false, timeout: Duration::from_secs(5) })
    }
}

impl fmt::Debug for HttpOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpOptions")
            .field("base", &self.base)
            .field("token", &self.token.as_ref().map(|_| "***"))
            .field("read_only", &self.read_only)
            .field("timeout", &self.timeout)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn urls() {
        for (text, base) in [
            ("http://127.0.0.1:8580", "http://127.0.0.1:8580"),
            ("http://[::1]:8580/", "http://[::1]:8580"),
            ("http://Registry.example/base//", "http://registry.example/base"),
            ("http://h:80/a/b", "http://h/a/b"),
        ] {
            assert_eq!(text.parse::<HttpOptions>().unwrap().base, base);
        }
        for bad in
            ["", "h:1", "http://", "ftp://h", "http://u@h", "http://u:p@h", "http://h?x", "http://h#x", "http://h:0x"]
        {
            assert_eq!(bad.parse::<HttpOptions>().unwrap_err().kind(), ErrorKind::InvalidArgument, "{bad}");
        }
        assert_eq!("https://h".parse::<HttpOptions>().unwrap_err().kind(), ErrorKind::Unsupported);
    }
}
