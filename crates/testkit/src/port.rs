//! Ports for test servers.

use std::net::{Ipv4Addr, TcpListener};
use std::process;
use std::sync::atomic::{AtomicU16, Ordering};

/// By default, Linux does not use these ports for outgoing connections, so a restarted server gets its port back.
const FIRST: u16 = 12_000;
const COUNT: u16 = 20_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// Returns a free loopback port. This process returns each port once before it repeats one.
///
/// # Panics
///
/// Panics if no port is free.
pub fn free_port() -> u16 {
    // Processes start at different ports.
    let start = process::id() * 211 % u32::from(COUNT);
    for _ in 0..COUNT {
        let offset = (start + u32::from(NEXT.fetch_add(1, Ordering::Relaxed))) % u32::from(COUNT);
        let port = FIRST + u16::try_from(offset).expect("the offset is less than the number of ports");
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no loopback port between {FIRST} and {} is free", FIRST + COUNT);
}
