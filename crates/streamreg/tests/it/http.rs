//! The HTTP server over real sockets, and the HTTP client against it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "clippy does not recognise test helpers as test code")]

mod access;
mod batches;
mod compression;
mod connections;
pub(crate) mod events;
mod fresh;
mod history;
pub(crate) mod kit;
mod list;
mod metrics;
mod page;
pub(crate) mod proxy;
mod readiness;
mod routes;
mod store;
mod tls;
mod values;
mod watch;
