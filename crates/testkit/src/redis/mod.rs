//! A Redis server for one test.

mod builder;
mod process;
mod replica;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use builder::RedisBuilder;
use process::Process;
pub use replica::Replica;

use crate::wait_until;

/// The user that the helpers themselves log in as, so that a test may restrict every other.
const ADMIN: &str = "testkit";
const ADMIN_PASSWORD: &str = "testkit";
/// A server on a busy machine.
const START: Duration = Duration::from_secs(30);

/// What a restarted server finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data {
    /// Nothing, as after a start without persistence.
    Empty,
    /// What was there when it was stopped, where it was running until then.
    Kept,
}

/// A Redis server of the test's own: a temporary folder, a unix socket, a free loopback port.
///
/// It is stopped and its folder removed when it is dropped.
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
    // Before `folder`: the process ends first.
    process: Option<Process>,
    builder: RedisBuilder,
    folder: tempfile::TempDir,
    port: Option<u16>,
}

impl RedisServer {
    /// Begins the description of a server.
    pub fn builder() -> RedisBuilder {
        RedisBuilder::default()
    }

    /// Starts a server with nothing configured, on a port and a socket.
    ///
    /// # Panics
    ///
    /// When it does not answer within 30 s.
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    async fn launch(builder: RedisBuilder) -> Self {
        let folder = tempfile::Builder::new().prefix("redis").tempdir().expect("a temporary folder can be made");
        let mut server = Self { process: None, builder, folder, port: None };
        // Somebody else may take the free port between its choice and the start.
        for attempt in 1.. {
            server.port = server.builder.tcp.then(process::free_port);
            match server.spawn().await {
                Ok(()) => break,
                Err(log) => assert!(attempt < 5 && log.contains("in use"), "redis-server does not start: {log}"),
            }
        }
        server
    }

    async fn spawn(&mut self) -> Result<(), String> {
        let config = self.builder.config_file(self.folder.path(), self.port);
        let mut process = Process::start(self.folder.path(), &config);
        let mut ended = None;
        wait_until(START, async || {
            ended = process.ended();
            ended.is_some() || self.ready().await
        })
        .await;
        if let Some(status) = ended {
            return Err(format!("{status}: {}", process::read_log(self.folder.path())));
        }
        self.process = Some(process);
        Ok(())
    }

    async fn ready(&self) -> bool {
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
    /// For a server without a port.
    pub fn url(&self) -> String {
        format!("redis://{}", self.addr())
    }

    /// Returns `redis://<user>:<password>@127.0.0.1:<port>`; an empty user is the default one.
    ///
    /// # Panics
    ///
    /// For a server without a port.
    pub fn url_as(&self, user: &str, password: &str) -> String {
        format!("redis://{user}:{password}@{}", self.addr())
    }

    /// Returns `redis+unix:///path/to.sock`.
    pub fn unix_url(&self) -> String {
        format!("redis+unix://{}", self.socket().display())
    }

    /// Returns the loopback address.
    ///
    /// # Panics
    ///
    /// For a server without a port.
    pub fn addr(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port.expect("this server has no port; do not ask for unix_only")))
    }

    /// Returns the path of the unix socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    /// Returns the folder that holds configuration, log and data.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the process id, for what these helpers do not have.
    ///
    /// # Panics
    ///
    /// For a server that was killed.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("the server is not running").pid()
    }

    /// Runs a command through `redis-cli`, as a user with every right, and returns what it prints, without
    /// the last line's end.
    ///
    /// An error reply is returned as its text (`WRONGTYPE …`), an unreachable server as an empty text.
    ///
    /// # Panics
    ///
    /// When `redis-cli` is not installed.
    pub async fn cli(&self, args: &[&str]) -> String {
        let output = tokio::process::Command::new("redis-cli")
            .arg("-s")
            .arg(self.socket())
            .args(["--user", ADMIN, "--pass", ADMIN_PASSWORD, "--no-auth-warning"])
            .args(args)
            .kill_on_drop(true)
            .output()
            .await
            .expect("redis-cli can be run; install redis-tools");
        String::from_utf8_lossy(&output.stdout).trim_end_matches('\n').to_owned()
    }

    /// Opens a client, as a user with every right, for tests that send raw commands.
    ///
    /// # Panics
    ///
    /// When the path of the socket is not UTF-8.
    pub fn client(&self) -> redis::Client {
        let path = self.socket();
        let path = path.to_str().expect("temporary folders have plain names");
        redis::Client::open(format!("redis+unix://{path}?user={ADMIN}&pass={ADMIN_PASSWORD}"))
            .expect("the URL of the server's own socket is good")
    }

    /// Kills the server with SIGKILL and waits until it is gone.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Kills the server, if it still runs, and starts it again on the same port and socket.
    ///
    /// # Panics
    ///
    /// When it does not answer within 30 s.
    pub async fn restart(&mut self, data: Data) {
        if data == Data::Kept && self.process.is_some() {
            assert_eq!(self.cli(&["SAVE"]).await, "OK", "the server cannot save its data");
        }
        self.kill();
        if data == Data::Empty {
            // Absent where nothing was saved.
            let _ = std::fs::remove_file(self.folder.path().join("dump.rdb"));
        }
        self.spawn().await.unwrap_or_else(|log| panic!("redis-server does not start again: {log}"));
    }

    /// Stops the process as it is (SIGSTOP): connections stay open and nothing answers.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// Lets a paused process go on (SIGCONT).
    pub fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        self.process.as_ref().expect("the server is not running").signal(name);
    }
}
