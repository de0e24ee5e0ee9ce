//! Runs `register --hold` and `run` as real processes that hold a stream, and checks why they exit.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::Commands as _;
use stream_registry::{
    ConnectOptions, Guard, MemoryRegistry, OnConflict, RegisterOptions, Registry, Stream, StreamType,
    UnregisterOptions, connect_with,
};
use streamreg::server::ServeOptions;
use testkit::RedisServer;

use crate::cli::{Running, outcome, program, until};
use crate::http::kit::{Server, id, within};
use crate::served::{CAM, Served, ended};

#[tokio::test(flavor = "multi_thread")]
async fn register_hold_keeps_the_stream_alive_until_a_signal() {
    for signal in ["INT", "TERM", "HUP"] {
        let served = Served::start().await;
        let mut holder = served.hold(&CAM);
        holder.line_with("\"cam1\" is held");
        let first = served.registry.inner.get(&id("cam1")).await.unwrap();
        assert!(first.epoch().is_some());
        // The stream is still alive after twice its time to live.
        let now = within(async {
            loop {
                let now = served.registry.inner.get(&id("cam1")).await.unwrap();
                if now.last_heartbeat.as_unix_nanos() - first.created_at.as_unix_nanos() > 2_000_000_000 {
                    return now;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await;
        assert_eq!((now.created_at, now.epoch()), (first.created_at, first.epoch()));
        holder.signal(signal);
        assert_eq!(holder.ended(), Some(0), "{signal}");
        assert_eq!(served.ends(), ended(&format!("stopped by SIG{signal}")));
        served.is_gone().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn register_hold_prints_a_generated_id() {
    let served = Served::start().await;
    let mut command = program(&["register", "--hold", "--type", "srt", "--source", "a:1", "--store", &served.url()]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let registry = served.registry.clone();
    let registered = async {
        loop {
            if let [stream] = &registry.inner.list().await.unwrap()[..] {
                return stream.id.clone();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let generated = within(registered).await;
    let kill = std::process::Command::new("kill").args(["-s", "TERM", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    let (status, stdout, stderr) = outcome(child.wait_with_output().unwrap());
    assert_eq!((status, stdout), (Some(0), format!("{generated}\n")), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn register_hold_unregisters_when_stdout_fails() {
    let (reader, broken_pipe) = std::io::pipe().unwrap();
    drop(reader);
    let full_device = std::fs::File::options().write(true).open("/dev/full").unwrap();
    for (stdout, code) in [(Stdio::from(broken_pipe), 0), (Stdio::from(full_device), 1)] {
        let served = Served::start().await;
        let mut command = program(&[&["register", "--hold", "--store", &served.url()], &CAM[..]].concat());
        let child = command.stdout(stdout).stderr(Stdio::piped()).spawn().unwrap();
        let (status, _, stderr) = outcome(child.wait_with_output().unwrap());
        assert_eq!(status, Some(code), "{stderr}");
        assert_eq!(served.ends(), ended("the id could not be printed"));
        served.is_gone().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[cfg(target_os = "linux")]
async fn register_hold_exits_on_two_signals_when_stdout_is_blocked() {
    let (reader, mut full_pipe) = std::io::pipe().unwrap();
    // The pipe is filled, so that the program blocks when it prints the id.
    std::io::Write::write_all(&mut full_pipe, &[0; 64 * 1024]).unwrap();
    let served = Served::start().await;
    let mut command = program(&[&["register", "--hold", "--store", &served.url()], &CAM[..]].concat());
    let mut child = command.stdout(full_pipe).stderr(Stdio::null()).spawn().unwrap();
    // The stream is still alive after twice its time to live.
    within(async {
        loop {
            let cam = served.registry.inner.get(&id("cam1")).await;
            if cam.is_ok_and(|cam| cam.last_heartbeat.since(cam.created_at) > Duration::from_secs(2)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    let kills = format!("kill -s INT {0}; kill -s TERM {0}", child.id());
    assert!(std::process::Command::new("sh").args(["-c", &kills]).status().unwrap().success());
    until("the program ends", || child.try_wait().unwrap().is_some());
    assert_eq!(child.wait().unwrap().code(), Some(128 + 15), "the second signal ends the program at once");
    drop(reader);
}

#[tokio::test(flavor = "multi_thread")]
#[cfg(target_os = "linux")]
async fn register_hold_unregisters_on_a_signal_when_its_output_is_blocked() {
    for blocked in ["stdout", "stderr"] {
        let (reader, mut full_pipe) = std::io::pipe().unwrap();
        std::io::Write::write_all(&mut full_pipe, &[0; 64 * 1024]).unwrap();
        let served = Served::start().await;
        let mut command = program(&[&["register", "--hold", "--store", &served.url()], &CAM[..]].concat());
        match blocked {
            "stdout" => command.stdout(full_pipe).stderr(Stdio::null()),
            _ => command.stdout(Stdio::null()).stderr(full_pipe),
        };
        let mut child = command.spawn().unwrap();
        drop(command);
        let registered = async {
            while served.registry.inner.get(&id("cam1")).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        within(registered).await;
        let kill = std::process::Command::new("kill").args(["-s", "INT", &child.id().to_string()]).status();
        assert!(kill.unwrap().success());
        until("the program ends", || child.try_wait().unwrap().is_some());
        assert_eq!(served.ends(), ended("stopped by SIGINT"), "{blocked}");
        assert_eq!(child.wait().unwrap().code(), Some(128 + 2), "{blocked}: exit status after one signal");
        served.is_gone().await;
        drop(reader);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn register_hold_reports_a_lost_stream_and_exits_with_4() {
    let served = Served::start().await;
    let mut holder = served.hold(&CAM);
    holder.line_with("is held");
    let theirs = served.take_over().await;
    holder.line_with("\"cam1\" was taken over by 198.51.100.9:9000");
    assert_eq!(holder.ended(), Some(4));
    assert_eq!(served.registry.inner.get(&id("cam1")).await.unwrap(), theirs, "the superseded holder wrote something");

    served.unregister_by_force().await;
    let mut holder = served.hold(&CAM);
    holder.line_with("is held");
    served.unregister_by_force().await;
    holder.line_with("\"cam1\" was unregistered by another client");
    assert_eq!(holder.ended(), Some(4));
    served.is_gone().await;
    assert_eq!(served.ends(), [], "a superseded holder unregistered the stream");
}

#[tokio::test(flavor = "multi_thread")]
async fn register_hold_needs_take_over_for_another_publishers_stream() {
    let served = Served::start().await;
    served.take_over().await;
    let mut holder = served.hold(&CAM);
    holder.line_with("already a live stream of 198.51.100.9:9000");
    assert_eq!(holder.ended(), Some(4));
    let mut holder = served.hold(&[&CAM[..], &["--on-conflict", "take-over"]].concat());
    holder.line_with("is held");
    assert_eq!(served.registry.inner.get(&id("cam1")).await.unwrap().source_addr, "203.0.113.7:40112");
    holder.signal("TERM");
    assert_eq!(holder.ended(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn register_hold_exits_long_before_its_next_heartbeat_when_the_stream_is_lost() {
    // With the default time to live, a holder sends a heartbeat every 10 s.
    let redis = RedisServer::start().await;
    let on_redis = connect_with(&redis.url(), &ConnectOptions::default()).await.unwrap();
    let in_memory: Arc<dyn Registry> = Arc::new(MemoryRegistry::new());
    let server = Server::start(in_memory.clone(), ServeOptions::default()).await;
    for (url, registry) in [(redis.url(), on_redis), (format!("http://{}", server.addr), in_memory)] {
        let start = || {
            let holder = Running::start(&[&["register", "--hold", "--store", &url], &CAM[..]].concat());
            holder.line_with("is held");
            (holder, Instant::now())
        };
        let assert_ends = |(mut holder, lost_at): (Running, Instant), note: &str| {
            holder.line_with(note);
            assert_eq!(holder.ended(), Some(4));
            assert!(lost_at.elapsed() < Duration::from_secs(8), "{url}: noticed after {:?}", lost_at.elapsed());
        };
        let holder = start();
        let options = RegisterOptions::default().on_conflict(OnConflict::TakeOver);
        let other = Stream::new(id("cam1"), StreamType::Srt, "198.51.100.9:9000");
        registry.register_with(&other, &options).await.unwrap();
        assert_ends(holder, "was taken over by 198.51.100.9:9000");
        registry.unregister(&id("cam1")).await.unwrap();
        let holder = start();
        let force = UnregisterOptions::default().guard(Guard::Force);
        registry.unregister_with(&id("cam1"), &force).await.unwrap();
        assert_ends(holder, "was unregistered by another client");
    }
}

/// Holds a stream in a store on this Redis, flushes Redis, and waits until the stream is registered again.
fn assert_recovers(redis: &RedisServer, store: &[&str]) {
    let mut holder = Running::start(&[&["register", "--hold"], store, &CAM[..]].concat());
    holder.line_with("is held");
    let mut raw = redis.client().get_connection().unwrap();
    let record = |json: &str| -> serde_json::Value { serde_json::from_str(json).unwrap() };
    let first = record(&raw.get::<_, String>("mirror:streams:cam1").unwrap());
    let () = redis::cmd("FLUSHALL").query(&mut raw).unwrap();
    until("the stream is registered again", || raw.exists("mirror:streams:cam1").unwrap());
    let now = record(&raw.get::<_, String>("mirror:streams:cam1").unwrap());
    for field in ["created_at", "epoch", "source_addr"] {
        assert_eq!(now[field], first[field]);
    }
    holder.signal("TERM");
    assert_eq!(holder.ended(), Some(0));
    assert!(!raw.exists::<_, bool>("mirror:streams:cam1").unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn register_hold_recovers_its_stream_when_redis_has_lost_it() {
    let redis = RedisServer::start().await;
    tokio::task::spawn_blocking(move || assert_recovers(&redis, &["--ttl", "2s", "--store", &redis.url()]))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn register_hold_recovers_its_stream_through_a_server_on_flushed_redis() {
    let redis = RedisServer::start().await;
    let options = ConnectOptions::default().ttl(Duration::from_secs(2));
    let registry = connect_with(&redis.url(), &options).await.unwrap();
    let server = Server::start(registry, ServeOptions::default()).await;
    let url = format!("http://{}", server.addr);
    tokio::task::spawn_blocking(move || assert_recovers(&redis, &["--store", &url])).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn run_unregisters_with_its_commands_exit_status_as_the_reason() {
    for (script, code, reason) in [
        ("exit 0", 0, "exit status 0"),
        ("exit 3", 3, "exit status 3"),
        ("exit 255", 255, "exit status 255"),
        ("kill -s KILL $$", 137, "killed by signal 9"),
        ("kill -s TERM $$", 143, "killed by signal 15"),
    ] {
        let served = Served::start().await;
        let mut running = served.run(&[], script);
        assert_eq!(running.ended(), Some(code), "{script}");
        assert_eq!(served.ends(), ended(reason), "{script}");
        served.is_gone().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn run_passes_the_id_and_the_standard_streams_to_its_command() {
    let served = Served::start().await;
    let url = served.url();
    let base = ["run", "--store", &url, "--type", "srt", "--source", "a:1", "--", "sh", "-c"];
    let mut command = program(&[&base[..], &["echo \"id $STREAMREG_ID\"; cat; echo message >&2"]].concat());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"input\n").unwrap();
    let (status, stdout, stderr) = outcome(child.wait_with_output().unwrap());
    assert_eq!(status, Some(0), "{stderr}");
    let [(ended, _)] = &served.ends()[..] else { panic!("{:?}", served.ends()) };
    assert_eq!(stdout, format!("id {ended}\ninput\n"));
    assert!(stderr.lines().any(|line| line == "message") && stderr.contains("is held while"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_ignored_at_start_stay_ignored() {
    let served = Served::start().await;
    let nohup = |line: &str| {
        let line = format!("trap '' HUP INT; exec {} {line}", env!("CARGO_BIN_EXE_streamreg"));
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", &line]).stdin(Stdio::null());
        Running::spawn(&mut shell)
    };
    let script = "trap 'exit 7' TERM; echo ready >&2; while :; do sleep 0.05; done";
    let mut running = nohup(&format!("run --store {} {} -- sh -c \"{script}\"", served.url(), CAM.join(" ")));
    running.line_with("ready");
    running.signal("HUP");
    running.signal("INT");
    running.signal("TERM");
    assert_eq!(running.ended(), Some(7));
    let mut holder = nohup(&format!("register --hold --store {} {}", served.url(), CAM.join(" ")));
    holder.line_with("is held");
    holder.signal("HUP");
    // A shell script ignores SIGINT for its background jobs. `--hold` therefore handles SIGINT even if the signal was
    // ignored at the start.
    holder.signal("INT");
    assert_eq!(holder.ended(), Some(0));
    assert_eq!(served.ends(), [ended("exit status 7"), ended("stopped by SIGINT")].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn run_stops_its_command_when_the_stream_is_lost() {
    // First case: the command exits by itself after SIGTERM.
    let served = Served::start().await;
    let script = "trap 'echo bye >&2; exit 0' TERM; echo ready >&2; while :; do sleep 0.05; done";
    let mut running = served.run(&[], script);
    running.line_with("ready");
    let theirs = served.take_over().await;
    running.line_with("\"cam1\" was taken over by 198.51.100.9:9000");
    running.line_with("bye");
    assert_eq!(running.ended(), Some(4));
    assert_eq!(served.registry.inner.get(&id("cam1")).await.unwrap(), theirs);
    assert_eq!(served.ends(), []);

    // Second case: the command ignores SIGTERM and is killed.
    served.unregister_by_force().await;
    let script = "trap '' TERM; echo \"process $$\" >&2; while :; do sleep 0.05; done";
    let mut running = served.run(&["--grace", "200ms"], script);
    let line = running.line_with("process ");
    let process = line.trim_start_matches("process ").to_owned();
    served.unregister_by_force().await;
    running.line_with("was unregistered by another client");
    assert_eq!(running.ended(), Some(4));
    let alive = std::process::Command::new("kill").args(["-0", &process]).stderr(Stdio::null()).status();
    assert!(!alive.unwrap().success(), "the command still runs");
}

#[tokio::test(flavor = "multi_thread")]
async fn run_leaves_no_stream_when_its_command_cannot_be_started() {
    let served = Served::start().await;
    let folder = tempfile::tempdir().unwrap();
    let plain = folder.path().join("plain");
    std::fs::write(&plain, "not a program").unwrap();
    for (command, code) in [("/no/such/program", 127), (plain.to_str().unwrap(), 126)] {
        let url = served.url();
        let mut running = Running::start(&[&["run", "--store", &url], &CAM[..], &["--", command]].concat());
        running.line_with(command);
        assert_eq!(running.ended(), Some(code));
        served.is_gone().await;
    }
    let reason = "the command could not be started";
    assert_eq!(served.ends(), [ended(reason), ended(reason)].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn run_does_not_start_its_command_when_the_stream_is_rejected() {
    let served = Served::start().await;
    let folder = tempfile::tempdir().unwrap();
    let touched = folder.path().join("touched");
    let script = format!("touch {}", touched.display());
    served.take_over().await;
    let mut running = served.run(&[], &script);
    running.line_with("already a live stream");
    assert_eq!(running.ended(), Some(4));
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{unused}");
    let mut running = Running::start(&[&["run", "--store", &url], &CAM[..], &["--", "sh", "-c", &script]].concat());
    running.line_with("streamreg serve");
    assert_eq!(running.ended(), Some(5));
    assert!(!touched.exists(), "the command was started");
}

#[tokio::test(flavor = "multi_thread")]
async fn run_keeps_a_failed_commands_status_when_the_store_is_unreachable() {
    for (code, expected) in [(0, 5), (3, 3)] {
        let mut served = Served::start().await;
        let script = format!("trap 'exit {code}' TERM; echo ready >&2; while :; do sleep 0.05; done");
        let mut running = served.run(&[], &script);
        running.line_with("ready");
        served.server.begin_stop();
        served.server.stopped().await;
        running.signal("TERM");
        running.line_with("no server is running");
        assert_eq!(running.ended(), Some(expected));
    }
}
