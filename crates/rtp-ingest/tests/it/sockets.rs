//! Sends handmade packets through real sockets to a node with an in-memory registry.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rtp_ingest::ingest::{self, IngestOptions};
use rtp_ingest::listen::Listener;
use rtp_ingest::sdp::SdpFile;
use rtp_ingest::table::TableOptions;
use stream_registry::watch::{Ending, Event, WatchFrom};
use stream_registry::{MemoryRegistry, Registry, Stream, StreamStatus};
use testkit::wait_until;
use tokio::net::UdpSocket;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::packets::{bye, rtp};

pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// A node that runs in this process.
pub(crate) struct Node {
    pub(crate) rtp: SocketAddr,
    pub(crate) rtcp: SocketAddr,
    registry: Arc<dyn Registry>,
    stop: oneshot::Sender<()>,
    running: JoinHandle<stream_registry::Result<()>>,
}

impl Node {
    pub(crate) fn start(registry: Arc<dyn Registry>, options: IngestOptions) -> Self {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let rtp = listener.rtp_addr();
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async {
            let _ = stopped.await;
        };
        let opened = Arc::clone(&registry);
        let running = tokio::spawn(ingest::run(listener, async { Ok(opened) }, options, stopped));
        Self { rtp, rtcp: SocketAddr::new(rtp.ip(), rtp.port() + 1), registry, stop, running }
    }

    pub(crate) async fn streams(&self) -> Vec<Stream> {
        let mut streams = self.registry.list().await.unwrap();
        streams.sort_by(|a, b| a.id.cmp(&b.id));
        streams
    }

    /// Waits until the listed streams satisfy the condition. Returns the streams.
    pub(crate) async fn wait_for(&self, condition: impl Fn(&[Stream]) -> bool) -> Vec<Stream> {
        let mut streams = Vec::new();
        let waited = tokio::time::timeout(
            DEADLINE,
            wait_until(Duration::MAX, async || {
                streams = self.streams().await;
                condition(&streams)
            }),
        );
        if waited.await.is_err() {
            panic!("condition still false: {streams:#?}");
        }
        streams
    }

    pub(crate) async fn stop(self) -> stream_registry::Result<()> {
        let _ = self.stop.send(());
        tokio::time::timeout(DEADLINE, self.running).await.expect("the node stops").unwrap()
    }
}

/// A sender with its own port.
pub(crate) struct Sender(UdpSocket);

impl Sender {
    pub(crate) async fn new() -> Self {
        Self(UdpSocket::bind("127.0.0.1:0").await.unwrap())
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    pub(crate) async fn send(&self, to: SocketAddr, datagram: &[u8]) {
        self.0.send_to(datagram, to).await.unwrap();
    }

    pub(crate) async fn send_rtp(&self, to: SocketAddr, ssrc: u32, sequence_numbers: impl IntoIterator<Item = u16>) {
        for number in sequence_numbers {
            self.send(to, &rtp(ssrc, number)).await;
        }
    }
}

fn memory() -> Arc<dyn Registry> {
    Arc::new(MemoryRegistry::new())
}

fn received(streams: &[Stream]) -> Vec<u64> {
    streams.iter().map(|stream| stream.packets_received).collect()
}

#[tokio::test]
async fn counters_are_exact_with_wrapped_late_and_duplicate_packets() {
    let node = Node::start(memory(), IngestOptions::default().node("n"));
    let sender = Sender::new().await;
    // Packet 65530 is on probation, packet 65535 is lost, packet 2 is late, and packet 3 is a duplicate.
    sender.send_rtp(node.rtp, 7, [65_530, 65_531, 65_532, 65_533, 65_534, 0, 1, 3, 2, 3, 4, 8]).await;
    let streams = node.wait_for(|all| all.len() == 1 && all[0].packets_received == 11).await;
    let stream = node.wait_for(|all| all[0].status == StreamStatus::Active).await.remove(0);
    assert_eq!(streams[0].id, stream.id);
    // The receiver expects 14 packets: 65531 to 65535 and, after the wrap, 0 to 8. It has received 11 packets.
    assert_eq!((stream.packets_received, stream.packets_lost, stream.bytes_received), (11, 3, 11 * 112));
    assert_eq!(stream.source_addr, sender.addr().to_string());
    assert_eq!((stream.labels["ssrc"].as_str(), stream.node.as_deref()), ("0x00000007", Some("n")));
    assert_eq!(stream.jitter_ms, None, "payload type 96 has no clock rate without a description");
    node.stop().await.unwrap();
}

#[tokio::test]
async fn totals_survive_a_restart_of_the_sender() {
    let node = Node::start(memory(), IngestOptions::default());
    let sender = Sender::new().await;
    sender.send_rtp(node.rtp, 7, [1, 2, 3, 5, 40_000, 40_001, 40_002, 40_004]).await;
    let stream = node.wait_for(|all| all.len() == 1 && all[0].packets_received == 6).await.remove(0);
    assert_eq!(stream.packets_lost, 2);
    node.stop().await.unwrap();
}

#[tokio::test]
async fn bye_on_either_port_removes_the_stream() {
    let node = Node::start(memory(), IngestOptions::default());
    let sender = Sender::new().await;
    for (ssrc, port) in [(1, node.rtp), (2, node.rtcp)] {
        sender.send_rtp(node.rtp, ssrc, 1..5).await;
        node.wait_for(|all| received(all) == [3]).await;
        sender.send(port, &bye(ssrc)).await;
        node.wait_for(<[Stream]>::is_empty).await;
        // Late packets must not start a session. They have been processed once a packet that was sent after them is
        // counted.
        sender.send_rtp(node.rtp, ssrc, 5..9).await;
        sender.send_rtp(node.rtp, 100 + ssrc, 1..5).await;
        let stream = node.wait_for(|all| all.len() == 1).await.remove(0);
        assert_eq!(stream.labels["ssrc"], format!("0x{:08x}", 100 + ssrc));
        sender.send(port, &bye(100 + ssrc)).await;
        node.wait_for(<[Stream]>::is_empty).await;
    }
    node.stop().await.unwrap();
}

#[tokio::test]
async fn last_record_counts_all_packets_before_the_bye() {
    let node = Node::start(memory(), IngestOptions::default());
    let mut watch = node.registry.watch(WatchFrom::Now).await.unwrap();
    let sender = Sender::new().await;
    sender.send_rtp(node.rtp, 7, 1..5).await;
    node.wait_for(|all| all.len() == 1 && all[0].status == StreamStatus::Active).await;
    sender.send_rtp(node.rtp, 7, 5..=50).await;
    sender.send(node.rtp, &bye(7)).await;
    loop {
        let event = tokio::time::timeout(DEADLINE, watch.next()).await.expect("the removal is in the feed").unwrap();
        if let Event::Ended { reason, last, .. } = event {
            assert_eq!(reason, Ending::Unregistered("RTCP BYE: camera off".parse().unwrap()));
            assert_eq!((last.packets_received, &last.status), (49, &StreamStatus::Closed));
            break;
        }
    }
    node.stop().await.unwrap();
}

#[tokio::test]
async fn sender_that_returns_after_the_timeout_gets_a_new_stream() {
    let node = Node::start(
        memory(),
        IngestOptions::default().table(TableOptions::default().silence(Duration::from_millis(700))),
    );
    let sender = Sender::new().await;
    sender.send_rtp(node.rtp, 7, 1..5).await;
    let first = node.wait_for(|all| all.len() == 1).await.remove(0);
    node.wait_for(<[Stream]>::is_empty).await;
    sender.send_rtp(node.rtp, 7, 5..9).await;
    let second = node.wait_for(|all| all.len() == 1).await.remove(0);
    assert_ne!(first.id, second.id);
    node.wait_for(<[Stream]>::is_empty).await;
    node.stop().await.unwrap();
}

#[tokio::test]
async fn each_pair_of_ssrc_and_address_is_a_stream() {
    let node = Node::start(memory(), IngestOptions::default());
    let (a, b) = (Sender::new().await, Sender::new().await);
    a.send_rtp(node.rtp, 7, 1..11).await;
    // The first sender uses SSRC 8 in addition to 7. Then a second sender uses SSRC 7 too.
    a.send_rtp(node.rtp, 8, 1..6).await;
    b.send_rtp(node.rtp, 7, 1..3).await;
    let streams =
        node.wait_for(|all| all.len() == 3 && all.iter().map(|s| s.packets_received).sum::<u64>() == 14).await;
    let mut all: Vec<_> = streams.iter().map(|s| (&*s.labels["ssrc"], &*s.source_addr, s.packets_received)).collect();
    all.sort_by_key(|(.., received)| *received);
    let (a_addr, b_addr) = (a.addr().to_string(), b.addr().to_string());
    assert_eq!(all, [("0x00000007", &*b_addr, 1), ("0x00000008", &*a_addr, 4), ("0x00000007", &*a_addr, 9)]);
    // A BYE from one address does not end a session at another address.
    b.send(node.rtp, &bye(7)).await;
    let left = node.wait_for(|all| all.len() == 2).await;
    assert!(left.iter().all(|stream| stream.source_addr == a_addr));
    node.stop().await.unwrap();
}

#[tokio::test]
async fn floods_and_malformed_packets_do_not_affect_a_session() {
    let node = Node::start(memory(), IngestOptions::default().table(TableOptions::default().max_sessions(3)));
    let (sender, flood) = (Sender::new().await, Sender::new().await);
    sender.send_rtp(node.rtp, 7, 1..5).await;
    node.wait_for(|all| received(all) == [3]).await;
    for n in 0..5_000_u32 {
        // Simulates a scan: sends one packet per source, mixed with malformed packets.
        flood.send(node.rtp, &rtp(1_000 + n, 1)).await;
        let length = usize::try_from(n % 13).unwrap();
        flood.send(node.rtp, &[0x80, 200, 0xff, 0xff, 0, 0, 0, 7, 0, 0, 0, 7, 0][..length]).await;
        flood.send(node.rtcp, &rtp(7, 1)).await;
        if n % 64 == 0 {
            // Let the receiver run, so that the socket's buffer does not overflow.
            tokio::task::yield_now().await;
        }
    }
    // Starts 20 valid sources. The limit is 3 sessions and one is in use, so only two of these sources are registered.
    for ssrc in 100..120 {
        flood.send_rtp(node.rtp, ssrc, 1..4).await;
    }
    sender.send_rtp(node.rtp, 7, 5..9).await;
    let streams = node.wait_for(|all| all.iter().any(|stream| stream.packets_received == 7)).await;
    assert_eq!(streams.len(), 3, "{streams:#?}");
    node.stop().await.unwrap();
}

#[tokio::test]
async fn session_description_created_later_updates_the_record() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cam.sdp");
    let node = Node::start(memory(), IngestOptions::default().sdp(SdpFile::new(path.clone())));
    let sender = Sender::new().await;
    sender.send_rtp(node.rtp, 7, 1..5).await;
    let undescribed = node.wait_for(|all| all.len() == 1).await.remove(0);
    assert_eq!(undescribed.video_codec, "");
    let sdp = "v=0\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\na=framesize:96 320-240\na=framerate:25\n";
    std::fs::write(path, sdp).unwrap();
    let stream = node.wait_for(|all| all[0].video_codec == "H264").await.remove(0);
    assert_eq!((stream.resolution.as_str(), stream.frame_rate), ("320x240", 25.0));
    sender.send_rtp(node.rtp, 7, 5..9).await;
    node.wait_for(|all| all[0].jitter_ms.is_some()).await;
    node.stop().await.unwrap();
}

#[tokio::test]
async fn node_unregisters_all_streams_when_it_stops() {
    let registry = memory();
    let node = Node::start(Arc::clone(&registry), IngestOptions::default());
    let sender = Sender::new().await;
    for ssrc in 0..40 {
        sender.send_rtp(node.rtp, ssrc, 1..4).await;
    }
    node.wait_for(|all| all.len() == 40).await;
    node.stop().await.unwrap();
    assert_eq!(registry.list().await.unwrap(), []);
}
