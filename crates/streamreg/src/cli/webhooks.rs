//! The tables `[[webhook]]` of the configuration file.

use std::fs::File;
use std::path::PathBuf;

use stream_registry::http::post::Poster;
use stream_registry::query::Filter;
use toml::{Table, Value};

use super::failure::{Failure, Result};
use super::input::read_limited;
use super::spelling;
use super::store::exposure;
use crate::webhook::{Kinds, Secrets, Webhook};

/// The keys of a table.
const KEYS: [&str; 10] =
    ["name", "url", "secret_file", "ca_file", "events", "status", "type", "node", "label", "search"];

/// Maximum length of a name, which becomes a label of metrics and a part of a file name.
const MAX_NAME: usize = 40;

/// One webhook of the configuration file.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    name: String,
    url: String,
    secret_file: PathBuf,
    ca_file: Option<PathBuf>,
    kinds: Kinds,
    filter: Filter,
}

impl Entry {
    /// Parses a TOML document.
    ///
    /// # Errors
    ///
    /// Returns a message that names the webhook and the invalid key.
    pub(super) fn parse(text: &str) -> std::result::Result<Self, String> {
        let table: Table = toml::from_str(text).map_err(|error| error.message().to_owned())?;
        let named = table.get("name").and_then(Value::as_str).filter(|name| is_name(name)).map(str::to_owned);
        Self::read(table).map_err(|fault| match named {
            Some(name) => format!("{name:?}: {fault}"),
            None => fault,
        })
    }

    fn read(table: Table) -> std::result::Result<Self, String> {
        let mut entry = Self::default();
        for (key, value) in &table {
            entry.set(key, value)?;
        }
        // A misspelt key is rejected first, because it can be the reason why another key is missing.
        for key in ["name", "url", "secret_file"] {
            if !table.contains_key(key) {
                return Err(format!("the key {key} is missing; add it to each [[webhook]]"));
            }
        }
        Ok(entry)
    }

    fn set(&mut self, key: &str, value: &Value) -> std::result::Result<(), String> {
        let at_key = |fault: String| format!("{key}: {fault}");
        match key {
            "name" => {
                self.name = string(value).map_err(at_key)?;
                if !is_name(&self.name) {
                    let name = &self.name;
                    return Err(format!(
                        "name: expected 1 to {MAX_NAME} lower-case letters, digits, - and _, got {name:?}"
                    ));
                }
            }
            "url" => self.url = string(value).map_err(at_key)?,
            "secret_file" => self.secret_file = string(value).map_err(at_key)?.into(),
            "ca_file" => self.ca_file = Some(string(value).map_err(at_key)?.into()),
            "events" => {
                let names = strings(value).map_err(at_key)?;
                self.kinds = Kinds::named(names.iter().map(String::as_str)).map_err(at_key)?;
            }
            "label" => {
                for label in strings(value).map_err(at_key)? {
                    self.filter.set(key, &label).map_err(|fault| at_key(fault.to_string()))?;
                }
            }
            _ if Filter::NAMES.contains(&key) => {
                let value = string(value).map_err(at_key)?;
                self.filter.set(key, &value).map_err(|fault| at_key(fault.to_string()))?;
            }
            _ => return Err(spelling::unknown_key(key, &KEYS)),
        }
        Ok(())
    }

    /// Returns a warning if every user of this machine can read the secret.
    pub(super) fn exposure(&self) -> Option<String> {
        exposure("secret_file", &self.secret_file)
    }

    /// Reads the files.
    fn open(&self) -> std::result::Result<Webhook, String> {
        let file = self.secret_file.display();
        let opened = File::open(&self.secret_file).map_err(|error| format!("secret_file {file}: {error}"))?;
        let secrets = read_limited(opened).and_then(|text| Secrets::parse(&text));
        let secrets = secrets.map_err(|fault| format!("secret_file {file}: {fault}"))?;
        let poster =
            Poster::new(&self.url, self.ca_file.clone()).map_err(|error| format!("url: {}", error.message()))?;
        let (kinds, filter) = (self.kinds.clone(), self.filter.clone());
        Ok(Webhook { name: self.name.clone(), poster, secrets, kinds, filter })
    }
}

/// Reads the files of all webhooks.
///
/// # Errors
///
/// Returns a usage error that names the webhook.
pub(super) fn open(entries: &[Entry]) -> Result<Vec<Webhook>> {
    let mut webhooks: Vec<Webhook> = Vec::with_capacity(entries.len());
    for entry in entries {
        let name = &entry.name;
        if webhooks.iter().any(|webhook| webhook.name == *name) {
            return Err(Failure::usage(format_args!("duplicate webhook {name:?}; rename one of them")));
        }
        webhooks.push(entry.open().map_err(|fault| Failure::usage(format_args!("webhook {name:?}: {fault}")))?);
    }
    Ok(webhooks)
}

fn is_name(name: &str) -> bool {
    let is_valid = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(is_valid)
}

fn string(value: &Value) -> std::result::Result<String, String> {
    value.as_str().map(str::to_owned).ok_or_else(|| format!("expected a string, got {}", value.type_str()))
}

/// Returns the strings of a list. A single string is a list of one.
fn strings(value: &Value) -> std::result::Result<Vec<String>, String> {
    match value {
        Value::Array(items) => items.iter().map(string).collect(),
        one => Ok(vec![string(one)?]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUIRED: &str = "name = 'billing'\nurl = 'https://h/s3cret'\nsecret_file = 'f'\n";

    #[test]
    fn table_of_a_webhook_has_the_filters_of_a_list() {
        let keys =
            "events = ['expired', 'status']\nnode = 'n'\nlabel = ['a=1', 'b=2']\ntype = 'srt'\nstatus = 'active'\n";
        let entry = Entry::parse(&format!("{REQUIRED}{keys}search = 'x'\nca_file = 'ca.pem'")).unwrap();
        let expected = [("status", "active"), ("type", "srt"), ("node", "n"), ("label", "a=1"), ("label", "b=2")];
        let expected = expected.into_iter().chain([("search", "x")]).map(|(name, value)| (name, value.to_owned()));
        assert_eq!(entry.filter.pairs(), expected.collect::<Vec<_>>());
        assert_eq!(entry.ca_file, Some("ca.pem".into()));
        assert!(Entry::parse(REQUIRED).unwrap().filter.is_empty());
        assert_eq!(Entry::parse(&format!("{REQUIRED}label = 'a=1'")).unwrap().filter.labels.len(), 1);
        assert!(Filter::NAMES.iter().all(|name| KEYS.contains(name)));
    }

    #[test]
    fn invalid_table_of_a_webhook_is_rejected_with_its_name_and_key() {
        for (text, expected) in [
            ("name = 'a'\nurl = 'http://h'", "\"a\": the key secret_file is missing"),
            ("url = 'http://h'", "the key name is missing"),
            (&format!("{REQUIRED}secret = 's3cret'"), "\"billing\": unknown key \"secret\"; the keys are name, url"),
            (&format!("{REQUIRED}labels = ['a=1']"), "\"billing\": unknown key \"labels\"; did you mean \"label\"?"),
            (&format!("{REQUIRED}event = 'status'"), "\"billing\": unknown key \"event\"; did you mean \"events\"?"),
            (&format!("{REQUIRED}events = ['ended']"), "\"billing\": events: unknown event \"ended\""),
            (&format!("{REQUIRED}events = []"), "\"billing\": events: expected at least one event"),
            (&format!("{REQUIRED}label = 'a'"), "\"billing\": label: invalid label"),
            (&format!("{REQUIRED}label = [1]"), "\"billing\": label: expected a string, got integer"),
            (&format!("{REQUIRED}node = ['a']"), "\"billing\": node: expected a string, got array"),
            (&format!("{REQUIRED}status = ''"), "\"billing\": status: "),
            (&REQUIRED.replace("billing", "Bil/ling"), "name: expected 1 to 40 lower-case letters"),
            (&REQUIRED.replace("billing", ""), "name: expected 1 to 40 lower-case letters"),
            (&REQUIRED.replace("billing", &"x".repeat(41)), "name: expected 1 to 40 lower-case letters"),
        ] {
            let fault = Entry::parse(text).unwrap_err();
            assert!(fault.starts_with(expected) && !fault.contains("s3cret"), "{text}: {fault}");
        }
    }
}
