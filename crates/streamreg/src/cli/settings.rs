//! Settings from environment variables and from the configuration file.
//!
//! The long options of the program are the settings, so that a new option needs no second definition here: the option
//! `--token-file` is the variable `STREAMREG_TOKEN_FILE` and the key `token_file`. An argument takes precedence over a
//! variable, and a variable over the file. An empty variable counts as unset.
//!
//! This module reads variables after the arguments. Clap would treat a variable like an argument: `STREAMREG_STORE`
//! would then conflict with `--store-file`, and an empty variable would be an invalid value.

mod file;
mod print;
mod value;

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, CommandFactory, FromArgMatches, Parser};

use self::file::File;
pub(super) use self::print::print;
use self::value::{Origin, Setting};
use super::args::Cli;
use super::log::LogFormat;
use super::store::Global;
use super::usage;

/// The commands whose own options are settings too. Of all other commands, only the common options are.
const SERVICES: [&str; 2] = ["serve", "bridge"];

/// The arguments of the program, completed by variables and the configuration file.
pub(super) struct Settings {
    /// The arguments. For a service, variables and the file have completed its own options.
    pub(super) cli: Cli,
    /// The common options from variables and the file, which apply unless the arguments contain them.
    pub(super) fallback: Global,
    /// Every setting that an argument, a variable or the file contains.
    given: Vec<Setting>,
}

/// Returns the log format that a service's arguments or variables select. Other settings may be invalid.
pub(super) fn log_format(args: &[OsString]) -> LogFormat {
    let mut words = args.iter().filter_map(|arg| arg.to_str());
    let argument = words.find_map(|word| word.strip_prefix("--log-format")).map(|value| match value {
        "" => words.next().unwrap_or_default(),
        value => value.trim_start_matches('='),
    });
    let is_json = match argument {
        Some(format) => format == "json",
        None => std::env::var_os("STREAMREG_LOG_FORMAT").is_some_and(|format| format == "json"),
    };
    let is_service = usage::verb(args).is_some_and(|verb| SERVICES.contains(&&*verb));
    if is_json && is_service { LogFormat::Json } else { LogFormat::Text }
}

/// Parses the arguments of the program without reading variables.
///
/// # Errors
///
/// Returns clap's error if an argument is invalid, or if help or the version was requested.
pub(super) fn parse(args: &[OsString]) -> Result<(Cli, ArgMatches), clap::Error> {
    let matches = without_variables(Cli::command()).try_get_matches_from(args).map_err(|error| match error.kind() {
        // The help must name the variables, so it comes from the definition that still has them.
        ErrorKind::DisplayHelp => Cli::try_parse_from(args).err().unwrap_or(error),
        _ => error,
    })?;
    Ok((Cli::from_arg_matches(&matches)?, matches))
}

/// Reads the variables and the configuration file for the options that are not among the arguments.
///
/// # Errors
///
/// Returns a message that names the variable, or the line of the file, that is invalid.
pub(super) fn read(
    cli: Cli,
    matches: &ArgMatches,
    variable: impl Fn(&OsStr) -> Option<OsString>,
) -> Result<Settings, String> {
    let variable = |name: &str| variable(OsStr::new(name)).filter(|value| !value.is_empty());
    let path = cli.global.config.clone().or_else(|| variable("STREAMREG_CONFIG").map(PathBuf::from));
    let file = path.as_deref().map(|path| File::read(path, &keys())).transpose()?;

    let mut settings = Settings { cli, fallback: Global::default(), given: Vec::new() };
    let Some((verb, matches)) = matches.subcommand() else { return Ok(settings) };
    let program = value::program();
    let Some(command) = program.find_subcommand(verb) else { return Ok(settings) };
    let is_service = SERVICES.contains(&verb);
    for option in command.get_arguments() {
        let is_argument = matches.try_contains_id(option.get_id().as_str()).is_ok()
            && matches.value_source(option.get_id().as_str()) == Some(ValueSource::CommandLine);
        let setting = if is_argument {
            Some(Setting::from_argument(option, matches))
        } else if !value::is_setting(option) || !(is_service || option.is_global_set()) {
            None
        } else {
            let value = variable(&value::variable(option)).filter(|_| !option.is_hide_set());
            match (value, &file) {
                (Some(value), _) => Some(Setting::from_variable(option, &value)?),
                (None, Some(file)) => file.setting(option)?,
                (None, None) => None,
            }
        };
        settings.given.extend(setting);
    }
    let given = std::mem::take(&mut settings.given);
    settings.given = given.iter().filter(|setting| !is_overridden(setting, &given, command)).cloned().collect();

    let options = Global::augment_args(Command::new("streamreg").no_binary_name(true));
    let common = settings.given.iter().filter(|one| one.is_common && one.origin != Origin::Argument);
    let parsed = without_variables(options)
        .try_get_matches_from(common.flat_map(|setting| &setting.words))
        .and_then(|matches| Global::from_arg_matches(&matches));
    settings.fallback = parsed.map_err(|error| explain(&error, &settings.given))?;
    // A file with the store's URL may have a secret, so its permissions are checked.
    let file_has_store = settings.given.iter().any(|one| one.id == "store" && matches!(one.origin, Origin::File(_)));
    settings.fallback.config = path.filter(|_| file_has_store);

    if is_service {
        let own = settings.given.iter().filter(|setting| !setting.is_common);
        let words = ["streamreg", verb].into_iter().map(OsString::from);
        let words = words.chain(own.flat_map(|setting| setting.words.clone()));
        let parsed = without_variables(Cli::command())
            .try_get_matches_from(words)
            .and_then(|matches| Cli::from_arg_matches(&matches));
        settings.cli.verb = parsed.map_err(|error| explain(&error, &settings.given))?.verb;
    }
    Ok(settings)
}

fn without_variables(command: Command) -> Command {
    command.mut_args(|arg| arg.env(Resettable::Reset))
}

/// Returns the keys that a configuration file can have.
fn keys() -> BTreeSet<String> {
    let program = value::program();
    let services = SERVICES.iter().filter_map(|verb| program.find_subcommand(verb));
    services.flat_map(Command::get_arguments).filter(|option| value::is_setting(option)).map(value::key).collect()
}

/// Returns whether another setting takes precedence because it conflicts with this setting.
fn is_overridden(setting: &Setting, given: &[Setting], command: &Command) -> bool {
    let conflicts = |a: &Setting, b: &Setting| {
        let option = command.get_arguments().find(|option| *option.get_id() == a.id);
        option.is_some_and(|option| command.get_arg_conflicts_with(option).iter().any(|other| *other.get_id() == b.id))
    };
    given.iter().any(|other| {
        other.origin.rank() < setting.origin.rank() && (conflicts(setting, other) || conflicts(other, setting))
    })
}

/// Returns the message of clap's error, after the place where the invalid value is. The value itself may contain a
/// secret, so it is not part of the message.
fn explain(error: &clap::Error, given: &[Setting]) -> String {
    use std::error::Error as _;

    let reason = match error.source() {
        Some(source) if error.kind() == ErrorKind::ValueValidation => source.to_string(),
        _ => usage::sentence(&error.render().to_string()),
    };
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else { return reason };
    let name = argument.split([' ', '=']).next().unwrap_or_default().trim_start_matches("--").replace('-', "_");
    match given.iter().find(|setting| setting.key == name).map(|setting| &setting.origin) {
        Some(Origin::Variable(place) | Origin::File(place)) => format!("{place}: {reason}"),
        Some(Origin::Argument) | None => reason,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::cli::args::Verb;

    fn settings(args: &[&str], set: &[(&str, &str)]) -> Result<Settings, String> {
        let args: Vec<OsString> = std::iter::once(&"streamreg").chain(args).map(Into::into).collect();
        let (cli, matches) = parse(&args).unwrap();
        read(cli, &matches, |name| set.iter().find(|(variable, _)| *variable == name).map(|(_, value)| value.into()))
    }

    fn variables(args: &[&str], set: &[(&str, &str)]) -> Result<Global, String> {
        settings(args, set).map(|settings| settings.fallback)
    }

    /// Reads settings with a configuration file of this content.
    fn with_file(content: &str, args: &[&str], set: &[(&str, &str)]) -> Result<Settings, String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("c.toml");
        std::fs::write(&file, content).unwrap();
        let mut args = args.to_vec();
        args.extend(["--config", file.to_str().unwrap()]);
        settings(&args, set).map_err(|message| message.replace(file.to_str().unwrap(), "c.toml"))
    }

    fn serve(settings: &Settings) -> &crate::cli::serve::ServeArgs {
        let Verb::Serve(args) = &settings.cli.verb else { panic!("{:?}", settings.cli) };
        args
    }

    #[test]
    fn every_option_of_all_commands_has_a_variable_whose_value_is_not_shown() {
        let command = Cli::command();
        let options: Vec<_> = command.get_arguments().filter(|option| option.is_global_set()).collect();
        assert!(options.len() >= 8, "{}", options.len());
        for option in options {
            assert_eq!(option.get_env().and_then(OsStr::to_str), Some(&*value::variable(option)));
            assert!(option.is_hide_env_values_set(), "{option}: the help would show the value");
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
        assert_eq!(all.token_file.as_deref(), Some(Path::new("token")));
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
            (&[("STREAMREG_TTL", "5")][..], "STREAMREG_TTL: 5 has no unit"),
            (&[("STREAMREG_OUTPUT", "xml")], "STREAMREG_OUTPUT: invalid value 'xml'"),
            (&[("STREAMREG_READ_ONLY", "maybe")], "STREAMREG_READ_ONLY: expected true or false"),
            (&[("STREAMREG_STORE", "redis://h"), ("STREAMREG_STORE_FILE", "f")], "STREAMREG_STORE: the argument"),
        ] {
            let message = variables(&["list"], set).unwrap_err();
            assert!(message.starts_with(expected), "{message}");
        }
        assert!(variables(&["list", "--ttl", "5m"], &[("STREAMREG_TTL", "5")]).is_ok());
        let message = variables(&["serve"], &[("STREAMREG_LISTEN", "8580")]).unwrap_err();
        assert!(message.starts_with("STREAMREG_LISTEN: expected an address with a port"), "{message}");
    }

    #[test]
    fn argument_overrides_variable_and_variable_overrides_file() {
        let file = "listen = ':1'\nwait_for_store = '1s'\nttl = '11s'\nallowed_host = ['a', 'b']\nread_only = true\n";
        let plain = with_file(file, &["serve"], &[]).unwrap();
        assert_eq!((serve(&plain).listen.port(), serve(&plain).wait_for_store), (1, Duration::from_secs(1)));
        assert_eq!(serve(&plain).allowed_hosts, ["a", "b"]);
        assert_eq!((plain.fallback.ttl, plain.fallback.read_only), (Some(Duration::from_secs(11)), true));

        let set = [
            ("STREAMREG_LISTEN", ":2"),
            ("STREAMREG_ALLOWED_HOST", "c, d"),
            ("STREAMREG_TTL", "12s"),
            ("STREAMREG_READ_ONLY", "false"),
        ];
        let variables = with_file(file, &["serve"], &set).unwrap();
        assert_eq!((serve(&variables).listen.port(), variables.fallback.ttl), (2, Some(Duration::from_secs(12))));
        assert_eq!(serve(&variables).wait_for_store, Duration::from_secs(1));
        assert_eq!(serve(&variables).allowed_hosts, ["c", "d"]);
        assert!(!variables.fallback.read_only);

        let args = ["serve", "--listen", ":3", "--ttl", "13s", "--allowed-host", "e"];
        let arguments = with_file(file, &args, &set).unwrap();
        assert_eq!((serve(&arguments).listen.port(), arguments.cli.global.ttl), (3, Some(Duration::from_secs(13))));
        assert_eq!((arguments.fallback.ttl, &*serve(&arguments).allowed_hosts), (None, &["e".to_owned()][..]));
    }

    #[test]
    fn store_of_a_higher_source_replaces_the_store_file_of_a_lower_one() {
        let file = "store_file = 'f'\n";
        let variable = with_file(file, &["list"], &[("STREAMREG_STORE", "redis://h")]).unwrap().fallback;
        assert_eq!((variable.store.as_deref(), variable.store_file), (Some("redis://h"), None));
        let argument = with_file(file, &["list", "--store", "redis://h"], &[]).unwrap().fallback;
        assert_eq!((argument.store, argument.store_file), (None, None));
        let message = with_file("store = 'x'\nstore_file = 'f'\n", &["list"], &[]).err().unwrap();
        assert!(message.starts_with("c.toml:1: store: the argument"), "{message}");
    }

    #[test]
    fn other_commands_use_only_the_common_keys_of_the_file() {
        let file = "store = 'redis://h'\nlisten = 'nonsense'\nlog = 'debug'\n";
        let list = with_file(file, &["list"], &[("STREAMREG_LISTEN", "nonsense")]).unwrap();
        assert_eq!(list.fallback.store.as_deref(), Some("redis://h"));
        assert!(list.fallback.config.is_some(), "the permissions of a file with a store must be checked");
        assert!(with_file("ttl = '5m'", &["list"], &[]).unwrap().fallback.config.is_none());
        assert!(with_file(file, &["serve"], &[]).is_err());
    }

    #[test]
    fn tables_are_values_of_a_repeated_option_and_arguments_replace_them() {
        let file = "node = 'edge1'\n[[server]]\nkind = 'srs'\n[[server]]\nkind = 'zlm'\napi = 'http://h'\n";
        let bridge = |args: &[&str]| {
            let settings = with_file(file, args, &[]).unwrap();
            let Verb::Bridge(args) = settings.cli.verb else { panic!("{:?}", settings.cli) };
            (args.node.unwrap(), args.servers.len(), args.kind.is_some())
        };
        assert_eq!(bridge(&["bridge"]), ("edge1".to_owned(), 2, false));
        assert_eq!(bridge(&["bridge", "mediamtx", "--node", "a"]), ("a".to_owned(), 0, true));
        let invalid = with_file("\n[[server]]\nkind = 'srs'\nsecret = 's3cret'\n", &["bridge"], &[]).err().unwrap();
        assert!(invalid.starts_with("c.toml:2: server: unknown field `secret`"), "{invalid}");
        assert!(!invalid.contains("s3cret"));
        assert!(with_file(file, &["serve"], &[]).is_ok(), "a server and a bridge can share the file");
    }

    #[test]
    fn invalid_file_is_rejected_with_line_and_key() {
        for (content, expected) in [
            ("ttl = '5m'\nlisten", "c.toml:2: "),
            ("ttl = '5m'\n\nlisen = ':1'", "c.toml:3: unknown key \"lisen\"; did you mean \"listen\"?"),
            ("allowed-host = 'a'", "c.toml:1: unknown key \"allowed-host\"; did you mean \"allowed_host\"?"),
            ("zzz = 1", "c.toml:1: unknown key \"zzz\"; the keys are the options of"),
            ("config = 'other.toml'", "c.toml:1: unknown key \"config\""),
            ("print_config = true", "c.toml:1: unknown key \"print_config\""),
            ("a = 1\na = 1", "c.toml:2: duplicate key"),
            ("listen = ['a']", "c.toml:1: listen: expected one value, got an array"),
            ("listen = { port = 1 }", "c.toml:1: listen: expected one value, got a table"),
            ("listen = true", "c.toml:1: listen: expected a string or a number, got a boolean"),
            ("# comment\nlisten = 8580", "c.toml:2: listen: expected an address with a port"),
            ("read_only = 'yes'", "c.toml:1: read_only: expected true or false"),
            ("ttl = 300", "c.toml:1: ttl: 300 has no unit"),
            ("allowed_host = ['a', ['b']]", "c.toml:1: allowed_host: expected one value, got an array"),
            ("allowed_host = [\n'a',\n'http://s3cret/']", "c.toml:1: allowed_host: expected a host name"),
        ] {
            let message = with_file(content, &["serve"], &[]).err().unwrap();
            assert!(message.starts_with(expected) && !message.contains("s3cret"), "{content}: {message}");
        }
        let missing = settings(&["serve", "--config", "/nonexistent/c.toml"], &[]).err().unwrap();
        assert!(missing.starts_with("--config /nonexistent/c.toml: No such file"), "{missing}");
        let endless = settings(&["list"], &[("STREAMREG_CONFIG", "/dev/zero")]).err().unwrap();
        assert!(endless.starts_with("--config /dev/zero: larger than"), "{endless}");
    }
}
