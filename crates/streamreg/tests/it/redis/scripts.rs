//! Checks the first line of every script file. Also checks that its header matches the script and the Rust caller.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// Required flags of each script. Scripts that keep streams alive or remove them must run even when memory is full.
/// Scripts that only read must not write. Scripts that need memory are rejected when memory is full.
const FLAGS: [(&str, &str); 10] = [
    ("postpone", "#!lua flags=allow-oom"),
    ("sweep", "#!lua flags=allow-oom"),
    ("write", "#!lua flags=allow-oom"),
    ("unregister", "#!lua flags=allow-oom"),
    ("prune", "#!lua flags=allow-oom"),
    ("restore", "#!lua flags=allow-oom"),
    ("layout", "#!lua flags=allow-oom"),
    ("list", "#!lua flags=no-writes"),
    ("register", "#!lua"),
    ("replace", "#!lua"),
];

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../stream-registry/src/redis")
}

fn scripts() -> BTreeMap<String, String> {
    let files = std::fs::read_dir(folder().join("ops")).unwrap().map(|entry| entry.unwrap().path());
    let lua = files.filter(|path| path.extension().is_some_and(|end| end == "lua"));
    lua.map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), std::fs::read_to_string(path).unwrap()))
        .collect()
}

/// Splits a script into its header comment and its code.
fn parts(source: &str) -> (Vec<&str>, String) {
    let header = source.lines().skip(1).take_while(|line| line.starts_with("--")).collect::<Vec<_>>();
    let code: Vec<_> =
        source.lines().skip(1 + header.len()).filter(|line| !line.trim_start().starts_with("--")).collect();
    (header, code.join("\n"))
}

/// Parses the declared indices. `KEYS[1]` declares index 1 only. `KEYS[2..]` declares index 2 and all later ones. A
/// bare `ARGV` declares index 1 and all later ones.
fn declared(header: &[&str], table: &str) -> (BTreeSet<usize>, bool) {
    let (mut indices, mut open) = (BTreeSet::new(), false);
    for line in header {
        let Some(rest) = line.strip_prefix("-- ").and_then(|line| line.strip_prefix(table)) else { continue };
        match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((index, _)) => {
                open |= index.ends_with("..");
                indices.insert(index.trim_end_matches('.').parse().unwrap());
            }
            None => {
                open = true;
                indices.insert(1);
            }
        }
    }
    (indices, open)
}

/// Returns the indices that the code uses, e.g. 2 for `KEYS[2]`, or 1 and 2 for `local a, b = unpack(KEYS)`.
fn used(code: &str, table: &str) -> BTreeSet<usize> {
    let mut indices = BTreeSet::new();
    for (at, _) in code.match_indices(&format!("{table}[")) {
        let inside = &code[at + table.len() + 1..];
        if let Some(index) = inside.split(']').next().and_then(|inside| inside.parse().ok()) {
            indices.insert(index);
        }
    }
    for line in code.lines().filter(|line| line.ends_with(&format!("= unpack({table})"))) {
        let names = line.trim_start_matches("local ").split('=').next().unwrap().split(',').count();
        indices.extend(1..=names);
    }
    indices
}

#[test]
fn every_script_has_the_expected_first_line_and_flags() {
    let scripts = scripts();
    let names: BTreeSet<&str> = scripts.keys().map(String::as_str).collect();
    assert_eq!(names, FLAGS.iter().map(|(name, _)| *name).collect(), "add the flags of new scripts to FLAGS");
    for (name, first) in FLAGS {
        assert_eq!(scripts[name].lines().next(), Some(first), "{name}.lua");
    }
}

#[test]
fn script_headers_list_exactly_the_keys_and_arguments_used() {
    for (name, source) in scripts() {
        let (header, code) = parts(&source);
        for word in ["KEYS", "ARGV", "Output", "Events"] {
            assert!(header.iter().any(|line| line.starts_with(&format!("-- {word}"))), "{name}.lua has no {word}");
        }
        for table in ["KEYS", "ARGV"] {
            let (indices, open) = declared(&header, table);
            let used = used(&code, table);
            let all: BTreeSet<usize> = (1..=*indices.last().unwrap()).collect();
            assert_eq!(indices, all, "{name}.lua: {table} in its header has gaps");
            for index in &used {
                assert!(indices.contains(index) || open, "{name}.lua uses {table}[{index}], which its header lacks");
            }
            // Code reads an open list with `ipairs`, `#`, `unpack` or a running index.
            let last = *indices.last().unwrap();
            for index in &indices {
                let reached = used.contains(index) || open && *index == last && code.contains(table);
                assert!(reached, "{name}.lua's header lists {table}[{index}], which it does not use");
            }
        }
    }
}

#[test]
fn callers_pass_the_keys_and_arguments_in_the_scripts_header() {
    for (name, source) in scripts() {
        let (header, _) = parts(&source);
        let caller = std::fs::read_to_string(folder().join("ops").join(format!("{name}.rs"))).unwrap();
        let caller = caller.split("#[cfg(test)]").next().unwrap();
        assert!(caller.contains(&format!("include_str!(\"{name}.lua\")")), "{name}.rs calls another script");
        let (indices, open) = declared(&header, "ARGV");
        let calls = caller.lines().filter(|line| line.contains(" call.arg("));
        let given: usize = calls.map(|line| line.matches(".arg(").count()).sum();
        if open {
            assert!(given >= indices.len(), "{name}.rs gives {given} kinds of arguments of {}", indices.len());
        } else {
            assert_eq!(given, indices.len(), "{name}.rs gives as many arguments as {name}.lua's header lists");
        }
        let (keys, open) = declared(&header, "KEYS");
        if name == "list" {
            // Only `list.lua` does not declare the keys of its records. Its caller is not checked, because it also has
            // strategies without this script.
            assert_eq!((keys.len(), open), (2, false));
            continue;
        }
        let named = [
            "keys.index()",
            "keys.record",
            "keys.operation(",
            "keys.tombstone(",
            "keys.feed()",
            "keys.feed_metadata()",
            "keys.due()",
            "keys.copy",
        ]
        .into_iter()
        .filter(|key| caller.contains(key))
        .count();
        // In an open list, several kinds of keys may alternate.
        let complete = if open { named >= keys.len() } else { named == keys.len() };
        assert!(
            complete,
            "{name}.rs gives {named} kinds of keys, {name}.lua's header lists {} (open: {open})",
            keys.len()
        );
    }
}

/// Returns the code without the branch for a single write. That branch checks no permission first; it undoes its write
/// if a later command is denied.
fn without_single_write_branch(code: &str) -> String {
    let Some((before, rest)) = code.split_once("if #records == 1 and") else { return code.to_owned() };
    let (block, after) = rest.split_once("\nend\n").unwrap();
    let rollback = block.split_once("redis.pcall('PEXPIRE'").unwrap().1;
    assert!(rollback.contains("call('SETRANGE', key, '0', json)"), "a denied command leaves a partial change");
    format!("{before}{after}")
}

#[test]
fn scripts_check_permissions_before_their_first_write() {
    const WRITES: [&str; 10] = ["SET", "SADD", "SREM", "DEL", "PEXPIRE", "SETRANGE", "XADD", "HSET", "ZADD", "ZREM"];
    for (name, source) in scripts() {
        let (_, code) = parts(&source);
        // Some scripts define a short name for `redis.call`.
        let code = without_single_write_branch(&code.replace("redis.call(", "call(")).replace("pcall(", "try(");
        let calls: Vec<(usize, &str)> = code
            .match_indices("call('")
            .map(|(at, call)| (at, code[at + call.len()..].split('\'').next().unwrap()))
            .collect();
        // A branch that returns after a single command cannot be partly applied.
        let returns_at_once = |at: usize| {
            code[at..].lines().nth(1).is_some_and(|line| line.starts_with("  ") && line.trim().starts_with("return"))
        };
        let calls: Vec<_> = calls.into_iter().filter(|(at, _)| !returns_at_once(*at)).collect();
        let first_write = calls.iter().find(|(_, command)| WRITES.contains(command)).map(|(at, _)| *at);
        if name == "list" {
            assert_eq!(first_write, None, "list writes nothing");
            continue;
        }
        let first_write = first_write.unwrap_or_else(|| panic!("{name}.lua writes nothing"));
        // Only write commands may follow the first write, because the script has checked the permissions for them.
        for (_, command) in calls.iter().filter(|(at, _)| *at > first_write) {
            assert!(WRITES.contains(command), "{name}.lua calls {command} after its first write");
        }
        // A script with a single write needs no permission check.
        if calls.iter().filter(|(_, command)| WRITES.contains(command)).count() > 1 {
            assert!(
                code[..first_write].contains("require_permission("),
                "{name}.lua writes without a permission check"
            );
        }
    }
}
