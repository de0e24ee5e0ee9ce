//! Runs ffmpeg, a lossy relay, the ingest node and the server, and checks the output of `streamreg list`.

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

/// A server, an ingest node and a lossy relay.
struct Fixture {
    folder: TempDir,
    relay: Relay,
    ingest: Program,
    server: Option<Program>,
    store: String,
}

impl Fixture {
    async fn start(silence: &str) -> Self {
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

    /// Runs `streamreg list` and returns the only stream, if there is one.
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

    /// Waits until the listed stream satisfies the condition. Returns the stream.
    async fn wait_for_stream(&self, expected: &str, condition: impl Fn(&Value) -> bool) -> Value {
        let mut last = None;
        let end = std::time::Instant::now() + DEADLINE;
        loop {
            if let Some(stream) = self.list() {
                if condition(&stream) {
                    return stream;
                }
                last = Some(stream);
            }
            assert!(std::time::Instant::now() < end, "not {expected}: {last:?}; {:?}", self.relay.counts());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn wait_for_empty_list(&self) {
        wait_until(DEADLINE, async || self.list().is_none()).await;
    }
}

/// Starts ffmpeg as a sender. It writes its session description to `sdp`.
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

/// Returns whether a record counts exactly the packets that the relay forwarded.
fn has_counts(stream: &Value, counts: &Counts) -> bool {
    number(stream, "packets_received") == counts.packets - 1
        && number(stream, "bytes_received") == counts.bytes - counts.first_bytes
        && number(stream, "packets_lost") == counts.lost
}

#[tokio::test(flavor = "multi_thread")]
async fn record_shows_the_packet_loss_of_the_relay() {
    let fixture = Fixture::start("4s").await;
    let mut sender = fixture.send("8", &[]);

    fixture.wait_for_stream("active", |stream| stream["status"] == "active").await;
    let described = fixture
        .wait_for_stream("described and measured", |s| {
            s["video_codec"] == "H264" && s["jitter_ms"].as_f64() > Some(0.0)
        })
        .await;
    assert_eq!(described["type"], "rtp");
    assert_eq!(described["node"], "studio-1");
    assert_eq!(described["source_addr"], fixture.relay.addr.to_string());
    assert_eq!(described["labels"]["payload_type"], "96");
    assert!(described["jitter_ms"].as_f64().unwrap() < 1_000.0, "{described}");

    // From one report to the next, the counters must grow, and the bitrate must match the bytes received. The record
    // already shows the codec, so every new heartbeat comes from a report of statistics.
    let mut before = described;
    for _ in 0..4 {
        let next = fixture.wait_for_stream("a newer report", |stream| heartbeat(stream) > heartbeat(&before)).await;
        for field in ["bytes_received", "packets_received"] {
            assert!(number(&next, field) > number(&before, field), "{field}: {before} then {next}");
        }
        assert!(number(&next, "packets_lost") <= fixture.relay.counts().lost, "more than the relay dropped: {next}");
        let seconds = heartbeat(&next).since(heartbeat(&before)).as_secs_f64();
        // The bitrate covers a whole second. Reports after a registration or a new session description come at
        // irregular times, so they are skipped.
        if (0.8..1.2).contains(&seconds) {
            let bits = 8 * (number(&next, "bytes_received") - number(&before, "bytes_received"));
            let ratio = number(&next, "bitrate") as f64 / (bits as f64 / seconds);
            assert!((0.7..1.4).contains(&ratio), "{bits} bits in {seconds} s, but {next}");
        }
        before = next;
    }
    // One of the next two reports includes all losses up to now.
    let lost = fixture.relay.counts().lost;
    assert!(lost >= 10, "the relay dropped only {lost} packets");
    fixture.wait_for_stream("all losses so far", |stream| number(stream, "packets_lost") >= lost).await;

    assert!(sender.exit_status().await.success());
    let counts = fixture.relay.counts();
    let last =
        fixture.wait_for_stream("all forwarded packets", |stream| has_counts(stream, &fixture.relay.counts())).await;
    assert_eq!(fixture.relay.counts(), counts, "the relay forwarded packets after the sender exited");
    assert_eq!(last["id"], before["id"], "the stream kept its id");
    assert!(counts.lost >= 40 && counts.packets > 400, "{counts:?}");
    let rate = last["frame_rate"].as_f64().unwrap();
    assert!((20.0..=26.0).contains(&rate), "25 frames per second were sent: {last}");

    // This sender sends no BYE, so the stream ends when the time-out expires.
    fixture.wait_for_empty_list().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bye_removes_the_stream_before_the_timeout() {
    let fixture = Fixture::start("10m").await;
    let mut sender = fixture.send("3", &["-rtpflags", "send_bye"]);
    fixture.wait_for_stream("active", |stream| stream["status"] == "active").await;
    assert!(sender.exit_status().await.success());
    fixture.wait_for_empty_list().await;
    assert_eq!(fixture.ingest.word_after("reason="), "\"RTCP");
    assert!(fixture.relay.counts().control >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn node_restores_its_stream_after_a_server_restart() {
    let mut fixture = Fixture::start("10m").await;
    let _sender = fixture.send("60", &[]);
    let before = fixture.wait_for_stream("active", |stream| stream["status"] == "active").await;

    // The server loses its data when it stops. After the restart, the node restores its stream under the same id.
    fixture.server = None;
    fixture.ingest.word_after("; retrying");
    let server = serve(fixture.store.strip_prefix("http://").unwrap());
    server.word_after("listening on ");
    fixture.server = Some(server);
    let after = fixture.wait_for_stream("registered again", |stream| stream["status"] == "active").await;
    assert_eq!((&after["id"], &after["created_at"]), (&before["id"], &before["created_at"]));
    assert!(number(&after, "packets_received") > number(&before, "packets_received"), "{before} then {after}");
    assert_eq!(after["labels"], before["labels"]);

    fixture.ingest.interrupt();
    assert!(fixture.ingest.exit_status().await.success());
    assert_eq!(fixture.list(), None, "the node unregisters its streams when it stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn node_that_cannot_start_prints_a_remedy_and_fails() {
    let in_use = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let in_use = in_use.local_addr().unwrap().to_string();
    for (args, status, expected) in [
        (&["--listen", &in_use][..], 1, "choose another address with --listen"),
        (&["--store", "memory:"], 2, "use http://host:port"),
        (&["--store", "ftp://127.0.0.1", "--listen", "127.0.0.1:0"], 2, "invalid store URL; expected"),
        (&["--ttl", "5s", "--listen", "127.0.0.1:0"], 2, "sets time to live and prefix"),
        (&["--token-file", "no such file", "--listen", "127.0.0.1:0"], 2, "cannot read"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rtp-ingest"));
        let output = command.args(args).current_dir(Path::new("/")).output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{args:?}: {message}");
        assert!(message.contains(expected), "{args:?}: {message}");
    }
}
