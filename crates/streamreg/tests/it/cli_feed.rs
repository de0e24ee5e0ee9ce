//! Runs `watch`, `wait` and `history` as processes, also across restarts of the server.
#![cfg(unix)]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;

use testkit::{Data, RedisServer};

use crate::cli::{DEADLINE, Server, done, outcome, program, until, write_private};

/// A running command whose output is read line by line. Killed when dropped.
struct Follower {
    child: Child,
    stdout: mpsc::Receiver<String>,
    stderr: mpsc::Receiver<String>,
}

fn lines(from: impl std::io::Read + Send + 'static) -> mpsc::Receiver<String> {
    let (send, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if send.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

impl Follower {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (stdout, stderr) = (lines(child.stdout.take().unwrap()), lines(child.stderr.take().unwrap()));
        Self { child, stdout, stderr }
    }

    /// Starts `watch` and waits until it follows the feed.
    fn watch(server: &Server, args: &[&str]) -> Self {
        let follower = Self::start(server.command(&[&["watch"], args].concat()));
        let note = follower.stderr.recv_timeout(DEADLINE).unwrap();
        assert!(note.starts_with("watching http://"), "{note}");
        follower
    }

    fn line(&self) -> String {
        self.stdout.recv_timeout(DEADLINE).unwrap()
    }

    fn json(&self) -> Value {
        let line = self.line();
        serde_json::from_str(&line).unwrap_or_else(|fault| panic!("{fault}: {line}"))
    }

    fn interrupt(&self) {
        let done = Command::new("kill").args(["-s", "INT", &self.child.id().to_string()]).status().unwrap();
        assert!(done.success());
    }

    fn ended(&mut self) -> Option<i32> {
        let mut status = None;
        until("the command exits", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.and_then(|status| status.code())
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn register(server: &Server, id: &str) {
    assert_eq!(server.run(&["register", "--id", id, "--type", "srt", "--source", "a:1"]), done(&format!("{id}\n")));
}

/// Stops a server and starts another one with an empty store at its address.
fn restart(server: Server) -> Server {
    Server::start_at(&stop(server), &[])
}

/// Stops a server and returns its address.
fn stop(mut server: Server) -> String {
    server.running.signal("TERM");
    assert_eq!(server.running.ended(), Some(0));
    server.url.trim_start_matches("http://").to_owned()
}

#[test]
fn watch_prints_each_change_and_stops_with_ctrl_c() {
    let server = Server::start(&[]);
    register(&server, "before");
    let mut watch = Follower::watch(&server, &[]);
    register(&server, "cam1");
    assert_eq!(server.run(&["heartbeat", "cam1"]), done(""));
    assert_eq!(server.run(&["set", "cam1", "--status", "active"]), done(""));
    assert_eq!(server.run(&["unregister", "cam1", "--reason", "over"]), done(""));
    let events: Vec<_> = (0..3).map(|_| watch.json()).collect();
    let words: Vec<_> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(words, ["registered", "status", "unregistered"]);
    assert_eq!((&events[1]["stream"]["status"], &events[2]["reason"]), (&"active".into(), &"over".into()));
    watch.interrupt();
    assert_eq!(watch.ended(), Some(0));

    let resumed = Follower::watch(&server, &["--from", events[0]["revision"].as_str().unwrap()]);
    assert_eq!([resumed.json(), resumed.json()], events[1..]);
    let all = Follower::watch(&server, &["--from", "oldest", "--output", "table"]);
    assert!(all.line().starts_with("UTC       EVENT         ID"));
    assert!(all.line().contains("registered    before"));
    assert!(all.line().contains("registered    cam1"));
}

#[test]
fn watch_prints_only_events_of_streams_that_match_the_filters() {
    let server = Server::start(&[]);
    let watch = Follower::watch(&server, &["--status", "active", "-l", "site=north"]);
    for (id, site) in [("cam1", "north"), ("cam2", "south")] {
        let label = format!("site={site}");
        let register = ["register", "--id", id, "--type", "srt", "--source", "a:1", "--label", &label];
        assert_eq!(server.run(&register), done(&format!("{id}\n")));
        assert_eq!(server.run(&["set", id, "--status", "active"]), done(""));
        assert_eq!(server.run(&["set", id, "--status", "paused"]), done(""));
        assert_eq!(server.run(&["set", id, "--status", "error"]), done(""));
    }
    assert_eq!(server.run(&["set", "cam1", "--status", "active"]), done(""));
    let printed: Vec<_> = (0..3)
        .map(|_| {
            let event = watch.json();
            [&event["stream"]["id"], &event["stream"]["status"]].map(|text| text.as_str().unwrap().to_owned())
        })
        .collect();
    // The second event is the one by which the stream ceases to match.
    assert_eq!(printed, [["cam1", "active"], ["cam1", "paused"], ["cam1", "active"]]);
}

#[test]
fn watch_shows_local_time_only_if_asked() {
    let server = Server::start(&[]);
    register(&server, "cam1");
    let lines = |args: &[&str]| {
        let mut command = server.command(&[&["watch", "--from", "oldest", "-o", "table"], args].concat());
        let follower = Follower::start({
            command.env("TZ", "<+09>-9");
            command
        });
        [follower.line(), follower.line()]
    };
    let [utc, local] = [lines(&[]), lines(&["--local"])];
    assert!(utc[0].starts_with("UTC  ") && local[0].starts_with("LOCAL  "), "{utc:?} {local:?}");
    let hour = |lines: &[String; 2]| lines[1][..2].parse::<u32>().unwrap();
    assert_eq!((hour(&utc) + 9) % 24, hour(&local));
    assert_eq!(utc[1][2..], local[1][2..]);
}

#[test]
fn list_and_get_follow_changes_with_the_option_watch() {
    let server = Server::start(&[]);
    register(&server, "cam1");
    register(&server, "cam2");
    let mut list = Follower::start(server.command(&["list", "-w", "-o", "json"]));
    let mut get = Follower::start(server.command(&["get", "cam2", "-w"]));
    let table = Follower::start(server.command(&["list", "cam1", "-w", "-o", "table", "--no-headers"]));
    for follower in [&list, &get, &table] {
        assert!(follower.stderr.recv_timeout(DEADLINE).unwrap().starts_with("watching http://"));
    }
    assert_eq!([list.json(), list.json()].map(|stream| stream["id"].clone()), ["cam1", "cam2"]);
    assert_eq!(get.json()["id"], "cam2");
    assert!(table.line().starts_with("cam1  srt "));
    assert_eq!(server.run(&["set", "cam1", "--status", "active"]), done(""));
    assert_eq!(server.run(&["unregister", "cam2"]), done(""));
    let words = |event: Value| (event["event"].clone(), event["stream"]["id"].clone());
    assert_eq!(words(list.json()), ("status".into(), "cam1".into()));
    assert_eq!(words(list.json()), ("unregistered".into(), "cam2".into()));
    assert_eq!(words(get.json()), ("unregistered".into(), "cam2".into()));
    assert!(table.line().contains("  status        cam1 "));
    for follower in [&mut list, &mut get] {
        follower.interrupt();
        assert_eq!(follower.ended(), Some(0));
    }
    let (status, stdout, stderr) = server.run(&["get", "cam2", "-w"]);
    assert_eq!((status, &*stdout), (Some(3), ""), "{stderr}");
}

#[test]
fn watch_prints_resync_when_a_restarted_server_is_empty() {
    let server = Server::start(&[]);
    let watch = Follower::watch(&server, &[]);
    register(&server, "one");
    assert_eq!(watch.json()["stream"]["id"], "one");
    let server = restart(server);
    assert_eq!(watch.json()["event"], "resync");
    register(&server, "two");
    assert_eq!(watch.json()["stream"]["id"], "two");
}

#[test]
fn followers_report_the_beginning_and_the_end_of_an_outage() {
    let server = Server::start(&[]);
    let watch = Follower::watch(&server, &[]);
    let list = Follower::start(server.command(&["list", "-w"]));
    until("the list is followed", || list.stderr.recv_timeout(DEADLINE).unwrap().starts_with("watching"));
    let url = server.url.clone();
    let address = stop(server);
    for follower in [&watch, &list] {
        let lost = follower.stderr.recv_timeout(DEADLINE).unwrap();
        assert!(lost.starts_with("streamreg: store unreachable since "), "{lost}");
        assert!(lost.ends_with("Z: connection refused; retrying"), "{lost}");
    }
    let _server = Server::start_at(&address, &[]);
    for follower in [&watch, &list] {
        let back = follower.stderr.recv_timeout(DEADLINE).unwrap();
        assert_eq!(back, format!("streamreg: the store {url} answers again"));
    }
}

#[test]
fn followers_end_with_a_remedy_when_their_token_is_revoked() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    write_private(path("old").as_ref(), "old");
    write_private(path("new").as_ref(), "new");
    write_private(path("server").as_ref(), "old");
    let server = Server::start(&["--token-file", &path("server"), "--read-token-file", &path("server")]);
    let register = ["register", "--id", "cam1", "--type", "srt", "--source", "a:1", "--token-file", &path("old")];
    assert_eq!(server.run(&register), done("cam1\n"));
    let old = path("old");
    let watch = Follower::watch(&server, &["--exec", "cat", "--token-file", &old]);
    let get = Follower::start(server.command(&["get", "cam1", "-w", "--token-file", &old]));
    assert!(get.stderr.recv_timeout(DEADLINE).unwrap().starts_with("watching"));
    write_private(path("server").as_ref(), "new");
    for mut follower in [watch, get] {
        let rejected = follower.stderr.recv_timeout(DEADLINE).unwrap();
        assert!(rejected.starts_with("streamreg: ") && rejected.contains("token"), "{rejected}");
        assert!(rejected.ends_with("pass the server's token with --token-file"), "{rejected}");
        assert_eq!(follower.ended(), Some(1));
    }
}

#[test]
fn watch_misses_nothing_when_a_server_on_redis_restarts() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let redis = runtime.block_on(RedisServer::start());
    let store = ["--store", &redis.url()];
    let server = Server::start(&store);
    let watch = Follower::watch(&server, &[]);
    register(&server, "up");
    assert_eq!(watch.json()["stream"]["id"], "up");
    let address = stop(server);
    let down = [&["register", "--id", "down", "--type", "srt", "--source", "a:1"], &store[..]].concat();
    assert_eq!(outcome(program(&down).output().unwrap()), done("down\n"));
    let server = Server::start_at(&address, &store);
    assert_eq!(watch.json()["stream"]["id"], "down");
    assert_eq!(server.run(&["unregister", "up", "--reason", "over"]), done(""));
    assert_eq!(watch.json()["event"], "unregistered");
    let (_, history, _) = server.run(&["history"]);
    assert_eq!(history.lines().count(), 1, "{history}");
    assert!(history.contains("\"reason\":\"over\"") && history.contains("\"duration_ms\":"), "{history}");
}

#[test]
fn watch_and_wait_survive_a_restart_of_redis() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut redis = runtime.block_on(RedisServer::start());
    let url = redis.url();
    let on_redis = |args: &[&str]| program(&[args, &["--store", &url]].concat());
    let watch = Follower::start(on_redis(&["watch"]));
    assert!(watch.stderr.recv_timeout(DEADLINE).unwrap().starts_with("watching"));
    let mut wait = Follower::start(on_redis(&["wait", "cam1", "--for", "status=active", "--timeout", "1m"]));
    // A command exits at once if it cannot connect at its start. `watch` and `wait` must therefore follow the feed
    // before the restart.
    until("watch and wait follow the feed", || {
        let clients = runtime.block_on(redis.cli(&["CLIENT", "LIST"]));
        // The flag b marks a client that waits in a blocking command. Each command also reads the feed once without
        // waiting, when it starts.
        clients.lines().filter(|client| client.contains(" flags=b ") && client.contains("cmd=xread")).count() == 2
    });
    let register = ["register", "--id", "cam1", "--type", "srt", "--source", "a:1"];
    assert_eq!(outcome(on_redis(&register).output().unwrap()), done("cam1\n"));
    assert_eq!(watch.json()["event"], "registered");
    runtime.block_on(redis.restart(Data::Empty));
    assert_eq!(watch.json()["event"], "resync");
    let ended = wait.child.try_wait().unwrap();
    assert_eq!(ended, None, "{:?}", wait.stderr.try_iter().collect::<Vec<_>>());
    let register = [&register[..], &["--status", "active"]].concat();
    assert_eq!(outcome(on_redis(&register).output().unwrap()), done("cam1\n"));
    let again = watch.json();
    assert_eq!((&again["event"], &again["stream"]["status"]), (&"registered".into(), &"active".into()));
    assert_eq!(wait.ended(), Some(0));
}

#[test]
fn watch_runs_a_command_for_each_event_in_order() {
    let server = Server::start(&[]);
    let dir = tempfile::tempdir().unwrap();
    // If two commands ran at the same time, their lines would mix.
    let command = r#"read -r line; echo "$STREAMREG_EVENT $STREAMREG_ID $STREAMREG_REVISION"; echo "$line"; test "$STREAMREG_EVENT" != status"#;
    let mut watch = server.command(&["watch", "--exec", command]);
    watch.current_dir(dir.path());
    let mut watch = Follower::start(watch);
    assert!(watch.stderr.recv_timeout(DEADLINE).unwrap().starts_with("watching"));
    for n in 0..10 {
        register(&server, &format!("cam \"{n}\""));
    }
    assert_eq!(server.run(&["set", "cam \"0\"", "--status", "active"]), done(""));
    for n in 0..11 {
        let (line, event) = (watch.line(), watch.json());
        let (word, id) = if n < 10 { ("registered", n) } else { ("status", 0) };
        assert_eq!(line, format!("{word} cam \"{id}\" {}", event["revision"].as_str().unwrap()));
        assert_eq!(
            (event["event"].as_str(), event["stream"]["id"].as_str()),
            (Some(word), Some(&*format!("cam \"{id}\"")))
        );
    }
    let failed = watch.stderr.recv_timeout(DEADLINE).unwrap();
    assert!(failed.contains("failed for status of \"cam \\\"0\\\"\" (exit status: 1)"), "{failed}");
    // The watch continues if a command fails or does not read its input.
    watch.interrupt();
    assert_eq!(watch.ended(), Some(0));
}

#[test]
fn wait_exits_when_the_stream_has_the_status() {
    let server = Server::start(&[]);
    register(&server, "cam1");
    let begun = Instant::now();
    assert_eq!(server.run(&["wait", "cam1", "--status", "connecting"]), done(""));
    assert!(begun.elapsed() < Duration::from_secs(5), "wait must check the status before it waits");

    // This stream appears later and has the status only for a moment.
    let mut later = Follower::start(server.command(&["wait", "later", "--for", "status=paused", "--timeout", "1m"]));
    until("the status is noticed", || {
        register(&server, "later");
        assert_eq!(server.run(&["set", "later", "--status", "paused"]), done(""));
        assert_eq!(server.run(&["unregister", "later"]), done(""));
        later.child.try_wait().unwrap().is_some()
    });
    assert_eq!(later.ended(), Some(0));

    let (status, stdout, stderr) = server.run(&["wait", "cam1", "--for", "status=active", "--timeout", "300ms"]);
    assert_eq!((status, &*stdout), (Some(1), ""));
    assert_eq!(stderr, "streamreg: \"cam1\" did not become active within 300ms: it is connecting\n");
    let (status, _, stderr) = server.run(&["wait", "nobody", "--status", "active", "--timeout", "1100ms"]);
    assert_eq!(status, Some(1));
    assert_eq!(stderr, "streamreg: \"nobody\" did not become active within 1s100ms: no live stream has this id\n");
}

#[test]
fn wait_exits_when_the_stream_is_registered_or_has_ended() {
    let server = Server::start(&[]);
    assert_eq!(server.run(&["wait", "cam1", "--for", "ended"]), done(""));
    let (status, _, stderr) = server.run(&["wait", "cam1", "--for", "registered", "--timeout", "100ms"]);
    assert_eq!(status, Some(1));
    assert_eq!(stderr, "streamreg: \"cam1\" was not registered within 100ms: no live stream has this id\n");

    // The stream is live only for a moment.
    let mut registered = Follower::start(server.command(&["wait", "cam1", "--for", "registered", "--timeout", "1m"]));
    until("the registration is noticed", || {
        register(&server, "cam1");
        assert_eq!(server.run(&["unregister", "cam1"]), done(""));
        registered.child.try_wait().unwrap().is_some()
    });
    assert_eq!(registered.ended(), Some(0));

    register(&server, "cam1");
    let (status, _, stderr) = server.run(&["wait", "cam1", "--for", "ended", "--timeout", "100ms"]);
    assert_eq!(status, Some(1));
    assert_eq!(stderr, "streamreg: \"cam1\" did not end within 100ms: it is connecting\n");
    // The stream is absent only for a moment.
    let mut ended = Follower::start(server.command(&["wait", "cam1", "--for", "ended", "--timeout", "1m"]));
    until("the removal is noticed", || {
        assert_eq!(server.run(&["unregister", "cam1"]), done(""));
        register(&server, "cam1");
        ended.child.try_wait().unwrap().is_some()
    });
    assert_eq!(ended.ended(), Some(0));
}

/// Starts `watch` with a pipe that is never read, and waits until the pipe is full.
#[cfg(target_os = "linux")]
fn blocked(server: &Server) -> Child {
    let mut command = server.command(&["watch", "--from", "oldest"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let waiting = || rustix::io::ioctl_fionread(child.stdout.as_ref().unwrap()).unwrap();
    until("the pipe is full", || waiting() > 60_000);
    child
}

#[test]
#[cfg(target_os = "linux")]
fn watch_with_blocked_stdout_exits_on_signals() {
    let server = Server::start(&[]);
    // Each control character in these labels is printed as six bytes. A pipe holds 64 KiB, i.e. one and a half of the
    // resulting events.
    let labels: Vec<_> = (0..27).map(|n| format!("l{n}={}", "\u{1}".repeat(250))).collect();
    for id in ["cam1", "cam2"] {
        let mut args = vec!["register", "--id", id, "--type", "srt", "--source", "a:1"];
        labels.iter().for_each(|label| args.extend(["--label", label]));
        assert_eq!(server.run(&args), done(&format!("{id}\n")));
    }
    // One shell sends both signals, so that they arrive together.
    let signal = |child: &Child, names: &[&str]| {
        let kills: Vec<_> = names.iter().map(|name| format!("kill -s {name} {}", child.id())).collect();
        assert!(Command::new("sh").args(["-c", &kills.join("; ")]).status().unwrap().success());
    };
    // First case: after one signal, `watch` exits with a delay.
    let mut once = blocked(&server);
    let began = Instant::now();
    signal(&once, &["TERM"]);
    until("the watch exits", || once.try_wait().unwrap().is_some());
    assert_eq!(once.wait().unwrap().code(), Some(128 + 15));
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
    // Second case: a second signal ends `watch` at once, i.e. before the delay of the first case. On a loaded machine, one
    // attempt may take longer.
    until("the watch exits at once", || {
        let mut twice = blocked(&server);
        let began = Instant::now();
        signal(&twice, &["INT", "TERM"]);
        until("the watch exits", || twice.try_wait().unwrap().is_some());
        let took = began.elapsed();
        // If both signals arrive before the first one is handled, either of them counts as the second.
        assert!([Some(128 + 2), Some(128 + 15)].contains(&twice.wait().unwrap().code()));
        took < Duration::from_secs(1)
    });
}

#[test]
fn wait_survives_a_restart_of_the_server() {
    let server = Server::start(&["--log", "debug"]);
    let mut wait = Follower::start(server.command(&["wait", "cam1", "--for", "status=connecting", "--timeout", "1m"]));
    // This line in the server's log shows that `wait` has opened its watch and read the record.
    server.running.line_with("/api/v1/streams/cam1");
    let server = restart(server);
    let ended = wait.child.try_wait().unwrap();
    assert_eq!(ended, None, "{:?}", wait.stderr.try_iter().collect::<Vec<_>>());
    register(&server, "cam1");
    assert_eq!(wait.ended(), Some(0));
}

#[test]
fn watch_from_an_invalid_revision_is_a_usage_error() {
    let server = Server::start(&[]);
    for from in ["x", "1", "latest", "of-another-server-7"] {
        let (status, _, stderr) = server.run(&["watch", "--from", from]);
        assert_eq!(status, Some(2), "{stderr}");
        assert!(stderr.contains("--from: invalid revision"), "{stderr}");
    }
}

#[test]
fn history_lists_ended_streams_with_reason_and_lifetime() {
    let server = Server::start(&["--ttl", "1s"]);
    let (status, stdout, stderr) = server.run(&["history"]);
    assert_eq!((status, &*stdout), (Some(0), ""));
    assert!(stderr.contains("no ended streams match"), "{stderr}");
    assert_eq!(server.run(&["history", "--output", "json"]).1, "[]\n");
    register(&server, "lost");
    until("the stream expires", || server.run(&["get", "lost"]).0 == Some(3));
    register(&server, "cam1");
    assert_eq!(server.run(&["set", "cam1", "--bytes-received", "9223372036854775807"]), done(""));
    assert_eq!(server.run(&["unregister", "cam1", "--reason", "over"]), done(""));
    let (_, stdout, _) = server.run(&["history"]);
    let events: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [ended, expired] = &events[..] else { panic!("{stdout}") };
    assert_eq!((&ended["event"], &ended["reason"]), (&"unregistered".into(), &"over".into()));
    assert_eq!(ended["stream"]["bytes_received"], i64::MAX);
    assert!(ended["duration_ms"].as_u64().unwrap() < 30_000, "{ended}");
    assert_eq!((&expired["event"], &expired["stream"]["id"]), (&"expired".into(), &"lost".into()));
    assert!(expired["duration_ms"].as_u64().unwrap() >= 1_000, "{expired}");
    let (_, table, _) = server.run(&["history", "--id", "lost", "--output", "table"]);
    assert_eq!(table.lines().count(), 2, "{table}");
    assert!(table.contains("expired") && !table.contains("cam1"), "{table}");
}
