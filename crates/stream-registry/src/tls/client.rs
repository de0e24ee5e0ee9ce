//! TLS connections of a client.

use std::fmt::Display;
use std::io;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::config;
use super::fault::{self, Context};
use super::files::Reloading;
use super::options::{Peer, TlsOptions};
use crate::error::{Error, ErrorKind, Result};

/// The settings of TLS, and the configuration that all connections of a registry share. With a shared configuration, a
/// new connection resumes an earlier session.
pub(crate) struct Tls {
    options: TlsOptions,
    peer: Peer,
    configs: Arc<Reloading<ClientConfig>>,
}

impl Tls {
    pub(crate) fn new(options: TlsOptions, peer: Peer) -> Self {
        Self { configs: Arc::new(config::reloading(&options, peer.settings())), options, peer }
    }

    /// Reads the files of the options, so it blocks.
    ///
    /// # Errors
    ///
    /// Returns `InvalidArgument` if a file is unreadable or invalid.
    #[cfg(feature = "http")]
    pub(crate) fn check(&self) -> Result<()> {
        self.configs.current().map(drop)
    }

    /// Performs the handshake on an open connection to `host`.
    ///
    /// # Errors
    ///
    /// Returns `InvalidArgument` if the name or a file of the options is invalid, `Unauthenticated` if one side rejects
    /// the certificate of the other, `Unsupported` if the server does not use TLS, and `Unavailable` otherwise.
    pub(crate) async fn connect(
        &self,
        stream: TcpStream,
        host: &str,
        address: &(dyn Display + Sync),
    ) -> Result<TlsStream<TcpStream>> {
        let name = self.options.server_name.as_deref().unwrap_or(host);
        let server_name = ServerName::try_from(name.to_owned()).map_err(|_| {
            let correct_name = match self.options.server_name {
                Some(_) => "correct server_name in the store URL",
                None => self.peer.settings().correct_name,
            };
            Error::invalid(format!("{name:?} is not a host name or IP address; {correct_name}"))
        })?;
        let configs = Arc::clone(&self.configs);
        // Reads files.
        let current = tokio::task::spawn_blocking(move || configs.current()).await;
        let config = current.unwrap_or_else(|panic| Err(Error::new(ErrorKind::Internal, panic.to_string())))?;
        let handshake = TlsConnector::from(config).connect(server_name, stream);
        let context = self.context(address);
        let error = match timeout(self.peer.settings().handshake_timeout, handshake).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => error,
            Err(_) => return Err(context.no_handshake()),
        };
        let Some(cause) = tls_error(&error) else { return Err(context.closed(error)) };
        // The CAs of the system may have changed.
        if fault::is_unknown_issuer(cause) && self.options.ca.is_none() {
            self.configs.invalidate();
        }
        Err(context.explain(cause))
    }

    /// Explains an error of TLS on a connection to this address. In TLS 1.3, a server checks the client's certificate
    /// after the handshake, so such an error can arrive later.
    pub(crate) fn explain(&self, cause: &rustls::Error, address: &(dyn Display + Sync)) -> Error {
        self.context(address).explain(cause)
    }

    fn context<'a>(&'a self, address: &'a (dyn Display + Sync)) -> Context<'a> {
        Context { options: &self.options, peer: self.peer, address }
    }
}

/// Returns the error of TLS that an I/O error contains.
pub(crate) fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::PrivateKeyDer;
    use rustls::{HandshakeKind, ServerConfig};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;

    /// Starts a TLS server that sends one byte to each client.
    async fn server() -> std::net::SocketAddr {
        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mut stream = acceptor.accept(stream).await.unwrap();
                stream.write_all(b"1").await.unwrap();
                stream.flush().await.unwrap();
                // Keeps the connection until the client closes it.
                let _ = stream.read_u8().await;
            }
        });
        address
    }

    #[tokio::test]
    async fn later_connections_resume_the_tls_session() {
        let address = server().await;
        #[cfg(feature = "redis")]
        let peer = Peer::Redis;
        #[cfg(not(feature = "redis"))]
        let peer = Peer::Http;
        let tls = Tls::new(TlsOptions { insecure: true, ..TlsOptions::default() }, peer);
        for expected in [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Resumed] {
            let stream = TcpStream::connect(address).await.unwrap();
            let mut stream = tls.connect(stream, "127.0.0.1", &address).await.unwrap();
            // The server sends the ticket for the next session before the byte.
            assert_eq!(stream.read_u8().await.unwrap(), b'1');
            assert_eq!(stream.get_ref().1.handshake_kind(), Some(expected));
        }
    }
}
