//! Which requests the server accepts: tokens with scopes, patterns and expiry, and web pages of other origins.

mod command;
mod interrupted;
pub(crate) mod kit;
mod origins;
mod patterns;
mod reload;
mod scopes;
