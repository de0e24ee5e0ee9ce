//! The sockets: RTP on one port, RTCP on the next one and on the same.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tracing::debug;

/// The receive buffer that is asked for: half a second of 60 Mbit/s. The system may give less.
const RECEIVE_BUFFER_BYTES: usize = 4 * 1024 * 1024;
/// The largest datagram of UDP fits.
pub(crate) const DATAGRAM_BYTES: usize = 65_536;
/// How many pairs of free ports are tried for port 0.
const PORT_TRIES: usize = 64;

/// A pair of sockets for RTP and RTCP.
#[derive(Debug)]
pub struct Listener {
    rtp: UdpSocket,
    rtcp: UdpSocket,
    rtp_addr: SocketAddr,
}

/// The port that a datagram came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Port {
    /// The one for RTP, where RTCP is welcome as well (RFC 5761).
    Media,
    /// The one for RTCP.
    Control,
}

impl Listener {
    /// Opens `addr` for RTP and the next port for RTCP; port 0 takes a free pair.
    ///
    /// # Errors
    ///
    /// Where a port is taken or not allowed, and for port 65535, which has no next one.
    pub fn bind(addr: SocketAddr) -> io::Result<Self> {
        if addr.port() != 0 {
            return Self::bind_pair(addr);
        }
        let mut tries = 1;
        loop {
            match Self::bind_pair(addr) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries < PORT_TRIES => tries += 1,
                done => return done,
            }
        }
    }

    fn bind_pair(addr: SocketAddr) -> io::Result<Self> {
        let rtp = open(addr)?;
        let rtp_addr = rtp.local_addr()?;
        let mut next = rtp_addr;
        let port = rtp_addr.port().checked_add(1);
        next.set_port(port.ok_or_else(|| io::Error::new(io::ErrorKind::AddrInUse, "RTCP needs the port after 65535"))?);
        let rtcp = open(next).map_err(|error| io::Error::new(error.kind(), format!("for RTCP on {next}: {error}")))?;
        Ok(Self { rtp, rtcp, rtp_addr })
    }

    /// Returns the address that RTP comes to.
    pub fn rtp_addr(&self) -> SocketAddr {
        self.rtp_addr
    }

    /// Waits until there is something to take.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        tokio::select! {
            ready = self.rtp.readable() => ready,
            ready = self.rtcp.readable() => ready,
        }
    }

    /// Takes a datagram that has arrived; `None` when there is none.
    pub(crate) fn take(&self, port: Port, buffer: &mut [u8]) -> io::Result<Option<(usize, SocketAddr)>> {
        let socket = match port {
            Port::Media => &self.rtp,
            Port::Control => &self.rtcp,
        };
        match socket.try_recv_from(buffer) {
            Ok(taken) => Ok(Some(taken)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn open(addr: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    if let Err(error) = socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES) {
        debug!(%error, "the receive buffer stays as it is");
    }
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    UdpSocket::from_std(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_pair_of_ports() {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let port = listener.rtp_addr().port();
        assert_eq!(listener.rtcp.local_addr().unwrap().port(), port + 1);
        assert_eq!(Listener::bind(listener.rtp_addr()).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert!(Listener::bind("127.0.0.1:65535".parse().unwrap()).is_err());
    }

    #[tokio::test]
    async fn datagrams_are_taken_one_by_one_and_empty_ones_too() {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut buffer = vec![0; DATAGRAM_BYTES];
        assert_eq!(listener.take(Port::Media, &mut buffer).unwrap(), None);
        for bytes in [&b""[..], b"abc"] {
            sender.send_to(bytes, listener.rtp_addr()).await.unwrap();
            listener.readable().await.unwrap();
            let (length, from) = listener.take(Port::Media, &mut buffer).unwrap().unwrap();
            assert_eq!((&buffer[..length], from), (bytes, sender.local_addr().unwrap()));
        }
    }
}
