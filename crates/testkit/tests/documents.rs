//! Checks the format of the documents: Markdown must be wrapped at 100 columns.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::path::{Path, PathBuf};

const COLUMNS: usize = 100;

fn documents(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
        if path.is_dir() && !name.starts_with('.') && name != "target" {
            documents(&path, found);
        } else if name.ends_with(".md") {
            found.push(path);
        }
    }
}

/// Returns whether a line may exceed the limit: a table row, a line of code, or a single word such as a link.
fn cannot_be_wrapped(line: &str, in_code: bool) -> bool {
    in_code || line.trim_start().starts_with('|') || !line.trim().trim_start_matches(['-', '>', ' ']).contains(' ')
}

#[test]
fn markdown_is_wrapped_at_100_columns() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut found = Vec::new();
    documents(&root, &mut found);
    assert!(found.len() >= 9, "found only {} documents", found.len());
    let mut long = Vec::new();
    for path in found {
        let mut in_code = false;
        for (number, line) in fs::read_to_string(&path).unwrap().lines().enumerate() {
            in_code ^= line.trim_start().starts_with("```");
            if line.chars().count() > COLUMNS && !cannot_be_wrapped(line, in_code) {
                long.push(format!("{}:{}", path.strip_prefix(&root).unwrap().display(), number + 1));
            }
        }
    }
    assert!(long.is_empty(), "lines of more than {COLUMNS} columns:\n{}", long.join("\n"));
}
