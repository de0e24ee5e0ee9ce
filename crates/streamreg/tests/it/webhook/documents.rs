//! The examples of docs/webhooks.md.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use stream_registry::{MemoryRegistry, Registry, connect};

use super::kit::{Delivery, Hooks, Receiver, SECRET, webhook};
use crate::cli::Running;
use crate::http::kit::stream;
use crate::readme::blocks;

const PAGE: &str = include_str!("../../../../../docs/webhooks.md");

/// Returns the only block of a language.
fn block(language: &str) -> String {
    let mut found = blocks(PAGE).into_iter().filter(|(of, ..)| *of == language).map(|(_, _, block)| block);
    let block = found.next().unwrap_or_else(|| panic!("no block of {language}"));
    assert_eq!(found.count(), 0, "several blocks of {language}");
    block
}

async fn delivered() -> Delivery {
    let (dir, receiver) = (tempfile::tempdir().unwrap(), Receiver::start().await);
    let registry: Arc<dyn Registry> = Arc::new(MemoryRegistry::new());
    let _hooks = Hooks::start(dir.path(), &registry, vec![webhook("a", &receiver.url())]).await;
    registry.register(&stream("ü 🎥")).await.unwrap();
    receiver.accepted_at_least(1).await.remove(0)
}

/// Runs a program that reads requests from its standard input, one JSON document per line, and prints whether each is
/// valid.
fn verdicts(command: &mut Command, requests: &[Value]) -> Vec<bool> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let lines: String = requests.iter().map(|request| format!("{request}\n")).collect();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| line.to_lowercase().parse().unwrap()).collect()
}

/// Asserts what both documented functions return for requests.
fn assert_verdicts(requests: &[Value], expected: &[bool]) {
    let dir = tempfile::tempdir().unwrap();
    let python = dir.path().join("verify.py");
    let lines = "\nimport json, sys\nfor line in sys.stdin:\n    one = json.loads(line)\n    \
                 print(verify(one[\"secret\"], one[\"headers\"], one[\"body\"].encode()))\n";
    fs::write(&python, block("python") + lines).unwrap();
    assert_eq!(verdicts(Command::new("python3").arg(&python), requests), expected, "Python");
    let javascript = dir.path().join("verify.mjs");
    let lines = "\nimport { createInterface } from \"node:readline\";\n\
                 for await (const line of createInterface({ input: process.stdin })) {\n  const one = JSON.parse(line);\n  \
                 console.log(verify(one.secret, one.headers, Buffer.from(one.body)));\n}\n";
    fs::write(&javascript, block("js") + lines).unwrap();
    assert_eq!(verdicts(Command::new("node").arg(&javascript), requests), expected, "JavaScript");
}

/// Returns a request for the documented functions.
fn request(secret: &str, delivery: &Delivery) -> Value {
    json!({"secret": secret, "headers": delivery.headers, "body": delivery.body})
}

fn header(delivery: &mut Delivery, name: &str, value: String) {
    delivery.headers.insert(name.to_owned(), value);
}

#[tokio::test]
async fn documented_functions_verify_deliveries_and_reject_forgeries() {
    let delivery = delivered().await;
    let request = |secret: &str, change: &dyn Fn(&mut Delivery)| {
        let mut delivery = delivery.clone();
        change(&mut delivery);
        request(secret, &delivery)
    };
    let other = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let requests = [
        request(SECRET, &|_| {}),
        request(SECRET, &|one| {
            let both = format!("v1,AAAA {} v1a,AAAA", one.headers["webhook-signature"]);
            header(one, "webhook-signature", both);
        }),
        request(other, &|_| {}),
        request(SECRET, &|one| one.body = one.body.replace("registered", "expired")),
        request(SECRET, &|one| header(one, "webhook-id", "msg_other".to_owned())),
        request(SECRET, &|one| header(one, "webhook-timestamp", "1614265330".to_owned())),
        request(SECRET, &|one| header(one, "webhook-signature", String::new())),
    ];
    assert_verdicts(&requests, &[true, true, false, false, false, false, false]);
}

#[tokio::test]
async fn documented_functions_reject_signed_requests_after_five_minutes() {
    let delivery = delivered().await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    // The functions read the clock a few seconds later.
    let times = [(now - 301, false), (now - 270, true), (now + 290, true), (now + 340, false)];
    let requests = times.map(|(time, _)| {
        let mut delivery = delivery.clone();
        header(&mut delivery, "webhook-timestamp", time.to_string());
        let signature = delivery.signature(SECRET);
        header(&mut delivery, "webhook-signature", signature);
        request(SECRET, &delivery)
    });
    assert_verdicts(&requests, &times.map(|(_, expected)| expected));
}

#[tokio::test]
async fn documented_functions_reject_requests_with_missing_or_damaged_headers() {
    let delivery = delivered().await;
    let mut requests = Vec::new();
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        let mut delivery = delivery.clone();
        delivery.headers.remove(name);
        requests.push(request(SECRET, &delivery));
    }
    let digits = "9".repeat(400);
    for (name, value) in [
        ("webhook-id", "ü"),
        ("webhook-timestamp", ""),
        ("webhook-timestamp", "now"),
        ("webhook-timestamp", "NaN"),
        ("webhook-timestamp", &digits),
        ("webhook-timestamp", &digits.repeat(20)),
        ("webhook-signature", " "),
        ("webhook-signature", "v1"),
        ("webhook-signature", "v1,ü🎥"),
    ] {
        let mut delivery = delivery.clone();
        header(&mut delivery, name, value.to_owned());
        requests.push(request(SECRET, &delivery));
    }
    let expected = vec![false; requests.len()];
    assert_verdicts(&requests, &expected);
}

#[tokio::test]
async fn documented_request_has_the_members_of_a_real_one() {
    let delivery = delivered().await;
    let documented = block("http");
    let (head, body) = documented.split_once("\n\n").unwrap();
    for header in head.lines().skip(1) {
        let (name, value) = header.split_once(": ").unwrap();
        let actual = delivery.headers.get(name).unwrap_or_else(|| panic!("no header {name}"));
        assert_eq!(actual.len().abs_diff(value.len()) / 8, 0, "{name}: {actual}");
    }
    let body: Value = serde_json::from_str(body).unwrap();
    let members = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let actual = delivery.json();
    assert_eq!(members(&body), members(&actual));
    assert_eq!(members(&body["data"]), members(&actual["data"]));
    assert_eq!(members(&body["data"]["stream"]), members(&actual["data"]["stream"]));
    assert_eq!((&body["type"], &body["data"]["event"]), (&actual["type"], &actual["data"]["event"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn documented_set_up_sends_events() {
    let (dir, receiver) = (tempfile::tempdir().unwrap(), Receiver::start().await);
    let script = block("sh").replace("127.0.0.1:9000", &receiver.addr.to_string());
    let (prepare, start) = script.trim_end().rsplit_once('\n').unwrap();
    let done = Command::new("sh").args(["-e", "-c", prepare]).current_dir(dir.path()).status().unwrap();
    assert!(done.success());
    let program = Path::new(env!("CARGO_BIN_EXE_streamreg")).display().to_string();
    let start = start.replacen("streamreg", &format!("exec {program}"), 1) + " --listen 127.0.0.1:0";
    let server = Running::spawn(Command::new("sh").args(["-c", &start]).current_dir(dir.path()).env_remove("RUST_LOG"));
    let line = server.line_with("listening on http://");
    let url = line.split_whitespace().find(|word| word.starts_with("http://")).unwrap().trim_end_matches(',');
    connect(url).await.unwrap().register(&stream("cam1")).await.unwrap();
    let delivery = receiver.accepted_at_least(1).await.remove(0);
    let secret = fs::read_to_string(dir.path().join("billing.secret")).unwrap();
    assert!(delivery.is_signed_with(secret.trim()));
    assert_eq!(delivery.path, "/streams");
}
