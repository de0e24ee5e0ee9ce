//! Lua scripts: put together once, called by their SHA-1, sent whole where the server has lost them.

use redis::{Cmd, RedisError, Value};

use super::connect::{Effect, Link, Request};
use super::fault;
use crate::error::Result;

/// A script of a file of its own, with the shared fragments that it names.
pub(super) struct Script {
    name: &'static str,
    text: String,
    sha1: String,
}

/// The shared fragments; `-- @use NAME` in a script's header asks for one.
const FRAGMENTS: [(&str, &str); 6] = [
    ("leading", include_str!("lua/leading.lua")),
    ("rights", include_str!("lua/rights.lua")),
    ("preflight", include_str!("lua/preflight.lua")),
    ("feed", include_str!("lua/feed.lua")),
    ("due", include_str!("lua/due.lua")),
    ("marks", include_str!("lua/marks.lua")),
];

impl Script {
    /// Puts a script together: fragments go in after the `#!lua` line, which has to be the first.
    pub(super) fn new(name: &'static str, source: &str) -> Self {
        let (first, rest) = source.split_once('\n').unwrap_or((source, ""));
        let mut text = format!("{first}\n");
        for (fragment, lua) in FRAGMENTS {
            if rest.lines().any(|line| line.strip_prefix("-- @use ") == Some(fragment)) {
                text.push_str(lua);
            }
        }
        text.push_str(rest);
        Self::of_text(name, text)
    }

    /// The same script with other flags in its first line.
    pub(super) fn with_flags(&self, name: &'static str, flags: &str) -> Self {
        let rest = self.text.split_once('\n').map_or("", |(_, rest)| rest);
        Self::of_text(name, format!("#!lua flags={flags}\n{rest}"))
    }

    fn of_text(name: &'static str, text: String) -> Self {
        let sha1 = redis::Script::new(&text).get_hash().to_owned();
        Self { name, text, sha1 }
    }

    /// Begins a call with these keys; arguments follow with `arg`.
    pub(super) fn call<'a>(&'a self, keys: &[impl AsRef<[u8]>]) -> ScriptCall<'a> {
        let mut command = redis::cmd("EVALSHA");
        command.arg(&self.sha1).arg(keys.len());
        for key in keys {
            command.arg(key.as_ref());
        }
        ScriptCall { script: self, keys: keys.len(), command }
    }
}

/// A script with keys and arguments.
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

    /// Runs the script; errors of the server are translated.
    pub(super) async fn run(&self, link: &Link, effect: Effect) -> Result<Value> {
        self.try_run(link, effect).await?.map_err(|error| {
            if !fault::is_no_permission(&error) {
                tracing::debug!(script = self.script.name, %error, "a script failed");
            }
            fault::translate(error, effect == Effect::Write)
        })
    }

    /// Runs the script; the inner error is the server's own.
    async fn try_run(&self, link: &Link, effect: Effect) -> Result<Result<Value, RedisError>> {
        match link.command(&self.command, effect).await? {
            // After a restart, a failover or SCRIPT FLUSH: nothing was run, so it may be sent again.
            Err(error) if fault::is_no_script(&error) => link.command(&self.whole(), effect).await,
            answer => Ok(answer),
        }
    }

    /// Runs a script that reads and whose answer may be large; see [`Link::long_command`].
    pub(super) async fn try_run_long(&self, link: &Link, probe: &Link) -> Result<Result<Value, RedisError>> {
        match link.long_command(Request::One(&self.command), probe).await? {
            Err(error) if fault::is_no_script(&error) => link.long_command(Request::One(&self.whole()), probe).await,
            answer => Ok(answer),
        }
    }

    /// The same call with the script's text, which the server then keeps.
    fn whole(&self) -> Cmd {
        let mut command = redis::cmd("EVAL");
        command.arg(&self.script.text).arg(self.keys);
        // EVALSHA, its hash and the count of keys came first.
        for argument in self.command.args_iter().skip(3) {
            if let redis::Arg::Simple(bytes) = argument {
                command.arg(bytes);
            }
        }
        command
    }
}
