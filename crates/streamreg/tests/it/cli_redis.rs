//! Runs commands directly on Redis, without a server.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::cli::{DEADLINE, Running, Server, done, outcome, program, until, write_private};

const PASSWORD: &str = "hunter2";

/// A Redis server on a unix socket, with a password. Killed when dropped.
struct Redis {
    child: Child,
    dir: tempfile::TempDir,
}

impl Redis {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("redis.sock");
        let child = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--requirepass", PASSWORD, "--unixsocket"])
            .arg(&socket)
            .current_dir(dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let redis = Self { child, dir };
        until("Redis answers", || redis.cli(&["ping"]) == "PONG");
        write_private(&redis.store_file(), redis.url() + "\n");
        redis
    }

    fn url(&self) -> String {
        format!("redis+unix://{}?pass={PASSWORD}", self.dir.path().join("redis.sock").display())
    }

    fn store_file(&self) -> std::path::PathBuf {
        self.dir.path().join("store")
    }

    /// Runs `redis-cli`.
    fn cli(&self, args: &[&str]) -> String {
        let socket = self.dir.path().join("redis.sock");
        let output = Command::new("redis-cli").arg("-s").arg(socket).env("REDISCLI_AUTH", PASSWORD).args(args).output();
        String::from_utf8(output.unwrap().stdout).unwrap().trim().to_owned()
    }

    fn remaining_ttl(&self, key: &str) -> Duration {
        Duration::from_millis(self.cli(&["pttl", key]).parse().unwrap())
    }

    fn run(&self, args: &[&str]) -> (Option<i32>, String, String) {
        outcome(on(&self.store_file(), args).output().unwrap())
    }
}

fn on(store_file: &Path, args: &[&str]) -> Command {
    let mut command = program(args);
    command.arg("--store-file").arg(store_file);
    command
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const CAM1: [&str; 7] = ["register", "--id", "cam1", "--type", "srt", "--source", "203.0.113.7:40112"];

#[test]
fn commands_never_shorten_the_remaining_ttl() {
    let redis = Redis::start();
    assert_eq!(redis.run(&[&CAM1[..], &["--ttl", "10m"]].concat()), done("cam1\n"));
    let minutes = |n: u64| Duration::from_secs(n * 60);
    for verb in [&["heartbeat", "cam1"][..], &["set", "cam1", "--status", "active", "--bitrate", "1"]] {
        assert_eq!(redis.run(&[verb, &["--ttl", "1m"]].concat()), done(""));
        assert!(redis.remaining_ttl("mirror:streams:cam1") > minutes(9), "{verb:?}");
    }
    assert_eq!(redis.run(&["heartbeat", "cam1", "--ttl", "1h"]), done(""));
    assert!(redis.remaining_ttl("mirror:streams:cam1") > minutes(59));
}

#[test]
fn update_never_shortens_the_ttl_but_a_server_sets_its_own() {
    let redis = Redis::start();
    assert_eq!(redis.run(&[&CAM1[..], &["--ttl", "10m"]].concat()), done("cam1\n"));
    let record = redis.dir.path().join("cam1.json");
    std::fs::write(&record, r#"{"id":"cam1","type":"srt","source_addr":"203.0.113.7:40112"}"#).unwrap();
    let record = record.to_str().unwrap();
    assert_eq!(redis.run(&["update", "--json", record, "--ttl", "1m"]), done(""));
    assert!(redis.remaining_ttl("mirror:streams:cam1") > Duration::from_secs(9 * 60));
    let file = redis.store_file();
    let server = Server::start(&["--store-file", file.to_str().unwrap(), "--ttl", "1m"]);
    assert_eq!(server.run(&["heartbeat", "cam1"]), done(""));
    assert!(redis.remaining_ttl("mirror:streams:cam1") <= Duration::from_secs(60));
}

#[test]
fn ttl_of_a_registration_replaces_a_longer_one() {
    let redis = Redis::start();
    let remaining = || redis.remaining_ttl("mirror:streams:cam1");
    let (hour, ten_seconds) = (Duration::from_secs(3_600), Duration::from_secs(10));
    let short = ["--ttl", "10s"];
    for policy in [&[][..], &["--on-conflict", "take-over"]] {
        assert_eq!(redis.run(&[&CAM1[..], &["--ttl", "2h"]].concat()), done("cam1\n"));
        assert!(remaining() > hour);
        assert_eq!(redis.run(&[&CAM1[..], policy, &short].concat()), done("cam1\n"));
        assert!(remaining() <= ten_seconds, "{policy:?}");
    }
    let file = redis.store_file();
    let file = ["--store-file", file.to_str().unwrap()];
    let run = [&["run"][..], &CAM1[1..], &short, &file, &["--", "sleep", "60"]].concat();
    for command in [[&CAM1[..], &short, &file, &["--hold"]].concat(), run] {
        assert_eq!(redis.run(&[&CAM1[..], &["--ttl", "2h"]].concat()), done("cam1\n"));
        let mut holder = Running::start(&command);
        holder.line_with("is held");
        assert!(remaining() <= ten_seconds, "{command:?}");
        // A tool extends the life of the stream, until the holder's next heartbeat.
        assert_eq!(redis.run(&["heartbeat", "cam1", "--force", "--ttl", "2h"]), done(""));
        until("the holder sends a heartbeat", || remaining() <= ten_seconds);
        holder.signal("TERM");
        holder.ended();
    }
}

#[test]
fn registries_with_different_prefixes_are_separate() {
    let redis = Redis::start();
    assert_eq!(redis.run(&[&CAM1[..], &["--prefix", "lab:"]].concat()), done("cam1\n"));
    assert_eq!(redis.cli(&["exists", "lab:cam1"]), "1");
    assert_eq!(redis.run(&["list", "--output", "json"]).1, "[]\n");
    assert_eq!(redis.run(&["list", "--prefix", "lab:"]).1.lines().count(), 1);
    let (status, _, stderr) = redis.run(&["list", "--prefix", "no-colon"]);
    assert_eq!(status, Some(2));
    assert!(stderr.contains("prefix") && stderr.lines().count() == 1, "{stderr}");
}

#[test]
fn server_and_direct_commands_list_the_same_records() {
    let redis = Redis::start();
    // Another program's record, with an unknown field. The record is written before the server starts. The server would
    // list a later record only after its next reconciliation.
    let foreign = r#"{"x":[1.50,{}],"status":"buffering","type":"srt","bitrate":1e3}"#;
    redis.cli(&["set", "mirror:streams:cam2", foreign]);
    redis.cli(&["sadd", "mirror:streams:active", "cam2"]);
    let file = redis.store_file();
    let server = Server::start(&["--store-file", file.to_str().unwrap()]);
    assert!(!server.greeting.contains(PASSWORD) && server.greeting.contains("redis.sock"), "{}", server.greeting);
    assert_eq!(server.run(&CAM1), done("cam1\n"));
    let (status, direct, stderr) = redis.run(&["list", "--output", "json"]);
    assert_eq!((status, stderr.as_str()), (Some(0), ""));
    assert_eq!(server.run(&["list", "--output", "json"]).1, direct);
    assert!(direct.contains(r#""x":[1.50,{}]"#), "{direct}");
    assert_eq!(redis.run(&["set", "cam2", "--packets-lost", "7", "--label", "a=b"]), done(""));
    let (_, record, _) = server.run(&["get", "cam2"]);
    assert!(record.contains(r#""bitrate":1000,"#) && record.contains(r#""packets_lost":7,"#), "{record}");
    assert!(record.trim_end().ends_with(r#""labels":{"a":"b"},"x":[1.50,{}]}"#), "{record}");
}

#[test]
fn read_only_rejects_every_write() {
    let redis = Redis::start();
    assert_eq!(redis.run(&CAM1), done("cam1\n"));
    let before = redis.cli(&["get", "mirror:streams:cam1"]);
    for verb in [&["heartbeat", "cam1"][..], &["set", "cam1", "--status", "x"], &["unregister", "cam1"], &CAM1] {
        let (status, _, stderr) = redis.run(&[verb, &["--read-only"]].concat());
        assert_eq!(status, Some(1), "{verb:?}");
        assert!(stderr.contains("read-only") && stderr.lines().count() == 1, "{stderr}");
    }
    assert_eq!(redis.cli(&["get", "mirror:streams:cam1"]), before);
    assert_eq!(redis.run(&["get", "cam1", "--read-only"]).0, Some(0));
}

#[test]
fn error_of_a_stopped_redis_contains_no_password() {
    let mut redis = Redis::start();
    assert_eq!(redis.run(&CAM1), done("cam1\n"));
    let (status, _, stderr) =
        outcome(program(&["list", "--store", &redis.url().replace(PASSWORD, "wr0ng")]).output().unwrap());
    assert_eq!(status, Some(1));
    assert!(!stderr.contains("wr0ng"), "{stderr}");
    redis.child.kill().unwrap();
    redis.child.wait().unwrap();
    let serve = ["serve", "--listen", "127.0.0.1:0", "--wait-for-store", "1s"];
    for args in [&["list"][..], &["get", "cam1"], &["heartbeat", "cam1"], &serve] {
        let (status, stdout, stderr) = redis.run(args);
        assert_eq!((status, stdout.as_str()), (Some(5), ""), "{args:?}: {stderr}");
        let last = stderr.lines().last().unwrap();
        assert!(last.starts_with("streamreg: ") && last.contains("redis.sock"), "{stderr}");
        assert!(!stderr.contains(PASSWORD), "{stderr}");
    }
    let (status, _, stderr) = outcome(program(&["list", "--store", "redis://:hunter2@127.0.0.1:1"]).output().unwrap());
    assert_eq!(status, Some(5), "{stderr}");
}

#[test]
#[cfg(unix)]
fn demo_on_redis_leaves_no_stream() {
    let redis = Redis::start();
    let file = redis.store_file();
    let mut demo = Running::start(&["demo", "--seed", "3", "--yes", "--store-file", file.to_str().unwrap()]);
    demo.line_with("simulated streams on redis+unix://");
    until("the streams receive media", || {
        let (_, records, _) = redis.run(&["list", "--output", "jsonl"]);
        records.lines().filter(|record| record.contains(r#""status":"active""#)).count() >= 10
    });
    demo.signal("TERM");
    assert_eq!(demo.ended(), Some(0));
    assert_eq!(redis.cli(&["scard", "mirror:streams:active"]), "0");
    assert_eq!(redis.run(&["list", "--output", "json"]).1, "[]\n");
}

#[test]
fn server_returns_large_records_of_other_programs() {
    let redis = Redis::start();
    let script = r#"return {redis.call('SET', KEYS[1], '{"type":"srt","source_addr":"h:1","x":"' .. ('y'):rep(1500000) .. '"}'),
                            redis.call('SADD', KEYS[2], 'cam1')}"#;
    redis.cli(&["eval", script, "2", "mirror:streams:cam1", "mirror:streams:active"]);
    let file = redis.store_file();
    let server = Server::start(&["--store-file", file.to_str().unwrap()]);
    let (status, record, stderr) = server.run(&["get", "cam1"]);
    assert!(status == Some(0) && record.len() > 1_500_000, "{stderr}");
    let (status, _, stderr) = server.run(&CAM1);
    assert!(status == Some(4) && stderr.contains("already a live stream of h:1"), "{status:?} {stderr}");
    assert_eq!(server.run(&["unregister", "cam1"]), done(""));
    assert_eq!(redis.cli(&["exists", "mirror:streams:cam1"]), "0");
}

#[test]
fn message_suggests_starting_a_store_only_when_unreachable() {
    let redis = Redis::start();
    let file = redis.store_file();
    let server = Server::start(&["--store-file", file.to_str().unwrap()]);
    let url = server.url.clone();
    let check = |args: &[&str], wanted: i32, expected: &str| {
        for (status, _, stderr) in [redis.run(args), server.run(args)] {
            assert!(status == Some(wanted) && stderr.contains(expected), "{status:?} {stderr}");
            assert!(
                !stderr.contains("start") && !stderr.contains("cannot reach") && !stderr.contains("token"),
                "{stderr}"
            );
        }
    };
    redis.cli(&["config", "set", "maxmemory", "1"]);
    check(&CAM1, 5, " cannot do this now: Redis is out of memory (maxmemory)");
    redis.cli(&["config", "set", "maxmemory", "0"]);
    check(&[&CAM1[..], &["--read-only"]].concat(), 1, "read-only");
    // Turns the server into a replica of an unreachable primary.
    redis.cli(&["replicaof", "127.0.0.1", "1"]);
    check(&CAM1, 5, " cannot do this now: this Redis is a read-only replica");
    drop(redis);
    let (status, _, stderr) = server.run(&CAM1);
    assert!(status == Some(5) && stderr.contains(" cannot do this now: "), "{status:?} {stderr}");
    drop(server);
    let (status, _, stderr) = outcome(program(&CAM1).args(["--store", &url]).output().unwrap());
    assert!(status == Some(5) && stderr.contains("start one with `streamreg serve`"), "{status:?} {stderr}");
}

#[test]
fn connection_failure_names_its_cause() {
    let redis = Redis::start();
    redis.cli(&["acl", "setuser", "ingest", "on", ">hush", "~*", "+@all", "-select"]);
    let url = redis.url().replace(&format!("pass={PASSWORD}"), "db=1&user=ingest&pass=hush");
    let (status, _, stderr) = outcome(program(&["list", "--store", &url]).output().unwrap());
    assert!(
        status == Some(1) && stderr.contains("the Redis user lacks a permission: ") && stderr.contains("select"),
        "{stderr}"
    );
    // The empty label makes the host name invalid, so no DNS server is queried.
    let unknown = "redis://unknown..invalid:6379";
    let (status, _, stderr) = outcome(program(&["list", "--store", unknown]).output().unwrap());
    assert!(status == Some(5) && stderr.contains("unknown host name"), "{stderr}");
}

/// Sends a request over a keep-alive connection. Returns the connection and the response head.
#[cfg(unix)]
fn request(server: &Server, path: &str) -> (TcpStream, String) {
    let mut socket = open(server, path);
    let head = read_head(&mut socket, path);
    (socket, head)
}

/// Sends a request over a keep-alive connection.
#[cfg(unix)]
fn open(server: &Server, path: &str) -> TcpStream {
    let mut socket = TcpStream::connect(server.url.strip_prefix("http://").unwrap()).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).unwrap();
    socket
}

#[cfg(unix)]
fn read_head(socket: &mut TcpStream, path: &str) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte).unwrap_or_else(|fault| panic!("no response to {path}: {fault}"));
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// Starts a server with a limited number of file descriptors.
#[cfg(unix)]
fn limited(redis: &Redis, limit: &str) -> Server {
    let serve = on(&redis.store_file(), &["serve", "--listen", "127.0.0.1:0"]);
    let mut limited = Command::new("sh");
    limited.args(["-c", &format!("{limit} && exec \"$@\""), "sh"]).arg(serve.get_program()).args(serve.get_args());
    Server::of(Running::spawn(limited.env_remove("STREAMREG_STORE").env_remove("RUST_LOG").stdin(Stdio::null())))
}

#[test]
#[cfg(unix)]
fn event_readers_leave_file_descriptors_for_other_requests() {
    let redis = Redis::start();
    let server = limited(&redis, "ulimit -n 128");
    let mut readers = Vec::new();
    let (mut refused, head) = loop {
        let (socket, head) = request(&server, "/api/v1/events");
        if !head.starts_with("HTTP/1.1 200") {
            assert!(head.starts_with("HTTP/1.1 503"), "after {}: {head}", readers.len());
            break (socket, head);
        }
        readers.push(socket);
    };
    assert_eq!(readers.len(), 32);
    // A rejected reader must not keep its connection.
    assert!(head.contains("connection: close"), "{head}");
    let mut rest = Vec::new();
    refused.read_to_end(&mut rest).unwrap();
    let others: Vec<_> = (0..20).map(|_| request(&server, "/healthz")).collect();
    assert!(others.iter().all(|(_, head)| head.starts_with("HTTP/1.1 200")));
    assert_eq!(server.run(&CAM1), done("cam1\n"));
    assert_eq!(request(&server, "/readyz").1.split(' ').nth(1), Some("200"));
}

#[test]
#[cfg(unix)]
fn connections_leave_file_descriptors_for_the_server() {
    let redis = Redis::start();
    let server = limited(&redis, "ulimit -n 128");
    let connected: Vec<_> = (0..64).map(|_| request(&server, "/healthz").0).collect();
    // This client waits until another connection is closed.
    let mut waiting = open(&server, "/healthz");
    server.running.line_with("too many connections; new ones wait");
    drop(connected);
    assert!(read_head(&mut waiting, "/healthz").starts_with("HTTP/1.1 200"));
}

#[test]
#[cfg(unix)]
fn server_raises_its_file_descriptor_limit_to_the_hard_limit() {
    let redis = Redis::start();
    let server = limited(&redis, "ulimit -Sn 128 && ulimit -Hn 512");
    let readers: Vec<_> = (0..60).map(|_| request(&server, "/api/v1/events")).collect();
    for (n, (_, head)) in readers.iter().enumerate() {
        assert!(head.starts_with("HTTP/1.1 200"), "{n}: {head}");
    }
}
