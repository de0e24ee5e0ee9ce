//! The configuration of TLS, which is built again when one of its files changes.

use std::fmt::Display;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::error::{Error, ErrorKind, Result};
use crate::redis::servers::TlsOptions;

/// Builds configurations from the files of the options, and keeps the last good one.
pub(super) struct Configs {
    options: Arc<TlsOptions>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The last good configuration, and the files that it was built from.
    good: Option<(Files, Arc<ClientConfig>)>,
    /// The last warning. A warning is logged again only after it has changed.
    warning: Option<String>,
}

/// The contents of the files. Files are compared by their contents, because a rotated file can have the time and the
/// size of the earlier one.
#[derive(PartialEq, Eq)]
struct Files {
    ca: Option<Vec<u8>>,
    cert: Option<Vec<u8>>,
    key: Option<Vec<u8>>,
    /// Whether the CAs of the system must be read again.
    is_stale: bool,
}

impl Configs {
    pub(super) fn new(options: Arc<TlsOptions>) -> Self {
        Self { options, state: Mutex::default() }
    }

    /// Returns the current configuration. Reads the files, so it blocks.
    ///
    /// # Errors
    ///
    /// Returns `InvalidArgument` if a file is unreadable or invalid, unless there is an earlier configuration.
    pub(super) fn current(&self) -> Result<Arc<ClientConfig>> {
        let mut state = self.lock();
        let files = Files::read(&self.options);
        if let (Ok(files), Some((good, config))) = (&files, &state.good)
            && files == good
        {
            return Ok(Arc::clone(config));
        }
        match files.and_then(|files| files.config(&self.options).map(|config| (files, config))) {
            Ok((files, config)) => {
                let config = Arc::new(config);
                // The CAs of the system are read again after each failure, which is not worth a line.
                if state.good.replace((files, Arc::clone(&config))).is_some_and(|(earlier, _)| !earlier.is_stale) {
                    tracing::info!("the TLS files have changed; using the new ones");
                }
                state.warning = None;
                Ok(config)
            }
            Err(error) => {
                let Some((_, config)) = &state.good else { return Err(error) };
                let config = Arc::clone(config);
                let warning = error.to_string();
                if state.warning.as_ref() != Some(&warning) {
                    tracing::warn!(%error, "cannot use the changed TLS files; keeping the earlier ones");
                    state.warning = Some(warning);
                }
                Ok(config)
            }
        }
    }

    /// Makes the next connection read the CAs of the system again, because they may have changed.
    pub(super) fn reload_system_cas(&self) {
        if self.options.ca.is_none()
            && let Some((files, _)) = &mut self.lock().good
        {
            files.is_stale = true;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // A poisoned lock is safe to use. Each value is replaced as a whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Files {
    fn read(options: &TlsOptions) -> Result<Self> {
        let read = |name: &str, path: Option<&Path>| {
            let Some(path) = path else { return Ok(None) };
            std::fs::read(path)
                .map(Some)
                .map_err(|error| Error::invalid(format!("cannot read the file in {name}: {}: {error}", path.display())))
        };
        let identity = options.identity.as_ref();
        Ok(Self {
            ca: read("ca", options.ca.as_deref())?,
            cert: read("cert", identity.map(|identity| identity.cert.as_path()))?,
            key: read("key", identity.map(|identity| identity.key.as_path()))?,
            is_stale: false,
        })
    }

    fn config(&self, options: &TlsOptions) -> Result<ClientConfig> {
        // The provider is passed explicitly. A global provider is the business of the program.
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let internal = |error: &dyn Display| Error::new(ErrorKind::Internal, format!("cannot set up TLS: {error}"));
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| internal(&error))?;
        let builder = if options.insecure {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(NoVerification(provider)))
        } else {
            let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(self.cas(options)?), provider).build();
            builder.with_webpki_verifier(verifier.map_err(|error| internal(&error))?)
        };
        let (Some(cert), Some(key), Some(identity)) = (&self.cert, &self.key, &options.identity) else {
            return Ok(builder.with_no_client_auth());
        };
        let chain = certificates("cert", &identity.cert, cert)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| {
            Error::invalid(format!(
                "the file in key holds no unencrypted private key in PEM format: {}",
                identity.key.display()
            ))
        })?;
        builder.with_client_auth_cert(chain, key).map_err(|error| {
            Error::invalid(format!("the files in cert and key do not belong together ({error}); correct the store URL"))
        })
    }

    /// Returns the trusted CAs: those of the file, or those of the system.
    fn cas(&self, options: &TlsOptions) -> Result<RootCertStore> {
        let mut cas = RootCertStore::empty();
        if let (Some(pem), Some(path)) = (&self.ca, &options.ca) {
            for ca in certificates("ca", path, pem)? {
                cas.add(ca).map_err(|error| {
                    Error::invalid(format!("the file in ca holds an invalid certificate: {}: {error}", path.display()))
                })?;
            }
        } else {
            // One unreadable file of the system does not matter if the other files hold the CA of Redis.
            cas.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if cas.is_empty() {
                return Err(Error::invalid(
                    "this system has no CA certificates; install ca-certificates, or add ca=FILE to the store URL",
                ));
            }
        }
        Ok(cas)
    }
}

fn certificates(name: &str, path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| Error::invalid(format!("the file in {name} is invalid: {}: {error}", path.display())))?;
    if certificates.is_empty() {
        return Err(Error::invalid(format!(
            "the file in {name} holds no certificate in PEM format: {}",
            path.display()
        )));
    }
    Ok(certificates)
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
