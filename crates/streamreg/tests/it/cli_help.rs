//! The help of all commands, and the files generated from it: completion scripts and man pages.

use std::path::Path;
use std::process::{Command, Stdio};

use clap::CommandFactory as _;
use streamreg::cli::Cli;

use super::cli::{outcome, program};

const SHELLS: [&str; 3] = ["bash", "zsh", "fish"];

/// Returns the names of all commands.
fn verbs() -> Vec<String> {
    Cli::command().get_subcommands().map(|verb| verb.get_name().to_owned()).collect()
}

/// Returns the help of a command, wrapped at this width. An empty name stands for the program.
fn help(verb: &str, option: &str, width: &str) -> String {
    let args: Vec<&str> = [verb, option].into_iter().filter(|arg| !arg.is_empty()).collect();
    outcome(program(&args).env("COLUMNS", width).output().unwrap()).1
}

/// Returns the first line that ends although the first word of the next line would have fit. Such a line was broken by
/// hand or twice.
fn broken_line(help: &str, width: usize) -> Option<String> {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let lines: Vec<&str> = help.lines().collect();
    let mut in_commands = false;
    let broken = lines.windows(2).find(|pair| {
        let (line, next) = (pair[0], pair[1]);
        if !line.starts_with(' ') {
            in_commands = line.ends_with(':');
        }
        // Tables and examples have one entry per line. The prose of options is indented further.
        let entry = |line: &str| line.trim_start().starts_with(['-', '[']) || (in_commands && indent(line) < 8);
        let prose = !line.trim().is_empty() && !next.trim().is_empty() && indent(line) == indent(next);
        let first_word = next.split_whitespace().next().map_or(0, |word| word.chars().count());
        prose && !entry(line) && !entry(next) && line.chars().count() + 1 + first_word <= width
    });
    broken.map(|pair| pair.join("\n"))
}

#[test]
fn help_breaks_each_line_once_at_every_width() {
    assert!(broken_line("one two\nthree", 80).is_some() && broken_line("one two\nthree", 12).is_none());
    for verb in verbs().iter().map(String::as_str).chain([""]) {
        for option in ["-h", "--help"] {
            for (columns, width) in [("80", 80), ("120", 100)] {
                let help = help(verb, option, columns);
                assert!(help.lines().all(|line| line.chars().count() <= width), "{verb} {option} {columns}: {help}");
                assert_eq!(broken_line(&help, width), None, "{verb} {option} at {columns} columns");
            }
        }
    }
}

#[test]
fn examples_in_the_help_are_not_wrapped_at_80_columns() {
    for mut verb in Cli::command().get_subcommands().cloned() {
        let help = verb.render_long_help().to_string();
        let (_, examples) = help.split_once("Examples:\n").unwrap_or_else(|| panic!("{help}"));
        let examples = examples.split("\n\n").next().unwrap();
        assert!(examples.lines().all(|line| line.starts_with("  ") && line.chars().count() <= 80), "{examples}");
    }
}

#[test]
fn help_names_the_variable_of_each_common_option() {
    for option in ["-h", "--help"] {
        let help = help("list", option, "80").split_whitespace().collect::<Vec<_>>().join(" ");
        for name in ["STORE", "STORE_FILE", "OUTPUT", "PREFIX", "TTL", "TOKEN_FILE", "READ_ONLY"] {
            assert!(help.contains(&format!("[env: STREAMREG_{name}]")), "{name}: {help}");
        }
    }
}

#[test]
fn completion_scripts_are_valid_and_contain_every_command() {
    let dir = tempfile::tempdir().unwrap();
    for shell in SHELLS {
        // These commands need no store, so a store that cannot be used does not matter.
        let output = program(&["completions", shell]).env("STREAMREG_STORE", "nonsense").output().unwrap();
        let (status, script, stderr) = outcome(output);
        assert_eq!((status, stderr.as_str()), (Some(0), ""), "{shell}");
        for word in verbs().iter().map(String::as_str).chain(["describe", "--store-file", "--dry-run"]) {
            let word = if shell == "fish" { word.trim_start_matches("--") } else { word };
            assert!(script.contains(word), "{shell}: {word} is missing");
        }
        let file = dir.path().join(shell);
        std::fs::write(&file, &script).unwrap();
        let checked = Command::new(shell).arg("-n").arg(&file).stdin(Stdio::null()).output().unwrap();
        assert!(checked.status.success() && checked.stderr.is_empty(), "{shell}: {checked:?}");
    }
    let (status, _, stderr) = outcome(program(&["completions", "tcsh"]).output().unwrap());
    assert!(status == Some(2) && stderr.contains("bash, zsh, fish"), "{stderr}");
}

#[test]
fn bash_completes_commands_and_values() {
    let complete = |words: &str| {
        // Completion functions read these variables and set COMPREPLY.
        let script = format!(
            "source <(\"$1\" completions bash); COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _streamreg streamreg \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"; \
             echo \"${{COMPREPLY[@]}}\""
        );
        let mut bash = Command::new("bash");
        bash.args(["--norc", "-c", &script, "bash", env!("CARGO_BIN_EXE_streamreg")]);
        let (_, stdout, stderr) = outcome(bash.output().unwrap());
        assert_eq!(stderr, "", "{words}");
        stdout.trim_end().to_owned()
    };
    assert_eq!(complete("streamreg unr"), "unregister");
    assert_eq!(complete("streamreg unregister --dr"), "--dry-run");
    assert_eq!(complete("streamreg completions f"), "fish");
}

/// Formats a man page as plain text. Fails the test if the formatter prints a warning.
fn formatted(page: &Path) -> String {
    let mut man = Command::new("man");
    man.args(["--warnings", "--local-file", page.to_str().unwrap()]);
    man.env("MANWIDTH", "100").env("LC_ALL", "C.UTF-8").env("MANPAGER", "cat");
    let (status, text, stderr) = outcome(man.output().unwrap());
    assert_eq!((status, stderr.as_str()), (Some(0), ""), "{}", page.display());
    text
}

#[test]
fn man_pages_of_all_commands_can_be_formatted() {
    let dir = tempfile::tempdir().unwrap();
    let pages = dir.path().join("share/man1");
    let (status, stdout, stderr) = outcome(program(&["man", "--dir", pages.to_str().unwrap()]).output().unwrap());
    assert_eq!((status, stdout.as_str(), stderr.as_str()), (Some(0), "", ""));
    // The program, each command and each subcommand has a page.
    let nested: usize = Cli::command().get_subcommands().map(|verb| verb.get_subcommands().count()).sum();
    assert_eq!(std::fs::read_dir(&pages).unwrap().count(), 1 + verbs().len() + nested);
    for verb in verbs() {
        let text = formatted(&pages.join(format!("streamreg-{verb}.1")));
        for part in ["NAME", "SYNOPSIS", "OPTIONS", "Examples:", &format!("streamreg {verb}"), "STREAMREG_STORE"] {
            assert!(text.contains(part), "{verb}: {part} is missing: {text}");
        }
    }
    let text = formatted(&pages.join("streamreg.1"));
    assert!(text.contains("SUBCOMMANDS") && text.contains("streamreg-unregister(1)"), "{text}");
    let (_, printed, _) = outcome(program(&["man"]).output().unwrap());
    assert_eq!(printed.trim_end(), std::fs::read_to_string(pages.join("streamreg.1")).unwrap().trim_end());

    let file = pages.join("streamreg.1/x");
    let (status, _, stderr) = outcome(program(&["man", "--dir", file.to_str().unwrap()]).output().unwrap());
    assert!(status == Some(1) && stderr.contains("cannot write man pages to"), "{stderr}");
}
