//! Opens a store by its URL.

use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Operation, Result};
use crate::memory::MemoryRegistry;
use crate::registry::metrics::counted;
use crate::registry::ttl::DEFAULT_TTL;
use crate::registry::{Registry, TtlPolicy};
use crate::secret::Secret;
use crate::url_source::UrlSource;

/// Options of a store that are not part of its URL.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> stream_registry::Result<()> {
/// use std::time::Duration;
/// use stream_registry::ConnectOptions;
///
/// let options = ConnectOptions::default().ttl(Duration::from_secs(60));
/// let registry = stream_registry::connect_with("memory:", &options).await?;
/// assert_eq!(registry.info().ttl, Duration::from_secs(60));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectOptions {
    /// How long a stream lives without a write: 1 s to 30 days. Default: 5 minutes.
    ///
    /// An HTTP store rejects this option, because its server sets the time to live.
    pub ttl: Option<Duration>,
    /// Prefix of all Redis keys, ending in `:`. Default: `mirror:streams:`. Other stores reject this option.
    pub prefix: Option<String>,
    /// Whether every write is rejected. Default: no.
    pub read_only: bool,
    /// The effect of a write on the remaining time to live of a stream. Default: [`TtlPolicy::Renew`].
    ///
    /// Only Redis uses this option.
    pub ttl_policy: TtlPolicy,
    /// Bearer token for an HTTP store. Default: none.
    pub token: Option<Secret>,
    /// Reads the store's URL again if Redis rejects the user name or password. Default: none.
    ///
    /// Only Redis uses this option.
    pub url_source: Option<UrlSource>,
}

impl ConnectOptions {
    /// Sets the time to live.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Sets the prefix of all keys.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = Some(prefix.into());
        self
    }

    /// Rejects every write.
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

    /// Sets the bearer token for an HTTP store.
    #[must_use]
    pub fn token(mut self, token: impl Into<Secret>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Sets the function that reads the store's URL again if Redis rejects the user name or password.
    #[must_use]
    pub fn url_source(mut self, source: UrlSource) -> Self {
        self.url_source = Some(source);
        self
    }
}

/// Opens the store at a URL, with default options. The registry counts its calls for [`Registry::metrics`].
///
/// | URL | store | Cargo feature |
/// |---|---|---|
/// | `memory:` | [`MemoryRegistry`] | |
/// | `redis://…`, `redis+unix://…` | `RedisRegistry` | `redis` (default) |
/// | `rediss://…` (TLS) | `RedisRegistry` | `redis` and `tls` (default) |
/// | `http://…` | `HttpRegistry` | `http` |
/// | `https://…` (TLS) | `HttpRegistry` | `http` and `tls` (default) |
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> stream_registry::Result<()> {
/// let registry = stream_registry::connect("memory:").await?;
/// assert_eq!(registry.info().kind, "memory");
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// Returns `InvalidArgument` if the URL is invalid. Returns `Unsupported` if this version or build does not have the
/// store; the message names the Cargo feature. Returns `Unavailable` or `Timeout` if the store cannot be reached, and
/// `Unauthenticated` or `Denied` if it rejects the connection.
pub async fn connect(url: &str) -> Result<Arc<dyn Registry>> {
    connect_with(url, &ConnectOptions::default()).await
}

/// Opens the store at a URL, as [`connect`] does, with options.
///
/// # Errors
///
/// Returns the errors of [`connect`]. Also returns `InvalidArgument` if an option is outside its limits or does not
/// apply to the store.
pub async fn connect_with(url: &str, options: &ConnectOptions) -> Result<Arc<dyn Registry>> {
    open(url, options).await.map(counted).map_err(|error| error.with_operation(Operation::Connect))
}

/// Opens the Redis store at a URL for a [diagnosis](crate::RedisRegistry::diagnose), with options. Works even if a
/// Redis Cluster rejects all calls: see [`connect_for_diagnosis`](crate::RedisRegistry::connect_for_diagnosis).
///
/// # Errors
///
/// Returns the errors of [`connect_with`]. Returns `InvalidArgument` if the URL leads to another kind of store.
#[cfg(feature = "redis")]
pub async fn connect_for_diagnosis(url: &str, options: &ConnectOptions) -> Result<crate::redis::RedisRegistry> {
    let registry = async { crate::redis::RedisRegistry::connect_for_diagnosis(redis_options(url, options)?).await };
    registry.await.map_err(|error| error.with_operation(Operation::Connect))
}

async fn open(url: &str, options: &ConnectOptions) -> Result<Arc<dyn Registry>> {
    let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
    match scheme {
        "memory" => open_memory(url, options),
        "redis+unix" | "unix" => open_redis(url, options).await,
        // Without this check, the host of `redis:6379` would be taken for a scheme.
        _ if !url.contains("://") => Err(missing_scheme(url)),
        "redis" | "rediss" | "redis+sentinel" | "rediss+sentinel" | "redis+cluster" | "rediss+cluster" => {
            open_redis(url, options).await
        }
        "http" | "https" => open_http(url, options).await,
        _ => Err(Error::invalid(
            "invalid store URL; expected memory:, redis://, rediss://, redis+unix://, http:// or https://",
        )),
    }
}

/// Returns the error for a URL that has no scheme, such as `10.0.0.5:6379`. The message does not repeat the URL,
/// because the URL may contain a password.
fn missing_scheme(url: &str) -> Error {
    let suggestion = match url.rsplit(':').next() {
        Some("6379") => "redis://host:6379",
        Some("8580") => "http://host:8580",
        _ if url.starts_with('/') => "redis+unix:///path/to/socket",
        _ => "redis://host:6379 or http://host:8580",
    };
    Error::invalid(format!("the store URL has no scheme; did you mean {suggestion}?"))
}

fn open_memory(url: &str, options: &ConnectOptions) -> Result<Arc<dyn Registry>> {
    if url != "memory:" {
        return Err(Error::invalid("invalid store URL; expected memory: with nothing after it"));
    }
    if options.prefix.is_some() {
        return Err(Error::invalid("the in-memory store has no key prefix; remove this option"));
    }
    let memory = MemoryRegistry::with_ttl(options.ttl.unwrap_or(DEFAULT_TTL))?;
    Ok(Arc::new(if options.read_only { memory.read_only() } else { memory }))
}

#[cfg(feature = "redis")]
async fn open_redis(url: &str, options: &ConnectOptions) -> Result<Arc<dyn Registry>> {
    Ok(Arc::new(crate::redis::RedisRegistry::connect(redis_options(url, options)?).await?))
}

/// Parses the URL of a Redis store, and sets the options.
#[cfg(feature = "redis")]
fn redis_options(url: &str, options: &ConnectOptions) -> Result<crate::redis::RedisOptions> {
    let mut redis: crate::redis::RedisOptions = url.parse()?;
    redis.ttl = options.ttl.unwrap_or(redis.ttl);
    redis.prefix = options.prefix.clone().unwrap_or(redis.prefix);
    redis.ttl_policy = options.ttl_policy;
    redis.read_only = options.read_only;
    redis.url_source.clone_from(&options.url_source);
    Ok(redis)
}

#[cfg(not(feature = "redis"))]
async fn open_redis(_: &str, _: &ConnectOptions) -> Result<Arc<dyn Registry>> {
    Err(Error::unsupported("this build has no Redis store; build with the Cargo feature \"redis\""))
}

#[cfg(feature = "http")]
async fn open_http(url: &str, options: &ConnectOptions) -> Result<Arc<dyn Registry>> {
    Ok(Arc::new(crate::http::HttpRegistry::connect(http_options(url, options)?).await?))
}

/// Parses the URL of a server, and sets the options. Rejects options that only the server can set.
#[cfg(feature = "http")]
fn http_options(url: &str, options: &ConnectOptions) -> Result<crate::http::HttpOptions> {
    if options.ttl.is_some() || options.prefix.is_some() {
        return Err(Error::invalid("the server of an HTTP store sets time to live and prefix; remove these options"));
    }
    let mut http: crate::http::HttpOptions = url.parse()?;
    http.token.clone_from(&options.token);
    http.read_only = options.read_only;
    Ok(http)
}

#[cfg(not(feature = "http"))]
async fn open_http(_: &str, _: &ConnectOptions) -> Result<Arc<dyn Registry>> {
    Err(Error::unsupported("this build has no HTTP store; build with the Cargo feature \"http\""))
}

/// Returns a store's URL without user, password and query, for logs and messages. If the password could be in
/// another part of the URL, only the scheme is returned.
///
/// ```
/// let shown = stream_registry::without_secrets("redis://ingest:secret@10.0.0.5:6379/2");
/// assert_eq!(shown, "redis://10.0.0.5:6379/2");
/// ```
pub fn without_secrets(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        let scheme = url.split(':').next().unwrap_or_default();
        return format!("{scheme}:");
    };
    let (address, query) = rest.split_once(['?', '#']).unwrap_or((rest, ""));
    if query.contains('@') {
        return format!("{scheme}://…");
    }
    let address = address.rsplit_once('@').map_or(address, |(_, address)| address);
    format!("{scheme}://{address}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn error_for_a_store_url_without_scheme_suggests_one() {
        for (url, expected) in [
            ("10.0.0.5:6379", "did you mean redis://host:6379?"),
            ("redis:6379", "did you mean redis://host:6379?"),
            ("[::1]:6379", "did you mean redis://host:6379?"),
            ("localhost:8580", "did you mean http://host:8580?"),
            ("user:secret@10.0.0.5:7000", "did you mean redis://host:6379 or http://host:8580?"),
            ("cache.example", "did you mean redis://host:6379 or http://host:8580?"),
            ("/run/redis.sock", "did you mean redis+unix:///path/to/socket?"),
            ("", "has no scheme"),
        ] {
            let error = connect(url).await.err().unwrap();
            assert_eq!(error.kind(), crate::error::ErrorKind::InvalidArgument, "{url}");
            assert!(error.message().contains(expected) && !error.to_string().contains("secret"), "{url}: {error}");
        }
        let error = connect("ftp://host").await.err().unwrap();
        assert!(error.message().contains("expected memory:, redis://"), "{error}");
    }

    #[test]
    fn displayed_store_name_contains_no_secret() {
        for (url, name) in [
            ("memory:", "memory:"),
            ("http://127.0.0.1:8580", "http://127.0.0.1:8580"),
            ("redis://user:pw@host:6379/2", "redis://host:6379/2"),
            ("redis://:p@w/x@host", "redis://host"),
            ("redis+unix:///run/redis.sock?user=u&pass=secret", "redis+unix:///run/redis.sock"),
            ("redis+unix:///run/redis.sock?pass=a@secret", "redis+unix://…"),
            ("redis://:p?w@host", "redis://…"),
            ("redis:secret", "redis:"),
        ] {
            assert_eq!(without_secrets(url), name, "{url}");
        }
    }
}
