//! Runs the console blocks of the README and of pages in docs exactly as written, and compares the output.
//!
//! A line that begins with `$ ` is a command, which runs at a terminal. If it ends with a backslash, the next line
//! continues it. The following lines are its complete output. `…` in a line matches any non-empty string, and a line of
//! only `…` matches any number of lines. The default ports in commands and output are replaced by those of the test's
//! own servers.
//! `serve` and `demo` keep running. Other commands fail the test.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use testkit::RedisServer;

use crate::cli::Running;

/// The pages. Each page runs in its own session.
const PAGES: [(&str, &str); 5] = [
    ("README.md", include_str!("../../../../README.md")),
    ("docs/cli.md", include_str!("../../../../docs/cli.md")),
    ("docs/http.md", include_str!("../../../../docs/http.md")),
    ("docs/interop.md", include_str!("../../../../docs/interop.md")),
    ("docs/metrics.md", include_str!("../../../../docs/metrics.md")),
];

/// Server addresses that the README uses.
const HTTP: &str = "127.0.0.1:8580";
const REDIS: &str = "127.0.0.1:6379";

/// Commands that this test does not run, each with the reason.
const NOT_RUN: [(&str, &str); 1] =
    [("cargo install --locked --path crates/streamreg", "the build is slow; the tested binary is on the path")];

/// Returns the fenced blocks of a page: language, number of the first line, content.
pub(crate) fn blocks(text: &str) -> Vec<(&str, usize, String)> {
    let mut blocks: Vec<(&str, usize, String)> = Vec::new();
    let mut open = false;
    for (number, line) in (1..).zip(text.lines()) {
        match (line.strip_prefix("```"), open) {
            (Some(""), true) => open = false,
            (Some(language), false) => {
                blocks.push((language, number + 1, String::new()));
                open = true;
            }
            (Some(_), true) => panic!("line {number}: nested block"),
            (None, true) => {
                let (_, _, block) = blocks.last_mut().unwrap();
                block.push_str(line);
                block.push('\n');
            }
            (None, false) => {}
        }
    }
    assert!(!open, "the last block is not closed");
    blocks
}

/// A command and its expected output.
struct Step {
    number: usize,
    command: String,
    expected: Vec<String>,
}

fn steps(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for (_, first, block) in blocks(text).into_iter().filter(|(language, _, _)| *language == "console") {
        assert!(block.starts_with("$ "), "line {first}: a console block must begin with a command");
        for (number, line) in (first..).zip(block.lines()) {
            match line.strip_prefix("$ ") {
                Some(command) => steps.push(Step { number, command: command.to_owned(), expected: Vec::new() }),
                None => {
                    let step = steps.last_mut().unwrap();
                    // A backslash at the end of a line continues the command, as in a shell.
                    if step.expected.is_empty() && step.command.ends_with('\\') {
                        step.command.push('\n');
                        step.command.push_str(line);
                    } else {
                        step.expected.push(line.to_owned());
                    }
                }
            }
        }
    }
    steps
}

/// Returns whether a line matches the expected line.
fn line_matches(expected: &str, line: &str) -> bool {
    let Some((before, after)) = expected.split_once('…') else { return expected == line };
    let Some(rest) = line.strip_prefix(before) else { return false };
    // The placeholder matches at least one character.
    rest.char_indices().any(|(at, one)| line_matches(after, &rest[at + one.len_utf8()..]))
}

/// Returns whether all lines match the expected lines.
fn lines_match(expected: &[String], lines: &[String]) -> bool {
    match expected.split_first() {
        None => lines.is_empty(),
        Some((any, after)) if any == "…" => (0..=lines.len()).any(|at| lines_match(after, &lines[at..])),
        Some((first, after)) => {
            lines.first().is_some_and(|line| line_matches(first, line)) && lines_match(after, &lines[1..])
        }
    }
}

#[test]
fn placeholder_matches_a_non_empty_string_and_other_text_matches_exactly() {
    for (expected, line, good) in [
        ("cam1", "cam1", true),
        ("cam1", "cam1 ", false),
        ("a … c", "a b c", true),
        ("a … c", "a  c", false),
        ("(seed …)", "(seed 7) x", false),
        ("…1…", "213", true),
        ("…1…", "1", false),
    ] {
        assert_eq!(line_matches(expected, line), good, "{expected} {line}");
    }
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    assert!(lines_match(&lines("…\na\n…"), &lines("a")) && lines_match(&lines("…\na"), &lines("x\ny\na")));
    assert!(
        !lines_match(&lines("a"), &lines("a\nb"))
            && !lines_match(&lines("…\na"), &lines("b"))
            && !lines_match(&[], &lines("a"))
    );
}

/// The environment of the commands: a folder, programs on the path, servers and variables.
struct Session {
    folder: tempfile::TempDir,
    /// Addresses in the README, each with the actual address of a test server.
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
        // This wrapper calls the real `redis-cli` with the port of the test's server.
        let wrapper = format!("#!/bin/sh\nPATH=${{PATH#*:}}\nexec redis-cli -p {} \"$@\"\n", redis.addr().port());
        fs::write(bin.join("redis-cli"), wrapper).unwrap();
        fs::set_permissions(bin.join("redis-cli"), fs::Permissions::from_mode(0o755)).unwrap();
        let addresses = vec![(REDIS, redis.addr().to_string())];
        Self { folder, addresses, variables: HashMap::new(), running: Vec::new() }
    }

    fn with_actual_addresses(&self, text: &str) -> String {
        self.addresses.iter().fold(text.to_owned(), |text, (readme, actual)| text.replace(readme, actual))
    }

    fn with_readme_addresses(&self, text: &str) -> String {
        self.addresses.iter().fold(text.to_owned(), |text, (readme, actual)| text.replace(actual, readme))
    }

    fn take(&mut self, page: &str, step: &Step) {
        // The pages build and run the program in one command. The test runs the program that is already built.
        let command = step.command.replace("cargo run --release --", "streamreg");
        let mut words = command.split(' ');
        match (words.next(), words.next()) {
            (Some("export"), Some(pair)) => {
                let (name, value) = pair.split_once('=').unwrap();
                self.variables.insert(name.to_owned(), self.with_actual_addresses(value));
                assert!(step.expected.is_empty(), "line {}: export prints nothing", step.number);
            }
            (Some("streamreg"), Some("serve" | "demo")) => self.start(step, &command),
            (Some("streamreg" | "redis-cli" | "curl"), _) => self.run(page, step, &command),
            _ => panic!("line {}: this test does not know what to do with {command:?}", step.number),
        }
    }

    /// Starts a program that keeps running, and waits for its expected output.
    fn start(&mut self, step: &Step, command: &str) {
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
        for expected in step.expected.iter().filter(|line| *line != "…") {
            // Other lines may come before the expected line only if the expected output begins with `…`.
            loop {
                let line = running.line_with("");
                if serve && let Some((_, rest)) = line.split_once("listening on http://") {
                    let address = rest.split(',').next().unwrap().to_owned();
                    self.variables.insert("STREAMREG_STORE".to_owned(), format!("http://{address}"));
                    self.addresses.push((HTTP, address));
                }
                if line_matches(expected, &self.with_readme_addresses(&line)) {
                    break;
                }
                assert!(step.expected[0] == "…", "line {}: expected {expected:?}, got {line:?}", step.number);
            }
        }
        self.running.push(running);
    }

    /// Runs a command at a terminal.
    fn run(&self, page: &str, step: &Step, command: &str) {
        let path = format!("{}:{}", self.folder.path().join("bin").display(), std::env::var("PATH").unwrap());
        // On a wide terminal, tables have all their columns.
        let command = format!("stty columns 160; {}", self.with_actual_addresses(command));
        let mut shell = Command::new("timeout");
        shell.args(["60", "script", "--quiet", "--return", "--command", &command, "/dev/null"]);
        shell.current_dir(self.folder.path()).env_remove("RUST_LOG").envs(&self.variables).env("PATH", path);
        shell.env("SHELL", "/bin/sh").env("TERM", "dumb").stdin(Stdio::null());
        let output = shell.output().unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        let printed: Vec<String> = self.with_readme_addresses(&printed).lines().map(str::to_owned).collect();
        assert!(
            lines_match(&step.expected, &printed),
            "{page}, line {}: $ {}\nexpected:\n{}\nprinted:\n{}\n",
            step.number,
            step.command,
            step.expected.join("\n"),
            printed.join("\n"),
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readme_commands_print_the_documented_output() {
    let redis = RedisServer::start().await;
    let sessions = PAGES.map(|(page, text)| (page, steps(text)));
    for (command, why) in NOT_RUN {
        let found: Vec<_> =
            sessions.iter().flat_map(|(_, steps)| steps).filter(|step| step.command == command).collect();
        assert!(!found.is_empty(), "{command:?} ({why}) is not in the README any more");
        assert!(
            found.iter().all(|step| step.expected.is_empty()),
            "the output of {command:?} is not compared, because it is not run"
        );
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
fn commands_that_are_not_run_have_their_prerequisites() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mode = fs::metadata(root.join("scripts/test")).unwrap().permissions().mode();
    assert_eq!(mode & 0o111, 0o111, "scripts/test is executable");
    assert!(fs::read_to_string(root.join(".ci/run")).unwrap().contains("scripts/test"));
    // The installed program has the name that the README uses.
    assert_eq!(Path::new(env!("CARGO_BIN_EXE_streamreg")).file_stem().unwrap(), "streamreg");
    assert!(root.join("crates/streamreg/Cargo.toml").exists());
}

#[test]
fn every_fenced_block_is_tested() {
    let mut examples = 0;
    for (page, text) in PAGES {
        for (language, number, block) in blocks(text) {
            match language {
                // `readme_commands_print_the_documented_output` tests this block.
                "console" => {}
                // This block is a list whose values change, so only its columns are compared.
                "text" => {
                    let columns = |block: &str| block.lines().find(|line| line.starts_with("ID ")).map(words);
                    let listed = blocks(text).iter().find_map(|(of, _, run)| columns(run).filter(|_| *of == "console"));
                    assert_eq!(columns(&block), listed, "{page}, line {number}: columns of `streamreg list`");
                }
                // `scrape_configurations_in_the_documentation_are_valid` checks this block.
                // `client_generated_from_the_document_works_as_documented` runs these blocks.
                "sh" | "python" => assert_eq!(page, "docs/http.md", "line {number}: only this page has such blocks"),
                "yaml" => assert_eq!(page, "docs/metrics.md", "line {number}: only this page has configurations"),
                // A doc-test of the library compiles and runs this block.
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
