//! The OpenAPI document, compared with the running server.

mod bodies;
mod client;
mod document;
mod python;
mod schemathesis;
