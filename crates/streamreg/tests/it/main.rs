//! The one integration-test binary.

mod redis;
