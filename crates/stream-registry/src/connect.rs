//! From a URL to a store.

use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Operation, Result};
use crate::memory::MemoryRegistry;
use crate::registry::ttl::DEFAULT_TTL;
use crate::registry::{Registry, TtlPolicy};
use crate::secret::Secret;

/// What a store's URL does not say.
///
/// ```
/// use std::time::Duration;
/// use stream_registry::ConnectOptions;
/// let options = ConnectOptions::default().ttl(Duration::from_secs(60));
/// # let _ = options;
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectOptions {
    /// How long a stream lives without a write, 1 s to 30 days. Default 5 minutes; not for HTTP, whose server decides.
    pub ttl: Option<Duration>,
    /// The prefix of all keys, ending in `:`. Default `mirror:streams:`; for Redis only.
    pub prefix: Option<String>,
    /// Refuses every write. Default no.
    pub read_only: bool,
    /// What a write does to the time that is left. Default `Renew`.
    pub ttl_policy: TtlPolicy,
    /// The bearer token for an HTTP store. Default none.
    pub(crate) token: Option<Secret>,
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

    /// Refuses every write.
    #[must_use]
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// Sets what a write does to the time that is left.
    #[must_use]
    pub fn ttl_policy(mut self, policy: TtlPolicy) -> Self {
        self.ttl_policy = policy;
        self
    }

    /// Sets the bearer token.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(Secret::new(token));
        self
    }
}

/// Opens a store by URL: `memory:`, `redis://…`, `redis+unix://…`, `http://…`.
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
/// `InvalidArgument` for a URL that is none; `Unsupported` for a kind of store that this version or
/// this build lacks, naming the Cargo feature; `Unavailable`, `Timeout` and `Denied` where the store does not let us in.
pub async fn connect(url: &str) -> Result<Arc<dyn Registry>> {
    connect_with(url, &ConnectOptions::default()).await
}

/// As [`connect`], with options.
///
/// # Errors
///
/// As [`connect`], and `InvalidArgument` for an option that is out of its limits or that the store does not have.
pub async fn connect_with(url: &str, options: &ConnectOptions) -> Result<Arc<dyn Registry>> {
    open(url, options).await.map_err(|error| error.with_operation(Operation::Connect))
}

async fn open(url: &str, options: &ConnectOptions) -> Result<Arc<dyn Registry>> {
    let (scheme, _) = url
        .split_once(':')
        .ok_or_else(|| Error::invalid("the store must be a URL: memory:, redis://host:6379 or http://host:8580"))?;
    match scheme {
        "memory" => open_memory(url, options),
        "redis" | "redis+unix" | "unix" | "rediss" => open_redis(url, options).await,
        "http" | "https" => open_http(url, options).await,
        "redis+sentinel" | "redis+cluster" => {
            Err(Error::unsupported(format!("{scheme} is not supported yet; give the primary as redis://host:port")))
        }
        _ => Err(Error::invalid("the store's URL must begin with memory:, redis://, redis+unix:// or http://")),
    }
}

fn open_memory(url: &str, options: &ConnectOptions) -> Result<Arc<dyn Registry>> {
    if url != "memory:" {
        return Err(Error::invalid("the in-memory store is just memory: with nothing behind it"));
    }
    if options.prefix.is_some() {
        return Err(Error::invalid("the in-memory store has no key prefix; leave it out"));
    }
    Ok(Arc::new(MemoryRegistry::with_ttl(options.ttl.unwrap_or(DEFAULT_TTL))?.read_only(options.read_only)))
}

#[cfg(feature = "redis")]
async fn open_redis(url: &str, options: &ConnectOptions) -> Result<Arc<dyn Registry>> {
    let mut redis: crate::redis::RedisOptions = url.parse()?;
    if let Some(ttl) = options.ttl {
        redis = redis.ttl(ttl);
    }
    if let Some(prefix) = &options.prefix {
        redis = redis.prefix(prefix.clone());
    }
    redis = redis.read_only(options.read_only).ttl_policy(options.ttl_policy);
    Ok(Arc::new(crate::redis::RedisRegistry::connect(redis).await?))
}

#[cfg(not(feature = "redis"))]
async fn open_redis(_: &str, _: &ConnectOptions) -> Result<Arc<dyn Registry>> {
    Err(Error::unsupported("this build has no Redis store; build with the Cargo feature \"redis\""))
}

#[cfg(feature = "http")]
async fn open_http(url: &str, options: &ConnectOptions) -> Result<Arc<dyn Registry>> {
    if options.ttl.is_some() || options.prefix.is_some() {
        return Err(Error::invalid("an HTTP store's time to live and prefix are its server's; leave them out"));
    }
    let mut http: crate::http::HttpOptions = url.parse()?;
    if let Some(token) = &options.token {
        http = http.token(token.reveal());
    }
    http = http.read_only(options.read_only);
    Ok(Arc::new(crate::http::HttpRegistry::connect(http).await?))
}

#[cfg(not(feature = "http"))]
async fn open_http(_: &str, _: &ConnectOptions) -> Result<Arc<dyn Registry>> {
    Err(Error::unsupported("this build has no HTTP store; build with the Cargo feature \"http\""))
}
