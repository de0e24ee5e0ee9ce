//! A real sender, a lossy network, the real programs: what `streamreg list` shows is what happened.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use stream_registry::Timestamp;
use tempfile::TempDir;
use testkit::{streamreg_binary, wait_until};

use crate::process::Program;
use crate::relay::{Counts, Relay};

const DEADLINE: Duration = Duration::from_secs(20);

/// Server, ingest node and lossy network; ended in this order when dropped.
struct Stage {
    folder: TempDir,
    relay: Relay,
    ingest: Program,
    server: Option<Program>,
    store: String,
}

impl Stage {
    async fn set(silence: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = serve("127.0.0.1:0");
        let store = server.word_after("listening on ");
        let ingest = Program::start(
            Command::new(env!("CARGO_BIN_EXE_rtp-ingest"))
                .args(["--store", &store, "--listen", "127.0.0.1:0", "--node", "studio-1", "--silence", silence])
                .arg("--sdp")
                .arg(folder.path().join("cam.sdp")),
        );
        let to: SocketAddr = ingest.word_after("rtp=").parse().unwrap();
        Self { relay: Relay::start(to).await, folder, ingest, server: Some(server), store }
    }

    fn send(&self, seconds: &str, flags: &[&str]) -> Program {
        send(self.relay.addr, &self.folder.path().join("cam.sdp"), seconds, flags)
    }

    /// Reads the list as an operator does; at most one stream is there.
    fn list(&self) -> Option<Value> {
        let output = Command::new(streamreg_binary())
            .args(["--store", &self.store, "--output", "json", "list"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut streams: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
        assert!(streams.len() <= 1, "{streams:?}");
        streams.pop()
    }

    /// Reads the list until it shows what is waited for.
    async fn shows(&self, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
        let mut last = None;
        let end = std::time::Instant::now() + DEADLINE;
        loop {
            if let Some(stream) = self.list() {
                if condition(&stream) {
                    return stream;
                }
                last = Some(stream);
            }
            assert!(std::time::Instant::now() < end, "not {what}: {last:?}; {:?}", self.relay.counts());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn shows_nothing(&self) {
        wait_until(DEADLINE, async || self.list().is_none()).await;
    }
}

/// Starts a real sender, which describes itself in a file.
pub(crate) fn send(to: SocketAddr, sdp: &Path, seconds: &str, flags: &[&str]) -> Program {
    Program::start(
        Command::new("ffmpeg")
            .args(["-hide_banner", "-loglevel", "error", "-re", "-f", "lavfi"])
            .args(["-i", "testsrc2=size=320x240:rate=25", "-t", seconds])
            .args(["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-f", "rtp"])
            .args(flags)
            .arg("-sdp_file")
            .arg(sdp)
            .arg(format!("rtp://{to}")),
    )
}

fn serve(listen: &str) -> Program {
    Program::start(Command::new(streamreg_binary()).args(["serve", "--listen", listen]))
}

fn number(stream: &Value, field: &str) -> u64 {
    stream[field].as_u64().unwrap_or_else(|| panic!("no {field} in {stream}"))
}

fn heartbeat(stream: &Value) -> Timestamp {
    stream["last_heartbeat"].as_str().unwrap().parse().unwrap()
}

/// The counters of a receiver that got all that the relay sent on.
fn is_all_of(stream: &Value, counts: &Counts) -> bool {
    number(stream, "packets_received") == counts.packets - 1
        && number(stream, "bytes_received") == counts.bytes - counts.first_bytes
        && number(stream, "packets_lost") == counts.lost
}

#[tokio::test(flavor = "multi_thread")]
async fn the_loss_reported_is_the_loss_provoked() {
    let stage = Stage::set("4s").await;
    let mut sender = stage.send("8", &[]);

    stage.shows("active", |stream| stream["status"] == "active").await;
    let described = stage
        .shows("described and measured", |s| s["video_codec"] == "H264" && s["jitter_ms"].as_f64() > Some(0.0))
        .await;
    assert_eq!(described["type"], "rtp");
    assert_eq!(described["node"], "studio-1");
    assert_eq!(described["source_addr"], stage.relay.addr.to_string());
    assert_eq!(described["labels"]["payload_type"], "96");
    assert!(described["jitter_ms"].as_f64().unwrap() < 1_000.0, "{described}");

    // From one report to the next: the counters grow, and the rate is the bytes over the time.
    // All that is described is written by now: each newer heartbeat is a report.
    let mut before = described;
    for _ in 0..4 {
        let next = stage.shows("a newer report", |stream| heartbeat(stream) > heartbeat(&before)).await;
        for field in ["bytes_received", "packets_received"] {
            assert!(number(&next, field) > number(&before, field), "{field}: {before} then {next}");
        }
        assert!(number(&next, "packets_lost") <= stage.relay.counts().lost, "more than was lost: {next}");
        let seconds = heartbeat(&next).since(heartbeat(&before)).as_secs_f64();
        // Reports that follow a registration or a description come at odd times; the rate is that of a whole second.
        if (0.8..1.2).contains(&seconds) {
            let bits = 8 * (number(&next, "bytes_received") - number(&before, "bytes_received"));
            let ratio = number(&next, "bitrate") as f64 / (bits as f64 / seconds);
            assert!((0.7..1.4).contains(&ratio), "{bits} bits in {seconds} s, but {next}");
        }
        before = next;
    }
    // What was lost up to now is reported by the next report or the one after it.
    let lost = stage.relay.counts().lost;
    assert!(lost >= 10, "the relay lost {lost}");
    stage.shows("the loss so far", |stream| number(stream, "packets_lost") >= lost).await;

    assert!(sender.ended().await.success());
    let counts = stage.relay.counts();
    let last = stage.shows("all that was sent on", |stream| is_all_of(stream, &stage.relay.counts())).await;
    assert_eq!(stage.relay.counts(), counts, "the sender had ended");
    assert_eq!(last["id"], before["id"], "one stream from beginning to end");
    assert!(counts.lost >= 40 && counts.packets > 400, "{counts:?}");
    let rate = last["frame_rate"].as_f64().unwrap();
    assert!((20.0..=26.0).contains(&rate), "25 frames a second were sent, each in several packets; {last}");

    // This sender says no good-bye: silence ends the stream.
    stage.shows_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_bye_ends_the_stream_long_before_the_silence() {
    let stage = Stage::set("10m").await;
    let mut sender = stage.send("3", &["-rtpflags", "send_bye"]);
    stage.shows("active", |stream| stream["status"] == "active").await;
    assert!(sender.ended().await.success());
    stage.shows_nothing().await;
    assert_eq!(stage.ingest.word_after("reason="), "\"RTCP");
    assert!(stage.relay.counts().control >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_outlive_the_server_and_end_with_the_node() {
    let mut stage = Stage::set("10m").await;
    let _sender = stage.send("60", &[]);
    let before = stage.shows("active", |stream| stream["status"] == "active").await;

    // The memory of this server goes with it; the node brings its stream back under the same id.
    stage.server = None;
    stage.ingest.word_after("; retrying");
    let server = serve(stage.store.strip_prefix("http://").unwrap());
    server.word_after("listening on ");
    stage.server = Some(server);
    let after = stage.shows("registered again", |stream| stream["status"] == "active").await;
    assert_eq!((&after["id"], &after["created_at"]), (&before["id"], &before["created_at"]));
    assert!(number(&after, "packets_received") > number(&before, "packets_received"), "{before} then {after}");
    assert_eq!(after["labels"], before["labels"]);

    stage.ingest.interrupt();
    assert!(stage.ingest.ended().await.success());
    assert_eq!(stage.list(), None, "the node ends its streams when it stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_cannot_start_says_what_to_do() {
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (args, status, says) in [
        (&["--listen", &taken][..], 1, "choose another with --listen"),
        (&["--store", "memory:"], 2, "give http://host:port"),
        (&["--store", "ftp://127.0.0.1", "--listen", "127.0.0.1:0"], 2, "invalid store URL; expected"),
        (&["--ttl", "5s", "--listen", "127.0.0.1:0"], 2, "are its server's"),
        (&["--token-file", "no such file", "--listen", "127.0.0.1:0"], 2, "cannot be read"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rtp-ingest"));
        let output = command.args(args).current_dir(Path::new("/")).output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{args:?}: {message}");
        assert!(message.contains(says), "{args:?}: {message}");
    }
}
