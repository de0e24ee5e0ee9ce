//! Tests the ingest node's leases with ffmpeg and a real Redis: removal, expiry, recovery and conflicts.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use stream_registry::watch::{ChangeKind, Ending, Event, Watch, WatchFrom};
use stream_registry::{ConnectOptions, Registry, Stream, StreamStatus, StreamType};
use tempfile::TempDir;
use testkit::{RedisServer, wait_until};

use crate::ffmpeg::send;
use crate::process::Program;
use crate::relay::Relay;

const DEADLINE: Duration = Duration::from_secs(20);
const TTL: Duration = Duration::from_secs(4);

/// A Redis server, and a client that reads records and removes expired streams.
struct Fixture {
    folder: TempDir,
    registry: Arc<dyn Registry>,
    redis: RedisServer,
}

impl Fixture {
    async fn start() -> Self {
        let redis = RedisServer::start().await;
        let options = ConnectOptions::default().ttl(TTL);
        let registry = stream_registry::connect_with(&redis.url(), &options).await.unwrap();
        Self { folder: tempfile::tempdir().unwrap(), registry, redis }
    }

    /// Starts a node and returns it with its RTP address.
    fn ingest(&self, node: &str, args: &[&str]) -> (Program, SocketAddr) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rtp-ingest"));
        command.args(["--store", &self.redis.url(), "--listen", "127.0.0.1:0", "--node", node, "--id", "cam1"]);
        let ttl = format!("{}s", TTL.as_secs());
        let program = Program::start(command.args(["--ttl", &ttl]).args(args));
        let rtp = program.word_after("rtp=").parse().unwrap();
        (program, rtp)
    }

    fn send(&self, to: SocketAddr, flags: &[&str]) -> Program {
        send(to, &self.folder.path().join(format!("{}.sdp", to.port())), "60", flags)
    }

    async fn get(&self) -> Option<Stream> {
        self.registry.get(&"cam1".parse().unwrap()).await.ok()
    }

    /// Waits until the record satisfies the condition. Returns the record.
    async fn wait_for_stream(&self, condition: impl Fn(&Stream) -> bool) -> Stream {
        let mut last = None;
        let waited = tokio::time::timeout(
            DEADLINE,
            wait_until(Duration::MAX, async || {
                last = self.get().await;
                last.as_ref().is_some_and(&condition)
            }),
        );
        if waited.await.is_err() {
            panic!("condition still false: {last:#?}");
        }
        last.unwrap()
    }

    async fn wait_for_active(&self, node: &str) -> Stream {
        self.wait_for_stream(|stream| stream.status == StreamStatus::Active && stream.node.as_deref() == Some(node))
            .await
    }
}

/// Returns the next event except `Alive`.
async fn next(watch: &mut Watch) -> Event {
    loop {
        let event = tokio::time::timeout(DEADLINE, watch.next()).await.expect("another event").unwrap();
        if !matches!(event, Event::Alive { .. }) {
            return event;
        }
    }
}

/// Reads events until the stream ends. Returns the events before the end, the cause of the end, and the last record.
async fn next_end(watch: &mut Watch) -> (Vec<Event>, Ending, Arc<Stream>) {
    let mut before = Vec::new();
    loop {
        match next(watch).await {
            Event::Ended { reason, last, .. } => return (before, reason, last),
            event => before.push(event),
        }
    }
}

fn statuses(events: &[Event]) -> Vec<&str> {
    let mut statuses: Vec<_> = events.iter().map(|event| event.stream().unwrap().status.as_str()).collect();
    statuses.dedup();
    statuses
}

#[tokio::test(flavor = "multi_thread")]
async fn stream_is_removed_with_a_reason_when_its_sender_stops() {
    let fixture = Fixture::start().await;
    let mut watch = fixture.registry.watch(WatchFrom::Now).await.unwrap();
    let (_ingest, rtp) = fixture.ingest("studio-1", &["--silence", "1s"]);
    for reason in ["no packet for 1s", "RTCP BYE"] {
        let relay = Relay::start(rtp).await;
        let sender = fixture.send(relay.addr, &["-rtpflags", "send_bye"]);
        let active = fixture.wait_for_active("studio-1").await;
        let sends_bye = reason == "RTCP BYE";
        if sends_bye {
            sender.interrupt();
        } else {
            drop(sender);
        }
        let (before, cause, last) = next_end(&mut watch).await;
        assert_eq!(cause, Ending::Unregistered(reason.parse().unwrap()));
        assert_eq!(statuses(&before), ["connecting", "active", "closed"]);
        assert_eq!((&last.status, last.end_reason.as_deref()), (&StreamStatus::Closed, Some(reason)));
        let counts = relay.counts();
        assert!(last.packets_received >= active.packets_received, "{active:?} then {last:?}");
        if !sends_bye {
            // The counters are compared only if the sender sent no BYE, because a BYE may overtake the last media
            // packets.
            assert_eq!(last.packets_received, counts.packets - 1, "{counts:?}");
            assert_eq!(last.bytes_received, counts.bytes - counts.first_bytes, "{counts:?}");
        }
        assert_eq!(fixture.get().await, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stream_of_a_killed_node_expires_once_with_its_last_record() {
    let fixture = Fixture::start().await;
    let mut watch = fixture.registry.watch(WatchFrom::Now).await.unwrap();
    let (ingest, rtp) = fixture.ingest("studio-1", &[]);
    let _sender = fixture.send(rtp, &[]);
    fixture.wait_for_stream(|stream| stream.status == StreamStatus::Active && stream.bitrate > 0).await;
    // Dropping `ingest` kills the node with SIGKILL.
    drop(ingest);
    let killed = Instant::now();
    let record = fixture.get().await.unwrap();

    let (_, cause, last) = next_end(&mut watch).await;
    let after = killed.elapsed();
    assert_eq!(cause, Ending::Expired);
    assert_eq!(*last, record);
    // The node's last heartbeat was up to about a second before the kill, so the stream may expire a second early.
    assert!(after > TTL - Duration::from_secs(2) && after < TTL + Duration::from_secs(2), "{after:?}");

    // If the sentinel's event comes next in the feed, the expired stream has caused no further event.
    fixture.registry.register(&Stream::new("sentinel".parse().unwrap(), StreamType::Srt, "h:1")).await.unwrap();
    assert_eq!(next(&mut watch).await.stream().unwrap().id.as_str(), "sentinel");
}

#[tokio::test(flavor = "multi_thread")]
async fn node_restores_its_stream_after_redis_has_lost_its_data() {
    let mut fixture = Fixture::start().await;
    let (ingest, rtp) = fixture.ingest("studio-1", &[]);
    let _sender = fixture.send(rtp, &[]);
    let before = fixture.wait_for_active("studio-1").await;

    fixture.redis.restart(testkit::Data::Empty).await;
    let started = Instant::now();
    let after = fixture.wait_for_stream(|stream| stream.packets_received > before.packets_received).await;
    let late = started.elapsed();
    assert!(late < Duration::from_secs(3) + Duration::from_secs(2), "restored after {late:?}");
    assert_eq!((&after.id, &after.created_at, &after.labels), (&before.id, &before.created_at, &before.labels));
    assert_eq!((&after.status, after.epoch()), (&StreamStatus::Active, before.epoch()));

    // The node still holds its lease. It keeps reporting, and it removes the stream when it stops.
    fixture.wait_for_stream(|stream| stream.packets_received > after.packets_received).await;
    let mut watch = fixture.registry.watch(WatchFrom::Now).await.unwrap();
    ingest.interrupt();
    let (_, cause, _) = next_end(&mut watch).await;
    assert_eq!(cause, Ending::Unregistered("ingest node stopped".parse().unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn registration_includes_packets_counted_before_the_store_was_reachable() {
    let mut fixture = Fixture::start().await;
    fixture.redis.kill();
    let (ingest, rtp) = fixture.ingest("studio-1", &[]);
    let relay = Relay::start(rtp).await;
    let _sender = fixture.send(relay.addr, &[]);
    ingest.word_after("the store is unreachable");
    wait_until(DEADLINE, async || relay.counts().packets > 50).await;

    let counted = relay.counts().packets - 1;
    fixture.redis.restart(testkit::Data::Empty).await;
    fixture.wait_for_active("studio-1").await;
    let mut watch = fixture.registry.watch(WatchFrom::Oldest).await.unwrap();
    let Event::Changed { kind: ChangeKind::Registered, stream, .. } = next(&mut watch).await else { panic!() };
    assert!(stream.packets_received >= counted, "{counted} of {stream:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn second_node_waits_until_the_id_is_free() {
    let fixture = Fixture::start().await;
    let (first, rtp) = fixture.ingest("studio-1", &[]);
    let _sender = fixture.send(rtp, &[]);
    let held = fixture.wait_for_active("studio-1").await;

    let mut watch = fixture.registry.watch(WatchFrom::Now).await.unwrap();
    let (second, rtp) = fixture.ingest("studio-2", &["--on-conflict", "reject"]);
    let _other = fixture.send(rtp, &[]);
    assert_eq!(second.word_after("retrying every second until it is free (see --on-conflict) id=cam1"), "");
    // The first node continues to report.
    let now = fixture.wait_for_stream(|stream| stream.packets_received > held.packets_received).await;
    assert_eq!((&now.node, now.epoch()), (&held.node, held.epoch()));

    first.interrupt();
    let (before, cause, last) = next_end(&mut watch).await;
    assert_eq!(cause, Ending::Unregistered("ingest node stopped".parse().unwrap()));
    assert_eq!(last.node.as_deref(), Some("studio-1"));
    assert!(before.iter().all(|event| event.stream().unwrap().node.as_deref() == Some("studio-1")), "{before:?}");
    let Event::Changed { kind: ChangeKind::Registered, stream, .. } = next(&mut watch).await else { panic!() };
    assert_eq!(stream.node.as_deref(), Some("studio-2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn node_logs_the_new_holder_when_its_stream_is_taken_over() {
    let fixture = Fixture::start().await;
    let (mut first, rtp) = fixture.ingest("studio-1", &[]);
    let _sender = fixture.send(rtp, &[]);
    let held = fixture.wait_for_active("studio-1").await;

    let mut watch = fixture.registry.watch(WatchFrom::Now).await.unwrap();
    let (second, rtp) = fixture.ingest("studio-2", &["--on-conflict", "take-over"]);
    let _other = fixture.send(rtp, &[]);
    let message = "stream taken over; its session will not be registered again id=cam1 by=";
    assert_eq!(first.word_after(message), "\"studio-2\"");
    let now = fixture.wait_for_active("studio-2").await;
    assert!(now.created_at > held.created_at && now.epoch() > held.epoch(), "{held:?} then {now:?}");

    // The first node continues to receive packets, and then stops. It must not change the registry any more.
    first.interrupt();
    assert!(first.exit_status().await.success());
    fixture.wait_for_stream(|stream| stream.packets_received > now.packets_received).await;
    second.interrupt();
    let (events, cause, last) = next_end(&mut watch).await;
    assert_eq!(cause, Ending::Unregistered("ingest node stopped".parse().unwrap()));
    assert_eq!((last.node.as_deref(), &last.created_at), (Some("studio-2"), &now.created_at));
    let taken = events.iter().position(|event| event.as_str() == ChangeKind::TakenOver.as_str()).unwrap();
    let after = &events[taken..];
    assert!(after.iter().all(|event| event.stream().unwrap().node.as_deref() == Some("studio-2")), "{after:?}");
    assert_eq!(statuses(after), ["connecting", "active", "closed"]);
}
