//! All integration tests, in one binary.
// Helpers count as tests too, but clippy recognises only functions with `#[test]`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod access;
mod access_log;
mod bridge;
mod cli;
mod cli_bad_input;
mod cli_feed;
mod cli_help;
mod cli_leases;
mod cli_output;
mod cli_parent;
mod cli_redis;
mod cli_run_signals;
mod cli_verbs;
mod cluster;
mod conformance;
mod doctor;
mod examples;
mod failover;
mod fake;
mod hook;
mod http;
mod http_bad_input;
mod json_log;
mod openapi;
mod packaging;
mod page;
mod pages;
mod readme;
mod served;
mod settings;
mod terminal;
mod track;
mod webhook;
mod wrong_server;

mod redis;
