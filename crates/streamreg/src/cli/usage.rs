//! Prints clap's help and usage errors.

use std::ffi::OsString;
use std::io::Write;

use clap::CommandFactory;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::args::Cli;
use super::failure::Status;
use super::log::{self, LogFormat};
use super::terminal;

/// Prints help or the version to standard output. Prints a usage error as one line to standard error.
pub(super) fn report(error: &clap::Error, verb: Option<String>, format: LogFormat) -> Status {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // A closed pipe does not count as an error.
            let _ = error.print();
            Status::Done
        }
        ErrorKind::MissingSubcommand => report_usage("no command given; see `streamreg --help`", format),
        _ => {
            // Most commands take the id as their argument, but a registration may have a generated id.
            let hint =
                if verb.as_deref() == Some("register") && is_word(error) { "; pass the id with --id" } else { "" };
            let verb = verb.map_or_else(String::new, |verb| format!(" {verb}"));
            let sentence = sentence(&error.render().to_string());
            report_usage(&format!("{sentence}{hint}; see `streamreg{verb} --help`"), format)
        }
    }
}

/// Returns whether the error is about an unexpected argument that is not an option.
fn is_word(error: &clap::Error) -> bool {
    let argument = error.get(ContextKind::InvalidArg);
    error.kind() == ErrorKind::UnknownArgument
        && matches!(argument, Some(ContextValue::String(argument)) if !argument.starts_with('-'))
}

/// Returns the first argument that names a command, with the action that follows it, e.g. `token new`.
pub(super) fn verb(args: &[OsString]) -> Option<String> {
    let command = Cli::command();
    let mut words = args.iter().skip(1).filter_map(|arg| arg.to_str());
    let verb = words.find_map(|word| command.find_subcommand(word))?;
    let action = words.find_map(|word| verb.find_subcommand(word));
    let names = std::iter::once(verb).chain(action).map(clap::Command::get_name);
    Some(names.collect::<Vec<_>>().join(" "))
}

/// Prints a usage error as one line to standard error, in the format of the log.
pub(super) fn report_usage(sentence: &str, format: LogFormat) -> Status {
    let sentence = terminal::escape(sentence);
    match format {
        LogFormat::Json => log::error_as_json(&sentence),
        LogFormat::Text => _ = writeln!(std::io::stderr(), "streamreg: {sentence}"),
    }
    Status::Usage
}

/// Joins the first paragraph and the tips of clap's message into one line. Omits the usage summary, because `--help`
/// shows it.
pub(super) fn sentence(rendered: &str) -> String {
    let text = rendered.split("\n\nUsage:").next().unwrap_or_default();
    let text = text.split("\n\nFor more information").next().unwrap_or_default();
    let (fault, tips) = text.split_once("\n\n").unwrap_or((text, ""));
    let words = |text: &str| text.lines().map(str::trim).filter(|l| !l.is_empty()).collect::<Vec<_>>().join(" ");
    let mut sentence = words(fault.strip_prefix("error: ").unwrap_or(fault));
    for tip in tips.split("tip: ").map(words).filter(|tip| !tip.is_empty()) {
        sentence.push_str("; ");
        sentence.push_str(&tip);
    }
    sentence
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_error_is_one_line_with_tip() {
        assert_eq!(
            sentence(
                "error: unexpected argument '--bit' found\n\n  tip: a similar argument exists: '--bitrate'\n\n\
                 Usage: streamreg set --bitrate <N> <ID>\n\nFor more information, try '--help'.\n",
            ),
            "unexpected argument '--bit' found; a similar argument exists: '--bitrate'"
        );
        assert_eq!(
            sentence(
                "error: the following required arguments were not provided:\n  --type <T>\n\nUsage: streamreg [OPTIONS] <COMMAND>\n",
            ),
            "the following required arguments were not provided: --type <T>"
        );
    }
}
