//! The receiver of hooks allows every publisher, whatever arrives and whatever else fails.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use testkit::free_port;

use super::process::{Process, bridge};
use super::store::{Store, exchange};
use crate::cli::{outcome, program};

const BODY: &str = r#"{"code":0,"msg":"ok","allowed":true}"#;

/// A bridge whose media server and registry are both down.
fn bridge_without_server_and_registry() -> (String, Process) {
    let address = format!("127.0.0.1:{}", free_port());
    let api = format!("http://127.0.0.1:{}", free_port());
    let store = Store::stopped(&[]);
    let bridge = bridge(&["srs", "--api", &api, "--hooks", &address], &store.url());
    (address, bridge)
}

fn assert_allowed(answer: Option<String>) {
    let answer = answer.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with(BODY), "{answer}");
}

#[test]
fn every_request_is_allowed_while_server_and_registry_are_down() {
    let (address, bridge) = bridge_without_server_and_registry();
    for request in [
        "POST /hooks/srs HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}",
        "DELETE /anything?at=all HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nConnection: close\r\n\r\n",
        "GET /hooks/srs?name=raw space HTTP/1.0\r\n\r\n",
        "POST /hooks/%ff HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        "nonsense\r\n\r\n",
        "POST /hooks/srs HTTP/1.1\r\nContent-Length: 100\r\n\r\nnever complete",
    ] {
        let started = Instant::now();
        assert_allowed(exchange(&address, request.as_bytes()));
        // A loaded machine may be slow; the receiver itself needs 1.5 s at most.
        assert!(started.elapsed() < Duration::from_secs(9), "{request}");
    }
    let huge =
        [b"POST /hooks/srs HTTP/1.1\r\nContent-Length: 20000000\r\n\r\n".to_vec(), vec![b'x'; 20_000_000]].concat();
    let mut socket = TcpStream::connect(&address).unwrap();
    // The receiver may close the connection before everything is sent.
    let _ = socket.write_all(&huge);
    let mut answer = String::new();
    let _ = socket.read_to_string(&mut answer);
    assert_allowed(Some(answer));
    assert!(bridge.stderr().lines().count() < 12, "{}", bridge.stderr());
}

#[test]
fn thousand_hooks_at_once_are_allowed() {
    let (address, bridge) = bridge_without_server_and_registry();
    let request = "POST /hooks/srs HTTP/1.1\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";
    let started = Instant::now();
    let mut sockets: Vec<TcpStream> = (0..1_000).map(|_| TcpStream::connect(&address).unwrap()).collect();
    for socket in &mut sockets {
        socket.write_all(request.as_bytes()).unwrap();
    }
    for socket in &mut sockets {
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        assert_allowed(Some(answer));
    }
    eprintln!("1 000 hooks took {:?}", started.elapsed());
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    assert!(bridge.stderr().lines().count() < 12, "{}", bridge.stderr());
}

#[test]
fn connections_that_send_nothing_do_not_delay_hooks() {
    let (address, _bridge) = bridge_without_server_and_registry();
    let _silent: Vec<TcpStream> = (0..300).map(|_| TcpStream::connect(&address).unwrap()).collect();
    assert_allowed(exchange(&address, b"POST /hooks/srs HTTP/1.0\r\nContent-Length: 0\r\n\r\n"));
}

#[test]
fn blocked_output_of_a_dry_run_does_not_delay_hooks() {
    let address = format!("127.0.0.1:{}", free_port());
    // The other end of the pipe is never read, so the pipe becomes full and blocks.
    let (reader, writer) = std::io::pipe().unwrap();
    let args = ["bridge", "ome", "--hooks", &address, "--dry-run", "--node", "edge1"];
    let _bridge = Process::with_own_output(program(&args).stdout(writer).stderr(std::process::Stdio::null()));
    super::process::until("the bridge answers", || TcpStream::connect(&address).is_ok());
    for n in 0..2_000 {
        let body = format!(
            r#"{{"client":{{"address":"203.0.113.7","port":{n}}},"request":{{"direction":"incoming","protocol":"rtmp","status":"opening","url":"rtmp://h/app/{}{n}"}}}}"#,
            "x".repeat(60)
        );
        let request = format!("POST /hooks/ome HTTP/1.0\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        assert_allowed(exchange(&address, request.as_bytes()));
    }
    drop(reader);
}

#[test]
fn blocked_log_does_not_delay_hooks() {
    let address = format!("127.0.0.1:{}", free_port());
    let (reader, writer) = std::io::pipe().unwrap();
    let args = ["bridge", "ome", "--hooks", &address, "--dry-run", "--node", "edge1", "--log", "debug"];
    let _bridge = Process::with_own_output(program(&args).stdout(std::process::Stdio::null()).stderr(writer));
    super::process::until("the bridge answers", || TcpStream::connect(&address).is_ok());
    // Each unreadable hook is a line of the log, and all lines together are larger than the pipe.
    for _ in 0..2_000 {
        assert_allowed(exchange(&address, b"POST /hooks/ome HTTP/1.0\r\nContent-Length: 2\r\n\r\n[]"));
    }
    drop(reader);
}

#[test]
fn bad_configuration_is_a_usage_error_that_repeats_no_secret() {
    let dir = tempfile::tempdir().unwrap();
    let mut files = 0;
    let mut file = |text: &str| {
        files += 1;
        let file = dir.path().join(format!("{files}.toml"));
        std::fs::write(&file, text).unwrap();
        vec!["--config".to_owned(), file.to_str().unwrap().to_owned()]
    };
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let endless = words("--config /dev/zero");
    for (args, expected) in [
        (words("mediamtx --api https://h:1"), "must begin with http://"),
        (words("mediamtx --api h:1"), "must begin with http://"),
        (words("mediamtx --api http://user:s3cret@h:1"), "put user:password into --secret-file"),
        (words("zlm --api http://h:1/?secret=s3cret"), "must have no query"),
        (words("mediamtx --api http://h:1 --hooks 0.0.0.0:1"), "use 127.0.0.1"),
        (words("mediamtx --api http://h:1 --api http://h:2 --id-template {path}"), "add {server}"),
        (words("mediamtx --api http://h:1 --id-template {nonsense}"), "{nonsense}"),
        (words("ome"), "pass --hooks"),
        (words("mediamtx --once"), "--dry-run"),
        (words("srs --id-template {path} --duplicates refuse"), "pass --hooks"),
        (words("srs --hooks 127.0.0.1:1 --duplicates refuse"), "pass another --id-template"),
        (
            words("srs --hooks 127.0.0.1:1 --duplicates refuse --id-template {node}-{path}"),
            "pass another --id-template",
        ),
        (words("srs --hooks 127.0.0.1:1 --duplicates refuse --id-template {path} --dry-run"), "omit one of the two"),
        (words("go2rtc --hooks 127.0.0.1:1 --duplicates refuse --id-template {path}"), "srs, nginx-rtmp, zlm or ome"),
        (words("srs --duplicates reject"), "observe, refuse"),
        (file(""), "there is no server to follow"),
        (file("[[server]]\nkind = \"none\""), "unknown media server"),
        (file("[[server]]\nkind = \"zlm\"\nsecret = \"s3cret\""), ":1: server: unknown field"),
        (Vec::new(), "name a kind of server"),
        (file("[[server]]\nkind = \"zlm\"\nname = \"a/b\""), "invalid server name"),
        (file("[[server]]\nkind = \"zlm\"\n[[server]]\nkind = \"srs\"\nname = \"zlm\""), "duplicate server name"),
        (file("not toml at all ="), ".toml:1: "),
        (endless, "larger than"),
    ] {
        let output = program(&["bridge"]).args(&args).args(["--store", "http://127.0.0.1:1"]).output().unwrap();
        let (status, stdout, stderr) = outcome(output);
        assert_eq!((status, &*stdout), (Some(2), ""), "{args:?}: {stderr}");
        assert!(stderr.contains(expected) && !stderr.contains("s3cret"), "{args:?}: {stderr}");
    }
}
