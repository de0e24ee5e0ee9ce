//! TLS for the connections to Redis and to a server, and the reloading of certificates.
//!
//! `options` are the settings in a store's URL. `client` performs the handshake, and `fault` explains why it failed.
//! `files` builds a configuration from PEM files, and builds it again when a file changes; `streamreg serve` uses this
//! module too.

#[cfg(feature = "tls")]
mod client;
#[cfg(feature = "tls")]
mod config;
#[cfg(feature = "tls")]
mod fault;
#[cfg(feature = "tls")]
#[doc(hidden)]
pub mod files;
pub(crate) mod options;

#[cfg(feature = "tls")]
pub(crate) use client::{Tls, tls_error};
