//! Lua scripts. Each script is assembled once and called by its SHA-1. If the server does not have the script, the
//! client sends its source.

use redis::{Cmd, RedisError, Value};

use super::connect::Link;
use super::connect::connection::Request;
use super::fault::{self, Effect};
use crate::error::Result;

/// A Lua script, including the shared fragments that it uses.
pub(super) struct Script {
    name: &'static str,
    source: String,
    sha1: String,
}

/// Fragments of Lua code that scripts share. In a script, the line `-- @use NAME` is replaced with the fragment `NAME`.
const FRAGMENTS: [(&str, &str); 7] = [
    ("record", include_str!("lua/record.lua")),
    ("permissions", include_str!("lua/permissions.lua")),
    ("feed", include_str!("lua/feed.lua")),
    ("repair", include_str!("lua/repair.lua")),
    ("due", include_str!("lua/due.lua")),
    ("tombstones", include_str!("lua/tombstones.lua")),
    ("write/stats", include_str!("lua/write/stats.lua")),
];

impl Script {
    /// Assembles a script from its source file and the fragments that it names.
    pub(super) fn new(name: &'static str, file: &str) -> Self {
        let mut source = String::with_capacity(2 * file.len());
        for line in file.lines() {
            let wanted = line.strip_prefix("-- @use ");
            match FRAGMENTS.iter().find(|(fragment, _)| wanted == Some(*fragment)) {
                Some((_, lua)) => source.push_str(lua),
                None => {
                    source.push_str(line);
                    source.push('\n');
                }
            }
        }
        Self::from_source(name, source)
    }

    /// Returns the same script with other flags in its first line.
    pub(super) fn with_flags(&self, name: &'static str, flags: &str) -> Self {
        let rest = self.source.split_once('\n').map_or("", |(_, rest)| rest);
        Self::from_source(name, format!("#!lua flags={flags}\n{rest}"))
    }

    fn from_source(name: &'static str, source: String) -> Self {
        let sha1 = redis::Script::new(&source).get_hash().to_owned();
        Self { name, source, sha1 }
    }

    /// Begins a call with these keys. Arguments are added with `arg`.
    pub(super) fn call<'a>(&'a self, keys: &[impl AsRef<[u8]>]) -> ScriptCall<'a> {
        let mut command = redis::cmd("EVALSHA");
        command.arg(&self.sha1).arg(keys.len());
        for key in keys {
            command.arg(key.as_ref());
        }
        ScriptCall { script: self, keys: keys.len(), command }
    }
}

/// A call of a script, with its keys and arguments.
pub(super) struct ScriptCall<'a> {
    script: &'a Script,
    keys: usize,
    command: Cmd,
}

impl ScriptCall<'_> {
    pub(super) fn arg(&mut self, argument: impl redis::ToRedisArgs) -> &mut Self {
        self.command.arg(argument);
        self
    }

    /// Runs the script and translates the server's errors.
    pub(super) async fn run(&self, link: &Link, effect: Effect) -> Result<Value> {
        self.try_run(link, effect).await?.map_err(|error| {
            if !fault::is_no_permission(&error) {
                tracing::debug!(script = self.script.name, %error, "script failed");
            }
            fault::translate(error, effect == Effect::Write)
        })
    }

    /// Runs the script. The outer error is a timeout or a connection failure. The inner error is any other error of the
    /// Redis client.
    async fn try_run(&self, link: &Link, effect: Effect) -> Result<Result<Value, RedisError>> {
        match link.command(&self.command, effect).await? {
            // The server does not have the script, for example after a restart. The script did not run, so it can be
            // sent again.
            Err(error) if fault::is_no_script(&error) => link.command(&self.in_full(), effect).await,
            answer => Ok(answer),
        }
    }

    /// Runs a read-only script whose reply may be large; see [`Link::long_command`].
    pub(super) async fn try_run_long(&self, link: &Link) -> Result<Result<Value, RedisError>> {
        match link.long_command(Request::One(&self.command)).await? {
            Err(error) if fault::is_no_script(&error) => link.long_command(Request::One(&self.in_full())).await,
            answer => Ok(answer),
        }
    }

    /// Returns the same call with the full source of the script. The server then caches the script.
    fn in_full(&self) -> Cmd {
        let mut command = redis::cmd("EVAL");
        command.arg(&self.script.source).arg(self.keys);
        // Skips the first three arguments: `EVALSHA`, the SHA-1 and the number of keys.
        for argument in self.command.args_iter().skip(3) {
            if let redis::Arg::Simple(bytes) = argument {
                command.arg(bytes);
            }
        }
        command
    }
}
