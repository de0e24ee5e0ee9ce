//! A UDP proxy that loses packets.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// The largest datagram that is forwarded, in bytes.
const MAX_DATAGRAM: usize = 65_536;

/// A UDP proxy for one client, which loses a share of the client's packets. Answers are not lost.
///
/// Which packets are lost depends only on their number, so a test that fails can be repeated.
#[derive(Debug)]
pub struct LossyUdp {
    addr: SocketAddr,
    task: JoinHandle<()>,
}

impl LossyUdp {
    /// Opens a loopback port and forwards its packets to `upstream`. Loses `percent` of 100 packets.
    ///
    /// # Panics
    ///
    /// Panics if no port can be opened.
    pub async fn start(upstream: SocketAddr, percent: u32) -> Self {
        let local = (Ipv4Addr::LOCALHOST, 0);
        let client = UdpSocket::bind(local).await.expect("a loopback port is available");
        let server = UdpSocket::bind(local).await.expect("a loopback port is available");
        server.connect(upstream).await.expect("a UDP socket accepts any address");
        let addr = client.local_addr().expect("a socket has an address");
        Self { addr, task: tokio::spawn(forward(client, server, percent)) }
    }

    /// Returns the address that the client sends to.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for LossyUdp {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn forward(client: UdpSocket, server: UdpSocket, percent: u32) {
    let (mut request, mut answer) = (vec![0; MAX_DATAGRAM], vec![0; MAX_DATAGRAM]);
    let mut client_addr = None;
    let mut random = 1_u32;
    loop {
        tokio::select! {
            Ok((length, from)) = client.recv_from(&mut request) => {
                client_addr = Some(from);
                // A linear congruential generator (Numerical Recipes); its high bits are good enough.
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                if (random >> 16) % 100 >= percent {
                    // A server that is not there yet is a lost packet, too.
                    let _ = server.send(&request[..length]).await;
                }
            }
            received = server.recv(&mut answer) => {
                if let (Ok(length), Some(to)) = (received, client_addr) {
                    let _ = client.send_to(&answer[..length], to).await;
                }
            }
        }
    }
}
