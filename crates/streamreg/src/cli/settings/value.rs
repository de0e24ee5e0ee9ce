//! The value of an option from an argument, a variable or the configuration file.

use std::ffi::{OsStr, OsString};

use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory as _, Id};
use toml::Value;

use crate::cli::args::Cli;

/// Options that say where settings come from, or what to do with them.
const NOT_SETTINGS: [&str; 4] = ["config", "help", "print_config", "version"];

/// Where a setting was found. The text names the variable, or the line and key of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Argument,
    Variable(String),
    File(String),
}

impl Origin {
    /// Returns the precedence: a smaller number wins.
    pub(super) fn rank(&self) -> u8 {
        match self {
            Self::Argument => 0,
            Self::Variable(_) => 1,
            Self::File(_) => 2,
        }
    }
}

/// An option with a value that is not its default.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    /// Identifies the option in clap's definitions.
    pub(super) id: Id,
    /// The name in the configuration file.
    pub(super) key: String,
    /// Whether all commands have the option.
    pub(super) is_common: bool,
    pub(super) origin: Origin,
    /// The value, as the configuration file would have it.
    pub(super) value: Value,
    /// The arguments with the same meaning. A flag that is off has none.
    pub(super) words: Vec<OsString>,
}

impl Setting {
    /// Returns the value of an option that is among the arguments.
    pub(super) fn from_argument(option: &Arg, matches: &ArgMatches) -> Self {
        let raw: Vec<_> = matches.get_raw(option.get_id().as_str()).into_iter().flatten().collect();
        let mut values = raw.iter().map(|raw| Value::from(&*raw.to_string_lossy()));
        let words =
            if is_flag(option) { vec![flag(option)] } else { raw.iter().map(|raw| word(option, raw)).collect() };
        let value = if is_flag(option) {
            Value::from(true)
        } else if is_list(option) {
            Value::Array(values.collect())
        } else {
            values.next().unwrap_or_else(|| Value::from(""))
        };
        Self::new(option, Origin::Argument, value, words)
    }

    /// Returns the value of an option from its variable. The values of a list are separated by commas.
    pub(super) fn from_variable(option: &Arg, value: &OsStr) -> Result<Self, String> {
        let name = variable(option);
        let text = value.to_string_lossy();
        let (words, value) = if is_flag(option) {
            let is_on = match &*text {
                "1" | "true" | "yes" | "on" => true,
                "0" | "false" | "no" | "off" => false,
                _ => return Err(format!("{name}: expected true or false")),
            };
            (is_on.then(|| flag(option)).into_iter().collect(), Value::from(is_on))
        } else if is_list(option) {
            let items = || text.split(',').map(str::trim).filter(|item| !item.is_empty());
            (
                items().map(|item| word(option, OsStr::new(item))).collect(),
                Value::Array(items().map(Value::from).collect()),
            )
        } else {
            (vec![word(option, value)], Value::from(&*text))
        };
        Ok(Self::new(option, Origin::Variable(name), value, words))
    }

    /// Returns the value of an option from the configuration file. `place` is the line and the key.
    pub(super) fn from_file(option: &Arg, place: String, value: &Value) -> Result<Self, String> {
        let words = match value {
            Value::Boolean(is_on) if is_flag(option) => Ok(is_on.then(|| flag(option)).into_iter().collect()),
            _ if is_flag(option) => Err("expected true or false".to_owned()),
            Value::Array(items) if is_list(option) => {
                items.iter().map(|item| Ok(word(option, OsStr::new(&text(option, item)?)))).collect()
            }
            value => text(option, value).map(|text| vec![word(option, OsStr::new(&text))]),
        };
        let words = words.map_err(|fault| format!("{place}: {fault}"))?;
        Ok(Self::new(option, Origin::File(place), value.clone(), words))
    }

    fn new(option: &Arg, origin: Origin, value: Value, words: Vec<OsString>) -> Self {
        Self { id: option.get_id().clone(), key: key(option), is_common: option.is_global_set(), origin, value, words }
    }
}

/// Returns the program's definition in which each command also has the common options.
pub(super) fn program() -> Command {
    let mut program = Cli::command();
    program.build();
    program
}

/// Returns whether an option can be set by a variable and in the file.
pub(super) fn is_setting(option: &Arg) -> bool {
    !option.is_positional() && !NOT_SETTINGS.contains(&option.get_id().as_str())
}

/// Returns the name of an option in the configuration file.
pub(super) fn key(option: &Arg) -> String {
    option.get_long().unwrap_or_default().replace('-', "_")
}

/// Returns the name of an option's variable.
pub(super) fn variable(option: &Arg) -> String {
    format!("STREAMREG_{}", key(option).to_uppercase())
}

/// Returns whether an option has no value.
pub(super) fn is_flag(option: &Arg) -> bool {
    matches!(option.get_action(), ArgAction::SetTrue)
}

/// Returns whether an option may be repeated.
pub(super) fn is_list(option: &Arg) -> bool {
    matches!(option.get_action(), ArgAction::Append)
}

fn flag(option: &Arg) -> OsString {
    format!("--{}", option.get_long().unwrap_or_default()).into()
}

fn word(option: &Arg, value: &OsStr) -> OsString {
    if option.is_positional() {
        return value.to_owned();
    }
    let mut word = flag(option);
    word.push("=");
    word.push(value);
    word
}

/// Returns a value as the text of an argument. A table becomes a TOML document, for options that may be repeated: so a
/// file can have tables such as `[[webhook]]`.
fn text(option: &Arg, value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Integer(_) | Value::Float(_) | Value::Datetime(_) => Ok(value.to_string()),
        Value::Table(table) if is_list(option) => Ok(table.to_string()),
        Value::Boolean(_) => Err("expected a string or a number, got a boolean".to_owned()),
        Value::Array(_) => Err("expected one value, got an array".to_owned()),
        Value::Table(_) => Err("expected one value, got a table".to_owned()),
    }
}
