//! Selects and opens the store for a command.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use stream_registry::registry::TtlPolicy;
use stream_registry::{
    ConnectOptions, RedisRegistry, Registry, Secret, UrlSource, connect_for_diagnosis, connect_with, without_secrets,
};

use super::duration;
use super::failure::{Failure, Result, Status};
use super::input::read_limited;
use super::output::{Colour, Format, Output};
use super::upkeep::RETRY;
use crate::server::access::check_token;

/// Default store of client commands: a server on this machine.
pub const DEFAULT_CLIENT_STORE: &str = "http://127.0.0.1:8580";
/// Default store of `serve`.
pub const DEFAULT_SERVE_STORE: &str = "memory:";

/// Options that all commands share.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// Configuration file (TOML), whose keys are the options of `serve` and `bridge` with `_` for `-`. Arguments and
    /// variables take precedence. Other commands use only the options of every command from the file
    #[arg(long, global = true, value_name = "FILE")]
    #[arg(env = "STREAMREG_CONFIG", hide_env_values = true)]
    pub config: Option<PathBuf>,

    /// URL of the store: http://host:8580 or https://host:8580 (a running server), redis://host:6379,
    /// rediss://host:6379 (TLS), redis+unix:///path, or memory: (for serve) [default: http://127.0.0.1:8580; for serve,
    /// memory:]
    #[arg(long, global = true, value_name = "URL")]
    #[arg(env = "STREAMREG_STORE", hide_env_values = true)]
    pub store: Option<String>,

    /// File whose first line is the store's URL; unlike an argument, the URL is not visible in `ps`. If Redis rejects the
    /// password, the file is read again
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "store")]
    #[arg(env = "STREAMREG_STORE_FILE", hide_env_values = true)]
    pub store_file: Option<PathBuf>,

    /// Format of records [default: table on a terminal, else jsonl]
    #[arg(short, long, global = true, value_name = "FORMAT", value_enum)]
    #[arg(env = "STREAMREG_OUTPUT", hide_env_values = true)]
    pub output: Option<Format>,

    /// When tables have colours; by default on a terminal, unless `NO_COLOR` is set [default: auto]
    #[arg(long, global = true, value_name = "WHEN", value_enum)]
    #[arg(env = "STREAMREG_COLOR", hide_env_values = true)]
    pub color: Option<Colour>,

    /// Prefix of all Redis keys [default: mirror:streams:]
    #[arg(long, global = true, value_name = "PREFIX")]
    #[arg(env = "STREAMREG_PREFIX", hide_env_values = true)]
    pub prefix: Option<String>,

    /// Time for which a stream stays alive without a write, 1s to 30d [default: 5m]
    #[arg(long, global = true, value_name = "DURATION", value_parser = duration::parse_ttl)]
    #[arg(env = "STREAMREG_TTL", hide_env_values = true)]
    pub ttl: Option<Duration>,

    /// File whose first line is the token; serve requires the token for writes and reads the file again when it
    /// changes, and other commands send the token
    #[arg(long, global = true, value_name = "FILE")]
    #[arg(env = "STREAMREG_TOKEN_FILE", hide_env_values = true)]
    pub token_file: Option<PathBuf>,

    /// Reject all writes
    #[arg(long, global = true, env = "STREAMREG_READ_ONLY", hide_env_values = true)]
    pub read_only: bool,
}

/// Whether a command is the server, owns streams, or is another client. The side determines the default store, the
/// accepted stores and the TTL policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The command `serve`, which opens its own store.
    Server,
    /// A command that registers streams and keeps them alive, so its `--ttl` applies to these streams.
    Owner,
    /// Any other command. It never shortens the life of a stream that another program registered.
    Client,
}

/// The settings for opening a store.
#[derive(Clone)]
pub struct Target {
    url: String,
    options: ConnectOptions,
    /// The token that the server requires for writes.
    pub token: Option<Secret>,
    /// The file of `token`.
    pub token_file: Option<PathBuf>,
    /// The store's name without secrets.
    pub name: String,
    /// The selected files that may contain a secret, each with the name of its option.
    secret_files: Vec<(&'static str, PathBuf)>,
}

impl Global {
    /// Selects the store. `variables` contains the options from environment variables and the configuration file, which
    /// apply if the arguments do not contain them. Unlike an argument, a variable or key that the store does not
    /// support is ignored, because several commands share it.
    ///
    /// # Errors
    ///
    /// Returns a usage error if a file cannot be read, or if the command does not support the store or an argument.
    pub fn target(&self, side: Side, variables: &Self) -> Result<Target> {
        let store = self.store.as_ref().or(variables.store.as_ref());
        let store_file = self.store_file.as_deref().or(variables.store_file.as_deref());
        let url = match (store, store_file) {
            (Some(url), _) => url.clone(),
            (None, Some(file)) => first_line("--store-file", file)?,
            (None, None) => match side {
                Side::Server => DEFAULT_SERVE_STORE,
                Side::Owner | Side::Client => DEFAULT_CLIENT_STORE,
            }
            .to_owned(),
        };
        let scheme = url.split(':').next().unwrap_or_default();
        let http = matches!(scheme, "http" | "https");
        match side {
            Side::Server if http => {
                return Err(Failure::usage(
                    "serve cannot use another server as its store; pass memory: or redis://… with --store",
                ));
            }
            Side::Owner | Side::Client if scheme == "memory" => {
                return Err(Failure::usage(
                    "memory: would always be empty here; start `streamreg serve` and omit --store",
                ));
            }
            _ => {}
        }
        if http {
            for (given, name) in [(self.ttl.is_some(), "--ttl"), (self.prefix.is_some(), "--prefix")] {
                if given {
                    return Err(Failure::usage(format_args!(
                        "{name} is an option of the server; omit it, or pass it to `streamreg serve`"
                    )));
                }
            }
        }
        let uses_token = side == Side::Server || http;
        let token_file = self.token_file.as_deref().or(variables.token_file.as_deref().filter(|_| uses_token));
        let token = token_file.map(|file| token("--token-file", file)).transpose()?;
        if !uses_token && token.is_some() {
            return Err(Failure::usage("--token-file is only for http:// and https:// stores; omit it"));
        }
        let mut options = ConnectOptions::default().ttl_policy(match side {
            Side::Server | Side::Owner => TtlPolicy::Renew,
            Side::Client => TtlPolicy::NeverShorten,
        });
        options.read_only = self.read_only || variables.read_only;
        options.ttl = self.ttl.or(variables.ttl.filter(|_| !http));
        let prefix = variables.prefix.as_ref().filter(|_| is_redis(scheme));
        options.prefix = self.prefix.as_ref().or(prefix).cloned();
        if side != Side::Server {
            options.token.clone_from(&token);
        }
        if let Some(file) = store_file.filter(|_| store.is_none() && is_redis(scheme)) {
            options.url_source = url_source(file);
        }
        let name = without_secrets(&url);
        // A store URL without a password is not secret.
        let store_file = store_file.filter(|_| store.is_none() && url != name);
        let config =
            variables.config.as_deref().filter(|_| self.store.is_none() && store_file.is_none() && url != name);
        let files = [("--token-file", token_file), ("--store-file", store_file), ("--config", config)];
        let secret_files = files.into_iter().filter_map(|(option, file)| Some((option, file?.to_owned()))).collect();
        Ok(Target { name, url, options, token, token_file: token_file.map(Path::to_owned), secret_files })
    }
}

fn is_redis(scheme: &str) -> bool {
    scheme.starts_with("redis") || scheme == "unix"
}

/// Returns the function that reads the store's URL again if Redis rejects the password. A pipe can be read only once.
fn url_source(file: &Path) -> Option<UrlSource> {
    let file = file.to_owned();
    file.is_file().then(|| {
        UrlSource::new(move || {
            first_line("--store-file", &file).map_err(|failure| io::Error::other(failure.message.unwrap_or_default()))
        })
    })
}

/// Returns whether every user of this machine can read a file.
#[cfg(unix)]
fn is_readable_by_everyone(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    // A pipe, such as that of a shell's `<(…)`, has no permissions that matter.
    std::fs::metadata(file).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o004 != 0)
}

#[cfg(not(unix))]
fn is_readable_by_everyone(_: &Path) -> bool {
    false
}

/// Returns a warning if every user of this machine can read a file with a secret.
pub(super) fn exposure(option: &str, file: &Path) -> Option<String> {
    let is_exposed = is_readable_by_everyone(file);
    let file = file.display();
    is_exposed.then(|| format!("every user can read {option} {file}; run chmod o-r {file}"))
}

impl Target {
    /// Returns a warning for each file with a secret that every user of this machine can read, and for a store whose
    /// certificate is not checked.
    pub fn warnings(&self) -> Vec<String> {
        let peer = match self.url.split_once(':') {
            Some(("https", _)) => Some("the server"),
            Some((scheme, _)) if scheme.starts_with("rediss") => Some("Redis"),
            _ => None,
        };
        let query = self.url.split_once('?').map_or("", |(_, query)| query);
        let insecure = peer
            .filter(|_| query.split('&').any(|one| one == "insecure=true"))
            .map(|peer| format!("insecure=true: the certificate of {peer} is not checked"));
        let exposed = self.secret_files.iter().filter_map(|(option, file)| exposure(option, file));
        exposed.chain(insecure).collect()
    }

    /// Returns whether the store rejects every write, because of `--read-only`.
    pub fn is_read_only(&self) -> bool {
        self.options.read_only
    }

    /// Returns whether the store is a `streamreg` server.
    pub fn is_http(&self) -> bool {
        self.url.starts_with("http://") || self.url.starts_with("https://")
    }

    /// Connects to a Redis store for a diagnosis. Unless `writable`, opens it read-only, whatever the options are.
    ///
    /// # Errors
    ///
    /// Returns the failures of [`connect`](Self::connect), and a usage error if the store is not Redis.
    pub async fn connect_for_diagnosis(&self, writable: bool) -> Result<RedisRegistry> {
        let mut options = self.options.clone();
        options.read_only |= !writable;
        connect_for_diagnosis(&self.url, &options).await.map_err(|error| Failure::connect(&error, &self.name))
    }

    /// Connects to the store.
    ///
    /// # Errors
    ///
    /// Returns a usage error if the library rejects the URL or an option. Returns another failure if the store cannot
    /// be reached.
    pub async fn connect(&self) -> Result<Arc<dyn Registry>> {
        connect_with(&self.url, &self.options).await.map_err(|error| Failure::connect(&error, &self.name))
    }

    /// Connects to the store. While the store is unreachable or busy, retries until the limit has passed.
    ///
    /// # Errors
    ///
    /// Returns the same failures as [`connect`](Self::connect).
    pub async fn connect_within(&self, limit: Duration, out: &mut Output<'_>) -> Result<Arc<dyn Registry>> {
        let started = Instant::now();
        let mut is_noted = false;
        loop {
            match self.connect().await {
                Err(failure) if failure.status == Status::Unreachable && started.elapsed() + RETRY <= limit => {
                    if !std::mem::replace(&mut is_noted, true) {
                        let message = failure.message.unwrap_or_default();
                        out.note(format_args!("streamreg: {message}; waiting up to {} for it", duration::short(limit)));
                    }
                    tokio::time::sleep(RETRY).await;
                }
                outcome => return outcome,
            }
        }
    }
}

/// Reads a token from the first line of a file.
pub(super) fn token(option: &str, file: &Path) -> Result<Secret> {
    let token = first_line(option, file)?;
    check_token(&token).map_err(|reason| Failure::usage(format_args!("the token in {option} {reason}")))?;
    Ok(token.into())
}

/// Reads the first line of a small file and trims it.
pub(super) fn first_line(option: &str, file: &Path) -> Result<String> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn store_comes_from_argument_then_file_then_variable() {
        let variable = || Global { store: Some("redis://variable".to_owned()), ..Global::default() };
        let store = |global: &Global, variables: &Global| global.target(Side::Client, variables).unwrap().url;
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("store");
        std::fs::write(&file, "\u{feff} redis://:pw@file \nsecond\n").unwrap();
        let file = Global { store_file: Some(file), ..Global::default() };
        assert_eq!(store(&file, &Global::default()), "redis://:pw@file");
        assert_eq!(store(&Global::default(), &file), "redis://:pw@file");
        let argument = Global { store: Some("redis://argument".into()), ..Global::default() };
        assert_eq!(store(&argument, &variable()), "redis://argument");
        assert_eq!(store(&Global::default(), &variable()), "redis://variable");
        assert_eq!(store(&Global::default(), &Global::default()), DEFAULT_CLIENT_STORE);
        assert_eq!(Global::default().target(Side::Server, &Global::default()).unwrap().url, DEFAULT_SERVE_STORE);
    }

    #[test]
    fn variable_is_ignored_where_the_argument_would_be_rejected() {
        let none = Global::default();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        std::fs::write(&file, "s3cret\n").unwrap();
        let on = |url: &str| Global { store: Some(url.into()), ..Global::default() };
        let variables = Global {
            ttl: Some(Duration::from_secs(90)),
            prefix: Some("a:".into()),
            token_file: Some(file),
            read_only: true,
            ..Global::default()
        };
        for (side, url, ttl, prefix, token) in [
            (Side::Client, "http://h", false, false, true),
            (Side::Client, "redis://h", true, true, false),
            (Side::Server, "redis://h", true, true, true),
            (Side::Server, "memory:", true, false, true),
        ] {
            let target = on(url).target(side, &variables).unwrap();
            let options = &target.options;
            let applied = (options.ttl.is_some(), options.prefix.is_some(), target.token.is_some());
            assert_eq!(applied, (ttl, prefix, token), "{side:?} {url}");
            assert!(options.read_only);
            let arguments = Global { store: Some(url.into()), ..variables.clone() };
            let rejected = !(ttl && prefix && token) && url != "memory:";
            assert_eq!(arguments.target(side, &none).is_err(), rejected, "{side:?} {url}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn secret_files_that_every_user_can_read_are_reported() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret");
        let global = Global { token_file: Some(file.clone()), store_file: Some(file.clone()), ..Global::default() };
        for (url, mode, warnings) in [
            ("redis://:password@h", 0o600, 0),
            ("redis://:password@h", 0o640, 0),
            ("redis://:password@h", 0o644, 2),
            ("redis://:password@h", 0o604, 2),
            ("redis://h", 0o644, 1),
        ] {
            std::fs::write(&file, url).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            let exposed = global.target(Side::Server, &Global::default()).unwrap().warnings();
            assert_eq!(exposed.len(), warnings, "{url} {mode:o}: {exposed:?}");
            assert!(exposed.iter().all(|warning| warning.contains("secret; run chmod o-r")), "{exposed:?}");
            assert!(!exposed.iter().any(|warning| warning.contains("password")), "{exposed:?}");
        }
    }

    #[test]
    fn certificate_that_is_not_checked_is_reported_for_every_topology() {
        for (url, warnings) in [
            ("rediss://h?insecure=true", 1),
            ("rediss+sentinel://h/s?db=1&insecure=true", 1),
            ("rediss+cluster://h?insecure=true", 1),
            ("rediss+cluster://h?insecure=false", 0),
            ("https://h?insecure=true", 1),
            ("https://h", 0),
            ("rediss://h", 0),
        ] {
            let global = Global { store: Some(url.into()), ..Global::default() };
            let target = global.target(Side::Client, &Global::default()).unwrap();
            assert_eq!(target.warnings().len(), warnings, "{url}");
        }
    }

    #[test]
    fn only_commands_that_own_no_stream_never_shorten_a_ttl() {
        let global = Global { store: Some("redis://h".into()), ..Global::default() };
        assert_eq!(
            global.target(Side::Client, &Global::default()).unwrap().options.ttl_policy,
            TtlPolicy::NeverShorten
        );
        for side in [Side::Server, Side::Owner] {
            assert_eq!(
                global.target(side, &Global::default()).unwrap().options.ttl_policy,
                TtlPolicy::Renew,
                "{side:?}"
            );
        }
    }
}
