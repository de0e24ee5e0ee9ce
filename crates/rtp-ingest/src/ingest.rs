//! Runs the node: counts received packets in the table of sessions, and calculates their rates every second. A separate
//! task publishes the sessions.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use stream_registry::Registry;
use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinSet, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{debug, trace, warn};

use crate::listen::{DATAGRAM_BYTES, Listener, Port};
use crate::packet::Packet;
use crate::publish::{self, GivenId, Shared};
use crate::sdp::SdpFile;
use crate::table::{Effect, Table, TableOptions};

/// Length of a measuring period. Rates are calculated at the end of each period.
const PERIOD: Duration = Duration::from_secs(1);
/// Maximum time to unregister all streams when the node stops.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(5);
/// Maximum number of packets read from the RTP port before timers are polled again.
const RTP_BURST: usize = 256;
/// Maximum number of packets read from the RTCP port before timers are polled again.
const RTCP_BURST: usize = 16;

/// Options of a node.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct IngestOptions {
    /// Name of the node in its streams' records. Default: none.
    pub node: Option<String>,
    /// Stream id for one session at a time; other sessions get generated ids. Default: none.
    ///
    /// When the session with this id ends, the next new session gets it.
    pub id: Option<GivenId>,
    /// Limits of the sessions.
    pub table: TableOptions,
    /// Session description that names the codecs. Default: none.
    pub sdp: Option<SdpFile>,
}

impl IngestOptions {
    /// Sets the name of the node.
    #[must_use]
    pub fn node(mut self, node: impl Into<String>) -> Self {
        self.node = Some(node.into());
        self
    }

    /// Sets a stream id, which one session at a time can use. Other sessions get generated ids.
    #[must_use]
    pub fn id(mut self, id: GivenId) -> Self {
        self.id = Some(id);
        self
    }

    /// Sets the limits of the sessions.
    #[must_use]
    pub fn table(mut self, options: TableOptions) -> Self {
        self.table = options;
        self
    }

    /// Sets the session description that names the codecs.
    #[must_use]
    pub fn sdp(mut self, file: SdpFile) -> Self {
        self.sdp = Some(file);
        self
    }
}

/// Receives until `stop` completes, then unregisters all streams within 5 s.
///
/// Packets are counted even while the store is still opening. This function does not close the store.
///
/// # Errors
///
/// Returns the error of `store` if the store cannot be opened. Errors of an open store are logged and retried.
///
/// # Cancel safety
///
/// If the future is dropped, registered streams remain until they expire.
pub async fn run(
    listener: Listener,
    store: impl Future<Output = stream_registry::Result<Arc<dyn Registry>>> + Send + 'static,
    options: IngestOptions,
    stop: impl Future<Output = ()>,
) -> stream_registry::Result<()> {
    let silence = options.table.silence;
    let table = Table::new(listener.rtp_addr().port(), options.table);
    let shared = Arc::new(Shared::new(table));
    // Dropping this `JoinSet` aborts the task that rereads the session description.
    let mut sdp_task = JoinSet::new();
    if let Some(file) = options.sdp {
        sdp_task.spawn(follow_sdp(file, Arc::clone(&shared)));
    }
    let (stop_publishing, publishing_stopped) = oneshot::channel();
    let mut publishing = JoinSet::new();
    publishing.spawn(publish(Arc::clone(&shared), store, options.node, options.id, publishing_stopped));

    let failure = tokio::select! {
        () = receive(&listener, &shared, silence) => None,
        () = stop => None,
        done = publishing.join_next() => done,
    };
    if let Some(done) = failure {
        return outcome(done);
    }
    shared.table().end_all();
    // Sending fails only if the publishing task has already exited. The code below then returns the error of the task.
    let _ = stop_publishing.send(());
    match timeout(SHUTDOWN_LIMIT, publishing.join_next()).await {
        Ok(done) => done.map_or(Ok(()), outcome),
        Err(_) => {
            warn!("the store does not respond; streams that are still registered will expire");
            Ok(())
        }
    }
}

fn outcome(done: Result<stream_registry::Result<()>, JoinError>) -> stream_registry::Result<()> {
    done.unwrap_or_else(|failed| {
        let kind = stream_registry::ErrorKind::Internal;
        Err(stream_registry::Error::new(kind, "publishing task failed; restart the node").with_source(failed))
    })
}

/// Waits for the store, publishes the sessions, and unregisters all streams when the node stops.
async fn publish(
    shared: Arc<Shared>,
    store: impl Future<Output = stream_registry::Result<Arc<dyn Registry>>>,
    node: Option<String>,
    id: Option<GivenId>,
    mut stopped: oneshot::Receiver<()>,
) -> stream_registry::Result<()> {
    let registry = tokio::select! {
        opened = store => opened?,
        _ = &mut stopped => return Ok(()),
    };
    let stop = async {
        // An error means that the future of `run` was dropped. In that case, this task stops too.
        let _ = stopped.await;
    };
    publish::publish(shared, registry, node, id, stop).await;
    Ok(())
}

/// Reads the session description and rereads it whenever the file changes.
async fn follow_sdp(mut file: SdpFile, shared: Arc<Shared>) -> stream_registry::Result<()> {
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // Reading from a slow disk must not delay packets.
        let polled = spawn_blocking(move || {
            let sdp = file.poll();
            (file, sdp)
        });
        let Ok((same, sdp)) = polled.await else { return Ok(()) };
        file = same;
        if let Some(sdp) = sdp {
            shared.table().set_sdp(sdp);
            shared.notify();
        }
    }
}

/// Receives packets until dropped.
async fn receive(listener: &Listener, shared: &Shared, silence: Duration) {
    let mut periods = interval(PERIOD);
    periods.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut reaping = interval((silence / 4).clamp(Duration::from_millis(10), PERIOD));
    reaping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut buffer = vec![0; DATAGRAM_BYTES];
    loop {
        tokio::select! {
            readable = listener.readable() => match readable {
                Ok(()) => drain(listener, shared, &mut buffer),
                Err(error) => warn!(%error, "cannot receive from the socket; packets may be lost"),
            },
            _ = periods.tick() => {
                shared.table().roll(Instant::now());
                shared.notify();
            }
            _ = reaping.tick() => {
                if shared.table().reap(Instant::now()) == Effect::Changed {
                    shared.notify();
                }
            }
        }
    }
}

/// Reads and processes the packets that have arrived: at most `RTP_BURST` and `RTCP_BURST` packets.
///
/// The RTP port is read first. A BYE is therefore processed after the media packets that were sent before the BYE.
fn drain(listener: &Listener, shared: &Shared, buffer: &mut [u8]) {
    let mut effect = Effect::None;
    for (port, burst) in [(Port::Rtp, RTP_BURST), (Port::Rtcp, RTCP_BURST)] {
        for _ in 0..burst {
            match listener.try_receive(port, buffer) {
                Ok(Some((length, source))) => {
                    if process(&buffer[..length], source, port, shared) == Effect::Changed {
                        effect = Effect::Changed;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    debug!(%error, "cannot read a packet");
                    break;
                }
            }
        }
    }
    if effect == Effect::Changed {
        shared.notify();
    }
}

fn process(datagram: &[u8], source: SocketAddr, port: Port, shared: &Shared) -> Effect {
    let now = Instant::now();
    let source = SocketAddr::new(source.ip().to_canonical(), source.port());
    match (Packet::parse(datagram), port) {
        (Ok(Packet::Rtp(packet)), Port::Rtp) => shared.table().rtp(source, &packet, datagram.len(), now),
        (Ok(Packet::Rtcp(packet)), _) => shared.table().rtcp(source, &packet, now),
        (Ok(Packet::Rtp(_)), Port::Rtcp) => Effect::None,
        (Err(error), _) => {
            trace!(%source, %error, bytes = datagram.len(), "ignored a malformed packet");
            Effect::None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns an RTP packet with payload type 0 and SSRC 7.
    fn rtp(sequence: u8) -> [u8; 14] {
        [0x80, 0, 0, sequence, 0, 0, 0, 0, 0, 0, 0, 7, 1, 1]
    }

    const BYE: [u8; 8] = [0x81, 203, 0, 1, 0, 0, 0, 7];

    #[test]
    fn ipv4_mapped_address_is_formatted_as_ipv4() {
        for (from, written) in [
            ("192.0.2.1:5004", "192.0.2.1:5004"),
            // A dual-stack socket reports IPv4 addresses in the form `::ffff:192.0.2.1`.
            ("[::ffff:192.0.2.1]:5004", "192.0.2.1:5004"),
            ("[2001:db8::1]:5004", "[2001:db8::1]:5004"),
        ] {
            let shared = Shared::new(Table::new(5004, TableOptions::default()));
            let from: SocketAddr = from.parse().unwrap();
            assert_eq!(process(&rtp(1), from, Port::Rtp, &shared), Effect::None);
            assert_eq!(process(&rtp(2), from, Port::Rtp, &shared), Effect::Changed);
            let seen = shared.table().observe();
            assert_eq!(seen[0].source.to_string(), written);
            assert_eq!((seen[0].stats.bytes_received, seen[0].description.clock_rate), (Some(14), 8_000));
        }
    }

    #[test]
    fn malformed_packets_and_rtp_on_the_rtcp_port_are_ignored() {
        let shared = Shared::new(Table::new(5004, TableOptions::default()));
        let from: SocketAddr = "192.0.2.1:5004".parse().unwrap();
        for sequence in 1..5 {
            assert_eq!(process(&rtp(sequence), from, Port::Rtcp, &shared), Effect::None, "RTP on the RTCP port");
        }
        assert_eq!(process(&rtp(1), from, Port::Rtp, &shared), Effect::None);
        assert_eq!(process(&rtp(2), from, Port::Rtp, &shared), Effect::Changed);
        for malformed in
            [&b""[..], b"GET / HTTP/1.1", &[0x81, 203, 0, 9, 0, 0, 0, 7], &[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42]]
        {
            assert_eq!(process(malformed, from, Port::Rtp, &shared), Effect::None);
            assert_eq!(process(malformed, from, Port::Rtcp, &shared), Effect::None);
        }
        assert_eq!(process(&BYE, from, Port::Rtcp, &shared), Effect::Changed);
    }
}
