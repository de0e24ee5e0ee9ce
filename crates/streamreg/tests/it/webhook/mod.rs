//! Webhooks, with real receivers over HTTP and HTTPS.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic fails the test")]

mod config;
mod delivery;
mod documents;
mod failures;
mod filters;
pub(crate) mod kit;
mod process;
mod resync;
mod state;
