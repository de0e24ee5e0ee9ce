//! Options of a connection to a server.

use std::str::FromStr;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::secret::Secret;

/// Address of a server, and options of the client. They are parsed from a URL: `http://host:port` or
/// `http://host:port/base`.
///
/// ```
/// use std::time::Duration;
/// use stream_registry::http::HttpOptions;
/// let options: HttpOptions = "http://127.0.0.1:8580".parse()?;
/// let options = options.token("secret").timeout(Duration::from_secs(2));
/// assert!(!format!("{options:?}").contains("secret"));
/// # Ok::<(), stream_registry::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HttpOptions {
    /// Base URL: scheme, authority and base path, without a trailing slash.
    pub(super) base: String,
    /// Token that is sent with every request as `Authorization: Bearer`. Default: none.
    pub token: Option<Secret>,
    /// Whether every write is rejected before it is sent. Default: no.
    pub read_only: bool,
    /// Timeout for the response headers, and for each part of the body. Default: 5 s.
    ///
    /// Connection attempts time out after 1 s, regardless of this value.
    pub timeout: Duration,
}

impl HttpOptions {
    /// Sets the token that is sent with every request.
    #[must_use]
    pub fn token(mut self, token: impl Into<Secret>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Rejects every write before it is sent.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// Sets the timeout for the response headers, and for each part of the body.
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
            .map_err(|fault| Error::invalid("invalid server URL; expected http://host:port").with_source(fault))?;
        match url.scheme() {
            "http" => {}
            "https" => {
                return Err(Error::unsupported(
                    "https is not supported; use a local TLS tunnel and give its http:// address",
                ));
            }
            _ => return Err(Error::invalid("invalid server URL; expected http://host:port")),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Error::invalid(
                "the server URL must not contain a user or password; pass the token separately",
            ));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(Error::invalid("the server URL must not contain ? or #"));
        }
        let host = url.host_str().filter(|host| !host.is_empty());
        let host = host.ok_or_else(|| Error::invalid("missing host in the server URL; expected http://host:port"))?;
        let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
        let base = format!("http://{host}{port}{}", url.path().trim_end_matches('/'));
        Ok(Self { base, token: None, read_only: false, timeout: Duration::from_secs(5) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn http_options_accept_only_http_urls() {
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
