//! Tests of this binary that run as processes of their own, with a task.

use std::process::{Output, Stdio};

use tokio::process::{Child, Command};

const TOLD: &str = "STREAM_REGISTRY_TEST_WORKER";

/// What this process was told to do, where it is one of those.
pub(crate) fn told() -> Option<String> {
    std::env::var(TOLD).ok()
}

/// Starts a test of this binary as a process; it is killed with its handle.
pub(crate) fn start(test: &str, told: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(TOLD, told)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

fn words(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Waits until a process has ended well, and returns what it said.
pub(crate) async fn ended(child: Child) -> String {
    let output = child.wait_with_output().await.unwrap();
    let said = words(&output);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("1 passed"), "the worker did not run: {said}");
    said
}
