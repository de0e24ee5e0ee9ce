//! A Redis server for one test.

mod ask;
mod builder;
mod cluster;
mod kind;
mod process;
mod replica;
mod sentinel;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use builder::RedisBuilder;
use builder::Role;
pub use cluster::{ClusterBuilder, ClusterSet};
pub use kind::ServerKind;
use process::Process;
pub use replica::Replica;
pub use sentinel::{SentinelBuilder, SentinelSet};

use crate::{free_port, wait_until};

/// Name of the user that the helpers log in as. Tests may restrict every other user.
const ADMIN: &str = "testkit";
const ADMIN_PASSWORD: &str = "testkit";
/// Name of the configuration file in the server's folder.
const CONFIG_FILE: &str = "redis.conf";
/// Maximum time for a server to start on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(30);

/// Data that a server has after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data {
    /// No data, as after a restart without persistence.
    Empty,
    /// All data that the server had before the restart. If the server was killed before the restart, only its last
    /// saved data remains.
    Kept,
}

/// A Redis server for one test, with a temporary folder, a unix socket and a free loopback port.
///
/// Dropping this value stops the server and removes the folder.
///
/// ```no_run
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let redis = testkit::RedisServer::start().await;
/// assert_eq!(redis.cli(&["SET", "a", "1"]).await, "OK");
/// let url = redis.url();
/// # }
/// ```
#[derive(Debug)]
pub struct RedisServer {
    // Declared before `folder`, so that the process is stopped before its folder is removed.
    process: Option<Process>,
    builder: RedisBuilder,
    folder: tempfile::TempDir,
    port: Option<u16>,
}

impl RedisServer {
    /// Returns a builder with the default configuration.
    pub fn builder() -> RedisBuilder {
        RedisBuilder::default()
    }

    /// Starts a server with the default configuration, on a port and a socket.
    ///
    /// # Panics
    ///
    /// Panics if the server does not respond within 30 s.
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    async fn launch(builder: RedisBuilder, parent: &Path) -> Self {
        let folder = tempfile::Builder::new().prefix("redis").tempdir_in(parent);
        let folder = folder.expect("a temporary folder can be created");
        let mut server = Self { process: None, builder, folder, port: None };
        // After a free port was found and before the server starts, another process may take the port.
        for attempt in 1.. {
            server.port = server.builder.tcp.then(free_port);
            server.builder.write_config(server.folder.path(), server.port);
            match server.spawn().await {
                Ok(()) => break,
                Err(log) => assert!(attempt < 5 && log.contains("in use"), "redis-server does not start: {log}"),
            }
        }
        server
    }

    async fn spawn(&mut self) -> Result<(), String> {
        // A restart keeps the file, because a Sentinel saves its state there.
        let mut process = Process::start(self.folder.path(), self.builder.kind, self.builder.role);
        let mut exit_status = None;
        wait_until(START_LIMIT, async || {
            exit_status = process.exit_status();
            exit_status.is_some() || self.is_ready().await
        })
        .await;
        if let Some(status) = exit_status {
            return Err(format!("{status}: {}", process::read_log(self.folder.path())));
        }
        self.process = Some(process);
        Ok(())
    }

    async fn is_ready(&self) -> bool {
        if self.builder.replica_of.is_some() {
            self.cli(&["INFO", "replication"]).await.contains("master_link_status:up")
        } else {
            self.cli(&["PING"]).await == "PONG"
        }
    }

    /// Returns `redis://127.0.0.1:<port>`.
    ///
    /// # Panics
    ///
    /// Panics if the server has no port.
    pub fn url(&self) -> String {
        format!("redis://{}", self.addr())
    }

    /// Returns `redis://<user>:<password>@127.0.0.1:<port>`; an empty name selects the default user.
    ///
    /// # Panics
    ///
    /// Panics if the server has no port.
    pub fn url_as(&self, user: &str, password: &str) -> String {
        format!("redis://{user}:{password}@{}", self.addr())
    }

    /// Returns `rediss://127.0.0.1:<port>?ca=<file>`.
    ///
    /// # Panics
    ///
    /// Panics if the server has no port, or has no TLS.
    pub fn tls_url(&self) -> String {
        let ca = self.builder.ca.as_ref().expect("the server has no TLS; call tls on the builder");
        format!("rediss://{}?ca={}", self.addr(), ca.display())
    }

    /// Returns `redis+unix:///path/to.sock`.
    pub fn unix_url(&self) -> String {
        format!("redis+unix://{}", self.socket().display())
    }

    /// Returns the loopback address.
    ///
    /// # Panics
    ///
    /// Panics if the server has no port.
    pub fn addr(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port.expect("the server has no port; do not call unix_only")))
    }

    /// Returns the path of the unix socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    /// Returns the folder with the server's configuration, log and data.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the process id.
    ///
    /// # Panics
    ///
    /// Panics if the server was killed.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("the server is not running").pid()
    }

    /// Runs a command with `redis-cli`, as a user with all permissions, and returns its output without the final
    /// newline.
    ///
    /// If Redis replies with an error, returns the error message, e.g. `WRONGTYPE …`. If the server is unreachable,
    /// returns an empty string.
    ///
    /// # Panics
    ///
    /// Panics if `redis-cli` is not installed.
    pub async fn cli(&self, args: &[&str]) -> String {
        let output = tokio::process::Command::new("redis-cli")
            .arg("-s")
            .arg(self.socket())
            .args(["--user", ADMIN, "--pass", ADMIN_PASSWORD, "--no-auth-warning"])
            .args(args)
            .kill_on_drop(true)
            .output()
            .await
            .expect("redis-cli starts; install redis-tools");
        String::from_utf8_lossy(&output.stdout).trim_end_matches('\n').to_owned()
    }

    /// Returns a client for raw commands, logged in as a user with all permissions.
    ///
    /// # Panics
    ///
    /// Panics if the path of the socket is not UTF-8.
    pub fn client(&self) -> redis::Client {
        let path = self.socket();
        let path = path.to_str().expect("the path of a temporary folder is UTF-8");
        redis::Client::open(format!("redis+unix://{path}?user={ADMIN}&pass={ADMIN_PASSWORD}"))
            .expect("the URL of the server's socket is valid")
    }

    /// Kills the server with SIGKILL and waits until the process has exited.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Restarts the server on the same port and socket. A running server is killed first.
    ///
    /// # Panics
    ///
    /// Panics if the server does not respond within 30 s.
    pub async fn restart(&mut self, data: Data) {
        if data == Data::Kept && self.process.is_some() {
            assert_eq!(self.cli(&["SAVE"]).await, "OK", "cannot save the server's data");
        }
        self.kill();
        if data == Data::Empty {
            // If nothing was saved, there is no file to remove.
            let _ = std::fs::remove_file(self.folder.path().join("dump.rdb"));
        }
        self.spawn().await.unwrap_or_else(|log| panic!("redis-server does not restart: {log}"));
    }

    /// Suspends the process with SIGSTOP: connections stay open but get no replies.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// Resumes a paused process with SIGCONT.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        self.process.as_ref().expect("the server is not running").signal(name);
    }
}
