//! The server and command line of `stream-registry`. The crate is a library, so that tests can call its functions.
#![doc(hidden)]

pub mod cli;
mod dashboard;
mod selection;
pub mod server;
mod static_file;
pub mod webhook;
