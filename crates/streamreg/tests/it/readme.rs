//! The console blocks of the README and of pages in docs, run as they stand and compared.
//!
//! A line that begins with `$ ` is a command, typed at a terminal; what follows is all that it prints. `…` in a line stands
//! for any text but none, a line of `…` alone for any number of lines. The usual ports in commands and output are
//! those of servers that this test starts. `serve` and `demo` go on running. Anything else than these is a failure.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use testkit::RedisServer;

use crate::cli::Running;

/// The pages: each is a session of its own.
const PAGES: [(&str, &str); 4] = [
    ("README.md", include_str!("../../../../README.md")),
    ("docs/cli.md", include_str!("../../../../docs/cli.md")),
    ("docs/http.md", include_str!("../../../../docs/http.md")),
    ("docs/interop.md", include_str!("../../../../docs/interop.md")),
];

/// Where the commands of the README expect the servers.
const HTTP: &str = "127.0.0.1:8580";
const REDIS: &str = "127.0.0.1:6379";

/// Commands that are not run here, and why.
const NOT_RUN: [(&str, &str); 1] =
    [("cargo install --locked --path crates/streamreg", "builds for minutes; the binary under test is on the path")];

/// A fenced block: its language, its first line's number, its text.
pub(super) fn blocks(text: &str) -> Vec<(&str, usize, String)> {
    let mut blocks: Vec<(&str, usize, String)> = Vec::new();
    let mut open = false;
    for (number, line) in (1..).zip(text.lines()) {
        match (line.strip_prefix("```"), open) {
            (Some(""), true) => open = false,
            (Some(language), false) => {
                blocks.push((language, number + 1, String::new()));
                open = true;
            }
            (Some(_), true) => panic!("line {number}: a block begins inside another"),
            (None, true) => {
                let (_, _, block) = blocks.last_mut().unwrap();
                block.push_str(line);
                block.push('\n');
            }
            (None, false) => {}
        }
    }
    assert!(!open, "the last block has no end");
    blocks
}

/// A command and what it prints.
struct Step {
    number: usize,
    command: String,
    printed: Vec<String>,
}

fn steps(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for (_, first, block) in blocks(text).into_iter().filter(|(language, _, _)| *language == "console") {
        assert!(block.starts_with("$ "), "line {first}: a console block begins with a command");
        for (number, line) in (first..).zip(block.lines()) {
            match line.strip_prefix("$ ") {
                Some(command) => steps.push(Step { number, command: command.to_owned(), printed: Vec::new() }),
                None => steps.last_mut().unwrap().printed.push(line.to_owned()),
            }
        }
    }
    steps
}

/// Whether a line is as expected.
fn line_fits(expected: &str, line: &str) -> bool {
    let Some((before, after)) = expected.split_once('…') else { return expected == line };
    let Some(rest) = line.strip_prefix(before) else { return false };
    // The placeholder stands for at least one character.
    rest.char_indices().any(|(at, one)| line_fits(after, &rest[at + one.len_utf8()..]))
}

/// Whether lines are as expected.
fn fits(expected: &[String], lines: &[String]) -> bool {
    match expected.split_first() {
        None => lines.is_empty(),
        Some((any, after)) if any == "…" => (0..=lines.len()).any(|at| fits(after, &lines[at..])),
        Some((first, after)) => lines.first().is_some_and(|line| line_fits(first, line)) && fits(after, &lines[1..]),
    }
}

#[test]
fn placeholders_stand_for_something_and_nothing_else_varies() {
    for (expected, line, good) in [
        ("cam1", "cam1", true),
        ("cam1", "cam1 ", false),
        ("a … c", "a b c", true),
        ("a … c", "a  c", false),
        ("(seed …)", "(seed 7) x", false),
        ("…1…", "213", true),
        ("…1…", "1", false),
    ] {
        assert_eq!(line_fits(expected, line), good, "{expected} {line}");
    }
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    assert!(fits(&lines("…\na\n…"), &lines("a")) && fits(&lines("…\na"), &lines("x\ny\na")));
    assert!(!fits(&lines("a"), &lines("a\nb")) && !fits(&lines("…\na"), &lines("b")) && !fits(&[], &lines("a")));
}

/// What the README's reader has: a folder, programs on the path, servers, variables.
struct Session {
    folder: tempfile::TempDir,
    /// Usual address, and the real one.
    addresses: Vec<(&'static str, String)>,
    variables: HashMap<String, String>,
    running: Vec<Running>,
}

impl Session {
    fn new(redis: &RedisServer) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bin = folder.path().join("bin");
        fs::create_dir(&bin).unwrap();
        symlink(env!("CARGO_BIN_EXE_streamreg"), bin.join("streamreg")).unwrap();
        // The real one, on this test's server.
        let wrapper = format!("#!/bin/sh\nPATH=${{PATH#*:}}\nexec redis-cli -p {} \"$@\"\n", redis.addr().port());
        fs::write(bin.join("redis-cli"), wrapper).unwrap();
        fs::set_permissions(bin.join("redis-cli"), fs::Permissions::from_mode(0o755)).unwrap();
        let addresses = vec![(REDIS, redis.addr().to_string())];
        Self { folder, addresses, variables: HashMap::new(), running: Vec::new() }
    }

    fn with_real(&self, text: &str) -> String {
        self.addresses.iter().fold(text.to_owned(), |text, (usual, real)| text.replace(usual, real))
    }

    fn with_usual(&self, text: &str) -> String {
        self.addresses.iter().fold(text.to_owned(), |text, (usual, real)| text.replace(real, usual))
    }

    fn take(&mut self, page: &str, step: &Step) {
        // The line that builds and runs is the program itself.
        let command = step.command.replace("cargo run --release --", "streamreg");
        let mut words = command.split(' ');
        match (words.next(), words.next()) {
            (Some("export"), Some(pair)) => {
                let (name, value) = pair.split_once('=').unwrap();
                self.variables.insert(name.to_owned(), self.with_real(value));
                assert!(step.printed.is_empty(), "line {}: export prints nothing", step.number);
            }
            (Some("streamreg"), Some("serve" | "demo")) => self.stay(step, &command),
            (Some("streamreg" | "redis-cli" | "curl"), _) => self.run(page, step, &command),
            _ => panic!("line {}: this test does not know what to do with {command:?}", step.number),
        }
    }

    /// Starts a program that goes on, and waits for what it prints.
    fn stay(&mut self, step: &Step, command: &str) {
        let mut args: Vec<&str> = command.split(' ').skip(1).collect();
        let serve = args[0] == "serve";
        if serve {
            args.extend(["--listen", "127.0.0.1:0"]);
        }
        let store = self.variables.get("STREAMREG_STORE").cloned();
        if let Some(store) = &store {
            args.extend(["--store", store]);
        }
        let running = Running::start(&args);
        for expected in step.printed.iter().filter(|line| *line != "…") {
            // Others may come before only where the README says so; the first of them is what people wait for.
            loop {
                let line = running.line_with("");
                if serve && let Some((_, rest)) = line.split_once("listening on http://") {
                    let address = rest.split(',').next().unwrap().to_owned();
                    self.variables.insert("STREAMREG_STORE".to_owned(), format!("http://{address}"));
                    self.addresses.push((HTTP, address));
                }
                if line_fits(expected, &self.with_usual(&line)) {
                    break;
                }
                assert!(step.printed[0] == "…", "line {}: {line:?} is not {expected:?}", step.number);
            }
        }
        self.running.push(running);
    }

    /// Runs a command at a terminal.
    fn run(&self, page: &str, step: &Step, command: &str) {
        let path = format!("{}:{}", self.folder.path().join("bin").display(), std::env::var("PATH").unwrap());
        // A wide window: tables are written whole.
        let command = format!("stty columns 160; {}", self.with_real(command));
        let mut shell = Command::new("timeout");
        shell.args(["60", "script", "--quiet", "--return", "--command", &command, "/dev/null"]);
        shell.current_dir(self.folder.path()).env_remove("RUST_LOG").envs(&self.variables).env("PATH", path);
        shell.env("SHELL", "/bin/sh").env("TERM", "dumb").stdin(Stdio::null());
        let output = shell.output().unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        let printed: Vec<String> = self.with_usual(&printed).lines().map(str::to_owned).collect();
        assert!(
            fits(&step.printed, &printed),
            "{page}, line {}: $ {}\nexpected:\n{}\nprinted:\n{}\n",
            step.number,
            step.command,
            step.printed.join("\n"),
            printed.join("\n"),
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_prints_what_the_readme_says() {
    let redis = RedisServer::start().await;
    let sessions = PAGES.map(|(page, text)| (page, steps(text)));
    for (command, why) in NOT_RUN {
        let found: Vec<_> =
            sessions.iter().flat_map(|(_, steps)| steps).filter(|step| step.command == command).collect();
        assert!(!found.is_empty(), "{command:?} ({why}) is not in the README any more");
        assert!(found.iter().all(|step| step.printed.is_empty()), "nobody compares what {command:?} prints");
    }
    tokio::task::spawn_blocking(move || {
        let mut taken = 0;
        for (page, steps) in &sessions {
            let mut session = Session::new(&redis);
            for step in steps.iter().filter(|step| NOT_RUN.iter().all(|(command, _)| step.command != *command)) {
                session.take(page, step);
                taken += 1;
            }
        }
        assert!(taken >= 16, "the pages have only {taken} commands");
    })
    .await
    .unwrap();
}

#[test]
fn what_is_not_run_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mode = fs::metadata(root.join("scripts/test")).unwrap().permissions().mode();
    assert_eq!(mode & 0o111, 0o111, "scripts/test can be run");
    assert!(fs::read_to_string(root.join(".ci/run")).unwrap().contains("scripts/test"));
    // What is installed is called as the README calls it.
    assert_eq!(Path::new(env!("CARGO_BIN_EXE_streamreg")).file_stem().unwrap(), "streamreg");
    assert!(root.join("crates/streamreg/Cargo.toml").exists());
}

#[test]
fn every_block_is_tested_somewhere() {
    let mut examples = 0;
    for (page, text) in PAGES {
        for (language, number, block) in blocks(text) {
            match language {
                // Run above.
                "console" => {}
                // A list with values that change, so only its columns are compared.
                "text" => {
                    let columns = |block: &str| block.lines().find(|line| line.starts_with("ID ")).map(words);
                    let listed = blocks(text).iter().find_map(|(of, _, run)| columns(run).filter(|_| *of == "console"));
                    assert_eq!(columns(&block), listed, "{page}, line {number}: columns of `streamreg list`");
                }
                // Compiled and run as a doc-test of the library.
                "rust" => {
                    examples += 1;
                    assert!(block.contains("fn main()"), "{page}, line {number}: the example is a whole program");
                    assert_eq!(page, "README.md", "line {number}: only the README is a doc-test");
                }
                other => panic!("{page}, line {number}: no test knows blocks of {other:?}"),
            }
        }
    }
    assert_eq!(examples, 1);
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}
