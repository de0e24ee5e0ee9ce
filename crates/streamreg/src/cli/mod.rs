//! The command line: one file a verb. Each verb is a function over a registry, its arguments and an `output::Output`.

mod child;
pub mod demo;
pub mod duration;
pub mod failure;
pub mod get;
pub mod heartbeat;
mod held;
pub mod history;
pub mod list;
pub mod output;
mod query;
mod record;
pub mod register;
mod run;
pub mod run_command;
pub mod serve;
pub mod set;
mod signal;
pub mod summary;
pub mod unregister;
pub mod update;
mod usage;
pub mod wait;
pub mod watch;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub(crate) use record::read_limited;
pub use run::execute;

use crate::config::Global;

const AFTER_HELP: &str = "\
First steps:
  streamreg serve                 in one terminal: the server, with a store in memory
  streamreg demo                  in another: twenty made-up streams
  streamreg list                  in a third

Exit status: 0 done, 1 failed, 2 usage, 3 not found, 4 already exists or not the holder, 5 store unreachable.
Of several failures the first in the order 5, 3, 4, 1 decides. `run` ends with the status of its command.";

/// The registry of live media streams: server and command line
#[derive(Parser, Debug)]
#[command(name = "streamreg", version, about, after_help = AFTER_HELP, arg_required_else_help = true, max_term_width = 100)]
pub struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub global: Global,
    /// The command.
    #[command(subcommand)]
    pub verb: Verb,
}

/// The commands.
#[derive(Subcommand, Debug)]
pub enum Verb {
    /// Run the HTTP server
    Serve(serve::ServeArgs),
    /// Keep some twenty made-up streams alive, for a first look
    Demo(demo::DemoArgs),
    /// List the live streams
    List(Box<list::ListArgs>),
    /// Count the live streams by node, type or status
    Summary(summary::SummaryArgs),
    /// Show one stream
    Get(get::GetArgs),
    /// Show the changes as they come
    Watch(watch::WatchArgs),
    /// Show streams that have ended
    History(history::HistoryArgs),
    /// Wait until a stream has a status
    Wait(wait::WaitArgs),
    /// Register a stream and print its id
    Register(register::RegisterArgs),
    /// Run a command and hold a stream for as long as it runs
    Run(Box<run_command::RunArgs>),
    /// Keep streams alive
    Heartbeat(heartbeat::HeartbeatArgs),
    /// Set status, statistics and descriptive fields of a stream
    Set(Box<set::SetArgs>),
    /// Replace a whole record
    Update(update::UpdateArgs),
    /// Unregister streams
    #[command(alias = "delete")]
    Unregister(unregister::UnregisterArgs),
}

/// Runs the program.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.collect();
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(error) => return ExitCode::from(usage::report(&error, usage::verb(&args)).code()),
    };
    ExitCode::from(run::run(&cli).code())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_declaration_is_sound_and_every_command_shows_an_example() {
        let mut command = Cli::command();
        command.build();
        command.clone().debug_assert();
        for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
            let help = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains(&format!("streamreg {}", verb.get_name())), "{}: {help}", verb.get_name());
        }
    }
}
