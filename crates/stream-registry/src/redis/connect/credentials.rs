//! The user name and password of a server, which can change while the registry is open.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{Error, ErrorKind};
use crate::redis::options::RedisOptions;
use crate::redis::servers::{Login, SentinelOptions, Servers};
use crate::url_source::UrlSource;

/// The current login, and the source of the next one.
pub(super) struct Credentials {
    current: Mutex<Arc<Login>>,
    source: Option<UrlSource>,
    /// Returns the login in the options that the source's URL describes.
    in_options: fn(RedisOptions) -> Login,
    /// Whether the last read of the source failed. Only the first failure of a series is logged.
    failing: AtomicBool,
}

impl Credentials {
    /// Returns the credentials for the Redis servers of a store.
    pub(super) fn new(options: &RedisOptions) -> Self {
        Self::with_login(options.login.clone(), options, |options| options.login)
    }

    /// Returns the credentials for the Sentinels of a store.
    pub(super) fn of_sentinels(options: &RedisOptions, sentinel: &SentinelOptions) -> Self {
        Self::with_login(sentinel.login.clone(), options, |options| match options.servers {
            Servers::Sentinel(sentinel) => sentinel.login,
            Servers::Single(_) | Servers::Cluster(_) => Login::default(),
        })
    }

    fn with_login(login: Login, options: &RedisOptions, in_options: fn(RedisOptions) -> Login) -> Self {
        Self {
            current: Mutex::new(Arc::new(login)),
            source: options.url_source.clone(),
            in_options,
            failing: AtomicBool::new(false),
        }
    }

    pub(super) fn current(&self) -> Arc<Login> {
        Arc::clone(&self.current.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// If the error says that the server has rejected the login, returns another login to try, if there is one. Reads
    /// the source at most once.
    pub(super) async fn renew(&self, rejected: &Login, error: &Error) -> Option<Arc<Login>> {
        // A fault of a certificate has the same kind, but the server did not send it as a reply.
        if error.kind() != ErrorKind::Unauthenticated || !error.is_store_reply() {
            return None;
        }
        let current = self.current();
        if *current != *rejected {
            // Another connection has renewed the login.
            return Some(current);
        }
        let source = self.source.clone()?;
        let read = tokio::task::spawn_blocking(move || source.read()).await;
        let login = match read.unwrap_or_else(|panic| Err(io::Error::other(panic))).map_err(unreadable) {
            Ok(url) => url.trim().parse::<RedisOptions>(),
            Err(error) => Err(error),
        };
        match login {
            Ok(options) => {
                self.failing.store(false, Ordering::Relaxed);
                let login = (self.in_options)(options);
                if login == *rejected {
                    return None;
                }
                let login = Arc::new(login);
                *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&login);
                tracing::info!("Redis rejected the user name or password; trying the ones that were read again");
                Some(login)
            }
            Err(error) => {
                if !self.failing.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%error, "cannot read the user name and password again");
                }
                None
            }
        }
    }
}

fn unreadable(error: io::Error) -> Error {
    Error::invalid(format!("cannot read the store URL: {error}"))
}

/// Returns the error for a rejected user name or password.
pub(super) fn rejected() -> Error {
    Error::new(ErrorKind::Unauthenticated, "Redis rejected the user name or password; check the store URL")
        .with_store_reply(true)
}
