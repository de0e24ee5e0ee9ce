//! The configuration file, in TOML.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use clap::Arg;
use toml::{Spanned, Value};

use super::value::{Setting, key};
use crate::cli::{input, spelling};

/// The content of a configuration file.
pub(super) struct File {
    path: PathBuf,
    /// The value of each key, with the number of its line.
    entries: BTreeMap<String, (usize, Value)>,
}

impl File {
    /// Reads a file whose keys are known.
    pub(super) fn read(path: &Path, known: &BTreeSet<String>) -> Result<Self, String> {
        let unreadable = |fault: &dyn std::fmt::Display| format!("--config {}: {fault}", path.display());
        let opened = std::fs::File::open(path).map_err(|error| unreadable(&error))?;
        let text = input::read_limited(opened).map_err(|fault| unreadable(&fault))?;
        let line = |at: usize| text.get(..at).map_or(1, |before| before.matches('\n').count() + 1);
        let parsed: BTreeMap<Spanned<String>, Value> = toml::from_str(&text).map_err(|error| {
            let line = line(error.span().map_or(0, |span| span.start));
            format!("{}:{line}: {}", path.display(), error.message())
        })?;
        let mut entries = BTreeMap::new();
        for (key, value) in parsed {
            let line = line(key.span().start);
            let key = key.into_inner();
            if !known.contains(&key) {
                let tip = match spelling::nearest(&key, known.iter().map(String::as_str)) {
                    Some(nearest) => format!("did you mean {nearest:?}?"),
                    None => "the keys are the options of `serve` and `bridge`, with `_` for `-`".to_owned(),
                };
                return Err(format!("{}:{line}: unknown key {key:?}; {tip}", path.display()));
            }
            entries.insert(key, (line, value));
        }
        Ok(Self { path: path.to_owned(), entries })
    }

    /// Returns the value of an option, if the file has it.
    pub(super) fn setting(&self, option: &Arg) -> Result<Option<Setting>, String> {
        let key = key(option);
        let Some((line, value)) = self.entries.get(&key) else { return Ok(None) };
        Setting::from_file(option, format!("{}:{line}: {key}", self.path.display()), value).map(Some)
    }
}
