//! Options of a Redis store, and the parser of its URL.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use url::Url;

use crate::error::{Error, Result};
use crate::percent::decode;
use crate::registry::TtlPolicy;
use crate::registry::ttl::{DEFAULT_TTL, check_ttl};
use crate::secret::Secret;

/// The default prefix of all keys.
const DEFAULT_PREFIX: &str = "mirror:streams:";
/// Timeout of a connection attempt, including authentication and version check.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_millis(1_200);
/// Timeout of any call about one stream, including the time to connect.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_millis(1_900);
/// Upper limit of `list_timeout`.
const MAX_LIST_TIMEOUT: Duration = Duration::from_secs(3_600);

/// Address and settings of a Redis or Valkey store.
///
/// The URL has the form `redis://[user:password@]host[:port][/database]` or
/// `redis+unix:///path/to/socket[?db=0&user=…&pass=…]`. Reserved characters are percent-encoded.
///
/// ```
/// use std::time::Duration;
/// use stream_registry::redis::RedisOptions;
/// let options: RedisOptions = "redis://ingest:secret@10.0.0.5:6379/2".parse()?;
/// let options = options.ttl(Duration::from_secs(60));
/// assert!(!format!("{options:?}").contains("secret"));
/// # Ok::<(), stream_registry::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RedisOptions {
    pub(super) address: Address,
    pub(super) user: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) database: i64,
    /// The prefix of all keys. It must end with `:`, have at most 256 bytes, and contain no `*`, `{`, `}` or control
    /// characters. Default: `mirror:streams:`.
    pub prefix: String,
    /// How long a stream stays alive after its last write, from 1 s to 30 days. Default: 5 minutes.
    pub ttl: Duration,
    /// The effect of a write on the remaining time to live of a stream. Default: [`TtlPolicy::Renew`].
    pub ttl_policy: TtlPolicy,
    /// Whether every write is rejected. Default: no.
    ///
    /// A read-only store makes no background writes either. So it works with a Redis user without write permissions,
    /// and with a replica.
    pub read_only: bool,
    /// Timeout for the reply to a call about one stream. Default: 1 s. A value above 1.9 s is reduced to 1.9 s.
    ///
    /// In total, a call about one stream takes at most 1.9 s, including the time to connect.
    pub response_timeout: Duration,
    /// Timeout for each command that lists all streams. Default: 10 s. A value above 1 hour is reduced to 1 hour.
    ///
    /// While the server works on a list, it answers nothing else. So a list waits for this time even if the server has
    /// stopped responding. If the store has no connection for lists yet, connecting times out after 1.9 s.
    pub list_timeout: Duration,
}

#[derive(Clone, Debug)]
pub(super) enum Address {
    Tcp(String, u16),
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

impl RedisOptions {
    fn new(address: Address) -> Self {
        Self {
            address,
            user: None,
            password: None,
            database: 0,
            prefix: DEFAULT_PREFIX.to_owned(),
            ttl: DEFAULT_TTL,
            ttl_policy: TtlPolicy::default(),
            read_only: false,
            response_timeout: Duration::from_secs(1),
            list_timeout: Duration::from_secs(10),
        }
    }

    /// Sets the time to live of streams.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// Sets the prefix of all keys.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Makes the store read-only: every write is rejected, and background writes are disabled.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// Sets the effect of a write on the remaining time to live of a stream.
    #[must_use]
    pub fn ttl_policy(mut self, policy: TtlPolicy) -> Self {
        self.ttl_policy = policy;
        self
    }

    /// Sets the timeout for the reply to a call about one stream.
    #[must_use]
    pub fn response_timeout(mut self, timeout: Duration) -> Self {
        self.response_timeout = timeout;
        self
    }

    /// Sets the timeout for a call that lists streams. The call fails earlier if the server stops answering pings.
    #[must_use]
    pub fn list_timeout(mut self, timeout: Duration) -> Self {
        self.list_timeout = timeout;
        self
    }

    /// Checks the time to live and the prefix. Reduces timeouts that are above their limits.
    ///
    /// # Errors
    ///
    /// Returns `InvalidArgument` if the time to live or the prefix is invalid.
    pub(super) fn checked(mut self) -> Result<Self> {
        check_ttl(self.ttl)?;
        let prefix = &self.prefix;
        if !prefix.ends_with(':')
            || prefix.len() > 256
            || prefix.contains(['*', '{', '}'])
            || prefix.contains(char::is_control)
        {
            return Err(Error::invalid(
                "the prefix must end with ':', have at most 256 bytes and contain no *, {, } or control characters",
            ));
        }
        self.response_timeout = self.response_timeout.min(CALL_TIMEOUT);
        self.list_timeout = self.list_timeout.min(MAX_LIST_TIMEOUT);
        Ok(self)
    }
}

impl FromStr for RedisOptions {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        // The URL may contain a password, so error messages do not repeat the URL.
        let bad = |why: &str| {
            Error::invalid(format!(
                "the store URL {why}; expected redis://[user:password@]host[:port][/database] or redis+unix:///path/to/socket"
            ))
        };
        if let Some(special) = unencoded_character(text) {
            let code = u32::from(special);
            return Err(bad(&format!(
                "has {special} before @; write {special} in a user name or password as %{code:02X}"
            )));
        }
        let url = Url::parse(text).map_err(|fault| bad(&format!("is invalid ({fault})")))?;
        let mut options = match url.scheme() {
            "redis" => {
                let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| bad("has no host"))?;
                let host = host.trim_start_matches('[').trim_end_matches(']');
                Self::new(Address::Tcp(
                    decode(host).ok_or_else(|| bad("has an invalid host"))?,
                    url.port().unwrap_or(6379),
                ))
            }
            "redis+unix" | "unix" => {
                let path = decode(url.path()).filter(|path| path.len() > 1 && url.host_str().unwrap_or("").is_empty());
                Self::new(Address::Unix(path.ok_or_else(|| bad("has no socket path after the third slash"))?.into()))
            }
            "rediss" => {
                return Err(Error::unsupported(
                    "rediss:// (TLS) is not supported yet; use a TLS tunnel and its redis:// address",
                ));
            }
            _ => return Err(bad("has an unknown scheme")),
        };
        if url.fragment().is_some() {
            return Err(bad("has a fragment (#); encode # as %23"));
        }
        options.user =
            non_empty(decode(url.username()).ok_or_else(|| bad("has an invalid user name; write % as %25"))?);
        options.password = match url.password() {
            Some(password) => {
                non_empty(decode(password).ok_or_else(|| bad("has an invalid password; write % as %25"))?)
                    .map(Secret::new)
            }
            None => None,
        };
        let tcp = matches!(options.address, Address::Tcp(..));
        let database = if tcp { url.path().trim_start_matches('/') } else { "" };
        options.database = database_number(database).ok_or_else(|| bad("has an invalid database number"))?;
        for (name, value) in url.query_pairs() {
            match &*name {
                "db" => {
                    options.database = database_number(&value).ok_or_else(|| bad("has an invalid database number"))?;
                }
                "user" if !tcp => options.user = non_empty(value.into_owned()),
                "pass" if !tcp => options.password = non_empty(value.into_owned()).map(Secret::new),
                // The message does not name the parameter, because the name may be part of a password that contains ?
                // or &.
                _ => return Err(bad("has an unknown parameter; encode ? and & in a password as %3F and %26")),
            }
        }
        if options.user.is_some() && options.password.is_none() {
            return Err(bad("has a user name without a password"));
        }
        Ok(options)
    }
}

/// Returns the first character before the `@` of a `redis://` URL that ends the host name unless it is percent-encoded.
///
/// Without this check, a password with such a character would cause an error about an empty host or an invalid port.
fn unencoded_character(text: &str) -> Option<char> {
    let (credentials, _) = text.strip_prefix("redis://")?.rsplit_once('@')?;
    credentials.chars().find(|one| matches!(one, '/' | '?' | '#'))
}

fn non_empty(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

fn database_number(text: &str) -> Option<i64> {
    if text.is_empty() { Some(0) } else { text.parse::<u32>().ok().map(i64::from) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redis_options_parse_every_form_of_url() {
        let full: RedisOptions = "redis://us%40er:p%2Fw@h:1/7".parse().unwrap();
        assert_eq!((full.user.as_deref(), full.password, full.database), (Some("us@er"), Some("p/w".into()), 7));
        assert_eq!(full.address.to_string(), "h:1");
        let v6: RedisOptions = "redis://[::1]".parse().unwrap();
        assert_eq!(v6.address.to_string(), "[::1]:6379");
        let password_only: RedisOptions = "redis://:pw@h".parse().unwrap();
        assert_eq!((password_only.user, password_only.password), (None, Some("pw".into())));
        let unix: RedisOptions = "redis+unix:///run/re%20dis.sock?db=3&user=u&pass=p".parse().unwrap();
        assert_eq!((unix.address.to_string().as_str(), unix.database), ("/run/re dis.sock", 3));
    }

    #[test]
    fn error_for_an_invalid_redis_url_hides_the_password() {
        for url in [
            "redis://:secret@",
            "redis://u:secret@h/x",
            "redis://u:secret@h/-1",
            "redis://u:secret@h?db=x",
            "redis://u:secret@h?timeout=5",
            "redis://u:secret@h#a",
            "redis://u:secret@h:99999",
            "redis://u:secret%ff@h",
            "rediss://u:secret@h",
            "redis+unix://host/path?pass=secret",
            "redis+unix:///",
            "http://u:secret@h",
            "secret",
        ] {
            let fault = url.parse::<RedisOptions>().unwrap_err();
            assert!(!format!("{fault} {fault:?}").contains("secret"), "{url}: {fault:?}");
        }
        assert!("redis://user@h".parse::<RedisOptions>().is_err());
        for prefix in ["", "a", "a*:", "{a}:", "a\n:", &format!("{}:", "a".repeat(256))] {
            let options: RedisOptions = "redis://h".parse().unwrap();
            assert!(options.prefix(prefix).checked().is_err(), "{prefix:?}");
        }
    }

    #[test]
    fn error_for_an_unencoded_password_names_the_character_to_encode() {
        for (url, expected) in [
            ("redis://:a#b@h", "has # before @; write # in a user name or password as %23"),
            ("redis://:a/b@h:6379/0", "has / before @; write / in a user name or password as %2F"),
            ("redis://u:a?b#c@h", "has ? before @; write ? in a user name or password as %3F"),
            ("redis://u:12/b@h", "as %2F"),
            ("redis://u#v:a@h", "as %23"),
            ("redis://u:a%b@h", "invalid password; write % as %25"),
            ("redis://a%b:p@h", "invalid user name; write % as %25"),
            ("redis+unix:///run/redis.sock?pass=a#b", "encode # as %23"),
        ] {
            let error = url.parse::<RedisOptions>().unwrap_err();
            assert!(error.message().contains(expected), "{url}: {error}");
        }
        let encoded: RedisOptions = "redis://:a%23%2F%3F@h".parse().unwrap();
        assert_eq!(encoded.password, Some("a#/?".into()));
        let at: RedisOptions = "redis://:a@b@h".parse().unwrap();
        assert_eq!(at.password, Some("a@b".into()));
    }

    #[test]
    fn redis_timeouts_are_limited() {
        let options: RedisOptions = "redis://h".parse().unwrap();
        let options = options.response_timeout(Duration::MAX).list_timeout(Duration::MAX).checked().unwrap();
        assert_eq!((options.response_timeout, options.list_timeout), (CALL_TIMEOUT, MAX_LIST_TIMEOUT));
    }
}
