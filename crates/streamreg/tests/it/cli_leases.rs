//! `register --hold` and `run`: real processes that hold a stream, and what ends them.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::os::unix::process::CommandExt as _;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use redis::Commands as _;
use stream_registry::{
    ConnectOptions, ErrorKind, Guard, OnConflict, RegisterOptions, Registry, Stream, StreamType, UnregisterOptions,
    connect_with,
};
use streamreg::server::ServeOptions;
use testkit::RedisServer;

use crate::cli::{Running, outcome, program, until};
use crate::http::kit::{Gate, Server, id, within};

/// A server whose streams live so shortly that a holder is heard of five times a second.
pub(super) struct Served {
    server: Server,
    pub(super) registry: Arc<Gate>,
}

pub(super) const CAM: [&str; 6] = ["--id", "cam1", "--type", "srt", "--source", "203.0.113.7:40112"];

impl Served {
    pub(super) async fn start() -> Self {
        let registry = Gate::with_ttl(Duration::from_secs(1));
        Self { server: Server::start(registry.clone(), ServeOptions::default()).await, registry }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.server.addr)
    }

    fn hold(&self, args: &[&str]) -> Running {
        Running::start(&[&["register", "--hold", "--store", &self.url()], args].concat())
    }

    /// Runs a line of shell under a stream.
    pub(super) fn run(&self, args: &[&str], script: &str) -> Running {
        let shell = ["--", "sh", "-c", script];
        let mut command = program(&[&["run", "--store", &self.url()], &CAM[..], args, &shell].concat());
        // Whatever terminal the tests run at: they are in the background of it.
        Running::spawn(command.process_group(0))
    }

    pub(super) fn ends(&self) -> Vec<(String, String)> {
        self.registry.ends.lock().unwrap().clone()
    }

    pub(super) async fn is_gone(&self) {
        let answer = self.registry.inner.get(&id("cam1")).await;
        assert_eq!(answer.unwrap_err().kind(), ErrorKind::NotFound);
    }

    /// Another publisher takes the stream; returns its record.
    pub(super) async fn take_over(&self) -> Stream {
        let other = Stream::new(id("cam1"), StreamType::Srt, "198.51.100.9:9000");
        let options = RegisterOptions::default().on_conflict(OnConflict::TakeOver).lease(true);
        self.registry.inner.register_with(&other, &options).await.unwrap().stream
    }

    async fn unregister_by_force(&self) {
        let force = UnregisterOptions::default().guard(Guard::Force);
        self.registry.inner.unregister_with(&id("cam1"), &force).await.unwrap();
    }
}

pub(super) fn ended(reason: &str) -> Vec<(String, String)> {
    vec![("cam1".to_owned(), reason.to_owned())]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_stream_lives_until_a_signal_comes() {
    for signal in ["INT", "TERM", "HUP"] {
        let served = Served::start().await;
        let mut holder = served.hold(&CAM);
        holder.line_with("\"cam1\" is held");
        let first = served.registry.inner.get(&id("cam1")).await.unwrap();
        assert!(first.epoch().is_some());
        // Alive when it would be gone twice over.
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
async fn a_held_stream_may_have_a_generated_id_which_is_printed() {
    let served = Served::start().await;
    let mut command = program(&["register", "--hold", "--type", "srt", "--source", "a:1", "--store", &served.url()]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let registry = served.registry.clone();
    let found = async {
        loop {
            if let [found] = &registry.inner.list().await.unwrap()[..] {
                return found.id.clone();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let generated = within(found).await;
    let kill = std::process::Command::new("kill").args(["-s", "TERM", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    let (status, stdout, stderr) = outcome(child.wait_with_output().unwrap());
    assert_eq!((status, stdout), (Some(0), format!("{generated}\n")), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_whose_standard_output_fails_ends_its_stream() {
    let (reader, gone) = std::io::pipe().unwrap();
    drop(reader);
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    for (stdout, code) in [(Stdio::from(gone), 0), (Stdio::from(full), 1)] {
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
async fn a_holder_whose_output_nobody_takes_keeps_its_stream_and_can_be_stopped() {
    let (reader, mut full) = std::io::pipe().unwrap();
    // What a pipe takes: the id has no place in it any more.
    std::io::Write::write_all(&mut full, &[0; 64 * 1024]).unwrap();
    let served = Served::start().await;
    let mut command = program(&[&["register", "--hold", "--store", &served.url()], &CAM[..]].concat());
    let mut child = command.stdout(full).stderr(Stdio::null()).spawn().unwrap();
    // Alive when it would be gone twice over.
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
    assert_eq!(child.wait().unwrap().code(), Some(128 + 15), "at once, by the second signal");
    drop(reader);
}

#[tokio::test(flavor = "multi_thread")]
#[cfg(target_os = "linux")]
async fn a_holder_whose_output_nobody_takes_ends_its_stream_at_the_first_signal() {
    for blocked in ["stdout", "stderr"] {
        let (reader, mut full) = std::io::pipe().unwrap();
        std::io::Write::write_all(&mut full, &[0; 64 * 1024]).unwrap();
        let served = Served::start().await;
        let mut command = program(&[&["register", "--hold", "--store", &served.url()], &CAM[..]].concat());
        match blocked {
            "stdout" => command.stdout(full).stderr(Stdio::null()),
            _ => command.stdout(Stdio::null()).stderr(full),
        };
        let mut child = command.spawn().unwrap();
        drop(command);
        let there = async {
            while served.registry.inner.get(&id("cam1")).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        within(there).await;
        let kill = std::process::Command::new("kill").args(["-s", "INT", &child.id().to_string()]).status();
        assert!(kill.unwrap().success());
        until("the program ends", || child.try_wait().unwrap().is_some());
        assert_eq!(served.ends(), ended("stopped by SIGINT"), "{blocked}");
        assert_eq!(child.wait().unwrap().code(), Some(128 + 2), "{blocked}: what it had to say was not taken");
        served.is_gone().await;
        drop(reader);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_lost_its_stream_says_so_and_ends_with_4() {
    let served = Served::start().await;
    let mut holder = served.hold(&CAM);
    holder.line_with("is held");
    let theirs = served.take_over().await;
    holder.line_with("\"cam1\" was taken over by 198.51.100.9:9000");
    assert_eq!(holder.ended(), Some(4));
    assert_eq!(served.registry.inner.get(&id("cam1")).await.unwrap(), theirs, "the loser wrote something");

    served.unregister_by_force().await;
    let mut holder = served.hold(&CAM);
    holder.line_with("is held");
    served.unregister_by_force().await;
    holder.line_with("\"cam1\" was unregistered by another client");
    assert_eq!(holder.ended(), Some(4));
    served.is_gone().await;
    assert_eq!(served.ends(), [], "a loser asked for an end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_another_publisher_is_not_held() {
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

/// Holds a stream in a store on this Redis, empties Redis, and sees the stream again.
fn comes_back(redis: &RedisServer, store: &[&str]) {
    let mut holder = Running::start(&[&["register", "--hold"], store, &CAM[..]].concat());
    holder.line_with("is held");
    let mut raw = redis.client().get_connection().unwrap();
    let record = |text: &str| -> serde_json::Value { serde_json::from_str(text).unwrap() };
    let first = record(&raw.get::<_, String>("mirror:streams:cam1").unwrap());
    let () = redis::cmd("FLUSHALL").query(&mut raw).unwrap();
    until("the stream is back", || raw.exists("mirror:streams:cam1").unwrap());
    let now = record(&raw.get::<_, String>("mirror:streams:cam1").unwrap());
    for field in ["created_at", "epoch", "source_addr"] {
        assert_eq!(now[field], first[field]);
    }
    holder.signal("TERM");
    assert_eq!(holder.ended(), Some(0));
    assert!(!raw.exists::<_, bool>("mirror:streams:cam1").unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_stream_comes_back_when_redis_has_lost_it() {
    let redis = RedisServer::start().await;
    tokio::task::spawn_blocking(move || comes_back(&redis, &["--ttl", "2s", "--store", &redis.url()])).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_stream_comes_back_through_a_server_whose_redis_has_lost_it() {
    let redis = RedisServer::start().await;
    let options = ConnectOptions::default().ttl(Duration::from_secs(2));
    let registry = connect_with(&redis.url(), &options).await.unwrap();
    let server = Server::start(registry, ServeOptions::default()).await;
    let url = format!("http://{}", server.addr);
    tokio::task::spawn_blocking(move || comes_back(&redis, &["--store", &url])).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_its_command() {
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
async fn a_command_has_its_streams_id_and_the_standard_streams() {
    let served = Served::start().await;
    let url = served.url();
    let base = ["run", "--store", &url, "--type", "srt", "--source", "a:1", "--", "sh", "-c"];
    let mut command = program(&[&base[..], &["echo \"id $STREAMREG_ID\"; cat; echo told >&2"]].concat());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"given\n").unwrap();
    let (status, stdout, stderr) = outcome(child.wait_with_output().unwrap());
    assert_eq!(status, Some(0), "{stderr}");
    let [(ended, _)] = &served.ends()[..] else { panic!("{:?}", served.ends()) };
    assert_eq!(stdout, format!("id {ended}\ngiven\n"));
    assert!(stderr.lines().any(|line| line == "told") && stderr.contains("is held while"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_ignored_from_the_start_stays_so() {
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
    // In the background of a script that is ignored for no reason.
    holder.signal("INT");
    assert_eq!(holder.ended(), Some(0));
    assert_eq!(served.ends(), [ended("exit status 7"), ended("stopped by SIGINT")].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_stopped_when_its_stream_is_lost() {
    // It may end in its own way …
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

    // … and is killed where it does not.
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
async fn a_command_that_cannot_be_started_leaves_no_stream() {
    let served = Served::start().await;
    let folder = tempfile::tempdir().unwrap();
    let plain = folder.path().join("plain");
    std::fs::write(&plain, "no program").unwrap();
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
async fn a_command_whose_stream_is_refused_is_not_started() {
    let served = Served::start().await;
    let folder = tempfile::tempdir().unwrap();
    let touched = folder.path().join("touched");
    let script = format!("touch {}", touched.display());
    served.take_over().await;
    let mut running = served.run(&[], &script);
    running.line_with("already a live stream");
    assert_eq!(running.ended(), Some(4));
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{nobody}");
    let mut running = Running::start(&[&["run", "--store", &url], &CAM[..], &["--", "sh", "-c", &script]].concat());
    running.line_with("streamreg serve");
    assert_eq!(running.ended(), Some(5));
    assert!(!touched.exists(), "the command was started");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_at_the_end_is_told_and_the_commands_status_counts() {
    for (code, expected) in [(0, 5), (3, 3)] {
        let mut served = Served::start().await;
        let script = format!("trap 'exit {code}' TERM; echo ready >&2; while :; do sleep 0.05; done");
        let mut running = served.run(&[], &script);
        running.line_with("ready");
        served.server.begin_stop();
        served.server.stopped().await;
        running.signal("TERM");
        running.line_with("no server answers");
        assert_eq!(running.ended(), Some(expected));
    }
}
