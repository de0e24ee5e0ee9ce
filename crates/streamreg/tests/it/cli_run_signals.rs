//! `run` and the signals that reach it: before its command, beside it and after it.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use stream_registry::{Registry as _, StreamStatus};

use crate::cli::{Running, until};
use crate::cli_leases::{CAM, Served, ended};
use crate::http::kit::{id, within};

#[tokio::test(flavor = "multi_thread")]
async fn signals_are_passed_on_to_the_command() {
    for (signal, code) in [("TERM", 7), ("INT", 8), ("HUP", 9), ("USR1", 10)] {
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
async fn each_ctrl_c_at_a_terminal_reaches_the_command_once() {
    // What the command reads has no say in it.
    for stdin in ["", "</dev/null"] {
        let served = Served::start().await;
        let folder = tempfile::tempdir().unwrap();
        let [script, parent, got] = ["script", "parent", "got"].map(|name| folder.path().join(name));
        let text = format!(
            "trap 'echo INT >>{got}' INT; trap 'echo USR1 >>{got}' USR1; trap 'exit 5' TERM; echo $PPID >{parent}.new; \
             mv {parent}.new {parent}; while :; do sleep 0.05; done",
            got = got.display(),
            parent = parent.display()
        );
        std::fs::write(&script, text).unwrap();
        let program = env!("CARGO_BIN_EXE_streamreg");
        let (url, cam) = (served.url(), CAM.join(" "));
        let line = format!("exec {program} run --store {url} {cam} -- sh {} {stdin}", script.display());
        let (keys, mut keyboard) = std::io::pipe().unwrap();
        let mut command = std::process::Command::new("env");
        command.args(["--default-signal=INT", "script", "--quiet", "--return", "--command", &line, "/dev/null"]);
        let mut terminal = Running::spawn(command.env("SHELL", "/bin/sh").stdin(keys));
        until("the command runs", || parent.exists());
        let parent = std::fs::read_to_string(parent).unwrap();
        let signal = |name: &str| {
            let kill = std::process::Command::new("kill").args(["-s", name, parent.trim()]).status();
            assert!(kill.unwrap().success());
        };
        let count = |name: &str| std::fs::read_to_string(&got).unwrap_or_default().matches(name).count();
        for nth in 1..=3 {
            std::io::Write::write_all(&mut keyboard, b"\x03").unwrap();
            until("the command is told", || count("INT") >= nth);
            // What is passed on after it: one too many would have come before.
            signal("USR1");
            until("the command is told of the next", || count("USR1") == nth);
        }
        assert_eq!(std::fs::read_to_string(&got).unwrap(), "INT\nUSR1\n".repeat(3), "{stdin}");
        signal("TERM");
        assert_eq!(terminal.ended(), Some(5));
        assert_eq!(served.ends(), ended("exit status 5"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_are_passed_on_to_a_command_that_is_being_stopped() {
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
async fn a_signal_during_the_registration_leaves_no_stream_and_starts_no_command() {
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
async fn a_second_signal_ends_a_run_whose_store_does_not_answer() {
    // During the registration …
    let served = Served::start().await;
    served.registry.set_blocked(true);
    let mut running = served.run(&[], "echo started >&2");
    within(served.registry.entered.notified()).await;
    running.signal("INT");
    running.line_with("waiting for the store");
    running.signal("TERM");
    running.line_with("the store was not waited for");
    assert_eq!(running.ended(), Some(128 + 2));

    // … and when the command has ended, whose status counts where it failed.
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
        running.line_with("the stream stays until its time to live is over");
        assert_eq!(running.ended(), Some(expected));
        assert_eq!(served.ends(), []);
    }
}
