//! Real servers, a fault proxy and helpers for the tests of stream-registry.
