//! The registry that a bridge writes to, and HTTP requests to it and to other servers.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;
use testkit::free_port;

use super::process::{Process, until};
use crate::cli::program;

/// Sends bytes to a server, and returns its answer. Returns `None` if the server does not answer.
pub(super) fn exchange(address: &str, request: &[u8]) -> Option<String> {
    let mut socket = TcpStream::connect(address).ok()?;
    socket.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
    socket.write_all(request).ok()?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).ok()?;
    Some(String::from_utf8_lossy(&answer).into_owned())
}

/// Gets a page. Returns the body if the status is 200.
pub(super) fn get(address: &str, path: &str) -> Option<String> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let answer = exchange(address, request.as_bytes())?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.starts_with("HTTP/1.1 200").then(|| body.to_owned())
}

/// A registry in memory, served by `streamreg serve`.
pub(super) struct Store {
    process: Option<Process>,
    address: String,
    args: Vec<String>,
}

impl Store {
    pub(super) fn start() -> Self {
        Self::with(&[])
    }

    pub(super) fn with(args: &[&str]) -> Self {
        let mut store = Self::stopped(args);
        store.restart();
        store
    }

    /// A registry that is not started yet.
    pub(super) fn stopped(args: &[&str]) -> Self {
        let address = format!("127.0.0.1:{}", free_port());
        Self { process: None, address, args: args.iter().map(|arg| (*arg).to_owned()).collect() }
    }

    pub(super) fn kill(&mut self) {
        self.process.take().unwrap().kill();
    }

    /// Starts the registry again, with no streams.
    pub(super) fn restart(&mut self) {
        self.process = Some(Process::start(program(&["serve", "--listen", &self.address]).args(&self.args)));
        until("the registry answers", || get(&self.address, "/readyz").is_some());
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn json(&self, path: &str) -> Value {
        let body = get(&self.address, path).unwrap_or_else(|| panic!("no answer to {path}"));
        serde_json::from_str(&body).unwrap()
    }

    /// Returns the live streams in the order of their ids.
    pub(super) fn streams(&self) -> Vec<Value> {
        self.json("/api/v1/streams?limit=1000")["streams"].as_array().unwrap().clone()
    }

    pub(super) fn ids(&self) -> Vec<String> {
        self.streams().iter().map(|stream| stream["id"].as_str().unwrap().to_owned()).collect()
    }

    /// Returns a live stream, or `Null`.
    pub(super) fn stream(&self, id: &str) -> Value {
        self.streams().into_iter().find(|stream| stream["id"] == id).unwrap_or_default()
    }

    /// Returns the last record of a stream that has ended.
    pub(super) fn ended(&self, id: &str) -> Value {
        let ended = self.json("/api/v1/history");
        let events = ended.as_object().unwrap().values().find_map(Value::as_array).unwrap();
        let record = |event: &Value| if event["stream"].is_object() { event["stream"].clone() } else { event.clone() };
        events.iter().map(record).find(|stream| stream["id"] == id).unwrap_or_default()
    }

    /// Waits until a stream meets a condition, and returns the stream.
    #[track_caller]
    pub(super) fn wait(&self, id: &str, description: &str, mut is_met: impl FnMut(&Value) -> bool) -> Value {
        let mut stream = Value::Null;
        let deadline = std::time::Instant::now() + super::process::DEADLINE;
        loop {
            stream.clone_from(&self.stream(id));
            if !stream.is_null() && is_met(&stream) {
                return stream;
            }
            assert!(std::time::Instant::now() < deadline, "{id} is not {description}: {stream:#}");
            std::thread::park_timeout(Duration::from_millis(100));
        }
    }

    #[track_caller]
    pub(super) fn wait_active(&self, id: &str) -> Value {
        self.wait(id, "active", |stream| stream["status"] == "active")
    }

    #[track_caller]
    pub(super) fn wait_gone(&self, id: &str) {
        until(&format!("{id} is gone"), || self.stream(id).is_null());
    }
}
