//! Turns the reports of media servers into changes for [`stream_registry`].
//!
//! This crate makes no requests, reads no clock and starts no task. It has four parts:
//!
//! - [`servers`] says which requests to send to a media server, and reads the answers and the hooks of the server.
//! - [`tools`] does the same for programs that carry one stream, such as srt-live-transmit.
//! - [`reconcile`] compares what the server reports with the streams that are known so far, and returns the changes
//!   for the registry.
//! - [`model`] has the types that the parts exchange.
//!
//! The program `streamreg` does the rest: it sends the requests and applies the changes.

pub mod model;
pub mod reconcile;
pub mod servers;
pub mod tools;
