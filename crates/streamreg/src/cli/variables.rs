//! Environment variables for the options that all commands share.
//!
//! An argument takes precedence over a variable, and an empty variable counts as unset. So this module reads the
//! variables after the arguments. Clap would treat a variable like an argument: `STREAMREG_STORE` would then conflict
//! with `--store-file`, and an empty variable would be an invalid value.

use std::ffi::{OsStr, OsString};

use clap::builder::Resettable;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, CommandFactory, FromArgMatches, Parser};

use super::args::Cli;
use super::store::Global;
use super::usage;

/// Parses the arguments of the program without reading variables.
///
/// # Errors
///
/// Returns clap's error if an argument is invalid, or if help or the version was requested.
pub(super) fn parse(args: &[OsString]) -> Result<(Cli, ArgMatches), clap::Error> {
    let command = Cli::command().mut_args(|arg| arg.env(Resettable::Reset));
    let matches = command.try_get_matches_from(args).map_err(|error| match error.kind() {
        // The help must name the variables, so it comes from the definition that still has them.
        ErrorKind::DisplayHelp => Cli::try_parse_from(args).err().unwrap_or(error),
        _ => error,
    })?;
    Ok((Cli::from_arg_matches(&matches)?, matches))
}

/// Reads the variables whose options are not among the arguments.
///
/// # Errors
///
/// Returns a message that names the variable whose value is invalid.
pub(super) fn read(given: &ArgMatches, variable: impl Fn(&OsStr) -> Option<OsString>) -> Result<Global, String> {
    let given = given.subcommand().map_or(given, |(_, of_command)| of_command);
    let is_given = |id: &str| given.value_source(id) == Some(ValueSource::CommandLine);
    let store_is_given = is_given("store") || is_given("store_file");
    let options = Global::augment_args(Command::new("streamreg").no_binary_name(true));
    let bare = options.clone().mut_args(|arg| arg.env(Resettable::Reset));
    let mut words: Vec<OsString> = Vec::new();
    let mut variables = Global::default();
    for option in options.get_arguments() {
        let id = option.get_id().as_str();
        if is_given(id) || (store_is_given && matches!(id, "store" | "store_file")) {
            continue;
        }
        let Some(name) = option.get_env() else { continue };
        let Some(value) = variable(name).filter(|value| !value.is_empty()) else { continue };
        let invalid = |reason: &str| format!("{}: {reason}", name.to_string_lossy());
        words.extend(word(option, &value).map_err(invalid)?);
        variables = bare
            .clone()
            .try_get_matches_from(&words)
            .and_then(|matches| Global::from_arg_matches(&matches))
            .map_err(|error| invalid(&usage::sentence(&error.render().to_string())))?;
    }
    Ok(variables)
}

/// Returns the argument that has the same meaning as a variable. A flag that is off has no argument.
fn word(option: &Arg, value: &OsStr) -> Result<Option<OsString>, &'static str> {
    let mut word = OsString::from("--");
    word.push(option.get_long().unwrap_or_default());
    if !matches!(option.get_action(), ArgAction::SetTrue) {
        word.push("=");
        word.push(value);
        return Ok(Some(word));
    }
    match value.to_str() {
        Some("1" | "true" | "yes" | "on") => Ok(Some(word)),
        Some("0" | "false" | "no" | "off") => Ok(None),
        _ => Err("expected true or false"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn variables(args: &[&str], set: &[(&str, &str)]) -> Result<Global, String> {
        let args: Vec<OsString> = std::iter::once(&"streamreg").chain(args).map(Into::into).collect();
        let (_, given) = parse(&args).unwrap();
        read(&given, |name| set.iter().find(|(variable, _)| *variable == name).map(|(_, value)| value.into()))
    }

    #[test]
    fn every_option_of_all_commands_has_a_variable_whose_value_is_not_shown() {
        let command = Cli::command();
        let options: Vec<_> = command.get_arguments().filter(|option| option.is_global_set()).collect();
        assert!(options.len() >= 7, "{}", options.len());
        for option in options {
            let long = option.get_long().unwrap();
            let expected = format!("STREAMREG_{}", long.replace('-', "_").to_uppercase());
            assert_eq!(option.get_env().and_then(OsStr::to_str), Some(&*expected));
            assert!(option.is_hide_env_values_set(), "{long}: the help would show the value");
        }
    }

    #[test]
    fn variables_apply_unless_they_are_empty_or_the_argument_is_given() {
        let set = [
            ("STREAMREG_STORE", "redis://h"),
            ("STREAMREG_OUTPUT", "json"),
            ("STREAMREG_PREFIX", "a:"),
            ("STREAMREG_TTL", "90s"),
            ("STREAMREG_TOKEN_FILE", "token"),
            ("STREAMREG_READ_ONLY", "1"),
        ];
        let all = variables(&["list"], &set).unwrap();
        assert_eq!((all.store.as_deref(), all.prefix.as_deref()), (Some("redis://h"), Some("a:")));
        assert_eq!((all.ttl, all.read_only, all.output.is_some()), (Some(Duration::from_secs(90)), true, true));
        assert_eq!(all.token_file.as_deref(), Some(std::path::Path::new("token")));
        let some = variables(&["list", "--ttl", "5m", "--store-file", "f"], &set).unwrap();
        assert_eq!((some.ttl, some.store, some.prefix.as_deref()), (None, None, Some("a:")));
        let before_the_command = variables(&["--ttl", "5m", "list"], &set).unwrap();
        assert_eq!(before_the_command.ttl, None);
        let empty = variables(&["list"], &set.map(|(name, _)| (name, ""))).unwrap();
        assert!(empty.store.is_none() && empty.ttl.is_none() && empty.output.is_none() && !empty.read_only);
        assert!(!variables(&["list"], &[("STREAMREG_READ_ONLY", "off")]).unwrap().read_only);
    }

    #[test]
    fn error_names_the_invalid_variable() {
        for (set, expected) in [
            (&[("STREAMREG_TTL", "5")][..], "STREAMREG_TTL: invalid value '5' for '--ttl <DURATION>': 5 has no unit"),
            (&[("STREAMREG_OUTPUT", "xml")], "STREAMREG_OUTPUT: invalid value 'xml'"),
            (&[("STREAMREG_READ_ONLY", "maybe")], "STREAMREG_READ_ONLY: expected true or false"),
            (&[("STREAMREG_STORE", "redis://h"), ("STREAMREG_STORE_FILE", "f")], "STREAMREG_STORE_FILE: the argument"),
        ] {
            let message = variables(&["list"], set).unwrap_err();
            assert!(message.starts_with(expected), "{message}");
        }
        assert!(variables(&["list", "--ttl", "5m"], &[("STREAMREG_TTL", "5")]).is_ok());
    }
}
