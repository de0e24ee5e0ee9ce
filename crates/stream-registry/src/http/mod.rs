//! The HTTP store: the client of `streamreg serve`. `post` also sends requests to other servers.

mod client;
mod clock;
mod connect;
mod fault;
mod options;
#[doc(hidden)]
pub mod post;
#[doc(hidden)]
pub mod sse;
mod transport;
mod watch;
#[doc(hidden)]
pub mod wire;
mod write;

pub use client::HttpRegistry;
pub use options::HttpOptions;
