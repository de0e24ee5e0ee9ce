//! The HTTP server over real sockets, and the HTTP store against it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests, which clippy does not take for tests")]

mod access;
mod connections;
mod events;
mod fresh;
pub(crate) mod kit;
mod list;
mod page;
mod routes;
mod store;
mod values;
mod watch;
