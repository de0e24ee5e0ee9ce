//! Runs `list` and `get` with each format, with several ids, and with the options of tables.

use std::time::Duration;

use stream_registry::{MemoryRegistry, Registry, StreamId, UnregisterOptions};

use crate::cli::{Server, outcome, program};
use crate::cli_verbs::{Printed, Shell};

const REGISTER: [&str; 6] = ["register", "--type", "srt", "--source", "203.0.113.7:40112", "--id"];

/// Returns a shell with three live streams, whose bit rates are 1, 2 and 3 Mbit/s.
async fn three_streams() -> Shell {
    let shell = Shell::new();
    for (id, bitrate) in [("cam1", "1000000"), ("cam2", "2000000"), ("cam3", "3000000")] {
        shell.run(&[&REGISTER[..], &[id, "--label", &format!("n={id}")]].concat()).await;
        shell.silent(&["set", id, "--bitrate", bitrate]).await;
    }
    shell
}

/// Returns the message about an id that is not live.
fn missing(id: &str) -> String {
    format!("streamreg: no live stream has the id {id:?}; see `streamreg list`\n")
}

/// Returns a command's outcome with exit status 0 and nothing on standard error.
fn printed(stdout: impl Into<String>) -> Printed {
    (0, stdout.into(), String::new())
}

#[tokio::test]
async fn name_format_prints_one_id_per_line() {
    let shell = three_streams().await;
    let ids = printed("cam1\ncam2\ncam3\n");
    for args in [&["list", "-o", "name"][..], &["get", "cam1", "cam2", "cam3", "-o", "name"]] {
        assert_eq!(shell.run(args).await, ids, "{args:?}");
    }
    assert_eq!(shell.run(&["get", "cam2", "-o", "name"]).await, printed("cam2\n"));
    assert_eq!(shell.run(&["summary", "-o", "name"]).await, printed("connecting\n"));
    assert_eq!(shell.run(&["unregister", "cam1", "cam3", "-o", "name"]).await, printed("cam1\ncam3\n"));
    assert_eq!(shell.run(&["history", "-o", "name"]).await, printed("cam3\ncam1\n"));
}

#[tokio::test]
async fn yaml_format_prints_one_document() {
    let shell = three_streams().await;
    let (_, one, _) = shell.run(&["get", "cam1", "-o", "yaml"]).await;
    assert!(one.starts_with("id: cam1\ntype: srt\nsource_addr: \"203.0.113.7:40112\"\nstatus: connecting\n"), "{one}");
    assert!(one.ends_with("packets_lost: 0\nlabels:\n  \"n\": cam1\n"), "{one}");
    let elements: Vec<_> = shell.run(&["list", "-o", "yaml"]).await.1.lines().map(str::to_owned).collect();
    let starts: Vec<_> = elements.iter().filter(|line| line.starts_with("- ")).collect();
    assert_eq!(starts, ["- id: cam1", "- id: cam2", "- id: cam3"]);
    assert_eq!(shell.run(&["list", "--node", "none", "-o", "yaml"]).await.1, "[]\n");
    let (_, summary, _) = shell.run(&["summary", "-o", "yaml"]).await;
    assert!(summary.starts_with("by: status\ntotal: 3\nbitrate: 6000000\ngroups:\n  - key: connecting\n"), "{summary}");
    shell.silent(&["unregister", "cam1", "--reason", "12:30"]).await;
    let (_, history, _) = shell.run(&["history", "-o", "yaml"]).await;
    assert!(
        history.contains("\n  reason: \"12:30\"\n") && history.contains("\n  stream:\n    id: cam1\n"),
        "{history}"
    );
}

#[tokio::test]
async fn wide_format_is_a_table_with_more_columns() {
    let shell = three_streams().await;
    let (_, table, _) = shell.run(&["list", "-o", "table"]).await;
    let (_, wide, _) = shell.run(&["list", "-o", "wide"]).await;
    assert!(table.lines().next().unwrap().ends_with("  HEARTBEAT  AGE"), "{table}");
    assert!(!table.contains("n=cam1") && wide.contains("n=cam1"), "{wide}");
    let (_, one, _) = shell.run(&["get", "cam1", "-o", "wide"]).await;
    assert_eq!(one.lines().count(), 2, "{one}");
    assert!(one.contains("RECEIVED") && one.contains("n=cam1"), "{one}");
}

#[tokio::test]
async fn several_ids_are_printed_in_their_order_and_missing_ids_are_reported() {
    let mut shell = three_streams().await;
    let json = |id: &str| {
        let id: StreamId = id.parse().unwrap();
        let registry = &shell.registry;
        async move { registry.get(&id).await.unwrap().to_json() }
    };
    let (one, three) = (json("cam1").await, json("cam3").await);
    let lines = format!("{three}\n{one}\n");
    for verb in ["get", "list"] {
        assert_eq!(shell.run(&[verb, "cam3", "cam1"]).await, printed(&lines), "{verb}");
        let (status, stdout, stderr) = shell.run(&[verb, "cam3", "no1", "cam1", "no2"]).await;
        assert_eq!((status, stdout, stderr), (3, lines.clone(), missing("no1") + &missing("no2")), "{verb}");
        let array = format!("[\n{one}\n]\n");
        assert_eq!(shell.run(&[verb, "cam1", "no1", "-o", "json"]).await, (3, array, missing("no1")), "{verb}");
    }
    assert_eq!(shell.run(&["list", "cam1"]).await, printed(format!("{one}\n")));
    assert_eq!(shell.run(&["list", "no1"]).await, (3, String::new(), missing("no1")));
    shell.terminal = true;
    let (_, blocks, _) = shell.run(&["get", "cam1", "cam3"]).await;
    let blocks: Vec<_> = blocks.split("\n\n").collect();
    assert_eq!(blocks.len(), 2, "{blocks:?}");
    assert!(blocks[1].starts_with("id                cam3\n"), "{blocks:?}");
}

#[tokio::test]
async fn list_shows_the_requested_number_of_streams_and_columns() {
    let shell = three_streams().await;
    let top = ["list", "--sort", "-bitrate", "--limit", "2", "--no-headers", "--columns", "id,bitrate"];
    assert_eq!(shell.run(&top).await, printed("cam3  3.0 Mbit/s\ncam2  2.0 Mbit/s\n"));
    assert_eq!(shell.run(&["list", "--columns", "id"]).await, printed("ID\ncam1\ncam2\ncam3\n"));
    let (_, limited, _) = shell.run(&["list", "--limit", "1"]).await;
    assert_eq!(limited.lines().count(), 1, "{limited}");
    let (_, plain, _) = shell.run(&["list", "--no-headers"]).await;
    assert!(plain.starts_with("cam1  srt ") && plain.lines().count() == 3, "{plain}");
    let (_, wide, _) = shell.run(&["list", "-o", "wide", "--no-headers"]).await;
    assert!(wide.starts_with("cam1  srt ") && wide.contains("n=cam1"), "{wide}");
    for (args, option) in [
        (&["--columns", "id", "-o", "json"][..], "--columns"),
        (&["--columns", "id", "-o", "wide"], "--columns"),
        (&["--no-headers", "-o", "yaml"], "--no-headers"),
    ] {
        let (status, stdout, stderr) = shell.run(&[&["list"], args].concat()).await;
        assert_eq!((status, stdout.as_str()), (2, ""), "{args:?}");
        assert_eq!(stderr, format!("streamreg: {option} needs a table; use --output table\n"));
    }
}

#[tokio::test]
async fn short_label_filter_selects_streams() {
    let shell = three_streams().await;
    assert_eq!(shell.run(&["list", "-l", "n=cam2", "-o", "name"]).await, printed("cam2\n"));
}

#[tokio::test]
async fn long_id_is_cut_on_a_terminal_only() {
    let mut shell = Shell::new();
    let id = "x".repeat(60);
    shell.run(&[&REGISTER[..], &[&id]].concat()).await;
    let list = ["list", "-o", "table", "--no-headers"];
    assert!(shell.run(&list).await.1.starts_with(&format!("{id}  ")));
    shell.terminal = true;
    assert!(shell.run(&list).await.1.starts_with(&format!("{}…  ", &id[..39])));
    assert!(shell.run(&["list", "-o", "wide", "--no-headers"]).await.1.starts_with(&format!("{id}  ")));
    assert_eq!(shell.run(&["list", "-o", "name"]).await, printed(format!("{id}\n")));
}

#[tokio::test]
async fn get_says_when_and_why_a_stream_ended_if_people_read_the_output() {
    let mut shell = three_streams().await;
    let reason = UnregisterOptions::default().reason("end of \u{1b}[2J event".parse().unwrap());
    shell.registry.unregister_with(&"cam1".parse().unwrap(), &reason).await.unwrap();
    shell.silent(&["unregister", "cam2"]).await;
    assert_eq!(shell.run(&["get", "cam1"]).await, (3, String::new(), missing("cam1")));
    shell.terminal = true;
    let (status, stdout, stderr) = shell.run(&["get", "cam1"]).await;
    assert_eq!((status, stdout.as_str()), (3, ""));
    assert!(stderr.starts_with("streamreg: no live stream has the id \"cam1\"; it was unregistered "), "{stderr}");
    assert!(stderr.ends_with(": end of \\u{1b}[2J event\n"), "{stderr}");
    let (_, _, stderr) = shell.run(&["get", "cam2"]).await;
    let end = stderr.rsplit("; ").next().unwrap();
    assert!(end.starts_with("it was unregistered ") && !end.contains(':'), "{stderr}");
    assert_eq!(shell.run(&["get", "never"]).await, (3, String::new(), missing("never")));
    let brief = Shell { registry: MemoryRegistry::with_ttl(Duration::from_secs(1)).unwrap(), terminal: true };
    brief.run(&[&REGISTER[..], &["lost"]].concat()).await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    loop {
        let (status, _, stderr) = brief.run(&["get", "lost"]).await;
        if status == 3 {
            assert!(stderr.contains("\"lost\"; it expired "), "{stderr}");
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "the stream does not expire");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn unknown_field_in_a_record_is_reported_and_kept() {
    let shell = Shell::new();
    let warning = |field: &str| {
        format!("streamreg: warning: unknown field \"{field}\" (did you mean \"bitrate\"?), stored as given\n")
    };
    let json = r#"{"id":"cam1","type":"srt","source_addr":"203.0.113.7:40112","bitrte":5000000}"#;
    let registered = shell.run_with(&["register", "--json", "-"], json).await;
    assert_eq!(registered, (0, "cam1\n".into(), warning("bitrte")));
    let json = json.replace("bitrte", "bit_rate");
    assert_eq!(shell.run_with(&["update", "--json", "-"], &json).await, (0, String::new(), warning("bit_rate")));
    assert!(shell.get("cam1").await.to_json().contains("\"bit_rate\":5000000"));
}

#[test]
fn status_is_coloured_only_if_colours_are_forced_outside_a_terminal() {
    let server = Server::start(&[]);
    assert_eq!(server.run(&[&REGISTER[..], &["cam1"]].concat()).0, Some(0));
    let status = |variables: &[(&str, &str)], format: &str| {
        let mut list = program(&["list", "cam1", "--store", &server.url, "-o", format]);
        list.env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE").envs(variables.iter().copied());
        String::from_utf8(list.output().unwrap().stdout).unwrap()
    };
    let coloured = "\u{1b}[33mconnecting\u{1b}[0m";
    assert!(status(&[("CLICOLOR_FORCE", "1")], "table").contains(coloured));
    assert!(!status(&[("CLICOLOR_FORCE", "1")], "json").contains('\u{1b}'));
    assert!(!status(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], "table").contains('\u{1b}'));
    assert!(!status(&[], "table").contains('\u{1b}'));
    // The option is stronger than the variables, and its own variable is the default.
    let with = |option: &str, variables: &[(&str, &str)]| {
        let mut list = program(&["list", "cam1", "--store", &server.url, "-o", "table", option]);
        list.env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE").envs(variables.iter().copied());
        String::from_utf8(list.output().unwrap().stdout).unwrap()
    };
    assert!(with("--color=always", &[("NO_COLOR", "1")]).contains(coloured));
    assert!(!with("--color=never", &[("CLICOLOR_FORCE", "1")]).contains('\u{1b}'));
    assert!(!with("--color=auto", &[("STREAMREG_COLOR", "always")]).contains('\u{1b}'));
    assert!(status(&[("STREAMREG_COLOR", "always")], "table").contains(coloured));
}

#[test]
fn table_in_a_pipe_fits_the_variable_columns() {
    let server = Server::start(&[]);
    let id = "a".repeat(60);
    assert_eq!(server.run(&[&REGISTER[..], &[&id]].concat()).0, Some(0));
    let table = |columns: &str| {
        let mut list = program(&["list", "--store", &server.url, "-o", "table"]);
        let (_, stdout, stderr) = outcome(list.env("COLUMNS", columns).output().unwrap());
        (stdout.lines().map(|line| line.chars().count()).max().unwrap_or_default(), stderr)
    };
    let (whole, note) = table("");
    assert!(whole > 120 && note.is_empty(), "{whole} {note}");
    let (narrow, note) = table("100");
    assert!(narrow <= 100 && note.contains("no room for"), "{narrow} {note}");
    for invalid in ["0", "-5", "x"] {
        assert_eq!(table(invalid), (whole, String::new()), "{invalid}");
    }
}
