//! Runs `examples/node.rs` as a user would, with the in-memory store.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic fails the test")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, SystemTime};

const DEADLINE: Duration = Duration::from_secs(20);

/// The running example. Dropping this value kills the process.
struct Node {
    child: Child,
    lines: Receiver<String>,
}

impl Node {
    fn start() -> Self {
        let mut child = Command::new(example()).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, lines }
    }

    fn line(&self) -> String {
        self.lines.recv_timeout(DEADLINE).expect("the example prints another line")
    }

    fn interrupt(&self) {
        let kill = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().unwrap();
        assert!(kill.success());
    }

    fn exit_status(&mut self) -> ExitStatus {
        // Standard output closes when the process exits.
        assert_eq!(self.lines.recv_timeout(DEADLINE), Err(RecvTimeoutError::Disconnected));
        self.child.wait().unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the path of the built example. Builds the example if it is missing or older than its sources, because the
/// command `cargo test --test node` does not build examples.
fn example() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.ancestors().nth(2).unwrap();
    let path = profile.join("examples/node");
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = newest(&package.join("src")).max(newest(&package.join("examples")));
    if fs::metadata(&path).and_then(|example| example.modified()).is_ok_and(|built| built >= sources) {
        return path;
    }
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--example", "node"]).current_dir(package);
    if profile.ends_with("release") {
        build.arg("--release");
    }
    assert!(build.status().unwrap().success(), "{build:?} failed");
    path
}

/// Returns the modification time of the newest file in a folder.
fn newest(folder: &Path) -> SystemTime {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    let times = entries.map(|entry| match entry.metadata().unwrap() {
        metadata if metadata.is_dir() => newest(&entry.path()),
        metadata => metadata.modified().unwrap(),
    });
    times.max().unwrap()
}

#[test]
fn example_node_reports_statistics_and_unregisters_on_ctrl_c() {
    let mut node = Node::start();
    assert_eq!(node.line(), "cam1: registered in memory:");
    assert_eq!(node.line(), "cam1: 125020 bytes received");
    // After its second report, the example has certainly installed its signal handler.
    assert_eq!(node.line(), "cam1: 250040 bytes received");
    node.interrupt();
    // A slow machine may print another report before it handles the signal.
    let last = std::iter::repeat_with(|| node.line()).find(|line| !line.ends_with("received")).unwrap();
    assert!(last.starts_with("cam1: ended after ") && last.ends_with(" bytes: node stopped"), "{last}");
    assert!(node.exit_status().success());
}
