//! A configuration of TLS that is built from PEM files, and built again when one of the files changes.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::error::{Error, ErrorKind, Result};

/// Size limit of a file, in bytes. All CAs of a system take less.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// The contents of a PEM file. Files are compared by their contents, because a rotated file can have the time and the
/// size of the earlier one.
#[derive(PartialEq, Eq)]
pub struct PemFile {
    /// The name of the option or parameter that selects the file, for messages.
    name: &'static str,
    path: PathBuf,
    pem: Vec<u8>,
}

impl PemFile {
    fn read(name: &'static str, path: PathBuf) -> Result<Self> {
        let mut pem = Vec::new();
        let read = File::open(&path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut pem));
        let fault = |reason: &dyn fmt::Display| {
            Error::invalid(format!("cannot read the file in {name}: {}: {reason}", path.display()))
        };
        read.map_err(|error| fault(&error))?;
        if pem.len() as u64 > MAX_BYTES {
            return Err(fault(&format_args!("larger than {} KiB", MAX_BYTES / 1024)));
        }
        Ok(Self { name, path, pem })
    }

    /// Returns the certificates in the file, of which there is at least one.
    ///
    /// # Errors
    ///
    /// Returns `InvalidArgument` if the file is invalid or has no certificate.
    pub fn certificates(&self) -> Result<Vec<CertificateDer<'static>>> {
        let (name, path) = (self.name, self.path.display());
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(&self.pem)
            .collect::<Result<_, _>>()
            .map_err(|error| Error::invalid(format!("the file in {name} is invalid: {path}: {error}")))?;
        if certificates.is_empty() {
            return Err(Error::invalid(format!("the file in {name} holds no certificate in PEM format: {path}")));
        }
        Ok(certificates)
    }

    /// Returns the first private key in the file.
    ///
    /// # Errors
    ///
    /// Returns `InvalidArgument` if the file has no private key, or only an encrypted one.
    pub fn key(&self) -> Result<PrivateKeyDer<'static>> {
        PrivateKeyDer::from_pem_slice(&self.pem).map_err(|_| {
            let (name, path) = (self.name, self.path.display());
            Error::invalid(format!("the file in {name} holds no unencrypted private key in PEM format: {path}"))
        })
    }

    /// Returns the certificates in the file as trusted CAs.
    ///
    /// # Errors
    ///
    /// Returns `InvalidArgument` if the file is invalid or has no certificate.
    pub fn cas(&self) -> Result<RootCertStore> {
        let mut cas = RootCertStore::empty();
        for certificate in self.certificates()? {
            cas.add(certificate).map_err(|error| {
                let (name, path) = (self.name, self.path.display());
                Error::invalid(format!("the file in {name} holds an invalid certificate: {path}: {error}"))
            })?;
        }
        Ok(cas)
    }
}

/// Returns the cryptography of all connections. It is passed explicitly, because a global provider is the business of
/// the program.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Returns the error for a configuration that rustls rejects, whatever the files contain.
pub fn cannot_set_up(error: impl fmt::Display) -> Error {
    Error::new(ErrorKind::Internal, format!("cannot set up TLS: {error}"))
}

type Build<T> = dyn Fn(&[PemFile]) -> Result<T> + Send + Sync;

/// Builds a configuration from files, and keeps the last good one.
pub struct Reloading<T> {
    files: Vec<(&'static str, PathBuf)>,
    build: Box<Build<T>>,
    state: Mutex<State<T>>,
}

struct State<T> {
    /// The last good configuration.
    good: Option<Good<T>>,
    /// The last warning. A warning is logged again only after it has changed.
    warning: Option<String>,
}

struct Good<T> {
    files: Vec<PemFile>,
    /// Whether the configuration is built again, even if the files have not changed.
    is_stale: bool,
    config: Arc<T>,
}

impl<T> Reloading<T> {
    /// Returns a configuration that `build` makes from the contents of these files, in this order. Each file has the
    /// name of its option, for messages. Reads no file yet.
    pub fn new(
        files: Vec<(&'static str, PathBuf)>,
        build: impl Fn(&[PemFile]) -> Result<T> + Send + Sync + 'static,
    ) -> Self {
        Self { files, build: Box::new(build), state: Mutex::new(State { good: None, warning: None }) }
    }

    /// Returns the current configuration. Reads the files, so it blocks.
    ///
    /// # Errors
    ///
    /// Returns `InvalidArgument` if a file is unreadable or invalid, unless there is an earlier configuration.
    pub fn current(&self) -> Result<Arc<T>> {
        let is_first = self.lock().good.is_none();
        // Reading can take long, and nothing may wait for it, so the lock is not held. A pipe can be read only once. To
        // read it again would block until another program writes to it.
        let read = |(name, path): &(&'static str, PathBuf)| {
            if !is_first && path.metadata().is_ok_and(|file| !file.is_file()) {
                return Err(Error::invalid(format!("the file in {name} is no regular file: {}", path.display())));
            }
            PemFile::read(name, path.clone())
        };
        let files = self.files.iter().map(read).collect::<Result<Vec<_>>>();
        let mut state = self.lock();
        if let (Ok(files), Some(good)) = (&files, &state.good)
            && !good.is_stale
            && *files == good.files
        {
            let config = Arc::clone(&good.config);
            if state.warning.take().is_some() {
                tracing::info!("the TLS files are usable again; they are as before");
            }
            return Ok(config);
        }
        match files.and_then(|files| (self.build)(&files).map(|config| (files, config))) {
            Ok((files, config)) => {
                let config = Arc::new(config);
                let good = Good { files, is_stale: false, config: Arc::clone(&config) };
                // The CAs of the system are read again after each failure, which is not worth a line.
                if state.good.replace(good).is_some_and(|earlier| !earlier.is_stale) {
                    tracing::info!("the TLS files have changed; using the new ones");
                }
                state.warning = None;
                Ok(config)
            }
            Err(error) => {
                let Some(good) = &state.good else { return Err(error) };
                let config = Arc::clone(&good.config);
                let warning = error.to_string();
                if state.warning.as_ref() != Some(&warning) {
                    tracing::warn!(%error, "cannot use the changed TLS files; keeping the earlier ones");
                    state.warning = Some(warning);
                }
                Ok(config)
            }
        }
    }

    /// Returns the last good configuration without reading the files. Returns `None` before the first success of
    /// [`current`](Self::current).
    pub fn last(&self) -> Option<Arc<T>> {
        self.lock().good.as_ref().map(|good| Arc::clone(&good.config))
    }

    /// Returns whether the last call of [`current`](Self::current) returned an earlier configuration, because a changed
    /// file is unusable.
    pub fn is_outdated(&self) -> bool {
        self.lock().warning.is_some()
    }

    /// Makes the next call of [`current`](Self::current) build the configuration again.
    pub fn invalidate(&self) {
        if let Some(good) = &mut self.lock().good {
            good.is_stale = true;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // A poisoned lock is safe to use. Each value is replaced as a whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> fmt::Debug for Reloading<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloading").field("files", &self.files).finish_non_exhaustive()
    }
}
