//! The one integration-test binary.

mod cli;
mod cli_bad_input;
mod cli_verbs;
