//! A UDP relay for RTP and RTCP that drops packets at fixed positions.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rtp_ingest::listen::Listener;
use rtp_ingest::packet::Rtp;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// Counters of a relay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// RTP packets forwarded.
    pub(crate) packets: u64,
    /// Bytes of the RTP packets forwarded.
    pub(crate) bytes: u64,
    /// Bytes of the first packet. A receiver does not count this packet (RFC 3550, appendix A.1).
    pub(crate) first_bytes: u64,
    /// Packets dropped before the last forwarded packet. A receiver can detect only these losses.
    pub(crate) lost: u64,
    /// Packets dropped after the last forwarded packet. A receiver cannot detect these losses yet.
    pub(crate) dropped_at_end: u64,
    /// RTCP packets forwarded.
    pub(crate) control: u64,
}

/// Drops every tenth RTP packet after the first twenty. Forwards all RTCP.
pub(crate) struct Relay {
    pub(crate) addr: SocketAddr,
    counts: Arc<Mutex<Counts>>,
    tasks: [JoinHandle<()>; 2],
}

impl Relay {
    pub(crate) async fn start(to: SocketAddr) -> Self {
        let (addr, media, control) = loop {
            // A temporary listener finds a pair of free ports. Opening the ports again fails if another test takes them
            // first.
            let addr = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap().rtp_addr();
            let Ok(media) = UdpSocket::bind(addr).await else { continue };
            let Ok(control) = UdpSocket::bind((addr.ip(), addr.port() + 1)).await else { continue };
            break (addr, media, control);
        };
        let counts = Arc::new(Mutex::new(Counts::default()));
        let tasks = [
            tokio::spawn(relay_media(media, to, Arc::clone(&counts))),
            tokio::spawn(relay_control(control, SocketAddr::new(to.ip(), to.port() + 1), Arc::clone(&counts))),
        ];
        Self { addr, counts, tasks }
    }

    pub(crate) fn counts(&self) -> Counts {
        *self.counts.lock().unwrap()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn relay_media(socket: UdpSocket, to: SocketAddr, counts: Arc<Mutex<Counts>>) {
    let mut buffer = vec![0; 65_536];
    for index in 0_u64.. {
        let (length, _) = socket.recv_from(&mut buffer).await.unwrap();
        Rtp::parse(&buffer[..length]).expect("the sender sends RTP");
        let is_dropped = index >= 20 && index % 10 == 5;
        if !is_dropped {
            socket.send_to(&buffer[..length], to).await.unwrap();
        }
        let mut counts = counts.lock().unwrap();
        if is_dropped {
            counts.dropped_at_end += 1;
            continue;
        }
        let bytes = u64::try_from(length).unwrap();
        if counts.packets == 0 {
            counts.first_bytes = bytes;
        }
        counts.packets += 1;
        counts.bytes += bytes;
        counts.lost += std::mem::take(&mut counts.dropped_at_end);
    }
}

async fn relay_control(socket: UdpSocket, to: SocketAddr, counts: Arc<Mutex<Counts>>) {
    let mut buffer = vec![0; 65_536];
    loop {
        let (length, _) = socket.recv_from(&mut buffer).await.unwrap();
        socket.send_to(&buffer[..length], to).await.unwrap();
        counts.lock().unwrap().control += 1;
    }
}
