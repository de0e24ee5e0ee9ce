//! The command-line arguments: the commands, and the options that all commands share.

use clap::{Parser, Subcommand};

use super::store::Global;
use super::{
    bridge, completions, demo, doctor, get, heartbeat, history, hook, list, man, ping, register, run, serve, set,
    summary, token, top, track, unregister, update, wait, watch,
};

const AFTER_HELP: &str = "\
First steps:
  streamreg serve           in one terminal: the server, with a store in memory
  streamreg demo            in another: twenty simulated streams
  streamreg list            in a third

Exit status: 0 done, 1 failed, 2 usage, 3 not found, 4 already exists or not the holder, 5 store unreachable, \
6 and 7 warnings and errors of `doctor`. If several items fail, the exit status is the first of 5, 3, 4, 1 that \
occurred. `run` and `track` exit with the status of their command.";

/// The registry of live media streams: server and command line
#[derive(Parser, Debug)]
#[command(name = "streamreg", version, about, after_help = AFTER_HELP, max_term_width = 100)]
pub struct Cli {
    /// Options of every command.
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
    /// Register the live streams of media servers
    Bridge(Box<bridge::BridgeArgs>),
    /// Register the stream for which a media server has started this command
    Hook(hook::HookArgs),
    /// Run srt-live-transmit or ffmpeg, and report its stream with statistics
    Track(track::TrackArgs),
    /// Keep simulated streams alive, for a first look
    Demo(demo::DemoArgs),
    /// List the live streams
    #[command(visible_alias = "ls")]
    List(Box<list::ListArgs>),
    /// Show the live streams on the whole terminal, kept current
    Top(top::TopArgs),
    /// Count the live streams by node, type or status
    Summary(summary::SummaryArgs),
    /// Show streams with all fields
    #[command(visible_alias = "describe")]
    Get(get::GetArgs),
    /// Show changes as they happen
    Watch(watch::WatchArgs),
    /// Show streams that have ended
    History(history::HistoryArgs),
    /// Wait until a stream is registered, ends or has a status
    Wait(wait::WaitArgs),
    /// Register a stream and print its id
    Register(register::RegisterArgs),
    /// Run a command and hold a stream while it runs
    Run(Box<run::RunArgs>),
    /// Keep streams alive
    Heartbeat(heartbeat::HeartbeatArgs),
    /// Set status, statistics and descriptive fields of a stream
    Set(Box<set::SetArgs>),
    /// Replace a whole record
    Update(update::UpdateArgs),
    /// Unregister streams
    #[command(visible_aliases = ["rm", "delete"])]
    Unregister(unregister::UnregisterArgs),
    /// Check that the store responds, e.g. as a health check
    Ping(ping::PingArgs),
    /// Check the Redis store: settings, rights, index and change feed
    Doctor(doctor::DoctorArgs),
    /// Create and check tokens for the access file of a server
    Token(token::TokenArgs),
    /// Print a completion script for a shell
    Completions(completions::CompletionsArgs),
    /// Print or write the man pages
    Man(man::ManArgs),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_command_has_valid_arguments_and_an_example() {
        let mut command = Cli::command();
        command.build();
        command.clone().debug_assert();
        for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
            let help = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains(&format!("streamreg {}", verb.get_name())), "{}: {help}", verb.get_name());
        }
    }
}
