//! Runs tests of this binary as worker processes.

use std::process::{Output, Stdio};

use tokio::process::{Child, Command};

const JOB: &str = "STREAM_REGISTRY_TEST_WORKER";

/// Returns the job of this process if it is a worker process.
pub(crate) fn job() -> Option<String> {
    std::env::var(JOB).ok()
}

/// Starts a test of this binary as a worker process, which is killed when its handle is dropped.
pub(crate) fn start(test: &str, job: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(JOB, job)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

fn all_output(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Waits until a worker has exited successfully and returns its output.
pub(crate) async fn wait(child: Child) -> String {
    let output = child.wait_with_output().await.unwrap();
    let printed = all_output(&output);
    assert!(output.status.success(), "{printed}");
    assert!(printed.contains("1 passed"), "the worker test did not run: {printed}");
    printed
}
