//! HTTPS: the files of the server's certificate, and the handshake.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use stream_registry::http::wire::{PROBLEM_JSON, Problem};
use stream_registry::tls::files::{PemFile, Reloading, cannot_set_up, provider};
use stream_registry::{Error, Result};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::codes;
use super::once_per_minute::OncePerMinute;

/// Time between two checks whether the files have changed.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The first byte of a TLS connection: the type of a handshake record (RFC 8446, section 5.1).
pub(super) const HANDSHAKE_RECORD: u8 = 22;

/// Maximum time to read the rest of a rejected request.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);
/// Maximum size, in bytes, of the rest of a rejected request.
const DRAIN_LIMIT: u64 = 256 * 1024;

/// The versions of HTTP that the server offers in a handshake (ALPN, RFC 7301), the preferred one first.
const PROTOCOLS: [&[u8]; 2] = [HTTP_2, b"http/1.1"];
const HTTP_2: &[u8] = b"h2";

/// The certificate of a server, which follows changes of its files.
///
/// Every second, the server reads the files. If they have changed, new connections use the new contents; open
/// connections continue. If a changed file is unreadable or invalid, the server logs a warning and keeps the earlier
/// contents.
#[derive(Clone, Debug)]
pub struct ServerTls {
    config: Arc<Reloading<ServerConfig>>,
    failures: Arc<OncePerMinute>,
}

impl ServerTls {
    /// Reads the certificate and its private key from PEM files. The certificate is followed by the intermediate ones,
    /// if there are any. With `client_ca`, every client must have a certificate that a CA in this file has signed.
    ///
    /// # Errors
    ///
    /// Returns `InvalidArgument` if a file is unreadable or invalid, or if the key does not belong to the certificate.
    pub fn open(cert: PathBuf, key: PathBuf, client_ca: Option<PathBuf>) -> Result<Self> {
        let mut files = vec![("--tls-cert", cert), ("--tls-key", key)];
        files.extend(client_ca.map(|ca| ("--tls-client-ca", ca)));
        let config = Reloading::new(files, build);
        config.current()?;
        Ok(Self { config: Arc::new(config), failures: Arc::default() })
    }

    /// Reads the files again and again. Never returns.
    pub(super) async fn follow_changes(&self) {
        loop {
            sleep(CHECK_INTERVAL).await;
            let config = Arc::clone(&self.config);
            // There is a good configuration since `open`, so a failure is only logged.
            let _ = tokio::task::spawn_blocking(move || config.current()).await;
        }
    }

    /// Returns whether a changed file is unusable, so that the earlier contents are used.
    pub(super) fn is_outdated(&self) -> bool {
        self.config.is_outdated()
    }

    /// Performs the handshake.
    pub(super) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(&self, socket: S) -> io::Result<TlsStream<S>> {
        let config = self.config.last().ok_or_else(|| io::Error::other("no TLS configuration"))?;
        match TlsAcceptor::from(config).accept(socket).into_fallible().await {
            Ok(stream) => Ok(stream),
            Err((error, socket)) => {
                self.log(&error);
                close(socket).await;
                Err(error)
            }
        }
    }

    /// Logs a failed handshake, unless the client has only closed the connection.
    fn log(&self, error: &io::Error) {
        if let Some(cause) = error.get_ref().filter(|cause| cause.is::<rustls::Error>())
            && let Some(skipped) = self.failures.admit()
        {
            tracing::warn!(%cause, skipped, "TLS handshake failed; check the client's URL and certificates");
        }
    }
}

fn build(files: &[PemFile]) -> Result<ServerConfig> {
    let [cert, key, client_ca @ ..] = files else { return Err(cannot_set_up("a file is missing")) };
    let provider = provider();
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(cannot_set_up)?;
    let builder = match client_ca.first() {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(ca.cas()?), provider);
            builder.with_client_cert_verifier(verifier.build().map_err(cannot_set_up)?)
        }
    };
    let mut config = builder.with_single_cert(cert.certificates()?, key.key()?).map_err(|error| {
        Error::invalid(format!("the files in --tls-cert and --tls-key do not belong together ({error}); correct one"))
    })?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(config)
}

/// Returns whether the client has selected HTTP/2 in the handshake.
pub(super) fn is_http2<S>(stream: &TlsStream<S>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(HTTP_2)
}

/// Responds to a client that does not use TLS, and closes the connection.
pub(super) async fn reject_plain<S: AsyncRead + AsyncWrite + Unpin>(mut socket: S) -> io::Result<()> {
    let (code, detail) = (codes::TLS_REQUIRED, "this port accepts only TLS; use https:// in the URL");
    // The type stays `about:blank`: a relative reference would lead back to plain HTTP.
    let body = serde_json::to_string(&Problem::new(code.status, code.name, "Bad Request", detail))?;
    let length = body.len();
    let head = format!("Content-Type: {PROBLEM_JSON}\r\nContent-Length: {length}\r\nConnection: close");
    socket.write_all(format!("HTTP/1.1 400 Bad Request\r\n{head}\r\n\r\n{body}").as_bytes()).await?;
    close(socket).await;
    Ok(())
}

/// Closes a connection so that the client can read the last message. If a part of the request were left unread, the
/// system would reset the connection, and the client could lose the message.
async fn close<S: AsyncRead + AsyncWrite + Unpin>(mut socket: S) {
    let drained = async {
        socket.shutdown().await?;
        tokio::io::copy(&mut socket.take(DRAIN_LIMIT), &mut tokio::io::sink()).await
    };
    let _ = timeout(DRAIN_TIMEOUT, drained).await;
}
