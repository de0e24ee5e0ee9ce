//! The rules of the reconciler, in virtual time.

#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod absence;
mod bench;
mod epochs;
mod legal;
mod sessions;
mod simulation;
mod statistics;
