//! Ports for test servers.

use std::net::{Ipv4Addr, TcpStream};
use std::process;
use std::sync::atomic::{AtomicU16, Ordering};

/// First port that is tried. By default, Linux does not use ports 12 000 to 31 999 for outgoing connections. A
/// restarted server can therefore open its port again.
const FIRST: u16 = 12_000;
const COUNT: u16 = 20_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// Returns a free loopback port. Within a process, no port is repeated until all ports have been tried.
///
/// # Panics
///
/// Panics if no port is free.
pub fn free_port() -> u16 {
    // Each process starts its search at a different port.
    let start = process::id() * 211 % u32::from(COUNT);
    for _ in 0..COUNT {
        let offset = (start + u32::from(NEXT.fetch_add(1, Ordering::Relaxed))) % u32::from(COUNT);
        let port = FIRST + u16::try_from(offset).expect("the offset is less than the number of ports");
        // The port is not probed with a listener. A child process that another thread starts at that moment would inherit
        // the listener, and the port would stay in use for a moment.
        if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            return port;
        }
    }
    panic!("no loopback port between {FIRST} and {} is free", FIRST + COUNT);
}
