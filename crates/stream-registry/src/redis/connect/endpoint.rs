//! A server's address, with everything that is needed to open a connection to it.
//!
//! The Redis client receives an open stream instead of an address. So plain connections, unix sockets and TLS take the
//! same path, and the settings of TLS are not limited to those of the client.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::select_ok;
use redis::RedisError;
use redis::io::tcp::socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::net::{TcpStream, lookup_host};

use super::credentials::Credentials;
use crate::error::{Error, ErrorKind, Result};
use crate::redis::fault;
use crate::redis::options::RedisOptions;
use crate::redis::servers::{Address, SentinelOptions};
#[cfg(feature = "tls")]
use crate::tls::{Tls, options::Peer, tls_error};

/// Idle time after which the kernel checks whether the server is still reachable. Firewalls often forget connections
/// that are idle for some minutes.
const KEEP_ALIVE_AFTER: Duration = Duration::from_secs(30);
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// An open connection to a server, encrypted or not.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// How to open connections: the settings of TLS, the credentials and the database. The servers of a store share them.
pub(super) struct Access {
    pub(super) database: i64,
    pub(super) credentials: Credentials,
    #[cfg(feature = "tls")]
    tls: Option<Tls>,
}

impl Access {
    /// Returns the access to the Redis servers of a store.
    pub(super) fn new(options: &RedisOptions) -> Self {
        Self {
            database: options.database,
            credentials: Credentials::new(options),
            #[cfg(feature = "tls")]
            tls: options.tls.clone().map(|tls| Tls::new(tls, Peer::Redis)),
        }
    }

    /// Returns the access to the Sentinels of a store.
    pub(super) fn to_sentinels(options: &RedisOptions, sentinel: &SentinelOptions) -> Self {
        Self {
            database: 0,
            credentials: Credentials::of_sentinels(options, sentinel),
            #[cfg(feature = "tls")]
            tls: options.tls.clone().filter(|_| sentinel.tls).map(|tls| Tls::new(tls, Peer::Redis)),
        }
    }
}

/// A server's address, and how to open connections to it.
#[derive(Clone)]
pub(in crate::redis) struct Endpoint {
    pub(super) address: Address,
    pub(super) access: Arc<Access>,
}

impl Endpoint {
    /// Connects to the server. With TLS, also performs the handshake.
    pub(super) async fn open_stream(&self) -> Result<Box<dyn Stream>> {
        match &self.address {
            Address::Tcp(host, port) => {
                let stream = connect_tcp(host, *port).await.map_err(|error| match RedisError::from(error) {
                    error if fault::is_unknown_host(&error) => unknown_host(host).with_source(error),
                    error => fault::translate(error, false),
                })?;
                #[cfg(feature = "tls")]
                if let Some(tls) = &self.access.tls {
                    return Ok(Box::new(tls.connect(stream, host, &self.address).await?));
                }
                Ok(Box::new(stream))
            }
            #[cfg(unix)]
            Address::Unix(path) => Ok(Box::new(UnixStream::connect(path).await.map_err(translate)?)),
            #[cfg(not(unix))]
            Address::Unix(_) => Err(Error::unsupported("this system has no unix sockets; use a redis:// URL")),
        }
    }

    /// Returns whether connections to the server are encrypted.
    pub(super) fn is_tls(&self) -> bool {
        #[cfg(feature = "tls")]
        return self.access.tls.is_some();
        #[cfg(not(feature = "tls"))]
        false
    }

    /// Returns the fault that a server has reported with a TLS alert after the handshake. In TLS 1.3, a server checks
    /// the client's certificate only then.
    #[cfg_attr(not(feature = "tls"), allow(clippy::unused_self))]
    pub(super) fn tls_fault(&self, error: &RedisError) -> Option<Error> {
        #[cfg(feature = "tls")]
        {
            // The Redis client keeps the error of the stream in an `Arc`.
            let source = std::error::Error::source(error)?;
            let shared = source.downcast_ref::<Arc<dyn std::error::Error + Send + Sync>>()?;
            let cause = tls_error(shared.downcast_ref()?)?;
            Some(self.access.tls.as_ref()?.explain(cause, &self.address))
        }
        #[cfg(not(feature = "tls"))]
        {
            let _ = error;
            None
        }
    }
}

/// Returns the error for a host name in the store URL, or one that a Sentinel or a node of a cluster gives.
fn unknown_host(host: &str) -> Error {
    Error::new(ErrorKind::Unavailable, format!("unknown host name {host}; check the name and the DNS server"))
}

#[cfg(unix)]
fn translate(error: io::Error) -> Error {
    fault::translate(RedisError::from(error), false)
}

/// Connects to all addresses of a host at once, and returns the first connection. So one dead address of several does
/// not use up the time limit.
async fn connect_tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let attempts: Vec<_> = lookup_host((host, port)).await?.map(|one| Box::pin(TcpStream::connect(one))).collect();
    if attempts.is_empty() {
        return Err(io::Error::other("failed to lookup address: the host name has no address"));
    }
    let (stream, _) = select_ok(attempts).await?;
    // Without TCP_NODELAY, delayed acknowledgements would add 40 ms to each call.
    stream.set_nodelay(true)?;
    let keep_alive = TcpKeepalive::new().with_time(KEEP_ALIVE_AFTER).with_interval(KEEP_ALIVE_INTERVAL);
    SockRef::from(&stream).set_tcp_keepalive(&keep_alive)?;
    Ok(stream)
}
