//! The HTTP server.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use stream_registry::Registry;

/// What a server is told beyond its store.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ServeOptions {}

impl ServeOptions {
    /// Sets the token.
    #[must_use]
    pub fn token(self, _: Option<String>) -> Self {
        self
    }
}

/// Checks the address.
///
/// # Errors
///
/// For an address beyond loopback without a token.
pub fn check_listen(addr: &SocketAddr, has_token: bool) -> Result<(), String> {
    if addr.ip().is_loopback() || has_token {
        return Ok(());
    }
    Err(format!("without a token the server listens on loopback only, not on {addr}; give --token-file FILE"))
}

/// Serves.
///
/// # Errors
///
/// In this placeholder always.
pub async fn serve(
    _: Arc<dyn Registry>,
    _: tokio::net::TcpListener,
    _: ServeOptions,
    _: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    Err(std::io::Error::other("the server is not there yet"))
}
