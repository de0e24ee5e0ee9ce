//! `serve --print-config`: prints the effective configuration as a configuration file.

use clap::Arg;
use stream_registry::without_secrets;
use toml::Value;

use super::Settings;
use super::value::{self, Setting, is_flag, is_list, is_setting, key};
use crate::cli::failure::Result;
use crate::cli::output::Output;

/// Maximum number of columns of a comment.
const WIDTH: usize = 100;
/// The parameters in the URL of a store that are not secret.
const PLAIN_PARAMETERS: [&str; 6] = ["ca", "cert", "key", "server_name", "insecure", "shards"];

/// Prints all settings of a command, each below its description. A setting without a value is a comment.
///
/// # Errors
///
/// Fails if standard output cannot be written.
pub(in crate::cli) fn print(settings: &Settings, verb: &str, out: &mut Output<'_>) -> Result {
    let program = value::program();
    let arguments = program.find_subcommand(verb).into_iter().flat_map(clap::Command::get_arguments);
    for (at, option) in arguments.filter(|option| is_setting(option)).enumerate() {
        let given = settings.given.iter().find(|setting| setting.key == key(option));
        if option.is_hide_set() && given.is_none() {
            continue;
        }
        if at > 0 {
            out.line("")?;
        }
        let help = option.get_help().map(ToString::to_string).unwrap_or_default();
        for line in wrapped(&help, WIDTH - 2) {
            out.line(format!("# {line}"))?;
        }
        out.line(entry(option, given))?;
    }
    out.flush()
}

/// Returns the line of an option.
fn entry(option: &Arg, given: Option<&Setting>) -> String {
    let key = key(option);
    let mut defaults = option.get_default_values().iter().map(|value| Value::from(&*value.to_string_lossy()));
    let value = match given {
        Some(setting) => setting.value.clone(),
        None if is_flag(option) => Value::from(false),
        None if is_list(option) => Value::Array(defaults.collect()),
        None => match defaults.next() {
            Some(value) => value,
            None => {
                let name = option.get_value_names().and_then(<[_]>::first).map_or("VALUE", |name| name.as_str());
                return format!("# {key} = {}", Value::from(name));
            }
        },
    };
    let shown = redacted(&key, value.clone());
    let remark = if shown == value { "" } else { " # secrets omitted" };
    format!("{key} = {shown}{remark}")
}

/// Hides the secrets of a value: passwords and parameters of a URL, and strings whose key says that they are secret.
///
/// Any parameter in the URL of a webhook can be a secret, and so can a misspelt parameter in the URL of a store. The path
/// of a file with a secret is not itself secret.
fn redacted(key: &str, value: Value) -> Value {
    match value {
        Value::String(text) => {
            let has_secret = |words: &[&str], text: &str| words.iter().any(|word| text.contains(word));
            let is_secret = has_secret(&["secret", "token", "pass"], key) && !key.ends_with("_file");
            if is_secret || key == "store" && !text.contains("://") && text != "memory:" {
                Value::from("…")
            } else if key == "url"
                || key == "store" && has_unknown_parameter(&text)
                || text.contains("://") && has_secret(&["@", "secret", "token", "pass"], &text)
            {
                Value::from(with_user(&text, without_secrets(&text)))
            } else {
                Value::String(text)
            }
        }
        Value::Array(items) => Value::Array(items.into_iter().map(|item| redacted(key, item)).collect()),
        Value::Table(table) => table
            .into_iter()
            .map(|(key, value)| {
                let value = redacted(&key, value);
                (key, value)
            })
            .collect::<toml::Table>()
            .into(),
        other => other,
    }
}

/// Returns whether the URL of a store has a parameter that can be secret or misspelt.
fn has_unknown_parameter(url: &str) -> bool {
    let parameters = url.split_once('?').map_or("", |(_, query)| query).split('&').filter(|one| !one.is_empty());
    parameters.map(|one| one.split('=').next().unwrap_or_default()).any(|name| !PLAIN_PARAMETERS.contains(&name))
}

/// Returns a URL without its secrets, but with the user name of the complete URL.
fn with_user(url: &str, shown: String) -> String {
    let authority = url.split_once("://").and_then(|(_, rest)| rest.split(['/', '?', '#']).next());
    let user = authority.and_then(|authority| authority.rsplit_once('@')).and_then(|(user, _)| user.split(':').next());
    match (user, shown.split_once("://")) {
        (Some(user), Some((scheme, address))) if !user.is_empty() => format!("{scheme}://{user}@{address}"),
        _ => shown,
    }
}

/// Breaks a text between words into lines of at most `width` columns, if its words are not longer.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_printed() {
        let webhook: toml::Table =
            toml::from_str("url = 'https://h/x?key=pw'\nsecret = 's'\nsecret_file = 'f'").unwrap();
        for (key, value, expected) in [
            ("store", Value::from("redis://:pw@h:6379/1"), "\"redis://h:6379/1\""),
            ("store", Value::from("redis+cluster://h?shards=32"), "\"redis+cluster://h?shards=32\""),
            ("store", Value::from("redis+sentinel://h/m?sentinel_pass=pw"), "\"redis+sentinel://h/m\""),
            ("token_file", Value::from("/t"), "\"/t\""),
            ("password", Value::from("pw"), "\"…\""),
            ("webhook", vec![webhook].into(), "[{ secret = \"…\", secret_file = \"f\", url = \"https://h/x\" }]"),
        ] {
            assert_eq!(redacted(key, value).to_string(), expected);
        }
    }

    #[test]
    fn long_comments_are_wrapped_between_words() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("", 7), Vec::<String>::new());
    }
}
