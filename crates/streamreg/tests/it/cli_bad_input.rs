//! Invalid command lines: exit status, and a one-line message that names the problem.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use super::cli::write_private;

/// Runs the program without a store in its environment.
fn run(dir: &Path, args: &[&str], variables: &[(&str, &str)], stdin: &[u8]) -> (Option<i32>, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_streamreg"))
        .args(args)
        .current_dir(dir)
        .env_remove("STREAMREG_STORE")
        .env_remove("RUST_LOG")
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Writing may fail, because a command that rejects its arguments does not read its input.
    let _ = child.stdin.take().unwrap().write_all(stdin);
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// Runs a case and returns a description of any deviation.
fn check(dir: &Path, args: &[&str], stdin: &[u8], code: i32, expected: &str) -> Option<String> {
    let (status, stdout, stderr) = run(dir, args, &[], stdin);
    let one = stderr.starts_with("streamreg: ") && stderr.ends_with('\n') && stderr.lines().count() == 1;
    // A plain message has no clap heading, no debug output of a type, and no control characters.
    let plain = !stderr.trim_end().contains(char::is_control) && !stderr.contains("Error {");
    if status == Some(code) && stdout.is_empty() && one && plain && stderr.contains(expected) {
        return None;
    }
    Some(format!("{args:?}: {status:?} instead of {code} with {expected:?}: {stdout:?} {stderr:?}"))
}

/// Each case has arguments, the expected exit status, and a part of the expected message. Standard input is empty.
const CASES: &[(&[&str], i32, &str)] = &[
    // Commands and global options.
    (&["--output", "json"], 2, "no command"),
    (&["lst"], 2, "'list'"),
    (&["help", "lst"], 2, "lst"),
    (&["watch", "cam1"], 2, "cam1"),
    (&["register", "cam1", "--type", "srt"], 2, "'cam1' found; pass the id with --id; see"),
    (&["watch", "--from", ""], 2, "revision"),
    (&["watch", "--from", "a b"], 2, "revision"),
    (&["watch", "--store", "memory:"], 2, "memory:"),
    (&["wait", "cam1"], 2, "--for"),
    (&["wait", "--for", "status=active"], 2, "<ID>"),
    (&["wait", "cam1", "--status", "a b"], 2, "status"),
    (&["wait", "cam1", "--for", "status=a b"], 2, "--for"),
    (&["wait", "cam1", "--for", "active"], 2, "status=active"),
    (&["wait", "cam1", "--for", "ended", "--status", "active"], 2, "--status"),
    (&["wait", "cam1", "--for", "ended", "--timeout", "0s"], 2, "greater than zero"),
    (&["history", "--limit", "0"], 2, "--limit"),
    (&["history", "--limit", "10001"], 2, "--limit"),
    (&["history", "--id", "active"], 2, "active"),
    (&["list", "--outptu", "json"], 2, "--outptu"),
    (&["list", "--output", "xml"], 2, "xml"),
    (&["list", "--output"], 2, "--output"),
    (&["list", "cam1", "--node", "n1"], 2, "--node"),
    (&["list", "cam1", "--sort", "id"], 2, "--sort"),
    (&["list", "cam1", ""], 2, "empty"),
    (&["list", "--limit", "0"], 2, "--limit"),
    (&["list", "--columns", "id,colour"], 2, "colour"),
    (&["list", "--columns", ""], 2, "--columns"),
    (&["list", "-w", "--limit", "5"], 2, "--limit"),
    (&["list", "-l", "site"], 2, "name=value"),
    (&["watch", "--status", "a b"], 2, "--status"),
    (&["watch", "--local", "--exec", "true"], 2, "--local"),
    (&["list", "--status", ""], 2, "--status"),
    (&["list", "--type", "a b"], 2, "--type"),
    (&["list", "--label", "site"], 2, "name=value"),
    (&["list", "--label", "=x"], 2, "--label"),
    (&["list", "--sort", "loss"], 2, "last_heartbeat"),
    (&["list", "--sort", "--id"], 2, "--sort"),
    (&["list", "--codec", "AV1"], 2, "--codec"),
    (&["summary", "--by", "codec"], 2, "codec"),
    (&["summary", "cam1"], 2, "cam1"),
    (&["list", "--store", "nonsense"], 2, "URL"),
    (&["list", "--store", "ftp://host"], 2, "redis://"),
    (&["list", "--store", ""], 2, "URL"),
    (&["list", "--store", "redis+cluster://host:7000/1"], 2, "only database 0"),
    (&["list", "--store", "redis+sentinel://host:26379"], 2, "no name of a service"),
    (&["list", "--store", "memory:"], 2, "memory:"),
    (&["get", "cam1", "--store", "memory:"], 2, "streamreg serve"),
    (&["list", "--store", "redis://h", "--store-file", "url"], 2, "--store-file"),
    (&["list", "--store-file", "missing"], 2, "--store-file missing"),
    (&["list", "--store-file", "empty"], 2, "--store-file empty"),
    (&["list", "--store-file", "binary"], 2, "UTF-8"),
    (&["list", "--store-file", "large"], 2, "64 KiB"),
    (&["list", "--store-file", "."], 2, "--store-file"),
    (&["list", "--ttl", "5m"], 2, "--ttl"),
    (&["list", "--prefix", "a:"], 2, "--prefix"),
    (&["list", "--store", "https://host", "--ttl", "5m"], 2, "--ttl"),
    (&["heartbeat", "cam1", "--prefix", "a:", "--store", "http://host"], 2, "--prefix"),
    (&["list", "--ttl", "5"], 2, "no unit"),
    (&["list", "--ttl", "0s"], 2, "1s"),
    (&["list", "--ttl", "31d"], 2, "30d"),
    (&["list", "--ttl", "5 m"], 2, "5 m"),
    (&["list", "--ttl", "-5m"], 2, "-5"),
    (&["list", "--ttl", ""], 2, "--ttl"),
    (&["list", "--ttl", "99999999999999999999d"], 2, "--ttl"),
    (&["list", "--token-file", "missing"], 2, "--token-file missing"),
    (&["list", "--token-file", "empty"], 2, "--token-file empty"),
    (&["list", "--token-file", "blank"], 2, "--token-file blank"),
    (&["list", "--token-file", "two words"], 2, "without spaces"),
    (&["list", "--token-file", "binary"], 2, "--token-file binary"),
    (&["list", "--token-file", "url", "--store", "redis://h"], 2, "--token-file"),
    // serve
    (&["serve", "--store", "http://127.0.0.1:8580"], 2, "serve"),
    (&["serve", "--store", "https://host"], 2, "memory:"),
    (&["serve", "--listen", "127.0.0.1:0", "--store", "memory:x"], 2, "memory:"),
    (&["serve", "--listen", "127.0.0.1:0", "--prefix", "a:"], 2, "prefix"),
    (&["serve", "--listen", "8580"], 2, "e.g. 127.0.0.1:8580"),
    (&["serve", "--listen", "host"], 2, "e.g. 127.0.0.1:8580"),
    (&["serve", "--listen", "::1:8580"], 2, "[::]:8580"),
    (&["serve", "--listen", "127.0.0.1:99999"], 2, "99999"),
    (&["serve", "--listen", "0.0.0.0:0"], 2, "--token-file"),
    (&["serve", "--listen", "[::]:0"], 2, "--token-file"),
    (&["serve", "--listen", ":0"], 2, "--read-only"),
    (&["serve", "--listen", "0.0.0.0:0", "--token-file", "empty"], 2, "empty"),
    (&["serve", "--listen", "192.0.2.1:1", "--token-file", "url"], 1, "192.0.2.1:1"),
    (&["serve", "--log", "=x=", "--listen", "127.0.0.1:0"], 2, "--log"),
    (&["serve", "--ttl", "500ms"], 2, "1s"),
    // demo
    (&["demo", "--for", "5"], 2, "no unit"),
    (&["demo", "--for", "0s"], 2, "--for"),
    (&["demo", "--seed", "x"], 2, "--seed"),
    (&["demo", "--streams", "0"], 2, "--streams"),
    (&["demo", "--streams", "10001"], 2, "--streams"),
    (&["demo", "--store", "redis://:hunter2@127.0.0.1:1"], 2, "redis://127.0.0.1:1 may contain real streams"),
    (&["demo", "--store", "redis://127.0.0.1:1", "--yes"], 5, "redis://127.0.0.1:1"),
    (&["completions"], 2, "<SHELL>"),
    (&["demo", "--seed", "-1"], 2, "-1"),
    // Ids.
    (&["get"], 2, "<ID>"),
    (&["get", ""], 2, "empty"),
    (&["get", "active"], 2, "reserved"),
    (&["get", ".."], 2, "reserved"),
    (&["get", " cam1"], 2, "white space"),
    (&["get", "cam1\n"], 2, "control character"),
    (&["get", "a\u{1b}[2J"], 2, "control character"),
    (&["get", "cam1", "cam2\n"], 2, "control character"),
    (&["heartbeat"], 2, "<ID>"),
    (&["heartbeat", "cam1", ""], 2, "empty"),
    (&["heartbeat", "--all"], 2, "--all"),
    (&["unregister"], 2, "<ID>"),
    (&["unregister", "cam1", "--node", "n1"], 2, "--node"),
    (&["unregister", "--node", ""], 2, "--node"),
    (&["unregister", "--node"], 2, "--node"),
    (&["delete", "."], 2, "reserved"),
    // register
    (&["register"], 2, "--type"),
    (&["register", "--type", "srt"], 2, "--source"),
    (&["register", "--source", "a:1"], 2, "--type"),
    (&["register", "--type", "", "--source", "a:1"], 2, "--type"),
    (&["register", "--type", "a b", "--source", "a:1"], 2, "type"),
    (&["register", "--type", "abcdefghijklmnopqrstuvwxyz0123456", "--source", "a:1"], 2, "32 bytes"),
    (&["register", "--type", "srt", "--source", ""], 2, "--source"),
    (&["register", "--type", "srt", "--source", "a:1", "--hold=yes"], 2, "--hold"),
    (&["register", "--type", "srt", "--source", "a:1", "--hold", "--on-conflict", "take-over"], 2, "--id"),
    (&["run"], 2, "CMD"),
    (&["run", "--type", "srt", "--source", "a:1"], 2, "CMD"),
    (&["run", "--type", "srt", "--source", "a:1", "--"], 2, "CMD"),
    (&["run", "--type", "srt", "--source", "a:1", "true"], 2, "true"),
    (&["run", "--source", "a:1", "--", "true"], 2, "--type"),
    (&["run", "--type", "srt", "--", "true"], 2, "--source"),
    (&["run", "--type", "srt", "--source", "a:1", "--id", "active", "--", "true"], 2, "reserved"),
    (&["run", "--type", "srt", "--source", "a:1", "--on-conflict", "take-over", "--", "true"], 2, "--id"),
    (&["run", "--type", "srt", "--source", "a:1", "--grace", "10", "--", "true"], 2, "10s"),
    (&["run", "--type", "srt", "--source", "a:1", "--hold", "--", "true"], 2, "--hold"),
    (&["run", "--json", "missing", "--", "true"], 2, "--json"),
    (&["run", "--type", "srt", "--source", "a:1", "--store", "memory:", "--", "true"], 2, "memory:"),
    (&["register", "--type", "srt", "--source", "a:1", "--status", ""], 2, "status"),
    (&["register", "--type", "srt", "--source", "a:1", "--id", "active"], 2, "reserved"),
    (&["register", "--type", "srt", "--source", "a:1", "--node", ""], 2, "--node"),
    (&["register", "--type", "srt", "--source", "a:1", "--label", "tenant"], 2, "name=value"),
    (&["register", "--type", "srt", "--source", "a:1", "--label", "=x"], 2, "label"),
    (&["register", "--type", "srt", "--source", "a:1", "--label", "a=1", "--label", "a=2"], 2, "--label a"),
    (&["register", "--type", "srt", "--source", "a:1", "--on-conflict", "replace"], 2, "replace"),
    (&["register", "--type", "srt", "--source", "a:1", "--on-conflict", "take-over"], 2, "--id"),
    (
        &["register", "--id", "a", "--type", "srt", "--source", "a:1", "--on-conflict", "take-over-if-stale"],
        2,
        "--stale",
    ),
    (&["register", "--id", "a", "--type", "srt", "--source", "a:1", "--stale", "10s"], 2, "take-over-if-stale"),
    (&["register", "--id", "a", "--type", "srt", "--source", "a:1", "--same-source", "port"], 2, "--same-source"),
    (&["register", "--type", "srt", "--source", "a:1", "--same-source", "host"], 2, "--id"),
    (&["register", "--type", "srt", "--source", "a:1", "--no-parent-check"], 2, "--hold"),
    (&["register", "--type", "srt", "--source", "a:1", "--force"], 2, "--force"),
    (&["register", "--json", "-", "--type", "srt"], 2, "--type"),
    (&["register", "--json", "missing.json"], 2, "missing.json"),
    (&["register", "--json", "-"], 2, "standard input"),
    (&["register", "--json", "large"], 2, "64 KiB"),
    (&["register", "--json", "binary"], 2, "UTF-8"),
    (&["register", "--json", "."], 2, "--json"),
    (&["register", "--json", "nosource.json"], 2, "source_addr"),
    (&["register", "--json", "noid.json", "--on-conflict", "reject"], 2, "--id"),
    // set
    (&["set"], 2, "<ID>"),
    (&["set", "cam1"], 2, "--status"),
    (&["set", "cam1", "--force"], 2, "--status"),
    (&["set", "--status", "active"], 2, "<ID>"),
    (&["set", "cam1", "--status", "a b"], 2, "status"),
    (&["set", "cam1", "--bitrate", "-5"], 2, "--bitrate"),
    (&["set", "cam1", "--bitrate", "inf"], 2, "--bitrate"),
    (&["set", "cam1", "--bitrate", "NaN"], 2, "--bitrate"),
    (&["set", "cam1", "--bitrate", "5m"], 2, "800k, 5M or 1.2G"),
    (&["set", "cam1", "--bitrate", "+5"], 2, "--bitrate"),
    (&["set", "cam1", "--bytes-received", "9223372036854775808"], 2, "9223372036854775807"),
    (&["set", "cam1", "--packets-received", "1e30"], 2, "--packets-received"),
    (&["set", "cam1", "--packets-lost", ""], 2, "--packets-lost"),
    (&["set", "cam1", "--frame-rate", "NaN"], 2, "--frame-rate"),
    (&["set", "cam1", "--frame-rate", "inf"], 2, "--frame-rate"),
    (&["set", "cam1", "--frame-rate", "-1"], 2, "--frame-rate"),
    (&["set", "cam1", "--label", "a"], 2, "name=value"),
    (&["set", "cam1", "--remove-label", ""], 2, "--remove-label"),
    (&["set", "cam1", "--label", "a=1", "--remove-label", "a"], 2, "label a"),
    (&["set", "cam1", "--status", "x", "--status", "y"], 2, "--status"),
    // update
    (&["update"], 2, "--json"),
    (&["update", "--json", "noid.json"], 2, "id"),
    (&["update", "--json", "missing.json"], 2, "missing.json"),
    (&["update", "cam1", "--json", "noid.json"], 2, "cam1"),
    // The store is unreachable, because no server listens on port 1.
    (&["list", "--store", "http://127.0.0.1:1"], 5, "http://127.0.0.1:1"),
    (&["get", "cam1", "--store", "http://127.0.0.1:1"], 5, "streamreg serve"),
    (&["heartbeat", "cam1", "cam2", "--store", "http://127.0.0.1:1"], 5, "http://127.0.0.1:1"),
    (&["set", "cam1", "--bitrate", "1", "--store", "http://127.0.0.1:1"], 5, "http://127.0.0.1:1"),
    (&["unregister", "cam1", "cam2", "--store", "http://127.0.0.1:1"], 5, "http://127.0.0.1:1"),
    (&["unregister", "--node", "n1", "--store", "http://127.0.0.1:1"], 5, "http://127.0.0.1:1"),
    (&["register", "--type", "srt", "--source", "a:1", "--store", "http://127.0.0.1:1"], 5, "http://127.0.0.1:1"),
    (&["register", "--json", "good.json", "--store", "http://127.0.0.1:1"], 5, "http://127.0.0.1:1"),
    (&["update", "--json", "good.json", "--store", "http://127.0.0.1:1"], 5, "http://127.0.0.1:1"),
    (&["demo", "--store", "http://127.0.0.1:1"], 5, "http://127.0.0.1:1"),
    (&["list", "--store-file", "url"], 5, "http://127.0.0.1:1"),
];

/// Records for the standard input of `register` and `update`, each with a part of the expected message.
const RECORDS: &[(&str, &str)] = &[
    ("", "JSON"),
    ("cam1", "JSON"),
    ("[]", "JSON"),
    ("null", "JSON"),
    ("{\"id\":\"a\",}", "JSON"),
    ("{\"id\":\"a\"}{}", "JSON"),
    ("{\"id\":5}", "id"),
    ("{\"id\":\"active\",\"type\":\"srt\"}", "reserved"),
    ("{\"id\":\"a\",\"source_addr\":\"a:1\"}", "missing type; expected srt"),
    ("{\"id\":\"a\",\"type\":null,\"source_addr\":\"a:1\"}", "missing type; expected srt"),
    ("{\"id\":\"a\",\"type\":\"a b\"}", "type"),
    ("{\"id\":\"a\",\"type\":\"srt\",\"bitrate\":-1}", "bitrate"),
    ("{\"id\":\"a\",\"type\":\"srt\",\"bytes_received\":9223372036854775808}", "bytes_received"),
    ("{\"id\":\"a\",\"type\":\"srt\",\"frame_rate\":\"25\"}", "frame_rate"),
    ("{\"id\":\"a\",\"type\":\"srt\",\"created_at\":\"yesterday\"}", "created_at"),
    ("{\"id\":\"a\",\"type\":\"srt\",\"labels\":[1]}", "labels"),
    ("{\"id\":\"a\",\"type\":\"srt\",\"node\":\"\\u001b[2J\",\"viewers\":true}", "viewers"),
    ("{\"id\":\"a\",\"type\":\"srt\",\"labels\":{\"\\u001b[2J\":1}}", "labels"),
    ("{\"id\":\"a\",\"type\":\"srt\",\"node\":\"\u{1b}[2J\"}", "JSON"),
];

fn files() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in [
        ("empty", &b""[..]),
        ("blank", b"  \nsecond\n"),
        ("binary", b"\xff\xfe\n"),
        ("large", &[b'x'; 64 * 1024 + 1]),
        ("two words", b"two words\n"),
        ("url", b"http://127.0.0.1:1\n"),
        ("noid.json", br#"{"type":"srt","source_addr":"a:1"}"#),
        ("nosource.json", br#"{"id":"a","type":"srt"}"#),
        ("good.json", br#"{"id":"a","type":"srt","source_addr":"a:1"}"#),
    ] {
        write_private(&dir.path().join(name), content);
    }
    dir
}

#[test]
fn invalid_arguments_are_rejected_with_one_line() {
    let dir = files();
    let distinct: std::collections::BTreeSet<_> = CASES.iter().map(|(args, ..)| args).collect();
    assert_eq!(distinct.len(), CASES.len(), "duplicate case");
    let wrong: Vec<_> =
        CASES.iter().filter_map(|(args, code, expected)| check(dir.path(), args, b"", *code, expected)).collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), CASES.len(), wrong.join("\n"));
}

#[test]
fn invalid_records_are_rejected_before_the_store_is_contacted() {
    let dir = files();
    let mut wrong = Vec::new();
    for verb in ["register", "update"] {
        for (record, expected) in RECORDS {
            let args = [verb, "--json", "-", "--store", "http://127.0.0.1:1"];
            wrong.extend(check(dir.path(), &args, record.as_bytes(), 2, expected));
        }
        let args = [verb, "--json", "-"];
        wrong.extend(check(dir.path(), &args, &vec![b' '; 64 * 1024 + 1], 2, "64 KiB"));
        wrong.extend(check(dir.path(), &args, b"{\"id\":\"\xff\"}", 2, "UTF-8"));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn oversized_arguments_are_rejected() {
    let dir = files();
    let long = |n| "x".repeat(n);
    let many: Vec<String> = (0..65).map(|n| format!("--label=l{n}=x")).collect();
    let register = |args: &[&str]| {
        [&["register", "--type", "srt", "--source", "a:1"], args].concat().into_iter().map(String::from).collect()
    };
    let cases: [(Vec<String>, &str); 8] = [
        (vec!["get".into(), long(257)], "256"),
        (vec!["register".into(), "--type=srt".into(), format!("--source={}", long(1025))], "1024"),
        (register(&["--node", &long(1025)]), "1024"),
        (register(&["--label", &format!("{}=x", long(65))]), "64"),
        (register(&["--label", &format!("a={}", long(257))]), "256"),
        (register(&many.iter().map(String::as_str).collect::<Vec<_>>()), "64 labels"),
        (vec!["set".into(), "cam1".into(), format!("--video-codec={}", long(1025))], "1024"),
        (vec!["unregister".into(), "cam1".into(), format!("--reason={}", long(1025))], "1024"),
    ];
    for (args, expected) in &cases {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        assert_eq!(check(dir.path(), &args, b"", 2, expected), None);
    }
}

#[test]
fn invalid_environment_variables_are_rejected_like_arguments() {
    let dir = files();
    for (args, variable, code, expected) in [
        (&["list"][..], ("STREAMREG_STORE", "nonsense"), 2, "URL"),
        (&["list"], ("STREAMREG_STORE", "memory:"), 2, "memory:"),
        (&["serve"], ("STREAMREG_STORE", "http://127.0.0.1:1"), 2, "serve"),
        (&["list"], ("STREAMREG_STORE", "http://127.0.0.1:1"), 5, "http://127.0.0.1:1"),
        (&["list"], ("RUST_LOG", "=x="), 2, "RUST_LOG"),
        (&["list"], ("STREAMREG_TTL", "5"), 2, "STREAMREG_TTL: 5 has no unit"),
        (&["list"], ("STREAMREG_READ_ONLY", "maybe"), 2, "STREAMREG_READ_ONLY: expected true or false"),
        (&["list", "--output", "json", "--store", "http://127.0.0.1:1"], ("STREAMREG_OUTPUT", "xml"), 5, "127.0.0.1:1"),
        // An argument or a file takes precedence over the environment variable.
        (&["list", "--store", "http://127.0.0.1:1"], ("STREAMREG_STORE", "nonsense"), 5, "http://127.0.0.1:1"),
        (&["list", "--store-file", "url"], ("STREAMREG_STORE", "nonsense"), 5, "http://127.0.0.1:1"),
    ] {
        let (status, _, stderr) = run(dir.path(), args, &[variable], b"");
        assert_eq!(status, Some(code), "{args:?} {variable:?}: {stderr}");
        assert!(stderr.contains(expected) && stderr.lines().count() == 1, "{args:?} {variable:?}: {stderr}");
    }
}

#[test]
fn messages_and_help_contain_no_password() {
    let dir = files();
    std::fs::write(dir.path().join("secret"), "redis://user:hunter2@127.0.0.1:1/x/y\n").unwrap();
    for args in [
        &["list", "--store", "redis://user:hunter2@127.0.0.1:1"][..],
        &["list", "--store", "redis://user:hunter2@127.0.0.1:1/notanumber"],
        &["list", "--store", "http://user:hunter2@127.0.0.1:1"],
        &["list", "--store", "memory:hunter2"],
        &["list", "--store", "hunter2"],
        &["list", "--store-file", "secret"],
        &["serve", "--wait-for-store", "0s", "--listen", "127.0.0.1:0", "--store", "redis://:hunter2@127.0.0.1:1"],
        &[
            "serve",
            "--wait-for-store",
            "1s",
            "--listen",
            "127.0.0.1:0",
            "--store",
            "redis+unix:///nowhere?pass=hunter2",
        ],
        &["list", "--help"],
    ] {
        let (status, stdout, stderr) = run(dir.path(), args, &[("STREAMREG_STORE", "redis://:hunter2@h")], b"");
        assert!(status.is_some_and(|code| code != 1 && code < 6), "{args:?} {status:?} {stderr}");
        assert!(!stdout.contains("hunter2") && !stderr.contains("hunter2"), "{args:?}: {stdout} {stderr}");
    }
}

#[test]
#[cfg(unix)]
fn arguments_with_invalid_utf_8_are_rejected() {
    use std::os::unix::ffi::OsStrExt;
    let invalid = std::ffi::OsStr::from_bytes(b"cam\xff");
    let output = Command::new(env!("CARGO_BIN_EXE_streamreg")).arg("get").arg(invalid).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr.contains("UTF-8") && stderr.lines().count() == 1, "{stderr}");
}
