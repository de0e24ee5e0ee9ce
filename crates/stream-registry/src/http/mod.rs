//! The HTTP store: the client of `streamreg serve`.

mod client;
mod clock;
mod connect;
mod options;
#[doc(hidden)]
pub mod sse;
mod transport;
mod watch;
#[doc(hidden)]
pub mod wire;
mod write;

pub use client::HttpRegistry;
pub use options::HttpOptions;
