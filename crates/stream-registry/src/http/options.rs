//! Options of a connection to a server.

use std::str::FromStr;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::secret::Secret;
use crate::tls::options::{TlsOptions, TlsParameters};

/// Address of a server, and options of the client. They are parsed from a URL: `http://host:port`,
/// `http://host:port/base` or `https://host:port[/base][?ca=FILE&cert=FILE&key=FILE&server_name=NAME&insecure=true]`
/// (Cargo feature `tls`).
///
/// | parameter | meaning |
/// |---|---|
/// | `ca` | PEM file with the CAs that may sign the server's certificate; default: the CAs of the system |
/// | `cert`, `key` | PEM files with the client's certificate and its private key |
/// | `server_name` | the name in the server's certificate; default: the host of the URL |
/// | `insecure=true` | accepts every certificate, so anyone on the network can read the token; for tests only |
///
/// The files are read again for each new connection. If a changed file is unreadable or invalid, the client logs a
/// warning and keeps the earlier contents.
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
    /// The settings of TLS. `None` if connections are not encrypted.
    pub(super) tls: Option<TlsOptions>,
    /// Token that is sent with every request as `Authorization: Bearer`. Default: none.
    pub token: Option<Secret>,
    /// Whether every write is rejected before it is sent. Default: no.
    pub read_only: bool,
    /// Timeout for the response headers, and for each part of the body. Default: 5 s.
    ///
    /// Connection attempts time out after 1 s, and so does the handshake of TLS, regardless of this value.
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

const INVALID: &str = "invalid server URL; expected http://host:port or https://host:port";

impl FromStr for HttpOptions {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let url = url::Url::parse(text).map_err(|fault| Error::invalid(INVALID).with_source(fault))?;
        let is_tls = match url.scheme() {
            "http" => false,
            "https" => true,
            _ => return Err(Error::invalid(INVALID)),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Error::invalid(
                "the server URL must not contain a user or password; pass the token separately",
            ));
        }
        if url.fragment().is_some() || (url.query().is_some() && !is_tls) {
            return Err(Error::invalid("the server URL must not contain # or, without https, ?"));
        }
        let bad = |why: &str| Error::invalid(format!("the server URL {why}"));
        let mut tls = TlsParameters::default();
        for (name, value) in url.query_pairs() {
            if !TlsParameters::NAMES.contains(&&*name) {
                return Err(bad("has an unknown parameter; expected ca, cert, key, server_name or insecure"));
            }
            tls.set(&name, value.into_owned()).map_err(|why| bad(&why))?;
        }
        let tls = if is_tls { Some(tls.options().map_err(bad)?) } else { None };
        let host = url.host_str().filter(|host| !host.is_empty());
        let host = host.ok_or_else(|| {
            Error::invalid("missing host in the server URL; expected https://host:port or http://host:port")
        })?;
        let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
        let base = format!("{}://{host}{port}{}", url.scheme(), url.path().trim_end_matches('/'));
        Ok(Self { base, tls, token: None, read_only: false, timeout: Duration::from_secs(5) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn http_options_accept_only_http_and_https_urls() {
        for (text, base) in [
            ("http://127.0.0.1:8580", "http://127.0.0.1:8580"),
            ("http://[::1]:8580/", "http://[::1]:8580"),
            ("http://Registry.example/base//", "http://registry.example/base"),
            ("http://h:80/a/b", "http://h/a/b"),
            ("https://h:443", "https://h"),
            ("https://[::1]:8580/a/?ca=ca.pem", "https://[::1]:8580/a"),
        ] {
            assert_eq!(text.parse::<HttpOptions>().unwrap().base, base);
        }
        for bad in [
            "",
            "h:1",
            "http://",
            "ftp://h",
            "http://u@h",
            "https://u:p@h",
            "http://h?x",
            "http://h?ca=a.pem",
            "https://h#x",
            "http://h:0x",
            "https://h?x=1",
            "https://h?ca=",
            "https://h?insecure=yes",
            "https://h?cert=a.pem",
            "https://h?ca=a.pem&insecure=true",
        ] {
            assert_eq!(bad.parse::<HttpOptions>().unwrap_err().kind(), ErrorKind::InvalidArgument, "{bad}");
        }
        let secure: HttpOptions = "https://h?ca=%2Fetc%2Fca.pem&server_name=a.example".parse().unwrap();
        let (ca, server_name) = (Some("/etc/ca.pem".into()), Some("a.example".to_owned()));
        assert_eq!(secure.tls, Some(TlsOptions { ca, server_name, ..TlsOptions::default() }));
        assert_eq!("http://h".parse::<HttpOptions>().unwrap().tls, None);
    }
}
