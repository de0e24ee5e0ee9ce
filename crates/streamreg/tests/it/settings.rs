//! The configuration file and `serve --print-config`, with the program as a process.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use clap::CommandFactory as _;
use streamreg::cli::Cli;

use super::cli::{Running, outcome, program};
use super::readme::blocks;

/// Returns the configuration that `serve` prints with these arguments, and its standard error.
pub(super) fn printed(args: &[&str], set: &[(&str, &str)]) -> (String, String) {
    let output = program(&[&["serve", "--print-config"], args].concat()).envs(set.iter().copied()).output().unwrap();
    let (status, stdout, stderr) = outcome(output);
    assert_eq!(status, Some(0), "{stderr}");
    (stdout, stderr)
}

/// Returns the keys of a printed configuration, also those that are comments.
pub(super) fn keys(printed: &str) -> BTreeSet<String> {
    let entries = printed.lines().map(|line| line.strip_prefix("# ").unwrap_or(line));
    let keys = entries.filter_map(|line| line.split_once(" = ")).map(|(key, _)| key.to_owned());
    keys.filter(|key| key.chars().all(|one| one.is_ascii_lowercase() || one == '_')).collect()
}

fn written(dir: &Path, name: &str, content: &str) -> String {
    let path = dir.join(name);
    fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn printed_configuration_contains_every_option_of_serve() {
    let (text, _) = printed(&[], &[]);
    let mut program = Cli::command();
    program.build();
    let options = program.find_subcommand("serve").unwrap().get_arguments().filter(|option| !option.is_hide_set());
    let mut expected: BTreeSet<_> = options.filter_map(|option| Some(option.get_long()?.replace('-', "_"))).collect();
    expected.retain(|key| !["config", "help", "print_config", "version"].contains(&&**key));
    assert!(expected.len() >= 11, "{expected:?}");
    assert_eq!(keys(&text), expected);
    assert!(text.contains("\nlisten = \"127.0.0.1:8580\"") || text.starts_with("# "), "{text}");
}

#[test]
fn printed_configuration_is_accepted_again() {
    let dir = tempfile::tempdir().unwrap();
    let file = written(dir.path(), "c.toml", "allowed_host = ['a.example', 'b.example']\nprefix = \"a'b\\\"c:\"\n");
    let (first, _) = printed(&["--config", &file, "--ttl", "1m"], &[("STREAMREG_READ_ONLY", "true")]);
    for line in [
        "allowed_host = [\"a.example\", \"b.example\"]",
        "ttl = \"1m\"",
        "read_only = true",
        "listen = \"127.0.0.1:8580\"",
    ] {
        assert!(first.lines().any(|printed| printed == line), "{line} is missing: {first}");
    }
    let again = written(dir.path(), "again.toml", &first);
    assert_eq!(printed(&[], &[("STREAMREG_CONFIG", &again)]).0, first);
    let (defaults, _) = printed(&[], &[]);
    let file = written(dir.path(), "defaults.toml", &defaults);
    assert_eq!(printed(&["--config", &file], &[]).0, defaults);
}

#[test]
fn printed_configuration_has_no_password() {
    let dir = tempfile::tempdir().unwrap();
    let file = written(dir.path(), "c.toml", "store = 'redis://user:s3cret@h/1'\n");
    for (args, set) in [
        (&["--config", &file][..], &[][..]),
        (&["--store", "redis://user:s3cret@h/1"], &[]),
        (&[], &[("STREAMREG_STORE", "redis://user:s3cret@h/1")]),
    ] {
        let (text, stderr) = printed(args, set);
        assert!(text.lines().any(|line| line == "store = \"redis://user@h/1\" # secrets omitted"), "{text}");
        assert!(!(text + &stderr).contains("s3cret"));
    }
    let warning = printed(&["--config", &file], &[]).1;
    assert!(warning.contains("every user can read --config"), "{warning}");
}

#[test]
fn documented_file_is_accepted() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), "store", "redis://h\n");
    written(dir.path(), "token", "s3cret\n");
    written(dir.path(), "billing.secret", super::webhook::kit::SECRET);
    let page = include_str!("../../../../docs/configuration.md");
    let mut files = 0;
    for (_, _, block) in blocks(page).into_iter().filter(|(language, _, _)| *language == "toml") {
        let file = written(dir.path(), "c.toml", &block.replace("/etc/streamreg", dir.path().to_str().unwrap()));
        // The printed settings of the server do not include the tables of the bridge, but all keys are checked.
        printed(&["--config", &file], &[]);
        files += 1;
    }
    assert!(files >= 2);
}

#[test]
fn server_and_its_clients_are_configured_by_one_file() {
    let dir = tempfile::tempdir().unwrap();
    let token = written(dir.path(), "token", "s3cret\n");
    let file = written(dir.path(), "c.toml", &format!("listen = '127.0.0.1:0'\ntoken_file = '{token}'\n"));
    let server = Running::start(&["serve", "--config", &file]);
    let line = server.line_with("listening on http://");
    let url = line.split_whitespace().find(|word| word.starts_with("http://")).unwrap().trim_end_matches(',');

    let register = ["register", "--id", "cam1", "--type", "srt", "--source", "203.0.113.7:40112", "--store", url];
    let (status, _, stderr) = outcome(program(&register).output().unwrap());
    assert_eq!(status, Some(1), "without the file, there is no token: {stderr}");
    let (status, stdout, _) = outcome(program(&register).env("STREAMREG_CONFIG", &file).output().unwrap());
    assert_eq!((status, stdout.as_str()), (Some(0), "cam1\n"));
}

#[test]
fn invalid_configuration_file_is_a_usage_error_of_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let file = written(dir.path(), "c.toml", "\nlisen = ':1'\n");
    for verb in ["serve", "list"] {
        let (status, stdout, stderr) = outcome(program(&[verb, "--config", &file]).output().unwrap());
        assert_eq!((status, stdout.as_str()), (Some(2), ""));
        assert_eq!(stderr, format!("streamreg: {file}:2: unknown key \"lisen\"; did you mean \"listen\"?\n"));
    }
}

#[test]
fn printed_store_keeps_its_user_and_says_that_secrets_are_omitted() {
    for (store, line) in [
        ("redis://ingest:s3cret@h:6379/1", "store = \"redis://ingest@h:6379/1\" # secrets omitted"),
        ("redis://:s3cret@h:6379/1", "store = \"redis://h:6379/1\" # secrets omitted"),
        ("redis://ingest@h:6379/1", "store = \"redis://ingest@h:6379/1\""),
        ("redis://h:6379/1", "store = \"redis://h:6379/1\""),
        // Misspelt parameters and URLs can contain a password too.
        ("redis://h:6379/1?sentinel_pas=s3cret", "store = \"redis://h:6379/1\" # secrets omitted"),
        ("ingest:s3cret@h:6379", "store = \"…\" # secrets omitted"),
        ("redis:/u:s3cret@h:6379", "store = \"…\" # secrets omitted"),
        ("memory:", "store = \"memory:\""),
    ] {
        let (text, _) = printed(&["--store", store], &[]);
        assert!(text.lines().any(|one| one == line), "{text}");
        assert!(!text.contains("s3cret"), "{text}");
    }
}
