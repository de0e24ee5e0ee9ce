//! The one integration-test binary.
mod http;
mod http_bad_input;
