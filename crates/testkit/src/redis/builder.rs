//! Configuration of a test's Redis server.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::{ADMIN, ADMIN_PASSWORD, CONFIG_FILE, RedisServer, ServerKind};
use crate::{TestTls, free_port};

/// Configures and starts a [`RedisServer`].
///
/// By default the server persists nothing and opens both a unix socket and a loopback port.
#[derive(Clone, Debug)]
#[must_use]
pub struct RedisBuilder {
    pub(super) tcp: bool,
    pub(super) replica_of: Option<SocketAddr>,
    pub(super) kind: ServerKind,
    pub(super) role: Role,
    /// The CA's file, if the port of the server is for TLS.
    pub(super) ca: Option<PathBuf>,
    pub(super) config_lines: Vec<String>,
}

/// The part that a server takes in a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// A server on its own, a primary or a replica.
    Data,
    Sentinel,
    ClusterNode,
}

impl Default for RedisBuilder {
    fn default() -> Self {
        Self {
            tcp: true,
            replica_of: None,
            kind: ServerKind::default(),
            role: Role::Data,
            ca: None,
            config_lines: Vec::new(),
        }
    }
}

impl RedisBuilder {
    /// Selects the program. Default: the installed `redis-server`.
    pub fn server(mut self, kind: ServerKind) -> Self {
        self.kind = kind;
        self
    }

    /// Opens only the unix socket.
    pub fn unix_only(mut self) -> Self {
        self.tcp = false;
        self
    }

    /// Encrypts the port with TLS. Clients need no certificate.
    pub fn tls(mut self, tls: &TestTls) -> Self {
        self.ca = Some(tls.ca_file());
        self.config(format!("tls-cert-file {}", tls.server_cert().display()))
            .config(format!("tls-key-file {}", tls.server_key().display()))
            .config(format!("tls-ca-cert-file {}", tls.ca_file().display()))
            .config("tls-auth-clients no")
    }

    /// Adds a line to the configuration file, e.g. `maxmemory 8mb`.
    pub fn config(mut self, line: impl Into<String>) -> Self {
        self.config_lines.push(line.into());
        self
    }

    /// Limits the memory to `bytes`, with the eviction policy `noeviction`.
    pub fn max_memory(self, bytes: u64) -> Self {
        self.config(format!("maxmemory {bytes}")).config("maxmemory-policy noeviction")
    }

    /// Sets the password of the default user.
    pub fn password(self, password: &str) -> Self {
        self.config(format!("requirepass {password}"))
    }

    /// Adds a user with ACL rules, e.g. `reader` with `on >secret ~mirror:* +@read +hello`.
    pub fn user(self, name: &str, rules: &str) -> Self {
        self.config(format!("user {name} {rules}"))
    }

    /// Makes the server a replica of `primary`, which must have a port. `start` waits until the replication link is up.
    ///
    /// # Panics
    ///
    /// Panics if `primary` has no port.
    pub fn replica_of(mut self, primary: &RedisServer) -> Self {
        self.replica_of = Some(primary.addr());
        self
    }

    /// Starts the server and waits until it responds.
    ///
    /// # Panics
    ///
    /// Panics if the server's process exits, or if the server does not respond within 30 s.
    pub async fn start(self) -> RedisServer {
        self.start_in(&std::env::temp_dir()).await
    }

    /// Starts the server as [`start`](Self::start) does, and creates its folder in `parent`.
    pub(super) async fn start_in(self, parent: &Path) -> RedisServer {
        RedisServer::launch(self, parent).await
    }

    /// Writes the configuration file.
    pub(super) fn write_config(&self, folder: &Path, port: Option<u16>) {
        let mut config = String::from("daemonize no\nsave \"\"\nappendonly no\nloglevel notice\nbind 127.0.0.1\n");
        // Writing to a string cannot fail.
        if self.ca.is_some() {
            let _ = writeln!(config, "port 0\ntls-port {}", port.unwrap_or(0));
        } else {
            let _ = writeln!(config, "port {}", port.unwrap_or(0));
        }
        let _ = writeln!(config, "unixsocket {}\nunixsocketperm 700", folder.join("redis.sock").display());
        let _ = writeln!(config, "dir {}\nlogfile {}", folder.display(), folder.join("redis.log").display());
        // Otherwise, a primary waits 5 s for more replicas before it sends its data.
        let _ = writeln!(config, "repl-diskless-sync-delay 0");
        let _ = writeln!(config, "user {ADMIN} on >{ADMIN_PASSWORD} ~* &* +@all");
        let _ = writeln!(config, "masteruser {ADMIN}\nmasterauth {ADMIN_PASSWORD}");
        if let Some(primary) = self.replica_of {
            let _ = writeln!(config, "replicaof {} {}", primary.ip(), primary.port());
        }
        if self.role == Role::ClusterNode {
            // By default, the port of the cluster's bus is the server's port plus 10 000, which may be in use.
            let _ = writeln!(config, "cluster-enabled yes\ncluster-port {}", free_port());
        }
        for line in &self.config_lines {
            config.push_str(line);
            config.push('\n');
        }
        std::fs::write(folder.join(CONFIG_FILE), config).expect("the server's folder should be writable");
    }
}
