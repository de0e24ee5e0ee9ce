//! The log of `serve` and `bridge` with `--log-format json`.
#![cfg(unix)]

use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use crate::cli::{Running, Server, done, outcome, program, write_private};

/// Waits for a line that contains a string, and parses it.
fn object_with(running: &Running, text: &str) -> Value {
    let line = running.line_with(text);
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
}

#[test]
fn warning_of_serve_has_the_level_warn() {
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, "s3cret").unwrap();
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o644)).unwrap();
    let args = ["serve", "--listen", "127.0.0.1:0", "--token-file", token.to_str().unwrap()];
    let line = object_with(&Running::start(&[&args[..], &["--log-format", "json"]].concat()), "every user");
    assert_eq!(line["level"], "WARN");
    assert!(line["message"].as_str().unwrap().starts_with("every user can read --token-file /"), "{line}");
    Running::start(&args).line_with("streamreg: warning: every user can read --token-file /");
}

#[test]
fn error_before_the_start_is_an_object_if_an_argument_or_a_variable_selects_json() {
    let json = ["--log-format", "json"];
    for (args, variable, expected) in [
        (&[&["serve"][..], &json, &["--ttl", "soon"]].concat()[..], "", "--ttl"),
        (&["serve", "--log-format=json", "--nonsense"], "text", "'--nonsense'"),
        (&["serve", "--config", "/nowhere/\u{1b}"], "json", "/nowhere/"),
        (&[&["serve"][..], &json, &["--log", "a=b=c"]].concat(), "", "--log: invalid log filter"),
        (&[&["bridge"][..], &json, &["--log", "off"]].concat(), "", "no server to follow"),
        (&[&["serve"][..], &json, &["--tls-cert", "/nowhere", "--tls-key", "/nowhere"]].concat(), "", "--tls-cert"),
        (&[&["bridge"][..], &json].concat(), "", "no server to follow"),
    ] {
        let (status, stdout, stderr) = outcome(program(args).env("STREAMREG_LOG_FORMAT", variable).output().unwrap());
        assert_eq!((status, stdout.as_str()), (Some(2), ""), "{args:?}: {stderr}");
        let line: Value = serde_json::from_str(&stderr).unwrap_or_else(|error| panic!("{args:?}: {error}: {stderr}"));
        assert_eq!(line["level"], "ERROR", "{line}");
        let message = line["message"].as_str().unwrap();
        assert!(message.contains(expected) && !message.starts_with("streamreg"), "{args:?}: {message}");
    }
    // The variable is a setting of services only, and an argument takes precedence over it.
    for args in [&["list", "--nonsense"][..], &["serve", "--log-format", "text", "--nonsense"]] {
        let (_, _, stderr) = outcome(program(args).env("STREAMREG_LOG_FORMAT", "json").output().unwrap());
        assert!(stderr.starts_with("streamreg: "), "{stderr}");
    }
}

#[test]
fn stream_of_a_failed_webhook_is_a_plain_string() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    write_private(path("secret").as_ref(), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    let webhook = format!("name = 'a'\nurl = 'http://127.0.0.1:1/'\nsecret_file = '{}'\n", path("secret"));
    let server = Server::start(&["--log-format", "json", "--state-dir", &path("state"), "--webhook", &webhook]);
    let registered = server.run(&["register", "--id", "wh \"2\"", "--type", "srt", "--source", "h:1"]);
    assert_eq!(registered, done("wh \"2\"\n"));
    let line = object_with(&server.running, "receiver of a webhook fails");
    assert_eq!((&line["stream"], &line["webhook"]), (&"wh \"2\"".into(), &"a".into()), "{line}");
}
