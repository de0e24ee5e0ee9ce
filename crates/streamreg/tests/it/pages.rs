//! Checks that the files, commands, routes and messages named in the Markdown pages exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use clap::{CommandFactory, ValueEnum};

use super::settings;

/// Pages whose links and paths are checked, relative to the repository's root.
const PAGES: [&str; 29] = [
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "DESIGN.md",
    "docs/adopt.md",
    "docs/cli.md",
    "docs/configuration.md",
    "docs/dashboard.md",
    "docs/http.md",
    "docs/install.md",
    "docs/interop.md",
    "docs/metrics.md",
    "docs/operations.md",
    "docs/performance.md",
    "docs/security.md",
    "docs/semantics.md",
    "docs/servers/ffmpeg.md",
    "docs/servers/go2rtc.md",
    "docs/servers/icecast.md",
    "docs/servers/janus.md",
    "docs/servers/mediamtx.md",
    "docs/servers/nginx-rtmp.md",
    "docs/servers/ovenmediaengine.md",
    "docs/servers/srs.md",
    "docs/servers/srt-live-transmit.md",
    "docs/servers/zlmediakit.md",
    "docs/webhooks.md",
    "crates/rtp-ingest/README.md",
];

/// Folders to which a path in a page may be relative.
const BASES: [&str; 4] = ["", "crates/stream-registry/src", "crates/streamreg/src", "crates/streamreg/tests/it"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn page(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Returns the text outside fenced blocks.
fn prose(text: &str) -> String {
    let mut fenced = false;
    let mut prose = String::new();
    for line in text.lines() {
        if line.starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            prose.push_str(line);
            prose.push('\n');
        }
    }
    prose
}

/// Returns the text in backticks.
fn quoted(text: &str) -> Vec<&str> {
    text.lines().flat_map(|line| line.split('`').skip(1).step_by(2)).collect()
}

/// Returns whether a quoted string looks like a file or folder of the repository.
fn is_path(text: &str) -> bool {
    let plain = |one: char| one.is_ascii_alphanumeric() || "_.-/".contains(one);
    let ending = [".rs", ".lua", ".md", ".toml", ".jsonl", "/"].iter().any(|ending| text.ends_with(ending));
    let begins = ["crates/", "docs/", "scripts/", ".ci/"].iter().any(|begin| text.starts_with(begin));
    // Neither `.rs` nor `/readyz` is a path: `.rs` is a file extension, and `/readyz` is a route.
    let named = !text.starts_with('/') && (!text.starts_with('.') || text.contains('/'));
    text.chars().all(plain) && named && (ending || begins)
}

#[test]
fn every_path_in_a_page_exists() {
    let mut checked = 0;
    for name in PAGES {
        let text = page(name);
        for path in quoted(&prose(&text)).into_iter().filter(|text| is_path(text)) {
            checked += 1;
            let there = BASES.iter().any(|base| root().join(base).join(path).exists());
            assert!(there, "{name}: {path} does not exist");
        }
    }
    assert!(checked > 40, "only {checked} paths found");
}

#[test]
fn every_link_in_a_page_has_a_target() {
    let mut checked = 0;
    for name in PAGES {
        let text = prose(&page(name));
        let inline = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        let defined = text.lines().filter(|line| line.starts_with('[')).filter_map(|line| line.split_once("]: "));
        for link in inline.chain(defined.map(|(_, target)| target)) {
            if link.starts_with("https://") {
                continue;
            }
            checked += 1;
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { name.to_owned() } else { relative_to(name, path) };
            assert!(root().join(&target).exists(), "{name}: the target of link {link} does not exist");
            let anchors = page_anchors(&target);
            assert!(anchor.is_empty() || anchors.contains(anchor), "{name}: {target} has no anchor {anchor}");
        }
    }
    assert!(checked >= 25, "only {checked} links found");
}

fn relative_to(page: &str, path: &str) -> String {
    root().join(page).parent().unwrap().join(path).strip_prefix(root()).unwrap().display().to_string()
}

fn page_anchors(path: &str) -> BTreeSet<String> {
    let text = if path.ends_with(".md") { page(path) } else { String::new() };
    let named = text.split("<a id=\"").skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned);
    let titles = text.lines().filter(|line| line.starts_with('#')).map(|line| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        title.chars().filter(|one| one.is_alphanumeric() || " -_".contains(*one)).collect::<String>().replace(' ', "-")
    });
    named.chain(titles).collect()
}

/// Returns the first column of the table below a title.
fn first_cells(text: &str, title: &str) -> Vec<String> {
    let (_, rest) = text.split_once(&format!("\n## {title}\n")).unwrap_or_else(|| panic!("no section {title}"));
    let part = rest.split("\n## ").next().unwrap();
    let rows = part.lines().filter(|line| line.starts_with("| ")).skip(1);
    rows.map(|line| line.split(" | ").next().unwrap().trim_start_matches("| ").to_owned()).collect()
}

#[test]
fn cli_page_lists_exactly_the_existing_commands() {
    let named: BTreeSet<String> = first_cells(&page("docs/cli.md"), "Commands")
        .iter()
        .map(|cell| cell.trim_start_matches("`streamreg ").split([' ', '`']).next().unwrap().to_owned())
        .collect();
    let there: BTreeSet<String> =
        streamreg::cli::Cli::command().get_subcommands().map(|verb| verb.get_name().to_owned()).collect();
    assert_eq!(named, there);
}

#[test]
fn configuration_page_lists_exactly_the_existing_keys() {
    let named = first_cells(&page("docs/configuration.md"), "Keys");
    let named: BTreeSet<String> = named.iter().map(|cell| cell.trim_matches('`').to_owned()).collect();
    let there = settings::keys(&settings::printed(&[], &[]).0);
    // The heading of the second table is the only cell that is not a key.
    assert_eq!(named, &there | &BTreeSet::from(["key".to_owned()]));
}

#[test]
fn cli_page_names_every_column_and_format() {
    let page = page("docs/cli.md");
    let quoted = quoted(&page);
    let formats = streamreg::cli::output::Format::value_variants().iter().filter_map(ValueEnum::to_possible_value);
    let formats = formats.map(|format| format.get_name().to_owned());
    let columns = streamreg::cli::output::Column::names().map(str::to_owned);
    for name in formats.chain(columns) {
        assert!(quoted.contains(&name.as_str()), "docs/cli.md does not name {name}");
    }
}

#[test]
fn operations_page_explains_exactly_the_existing_findings() {
    let named: Vec<String> = first_cells(&page("docs/operations.md"), "<a id=\"doctor\"></a>What doctor says")
        .iter()
        .map(|cell| cell.trim_matches('`').to_owned())
        .collect();
    let there: Vec<&str> = stream_registry::redis::Code::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(named, there);
}

#[test]
fn http_page_lists_exactly_the_existing_routes() {
    let mut named = BTreeSet::new();
    for cell in first_cells(&page("docs/http.md"), "Requests") {
        let routes = quoted(&cell).into_iter().map(|route| route.split('?').next().unwrap().to_owned());
        named.extend(routes);
    }
    let api = root().join("crates/streamreg/src/server/api");
    let mut files: Vec<_> = fs::read_dir(api).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.push(root().join("crates/streamreg/src/dashboard/mod.rs"));
    let mut there = BTreeSet::new();
    for file in files {
        let code: String = fs::read_to_string(file).unwrap().split_whitespace().collect();
        there.extend(code.split(".route(\"").skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()));
    }
    // Assets of the dashboard are not part of the API.
    there.retain(|route| !route.starts_with("/assets/"));
    assert_eq!(named, there);
}

/// Returns the source code of all files in a folder.
fn code(folder: &Path) -> String {
    let mut all = String::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.push_str(&code(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            all.push_str(&fs::read_to_string(path).unwrap());
        }
    }
    all
}

#[test]
fn every_statement_of_the_threat_model_names_existing_tests() {
    let crates = root().join("crates");
    let code = ["stream-registry", "streamreg"].map(|name| code(&crates.join(name))).concat();
    let text = page("docs/security.md");
    let (_, model) = text.split_once("\n## Threat model\n").unwrap();
    let (model, _) = model.split_once("\n### Not protected\n").unwrap();
    let statements: Vec<&str> = model.split("\n- ").skip(1).collect();
    assert!(statements.len() > 20, "{statements:?}");
    for statement in statements {
        // A test name is long and has no other characters than words and underscores.
        let is_name = |text: &&str| {
            text.matches('_').count() >= 3
                && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_' || b.is_ascii_digit())
        };
        let quoted = quoted(statement);
        let names: Vec<&str> = quoted.into_iter().filter(is_name).collect();
        assert!(!names.is_empty(), "no test is named: {statement}");
        for name in names {
            assert!(code.contains(&format!("fn {name}() {{")), "the test {name} does not exist");
        }
    }
}

#[test]
fn messages_in_the_operations_guide_exist_in_the_code() {
    let code = code(&root().join("crates/stream-registry/src")) + &code(&root().join("crates/streamreg/src"));
    let messages = first_cells(&page("docs/operations.md"), "Errors");
    assert!(messages.len() >= 15, "{messages:?}");
    for message in messages {
        let message = message.trim_matches('`');
        assert!(code.contains(message), "the code does not contain {message:?}");
    }
}
