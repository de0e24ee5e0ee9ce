//! Errors of TLS that say what is wrong and what to do.

use std::fmt::Display;
use std::io;

use rustls::{AlertDescription, CertificateError, Error as TlsError};

use super::options::{Peer, TlsOptions};
use crate::error::{Error, ErrorKind};

/// The connection that failed.
pub(super) struct Context<'a> {
    pub(super) options: &'a TlsOptions,
    pub(super) peer: Peer,
    pub(super) address: &'a (dyn Display + Sync),
}

/// Returns whether the CA of the server's certificate is not trusted.
pub(super) fn is_unknown_issuer(error: &TlsError) -> bool {
    // The signature is wrong if a trusted CA has the name of the issuer but another key, as after a renewal of the CA.
    matches!(error, TlsError::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature))
}

impl Context<'_> {
    /// Returns the error for a server that has accepted the connection but does not answer the handshake.
    pub(super) fn no_handshake(&self) -> Error {
        let message = format!(
            "the server at {} does not answer the TLS handshake; if its port is not a TLS port, use {}",
            self.address,
            self.peer.plain_scheme()
        );
        Error::new(ErrorKind::Unavailable, message)
    }

    /// Returns the error for a connection that broke during the handshake.
    pub(super) fn closed(&self, error: io::Error) -> Error {
        let message = format!(
            "the server at {} closed the connection in the TLS handshake; try again, or check that its port is a TLS port",
            self.address
        );
        Error::new(ErrorKind::Unavailable, message).with_source(error)
    }

    /// Translates an error of TLS.
    pub(super) fn explain(&self, error: &TlsError) -> Error {
        let (kind, message) = match error {
            TlsError::InvalidCertificate(fault) => (ErrorKind::Unauthenticated, self.server_certificate(fault)),
            TlsError::AlertReceived(alert) => self.alert(*alert),
            TlsError::InvalidMessage(_) => (
                ErrorKind::Unsupported,
                format!(
                    "the server at {} does not use TLS; use {}, or the port for TLS",
                    self.address,
                    self.peer.plain_scheme()
                ),
            ),
            TlsError::PeerIncompatible(reason) => (
                ErrorKind::Unsupported,
                format!("{} at {} does not support TLS 1.2 or 1.3 as needed ({reason:?})", self.peer, self.address),
            ),
            _ => (
                ErrorKind::Unavailable,
                format!("TLS with {} at {} failed: {error}; try again", self.peer, self.address),
            ),
        };
        Error::new(kind, message).with_source(error.clone())
    }

    fn server_certificate(&self, fault: &CertificateError) -> String {
        let certificate = format_args!("the certificate of {} at {}", self.peer, self.address);
        let correct_name = self.peer.settings().correct_name;
        match fault {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => match &self.options.ca {
                Some(ca) => format!(
                    "{certificate} is not signed by a CA in {}; put the right CA in the file of {}",
                    ca.display(),
                    self.peer.settings().ca
                ),
                None => format!("{certificate} is not signed by a CA of this system; {}", self.peer.settings().add_ca),
            },
            CertificateError::NotValidForName => format!("{certificate} is for another name; {correct_name}"),
            CertificateError::NotValidForNameContext { expected, presented } => {
                let names: Vec<_> = presented.iter().map(|name| readable(name)).collect();
                let names = if names.is_empty() { "no name".to_owned() } else { names.join(", ") };
                format!("{certificate} is valid for {names}, not for {}; {correct_name}", expected.to_str())
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                format!("{certificate} has expired; renew it, and check this machine's clock")
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                format!("{certificate} is not valid yet; check this machine's clock")
            }
            _ if fault.to_string().contains("CaUsedAsEndEntity") => {
                format!("{certificate} is the certificate of a CA; sign a certificate for the server with it")
            }
            _ => format!("{certificate} is invalid ({fault}); create a new one"),
        }
    }

    fn alert(&self, alert: AlertDescription) -> (ErrorKind, String) {
        let (peer, address) = (self.peer, self.address);
        match (&self.options.identity, alert) {
            (None, AlertDescription::CertificateRequired | AlertDescription::HandshakeFailure) => (
                ErrorKind::Unauthenticated,
                format!("{peer} at {address} demands a client certificate; {}", peer.settings().add_identity),
            ),
            (
                Some(identity),
                AlertDescription::HandshakeFailure
                | AlertDescription::BadCertificate
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::CertificateRevoked
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateUnknown
                | AlertDescription::UnknownCA
                | AlertDescription::AccessDenied
                | AlertDescription::DecryptError
                | AlertDescription::CertificateRequired,
            ) => (
                ErrorKind::Unauthenticated,
                format!(
                    "{peer} at {address} rejected the client certificate ({alert:?}); correct {} and {}",
                    identity.cert.display(),
                    identity.key.display()
                ),
            ),
            (_, AlertDescription::UnrecognisedName) => (
                ErrorKind::Unauthenticated,
                format!("the server at {address} does not know this name; {}", peer.settings().correct_name),
            ),
            (_, AlertDescription::ProtocolVersion | AlertDescription::InsufficientSecurity) => (
                ErrorKind::Unsupported,
                format!("{peer} at {address} rejects TLS 1.2 and 1.3 or their ciphers; check {}", peer.tls_settings()),
            ),
            _ => {
                (ErrorKind::Unavailable, format!("{peer} at {address} ended the TLS connection ({alert:?}); try again"))
            }
        }
    }
}

/// Returns a name of a certificate without its type, e.g. `redis.example` for `DnsName("redis.example")`. Escapes control
/// characters, because the certificate is not trusted.
fn readable(name: &str) -> String {
    let without_type = name.split_once('(').and_then(|(_, name)| name.strip_suffix(')')).unwrap_or(name);
    without_type.trim_matches('"').escape_debug().to_string()
}
