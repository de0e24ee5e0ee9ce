//! A real sender and a real Redis: whose a stream is, how it ends, and how it comes back.

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

/// A Redis, and one who looks at it and sweeps it.
struct Stage {
    folder: TempDir,
    registry: Arc<dyn Registry>,
    redis: RedisServer,
}

impl Stage {
    async fn set() -> Self {
        let redis = RedisServer::start().await;
        let options = ConnectOptions::default().ttl(TTL);
        let registry = stream_registry::connect_with(&redis.url(), &options).await.unwrap();
        Self { folder: tempfile::tempdir().unwrap(), registry, redis }
    }

    /// Starts a node; returns where it listens, too.
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

    /// Waits until the record is as it should be, and returns it.
    async fn shows(&self, condition: impl Fn(&Stream) -> bool) -> Stream {
        let mut last = None;
        let waited = tokio::time::timeout(
            DEADLINE,
            wait_until(Duration::MAX, async || {
                last = self.get().await;
                last.as_ref().is_some_and(&condition)
            }),
        );
        if waited.await.is_err() {
            panic!("not as it should be: {last:#?}");
        }
        last.unwrap()
    }

    async fn shows_active(&self, node: &str) -> Stream {
        self.shows(|stream| stream.status == StreamStatus::Active && stream.node.as_deref() == Some(node)).await
    }
}

/// The next event but for signs of life.
async fn next(watch: &mut Watch) -> Event {
    loop {
        let event = tokio::time::timeout(DEADLINE, watch.next()).await.expect("an event comes").unwrap();
        if !matches!(event, Event::Alive { .. }) {
            return event;
        }
    }
}

/// Reads on to the next end: what came before it, how it ended, and the last record.
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
async fn a_sender_that_is_killed_or_stops_ends_its_stream_with_the_reason() {
    let stage = Stage::set().await;
    let mut watch = stage.registry.watch(WatchFrom::Now).await.unwrap();
    let (_ingest, rtp) = stage.ingest("studio-1", &["--silence", "1s"]);
    for reason in ["no packet for 1s", "RTCP BYE"] {
        let relay = Relay::start(rtp).await;
        let sender = stage.send(relay.addr, &["-rtpflags", "send_bye"]);
        let active = stage.shows_active("studio-1").await;
        let says_bye = reason == "RTCP BYE";
        if says_bye {
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
        if !says_bye {
            // All that was sent before it was killed; a good-bye may overtake the last packets on its way.
            assert_eq!(last.packets_received, counts.packets - 1, "{counts:?}");
            assert_eq!(last.bytes_received, counts.bytes - counts.first_bytes, "{counts:?}");
        }
        assert_eq!(stage.get().await, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_killed_leaves_one_expiry_with_the_last_record() {
    let stage = Stage::set().await;
    let mut watch = stage.registry.watch(WatchFrom::Now).await.unwrap();
    let (ingest, rtp) = stage.ingest("studio-1", &[]);
    let _sender = stage.send(rtp, &[]);
    stage.shows(|stream| stream.status == StreamStatus::Active && stream.bitrate > 0).await;
    // SIGKILL.
    drop(ingest);
    let killed = Instant::now();
    let record = stage.get().await.unwrap();

    let (_, cause, last) = next_end(&mut watch).await;
    let after = killed.elapsed();
    assert_eq!(cause, Ending::Expired);
    assert_eq!(*last, record);
    // Its last heartbeat was up to a second, and a little, before.
    assert!(after > TTL - Duration::from_secs(2) && after < TTL + Duration::from_secs(2), "{after:?}");

    // Nothing more is told of it.
    stage.registry.register(&Stream::new("mark".parse().unwrap(), StreamType::Srt, "h:1")).await.unwrap();
    assert_eq!(next(&mut watch).await.stream().unwrap().id.as_str(), "mark");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_comes_back_by_itself_when_redis_has_forgotten_it() {
    let mut stage = Stage::set().await;
    let (ingest, rtp) = stage.ingest("studio-1", &[]);
    let _sender = stage.send(rtp, &[]);
    let before = stage.shows_active("studio-1").await;

    stage.redis.restart(testkit::Data::Empty).await;
    let started = Instant::now();
    let after = stage.shows(|stream| stream.packets_received > before.packets_received).await;
    let late = started.elapsed();
    assert!(late < Duration::from_secs(3) + Duration::from_secs(2), "back after {late:?}, on a busy machine");
    assert_eq!((&after.id, &after.created_at, &after.labels), (&before.id, &before.created_at, &before.labels));
    assert_eq!((&after.status, after.epoch()), (&StreamStatus::Active, before.epoch()));

    // It is still the node's own: it goes on, and ends with the node.
    stage.shows(|stream| stream.packets_received > after.packets_received).await;
    let mut watch = stage.registry.watch(WatchFrom::Now).await.unwrap();
    ingest.interrupt();
    let (_, cause, _) = next_end(&mut watch).await;
    assert_eq!(cause, Ending::Unregistered("the ingest node stopped".parse().unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_comes_later_gets_what_was_counted_before() {
    let mut stage = Stage::set().await;
    stage.redis.kill();
    let (ingest, rtp) = stage.ingest("studio-1", &[]);
    let relay = Relay::start(rtp).await;
    let _sender = stage.send(relay.addr, &[]);
    ingest.word_after("the store cannot be reached");
    wait_until(DEADLINE, async || relay.counts().packets > 50).await;

    let counted = relay.counts().packets - 1;
    stage.redis.restart(testkit::Data::Empty).await;
    stage.shows_active("studio-1").await;
    let mut watch = stage.registry.watch(WatchFrom::Oldest).await.unwrap();
    let Event::Changed { kind: ChangeKind::Registered, stream, .. } = next(&mut watch).await else { panic!() };
    assert!(stream.packets_received >= counted, "{counted} of {stream:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_node_is_refused_until_the_id_is_free() {
    let stage = Stage::set().await;
    let (first, rtp) = stage.ingest("studio-1", &[]);
    let _sender = stage.send(rtp, &[]);
    let held = stage.shows_active("studio-1").await;

    let mut watch = stage.registry.watch(WatchFrom::Now).await.unwrap();
    let (second, rtp) = stage.ingest("studio-2", &["--on-conflict", "reject"]);
    let _other = stage.send(rtp, &[]);
    assert_eq!(second.word_after("refused until it is free (see --on-conflict); tried each second id=cam1"), "");
    // The first one is not disturbed: it reports on.
    let now = stage.shows(|stream| stream.packets_received > held.packets_received).await;
    assert_eq!((&now.node, now.epoch()), (&held.node, held.epoch()));

    first.interrupt();
    let (before, cause, last) = next_end(&mut watch).await;
    assert_eq!(cause, Ending::Unregistered("the ingest node stopped".parse().unwrap()));
    assert_eq!(last.node.as_deref(), Some("studio-1"));
    assert!(before.iter().all(|event| event.stream().unwrap().node.as_deref() == Some("studio-1")), "{before:?}");
    let Event::Changed { kind: ChangeKind::Registered, stream, .. } = next(&mut watch).await else { panic!() };
    assert_eq!(stream.node.as_deref(), Some("studio-2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_node_takes_the_stream_over_and_the_first_one_says_so() {
    let stage = Stage::set().await;
    let (mut first, rtp) = stage.ingest("studio-1", &[]);
    let _sender = stage.send(rtp, &[]);
    let held = stage.shows_active("studio-1").await;

    let mut watch = stage.registry.watch(WatchFrom::Now).await.unwrap();
    let (second, rtp) = stage.ingest("studio-2", &["--on-conflict", "take-over"]);
    let _other = stage.send(rtp, &[]);
    let says = "the stream was taken over; its session is not registered again id=cam1 by=";
    assert_eq!(first.word_after(says), "\"studio-2\"");
    let now = stage.shows_active("studio-2").await;
    assert!(now.created_at > held.created_at && now.epoch() > held.epoch(), "{held:?} then {now:?}");

    // The first one goes on receiving and stops; neither shows in the registry.
    first.interrupt();
    assert!(first.ended().await.success());
    stage.shows(|stream| stream.packets_received > now.packets_received).await;
    second.interrupt();
    let (events, cause, last) = next_end(&mut watch).await;
    assert_eq!(cause, Ending::Unregistered("the ingest node stopped".parse().unwrap()));
    assert_eq!((last.node.as_deref(), &last.created_at), (Some("studio-2"), &now.created_at));
    let taken = events.iter().position(|event| event.as_str() == ChangeKind::TakenOver.as_str()).unwrap();
    let after = &events[taken..];
    assert!(after.iter().all(|event| event.stream().unwrap().node.as_deref() == Some("studio-2")), "{after:?}");
    assert_eq!(statuses(after), ["connecting", "active", "closed"]);
}
