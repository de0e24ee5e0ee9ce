//! The log of the program with an access file: which lines it has, and that no line has a token.

use std::process::Command;

use serde_json::Value;
use testkit::TestTls;

use crate::access::kit::{entry, value};
use crate::cli::{Server, outcome, write_private};
use crate::http::kit::{CAM, LIST};

/// A server with an access file. Each token has the value that [`value`] returns for its name.
struct Logged {
    server: Server,
    tls: TestTls,
    _dir: tempfile::TempDir,
}

impl Logged {
    fn start(tokens: &[String], options: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("access.toml");
        write_private(&file, tokens.concat());
        let tls = TestTls::new();
        let files = [&file, &tls.server_cert(), &tls.server_key()].map(|file| file.to_str().unwrap().to_owned());
        let access = ["--access-file", &files[0], "--tls-cert", &files[1], "--tls-key", &files[2]];
        Self { server: Server::start(&[&access, options].concat()), tls, _dir: dir }
    }

    /// Sends a request with a header, and returns the status of the response.
    fn send(&self, header: &str, method: &str, path: &str, more: &[&str]) -> String {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-o", "/dev/null", "-w", "%{http_code}", "-X", method, "-H", header, "--cacert"]);
        curl.arg(self.tls.ca_file());
        curl.args(["-H", "Content-Type: application/json"]).args(more);
        let (_, status, stderr) = outcome(curl.arg(format!("{}{path}", self.server.url)).output().unwrap());
        assert_eq!(stderr, "");
        status
    }

    /// Sends a request with a token.
    fn request(&self, token: &str, method: &str, path: &str, body: &str) -> String {
        self.send(&bearer(token), method, path, &["-d", body])
    }

    /// Stops the server and returns its log, whose lines are JSON objects.
    fn lines(mut self) -> Vec<Value> {
        let log = self.server.running.stop();
        log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
    }
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {}", value(token))
}

fn expired(name: &str) -> String {
    entry(name, "scopes = [\"admin\"]\nexpires = 2020-01-01T00:00:00Z")
}

#[test]
fn no_log_line_contains_a_token_at_any_level() {
    let valid = entry("valid", "scopes = [\"admin\"]");
    let mut logged = Logged::start(&[valid, expired("expired")], &["--log", "trace"]);
    assert_eq!(logged.request("valid", "POST", LIST, CAM), "201");
    for (token, expected) in [("valid", "200"), ("unknown", "401"), ("expired", "401"), ("valid-damaged", "401")] {
        let secret = value(token);
        for version in ["--http1.1", "--http2"] {
            assert_eq!(logged.send(&bearer(token), "GET", LIST, &[version]), expected, "{token}");
            let elsewhere = [
                (format!("Authorization: {secret}"), LIST.to_owned(), String::new()),
                (format!("Authorization: Basic {secret}"), LIST.to_owned(), String::new()),
                (format!("X-Token: {secret}"), LIST.to_owned(), String::new()),
                ("Accept: */*".to_owned(), format!("{LIST}?token={secret}"), String::new()),
                (bearer("valid"), format!("{LIST}?token={secret}"), secret.clone()),
                (bearer("valid"), LIST.to_owned(), secret.clone()),
                (bearer("valid"), LIST.to_owned(), CAM.replacen('{', &format!("{{\"token\":\"{secret}\","), 1)),
                (bearer("valid"), LIST.to_owned(), CAM.replace("\"srt\"", &format!("[\"{secret}\"]"))),
            ];
            for (header, path, body) in elsewhere {
                let method = if body.is_empty() { "GET" } else { "POST" };
                logged.send(&header, method, &path, &[version, "-d", &body]);
            }
        }
    }
    let log = logged.server.running.stop();
    for part in ["TRACE", "DEBUG", "token=\"expired\"", "operation=\"register\"", "status=401", "status=400"] {
        assert!(log.contains(part), "no {part}: {log}");
    }
    let with_token: Vec<_> = log.lines().filter(|line| line.contains("value-of-")).collect();
    assert_eq!(with_token, [""; 0]);
}

#[test]
fn each_write_is_logged_with_token_operation_stream_and_result() {
    let tokens = [entry("node", "scopes = [\"write\"]")];
    for (level, heartbeats) in [("debug", true), ("info", false)] {
        let logged = Logged::start(&tokens, &["--log", level, "--log-format", "json"]);
        let without_id = r#"{"type":"srt","source_addr":"203.0.113.7:1"}"#;
        for (method, path, body, expected) in [
            ("POST", "", CAM, "201"),
            ("POST", "", without_id, "201"),
            ("POST", "/cam1/heartbeat", "", "204"),
            ("POST", "/none/heartbeat", "", "404"),
            ("PUT", "/cam1/stats", r#"{"bitrate":1}"#, "204"),
            ("PUT", "/cam1", CAM, "200"),
            ("PATCH", "/cam1", r#"{"video_codec":"HEVC"}"#, "200"),
            ("PATCH", "/none", r#"{"video_codec":"HEVC"}"#, "404"),
            ("DELETE", "/cam1?force=true", "", "403"),
            ("DELETE", "/cam1", "", "204"),
        ] {
            assert_eq!(logged.request("node", method, &format!("{LIST}{path}"), body), expected, "{method} {path}");
        }
        let lines = logged.lines();
        let writes = lines.iter().filter(|line| line["message"] == "write").map(|line| {
            let [token, operation, stream, result] =
                ["token", "operation", "stream", "result"].map(|key| line[key].as_str().unwrap());
            assert_eq!(token, "node");
            let stream = if stream.starts_with("srt_") { "generated" } else { stream };
            format!("{operation} {stream} {result}")
        });
        let mut expected = vec!["register cam1 ok", "register generated ok"];
        if heartbeats {
            expected.extend(["heartbeat cam1 ok", "heartbeat none not_found", "stats cam1 ok"]);
        }
        expected.extend(["update cam1 ok", "patch cam1 ok", "patch none not_found"]);
        expected.extend(["unregister cam1 denied", "unregister cam1 ok"]);
        assert_eq!(writes.collect::<Vec<_>>(), expected, "{level}");
    }
}

#[test]
fn requests_with_rejected_tokens_are_logged_at_most_once_a_minute_for_each_token() {
    let reader = entry("reader", "scopes = [\"read\"]");
    let logged = Logged::start(&[expired("old-1"), expired("old-2"), reader], &["--log-format", "json"]);
    for (token, method, expected) in [("old-1", "GET", "401"), ("old-2", "GET", "401"), ("reader", "POST", "403")] {
        for _ in 0..5 {
            assert_eq!(logged.request(token, method, LIST, CAM), expected, "{token}");
        }
    }
    let lines = logged.lines();
    let rejected = lines.iter().filter(|line| line["message"].as_str().unwrap().starts_with("rejected a token"));
    let field = |line: &Value, name: &str| line[name].as_str().unwrap().to_owned();
    let rejected: Vec<_> = rejected.map(|line| ["level", "token", "reason"].map(|name| field(line, name))).collect();
    let expired = |name| ["WARN", name, "has expired"].map(str::to_owned);
    assert_eq!(
        rejected,
        [expired("old-1"), expired("old-2"), ["WARN", "reader", "needs the scope write"].map(str::to_owned)]
    );
}
