//! Opens connections to the server, with or without TLS.

#[cfg(feature = "tls")]
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use hyper::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tower_service::Service;

use crate::error::{Error, Result};
use crate::tls::options::{Peer, TlsOptions};
#[cfg(feature = "tls")]
use crate::tls::{Tls, tls_error};

/// An open connection to the server, encrypted or not.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Connection for Box<dyn Stream> {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

/// Opens connections to one server. Cheap to clone.
#[derive(Clone)]
pub(super) struct Connector {
    tcp: HttpConnector,
    #[cfg(feature = "tls")]
    tls: Option<Arc<Tls>>,
}

impl Connector {
    /// Returns `Unsupported` if TLS is demanded, which this build does not have.
    #[cfg_attr(not(feature = "tls"), allow(unused_variables))]
    pub(super) fn new(tls: Option<TlsOptions>, peer: Peer, connect_timeout: Duration) -> Result<Self> {
        if tls.is_some() && !cfg!(feature = "tls") {
            return Err(Error::unsupported("this build has no TLS; build with the Cargo feature \"tls\""));
        }
        let mut tcp = HttpConnector::new();
        tcp.set_connect_timeout(Some(connect_timeout));
        tcp.set_nodelay(true);
        // The connector would reject https:// URLs otherwise.
        tcp.enforce_http(false);
        Ok(Self {
            tcp,
            #[cfg(feature = "tls")]
            tls: tls.map(|tls| Arc::new(Tls::new(tls, peer))),
        })
    }

    /// Reads the files of TLS, so it blocks.
    ///
    /// # Errors
    ///
    /// Returns `InvalidArgument` if a file is unreadable or invalid.
    pub(super) fn check(&self) -> Result<()> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            tls.check()?;
        }
        Ok(())
    }

    /// Explains an error of TLS after the handshake, if `error` contains one. In TLS 1.3, a server checks the client's
    /// certificate only then.
    #[cfg_attr(not(feature = "tls"), allow(clippy::unused_self))]
    pub(super) fn tls_fault(&self, error: &std::io::Error, server: &str) -> Option<Error> {
        #[cfg(feature = "tls")]
        return Some(self.tls.as_ref()?.explain(tls_error(error)?, &server));
        #[cfg(not(feature = "tls"))]
        {
            let _ = (error, server);
            None
        }
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Box<dyn Stream>>;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.tcp.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        #[cfg(feature = "tls")]
        let tls = self.tls.clone().map(|tls| {
            let host = uri.host().unwrap_or_default().to_owned();
            (tls, host, uri.port_u16().unwrap_or(443))
        });
        let tcp = self.tcp.call(uri);
        Box::pin(async move {
            let socket = tcp.await?.into_inner();
            #[cfg(feature = "tls")]
            if let Some((tls, host, port)) = tls {
                let address = format!("{host}:{port}");
                // An IPv6 address has brackets in a URL, but not as the name in a certificate.
                let host = host.trim_start_matches('[').trim_end_matches(']');
                let encrypted: Box<dyn Stream> = Box::new(tls.connect(socket, host, &address).await?);
                return Ok(TokioIo::new(encrypted));
            }
            let plain: Box<dyn Stream> = Box::new(socket);
            Ok(TokioIo::new(plain))
        })
    }
}
