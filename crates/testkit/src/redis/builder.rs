//! What a test asks of its server.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::{ADMIN, ADMIN_PASSWORD, RedisServer};

/// The description of a [`RedisServer`].
///
/// Nothing is persisted, and both a unix socket and a loopback port are opened unless told otherwise.
#[derive(Clone, Debug)]
#[must_use]
pub struct RedisBuilder {
    pub(super) tcp: bool,
    pub(super) replica_of: Option<SocketAddr>,
    lines: Vec<String>,
}

impl Default for RedisBuilder {
    fn default() -> Self {
        Self { tcp: true, replica_of: None, lines: Vec::new() }
    }
}

impl RedisBuilder {
    /// Opens the unix socket only.
    pub fn unix_only(mut self) -> Self {
        self.tcp = false;
        self
    }

    /// Adds a line to the configuration file, `maxmemory 8mb` say.
    pub fn config(mut self, line: impl Into<String>) -> Self {
        self.lines.push(line.into());
        self
    }

    /// Limits the memory, in bytes; `noeviction` is the policy.
    pub fn max_memory(self, bytes: u64) -> Self {
        self.config(format!("maxmemory {bytes}")).config("maxmemory-policy noeviction")
    }

    /// Asks the default user for a password.
    pub fn password(self, password: &str) -> Self {
        self.config(format!("requirepass {password}"))
    }

    /// Adds a user by its ACL rules: `reader`, `on >secret ~mirror:* +@read +hello`.
    pub fn user(self, name: &str, rules: &str) -> Self {
        self.config(format!("user {name} {rules}"))
    }

    /// Copies another server, which has a port; starting waits until the link is up.
    ///
    /// # Panics
    ///
    /// When the other server has no port.
    pub fn replica_of(mut self, primary: &RedisServer) -> Self {
        self.replica_of = Some(primary.addr());
        self
    }

    /// Starts the server and waits until it answers.
    ///
    /// # Panics
    ///
    /// When it ends, with its log, and when it does not answer within 30 s.
    pub async fn start(self) -> RedisServer {
        RedisServer::launch(self).await
    }

    /// Writes the configuration file and returns its path.
    pub(super) fn config_file(&self, folder: &Path, port: Option<u16>) -> PathBuf {
        let mut text = String::from("daemonize no\nsave \"\"\nappendonly no\nloglevel notice\nbind 127.0.0.1\n");
        // Writing to a string cannot fail.
        let _ = writeln!(text, "port {}", port.unwrap_or(0));
        let _ = writeln!(text, "unixsocket {}\nunixsocketperm 700", folder.join("redis.sock").display());
        let _ = writeln!(text, "dir {}\nlogfile {}", folder.display(), folder.join("redis.log").display());
        let _ = writeln!(text, "user {ADMIN} on >{ADMIN_PASSWORD} ~* &* +@all");
        if let Some(primary) = self.replica_of {
            let _ = writeln!(text, "replicaof {} {}", primary.ip(), primary.port());
            let _ = writeln!(text, "masteruser {ADMIN}\nmasterauth {ADMIN_PASSWORD}");
        }
        for line in &self.lines {
            text.push_str(line);
            text.push('\n');
        }
        let path = folder.join("redis.conf");
        std::fs::write(&path, text).expect("a file in the server's folder can be written");
        path
    }
}
