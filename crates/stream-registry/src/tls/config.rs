//! The configuration of a client, which is built again when one of its files changes.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::files::{PemFile, Reloading, cannot_set_up, provider};
use super::options::{Settings, TlsOptions};
use crate::error::{Error, Result};

/// Returns the configuration that the files of the options contain.
pub(super) fn reloading(options: &TlsOptions, settings: &'static Settings) -> Reloading<ClientConfig> {
    let mut files: Vec<(&'static str, PathBuf)> = Vec::new();
    if let Some(identity) = &options.identity {
        files.extend([("cert", identity.cert.clone()), ("key", identity.key.clone())]);
    }
    files.extend(options.ca.clone().map(|ca| (settings.ca, ca)));
    let (has_identity, insecure) = (options.identity.is_some(), options.insecure);
    Reloading::new(files, move |files| {
        let (identity, ca) = files.split_at(if has_identity { 2 } else { 0 });
        build(identity, ca.first(), insecure, settings)
    })
}

fn build(
    identity: &[PemFile],
    ca: Option<&PemFile>,
    insecure: bool,
    settings: &'static Settings,
) -> Result<ClientConfig> {
    let provider = provider();
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(cannot_set_up)?;
    let builder = if insecure {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(NoVerification(provider)))
    } else {
        let cas = ca.map_or_else(|| cas_of_the_system(settings), PemFile::cas)?;
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(cas), provider).build();
        builder.with_webpki_verifier(verifier.map_err(cannot_set_up)?)
    };
    let [cert, key] = identity else { return Ok(builder.with_no_client_auth()) };
    builder.with_client_auth_cert(cert.certificates()?, key.key()?).map_err(|error| {
        Error::invalid(format!("the files in cert and key do not belong together ({error}); correct the store URL"))
    })
}

fn cas_of_the_system(settings: &Settings) -> Result<RootCertStore> {
    let mut cas = RootCertStore::empty();
    // One unreadable file of the system does not matter if the other files hold the CA of the server.
    cas.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if cas.is_empty() {
        let add_ca = settings.add_ca;
        return Err(Error::invalid(format!(
            "this system has no CA certificates; install ca-certificates, or {add_ca}"
        )));
    }
    Ok(cas)
}

/// Accepts every certificate, for `insecure=true`. The server must still prove that it has the certificate's key.
#[derive(Debug)]
struct NoVerification(Arc<CryptoProvider>);

impl ServerCertVerifier for NoVerification {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
