//! HTTPS: the files of the server's certificate, and the handshake.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{CertificateError, RootCertStore, ServerConfig};
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
    certificate: Arc<Reloading<Certificate>>,
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
        let certificate = Reloading::new(files, Certificate::build);
        certificate.current()?;
        Ok(Self { certificate: Arc::new(certificate), failures: Arc::default() })
    }

    /// Reads the files again and again. Never returns.
    pub(super) async fn follow_changes(&self) {
        loop {
            sleep(CHECK_INTERVAL).await;
            let certificate = Arc::clone(&self.certificate);
            // There is a good configuration since `open`, so a failure is only logged.
            let _ = tokio::task::spawn_blocking(move || certificate.current()).await;
        }
    }

    /// Returns whether a changed file is unusable, so that the earlier contents are used.
    pub(super) fn is_outdated(&self) -> bool {
        self.certificate.is_outdated()
    }

    /// Returns when the certificate, or the first of its intermediate certificates, expires, in seconds since 1970.
    pub(super) fn expires_at(&self) -> Option<u64> {
        self.certificate.last()?.expires_at
    }

    /// Performs the handshake.
    pub(super) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(&self, socket: S) -> io::Result<TlsStream<S>> {
        let certificate = self.certificate.last().ok_or_else(|| io::Error::other("no TLS configuration"))?;
        match TlsAcceptor::from(Arc::clone(&certificate.config)).accept(socket).into_fallible().await {
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

/// What the server reads from its files.
struct Certificate {
    config: Arc<ServerConfig>,
    /// When the certificate, or the first of its intermediate certificates, expires, in seconds since 1970.
    expires_at: Option<u64>,
}

impl Certificate {
    /// Logs a warning if the certificate has expired.
    fn build(files: &[PemFile]) -> Result<Self> {
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
        let chain = cert.certificates()?;
        let expires_at = chain.iter().filter_map(expiry).min();
        let mut config = builder.with_single_cert(chain, key.key()?).map_err(|error| {
            let files = "the files in --tls-cert and --tls-key";
            Error::invalid(format!("{files} do not belong together ({error}); correct one"))
        })?;
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        if expires_at.is_some_and(|at| at < UnixTime::now().as_secs()) {
            tracing::warn!("a certificate in --tls-cert has expired, so clients reject it; renew it");
        }
        Ok(Self { config: Arc::new(config), expires_at })
    }
}

/// Returns when a certificate expires, in seconds since 1970.
///
/// rustls has no function for this, but its error for an expired certificate has the time. So this asks whether the
/// certificate is valid at the end of time. This check precedes those that need a trusted CA.
fn expiry(certificate: &CertificateDer<'_>) -> Option<u64> {
    let certificate = ParsedCertificate::try_from(certificate).ok()?;
    let end = UnixTime::since_unix_epoch(Duration::from_secs(u64::MAX));
    match verify_server_cert_signed_by_trust_anchor(&certificate, &RootCertStore::empty(), &[], end, &[]) {
        Err(rustls::Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => {
            Some(not_after.as_secs())
        }
        _ => None,
    }
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
