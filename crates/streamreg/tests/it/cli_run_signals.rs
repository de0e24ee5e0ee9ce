//! Tests signals to `run`: before its command starts, while the command runs, and after the command has exited.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::path::Path;

use stream_registry::{Registry as _, StreamStatus};

use crate::cli::{Running, until};
use crate::http::kit::{id, within};
use crate::served::{CAM, Served, ended};

#[tokio::test(flavor = "multi_thread")]
async fn run_forwards_signals_to_its_command() {
    for (signal, code) in [("TERM", 7), ("INT", 8), ("HUP", 9), ("QUIT", 11), ("USR1", 10)] {
        let served = Served::start().await;
        let script = format!("trap 'exit {code}' {signal}; echo ready >&2; while :; do sleep 0.05; done");
        let mut running = served.run(&[], &script);
        running.line_with("ready");
        assert_eq!(served.registry.inner.get(&id("cam1")).await.unwrap().status, StreamStatus::Connecting);
        running.signal(signal);
        assert_eq!(running.ended(), Some(code), "{signal}");
        assert_eq!(served.ends(), ended(&format!("exit status {code}")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn run_forwards_signals_to_the_whole_process_group() {
    let served = Served::start().await;
    let script = "trap 'wait; exit 7' TERM; \
        (trap 'echo grandchild >&2; exit' TERM; echo ready >&2; while :; do sleep 0.05; done) & wait; wait";
    let mut running = served.run(&[], script);
    running.line_with("ready");
    running.signal("TERM");
    running.line_with("grandchild");
    assert_eq!(running.ended(), Some(7));
}

/// Returns the state of a process as a letter, for example `T` for stopped.
#[cfg(target_os = "linux")]
fn state(process: &str) -> String {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").map_or_else(String::new, |(_, rest)| rest[..1].to_owned())
}

#[tokio::test(flavor = "multi_thread")]
#[cfg(target_os = "linux")]
async fn run_suspends_and_resumes_with_its_command() {
    let served = Served::start().await;
    // The shell starts nothing after this line: stopped inside a vfork, its state would be `D` instead of `T`.
    let script = "trap 'exit 7' TERM; sleep 60 & echo \"pids $$ $PPID\" >&2; wait";
    let mut running = served.run(&[], script);
    let line = running.line_with("pids ");
    let processes: Vec<_> = line.split(' ').skip(1).collect();
    running.signal("TSTP");
    until("both processes are stopped", || processes.iter().all(|process| state(process) == "T"));
    running.signal("CONT");
    until("both processes run", || processes.iter().all(|process| state(process) != "T"));
    running.signal("TERM");
    assert_eq!(running.ended(), Some(7));
}

/// Runs a shell command line on a new terminal. Returns the terminal's process, and a pipe that acts as its keyboard.
fn at_terminal(line: &str) -> (Running, std::io::PipeWriter) {
    let (keys, keyboard) = std::io::pipe().unwrap();
    let mut command = std::process::Command::new("env");
    command.args(["--default-signal=INT", "script", "--quiet", "--return", "--command", line, "/dev/null"]);
    (Running::spawn(command.env("SHELL", "/bin/sh").stdin(keys)), keyboard)
}

/// Returns a shell command line that runs a script under `streamreg run`.
fn run_script(served: &Served, script: &Path, redirection: &str) -> String {
    let program = env!("CARGO_BIN_EXE_streamreg");
    format!("exec {program} run --store {} {} -- sh {} {redirection}", served.url(), CAM.join(" "), script.display())
}

#[tokio::test(flavor = "multi_thread")]
async fn command_receives_each_ctrl_c_at_a_terminal_once() {
    // The result must not depend on the command's standard input.
    for redirection in ["", "</dev/null"] {
        let served = Served::start().await;
        let folder = tempfile::tempdir().unwrap();
        let [script, parent, received] = ["script", "parent", "received"].map(|name| folder.path().join(name));
        let text = format!(
            "trap 'echo INT >>{received}' INT; trap 'echo USR1 >>{received}' USR1; trap 'exit 5' TERM; \
             echo $PPID >{parent}.new; mv {parent}.new {parent}; while :; do sleep 0.05; done",
            received = received.display(),
            parent = parent.display()
        );
        std::fs::write(&script, text).unwrap();
        let (mut terminal, mut keyboard) = at_terminal(&run_script(&served, &script, redirection));
        until("the command runs", || parent.exists());
        let parent = std::fs::read_to_string(parent).unwrap();
        let signal = |name: &str| {
            let kill = std::process::Command::new("kill").args(["-s", name, parent.trim()]).status();
            assert!(kill.unwrap().success());
        };
        let count = |name: &str| std::fs::read_to_string(&received).unwrap_or_default().matches(name).count();
        for nth in 1..=3 {
            std::io::Write::write_all(&mut keyboard, b"\x03").unwrap();
            until("the command receives Ctrl-C", || count("INT") >= nth);
            // A duplicate SIGINT would arrive before SIGUSR1, which is sent later.
            signal("USR1");
            until("the command receives the later signal", || count("USR1") == nth);
        }
        assert_eq!(std::fs::read_to_string(&received).unwrap(), "INT\nUSR1\n".repeat(3), "{redirection}");
        signal("TERM");
        assert_eq!(terminal.ended(), Some(5));
        assert_eq!(served.ends(), ended("exit status 5"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn command_reads_end_of_file_when_stdin_is_a_terminal() {
    let served = Served::start().await;
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script");
    std::fs::write(&script, "read -r line; exit $((7 + $?))").unwrap();
    let (mut terminal, _keyboard) = at_terminal(&run_script(&served, &script, ""));
    assert_eq!(terminal.ended(), Some(8), "the command was stopped or has read a line");
    assert_eq!(served.ends(), ended("exit status 8"));
}

#[tokio::test(flavor = "multi_thread")]
async fn run_forwards_signals_to_a_command_that_is_being_stopped() {
    let script = "trap 'echo term >&2' TERM; trap 'echo usr1 >&2' USR1; trap 'echo bye >&2; exit 0' INT; \
        echo ready >&2; while :; do sleep 0.05; done";
    for (signals, last) in [(["USR1", "INT"], "bye"), (["TERM", "TERM"], "")] {
        let served = Served::start().await;
        let mut running = served.run(&["--grace", "10m"], script);
        running.line_with("ready");
        served.take_over().await;
        running.line_with("was taken over");
        running.line_with("term");
        running.signal(signals[0]);
        running.line_with(&signals[0].to_lowercase());
        running.signal(signals[1]);
        if !last.is_empty() {
            running.line_with(last);
        }
        assert_eq!(running.ended(), Some(4), "{signals:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn signal_during_registration_leaves_no_stream_and_starts_no_command() {
    for (signal, number) in [("HUP", 1), ("INT", 2), ("QUIT", 3), ("TERM", 15)] {
        let served = Served::start().await;
        served.registry.set_blocked(true);
        let mut running = served.run(&[], "echo started >&2");
        within(served.registry.entered.notified()).await;
        running.signal(signal);
        running.line_with("waiting for the store");
        served.registry.set_blocked(false);
        assert_eq!(running.ended(), Some(128 + number), "{signal}");
        assert_eq!(served.ends(), ended(&format!("stopped by SIG{signal} before the command was started")));
        served.is_gone().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn second_signal_exits_at_once_when_the_store_is_unresponsive() {
    // First case: the signals arrive during the registration.
    let served = Served::start().await;
    served.registry.set_blocked(true);
    let mut running = served.run(&[], "echo started >&2");
    within(served.registry.entered.notified()).await;
    running.signal("INT");
    running.line_with("waiting for the store");
    running.signal("TERM");
    running.line_with("did not wait for the store");
    assert_eq!(running.ended(), Some(128 + 2));

    // Second part of the test: two signals arrive after the command has exited. The exit status of a failed command
    // takes precedence over the signal.
    for (code, expected) in [(3, 3), (0, 128 + 2)] {
        let served = Served::start().await;
        let script = format!("trap 'exit {code}' TERM; echo ready >&2; while :; do sleep 0.05; done");
        let mut running = served.run(&[], &script);
        running.line_with("ready");
        served.registry.set_blocked(true);
        running.signal("TERM");
        within(served.registry.entered.notified()).await;
        running.signal("INT");
        running.line_with("waiting for the store");
        running.signal("TERM");
        running.line_with("the stream stays until its TTL expires");
        assert_eq!(running.ended(), Some(expected));
        assert_eq!(served.ends(), []);
    }
}
