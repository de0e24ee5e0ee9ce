//! Invalid input over HTTP: each case is rejected with its status and code, and changes nothing.
#![allow(clippy::unwrap_used, reason = "clippy does not recognise test helpers as test code")]

use std::collections::BTreeSet;
use std::sync::Arc;

use stream_registry::{MemoryRegistry, Registry, Stream, StreamType};
use streamreg::server::ServeOptions;

use crate::http::kit::Server;

/// A request that must be rejected, and the expected response.
struct Case {
    cause: String,
    method: &'static str,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: String,
    status: u16,
    code: &'static str,
    /// String that the problem's detail must contain.
    detail: &'static str,
}

impl Case {
    fn new(cause: impl Into<String>, method: &'static str, path: impl Into<String>) -> Self {
        Self {
            cause: cause.into(),
            method,
            path: path.into(),
            headers: vec![("Content-Type", "application/json".to_owned())],
            body: String::new(),
            status: 400,
            code: "invalid",
            detail: "",
        }
    }

    fn body(mut self, body: impl Into<String>) -> Self {
        self.body = body.into();
        self
    }

    fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.retain(|(given, _)| *given != name);
        self.headers.push((name, value.into()));
        self
    }

    fn expect(mut self, status: u16, code: &'static str) -> Self {
        (self.status, self.code) = (status, code);
        self
    }

    fn detail(mut self, detail: &'static str) -> Self {
        self.detail = detail;
        self
    }
}

const POST: &str = "/api/v1/streams";
const CAM: &str = "/api/v1/streams/cam1";
/// A valid record of a new stream.
const VALID: &str = r#"{"id":"new","type":"srt","source_addr":"h:1"}"#;

/// Fields of a record, each with an invalid value.
fn invalid_fields() -> Vec<(&'static str, String)> {
    let labels = |count: usize, name: usize, value: usize| {
        let labels: Vec<_> = (0..count).map(|n| format!("\"{n:0>name$}\":\"{}\"", "v".repeat(value))).collect();
        format!("{{{}}}", labels.join(","))
    };
    let string = |length: usize| format!("\"{}\"", "x".repeat(length));
    vec![
        ("id", "5".into()),
        ("id", "\"\"".into()),
        ("id", "\" a\"".into()),
        ("id", "\"a\\n\"".into()),
        ("id", "\"active\"".into()),
        ("id", "\"..\"".into()),
        ("id", string(257)),
        ("type", "1".into()),
        ("type", "\"\"".into()),
        ("type", "\"a b\"".into()),
        ("type", "null".into()),
        ("type", string(33)),
        ("source_addr", "7".into()),
        ("source_addr", "null".into()),
        ("source_addr", "\"\\ud800\"".into()),
        ("source_addr", string(1025)),
        ("status", "\"\"".into()),
        ("status", "[]".into()),
        ("status", "\"a\\u0000b\"".into()),
        ("created_at", "0".into()),
        ("created_at", "\"yesterday\"".into()),
        ("last_heartbeat", "\"2026-13-01T00:00:00Z\"".into()),
        ("video_codec", "{}".into()),
        ("resolution", string(1025)),
        ("bitrate", "-1".into()),
        ("bitrate", "-1.5".into()),
        ("bytes_received", "9223372036854775808".into()),
        ("packets_received", "1e30".into()),
        ("packets_lost", "\"0\"".into()),
        ("frame_rate", "-0.1".into()),
        ("frame_rate", "1e999".into()),
        ("frame_rate", "NaN".into()),
        ("node", "true".into()),
        ("epoch", "\"a b\"".into()),
        ("labels", "[]".into()),
        ("labels", "{\"a\":1}".into()),
        ("labels", "{\"\":\"x\"}".into()),
        ("labels", labels(65, 2, 1)),
        ("labels", labels(1, 65, 1)),
        ("labels", labels(1, 1, 257)),
        ("audio_codec", "9".into()),
        ("rtt_ms", "\"1\"".into()),
        ("viewers", "-3".into()),
    ]
}

/// Returns a valid record with one field set to a value.
fn record(field: &str, value: &str) -> String {
    let mut fields = vec![("id", "\"new\""), ("type", "\"srt\""), ("source_addr", "\"h:1\"")];
    fields.retain(|(name, _)| *name != field);
    fields.push((field, value));
    let fields: Vec<_> = fields.into_iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", fields.join(","))
}

fn not_json() -> Vec<(&'static str, &'static str)> {
    vec![
        ("empty body", ""),
        ("not JSON", "hello"),
        ("an array", "[]"),
        ("null", "null"),
        ("a string", "\"{}\""),
        ("an incomplete object", "{\"type\":\"srt\""),
        ("two objects", "{}{}"),
        ("a trailing comma", "{\"type\":\"srt\",}"),
    ]
}

fn media_types() -> Vec<Case> {
    let mut cases = Vec::new();
    let routes = [
        ("POST", POST.to_owned(), VALID),
        ("PUT", CAM.to_owned(), r#"{"type":"srt","source_addr":"h:1"}"#),
        ("PATCH", CAM.to_owned(), "{}"),
        ("PUT", format!("{CAM}/status"), r#"{"status":"active"}"#),
        ("PUT", format!("{CAM}/stats"), r#"{"bitrate":1}"#),
    ];
    for (method, path, body) in routes {
        for media_type in ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonp"] {
            cases.push(
                Case::new(format!("content type {media_type:?}"), method, &path)
                    .header("Content-Type", media_type)
                    .body(body)
                    .expect(415, "unsupported_type")
                    .detail("application/"),
            );
        }
    }
    cases.push(
        Case::new("a merge patch as a record", "PUT", CAM)
            .header("Content-Type", "application/merge-patch+json")
            .body(VALID)
            .expect(415, "unsupported_type"),
    );
    cases
}

fn bodies() -> Vec<Case> {
    let mut cases = Vec::new();
    for (cause, body) in not_json() {
        cases.push(Case::new(cause, "POST", POST).body(body));
        cases.push(Case::new(cause, "PUT", CAM).body(body));
        cases.push(Case::new(cause, "PATCH", CAM).body(body));
        cases.push(Case::new(cause, "PUT", format!("{CAM}/status")).body(body));
        cases.push(Case::new(cause, "PUT", format!("{CAM}/stats")).body(body));
    }
    for (field, value) in invalid_fields() {
        let cause: String = format!("{field} = {value}").chars().take(60).collect();
        cases.push(Case::new(&cause, "POST", POST).body(record(field, &value)));
        if field != "id" {
            let body = record(field, &value).replace("\"id\":\"new\",", "");
            cases.push(Case::new(&cause, "PUT", CAM).body(body));
        }
    }
    cases.extend([
        Case::new("missing type", "POST", POST)
            .body(r#"{"id":"new","source_addr":"h:1"}"#)
            .detail("missing type; expected srt"),
        Case::new("missing source_addr", "POST", POST).body(r#"{"id":"new","type":"srt"}"#).detail("source_addr"),
        Case::new("missing source_addr", "PUT", CAM).body(r#"{"type":"srt"}"#).detail("source_addr"),
        Case::new("an id that differs from the path", "PUT", CAM).body(VALID).detail("id"),
        Case::new("a body above the size limit", "POST", POST)
            .body(record("x", &format!("\"{}\"", "x".repeat(64 * 1024))))
            .expect(413, "too_large"),
        Case::new("a record that exceeds the size limit with its timestamps", "POST", POST)
            .body(record("x", &format!("\"{}\"", "x".repeat(64 * 1024 - 100))))
            .detail("64 KiB"),
        Case::new("the id of another publisher's live stream", "POST", POST)
            .body(r#"{"id":"cam1","type":"srt","source_addr":"198.51.100.9:1"}"#)
            .expect(409, "already_exists"),
    ]);
    cases
}

fn partial_changes() -> Vec<Case> {
    let mut cases = Vec::new();
    let status = format!("{CAM}/status");
    for (cause, body) in [
        ("missing status", "{}"),
        ("null status", r#"{"status":null}"#),
        ("numeric status", r#"{"status":1}"#),
        ("empty status", r#"{"status":""}"#),
        ("status with a space", r#"{"status":"on air"}"#),
        ("status too long", r#"{"status":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}"#),
        ("status with a control character", r#"{"status":"a\u0007"}"#),
        ("an unexpected field", r#"{"status":"active","bitrate":1}"#),
    ] {
        cases.push(Case::new(cause, "PUT", &status).body(body));
    }
    let stats = format!("{CAM}/stats");
    for (cause, body) in [
        ("an unknown field", r#"{"bitrate":1,"bytes":2}"#),
        ("a field of the record", r#"{"bitrate":1,"status":"active"}"#),
        ("negative", r#"{"bytes_received":-1}"#),
        ("a negative fraction", r#"{"packets_received":-0.5}"#),
        ("too large", r#"{"packets_lost":9223372036854775808}"#),
        ("far too large", r#"{"bitrate":1e400}"#),
        ("NaN", r#"{"rtt_ms":NaN}"#),
        ("infinite", r#"{"jitter_ms":1e999}"#),
        ("a negative rate", r#"{"frame_rate":-25}"#),
        ("a counter as a string", r#"{"bitrate":"1"}"#),
        ("a list", r#"{"viewers":[1]}"#),
        ("a Boolean", r#"{"packets_dropped":true}"#),
        ("negative retransmissions", r#"{"packets_retransmitted":-2}"#),
    ] {
        cases.push(Case::new(cause, "PUT", &stats).body(body));
    }
    let many: Vec<_> = (0..65).map(|n| format!("\"l{n}\":\"v\"")).collect();
    for (cause, body) in [
        ("patch of id", r#"{"id":"x"}"#.to_owned()),
        ("patch of type", r#"{"type":"rtp"}"#.into()),
        ("patch of status", r#"{"status":"active"}"#.into()),
        ("patch of source_addr", r#"{"source_addr":"h:9"}"#.into()),
        ("patch of created_at", r#"{"created_at":null}"#.into()),
        ("patch of a counter", r#"{"bytes_received":1}"#.into()),
        ("patch of an unknown field", r#"{"x":1}"#.into()),
        ("patch of epoch", r#"{"epoch":"e"}"#.into()),
        ("numeric codec", r#"{"video_codec":264}"#.into()),
        ("resolution as an object", r#"{"resolution":{"w":1}}"#.into()),
        ("frame rate as a string", r#"{"frame_rate":"25"}"#.into()),
        ("negative frame rate", r#"{"frame_rate":-1}"#.into()),
        ("infinite frame rate", r#"{"frame_rate":1e999}"#.into()),
        ("audio codec as a Boolean", r#"{"audio_codec":false}"#.into()),
        ("node as a list", r#"{"node":["n"]}"#.into()),
        ("node too long", format!(r#"{{"node":"{}"}}"#, "n".repeat(1025))),
        ("labels as a string", r#"{"labels":"a"}"#.into()),
        ("numeric label", r#"{"labels":{"a":1}}"#.into()),
        ("a label without a name", r#"{"labels":{"":"v"}}"#.into()),
        ("a label name that is too long", format!(r#"{{"labels":{{"{}":"v"}}}}"#, "l".repeat(65))),
        ("a label value that is too long", format!(r#"{{"labels":{{"a":"{}"}}}}"#, "v".repeat(257))),
        ("too many labels", format!(r#"{{"labels":{{{}}}}}"#, many.join(","))),
        ("too many labels together with the existing one", format!(r#"{{"labels":{{{}}}}}"#, many[..64].join(","))),
        ("a valid and an invalid field", r#"{"node":"n9","x":1}"#.into()),
    ] {
        cases.push(Case::new(cause, "PATCH", CAM).body(body));
    }
    cases.push(Case::new("unknown labels mode", "PATCH", format!("{CAM}?labels=what")).body("{}").detail("labels"));
    cases.push(
        Case::new("null with labels=replace", "PATCH", format!("{CAM}?labels=replace"))
            .body(r#"{"labels":{"a":null}}"#),
    );
    cases
}

fn paths_and_queries() -> Vec<Case> {
    let mut cases = Vec::new();
    for (cause, segment) in [
        ("a lone percent sign", "%"),
        ("an incomplete escape", "a%2"),
        ("an escape that is not hexadecimal", "%zz"),
        ("bytes that are not UTF-8", "%ff"),
        ("an overlong UTF-8 form", "%c0%af"),
        ("a control character", "a%00b"),
        ("a line feed", "a%0a"),
        ("a leading space", "%20a"),
        ("a reserved id", "active"),
        ("two dots", "%2e%2e"),
        ("one dot", "%2E"),
    ] {
        let path = format!("{POST}/{segment}");
        cases.push(Case::new(cause, "GET", &path));
        cases.push(Case::new(cause, "DELETE", &path));
        cases.push(Case::new(cause, "PUT", &path).body(r#"{"type":"srt","source_addr":"h:1"}"#));
        cases.push(Case::new(cause, "PATCH", &path).body("{}"));
        cases.push(Case::new(cause, "POST", format!("{path}/heartbeat")));
        cases.push(Case::new(cause, "PUT", format!("{path}/status")).body(r#"{"status":"active"}"#));
        cases.push(Case::new(cause, "PUT", format!("{path}/stats")).body(r#"{"bitrate":1}"#));
    }
    cases.push(Case::new("an id of 257 bytes", "GET", format!("{POST}/{}", "x".repeat(257))));
    for limit in ["0", "10001", "-1", "ten", "", "1.5", "+5", "0x10", "99999999999999999999", "1%20"] {
        cases.push(Case::new(format!("limit {limit:?}"), "GET", format!("{POST}?limit={limit}")).detail("limit"));
    }
    for by in ["", "codec", "Node", "node&by=type"] {
        cases.push(Case::new(format!("by {by:?}"), "GET", format!("/api/v1/summary?by={by}")).detail("by"));
    }
    for (name, value) in [("search", "x"), ("node", "n"), ("label", "l=v")] {
        let path = format!("{POST}?{name}={value}{}", "x".repeat(1_025));
        cases.push(Case::new(format!("a {name} of more than 1 KiB"), "GET", path).detail(name));
    }
    for cursor in [
        "v.",
        "v.id.n0.6161.00000000",
        "v.id.t.6161.00000000",
        "",
        "x",
        "m0",
        "m0000000000000001deadbeef",
        "%20",
        "a%00b",
        &"c".repeat(1025),
    ] {
        let cause: String = format!("cursor {cursor:?}").chars().take(60).collect();
        let path = format!("{POST}?cursor={cursor}");
        cases.push(Case::new(cause, "GET", path).expect(400, "invalid_cursor"));
    }
    let unknown = [
        ("GET", POST.to_owned(), ""),
        ("GET", "/api/v1/snapshot".to_owned(), ""),
        ("GET", "/api/v1/summary".to_owned(), ""),
        ("GET", "/api/v1/info".to_owned(), ""),
        ("GET", CAM.to_owned(), ""),
        ("POST", POST.to_owned(), VALID),
        ("PUT", CAM.to_owned(), r#"{"type":"srt","source_addr":"h:1"}"#),
        ("PATCH", CAM.to_owned(), "{}"),
        ("DELETE", CAM.to_owned(), ""),
        ("POST", format!("{CAM}/heartbeat"), ""),
        ("PUT", format!("{CAM}/status"), r#"{"status":"active"}"#),
        ("PUT", format!("{CAM}/stats"), r#"{"bitrate":1}"#),
    ];
    for (method, path, body) in unknown {
        let path = format!("{path}?limt=5");
        cases.push(Case::new("an unknown parameter", method, path).body(body).detail("limt"));
    }
    for (cause, query) in [
        ("a duplicate parameter", "limit=1&limit=2"),
        ("a parameter value with an invalid escape", "cursor=%zz"),
        ("a parameter name that is not UTF-8", "%ff=1"),
        ("an empty status", "status="),
        ("a type with a space", "type=a%20b"),
        ("a duplicate status", "status=active&status=paused"),
        ("a label without a value", "label=site"),
        ("a label without a name", "label==north"),
        ("an unknown sort field", "sort=loss"),
        ("a duplicate sort parameter", "sort=id&sort=id"),
        ("a sort field with two signs", "sort=--id"),
        ("an unknown filter", "codec=AV1"),
    ] {
        cases.push(Case::new(cause, "GET", format!("{POST}?{query}")));
    }
    cases
}

fn conditions() -> Vec<Case> {
    let mut cases = Vec::new();
    for (cause, query) in [
        ("an unknown policy", "on_conflict=replace"),
        ("an empty policy", "on_conflict="),
        ("take_over_if_stale without stale_ms", "on_conflict=take_over_if_stale"),
        ("stale_ms without take_over_if_stale", "stale_ms=5"),
        ("stale_ms that is not a number", "on_conflict=take_over_if_stale&stale_ms=soon"),
        ("stale_ms above 30 days", "on_conflict=take_over_if_stale&stale_ms=2592000001"),
        ("an unknown part of the address", "same_source=port"),
        ("lease that is not a flag", "lease=yes"),
        ("recover that is not a flag", "recover=1"),
        ("recover without an epoch", "recover=true"),
        ("force with a registration", "force=true"),
    ] {
        cases.push(Case::new(cause, "POST", format!("{POST}?{query}")).body(VALID));
    }
    let without_id = r#"{"type":"srt","source_addr":"h:1"}"#;
    let stale = format!("{POST}?on_conflict=take_over_if_stale&stale_ms=5");
    let recover = || Case::new("", "POST", format!("{POST}?recover=true")).header("Stream-Epoch", "e");
    let caused = |cause: &str, case: Case| Case { cause: cause.to_owned(), ..case };
    cases.extend([
        Case::new("take_over_if_stale without an id", "POST", &stale).body(without_id).expect(400, "unsupported"),
        caused("recovery without an id", recover())
            .body(r#"{"type":"srt","source_addr":"h:1","created_at":"2024-01-15T14:30:52Z"}"#)
            .detail("id"),
        caused("recovery without created_at", recover()).body(VALID).detail("created_at"),
        caused("recovery with null created_at", recover()).body(record("created_at", "null")).detail("created_at"),
        caused("recovery with an incomplete record", recover())
            .body(r#"{"id":"new","created_at":"2024-01-15T14:30:52Z"}"#),
        caused("recovery with a space in the epoch", recover()).header("Stream-Epoch", "a b").body(VALID),
        caused("recovery of another publisher's stream", recover())
            .body(r#"{"id":"cam1","type":"srt","source_addr":"h:9","created_at":"2024-01-15T14:30:52Z"}"#)
            .expect(409, "not_holder"),
        Case::new("a lease of another publisher's stream", "POST", format!("{POST}?lease=true"))
            .body(r#"{"id":"cam1","type":"srt","source_addr":"h:9"}"#)
            .expect(409, "already_exists"),
        Case::new(
            "take_over_if_stale of a stream that is not stale",
            "POST",
            format!("{POST}?on_conflict=take_over_if_stale&stale_ms=290000"),
        )
        .body(r#"{"id":"cam1","type":"srt","source_addr":"h:9"}"#)
        .expect(409, "already_exists"),
        Case::new("an epoch without recover", "POST", POST).header("Stream-Epoch", "e").body(VALID),
        Case::new("an empty operation id", "POST", POST).header("Idempotency-Key", "").body(VALID),
        Case::new("an operation id with a space", "POST", POST).header("Idempotency-Key", "a b").body(VALID),
        Case::new("an operation id that is too long", "POST", POST)
            .header("Idempotency-Key", "k".repeat(129))
            .body(VALID),
        Case::new("an operation id that is not ASCII", "DELETE", CAM).header("Idempotency-Key", "é"),
        Case::new("an end reason that is too long", "DELETE", format!("{CAM}?reason={}", "r".repeat(1025))),
    ]);
    for (method, path, body) in [
        ("PUT", CAM.to_owned(), r#"{"type":"srt","source_addr":"h:1"}"#),
        ("PATCH", CAM.to_owned(), "{}"),
        ("DELETE", CAM.to_owned(), ""),
        ("POST", format!("{CAM}/heartbeat"), ""),
        ("PUT", format!("{CAM}/status"), r#"{"status":"active"}"#),
        ("PUT", format!("{CAM}/stats"), r#"{"bitrate":1}"#),
    ] {
        let forced = format!("{path}?force=true");
        cases.extend([
            Case::new("an epoch and force", method, forced).header("Stream-Epoch", "e").body(body).detail("force"),
            Case::new("force that is not a flag", method, format!("{path}?force=1")).body(body).detail("force"),
            Case::new("an epoch with a space", method, &path).header("Stream-Epoch", "a b").body(body),
            Case::new("an epoch that is too long", method, &path).header("Stream-Epoch", "e".repeat(129)).body(body),
            Case::new("an epoch that belongs to no lease", method, &path)
                .header("Stream-Epoch", "e1")
                .body(body)
                .expect(409, "not_holder"),
        ]);
    }
    cases
}

fn batches() -> Vec<Case> {
    const PATH: &str = "/api/v1/heartbeats";
    let mut cases = Vec::new();
    for (cause, body) in not_json() {
        cases.push(Case::new(cause, "POST", PATH).body(body));
    }
    for media_type in ["", "text/plain", "application/merge-patch+json"] {
        cases.push(
            Case::new(format!("content type {media_type:?}"), "POST", PATH)
                .header("Content-Type", media_type)
                .body(r#"{"streams":[{"id":"cam1"}]}"#)
                .expect(415, "unsupported_type"),
        );
    }
    let many: Vec<_> = (0..1_001).map(|n| format!("{{\"id\":\"s{n}\"}}")).collect();
    let valid = r#"{"streams":[{"id":"cam1"}]}"#;
    cases.extend([
        Case::new("missing list", "POST", PATH).body("{}").detail("streams"),
        Case::new("streams as an object", "POST", PATH).body(r#"{"streams":{"id":"cam1"}}"#),
        Case::new("an unexpected field next to the list", "POST", PATH).body(r#"{"streams":[],"force":true}"#),
        Case::new("a list instead of an object", "POST", PATH).body(r#"[{"id":"cam1"}]"#),
        Case::new("1 001 streams", "POST", PATH).body(format!("{{\"streams\":[{}]}}", many.join(","))).detail("1000"),
        Case::new("more than 1 MiB", "POST", PATH)
            .body(format!("{}{}", valid, " ".repeat(1024 * 1024)))
            .expect(413, "too_large")
            .detail("1024 KiB"),
        Case::new("an epoch in the header", "POST", PATH)
            .header("Stream-Epoch", "e")
            .body(valid)
            .detail("Stream-Epoch"),
        Case::new("an unknown parameter", "POST", format!("{PATH}?limt=5")).body(valid).detail("limt"),
        Case::new("force that is not a flag", "POST", format!("{PATH}?force=1")).body(valid).detail("force"),
    ]);
    cases
}

#[tokio::test]
async fn invalid_input_is_rejected_and_changes_nothing() {
    let registry = Arc::new(MemoryRegistry::new());
    let mut cam = Stream::new("cam1".parse().unwrap(), StreamType::Srt, "203.0.113.7:40112");
    cam.labels.insert("tenant".into(), "acme".into());
    cam.bytes_received = 9_007_199_254_740_993;
    registry.register(&cam).await.unwrap();
    let server = Server::start(registry.clone(), ServeOptions::default()).await;
    let before = registry.snapshot().await.unwrap();

    let cases: Vec<_> = [media_types(), bodies(), partial_changes(), paths_and_queries(), conditions(), batches()]
        .into_iter()
        .flatten()
        .collect();
    let distinct: BTreeSet<_> =
        cases.iter().map(|case| (case.method, case.path.split('?').next(), case.cause.as_str())).collect();
    assert_eq!(distinct.len(), cases.len(), "two cases have the same route and cause");
    assert!(distinct.len() >= 90, "only {} cases", distinct.len());

    let mut wrong = Vec::new();
    for case in &cases {
        let headers: Vec<_> = case.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = server.request(case.method, &case.path, &headers, &case.body).await;
        let label = format!("{} {:.80}: {}", case.method, case.path, case.cause);
        let problem: serde_json::Value = serde_json::from_str(&answer.body).unwrap_or_default();
        let expected = answer.status == case.status
            && problem["code"] == case.code
            && answer.header("content-type") == "application/problem+json"
            && problem["detail"].as_str().is_some_and(|detail| !detail.is_empty() && detail.contains(case.detail));
        if !expected {
            wrong.push(format!("{label}: {} {}", answer.status, answer.body));
        }
        let after = registry.snapshot().await.unwrap();
        assert_eq!(after, before, "{label} changed the registry");
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[tokio::test]
async fn error_repeats_at_most_a_part_of_the_input() {
    let (server, _) = Server::memory().await;
    let name = "x".repeat(50_000);
    let (member, string) = (format!("{{\"{name}\":1}}"), format!("\"{name}\""));
    for (method, path) in [
        ("POST", "/api/v1/heartbeats"),
        ("POST", "/api/v1/streams"),
        ("PUT", "/api/v1/streams/a"),
        ("PUT", "/api/v1/streams/a/stats"),
        ("PUT", "/api/v1/streams/a/status"),
        ("PATCH", "/api/v1/streams/a"),
    ] {
        for body in [&member, &string, &format!("{{\"streams\":{string}}}")] {
            let answer = server.json(method, path, body).await;
            assert!(answer.status >= 400 && answer.body.len() < 2_000, "{method} {path}: {}", answer.body.len());
        }
    }
}
