//! Opens the sockets: one port receives RTP and RTCP, and the next port receives only RTCP.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tracing::debug;

/// Requested size of the receive buffer: half a second at 60 Mbit/s. The system may grant less.
const RECEIVE_BUFFER_BYTES: usize = 4 * 1024 * 1024;
/// Size of the packet buffer: more than the largest UDP datagram.
pub(crate) const DATAGRAM_BYTES: usize = 65_536;
/// Maximum number of port pairs tried for port 0.
const MAX_PORT_ATTEMPTS: usize = 64;

/// A pair of sockets for RTP and RTCP.
#[derive(Debug)]
pub struct Listener {
    rtp: UdpSocket,
    rtcp: UdpSocket,
    rtp_addr: SocketAddr,
}

/// The port that received a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Port {
    /// The RTP port, which accepts RTCP as well (RFC 5761).
    Rtp,
    /// The RTCP port.
    Rtcp,
}

impl Listener {
    /// Opens `addr` for RTP and the next port for RTCP. Port 0 selects a free pair.
    ///
    /// # Errors
    ///
    /// Returns an error if a port is in use or forbidden. Port 65535 is rejected, because it has no next port.
    pub fn bind(addr: SocketAddr) -> io::Result<Self> {
        if addr.port() != 0 {
            return Self::bind_pair(addr);
        }
        let mut attempts = 1;
        loop {
            match Self::bind_pair(addr) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && attempts < MAX_PORT_ATTEMPTS => attempts += 1,
                done => return done,
            }
        }
    }

    fn bind_pair(addr: SocketAddr) -> io::Result<Self> {
        let rtp = open(addr)?;
        let rtp_addr = rtp.local_addr()?;
        let mut next = rtp_addr;
        let port = rtp_addr.port().checked_add(1);
        next.set_port(port.ok_or_else(|| io::Error::new(io::ErrorKind::AddrInUse, "no port for RTCP after 65535"))?);
        let rtcp = open(next).map_err(|error| io::Error::new(error.kind(), format!("RTCP on {next}: {error}")))?;
        Ok(Self { rtp, rtcp, rtp_addr })
    }

    /// Returns the address that receives RTP.
    pub fn rtp_addr(&self) -> SocketAddr {
        self.rtp_addr
    }

    /// Waits until a packet has arrived on either port.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        tokio::select! {
            ready = self.rtp.readable() => ready,
            ready = self.rtcp.readable() => ready,
        }
    }

    /// Receives a datagram without waiting; returns `None` if none has arrived.
    pub(crate) fn try_receive(&self, port: Port, buffer: &mut [u8]) -> io::Result<Option<(usize, SocketAddr)>> {
        let socket = match port {
            Port::Rtp => &self.rtp,
            Port::Rtcp => &self.rtcp,
        };
        match socket.try_recv_from(buffer) {
            Ok(received) => Ok(Some(received)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn open(addr: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    if let Err(error) = socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES) {
        debug!(%error, "cannot enlarge the receive buffer");
    }
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    UdpSocket::from_std(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bind_opens_two_consecutive_ports() {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let port = listener.rtp_addr().port();
        assert_eq!(listener.rtcp.local_addr().unwrap().port(), port + 1);
        assert_eq!(Listener::bind(listener.rtp_addr()).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert!(Listener::bind("127.0.0.1:65535".parse().unwrap()).is_err());
    }

    #[tokio::test]
    async fn try_receive_returns_each_datagram_including_empty_ones() {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut buffer = vec![0; DATAGRAM_BYTES];
        assert_eq!(listener.try_receive(Port::Rtp, &mut buffer).unwrap(), None);
        for bytes in [&b""[..], b"abc"] {
            sender.send_to(bytes, listener.rtp_addr()).await.unwrap();
            listener.readable().await.unwrap();
            let (length, from) = listener.try_receive(Port::Rtp, &mut buffer).unwrap().unwrap();
            assert_eq!((&buffer[..length], from), (bytes, sender.local_addr().unwrap()));
        }
    }
}
