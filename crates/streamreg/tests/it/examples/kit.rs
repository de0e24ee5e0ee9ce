//! Starts examples, and a server for them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;
use tempfile::TempDir;
use testkit::free_port;

use crate::cli::{Running, Server, outcome, until, write_private};

/// The token for reads.
pub(super) const READ: &str = "read-s3cret";
/// The token for writes.
pub(super) const WRITE: &str = "write-s3cret";

/// The languages of the examples.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Language {
    Curl,
    Python,
    JavaScript,
    Go,
}

/// Returns the path of an example.
fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../contrib/examples").join(name)
}

impl Language {
    /// Starts the example with this name. Its standard output goes to standard error.
    pub(super) fn start(self, name: &str, args: &[&str], address: &str, token: &str) -> Running {
        let mut command = Command::new("sh");
        command.args(["-c", "exec \"$@\" >&2", "sh"]);
        match self {
            Self::Curl => command.arg("bash").arg(source(&format!("{name}.sh"))),
            Self::Python => command.arg("python3").arg(source(&format!("{name}.py"))),
            Self::JavaScript => command.arg("node").arg(source(&format!("{name}.mjs"))),
            Self::Go => command.arg(go_programs().join(name)),
        };
        command.args(args).env("STREAMREG_URL", format!("http://{address}")).env("STREAMREG_TOKEN", token);
        Running::spawn(&mut command)
    }
}

/// Returns the folder of the compiled Go examples. Compiles them first, once per test process.
fn go_programs() -> &'static Path {
    static PROGRAMS: OnceLock<PathBuf> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("go");
        let temporary = folder.join("tmp");
        std::fs::create_dir_all(&temporary).unwrap();
        for name in ["publisher", "follower"] {
            let mut go = Command::new("go");
            go.args(["build", "-o"]).arg(folder.join(name)).arg(source(&format!("{name}.go")));
            // The cache makes later runs fast. Without a proxy, Go can use only its standard library.
            go.env("GOCACHE", folder.join("cache")).env("GOPATH", folder.join("path")).env("GOTMPDIR", &temporary);
            go.env("GOPROXY", "off").env("GOFLAGS", "");
            let (status, _, stderr) = outcome(go.output().unwrap());
            assert_eq!((status, stderr.as_str()), (Some(0), ""), "{name}.go");
        }
        folder
    })
}

/// A server with a memory store, a token for reads and a token for writes.
pub(super) struct Registry {
    server: Option<Server>,
    pub(super) address: String,
    ttl: &'static str,
    tokens: TempDir,
}

impl Registry {
    /// Starts a server whose streams live for this time without heartbeats.
    pub(super) fn start(ttl: &'static str) -> Self {
        let tokens = tempfile::tempdir().unwrap();
        for token in [READ, WRITE] {
            write_private(&tokens.path().join(token), token);
        }
        let mut registry = Self { server: None, address: format!("127.0.0.1:{}", free_port()), ttl, tokens };
        registry.restart();
        registry
    }

    /// Kills the server, if it runs, and starts it again with an empty store.
    pub(super) fn restart(&mut self) {
        self.server = None;
        let (write, read) = (self.token_file(WRITE), self.token_file(READ));
        let args = ["--ttl", self.ttl, "--token-file", &write, "--read-token-file", &read];
        self.server = Some(Server::start_at(&self.address, &args));
    }

    fn token_file(&self, name: &str) -> String {
        self.tokens.path().join(name).to_str().unwrap().to_owned()
    }

    /// Runs `streamreg` with a token for writes. Returns standard output if it succeeds.
    pub(super) fn run(&self, args: &[&str]) -> Option<String> {
        let token = self.token_file(WRITE);
        let (status, stdout, _) = self.server.as_ref().unwrap().run(&[args, &["--token-file", &token]].concat());
        (status == Some(0)).then_some(stdout)
    }

    /// Registers a stream, or takes it over.
    pub(super) fn register(&self, id: &str, source: &str) {
        let args = ["--id", id, "--type", "srt", "--source", source, "--on-conflict", "take-over"];
        assert!(self.run(&[&["register"], &args[..]].concat()).is_some(), "cannot register {id}");
    }

    /// Waits until the record of a stream meets a condition, and returns it.
    pub(super) fn record(&self, id: &str, description: &str, is_met: impl Fn(&Value) -> bool) -> Value {
        let mut found = Value::Null;
        until(description, || {
            let json = self.run(&["get", id, "--output", "json"]);
            found = json.map_or(Value::Null, |json| serde_json::from_str(&json).unwrap());
            !found.is_null() && is_met(&found)
        });
        found
    }
}
