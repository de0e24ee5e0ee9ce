//! Runs `register --hold` and `run` below another process, and ends that process. Also runs `run` as process 1.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::process::{Command, Stdio};
use std::time::Duration;

use stream_registry::Registry;

use crate::cli::{Running, program};
use crate::http::kit::{id, within};
use crate::served::{CAM, Served, ended};

impl Served {
    /// Starts the program as a child of a shell, and waits for a line. The shell prints the process id of the program
    /// and waits.
    fn below_a_shell(&self, command: &str, args: &[&str], line: &str) -> (Running, String) {
        let script = "\"$@\" & echo \"program $!\" >&2; wait";
        let mut shell = Command::new("sh");
        shell.args(["-c", script, "sh", env!("CARGO_BIN_EXE_streamreg"), command, "--store", &self.url()]);
        let shell = Running::spawn(shell.args(CAM).args(args).stdin(Stdio::null()));
        let program = shell.line_with("program ").trim_start_matches("program ").to_owned();
        shell.line_with(line);
        (shell, program)
    }

    /// Waits until the stream has been unregistered. Returns its id and the end reason.
    async fn unregistered(&self) -> Vec<(String, String)> {
        within(async {
            while self.ends().is_empty() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        self.is_gone().await;
        self.ends()
    }

    /// Waits until the holder has sent heartbeats for longer than two checks of its parent.
    async fn outlives_two_checks(&self) {
        let first = self.registry.inner.get(&id("cam1")).await.unwrap().last_heartbeat.as_unix_nanos();
        within(async {
            while self.registry.inner.get(&id("cam1")).await.unwrap().last_heartbeat.as_unix_nanos()
                < first + 1_500_000_000
            {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await;
    }
}

fn send_signal(signal: &str, process: &str) {
    assert!(Command::new("kill").args(["-s", signal, process]).status().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn register_hold_unregisters_when_its_parent_is_killed() {
    let served = Served::start().await;
    let (mut shell, _) = served.below_a_shell("register", &["--hold"], "is held");
    shell.signal("KILL");
    assert_eq!(shell.ended(), None);
    assert_eq!(served.unregistered().await, ended("the parent process ended"));
}

#[tokio::test(flavor = "multi_thread")]
async fn run_stops_its_command_and_unregisters_when_its_parent_is_killed() {
    let served = Served::start().await;
    let script = "trap 'echo stopped >&2; exit 3' TERM; echo ready >&2; while :; do sleep 0.05; done";
    let (mut shell, _) = served.below_a_shell("run", &["--", "sh", "-c", script], "ready");
    shell.signal("KILL");
    shell.line_with("stopped");
    assert_eq!(shell.ended(), None);
    assert_eq!(served.unregistered().await, ended("the parent process ended"));
}

#[tokio::test(flavor = "multi_thread")]
async fn holder_outlives_its_parent_when_the_parent_check_is_off() {
    for (command, args) in [
        ("register", &["--hold", "--no-parent-check"][..]),
        ("run", &["--no-parent-check", "--", "sh", "-c", "while :; do sleep 0.05; done"]),
    ] {
        let served = Served::start().await;
        let (mut shell, program) = served.below_a_shell(command, args, "is held");
        shell.signal("KILL");
        assert_eq!(shell.ended(), None);
        served.outlives_two_checks().await;
        send_signal("TERM", &program);
        served.unregistered().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn holder_continues_when_only_the_thread_that_started_it_ends() {
    let served = Served::start().await;
    let url = served.url();
    let start = move || Running::spawn(&mut program(&[&["register", "--hold", "--store", &url], &CAM[..]].concat()));
    let mut holder = std::thread::spawn(start).join().unwrap();
    holder.line_with("is held");
    served.outlives_two_checks().await;
    holder.signal("TERM");
    assert_eq!(holder.ended(), Some(0));
    assert_eq!(served.ends(), ended("stopped by SIGTERM"));
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn run_reaps_orphans_when_it_is_process_1() {
    // `unshare` starts a program as process 1 of a new namespace. Some systems do not allow that.
    let mut unshare = Command::new("unshare");
    unshare.args(["--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    let mut probe = Command::new(unshare.get_program());
    if !probe.args(unshare.get_args()).arg("true").stderr(Stdio::null()).status().is_ok_and(|status| status.success()) {
        println!("skipped: this system does not allow new process namespaces");
        return;
    }
    let served = Served::start().await;
    // The inner shell leaves an orphan that ends soon. The orphan's entry in /proc exists until it is reaped.
    let script = "orphan=$(sh -c 'sleep 0.1 >/dev/null 2>&1 & echo $!'); echo \"$$ left $orphan\" >&2; \
                  for i in $(seq 200); do [ -e /proc/$orphan ] || exit 7; sleep 0.05; done; exit 9";
    unshare.args([env!("CARGO_BIN_EXE_streamreg"), "run", "--store", &served.url()]).args(CAM);
    let mut running = Running::spawn(unshare.args(["--", "sh", "-c", script]).stdin(Stdio::null()));
    running.line_with(" left ");
    assert_eq!(running.ended(), Some(7), "9: the orphan remained a zombie");
    assert_eq!(served.ends(), ended("exit status 7"));
}
