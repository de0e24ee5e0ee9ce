//! The server and command line of `stream-registry`. This is a library only so that tests can call it.
#![doc(hidden)]

pub mod cli;
mod dashboard;
pub mod server;
