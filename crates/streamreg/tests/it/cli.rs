//! Runs the program as a process: checks the help, and every command with its own server.

use std::cell::RefCell;
use std::fs::Permissions;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use testkit::free_port;

/// Time limit of every wait.
pub(super) const DEADLINE: Duration = Duration::from_secs(30);

pub(super) fn program(args: &[&str]) -> Command {
    // The program must not inherit ignored signals. The test process ignores some signals if it runs in the background
    // or under nohup.
    let mut command = Command::new("env");
    command.args(["--default-signal=HUP,INT,QUIT,TERM", env!("CARGO_BIN_EXE_streamreg")]);
    command.args(args).env_remove("STREAMREG_STORE").env_remove("RUST_LOG").env_remove("COLUMNS").stdin(Stdio::null());
    command
}

/// A running program whose standard error is read line by line. Killed when dropped.
pub(super) struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
    /// The lines so far.
    received: RefCell<Vec<String>>,
}

impl Running {
    pub(super) fn start(args: &[&str]) -> Self {
        Self::spawn(&mut program(args))
    }

    pub(super) fn spawn(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (send, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines, received: RefCell::default() }
    }

    /// Waits for a line that contains a string.
    pub(super) fn line_with(&self, text: &str) -> String {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    self.received.borrow_mut().push(line.clone());
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(error) => panic!("no line with {text:?}: {error}; received {:#?}", self.received.borrow()),
            }
        }
    }

    /// Returns the process id.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by name.
    pub(super) fn signal(&self, name: &str) {
        let done = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(done.success());
    }

    /// Waits for the program to exit and returns its status.
    pub(super) fn ended(&mut self) -> Option<i32> {
        let mut status = None;
        until("the program exits", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.and_then(|status| status.code())
    }

    /// Stops the program and returns all its lines.
    pub(super) fn stop(&mut self) -> String {
        self.signal("TERM");
        assert_eq!(self.ended(), Some(0));
        let mut lines = self.received.take();
        lines.extend(&self.lines);
        lines.join("\n")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until a condition is met.
pub(super) fn until(description: &str, mut is_met: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !is_met() {
        assert!(Instant::now() < deadline, "timed out waiting until {description}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// A server on a free port.
pub(super) struct Server {
    pub(super) running: Running,
    pub(super) url: String,
    /// The line with the server's address.
    pub(super) greeting: String,
}

impl Server {
    pub(super) fn start(args: &[&str]) -> Self {
        Self::start_at(&format!("127.0.0.1:{}", free_port()), args)
    }

    /// Starts a server at this address.
    pub(super) fn start_at(address: &str, args: &[&str]) -> Self {
        Self::of(Running::start(&[&["serve", "--listen", address], args].concat()))
    }

    /// Waits until a started server listens.
    pub(super) fn of(running: Running) -> Self {
        let line = running.line_with("listening on ");
        let url = line.split_whitespace().find(|word| word.starts_with("http")).unwrap().trim_end_matches(',');
        Self { url: url.to_owned(), running, greeting: line }
    }

    pub(super) fn command(&self, args: &[&str]) -> Command {
        let mut command = program(args);
        command.args(["--store", &self.url]);
        command
    }

    pub(super) fn run(&self, args: &[&str]) -> (Option<i32>, String, String) {
        outcome(self.command(args).output().unwrap())
    }

    fn run_with(&self, args: &[&str], stdin: &str) -> (Option<i32>, String, String) {
        let mut command = self.command(args);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
        outcome(child.wait_with_output().unwrap())
    }

    fn streams(&self) -> Vec<serde_json::Value> {
        let (status, stdout, stderr) = self.run(&["list", "--output", "json"]);
        assert_eq!(status, Some(0), "{stderr}");
        serde_json::from_str(&stdout).unwrap()
    }
}

/// Returns exit status, standard output and standard error.
pub(super) fn outcome(output: Output) -> (Option<i32>, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// Returns the outcome of a command that succeeds and writes nothing to standard error.
pub(super) fn done(stdout: &str) -> (Option<i32>, String, String) {
    (Some(0), stdout.into(), String::new())
}

/// Writes a file that other users cannot read. If they could, the program would print a warning about a secret in it.
pub(super) fn write_private(file: &Path, content: impl AsRef<[u8]>) {
    std::fs::write(file, content).unwrap();
    std::fs::set_permissions(file, Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn help_and_version_go_to_standard_output() {
    for args in [&["--help"][..], &["-h"], &["list", "--help"], &["register", "-h"], &["--version"]] {
        let (status, stdout, stderr) = outcome(program(args).output().unwrap());
        assert_eq!((status, stderr.as_str()), (Some(0), ""), "{args:?}");
        assert!(stdout.contains("streamreg"), "{args:?}: {stdout}");
    }
    let (_, stdout, _) = outcome(program(&["--help"]).output().unwrap());
    for verb in [
        "serve",
        "demo",
        "list",
        "get",
        "watch",
        "wait",
        "history",
        "register",
        "heartbeat",
        "set",
        "update",
        "unregister",
    ] {
        assert!(stdout.lines().any(|line| line.trim_start().starts_with(verb)), "{verb}: {stdout}");
        let (_, help, _) = outcome(program(&[verb, "--help"]).output().unwrap());
        assert!(help.contains(&format!("\n  streamreg {verb}")), "{verb} has no example: {help}");
    }
    for aliases in ["[alias: ls]", "[alias: describe]", "[aliases: rm, delete]"] {
        assert!(stdout.contains(aliases), "{aliases}: {stdout}");
    }
    // Without arguments, the short help is printed, whether or not variables are set.
    let help = outcome(program(&["-h"]).output().unwrap());
    assert_eq!(outcome(program(&[]).env("STREAMREG_STORE", "redis://h").output().unwrap()), help);
}

#[test]
fn stream_can_be_registered_changed_updated_and_unregistered() {
    let server = Server::start(&[]);
    let nothing = (Some(0), String::new(), "no live streams; try `streamreg demo`\n".to_owned());
    assert_eq!(server.run(&["list"]), nothing);
    let register = ["register", "--id", "a/b \"c\"", "--type", "srt", "--source", "203.0.113.7:40112", "--node", "n1"];
    assert_eq!(server.run(&register), done("a/b \"c\"\n"));
    let id = "a/b \"c\"";
    assert_eq!(server.run(&["heartbeat", id]), done(""));
    assert_eq!(server.run(&["set", id, "--status", "active", "--bytes-received", "9223372036854775807"]), done(""));
    assert_eq!(server.run(&["set", id, "--bitrate", "5000000", "--label", "tenant=acme"]), done(""));
    let (_, record, _) = server.run(&["get", id]);
    let record: serde_json::Value = serde_json::from_str(&record).unwrap();
    assert_eq!(record["bytes_received"], serde_json::json!(i64::MAX));
    assert_eq!((&record["bitrate"], &record["status"]), (&5_000_000.into(), &"active".into()));
    assert_eq!(record["labels"]["tenant"], "acme");
    let (_, table, _) = server.run(&["list", "--output", "table"]);
    assert!(table.contains("5.0 Mbit/s"), "{table}");
    let json = r#"{"id":"a/b \"c\"","type":"rtp","source_addr":"a:1","vendor":{"x":[1.50]}}"#;
    let warning = "streamreg: warning: unknown field \"vendor\", stored as given\n".to_owned();
    assert_eq!(server.run_with(&["update", "--json", "-"], json), (Some(0), String::new(), warning));
    assert!(server.run(&["get", id]).1.trim_end().ends_with(r#""vendor":{"x":[1.50]}}"#));
    assert_eq!(server.run(&["unregister", id, "--reason", "over"]), done(""));
    assert_eq!(server.run(&["list"]), nothing);
    let (status, _, stderr) = server.run(&["get", id]);
    assert_eq!(status, Some(3));
    assert_eq!(stderr, "streamreg: no live stream has the id \"a/b \\\"c\\\"\"; see `streamreg list`\n");
}

#[test]
fn unregister_by_node_asks_a_user_but_not_a_script() {
    let server = Server::start(&[]);
    let register = ["register", "--id", "x", "--type", "srt", "--source", "a:1", "--node", "n1"];
    let unregister = ["unregister", "--node", "n1"];
    // `script` provides a terminal and types its standard input there.
    let at_terminal = |answer: &str| {
        let command = format!("{} {} --store {}", env!("CARGO_BIN_EXE_streamreg"), unregister.join(" "), server.url);
        let mut script = Command::new("timeout");
        script.args(["30", "script", "--quiet", "--return", "--command", &command, "/dev/null"]);
        script.env("SHELL", "/bin/sh").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = script.spawn().unwrap();
        child.stdin.take().unwrap().write_all(answer.as_bytes()).unwrap();
        let (status, printed, _) = outcome(child.wait_with_output().unwrap());
        assert!(printed.contains("end 1 stream of node \"n1\"? [y/N]"), "{printed}");
        status
    };
    server.run(&register);
    assert_eq!(at_terminal("n\n"), Some(1));
    assert_eq!(server.streams().len(), 1);
    assert_eq!(at_terminal("y\n"), Some(0));
    assert_eq!(server.streams().len(), 0);
    server.run(&register);
    let (status, _, stderr) = server.run(&unregister);
    assert_eq!((status, &*stderr), (Some(0), "unregistered 1 stream of node \"n1\"\n"));
}

#[test]
fn conflict_exits_with_4_and_missing_stream_exits_with_3() {
    let server = Server::start(&[]);
    let register = |source: &str, policy| {
        server.run(&["register", "--id=x", "--type=srt", "--source", source, "--on-conflict", policy])
    };
    assert_eq!(register("a:1", "create-only"), done("x\n"));
    let (status, _, stderr) = register("b:2", "reject");
    assert_eq!(status, Some(4));
    assert!(stderr.contains("a live stream of a:1 (srt)"), "{stderr}");
    assert_eq!(register("a:1", "reject").0, Some(0));
    assert_eq!(register("a:1", "create-only").0, Some(4));
    assert_eq!(register("b:2", "take-over").0, Some(0));
    for verb in [&["heartbeat", "x", "y"][..], &["set", "y", "--status", "a"], &["unregister", "y", "x", "z"]] {
        assert_eq!(server.run(verb).0, Some(3), "{verb:?}");
    }
    assert_eq!(server.streams(), [] as [serde_json::Value; 0], "x must be unregistered although y is missing");
}

#[test]
fn server_with_a_token_rejects_writes_without_the_token() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = dir.path().join(name);
        write_private(&path, content);
        path.to_str().unwrap().to_owned()
    };
    let (right, wrong) = (file("right", "s3cret\n"), file("wrong", "guess\n"));
    let server = Server::start(&["--token-file", &right]);
    let register = ["register", "--id", "x", "--type", "srt", "--source", "a:1"];
    let (status, _, stderr) = server.run(&register);
    assert_eq!(status, Some(1));
    assert!(stderr.contains("--token-file") && stderr.lines().count() == 1, "{stderr}");
    let (status, _, stderr) = server.run(&[&register[..], &["--token-file", &wrong]].concat());
    assert_eq!(status, Some(1));
    assert!(!stderr.contains("guess") && !stderr.contains("s3cret"), "{stderr}");
    assert_eq!(server.run(&[&register[..], &["--token-file", &right]].concat()), done("x\n"));
}

#[test]
fn store_url_can_be_set_in_the_environment() {
    let server = Server::start(&[]);
    let output = program(&["list", "--output", "json"]).env("STREAMREG_STORE", &server.url).output().unwrap();
    assert_eq!(outcome(output).1, "[]\n");
    // These variables serve other commands of the same shell, so a client of a server ignores them.
    let mut list = program(&["list"]);
    list.env("STREAMREG_STORE", &server.url).env("STREAMREG_TTL", "1m").env("STREAMREG_PREFIX", "a:");
    assert_eq!(outcome(list.env("STREAMREG_OUTPUT", "json").output().unwrap()).1, "[]\n");
    let mut register = server.command(&["register", "--type", "srt", "--source", "203.0.113.7:1"]);
    let (status, _, stderr) = outcome(register.env("STREAMREG_READ_ONLY", "true").output().unwrap());
    assert!(status == Some(1) && stderr.contains("read-only"), "{stderr}");
}

#[test]
fn list_reads_all_pages_of_a_server() {
    let server = Server::start(&[]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let registry = stream_registry::connect(&server.url).await.unwrap();
        for n in 0..2_100 {
            let id = format!("cam{n}").parse().unwrap();
            registry
                .register(&stream_registry::Stream::new(id, stream_registry::StreamType::Srt, "a:1"))
                .await
                .unwrap();
        }
    });
    let (status, stdout, _) = server.run(&["list", "--output", "jsonl"]);
    assert_eq!((status, stdout.lines().count()), (Some(0), 2_100));
}

#[test]
#[cfg(unix)]
fn list_succeeds_when_its_reader_closes_the_pipe() {
    let server = Server::start(&[]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let registry = stream_registry::connect(&server.url).await.unwrap();
        // The list of these streams is much larger than a pipe's buffer.
        for n in 0..1_000 {
            let id = format!("cam{n}").parse().unwrap();
            let mut stream = stream_registry::Stream::new(id, stream_registry::StreamType::Srt, "a:1");
            stream.video_codec = "x".repeat(1_000);
            registry.register(&stream).await.unwrap();
        }
    });
    let mut child = server.command(&["list"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    let (status, _, stderr) = outcome(child.wait_with_output().unwrap());
    assert!(first.starts_with("{\"id\":\"cam0\""), "{first}");
    assert_eq!((status, stderr.as_str()), (Some(0), ""));
}

#[test]
#[cfg(target_os = "linux")]
fn list_fails_when_the_disk_is_full() {
    let server = Server::start(&[]);
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let (status, _, stderr) = outcome(server.command(&["list", "--output=json"]).stdout(full).output().unwrap());
    assert_eq!(status, Some(1));
    assert!(stderr.contains("standard output"), "{stderr}");
}

#[test]
fn read_only_server_runs_on_all_addresses_without_a_token() {
    for (address, host) in [(":0", "0.0.0.0"), ("0.0.0.0:0", "0.0.0.0"), ("[::ffff:0.0.0.0]:0", "[::ffff:0.0.0.0]")] {
        let mut server = Server::start_at(address, &["--read-only"]);
        let port = server.url.strip_prefix(&format!("http://{host}:")).unwrap_or_else(|| panic!("{}", server.greeting));
        server.url = format!("http://127.0.0.1:{port}");
        assert!(server.streams().is_empty());
        let (status, _, stderr) = server.run(&["register", "--type", "srt", "--source", "203.0.113.7:40112"]);
        assert!(status == Some(1) && stderr.contains("read-only"), "{status:?} {stderr}");
    }
}

#[test]
fn server_listens_on_a_host_name() {
    let server = Server::start_at("localhost:0", &[]);
    assert!(server.url.starts_with("http://127.0.0.1:"), "{}", server.greeting);
    assert!(server.streams().is_empty());
}

#[test]
fn files_may_begin_with_a_byte_order_mark() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = dir.path().join(name);
        write_private(&path, format!("\u{feff}{content}"));
        path.to_str().unwrap().to_owned()
    };
    let token = file("token", "s3cret\n");
    let server = Server::start(&["--token-file", &token]);
    let (store, record) = (file("store", &server.url), r#"{"id":"cam1","type":"srt","source_addr":"203.0.113.7:1"}"#);
    let json = file("cam1.json", record);
    let args = ["register", "--json", &json, "--token-file", &token, "--store-file", &store];
    assert_eq!(outcome(program(&args).output().unwrap()), done("cam1\n"));
    let args = ["update", "--json", "-", "--token-file", &token];
    assert_eq!(server.run_with(&args, &format!("\u{feff}{record}")), done(""));
}

#[test]
#[cfg(unix)]
fn server_stops_on_sigint_and_sigterm() {
    for signal in ["INT", "TERM"] {
        let mut server = Server::start(&[]);
        assert_eq!(server.run(&["list", "--output", "json"]).1, "[]\n");
        server.running.signal(signal);
        assert_eq!(server.running.ended(), Some(0), "{signal}");
        assert_eq!(server.run(&["list"]).0, Some(5));
    }
}

#[test]
#[cfg(unix)]
fn second_signal_exits_the_server_at_once() {
    let mut server = Server::start(&["--log", "info"]);
    let mut socket = std::net::TcpStream::connect(server.url.trim_start_matches("http://")).unwrap();
    // Sends a request with an incomplete body. The server waits for the rest of the body.
    socket
        .write_all(
            b"POST /api/v1/streams HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{",
        )
        .unwrap();
    // The reply to this later request shows that the earlier connection has been accepted.
    assert_eq!(server.run(&["list", "--output", "json"]).1, "[]\n");
    server.running.signal("TERM");
    server.running.line_with("stopping");
    server.running.signal("INT");
    assert_eq!(server.running.ended(), Some(128 + 2));
}

/// The command `timeout` sends the signal to the process, and then to its group.
#[test]
fn demo_unregisters_its_streams_when_sigterm_arrives_twice_at_once() {
    let server = Server::start(&[]);
    let mut demo = Running::spawn(&mut server.command(&["demo", "--streams", "2000"]));
    demo.line_with("2000 simulated streams");
    demo.signal("TERM");
    demo.signal("TERM");
    assert_eq!(demo.ended(), Some(0));
    assert_eq!(server.run(&["list", "--output", "json"]).1, "[]\n");
}

#[test]
#[cfg(unix)]
fn every_line_of_the_json_log_is_an_object() {
    let mut server = Server::start(&["--log-format", "json", "--log", "debug"]);
    let greeting: serde_json::Value = serde_json::from_str(&server.greeting).unwrap();
    assert_eq!((&greeting["level"], &greeting["target"]), (&"INFO".into(), &"streamreg::cli::output".into()));
    assert!(greeting["message"].as_str().unwrap().starts_with("listening on http://127.0.0.1:"), "{greeting}");
    let (status, _, _) = server.run(&["get", "an \"unknown\" stream"]);
    assert_eq!(status, Some(3));
    let line: serde_json::Value = serde_json::from_str(&server.running.line_with("unknown")).unwrap();
    assert_eq!((&line["message"], &line["method"], &line["status"]), (&"request".into(), &"GET".into(), &404.into()));
    assert_eq!(line["request_id"].as_str().unwrap().len(), 16, "{line}");
    assert!(line["timestamp"].as_str().unwrap().ends_with('Z') && line["level"] == "INFO", "{line}");
    // A failure of the command is an object too.
    let address = server.url.trim_start_matches("http://");
    let (status, _, stderr) =
        outcome(program(&["serve", "--listen", address, "--log-format", "json"]).output().unwrap());
    assert_eq!(status, Some(1));
    let failure: serde_json::Value = serde_json::from_str(&stderr).unwrap();
    assert!(
        failure["level"] == "ERROR" && failure["message"].as_str().unwrap().contains("already running"),
        "{failure}"
    );
    server.running.signal("TERM");
    assert_eq!(server.running.ended(), Some(0));
}

#[test]
fn serve_names_the_address_when_the_port_is_in_use() {
    let server = Server::start(&[]);
    let address = server.url.trim_start_matches("http://");
    let (status, _, stderr) = outcome(program(&["serve", "--listen", address]).output().unwrap());
    assert_eq!(status, Some(1));
    let running = "streamreg is already running there; choose another address with --listen";
    assert_eq!(stderr, format!("streamreg: cannot listen on {address}: {running}\n"));
    let port = address.rsplit(':').next().unwrap();
    let all = ["serve", "--read-only", "--listen", &format!("0.0.0.0:{port}")];
    assert!(outcome(program(&all).output().unwrap()).2.contains("already running there"));

    // Another program that listens on the port may give another answer, or none.
    for answer in ["", "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"] {
        let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = other.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            let mut clients = Vec::new();
            while let Ok((mut client, _)) = other.accept() {
                let _ = client.write_all(answer.as_bytes());
                clients.push(client);
            }
        });
        let (status, _, stderr) = outcome(program(&["serve", "--listen", &address]).output().unwrap());
        assert!(status == Some(1) && stderr.contains("in use") && stderr.lines().count() == 1, "{stderr}");
    }
}

#[test]
fn streams_expire_after_the_ttl_of_the_server() {
    let server = Server::start(&["--ttl", "1s"]);
    assert_eq!(server.run(&["register", "--id", "x", "--type", "srt", "--source", "a:1"]), done("x\n"));
    until("the stream expires", || server.run(&["get", "x"]).0 == Some(3));
}

#[test]
#[cfg(unix)]
fn demo_registers_streams_and_unregisters_them_at_the_end() {
    let server = Server::start(&[]);
    let mut demo = Running::start(&["demo", "--seed", "7", "--store", &server.url]);
    demo.line_with("simulated streams on http://");
    until("the streams receive media", || {
        let live = server.streams();
        let busy = live.iter().filter(|stream| stream["status"] == "active" && stream["bytes_received"] != 0).count();
        live.len() >= 18 && busy >= 10 && live.iter().all(|stream| stream["labels"]["demo"] == "true")
    });
    demo.signal("INT");
    assert_eq!(demo.ended(), Some(0));
    assert_eq!(server.streams(), [] as [serde_json::Value; 0]);
    let (status, _, stderr) = server.run(&["demo", "--for", "1500ms"]);
    assert_eq!(status, Some(0), "{stderr}");
    assert_eq!(server.streams(), [] as [serde_json::Value; 0]);
    // This number of streams is larger than the limit of writes per call.
    let mut demo = Running::start(&["demo", "--streams", "1500", "--store", &server.url]);
    demo.line_with("1500 simulated streams on http://");
    until("the streams receive media", || {
        let live = server.streams();
        live.iter().filter(|stream| stream["status"] == "active" && stream["bytes_received"] != 0).count() >= 1_000
    });
    demo.signal("INT");
    assert_eq!(demo.ended(), Some(0));
    assert_eq!(server.streams(), [] as [serde_json::Value; 0]);
}
