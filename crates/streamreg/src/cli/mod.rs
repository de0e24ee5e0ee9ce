//! The command line, with one file per command. Each command is a function that takes a registry, the arguments and an
//! `output::Output`.

pub mod args;
pub mod demo;
mod dispatch;
pub mod duration;
pub mod failure;
pub mod get;
pub mod heartbeat;
pub mod history;
mod hold;
mod input;
pub mod list;
pub mod output;
mod parent;
mod query;
pub mod register;
pub mod run;
pub mod serve;
pub mod set;
mod signal;
mod spelling;
pub mod store;
pub mod summary;
pub mod terminal;
pub mod unregister;
pub mod update;
mod usage;
pub mod wait;
pub mod watch;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

pub use args::Cli;
pub use dispatch::execute;

/// Runs the program.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.collect();
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(error) => return ExitCode::from(usage::report(&error, usage::verb(&args)).code()),
    };
    ExitCode::from(dispatch::run(&cli).code())
}
