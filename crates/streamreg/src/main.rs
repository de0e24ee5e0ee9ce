//! The program `streamreg`. All code is in the library, where tests can call it.

use std::process::ExitCode;

fn main() -> ExitCode {
    streamreg::cli::main(std::env::args_os())
}
