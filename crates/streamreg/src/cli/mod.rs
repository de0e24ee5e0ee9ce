//! The command line, with one file per command. Each command is a function that takes a registry, the arguments and an
//! `output::Output`.

pub mod args;
mod background;
pub mod bridge;
mod child;
pub mod completions;
pub mod demo;
mod dispatch;
pub mod doctor;
pub mod duration;
pub mod failure;
pub mod get;
pub mod heartbeat;
pub mod history;
mod hold;
pub mod hook;
mod input;
pub mod list;
pub mod log;
pub mod man;
mod messages;
#[cfg(target_os = "linux")]
mod orphans;
mod outage;
pub mod output;
mod parent;
pub mod ping;
mod query;
pub mod register;
pub mod run;
pub mod serve;
pub mod set;
mod settings;
mod signal;
mod spelling;
pub mod store;
pub mod summary;
pub mod terminal;
pub mod token;
pub mod top;
pub mod track;
pub mod unregister;
pub mod update;
mod upkeep;
mod usage;
pub mod wait;
pub mod watch;
pub mod webhooks;

use std::ffi::OsString;
use std::process::ExitCode;

pub use args::Cli;
pub use dispatch::execute;

/// Runs the program.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let mut args: Vec<OsString> = args.collect();
    if args.len() < 2 {
        args.push("-h".into());
    }
    let format = settings::log_format(&args);
    let status = match settings::parse(&args) {
        Err(error) => usage::report(&error, usage::verb(&args), format),
        Ok((cli, matches)) => match settings::read(cli, &matches, |name| std::env::var_os(name)) {
            Err(message) => usage::report_usage(&message, format),
            Ok(settings) => dispatch::run(&settings),
        },
    };
    ExitCode::from(status.code())
}
