//! `man`: prints or writes the man pages.

use std::path::PathBuf;

use clap::{Args, Command};

use super::failure::{Failure, Result, Status};
use super::output::Output;

/// Arguments of `man`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  streamreg man | man -l -
  streamreg man --dir ~/.local/share/man/man1
  man streamreg-list")]
pub struct ManArgs {
    /// Folder for the pages of the program and of each command, instead of standard output
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// Prints the page of a program, or writes all pages to a folder.
///
/// # Errors
///
/// Fails if the folder or standard output cannot be written.
pub fn run(args: &ManArgs, program: Command, out: &mut Output<'_>) -> Result {
    let program = program.disable_help_subcommand(true);
    let Some(dir) = &args.dir else {
        let mut page = Vec::new();
        clap_mangen::Man::new(program).render(&mut page).map_err(|error| Failure::output(&error))?;
        out.line(String::from_utf8_lossy(&page).trim_end())?;
        return out.flush();
    };
    std::fs::create_dir_all(dir).and_then(|()| clap_mangen::generate_to(program, dir)).map_err(|error| {
        Failure::new(Status::Failed, format_args!("cannot write man pages to {}: {error}", dir.display()))
    })
}
