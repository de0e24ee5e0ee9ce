//! The servers that a store URL names, and the settings of connections to them.

use std::fmt;
use std::path::PathBuf;

use crate::secret::Secret;

/// Numbers of shards that a Redis Cluster may have.
pub(super) const SHARD_COUNTS: [u16; 7] = [1, 2, 4, 8, 16, 32, 64];

/// The servers of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Servers {
    /// One server.
    Single(Address),
    /// A primary with replicas, which Sentinels monitor.
    Sentinel(SentinelOptions),
    /// A Redis Cluster.
    Cluster(ClusterOptions),
}

impl fmt::Display for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses = match self {
            Self::Single(address) => return address.fmt(f),
            Self::Sentinel(options) => &options.sentinels,
            Self::Cluster(options) => &options.nodes,
        };
        for (index, address) in addresses.iter().enumerate() {
            write!(f, "{}{address}", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SentinelOptions {
    pub(super) sentinels: Vec<Address>,
    /// The name under which the Sentinels monitor the primary.
    pub(super) service: String,
    pub(super) login: Login,
    /// Whether the Sentinels use TLS, if the Redis servers do.
    pub(super) tls: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ClusterOptions {
    /// Some nodes of the cluster. They are asked for all others.
    pub(super) nodes: Vec<Address>,
    /// Number of shards. `None` if the number that is stored in the cluster is used.
    pub(super) shards: Option<u16>,
}

/// A user name and password.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Login {
    pub(super) user: Option<String>,
    pub(super) password: Option<Secret>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Address {
    Tcp(String, u16),
    Unix(PathBuf),
}

/// Maximum length of a host name in bytes (RFC 1035, section 2.3.4).
const MAX_HOST_BYTES: usize = 255;

impl Address {
    /// Returns the address that a Sentinel or a node of a cluster gives for another server. Returns `None` if it cannot
    /// be an address.
    pub(super) fn announced(host: &str, port: i64) -> Option<Self> {
        let port = u16::try_from(port).ok().filter(|port| *port > 0)?;
        let is_legal = |one: char| !one.is_control() && !one.is_whitespace();
        let is_host = (1..=MAX_HOST_BYTES).contains(&host.len()) && host.chars().all(is_legal);
        is_host.then(|| Self::Tcp(host.to_owned(), port))
    }
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
