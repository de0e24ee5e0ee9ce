//! The command `token`, and the options of `serve` for access.
#![cfg(unix)]

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use streamreg::server::AccessFile;

use crate::cli::{Server, done, outcome, program, until, write_private};

/// Runs `streamreg token new`. Returns the token and its lines for the access file.
fn new_token(args: &[&str]) -> (String, String) {
    let (status, token, lines) = outcome(program(&[&["token", "new"], args].concat()).output().unwrap());
    assert_eq!(status, Some(0), "{lines}");
    (token, lines)
}

fn check(token: &str) -> (Option<i32>, String, String) {
    let mut command = program(&["token", "check"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(token.as_bytes()).unwrap();
    outcome(child.wait_with_output().unwrap())
}

#[test]
fn new_token_and_its_lines_work_with_a_server() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (token, lines) =
        new_token(&["--name", "edge-1", "--scope", "read,write", "--ids", "cam-*,\"é\\", "--nodes", "edge-1"]);
    let (old, more) = new_token(&["--name", "old", "--scope", "admin", "--expires", "1ms"]);
    assert_ne!(token, old);
    assert!(!lines.contains(token.trim()), "{lines}");
    write_private(path("access.toml").as_ref(), lines + &more);
    write_private(path("edge-1").as_ref(), &token);
    write_private(path("old").as_ref(), &old);
    write_private(path("cut").as_ref(), &token[..40]);
    let server = Server::start(&["--access-file", &path("access.toml")]);
    let register = |token: &str, id: &str| {
        let file = path(token);
        let stream = ["--id", id, "--type", "srt", "--source", "h:1", "--node", "edge-1"];
        server.run(&[&["register", "--token-file", &file], &stream[..]].concat())
    };
    assert_eq!(register("edge-1", "cam-1"), done("cam-1\n"));
    for (token, id, expected) in [
        ("edge-1", "mic-1", "the token edge-1 may not write this id"),
        ("old", "cam-2", "the token old has expired"),
        ("cut", "cam-2", "the token in --token-file is damaged"),
    ] {
        let (status, _, stderr) = register(token, id);
        assert!(status != Some(0) && stderr.contains(expected) && !stderr.contains("srg_"), "{stderr}");
        assert!(!stderr.contains("pass the server's token"), "{stderr}");
    }
    let (status, _, stderr) = server.run(&["list"]);
    assert!(status == Some(1) && stderr.contains("--token-file"), "{stderr}");
}

#[test]
fn new_token_is_appended_to_a_valid_access_file_only() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (access, broken) = (path("access.toml"), path("broken.toml"));
    let append = |file: &str, name: &str, scope: &str| {
        let args = ["token", "new", "--name", name, "--scope", scope, "--append", file];
        outcome(program(&args).output().unwrap())
    };
    let (status, first, stderr) = append(&access, "edge-1", "read");
    assert_eq!((status, stderr.as_str()), (Some(0), ""));
    assert_eq!(std::fs::metadata(&access).unwrap().permissions().mode() & 0o777, 0o600);
    // An editor may have omitted the last line break.
    let text = std::fs::read_to_string(&access).unwrap();
    write_private(access.as_ref(), format!("# kept\n{}", text.trim_end()));
    assert_eq!(append(&access, "edge-2", "write").0, Some(0));
    let text = std::fs::read_to_string(&access).unwrap();
    assert!(text.starts_with("# kept\n") && text.matches("[[token]]").count() == 2, "{text}");
    assert!(!text.contains(first.trim()), "{text}");
    write_private(path("edge-1").as_ref(), &first);
    let server = Server::start(&["--access-file", &access]);
    assert_eq!(server.run(&["list", "--token-file", &path("edge-1")]).0, Some(0));

    write_private(broken.as_ref(), "[[token]]\nname = \"a\"\n");
    for (file, name, scope, expected) in [
        (&access, "edge-2", "read", "access.toml: token edge-2: duplicate name; rename one of the tokens"),
        (&access, "edge-3", "raed", "expected read, write, metrics, admin"),
        (&broken, "edge-3", "read", "broken.toml: line 1: missing field"),
        (&path("missing/access.toml"), "edge-3", "read", "missing/access.toml: No such file"),
    ] {
        let before = std::fs::read(file).ok();
        let (status, stdout, stderr) = append(file, name, scope);
        assert_eq!((status, stdout.as_str()), (Some(2), ""), "{stderr}");
        assert!(stderr.contains(expected), "{stderr}");
        assert_eq!(std::fs::read(file).ok(), before);
    }
}

#[test]
fn server_uses_changed_token_files_without_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let write = |name: &str, token: &str| write_private(path(name).as_ref(), token);
    for (name, token) in [("write", "w1"), ("read", "r1"), ("new-write", "w2"), ("new-read", "r2")] {
        write(name, token);
    }
    let server = Server::start(&["--token-file", &path("write"), "--read-token-file", &path("read")]);
    let register = ["register", "--id", "x", "--type", "srt", "--source", "h:1"];
    let succeeds =
        |args: &[&str], token: &str| server.run(&[args, &["--token-file", &path(token)]].concat()).0 == Some(0);
    assert!(!succeeds(&register, "new-write") && !succeeds(&["list"], "new-read"));
    write("write", "w2");
    write("read", "r2");
    until("the new token for writes is accepted", || succeeds(&register, "new-write"));
    until("the new token for reads is accepted", || succeeds(&["list"], "new-read"));
    write("write", "w1");
    write("read", "r1");
    until("the first tokens are accepted again", || succeeds(&register, "write") && succeeds(&["list"], "read"));
    assert!(!succeeds(&register, "new-write") && !succeeds(&["list"], "new-read"));
}

#[test]
fn token_check_prints_the_hash_and_rejects_a_damaged_token() {
    let (token, lines) = new_token(&["--name", "a", "--scope", "read"]);
    let (status, hash, _) = check(&token);
    assert_eq!(status, Some(0));
    assert!(lines.contains(&format!("hash = \"{}\"", hash.trim())), "{lines}");
    for damaged in ["", "\n", "srg_", &token[..50], &token.replace("srg_", "srg_x")] {
        let (status, stdout, stderr) = check(damaged);
        assert_eq!((status, stdout.as_str()), (Some(1), ""));
        assert!(stderr.contains("no intact token"), "{stderr}");
    }
}

#[test]
fn access_file_in_the_documentation_is_valid() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/security.md")).unwrap();
    let (_, example) = page.split_once("```toml\n").unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, example.split("```").next().unwrap()).unwrap();
    AccessFile::read(file.path()).unwrap();
}

#[test]
fn new_token_matches_the_expression_for_secret_scanners() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/security.md")).unwrap();
    assert!(page.contains("srg_[A-Za-z0-9_-]{43}[0-9A-Za-z]{6}"));
    let (token, _) = new_token(&["--name", "a", "--scope", "read"]);
    let (random, checksum) = token.trim().strip_prefix("srg_").unwrap().split_at(43);
    assert!(random.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)), "{token}");
    assert!(checksum.len() == 6 && checksum.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{token}");
}

#[test]
fn invalid_options_for_access_are_rejected() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    write_private(path("empty.toml").as_ref(), "");
    write_private(path("token").as_ref(), "s3cret");
    let (_, lines) = new_token(&["--name", "a", "--scope", "read"]);
    write_private(path("access.toml").as_ref(), lines);
    let (empty, token, access, missing) = (path("empty.toml"), path("token"), path("access.toml"), path("missing"));
    for (args, expected) in [
        (&["serve", "--access-file", &missing][..], "--access-file"),
        (&["serve", "--access-file", &empty], "no tokens; add the lines that `streamreg token new` prints"),
        (&["serve", "--access-file", &access, "--token-file", &token], "--access-file replaces --token-file"),
        (&["serve", "--access-file", &access, "--read-token-file", &token], "--access-file replaces --token-file"),
        (&["serve", "--read-token-file", &token], "--read-token-file also needs a token for writes"),
        (&["serve", "--tls-cert", &missing, "--tls-key", &missing], "--tls-cert"),
        (&["serve", "--listen", "0.0.0.0:0"], "--access-file or --read-only"),
        (&["serve", "--allow-origin", "example.com"], "expected an origin as browsers send it"),
        (&["token", "new", "--name", "a b", "--scope", "read"], "invalid name"),
        (&["token", "new", "--name", "a", "--scope", "raed"], "expected read, write, metrics, admin"),
        (&["token", "new", "--name", "a"], "--scope"),
        (&["token", "new", "--name", "a"], "; see `streamreg token new --help`"),
        (
            &["token", "new", "--name", "a", "--scope", "read", "--expires", "2020-01-01T00:00:00Z"],
            "this time is in the past",
        ),
        (&["token", "new", "--name", "a", "--scope", "read", "--ids", "x"], "--ids and --nodes limit writes"),
        (&["token", "new", "--name", "a", "--scope", "write", "--ids", ""], "invalid pattern"),
        (&["token", "new", "--name", "a", "--scope", "read", "--expires", "soon"], "expected a time such as"),
    ] {
        let (status, stdout, stderr) = outcome(program(args).output().unwrap());
        assert_eq!((status, stdout.as_str()), (Some(2), ""), "{args:?}: {stderr}");
        assert!(stderr.contains(expected) && !stderr.contains("s3cret"), "{args:?}: {stderr}");
        if args[0] == "serve" {
            let printed = outcome(program(&[args, &["--print-config"]].concat()).output().unwrap());
            assert_eq!(printed, (status, stdout, stderr), "{args:?}");
        }
    }
}
