//! Options of a Redis store.

use std::time::Duration;

use super::servers::{Login, Servers};
use crate::error::{Error, Result};
use crate::registry::TtlPolicy;
use crate::registry::ttl::{DEFAULT_TTL, check_ttl};
use crate::tls::options::TlsOptions;
use crate::url_source::UrlSource;

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
/// The URL has one of the following forms. Reserved characters are percent-encoded.
///
/// * `redis://[user:password@]host[:port][/database]`
/// * `rediss://[user:password@]host[:port][/database][?ca=FILE&cert=FILE&key=FILE&server_name=NAME&insecure=true]`,
///   with TLS (Cargo feature `tls`)
/// * `redis+unix:///path/to/socket[?db=0&user=…&pass=…]`
/// * `redis+sentinel://[user:password@]host[:port][,host[:port]…]/service[?db=0&sentinel_user=…&sentinel_pass=…]`,
///   with the addresses of Sentinels (default port: 26379) and the name of the service that they monitor
/// * `redis+cluster://[user:password@]host[:port][,host[:port]…][?shards=16]`, with the addresses of some nodes of a
///   Redis Cluster
///
/// In a cluster, a new registry is divided into 16 shards, or into the number of the parameter `shards`: 1, 2, 4, 8, 16,
/// 32 or 64. The number is stored in the cluster and cannot be changed. Without the parameter, the stored number is used.
///
/// With Sentinel, user and password are those of the Redis servers. The Sentinels have their own, which are in the
/// parameters `sentinel_user` and `sentinel_pass`. With the schemes `rediss+sentinel` and `rediss+cluster`, all
/// connections use TLS; `sentinel_tls=false` excludes the Sentinels.
///
/// # TLS
///
/// | parameter | meaning |
/// |---|---|
/// | `ca` | PEM file with the CAs that may sign the server's certificate; default: the CAs of the system |
/// | `cert`, `key` | PEM files with the client's certificate and its private key |
/// | `server_name` | the name in the server's certificate; default: the host of the URL |
/// | `insecure=true` | accepts every certificate, so anyone on the network can read the password; for tests only |
///
/// The files are read again for each new connection. If a changed file is unreadable or invalid, the store logs a
/// warning and keeps the earlier contents. The crate uses rustls with its own crypto provider (ring), and installs no
/// provider for the process.
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
    pub(super) servers: Servers,
    pub(super) login: Login,
    pub(super) database: i64,
    /// The settings of TLS. `None` if connections are not encrypted.
    pub(super) tls: Option<TlsOptions>,
    /// Reads the store's URL again if the server rejects the user name or password. Default: none.
    pub url_source: Option<UrlSource>,
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

impl RedisOptions {
    pub(super) fn new(servers: Servers) -> Self {
        Self {
            servers,
            login: Login::default(),
            database: 0,
            tls: None,
            url_source: None,
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

    /// Sets the function that reads the store's URL again if the server rejects the user name or password.
    #[must_use]
    pub fn url_source(mut self, source: UrlSource) -> Self {
        self.url_source = Some(source);
        self
    }

    /// Checks the time to live and the prefix. Reduces timeouts that are above their limits.
    ///
    /// # Errors
    ///
    /// Returns `InvalidArgument` if the time to live or the prefix is invalid. Returns `Unsupported` if this build has no
    /// TLS and the options need it.
    pub(super) fn checked(mut self) -> Result<Self> {
        if self.tls.is_some() && !cfg!(feature = "tls") {
            return Err(Error::unsupported("this build has no TLS; build with the Cargo feature \"tls\""));
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redis_timeouts_are_limited() {
        let options: RedisOptions = "redis://h".parse().unwrap();
        let options = options.response_timeout(Duration::MAX).list_timeout(Duration::MAX).checked().unwrap();
        assert_eq!((options.response_timeout, options.list_timeout), (CALL_TIMEOUT, MAX_LIST_TIMEOUT));
    }

    #[test]
    fn redis_options_reject_invalid_prefixes() {
        for prefix in ["", "a", "a*:", "{a}:", "a\n:", &format!("{}:", "a".repeat(256))] {
            let options: RedisOptions = "redis://h".parse().unwrap();
            assert!(options.prefix(prefix).checked().is_err(), "{prefix:?}");
        }
    }
}
