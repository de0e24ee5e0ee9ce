//! TLS connections to Redis.

mod config;
mod fault;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use redis::RedisError;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use self::config::Configs;
use self::fault::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::redis::options::{Address, TlsOptions};

/// Timeout of a handshake. It is shorter than the timeout of the whole connection attempt, so that the error can name
/// the handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_millis(1_000);

/// The settings of TLS, and the configuration that all connections of a registry share. With a shared configuration, a
/// new connection resumes an earlier session.
pub(super) struct Tls {
    options: Arc<TlsOptions>,
    configs: Arc<Configs>,
}

impl Tls {
    pub(super) fn new(options: TlsOptions) -> Self {
        let options = Arc::new(options);
        Self { configs: Arc::new(Configs::new(Arc::clone(&options))), options }
    }

    /// Performs the handshake on an open connection to `host`.
    ///
    /// # Errors
    ///
    /// Returns `InvalidArgument` if the name or a file of the options is invalid, `Unauthenticated` if one side rejects
    /// the certificate of the other, `Unsupported` if the server does not use TLS, and `Unavailable` otherwise.
    pub(super) async fn connect(
        &self,
        stream: TcpStream,
        host: &str,
        address: &Address,
    ) -> Result<TlsStream<TcpStream>> {
        let name = self.options.server_name.as_deref().unwrap_or(host);
        let server_name = ServerName::try_from(name.to_owned()).map_err(|_| {
            Error::invalid(format!("{name:?} is not a host name or IP address; correct server_name in the store URL"))
        })?;
        let configs = Arc::clone(&self.configs);
        // Reads files.
        let current = tokio::task::spawn_blocking(move || configs.current()).await;
        let config = current.unwrap_or_else(|panic| Err(Error::new(ErrorKind::Internal, panic.to_string())))?;
        let handshake = TlsConnector::from(config).connect(server_name, stream);
        let context = Context { options: &self.options, address };
        let error = match timeout(HANDSHAKE_TIMEOUT, handshake).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => error,
            Err(_) => return Err(context.no_handshake()),
        };
        let Some(cause) = tls_error(&error) else { return Err(context.closed(error)) };
        if fault::is_unknown_issuer(cause) {
            self.configs.reload_system_cas();
        }
        Err(context.explain(cause))
    }

    /// Returns the fault that a TLS alert has reported, if `error` was caused by an alert.
    pub(super) fn fault_of(&self, error: &RedisError, address: &Address) -> Option<Error> {
        // The Redis client keeps the error of the stream in an `Arc`.
        let source = std::error::Error::source(error)?;
        let shared = source.downcast_ref::<Arc<dyn std::error::Error + Send + Sync>>()?;
        let cause = tls_error(shared.downcast_ref()?)?;
        Some(Context { options: &self.options, address }.explain(cause))
    }
}

fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}
