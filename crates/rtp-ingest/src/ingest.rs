//! The loop: packets into the table, ticks, and the publisher beside it.

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

/// How often statistics go out.
const PERIOD: Duration = Duration::from_secs(1);
/// How long the end of all streams may take when the node stops.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(5);
/// The most packets that are taken in a row before ticks have their turn.
const MEDIA_BURST: usize = 256;
/// The same for RTCP's own port.
const CONTROL_BURST: usize = 16;

/// How a node works.
#[derive(Debug)]
#[non_exhaustive]
pub struct IngestOptions {
    /// The name under which streams are registered. Default none.
    pub node: Option<String>,
    /// The id of one session at a time, in place of a generated one. Default none.
    pub id: Option<GivenId>,
    /// The most sessions at a time. Default 1 000.
    pub max_sessions: usize,
    /// How long a session lives without a packet. Default 10 s.
    pub silence: Duration,
    /// Where codecs are described. Default nowhere.
    pub sdp: Option<SdpFile>,
}

impl Default for IngestOptions {
    fn default() -> Self {
        let TableOptions { max_sessions, silence, .. } = TableOptions::default();
        Self { node: None, id: None, max_sessions, silence, sdp: None }
    }
}

impl IngestOptions {
    /// Names the node.
    #[must_use]
    pub fn node(mut self, node: Option<String>) -> Self {
        self.node = node;
        self
    }

    /// Gives an id to the first session, and after its end to the next one that begins.
    #[must_use]
    pub fn id(mut self, id: Option<GivenId>) -> Self {
        self.id = id;
        self
    }

    /// Sets the most sessions at a time.
    #[must_use]
    pub fn max_sessions(mut self, most: usize) -> Self {
        self.max_sessions = most;
        self
    }

    /// Sets how long a session lives without a packet.
    #[must_use]
    pub fn silence(mut self, silence: Duration) -> Self {
        self.silence = silence;
        self
    }

    /// Sets where codecs are described.
    #[must_use]
    pub fn sdp(mut self, file: Option<SdpFile>) -> Self {
        self.sdp = file;
        self
    }
}

/// Receives until `stop` completes, then ends all streams, within 5 s.
///
/// `store` may take its time: packets are counted meanwhile. It is not closed at the end.
///
/// # Errors
///
/// Only where `store` fails: what happens to an open store later is logged and tried again.
///
/// # Cancel safety
///
/// When dropped, streams that are registered stay until their time to live is over.
pub async fn run(
    listener: Listener,
    store: impl Future<Output = stream_registry::Result<Arc<dyn Registry>>> + Send + 'static,
    options: IngestOptions,
    stop: impl Future<Output = ()>,
) -> stream_registry::Result<()> {
    let table = Table::new(TableOptions {
        max_sessions: options.max_sessions,
        silence: options.silence,
        port: listener.rtp_addr().port(),
    });
    let shared = Arc::new(Shared::new(table));
    // Dropping the set stops what runs in it.
    let mut beside = JoinSet::new();
    if let Some(file) = options.sdp {
        beside.spawn(follow(file, Arc::clone(&shared)));
    }
    let (finish, finishing) = oneshot::channel();
    let mut publishing = JoinSet::new();
    publishing.spawn(publish(Arc::clone(&shared), store, options.node, options.id, finishing));

    let failed = tokio::select! {
        () = receive(&listener, &shared, options.silence) => None,
        () = stop => None,
        done = publishing.join_next() => done,
    };
    if let Some(done) = failed {
        return outcome(done);
    }
    shared.table().end_all();
    // The publisher may have failed this very moment; then nobody listens.
    let _ = finish.send(());
    match timeout(SHUTDOWN_LIMIT, publishing.join_next()).await {
        Ok(done) => done.map_or(Ok(()), outcome),
        Err(_) => {
            warn!("the store does not answer; streams that are left there expire by themselves");
            Ok(())
        }
    }
}

fn outcome(done: Result<stream_registry::Result<()>, JoinError>) -> stream_registry::Result<()> {
    done.unwrap_or_else(|stopped| {
        let kind = stream_registry::ErrorKind::Internal;
        Err(stream_registry::Error::new(kind, "the publishing task broke off; start the node again")
            .with_source(stopped))
    })
}

/// Waits for the store, publishes, and at the end of the node ends all streams.
async fn publish(
    shared: Arc<Shared>,
    store: impl Future<Output = stream_registry::Result<Arc<dyn Registry>>>,
    node: Option<String>,
    id: Option<GivenId>,
    mut finishing: oneshot::Receiver<()>,
) -> stream_registry::Result<()> {
    let registry = tokio::select! {
        opened = store => opened?,
        _ = &mut finishing => return Ok(()),
    };
    let stop = async {
        // An error says that the node is gone: the same.
        let _ = finishing.await;
    };
    publish::publish(shared, registry, node, id, stop).await;
    Ok(())
}

/// Reads the session description, and again whenever it changes.
async fn follow(mut file: SdpFile, shared: Arc<Shared>) -> stream_registry::Result<()> {
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // A file may lie on a slow disk; packets must not wait for it.
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

/// Receives for ever.
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
                Err(error) => warn!(%error, "the socket fails; packets may be missing"),
            },
            _ = periods.tick() => {
                shared.table().roll(Instant::now());
                shared.notify();
            }
            _ = reaping.tick() => {
                if shared.table().reap(Instant::now()) == Effect::News {
                    shared.notify();
                }
            }
        }
    }
}

/// Takes what has arrived, up to a burst. Media first: a good-bye comes behind the packets that were sent before it.
fn drain(listener: &Listener, shared: &Shared, buffer: &mut [u8]) {
    let mut effect = Effect::None;
    for (port, most) in [(Port::Media, MEDIA_BURST), (Port::Control, CONTROL_BURST)] {
        for _ in 0..most {
            match listener.take(port, buffer) {
                Ok(Some((length, source))) => {
                    if take_in(&buffer[..length], source, port, shared) == Effect::News {
                        effect = Effect::News;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    debug!(%error, "a packet could not be read");
                    break;
                }
            }
        }
    }
    if effect == Effect::News {
        shared.notify();
    }
}

fn take_in(datagram: &[u8], source: SocketAddr, port: Port, shared: &Shared) -> Effect {
    let now = Instant::now();
    let source = SocketAddr::new(source.ip().to_canonical(), source.port());
    match (Packet::parse(datagram), port) {
        (Ok(Packet::Rtp(packet)), Port::Media) => shared.table().rtp(source, &packet, datagram.len(), now),
        (Ok(Packet::Rtcp(packet)), _) => shared.table().rtcp(source, &packet, now),
        (Ok(Packet::Rtp(_)), Port::Control) => Effect::None,
        (Err(why), _) => {
            trace!(%source, %why, bytes = datagram.len(), "neither RTP nor RTCP");
            Effect::None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RTP of payload type 0 and source 7.
    fn rtp(sequence: u8) -> [u8; 14] {
        [0x80, 0, 0, sequence, 0, 0, 0, 0, 0, 0, 0, 7, 1, 1]
    }

    const BYE: [u8; 8] = [0x81, 203, 0, 1, 0, 0, 0, 7];

    #[test]
    fn addresses_are_written_the_usual_way() {
        for (from, written) in [
            ("192.0.2.1:5004", "192.0.2.1:5004"),
            // A socket for both families shows IPv4 like this.
            ("[::ffff:192.0.2.1]:5004", "192.0.2.1:5004"),
            ("[2001:db8::1]:5004", "[2001:db8::1]:5004"),
        ] {
            let shared = Shared::new(Table::new(TableOptions::default()));
            let from: SocketAddr = from.parse().unwrap();
            assert_eq!(take_in(&rtp(1), from, Port::Media, &shared), Effect::None);
            assert_eq!(take_in(&rtp(2), from, Port::Media, &shared), Effect::News);
            let seen = shared.table().observe();
            assert_eq!(seen[0].source.to_string(), written);
            assert_eq!((seen[0].stats.bytes_received, seen[0].description.clock_rate), (14, 8_000));
        }
    }

    #[test]
    fn each_port_takes_what_belongs_there() {
        let shared = Shared::new(Table::new(TableOptions::default()));
        let from: SocketAddr = "192.0.2.1:5004".parse().unwrap();
        for sequence in 1..5 {
            assert_eq!(take_in(&rtp(sequence), from, Port::Control, &shared), Effect::None, "media on RTCP's port");
        }
        assert_eq!(take_in(&rtp(1), from, Port::Media, &shared), Effect::None);
        assert_eq!(take_in(&rtp(2), from, Port::Media, &shared), Effect::News);
        for rubbish in
            [&b""[..], b"GET / HTTP/1.1", &[0x81, 203, 0, 9, 0, 0, 0, 7], &[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42]]
        {
            assert_eq!(take_in(rubbish, from, Port::Media, &shared), Effect::None);
            assert_eq!(take_in(rubbish, from, Port::Control, &shared), Effect::None);
        }
        assert_eq!(take_in(&BYE, from, Port::Control, &shared), Effect::News);
    }
}
