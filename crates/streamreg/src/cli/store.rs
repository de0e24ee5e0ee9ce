//! Which store a command works on, and with which options.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use stream_registry::registry::TtlPolicy;
use stream_registry::{ConnectOptions, Registry, connect_with};

use super::duration;
use super::failure::{Failure, Result};
use super::input::read_limited;
use super::output::Format;

/// The store of client commands where none is named: a server on this machine.
pub const DEFAULT_CLIENT_STORE: &str = "http://127.0.0.1:8580";
/// The store of `serve` where none is named.
pub const DEFAULT_SERVE_STORE: &str = "memory:";
/// The environment variable that names the store.
pub const STORE_VARIABLE: &str = "STREAMREG_STORE";

/// Options of every command.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// The store: http://host:8580 (a running server), redis://host:6379, redis+unix:///path, or memory: for serve
    ///
    /// Default: the environment variable STREAMREG_STORE, else http://127.0.0.1:8580, and memory: for serve.
    #[arg(long, global = true, value_name = "URL")]
    pub store: Option<String>,

    /// A file whose first line is the store's URL; arguments show in `ps`
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "store")]
    pub store_file: Option<PathBuf>,

    /// How records are written; default: a table on a terminal, else jsonl
    #[arg(long, global = true, value_name = "FORMAT", value_enum)]
    pub output: Option<Format>,

    /// The prefix of all keys in Redis; default mirror:streams:
    #[arg(long, global = true, value_name = "PREFIX")]
    pub prefix: Option<String>,

    /// How long a stream lives without a write, 1s to 30d; default 5m
    #[arg(long, global = true, value_name = "DURATION", value_parser = duration::parse_ttl)]
    pub ttl: Option<Duration>,

    /// A file whose first line is the token: serve demands it for writes, others send it
    #[arg(long, global = true, value_name = "FILE")]
    pub token_file: Option<PathBuf>,

    /// Refuse every write
    #[arg(long, global = true)]
    pub read_only: bool,
}

/// On which side of a server a command is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// `serve`: owns its store.
    Server,
    /// Every other command.
    Client,
}

/// A store that is not open yet.
#[derive(Clone)]
pub struct Target {
    url: String,
    options: ConnectOptions,
    /// The token that a server demands.
    pub token: Option<String>,
    /// The store's name without secrets.
    pub name: String,
}

impl Global {
    /// Decides about the store; `variable` is the value of `STREAMREG_STORE`.
    ///
    /// # Errors
    ///
    /// Usage errors: a file that cannot be read, a store or option that does not go with the side.
    pub fn target(&self, side: Side, variable: Option<String>) -> Result<Target> {
        let url = match (&self.store, &self.store_file) {
            (Some(url), _) => url.clone(),
            (None, Some(file)) => first_line("--store-file", file)?,
            (None, None) => variable.filter(|url| !url.is_empty()).unwrap_or_else(|| {
                match side {
                    Side::Server => DEFAULT_SERVE_STORE,
                    Side::Client => DEFAULT_CLIENT_STORE,
                }
                .to_owned()
            }),
        };
        let scheme = url.split(':').next().unwrap_or_default();
        let http = matches!(scheme, "http" | "https");
        match side {
            Side::Server if http => {
                return Err(Failure::usage(
                    "serve cannot serve another server's store; give memory: or redis://… with --store",
                ));
            }
            Side::Client if scheme == "memory" => {
                return Err(Failure::usage(
                    "memory: would be empty and gone at once; start `streamreg serve` and leave --store out",
                ));
            }
            _ => {}
        }
        if http {
            for (given, name) in [(self.ttl.is_some(), "--ttl"), (self.prefix.is_some(), "--prefix")] {
                if given {
                    return Err(Failure::usage(format_args!(
                        "{name} is the server's to decide; leave it out, or give it to `streamreg serve`"
                    )));
                }
            }
        }
        let token = self.token_file.as_deref().map(|file| first_line("--token-file", file)).transpose()?;
        // What a header can carry (RFC 6750, section 2.1, read generously).
        if token.as_ref().is_some_and(|token| !token.bytes().all(|b| b.is_ascii_graphic())) {
            return Err(Failure::usage("the token in --token-file must be visible ASCII characters without blanks"));
        }
        if side == Side::Client && !http && token.is_some() {
            return Err(Failure::usage("--token-file goes with an http:// store only; leave it out"));
        }
        let mut options = ConnectOptions::default().read_only(self.read_only).ttl_policy(match side {
            Side::Server => TtlPolicy::Renew,
            Side::Client => TtlPolicy::NeverShorten,
        });
        options.ttl = self.ttl;
        options.prefix.clone_from(&self.prefix);
        if let (Side::Client, Some(token)) = (side, &token) {
            options = options.token(token);
        }
        Ok(Target { name: without_secrets(&url), url, options, token })
    }
}

impl Target {
    /// Opens the store.
    ///
    /// # Errors
    ///
    /// Usage errors for a URL or option that the library refuses; else as the store fails.
    pub async fn connect(&self) -> Result<Arc<dyn Registry>> {
        connect_with(&self.url, &self.options).await.map_err(|error| Failure::connect(&error, &self.name))
    }
}

/// Reads the first line of a small file, without blanks around it.
fn first_line(option: &str, file: &Path) -> Result<String> {
    let opened: Box<dyn Read> = Box::new(
        File::open(file).map_err(|error| Failure::usage(format_args!("{option} {}: {error}", file.display())))?,
    );
    let text =
        read_limited(opened).map_err(|fault| Failure::usage(format_args!("{option} {}: {fault}", file.display())))?;
    let line = text.lines().next().unwrap_or_default().trim();
    if line.is_empty() {
        return Err(Failure::usage(format_args!("the first line of {option} {} is empty", file.display())));
    }
    Ok(line.to_owned())
}

/// A store's URL without user, password and query. Where it is not plain what a part is, only the scheme is left.
pub fn without_secrets(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        let scheme = url.split(':').next().unwrap_or_default();
        return format!("{scheme}:");
    };
    let (place, query) = rest.split_once(['?', '#']).unwrap_or((rest, ""));
    if query.contains('@') {
        return format!("{scheme}://…");
    }
    let place = place.rsplit_once('@').map_or(place, |(_, place)| place);
    format!("{scheme}://{place}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_left_in_a_name() {
        for (url, name) in [
            ("memory:", "memory:"),
            ("http://127.0.0.1:8580", "http://127.0.0.1:8580"),
            ("redis://user:pw@host:6379/2", "redis://host:6379/2"),
            ("redis://:p@w/x@host", "redis://host"),
            ("redis+unix:///run/redis.sock?user=u&pass=secret", "redis+unix:///run/redis.sock"),
            ("redis+unix:///run/redis.sock?pass=a@secret", "redis+unix://…"),
            ("redis://:p?w@host", "redis://…"),
            ("redis:secret", "redis:"),
        ] {
            assert_eq!(without_secrets(url), name, "{url}");
        }
    }

    #[test]
    fn the_store_is_the_argument_then_the_file_then_the_variable() {
        let variable = || Some("redis://variable".to_owned());
        let store = |global: &Global, variable| global.target(Side::Client, variable).unwrap().url;
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("store");
        std::fs::write(&file, " redis://:pw@file \nsecond\n").unwrap();
        let mut global = Global { store_file: Some(file), ..Global::default() };
        assert_eq!(store(&global, variable()), "redis://:pw@file");
        global.store = Some("redis://argument".into());
        assert_eq!(store(&global, variable()), "redis://argument");
        assert_eq!(store(&Global::default(), variable()), "redis://variable");
        assert_eq!(store(&Global::default(), Some(String::new())), DEFAULT_CLIENT_STORE);
        assert_eq!(Global::default().target(Side::Server, None).unwrap().url, DEFAULT_SERVE_STORE);
    }

    #[test]
    fn each_side_has_its_policy() {
        let global = Global { store: Some("redis://h".into()), ..Global::default() };
        assert_eq!(global.target(Side::Client, None).unwrap().options.ttl_policy, TtlPolicy::NeverShorten);
        assert_eq!(global.target(Side::Server, None).unwrap().options.ttl_policy, TtlPolicy::Renew);
    }
}
