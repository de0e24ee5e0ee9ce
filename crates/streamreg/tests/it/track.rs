//! Runs `track` with the real srt-live-transmit and the real ffmpeg.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::io::Write as _;
use std::net::UdpSocket;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use stream_registry::{Guard, Registry as _, Stream, StreamStatus, UnregisterOptions};
use testkit::{FaultProxy, LossyUdp, free_port};

use crate::cli::{Running, outcome, program, until};
use crate::http::kit::id;
use crate::served::{Served, ended};

/// Size of a packet of the callers, in bytes.
const PACKET: usize = 1316;

/// A process that ends with the test.
struct Killed(Child);

impl Killed {
    fn start(command: &str, args: &[&str]) -> Self {
        let mut command = Command::new(command);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The program that a `streamreg track` has started. It ends with the test, because it does not end when `streamreg` is
/// killed.
struct Program(String);

impl Program {
    /// Waits until the program runs.
    fn of(streamreg: &str) -> Self {
        until("the program runs", || !child_of(streamreg).is_empty());
        Self(child_of(streamreg))
    }

    fn is_running(&self) -> bool {
        is_running(&self.0)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if self.is_running() {
            send_signal("KILL", &self.0);
        }
    }
}

/// An SRT caller that sends 200 packets per second.
struct Caller {
    program: Killed,
    is_silent: Arc<AtomicBool>,
}

impl Caller {
    /// Calls an address. `options` are parameters of the URL.
    fn start(port: u16, options: &str) -> Self {
        let mut command = Command::new("srt-live-transmit");
        command.args(["-q", "-c:1316", "file://con", &format!("srt://127.0.0.1:{port}?mode=caller{options}")]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let is_silent = Arc::new(AtomicBool::new(false));
        let (input, silent) = (child.stdin.take().unwrap(), Arc::clone(&is_silent));
        std::thread::spawn(move || send(input, &silent));
        Self { program: Killed(child), is_silent }
    }

    /// Stays connected but sends nothing from now on.
    fn set_silent(&self, is_silent: bool) {
        self.is_silent.store(is_silent, Ordering::SeqCst);
    }
}

/// Disconnects. A caller that is killed would be noticed only after 5 s.
impl Drop for Caller {
    fn drop(&mut self) {
        self.set_silent(false);
        send_signal("INT", &self.program.0.id().to_string());
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline && matches!(self.program.0.try_wait(), Ok(None)) {
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }
}

/// Sends packets at a constant rate until the caller has ended.
fn send(mut input: ChildStdin, silent: &AtomicBool) {
    loop {
        if !silent.load(Ordering::SeqCst) && input.write_all(&[0x47; PACKET]).is_err() {
            return;
        }
        // The pause sets the rate; no test waits for it.
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// An ffmpeg that waits for an SRT caller, and sends it a video in real time.
struct Published {
    publisher: Killed,
    port: u16,
    folder: tempfile::TempDir,
}

impl Published {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.ts").display().to_string();
        let encode = Command::new("ffmpeg")
            .args(["-loglevel", "error", "-nostdin", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25"])
            .args(["-f", "lavfi", "-i", "sine", "-t", "4", "-c:v", "libx264", "-preset", "ultrafast", "-g", "10"])
            .args(["-b:v", "1M", "-c:a", "aac", &file])
            .output()
            .unwrap();
        assert!(encode.status.success(), "{}", String::from_utf8_lossy(&encode.stderr));
        let port = free_port();
        let listener = format!("srt://127.0.0.1:{port}?mode=listener");
        let args = ["-re", "-stream_loop", "-1", "-i", &file, "-c", "copy", "-f", "mpegts", &listener];
        Self { publisher: Killed::start("ffmpeg", &args), port, folder }
    }
}

/// A running `track srt-live-transmit` that receives SRT and forwards it over UDP.
struct Tracked {
    running: Running,
    program: Program,
    port: u16,
    output: UdpSocket,
}

impl Tracked {
    fn start(store: &str, options: &str) -> Self {
        let output = UdpSocket::bind("127.0.0.1:0").unwrap();
        output.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let port = free_port();
        let source = format!("srt://127.0.0.1:{port}?mode=listener{options}");
        let target = format!("udp://{}", output.local_addr().unwrap());
        let args = ["track", "srt-live-transmit", "--store", store, "--id", "cam1", "--label", "tenant=acme"];
        let running = Running::start(&[&args[..], &["--node", "edge1", "--", &source, &target]].concat());
        running.line_with("Media path: ");
        let program = Program::of(&running.id().to_string());
        Self { running, program, port, output }
    }

    /// Receives this many packets that the program has forwarded. Panics if the program forwards nothing for 10 s.
    fn receive(&self, packets: usize) {
        let mut buffer = [0; 2 * PACKET];
        for _ in 0..packets {
            self.output.recv(&mut buffer).unwrap();
        }
    }
}

/// Returns the process id of the only child of `streamreg`; empty if it has none.
fn child_of(process: &str) -> String {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let children = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    children.collect::<String>().trim().to_owned()
}

/// Waits until streams have ended this many times.
fn wait_for_ends(served: &Served, count: usize) -> Vec<(String, String)> {
    until("the stream is unregistered", || served.ends().len() >= count);
    served.ends()
}

fn is_running(process: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with('Z'))
}

fn send_signal(signal: &str, process: &str) {
    assert!(Command::new("kill").args(["-s", signal, process]).status().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn srt_source_is_registered_while_it_is_connected_and_each_connection_is_a_stream() {
    let served = Served::start().await;
    let mut tracked = Tracked::start(&served.url(), "");
    assert_eq!(served.registry.inner.list().await.unwrap(), [], "no source is connected");

    let encoder = Killed::start(
        "ffmpeg",
        &[
            "-re",
            "-f",
            "lavfi",
            "-i",
            "testsrc2=size=320x180:rate=25",
            "-c:v",
            "mpeg2video",
            "-b:v",
            "1M",
            "-f",
            "mpegts",
        ]
        .into_iter()
        .chain([&*format!("srt://127.0.0.1:{}?mode=caller", tracked.port)])
        .collect::<Vec<_>>(),
    );
    tracked.running.line_with("Accepted SRT source connection");
    let first = served.record(&id("cam1"), |stream| stream.packets_received >= 200 && stream.bitrate > 0).await;
    assert_eq!((first.kind.as_str(), first.node.as_deref(), &*first.source_addr), ("srt", Some("edge1"), ""));
    assert_eq!((&first.status, &*first.labels["tenant"]), (&StreamStatus::Active, "acme"));
    assert_eq!((&*first.labels["server"], &*first.labels["session"]), ("srt-live-transmit", "1"));
    assert!(first.bytes_received > 100 * first.packets_received && first.rtt_ms.is_some(), "{first:?}");
    assert!((100_000..10_000_000).contains(&first.bitrate), "{first:?}");
    assert_eq!((first.packets_lost, first.packets_retransmitted), (0, Some(0)));

    drop(encoder);
    assert_eq!(wait_for_ends(&served, 1), ended("publisher disconnected"));
    let _caller = Caller::start(tracked.port, "");
    let second = served.record(&id("cam1"), |stream| stream.packets_received > 0).await;
    assert!(second.created_at > first.created_at);
    assert_eq!(second.labels["session"], "2");

    tracked.running.signal("INT");
    assert_eq!(tracked.running.ended(), Some(0));
    assert_eq!(served.ends()[1].1, "exit status 0");
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_srt_source_is_paused_and_then_active_again() {
    let served = Served::start().await;
    let tracked = Tracked::start(&served.url(), "");
    let caller = Caller::start(tracked.port, "");
    served.record(&id("cam1"), |stream| stream.status == StreamStatus::Active).await;
    caller.set_silent(true);
    // The status is written just before the statistics.
    let is_silent = |stream: &Stream| stream.status == StreamStatus::Paused && stream.bitrate == 0;
    served.record(&id("cam1"), is_silent).await;
    caller.set_silent(false);
    served.record(&id("cam1"), |stream| stream.status == StreamStatus::Active).await;
    assert_eq!(served.ends(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn recovered_srt_packets_are_not_lost() {
    let served = Served::start().await;
    // Some lost packets are sent again in time. With so little latency, others are too late.
    let tracked = Tracked::start(&served.url(), "&latency=20");
    let proxy = LossyUdp::start(([127, 0, 0, 1], tracked.port).into(), 20).await;
    let _caller = Caller::start(proxy.addr().port(), "&latency=20");
    let enough = |stream: &Stream| stream.packets_lost > 0 && stream.packets_retransmitted > Some(50);
    let stream = served.record(&id("cam1"), enough).await;
    let retransmitted = stream.packets_retransmitted.unwrap();
    assert!(stream.packets_lost < retransmitted / 2, "{stream:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn program_runs_without_the_registry_and_is_registered_when_the_registry_is_back() {
    let served = Served::start().await;
    let proxy = FaultProxy::start(served.url().trim_start_matches("http://").parse().unwrap()).await;
    proxy.refuse().await;
    let mut tracked = Tracked::start(&format!("http://{}", proxy.addr()), "");
    let _caller = Caller::start(tracked.port, "");
    tracked.receive(50);
    tracked.running.line_with("retrying");
    assert_eq!(served.registry.inner.list().await.unwrap(), []);
    proxy.resume().await;
    served.record(&id("cam1"), |stream| stream.status == StreamStatus::Active).await;

    proxy.stall();
    served.is_empty().await;
    tracked.receive(50);
    tracked.running.signal("TERM");
    tracked.running.line_with("the stream stays until its TTL expires");
    assert_eq!(tracked.running.ended(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn program_continues_when_another_client_takes_the_stream_over_or_unregisters_it() {
    let served = Served::start().await;
    let tracked = Tracked::start(&served.url(), "");
    let caller = Caller::start(tracked.port, "");
    let own = |stream: &Stream| stream.node.as_deref() == Some("edge1");
    served.record(&id("cam1"), own).await;
    served.take_over().await;
    tracked.running.line_with("was taken over by another client; waiting until the id is free");
    // The other client sends no heartbeats, so its stream expires.
    served.record(&id("cam1"), own).await;

    let force = UnregisterOptions::default().guard(Guard::Force);
    served.registry.inner.unregister_with(&id("cam1"), &force).await.unwrap();
    tracked.running.line_with("was unregistered by another client");
    tracked.receive(50);
    assert_eq!(served.registry.inner.list().await.unwrap(), []);
    drop(caller);
    tracked.running.line_with("SRT source disconnected");
    let _caller = Caller::start(tracked.port, "");
    served.record(&id("cam1"), own).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn srt_live_transmit_continues_when_streamreg_is_killed() {
    let served = Served::start().await;
    let mut tracked = Tracked::start(&served.url(), "");
    let caller = Caller::start(tracked.port, "");
    served.record(&id("cam1"), |stream| stream.packets_received > 0).await;
    tracked.running.signal("KILL");
    assert_eq!(tracked.running.ended(), None);
    // The program writes several statistics in this time.
    tracked.receive(1_000);
    // It also writes messages about its sources.
    drop(caller);
    let _caller = Caller::start(tracked.port, "");
    tracked.output.set_nonblocking(true).unwrap();
    let mut buffer = [0; 2 * PACKET];
    while tracked.output.recv(&mut buffer).is_ok() {}
    tracked.output.set_nonblocking(false).unwrap();
    tracked.receive(50);
    assert!(tracked.program.is_running());
    send_signal("INT", &tracked.program.0);
    until("the program exits", || !tracked.program.is_running());
}

#[tokio::test(flavor = "multi_thread")]
async fn program_is_stopped_when_the_parent_of_track_is_killed() {
    let served = Served::start().await;
    let script = "\"$@\" & echo \"program $!\" >&2; wait";
    let port = free_port();
    let source = format!("srt://127.0.0.1:{port}?mode=listener");
    let mut shell = Command::new("sh");
    shell.args(["-c", script, "sh", env!("CARGO_BIN_EXE_streamreg"), "track", "srt-live-transmit"]);
    let target = format!("udp://127.0.0.1:{}", free_port());
    shell.args(["--store", &served.url(), "--id", "cam1", "--", &source, &target]).stdin(Stdio::null());
    let mut shell = Running::spawn(&mut shell);
    let streamreg = shell.line_with("program ").trim_start_matches("program ").to_owned();
    let program = Program::of(&streamreg);
    shell.line_with("Media path: ");
    let _caller = Caller::start(port, "");
    served.record(&id("cam1"), |_| true).await;
    assert!(program.is_running() && is_running(&streamreg));
    shell.signal("KILL");
    assert_eq!(shell.ended(), None);
    until("both programs exit", || !program.is_running() && !is_running(&streamreg));
    assert_eq!(served.ends(), ended("the parent process ended"));
}

#[tokio::test(flavor = "multi_thread")]
async fn ffmpeg_reports_its_input_and_its_progress() {
    let served = Served::start().await;
    let published = Published::start();
    let port = published.port;
    let output = UdpSocket::bind("127.0.0.1:0").unwrap();
    output.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let url = format!("srt://user:hunter2@127.0.0.1:{port}?mode=caller&connect_timeout=20000");
    let input = ["-nostdin", "-analyzeduration", "1000000", "-probesize", "200000", "-i", &url];
    let to = format!("udp://{}?pkt_size=1316", output.local_addr().unwrap());
    let args = ["track", "ffmpeg", "--store", &served.url(), "--id", "cam1", "--", "ffmpeg"];
    let copy = ["-c", "copy", "-f", "mpegts", &to];
    let mut running = Running::start(&[&args[..], &input, &copy].concat());
    let program = Program::of(&running.id().to_string());
    let connecting = served.record(&id("cam1"), |_| true).await;
    assert_eq!((connecting.kind.as_str(), connecting.source_addr), ("srt", format!("127.0.0.1:{port}")));
    running.line_with("Input #0, mpegts");
    let stream = served.record(&id("cam1"), |stream| stream.bitrate > 0 && stream.bytes_received > 0).await;
    assert_eq!((&stream.status, &*stream.video_codec), (&StreamStatus::Active, "H264"));
    assert_eq!((&*stream.resolution, stream.frame_rate), ("320x180", 25.0));
    assert_eq!(stream.audio_codec.as_deref(), Some("AAC"));
    served.record(&id("cam1"), |stream| stream.labels.contains_key("speed")).await;
    assert!(!stream.to_json().contains("hunter2"), "{}", stream.to_json());

    // The source is stalled, and ffmpeg waits for it.
    send_signal("STOP", &published.publisher.0.id().to_string());
    running.signal("INT");
    assert_eq!(running.ended(), Some(255));
    assert!(!program.is_running());
    assert_eq!(wait_for_ends(&served, 1), ended("exit status 255"));
}

#[tokio::test(flavor = "multi_thread")]
async fn ffmpeg_continues_when_streamreg_is_killed() {
    let served = Served::start().await;
    let output = UdpSocket::bind("127.0.0.1:0").unwrap();
    output.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let to = format!("udp://{}?pkt_size=1316", output.local_addr().unwrap());
    let input = ["-re", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25", "-c:v", "mpeg2video", "-b:v", "4M"];
    let args = ["track", "ffmpeg", "--store", &served.url(), "--id", "cam1", "--", "ffmpeg", "-nostdin"];
    let mut running = Running::start(&[&args[..], &input, &["-f", "mpegts", &to]].concat());
    let program = Program::of(&running.id().to_string());
    let stream = served.record(&id("cam1"), |stream| stream.status == StreamStatus::Active).await;
    assert_eq!((stream.kind.as_str(), &*stream.source_addr), ("lavfi", ""));
    running.signal("KILL");
    assert_eq!(running.ended(), None);
    let mut buffer = [0; 2 * PACKET];
    (0..500).for_each(|_| assert!(output.recv(&mut buffer).unwrap() > 0));
    assert!(program.is_running());
}

/// Starts the command of a recipe through a shell, with other addresses.
fn recipe(served: &Served, page: &str, replaced: &[(&str, &str)]) -> Running {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/servers").join(page);
    let page = std::fs::read_to_string(page).unwrap();
    let (_, block) = page.split_once("```sh\n").unwrap();
    let mut command = block.split("```").next().unwrap().to_owned();
    for (old, new) in replaced {
        assert!(command.contains(old), "{command}");
        command = command.replace(old, new);
    }
    let streamreg = std::path::Path::new(env!("CARGO_BIN_EXE_streamreg")).parent().unwrap();
    let path = format!("{}:{}", streamreg.display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("exec {command}")]).env("PATH", path).env("STREAMREG_STORE", served.url());
    Running::spawn(shell.stdin(Stdio::null()))
}

#[tokio::test(flavor = "multi_thread")]
async fn recipes_for_srt_live_transmit_and_ffmpeg_report_their_streams() {
    let served = Served::start().await;
    let (port, output) = (free_port(), UdpSocket::bind("127.0.0.1:0").unwrap());
    let output = output.local_addr().unwrap().to_string();
    let replaced = [(":9000", &*format!(":{port}")), ("127.0.0.1:5000", &output)];
    let mut running = recipe(&served, "srt-live-transmit.md", &replaced);
    let _program = Program::of(&running.id().to_string());
    running.line_with("Media path: ");
    let caller = Caller::start(port, "");
    served.record(&id("cam1"), |stream| stream.packets_received > 0).await;
    running.signal("TERM");
    assert_eq!(running.ended(), Some(0));
    drop(caller);

    let published = Published::start();
    let file = published.folder.path().join("output.flv").display().to_string();
    let replaced =
        [("203.0.113.7:9000", &*format!("127.0.0.1:{}", published.port)), ("rtmp://127.0.0.1/live/cam1", &file)];
    let mut running = recipe(&served, "ffmpeg.md", &replaced);
    let _program = Program::of(&running.id().to_string());
    served.record(&id("cam1"), |stream| stream.resolution == "320x180" && stream.bytes_received > 0).await;
    running.signal("TERM");
    assert_eq!(running.ended(), Some(255));
}

#[test]
fn program_that_cannot_be_started_has_the_status_of_a_shell() {
    let folder = tempfile::tempdir().unwrap();
    let no_program = folder.path().join("ffmpeg.txt").display().to_string();
    std::fs::write(&no_program, "").unwrap();
    for (command, code) in [("/nonexistent/ffmpeg", 127), (&*no_program, 126)] {
        let output = program(&["track", "ffmpeg", "--", command, "-i", "a"]).output().unwrap();
        let (status, stdout, stderr) = outcome(output);
        assert_eq!((status, &*stdout), (Some(code), ""), "{stderr}");
        assert!(stderr.contains("cannot start"), "{stderr}");
    }
}

#[test]
fn options_and_labels_that_track_sets_itself_are_rejected() {
    for (args, option) in [
        (&["srt-live-transmit", "--", "-statsout:x", "srt://:1", "udp://:2"][..], "-statsout"),
        (&["ffmpeg", "--", "ffmpeg", "-progress", "x", "-i", "a", "b"], "-progress"),
        (&["ffmpeg", "--", "sleep", "1"], "ffmpeg"),
        (&["ffmpeg", "--label", "session=7", "--", "ffmpeg", "-i", "a", "b"], "the label session"),
    ] {
        let (status, _, stderr) = outcome(program(&[&["track"], args].concat()).output().unwrap());
        assert_eq!(status, Some(2), "{stderr}");
        assert!(stderr.contains(option), "{stderr}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn blocked_standard_error_stops_neither_the_program_nor_the_report() {
    let served = Served::start().await;
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("ffmpeg.sh").display().to_string();
    // The log is larger than the pipe and the queue. Its last line is the progress.
    let text = "trap 'exit 5' TERM; head -c 8000000 /dev/zero | tr '\\0' x >&2; \
                while :; do n=$((n + 1)); printf 'frame=%s\\nprogress=continue\\n' $n >>$2; sleep 0.05; done";
    std::fs::write(&script, text).unwrap();
    let args = ["track", "ffmpeg", "--store", &served.url(), "--id", "cam1", "--", "sh", &script];
    let mut command = program(&args);
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut child = Killed(child);
    let _program = Program::of(&child.0.id().to_string());
    served.record(&id("cam1"), |stream| stream.status == StreamStatus::Active).await;
    send_signal("TERM", &child.0.id().to_string());
    let mut status = None;
    until("the command exits", || {
        status = child.0.try_wait().unwrap();
        status.is_some()
    });
    assert_eq!(status.unwrap().code(), Some(5));
    assert_eq!(served.ends(), ended("exit status 5"));
}

#[test]
fn track_passes_on_standard_streams_and_exit_status() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("ffmpeg.sh");
    std::fs::write(&script, "#!/bin/sh\n[ \"$1\" = -progress ] || exit 1\ncat\necho \"log $3\" >&2\nexit 7\n").unwrap();
    let mut command = program(&["track", "ffmpeg", "--store", "http://127.0.0.1:1", "--", "sh"]);
    let mut child = command
        .args([&script, std::path::Path::new("last")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"media").unwrap();
    let (status, stdout, stderr) = outcome(child.wait_with_output().unwrap());
    assert_eq!((status, &*stdout), (Some(7), "media"), "{stderr}");
    assert!(stderr.contains("log last\n"), "{stderr}");
}
