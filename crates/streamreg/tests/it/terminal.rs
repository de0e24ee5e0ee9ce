//! The commands that need a real terminal: `top`, and `list --watch`.
#![cfg(unix)]

mod screenshot;
mod tmux;

use streamreg::cli::top::Screen;

use crate::cli::{Server, done, outcome};
use tmux::Terminal;

/// Registers streams with this node.
fn register(server: &Server, node: &str, ids: &[&str]) {
    for id in ids {
        let args = ["register", "--type", "srt", "--source", "203.0.113.7:40112", "--node", node, "--id", id];
        assert_eq!(server.run(&args).0, Some(0));
    }
}

fn start(server: &Server, command: &str, width: u16, height: u16) -> Terminal {
    Terminal::start(&format!("{} {command} --store {}", env!("CARGO_BIN_EXE_streamreg"), server.url), width, height)
}

/// Returns the ids in the first column.
fn ids(screen: &str) -> Vec<&str> {
    let lines = screen.lines().skip_while(|line| !line.starts_with("ID")).skip(1);
    // `list` shows the number of streams below the table.
    lines.take_while(|line| !line.contains("; updated ")).map_while(|line| line.split_whitespace().next()).collect()
}

#[test]
fn top_filters_sorts_shows_details_and_quits() {
    let server = Server::start(&[]);
    register(&server, "n1", &["cam1", "cam2"]);
    register(&server, "n2", &["cam3"]);
    let set = ["set", "cam2", "--status", "error", "--bitrate", "5M"];
    assert_eq!(server.run(&set), done(""));
    let top = start(&server, "top", 120, 40);
    top.until("three streams are shown", |screen| ids(screen) == ["cam1", "cam2", "cam3"] && screen.contains("live"));
    top.keys(&["/", "node=n1"]);
    top.until("the filter applies", |screen| ids(screen) == ["cam1", "cam2"]);
    top.keys(&["Enter"]);
    top.shows("q quit");
    // Type, status, source, node, bitrate: the codec and the resolution are empty, but there is room for them.
    top.keys(&["s", "s", "s", "s", "s", "s", "s"]);
    top.until("the highest bit rate is on top", |screen| screen.contains("BITRATE▼") && ids(screen)[0] == "cam2");
    top.keys(&["r"]);
    top.until("the order is reversed", |screen| screen.contains("BITRATE▲") && ids(screen)[0] == "cam1");
    top.keys(&["End", "Enter"]);
    let detail = top.shows("last_heartbeat");
    assert!(detail.lines().any(|line| line.split_whitespace().eq(["id", "cam2"])), "{detail}");
    assert_eq!(server.run(&["set", "cam2", "--status", "active"]), done(""));
    top.until("the event is shown", |screen| screen.contains("last events:") && screen.contains("  status changed  "));
    top.until("the statistics are charted", |screen| {
        screen.contains("recorded for ") && screen.contains("\nbitrate  █")
    });
    top.keys(&["Escape"]);
    top.keys(&["/", "foo=bar"]);
    let invalid = top.shows("unknown key \"foo\"");
    assert!(invalid.contains("the keys are status, type, node") && invalid.contains("cam1"), "{invalid}");
    top.keys(&["Escape"]);
    assert_eq!(server.run(&["unregister", "cam1", "--reason", "end of show"]), done(""));
    top.keys(&["e"]);
    top.shows("end of show");
    top.keys(&["Enter"]);
    top.shows("This stream has ended: it was unregistered");
    top.keys(&["Escape"]);
    top.shows("ENDED");
    top.keys(&["e"]);
    register(&server, "n1", &["cam1"]);
    top.keys(&["C-l"]);
    top.resize(50, 10);
    top.until("columns are dropped", |screen| ids(screen).len() == 2 && !screen.contains("SOURCE"));
    top.keys(&["q"]);
    let after = top.ended(0);
    assert!(!after.contains("cam1"), "{after}");
}

#[test]
fn top_restores_the_terminal_after_each_signal() {
    let server = Server::start(&[]);
    for signal in ["TERM", "INT", "HUP"] {
        let top = start(&server, "top", 80, 24);
        top.shows("no live streams");
        top.signal(signal);
        top.ended(0);
    }
}

#[test]
fn top_survives_a_restart_of_its_server() {
    let mut server = Server::start(&[]);
    register(&server, "n1", &["before"]);
    let top = start(&server, "top", 100, 10);
    top.until("the stream is shown", |screen| ids(screen) == ["before"]);
    server.running.signal("TERM");
    assert_eq!(server.running.ended(), Some(0));
    let outage = top.until("the outage is shown", |screen| screen.contains("! store unreachable since "));
    assert!(outage.contains("Z: connection refused; retrying\n") && ids(&outage) == ["before"], "{outage}");
    let server = Server::start_at(server.url.trim_start_matches("http://"), &[]);
    register(&server, "n1", &["after"]);
    top.until("the new stream is shown", |screen| ids(screen) == ["after"] && screen.contains(" live\n"));
    top.keys(&["C-c"]);
    top.ended(0);
}

#[test]
fn top_can_be_suspended_and_continued() {
    let server = Server::start(&[]);
    let shell = Terminal::start("bash --norc --noprofile -i", 80, 24);
    shell.keys(&[&format!("{} top --store {}", env!("CARGO_BIN_EXE_streamreg"), server.url), "Enter"]);
    shell.shows("no live streams");
    shell.keys(&["C-z"]);
    shell.shows("Stopped");
    shell.is_restored();
    shell.keys(&["fg", "Enter"]);
    shell.until("top is back", |screen| screen.contains("no live streams") && !screen.contains("Stopped"));
    // A stop without notice leaves the screen as it is. Afterwards, keys must work again.
    shell.signal_child("STOP");
    shell.shows("Stopped");
    shell.keys(&["fg", "Enter"]);
    shell.until("top is back", |screen| screen.contains("no live streams") && !screen.contains("Stopped"));
    shell.keys(&["q"]);
    shell.until("the shell is back", |screen| screen.contains("Stopped"));
    shell.keys(&["exit", "Enter"]);
    shell.ended(0);
}

/// The test runs itself in a terminal, where it takes the terminal over and panics.
#[test]
fn terminal_is_restored_after_a_panic_of_another_thread() {
    const ROLE: &str = "STREAMREG_TEST_PANIC";
    let name = "terminal::terminal_is_restored_after_a_panic_of_another_thread";
    if std::env::var_os(ROLE).is_some() {
        let _screen = Screen::enter().unwrap();
        // The main thread holds the lock of standard output while `top` runs.
        let _lock = std::io::stdout().lock();
        let panicked = std::thread::spawn(|| panic!("a task of top has panicked")).join();
        unreachable!("the panic must end the program: {panicked:?}");
    }
    let test = std::env::current_exe().unwrap();
    let child = format!("env {ROLE}=1 {} --exact {name} --nocapture", test.display());
    let terminal = Terminal::start(&child, 100, 20);
    let screen = terminal.ended(101);
    assert!(screen.contains("a task of top has panicked") && !screen.contains("must end"), "{screen}");
}

#[test]
fn top_without_a_terminal_prints_one_table() {
    let server = Server::start(&[]);
    register(&server, "n1", &["cam1", "cam2"]);
    let (status, stdout, stderr) = server.run(&["top", "--sort", "-id"]);
    assert_eq!((status, stderr.as_str()), (Some(0), ""));
    assert_eq!(ids(&stdout), ["cam2", "cam1"]);
    assert!(!stdout.contains('\u{1b}'), "{stdout}");
    let (_, stdout, _) = server.run(&["top", "-o", "name"]);
    assert_eq!(stdout, "cam1\ncam2\n");
    let dumb = Terminal::start(
        &format!("env TERM=dumb {} top --store {}", env!("CARGO_BIN_EXE_streamreg"), server.url),
        80,
        24,
    );
    assert_eq!(ids(&dumb.ended(0))[..2], ["cam1", "cam2"]);
    let (status, _, stderr) = outcome(server.command(&["top", "--sort", "size"]).output().unwrap());
    assert_eq!(status, Some(2));
    assert!(stderr.contains("expected a column"), "{stderr}");
}

#[test]
fn list_with_watch_updates_its_table_in_place() {
    let server = Server::start(&[]);
    register(&server, "n1", &["cam1", "cam3"]);
    let list = start(&server, "list --watch --sort -id --limit 2", 80, 12);
    list.until("two streams are shown", |screen| {
        ids(screen) == ["cam3", "cam1"] && screen.contains("\n2 streams match; updated ")
    });
    register(&server, "n1", &["cam2"]);
    list.until("the new stream is shown", |screen| {
        ids(screen) == ["cam3", "cam2"] && screen.contains("\n3 streams match, showing the first 2; updated ")
    });
    assert_eq!(server.run(&["set", "cam3", "--bitrate", "7M"]), done(""));
    list.shows("7.0 Mbit/s");
    assert_eq!(server.run(&["unregister", "cam3"]), done(""));
    list.until("the ended stream is gone", |screen| ids(screen) == ["cam2", "cam1"]);
    list.keys(&["C-c"]);
    let after = list.ended(0);
    assert_eq!(after.matches("STATUS").count(), 1, "{after}");
}

#[test]
fn list_with_watch_fits_its_terminal_and_reports_outages() {
    let mut server = Server::start(&[]);
    let many: Vec<String> = (0..20).map(|n| format!("cam{n:02}")).collect();
    register(&server, "n1", &many.iter().map(String::as_str).collect::<Vec<_>>());
    let list = start(&server, "list -w", 80, 12);
    let screen = list.shows("20 streams match, showing the first 9; updated ");
    assert!(screen.starts_with("ID ") && screen.contains("cam08") && !screen.contains("cam09"), "{screen}");
    list.resize(40, 8);
    list.until("the table is smaller", |screen| {
        screen.starts_with("ID ") && screen.contains("20 streams match, showing the first 5;")
    });
    server.running.signal("TERM");
    assert_eq!(server.running.ended(), Some(0));
    let screen = list.shows("store unreachable since ");
    let lines: Vec<_> = screen.lines().collect();
    // The table has one line less for the outage, and the time of the last update stays. Both times are the same.
    assert!(lines[4].starts_with("cam03 ") && lines[5].starts_with("20 streams match, showing the f"), "{screen}");
    list.resize(80, 8);
    let screen = list.shows(": connection refused; retrying");
    let time_after = |word: &str| screen.split_once(word).unwrap().1[..8].to_owned();
    assert_eq!(time_after("; updated "), time_after("unreachable since "), "{screen}");
    list.signal("TERM");
    list.ended(0);
}
