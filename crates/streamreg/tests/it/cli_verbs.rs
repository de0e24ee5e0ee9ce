//! Runs each command on a store in the test's own process.

use std::num::NonZeroU32;
use std::sync::Mutex;
use std::time::Duration;

use clap::Parser;
use stream_registry::registry::StoreInfo;
use stream_registry::{
    Cursor, Error, ErrorKind, Guard, MemoryRegistry, Outcome, Page, RegisterOptions, Registered, Registry, Result,
    Snapshot, Stream, StreamId, StreamStatus, StreamType, Timestamp, UnregisterOptions, Write, forward_registry,
};
use streamreg::cli::Cli;
use streamreg::cli::output::Output;

/// Exit status, standard output and standard error of a command.
pub(super) type Printed = (u8, String, String);

/// Runs a command as the program does, on an open store.
async fn execute(registry: &dyn Registry, terminal: bool, args: &[&str], stdin: &str) -> Printed {
    let cli = Cli::try_parse_from(std::iter::once("streamreg").chain(args.iter().copied()))
        .unwrap_or_else(|error| panic!("{error}"));
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let mut out = Output {
        stdout: &mut stdout,
        stderr: &mut stderr,
        format: cli.global.output,
        terminal,
        width: None,
        colour: false,
        logs_notes: false,
        store: "http://127.0.0.1:8580",
    };
    let status = match streamreg::cli::execute(&cli, registry, &mut stdin.as_bytes(), &mut out).await {
        Ok(()) => 0,
        Err(failure) => out.report(&failure).code(),
    };
    (status, String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

pub(super) struct Shell {
    pub(super) registry: MemoryRegistry,
    pub(super) terminal: bool,
}

impl Shell {
    pub(super) fn new() -> Self {
        Self { registry: MemoryRegistry::new(), terminal: false }
    }

    pub(super) async fn run(&self, args: &[&str]) -> Printed {
        self.run_with(args, "").await
    }

    pub(super) async fn run_with(&self, args: &[&str], stdin: &str) -> Printed {
        execute(&self.registry, self.terminal, args, stdin).await
    }

    /// Runs a command that must succeed without output.
    pub(super) async fn silent(&self, args: &[&str]) {
        assert_eq!(self.run(args).await, (0, String::new(), String::new()), "{args:?}");
    }

    pub(super) async fn get(&self, id: &str) -> Stream {
        self.registry.get(&id.parse().unwrap()).await.unwrap()
    }
}

const CAM1: [&str; 7] = ["register", "--id", "cam1", "--type", "srt", "--source", "203.0.113.7:40112"];

#[tokio::test]
async fn register_prints_the_id_and_keeps_every_argument() {
    let shell = Shell::new();
    let more = ["--status", "active", "--node", "n1", "--label", "a=b=c", "--label", "empty="];
    let done = shell.run(&[&CAM1[..], &more].concat()).await;
    assert_eq!(done, (0, "cam1\n".into(), String::new()));
    let stream = shell.get("cam1").await;
    assert_eq!((stream.kind, stream.status.as_str()), (StreamType::Srt, "active"));
    assert_eq!((stream.source_addr.as_str(), stream.node.as_deref()), ("203.0.113.7:40112", Some("n1")));
    assert_eq!(stream.labels, [("a", "b=c"), ("empty", "")].map(|(k, v)| (k.into(), v.into())).into());
    // Scripts read the id, so `register` prints it in the same form for every output format.
    let again = shell.run(&[&CAM1[..], &["--output", "json"]].concat()).await;
    assert_eq!(again.1, "cam1\n");
}

#[tokio::test]
async fn publisher_address_that_is_not_host_and_port_causes_a_warning() {
    let shell = Shell::new();
    let warned = "streamreg: warning: the publisher address \"nonsense\" is not host:port, e.g. 203.0.113.7:40112\n";
    let register = ["register", "--id", "cam1", "--type", "srt", "--source", "nonsense"];
    assert_eq!(shell.run(&register).await, (0, "cam1\n".into(), warned.into()));
    assert_eq!(shell.get("cam1").await.source_addr, "nonsense");
    let json = r#"{"id":"cam1","type":"srt","source_addr":"nonsense"}"#;
    assert_eq!(shell.run_with(&["update", "--json", "-"], json).await, (0, String::new(), warned.into()));
    // An update may leave the address out.
    assert_eq!(shell.run_with(&["update", "--json", "-"], r#"{"id":"cam1","type":"srt"}"#).await.2, "");
}

#[tokio::test]
async fn register_without_an_id_generates_one() {
    let shell = Shell::new();
    let (status, first, _) = shell.run(&["register", "--type", "webrtc", "--source", "192.0.2.1:9"]).await;
    assert_eq!(status, 0);
    assert!(first.starts_with("webrtc_2"), "{first}");
    let (_, second, _) = shell.run(&["register", "--type", "webrtc", "--source", "192.0.2.1:9"]).await;
    assert_ne!(first, second);
    assert_eq!(shell.registry.list().await.unwrap().len(), 2);
}

#[tokio::test]
async fn register_prints_a_hint_about_expiry_on_a_terminal() {
    let shell = Shell { terminal: true, ..Shell::new() };
    let (_, stdout, stderr) = shell.run(&CAM1).await;
    assert_eq!(stdout, "cam1\n");
    assert_eq!(stderr, "registered; expires in 5m00s without a heartbeat: streamreg heartbeat \"cam1\"\n");
    assert!(shell.run(&CAM1).await.2.starts_with("registered again"));
    assert!(shell.run(&[&CAM1[..], &["--on-conflict", "take-over"]].concat()).await.2.starts_with("taken over"));
}

#[tokio::test]
async fn register_applies_the_conflict_policy() {
    let shell = Shell::new();
    shell.run(&CAM1).await;
    let other = |policy: &[&'static str]| {
        [&["register", "--id", "cam1", "--type", "rtp", "--source", "192.0.2.9:5004"][..], policy].concat()
    };
    for policy in [&[][..], &["--on-conflict", "reject"], &["--on-conflict", "create-only"]] {
        let (status, stdout, stderr) = shell.run(&other(policy)).await;
        assert_eq!((status, stdout.as_str()), (4, ""));
        assert_eq!(
            stderr,
            "streamreg: \"cam1\" is already a live stream of 203.0.113.7:40112 (srt); choose another --id, or \
             replace it with --on-conflict take-over\n"
        );
    }
    assert_eq!(shell.run(&[&CAM1[..], &["--on-conflict", "create-only"]].concat()).await.0, 4);
    assert_eq!(shell.run(&other(&["--on-conflict", "take-over"])).await.0, 0);
    assert_eq!(shell.get("cam1").await.source_addr, "192.0.2.9:5004");
    // The other stream was written a moment ago. It counts as stale after 1 ms, but not after 4 minutes.
    let if_stale = |after| [&CAM1[..], &["--on-conflict", "take-over-if-stale", "--stale", after]].concat();
    assert_eq!(shell.run(&if_stale("4m")).await.0, 4);
    assert_eq!(shell.get("cam1").await.source_addr, "192.0.2.9:5004");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while shell.run(&if_stale("1ms")).await.0 != 0 {
        assert!(std::time::Instant::now() < deadline, "the stream is never stale");
    }
    assert_eq!(shell.get("cam1").await.source_addr, "203.0.113.7:40112");
    // The same publisher reconnects from a new port.
    let reconnected = ["register", "--id", "cam1", "--type", "srt", "--source", "203.0.113.7:51480"];
    assert_eq!(shell.run(&reconnected).await.0, 4);
    assert_eq!(shell.run(&[&reconnected[..], &["--same-source", "host"]].concat()).await.0, 0);
    assert_eq!(shell.get("cam1").await.source_addr, "203.0.113.7:51480");
}

#[tokio::test]
async fn register_reads_a_record_and_keeps_unknown_fields() {
    let shell = Shell::new();
    let json = r#"{"type":"rtp","x-vendor":{"a":[1.50]},"source_addr":"[::1]:5004","id":"a/b","viewers":3}"#;
    let warning = "streamreg: warning: unknown field \"x-vendor\", stored as given\n";
    assert_eq!(shell.run_with(&["register", "--json", "-"], json).await, (0, "a/b\n".into(), warning.into()));
    let (_, stdout, _) = shell.run(&["get", "a/b"]).await;
    assert!(stdout.ends_with("\"viewers\":3,\"x-vendor\":{\"a\":[1.50]}}\n"), "{stdout}");
    let json = r#"{"type":"rtp","source_addr":"[::1]:5004"}"#;
    let (_, stdout, _) = shell.run_with(&["register", "--json", "-"], json).await;
    assert!(stdout.starts_with("rtp_2"), "{stdout}");
}

#[tokio::test]
async fn list_reads_all_pages_in_every_format() {
    let shell = Shell::new();
    for n in 0..2_500 {
        let id = format!("cam{n:04}").parse().unwrap();
        shell.registry.register(&Stream::new(id, StreamType::Srt, "203.0.113.7:1")).await.unwrap();
    }
    let (status, jsonl, stderr) = shell.run(&["list"]).await;
    assert_eq!((status, stderr.as_str()), (0, ""));
    let records: Vec<_> = jsonl.lines().map(|line| Stream::from_json(line).unwrap()).collect();
    assert_eq!(records.len(), 2_500);
    assert!(records.is_sorted_by(|a, b| a.id < b.id), "sorted, without duplicates");
    let (_, json, _) = shell.run(&["list", "--output", "json"]).await;
    let array: Vec<serde_json::Value> = serde_json::from_str(&json).unwrap();
    assert_eq!(array.len(), 2_500);
    // Records are printed exactly as stored.
    assert!(json.contains(&shell.get("cam0700").await.to_json()));
    let (_, table, _) = shell.run(&["--output", "table", "list"]).await;
    assert_eq!(table.lines().count(), 2_501);
}

#[tokio::test]
async fn list_and_summary_apply_filters() {
    let shell = Shell::new();
    for n in 0..12_u64 {
        let kind = if n % 2 == 0 { StreamType::Srt } else { StreamType::Rtp };
        let mut stream = Stream::new(format!("cam{n:02}").parse().unwrap(), kind, "203.0.113.7:1");
        stream.node = (n % 3 == 0).then(|| "Ingest-1".to_owned());
        stream.labels = [("tier".to_owned(), (n % 4).to_string())].into();
        stream.bitrate = 12 - n;
        shell.registry.register(&stream).await.unwrap();
    }
    for (args, ids) in [
        (&["--type", "srt", "--node", "Ingest-1"][..], &["cam00", "cam06"][..]),
        (&["--search", "INGEST", "--sort", "bitrate"], &["cam09", "cam06", "cam03", "cam00"]),
        (&["--label", "tier=1", "--sort", "-id"], &["cam09", "cam05", "cam01"]),
        (&["--label", "tier=1", "--node", "Ingest-1"], &["cam09"]),
        (&["--search", "cam1", "--sort", "-bitrate"], &["cam10", "cam11"]),
    ] {
        let (status, stdout, stderr) = shell.run(&[&["list"], args].concat()).await;
        assert_eq!((status, stderr.as_str()), (0, ""), "{args:?}");
        let listed: Vec<_> = stdout.lines().map(|line| Stream::from_json(line).unwrap().id.to_string()).collect();
        assert_eq!(listed, ids, "{args:?}");
    }
    let none = shell.run(&["list", "--status", "error"]).await;
    assert_eq!(none, (0, String::new(), "no streams match; try fewer filters\n".into()));
    let (_, table, _) = shell.run(&["summary", "--by", "node", "--output", "table"]).await;
    let lines: Vec<_> = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
    assert_eq!(lines[1], ["-", "8", "48", "bit/s"]);
    assert_eq!((&lines[2], &lines[3]), (&vec!["Ingest-1", "4", "30", "bit/s"], &vec!["all", "12", "78", "bit/s"]));
    let (_, jsonl, _) = shell.run(&["summary", "--type", "rtp"]).await;
    let expected = r#"{"key":"connecting","streams":6,"bitrate":36,"packets_received":0,"packets_lost":0}"#;
    assert_eq!(jsonl, format!("{expected}\n"));
    let (_, json, _) = shell.run(&["summary", "--type", "rtp", "--output", "json"]).await;
    assert_eq!(json, format!(r#"{{"by":"status","total":6,"bitrate":36,"groups":[{expected}]}}"#) + "\n");
}

#[tokio::test]
async fn empty_list_suggests_the_demo() {
    let mut shell = Shell::new();
    let note = "no live streams; try `streamreg demo`\n";
    for (format, stdout) in [("json", "[]\n"), ("jsonl", ""), ("table", "")] {
        assert_eq!(shell.run(&["list", "--output", format]).await, (0, stdout.into(), note.into()));
    }
    shell.terminal = true;
    shell.run(&CAM1).await;
    let (_, stdout, _) = shell.run(&["list"]).await;
    assert!(stdout.starts_with("ID    TYPE  STATUS"), "a table on a terminal: {stdout}");
}

#[tokio::test]
async fn get_shows_fields_on_a_terminal_and_json_otherwise() {
    let mut shell = Shell::new();
    shell.run(&CAM1).await;
    let record = shell.get("cam1").await.to_json() + "\n";
    for format in [&[][..], &["--output", "json"], &["--output", "jsonl"]] {
        assert_eq!(shell.run(&[&["get", "cam1"], format].concat()).await, (0, record.clone(), String::new()));
    }
    shell.terminal = true;
    let (_, stdout, _) = shell.run(&["get", "cam1"]).await;
    assert!(stdout.contains("\nsource_addr       203.0.113.7:40112\n"), "{stdout}");
    assert_eq!(stdout.lines().count(), 13);
    let (status, stdout, stderr) = shell.run(&["get", "cam2"]).await;
    assert_eq!((status, stdout.as_str()), (3, ""));
    assert_eq!(stderr, "streamreg: no live stream has the id \"cam2\"; see `streamreg list`\n");
}

/// A record with values that would control a terminal.
fn hostile() -> Stream {
    let mut hostile = Stream::new("cam\u{202e}1".parse().unwrap(), "x\u{9b}2J".parse().unwrap_or(StreamType::Srt), "");
    hostile.source_addr = "\u{1b}]0;owned\u{7}".into();
    hostile.video_codec = "\u{9b}2J\r\n".into();
    hostile.labels.insert("\u{1b}[1m".into(), "\u{7f}".into());
    hostile.node = Some("\u{2066}n".into());
    hostile
}

#[track_caller]
fn assert_escaped(text: &str) {
    let bad = text.chars().find(|c| c.is_control() && *c != '\n' || ('\u{202a}'..='\u{2069}').contains(c));
    assert_eq!(bad, None, "{text:?}");
}

#[tokio::test]
async fn records_are_escaped_on_a_terminal_in_every_format() {
    let mut shell = Shell::new();
    let hostile = hostile();
    shell.registry.register(&hostile).await.unwrap();
    let id = hostile.id.as_str();
    shell.terminal = true;
    for format in ["table", "wide", "name", "json", "jsonl", "yaml"] {
        for verb in
            [&["list"][..], &["get", id], &["history"], &["heartbeat", "no\u{202e}ne"], &["unregister", "no\u{202e}ne"]]
        {
            let (_, stdout, stderr) = shell.run(&[&["--output", format], verb].concat()).await;
            assert_escaped(&(stdout + &stderr));
        }
    }
    // Without a terminal, the record is printed exactly as stored.
    shell.terminal = false;
    assert_eq!(shell.run(&["get", id]).await.1, shell.get(id).await.to_json() + "\n");
}

#[tokio::test]
async fn events_are_escaped_on_a_terminal_in_every_format() {
    for format in ["table", "wide", "name", "json", "jsonl", "yaml"] {
        let mut shell = Shell::new();
        shell.terminal = true;
        let hostile = hostile();
        shell.registry.register(&hostile).await.unwrap();
        let reason = UnregisterOptions::default().reason("\u{1b}]0;owned\u{7}".parse().unwrap());
        shell.registry.unregister_with(&hostile.id, &reason).await.unwrap();
        // The watch prints both events before it has to wait. Closing the registry ends it.
        let watch = ["--output", format, "watch", "--from", "oldest"];
        let ((_, stdout, stderr), closed) = tokio::join!(shell.run(&watch), shell.registry.close());
        closed.unwrap();
        assert_eq!(stdout.matches("cam").count(), 2, "{format}: {stdout:?} {stderr:?}");
        assert_escaped(&(stdout + &stderr));
    }
}

#[tokio::test]
async fn heartbeat_reports_each_missing_id() {
    let shell = Shell::new();
    shell.run(&CAM1).await;
    let before = shell.get("cam1").await.last_heartbeat;
    let (status, stdout, stderr) = shell.run(&["heartbeat", "cam0", "cam1", "cam2"]).await;
    assert_eq!((status, stdout.as_str()), (3, ""));
    assert_eq!(stderr.lines().count(), 2, "{stderr}");
    assert!(stderr.contains("\"cam0\"") && stderr.contains("\"cam2\""), "{stderr}");
    assert!(shell.get("cam1").await.last_heartbeat > before);
    shell.silent(&["heartbeat", "cam1", "cam1"]).await;
}

#[tokio::test]
async fn heartbeat_accepts_more_ids_than_fit_in_one_call() {
    let shell = Shell::new();
    shell.run(&CAM1).await;
    let ids = vec!["cam1"; 2_345];
    shell.silent(&[&["heartbeat"], &ids[..]].concat()).await;
}

#[tokio::test]
async fn set_changes_only_the_given_fields() {
    let shell = Shell::new();
    shell.run(&CAM1).await;
    let first = ["--bytes-received", "9223372036854775807", "--packets-received", "7", "--packets-lost", "3"];
    shell.silent(&[&["set", "cam1"], &first[..]].concat()).await;
    shell.silent(&["set", "cam1", "--bitrate", "5000000", "--packets-lost", "4"]).await;
    shell.silent(&["set", "cam1", "--status", "active", "--video-codec", "HEVC", "--resolution", "1920x1080"]).await;
    shell.silent(&["set", "cam1", "--frame-rate", "29.97", "--label", "a=1", "--label", "b="]).await;
    let stream = shell.get("cam1").await;
    assert_eq!((stream.bytes_received, stream.packets_received), (i64::MAX as u64, 7));
    assert_eq!((stream.packets_lost, stream.bitrate), (4, 5_000_000));
    assert_eq!((stream.status, stream.video_codec.as_str()), (StreamStatus::Active, "HEVC"));
    assert_eq!((stream.resolution.as_str(), stream.frame_rate), ("1920x1080", 29.97));
    assert_eq!(stream.labels["b"], "");
    shell.silent(&["set", "cam1", "--remove-label", "a", "--video-codec", "", "--frame-rate", "0"]).await;
    let stream = shell.get("cam1").await;
    assert_eq!(stream.labels.keys().collect::<Vec<_>>(), ["b"]);
    assert_eq!((stream.video_codec.as_str(), stream.frame_rate), ("", 0.0));
}

#[tokio::test]
async fn set_rounds_fractions_and_reads_a_negative_loss_as_zero() {
    let shell = Shell::new();
    shell.run(&CAM1).await;
    let set = ["set", "cam1", "--bitrate", "5.4670000000001M", "--bytes-received", "1.5e6", "--packets-lost", "-3"];
    shell.silent(&set).await;
    let stream = shell.get("cam1").await;
    assert_eq!((stream.bitrate, stream.bytes_received, stream.packets_lost), (5_467_000, 1_500_000, 0));
}

#[tokio::test]
async fn set_reports_a_missing_stream_once() {
    let shell = Shell::new();
    let changes = [&["--status", "active"][..], &["--bitrate", "1"], &["--label", "a=b", "--status", "x"]];
    for change in changes {
        let (status, _, stderr) = shell.run(&[&["set", "gone"], change].concat()).await;
        assert_eq!(status, 3);
        assert_eq!(stderr, "streamreg: no live stream has the id \"gone\"; see `streamreg list`\n");
    }
}

#[tokio::test]
async fn set_applies_all_other_changes_when_there_are_too_many_labels() {
    let shell = Shell::new();
    let labels: Vec<String> = (0..64).map(|n| format!("--label=l{n}=x")).collect();
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    shell.run(&[&CAM1[..], &labels].concat()).await;
    let (status, _, stderr) = shell.run(&["set", "cam1", "--label", "one=more", "--status", "active"]).await;
    assert_eq!(status, 1);
    assert!(
        stderr.contains("at most 64") && stderr.ends_with("all changes except the patch were applied\n"),
        "{stderr}"
    );
    let stream = shell.get("cam1").await;
    assert_eq!((stream.labels.len(), stream.status), (64, StreamStatus::Active));
}

#[tokio::test]
async fn update_replaces_the_record_and_keeps_created_at() {
    let shell = Shell::new();
    shell.run(&CAM1).await;
    let before = shell.get("cam1").await;
    let json =
        r#"{"id":"cam1","type":"rtp","source_addr":"a:1","status":"paused","created_at":"2020-01-01T00:00:00Z","q":7}"#;
    let warning = "streamreg: warning: unknown field \"q\", stored as given\n";
    assert_eq!(shell.run_with(&["update", "--json", "-"], json).await, (0, String::new(), warning.into()));
    let after = shell.get("cam1").await;
    assert_eq!((after.kind.as_str(), after.created_at), ("rtp", before.created_at));
    assert!(after.last_heartbeat > before.last_heartbeat && after.to_json().ends_with("\"q\":7}"));
    let json = json.replace("cam1", "cam2");
    assert_eq!(shell.run_with(&["update", "--json", "-"], &json).await.0, 3);
}

#[tokio::test]
async fn unregister_reports_missing_ids_and_removes_the_others() {
    let shell = Shell::new();
    shell.run(&CAM1).await;
    let (status, stdout, stderr) = shell.run(&["rm", "cam0", "cam1"]).await;
    assert_eq!((status, stdout.as_str(), stderr.lines().count()), (3, "", 1));
    assert!(shell.registry.list().await.unwrap().is_empty());
    shell.run(&CAM1).await;
    let (status, stdout, _) = shell.run(&["unregister", "cam1", "--reason", "end of event", "--output", "jsonl"]).await;
    assert_eq!(status, 0);
    assert!(stdout.ends_with("\"end_reason\":\"end of event\"}\n"), "{stdout}");
}

#[tokio::test]
async fn unregister_by_node_removes_only_streams_of_that_node() {
    let shell = Shell::new();
    for (id, node) in [("a", Some("n1")), ("b", Some("n2")), ("c", None), ("d", Some("n1"))] {
        let mut stream = Stream::new(id.parse().unwrap(), StreamType::Srt, "x:1");
        stream.node = node.map(String::from);
        shell.registry.register(&stream).await.unwrap();
    }
    let done = shell.run(&["unregister", "--node", "n1"]).await;
    assert_eq!(done, (0, String::new(), "unregistered 2 streams of node \"n1\"\n".into()));
    let mut left: Vec<_> = shell.registry.list().await.unwrap().into_iter().map(|s| s.id.to_string()).collect();
    left.sort();
    assert_eq!(left, ["b", "c"]);
    assert_eq!(
        shell.run(&["unregister", "--node", "n1", "--force"]).await.2,
        "unregistered 0 streams of node \"n1\"\n"
    );
}

/// Registers `a` and `b` of node `n1`, and `c` of node `n2`. A lease holds `b`.
async fn register_on_nodes(shell: &Shell) {
    for (id, node, leased) in [("a", "n1", false), ("b", "n1", true), ("c", "n2", false)] {
        let mut stream = Stream::new(id.parse().unwrap(), StreamType::Srt, "x:1");
        stream.node = Some(node.into());
        let mut options = RegisterOptions::default();
        options.lease = leased;
        shell.registry.register_with(&stream, &options).await.unwrap();
    }
}

async fn live(shell: &Shell) -> Vec<String> {
    let mut ids: Vec<_> =
        shell.registry.list().await.unwrap().into_iter().map(|stream| stream.id.to_string()).collect();
    ids.sort();
    ids
}

#[tokio::test]
async fn unregister_names_each_ended_stream_on_a_terminal() {
    let shell = Shell { terminal: true, ..Shell::new() };
    register_on_nodes(&shell).await;
    let (status, stdout, stderr) = shell.run(&["unregister", "a", "x\u{202e}", "c"]).await;
    assert_eq!((status, stdout.as_str()), (3, ""));
    let lines: Vec<_> = stderr.lines().collect();
    assert_eq!((lines.len(), lines[0], lines[2]), (3, "ended \"a\"", "ended \"c\""), "{stderr}");
    assert_eq!(live(&shell).await, ["b"]);
}

#[tokio::test]
async fn unregister_by_node_asks_on_a_terminal() {
    let shell = Shell { terminal: true, ..Shell::new() };
    register_on_nodes(&shell).await;
    let unregister = ["unregister", "--node", "n1"];
    for answer in ["", "\n", "n\ny\n", "yy\n"] {
        let refused = "end 2 streams of node \"n1\"? [y/N] streamreg: no stream was ended; answer y, or pass --yes\n";
        assert_eq!(shell.run_with(&unregister, answer).await, (1, String::new(), refused.into()), "{answer:?}");
    }
    assert_eq!(live(&shell).await, ["a", "b", "c"]);
    let (status, _, stderr) = shell.run_with(&unregister, "y\n").await;
    assert!(status == 4 && stderr.ends_with("unregistered 1 stream of node \"n1\"\n"), "{stderr}");
    let done = shell.run(&["unregister", "--node", "n1", "--force", "--yes"]).await;
    assert_eq!(done, (0, String::new(), "unregistered 1 stream of node \"n1\"\n".into()));
    // Without streams, there is nothing to ask.
    assert_eq!(shell.run(&unregister).await, (0, String::new(), "unregistered 0 streams of node \"n1\"\n".into()));
}

#[tokio::test]
async fn dry_run_lists_what_would_end_and_changes_nothing() {
    for terminal in [false, true] {
        let shell = Shell { terminal, ..Shell::new() };
        register_on_nodes(&shell).await;
        for (which, status, listed, reported) in [
            (&["a", "c"][..], 0, &["a", "c"][..], &[][..]),
            (&["a", "b", "gone"], 3, &["a"], &["no live stream has the id \"gone\"", "\"b\" is leased"]),
            (&["b", "--force"], 0, &["b"], &[]),
            (&["--node", "n1"], 4, &["a"], &["\"b\" is leased"]),
            (&["--node", "n1", "--force"], 0, &["a", "b"], &[]),
            (&["--node", "n3"], 0, &[], &[]),
        ] {
            let args = [&["unregister", "--dry-run", "--output", "jsonl"], which].concat();
            let (code, stdout, stderr) = shell.run(&args).await;
            let ids: Vec<_> = stdout.lines().map(|line| Stream::from_json(line).unwrap().id.to_string()).collect();
            assert_eq!(
                (code, &ids[..]),
                (status, &listed.iter().map(ToString::to_string).collect::<Vec<_>>()[..]),
                "{which:?}"
            );
            let lines: Vec<_> = stderr.lines().collect();
            assert_eq!(lines.len(), reported.len() + 1, "{which:?}: {stderr}");
            assert!(reported.iter().zip(&lines).all(|(text, line)| line.contains(text)), "{which:?}: {stderr}");
            let streams = if ids.len() == 1 { "1 stream".to_owned() } else { format!("{} streams", ids.len()) };
            assert_eq!(lines[lines.len() - 1], format!("would end {streams}; nothing was changed"));
            assert_eq!(live(&shell).await, ["a", "b", "c"], "{which:?}");
        }
    }
}

#[tokio::test]
async fn writes_fail_when_the_store_is_read_only() {
    let shell = Shell { registry: MemoryRegistry::new().read_only(), terminal: false };
    for verb in [&CAM1[..], &["heartbeat", "cam1"], &["set", "cam1", "--status", "x"], &["unregister", "cam1"]] {
        let (status, _, stderr) = shell.run(verb).await;
        assert_eq!(status, 1, "{verb:?}");
        assert!(stderr.contains("read-only") && stderr.lines().count() == 1, "{stderr}");
    }
}

/// A store with scripted pages and errors, which the in-memory store cannot produce.
#[derive(Debug, Default)]
struct Scripted {
    /// Pages of the list. Each record is an id and its stored JSON.
    pages: Vec<Vec<(&'static str, &'static str)>>,
    unreadable: u64,
    /// Function that returns the error for a write to a stream or for its removal, if there is one.
    fault: Option<fn(&StreamId) -> Option<Error>>,
    /// Ids and guards of the requested removals.
    removals: Mutex<Vec<(String, Guard)>>,
    /// The number of writes in each call of `write`.
    written: Mutex<Vec<usize>>,
}

impl Scripted {
    fn result(&self, id: &StreamId) -> Result<()> {
        self.fault.and_then(|fault| fault(id)).map_or(Ok(()), Err)
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait::async_trait]
impl Registry for Scripted {
    async fn register_with(&self, stream: &Stream, _: &RegisterOptions) -> Result<Registered> {
        self.result(&stream.id)?;
        Ok(Registered::new(stream.clone(), Outcome::Created, Duration::from_secs(300)))
    }
    async fn unregister_with(&self, id: &StreamId, options: &UnregisterOptions) -> Result<Stream> {
        self.removals.lock().unwrap().push((id.to_string(), options.guard.clone()));
        self.result(id)?;
        Ok(Stream::new(id.clone(), StreamType::Srt, "a:1"))
    }
    async fn write(&self, writes: &[Write]) -> Result<Vec<Result<()>>> {
        self.written.lock().unwrap().push(writes.len());
        Ok(writes
            .iter()
            .map(|write| if write.guard == Guard::Force { Ok(()) } else { self.result(&write.id) })
            .collect())
    }
    async fn get(&self, id: &StreamId) -> Result<Stream> {
        Ok(Stream::new(id.clone(), StreamType::Srt, "a:1"))
    }
    async fn snapshot(&self) -> Result<Snapshot> {
        Err(Error::unsupported("this store lists by pages only"))
    }
    async fn list_page(&self, cursor: Option<&Cursor>, _: NonZeroU32) -> Result<Page> {
        let at = cursor.map_or(0, |cursor| cursor.as_str().parse().unwrap());
        let streams = self.pages[at].iter().map(|(id, json)| Stream::from_stored(&id.parse().unwrap(), json).unwrap());
        let next = (at + 1 < self.pages.len()).then(|| (at + 1).to_string().parse().unwrap());
        let mut page = Page::new(streams.collect(), next, 0);
        page.unreadable = self.unreadable;
        Ok(page)
    }
    async fn ping(&self) -> Result<()> {
        Ok(())
    }
    fn info(&self) -> StoreInfo {
        StoreInfo::new("scripted", Duration::from_secs(300))
    }
    async fn close(&self) -> Result<()> {
        Ok(())
    }

    forward_registry!(provided => metrics, now, watch, get_many, find, summary, history, register_new, conveniences);
}

#[tokio::test]
async fn stream_on_two_pages_is_listed_once_with_its_last_record() {
    let pages = vec![
        vec![("b", r#"{"status":"active"}"#), ("a", "{}")],
        vec![],
        vec![("b", r#"{"status":"paused"}"#), ("c", "{}")],
    ];
    let store = Scripted { pages, unreadable: 1, ..Scripted::default() };
    let (status, stdout, stderr) = execute(&store, false, &["list"], "").await;
    let ids: Vec<_> = stdout.lines().map(|line| &line[..9]).collect();
    assert_eq!((status, ids), (0, vec![r#"{"id":"a""#, r#"{"id":"b""#, r#"{"id":"c""#]));
    assert!(stdout.contains(r#""status":"paused""#), "{stdout}");
    assert_eq!(stderr, "skipped 3 unreadable records (see the server log)\n");
}

#[tokio::test]
async fn forced_unregister_by_node_removes_only_the_listed_leases() {
    let pages = vec![vec![
        ("a", r#"{"node":"n1","epoch":"e1"}"#),
        ("b", r#"{"node":"n1"}"#),
        ("c", r#"{"node":"n2","epoch":"e2"}"#),
        ("d", r#"{"node":"n1"}"#),
    ]];
    let gone: fn(&StreamId) -> Option<Error> = |id| (id.as_str() == "b").then(|| Error::not_found(id));
    let store = Scripted { pages: pages.clone(), fault: Some(gone), ..Scripted::default() };
    let (status, _, stderr) = execute(&store, false, &["unregister", "--node", "n1", "--force"], "").await;
    // If a stream has already ended, its removal does not count as a failure.
    assert_eq!((status, stderr.as_str()), (0, "unregistered 2 streams of node \"n1\"\n"));
    let holder = Guard::Holder("e1".parse().unwrap());
    let expected = [("a".into(), holder), ("b".into(), Guard::None), ("d".into(), Guard::None)];
    assert_eq!(*store.removals.lock().unwrap(), expected);

    let leased: fn(&StreamId) -> Option<Error> = |id| (id.as_str() == "a").then(|| Error::not_holder(id));
    let store = Scripted { pages, fault: Some(leased), ..Scripted::default() };
    let (status, _, stderr) = execute(&store, false, &["unregister", "--node", "n1"], "").await;
    assert_eq!(status, 4);
    assert!(stderr.starts_with("streamreg: \"a\" is leased"), "{stderr}");
    assert!(stderr.ends_with("unregistered 2 streams of node \"n1\"\n"), "{stderr}");
}

#[tokio::test]
async fn writes_to_a_leased_stream_need_force() {
    let leased: fn(&StreamId) -> Option<Error> = |id| Some(Error::not_holder(id));
    let store = Scripted { fault: Some(leased), ..Scripted::default() };
    let json = r#"{"id":"a","type":"srt"}"#;
    for verb in [&["heartbeat", "a"][..], &["set", "a", "--status", "x"], &["update", "--json", "-"]] {
        let (status, _, stderr) = execute(&store, false, verb, json).await;
        assert_eq!(status, 4, "{verb:?}");
        assert!(stderr.contains("--force") && stderr.lines().count() == 1, "{stderr}");
        let (status, _, stderr) = execute(&store, false, &[verb, &["--force"]].concat(), json).await;
        assert_eq!((status, stderr.as_str()), (0, ""), "{verb:?}");
    }
    execute(&store, false, &["unregister", "a", "--force"], "").await;
    assert_eq!(*store.removals.lock().unwrap(), [("a".into(), Guard::Force)]);
}

#[tokio::test]
async fn set_sends_all_changes_in_one_call() {
    let store = Scripted::default();
    let set =
        ["set", "a", "--status", "x", "--bitrate", "1", "--label", "a=b", "--resolution", "1x1", "--packets-lost", "2"];
    assert_eq!(execute(&store, false, &set, "").await, (0, String::new(), String::new()));
    assert_eq!(*store.written.lock().unwrap(), [3]);
}

#[tokio::test]
async fn unreachable_store_ends_the_command_and_decides_its_exit_status() {
    let fault: fn(&StreamId) -> Option<Error> = |id| match id.as_str() {
        "a" => Some(Error::not_found(id)),
        _ => Some(Error::new(ErrorKind::Timeout, "no answer in 2 s").with_stream(id)),
    };
    let store = Scripted { fault: Some(fault), ..Scripted::default() };
    let (status, _, stderr) = execute(&store, false, &["unregister", "a", "b", "c"], "").await;
    assert_eq!((status, stderr.lines().count()), (5, 2), "{stderr}");
    assert!(stderr.contains("the change may have been applied"), "{stderr}");
    assert_eq!(store.removals.lock().unwrap().len(), 2, "the removal of c must not be requested");
}

/// A store whose clock is three hours ahead of the local clock.
#[derive(Debug)]
struct Ahead(MemoryRegistry);

#[deny(clippy::missing_trait_methods)]
impl Registry for Ahead {
    forward_registry!(|this| this.0 => register_with, unregister_with, write, get, snapshot, list_page, ping, info);
    forward_registry!(|this| this.0 => metrics, close, watch, get_many, find, summary, history, register_new, conveniences);

    fn now(&self) -> Timestamp {
        Timestamp::from_unix_nanos(Timestamp::now().as_unix_nanos() + 3 * 3_600 * 1_000_000_000)
    }
}

#[tokio::test]
async fn ages_in_tables_are_computed_with_the_clock_of_the_store() {
    let store = Ahead(MemoryRegistry::new());
    execute(&store, false, &CAM1, "").await;
    for args in [&["list", "--output", "table"][..], &["get", "cam1", "--output", "table"]] {
        let (status, stdout, _) = execute(&store, true, args, "").await;
        assert!(status == 0 && stdout.contains("3h"), "{args:?}: {stdout}");
    }
    execute(&store, false, &["unregister", "cam1"], "").await;
    let (status, stdout, _) = execute(&store, true, &["history", "--output", "table"], "").await;
    assert!(status == 0 && stdout.contains("3h"), "history: {stdout}");
}
