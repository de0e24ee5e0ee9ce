//! The log of `serve` and `bridge` with `--log-format json`.
#![cfg(unix)]

use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use crate::cli::Running;

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
