//! `completions`: prints a script with which a shell completes commands and options.

use clap::{Args, Command, ValueEnum};

use super::failure::Result;
use super::output::Output;

/// Arguments of `completions`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  source <(streamreg completions bash)
  streamreg completions bash > /etc/bash_completion.d/streamreg
  streamreg completions zsh > ~/.zfunc/_streamreg
  streamreg completions fish > ~/.config/fish/completions/streamreg.fish

For zsh, the folder of the file must be in the variable fpath before compinit runs.")]
pub struct CompletionsArgs {
    /// Shell that reads the script
    #[arg(value_name = "SHELL", value_enum)]
    pub shell: Shell,
}

/// A shell with completions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// The GNU Bourne-Again Shell.
    #[value(help = None)]
    Bash,
    /// The Z shell.
    #[value(help = None)]
    Zsh,
    /// The friendly interactive shell.
    #[value(help = None)]
    Fish,
}

/// Prints the script for a program.
///
/// # Errors
///
/// Fails if standard output cannot be written.
pub fn run(args: &CompletionsArgs, mut program: Command, out: &mut Output<'_>) -> Result {
    let shell = match args.shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut program, "streamreg", &mut script);
    out.line(String::from_utf8_lossy(&script).trim_end())?;
    out.flush()
}
