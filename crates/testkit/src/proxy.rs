//! A TCP proxy that simulates network faults.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::free_port;

const UNLIMITED: u64 = u64::MAX;

/// A TCP proxy between a client and a server on this machine.
///
/// ```no_run
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let redis = testkit::RedisServer::start().await;
/// let proxy = testkit::FaultProxy::start(redis.addr()).await;
/// let url = format!("redis://{}", proxy.addr());
/// proxy.stall();  // nothing is forwarded; connections stay open
/// proxy.resume().await;
/// proxy.cut();    // every connection is closed; new ones work
/// # }
/// ```
#[derive(Debug)]
pub struct FaultProxy {
    addr: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    upstream: SocketAddr,
    mode: watch::Sender<Mode>,
    /// Number of calls of `cut`. Each open connection closes when this number changes.
    cuts: watch::Sender<u64>,
    /// Number of calls of `lose_open`. An open connection forwards nothing more when this number changes.
    losses: AtomicU64,
    /// Whether the port is open. This value changes a moment after `mode`.
    listening: watch::Sender<bool>,
    /// Number of reply bytes still to forward before connections are closed.
    reply_bytes_left: AtomicU64,
    /// Delay of each reply, in milliseconds.
    delay_ms: AtomicU64,
    accepted: AtomicU64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Forward,
    Stall,
    DropReplies,
    Refuse,
}

impl FaultProxy {
    /// Opens a loopback port and forwards its connections to `upstream`.
    ///
    /// # Panics
    ///
    /// Panics if no port can be opened.
    pub async fn start(upstream: SocketAddr) -> Self {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, free_port())).await.expect("a loopback port is available");
        let addr = listener.local_addr().expect("a listener has an address");
        let shared = Arc::new(Shared {
            upstream,
            mode: watch::Sender::new(Mode::Forward),
            cuts: watch::Sender::new(0),
            losses: AtomicU64::new(0),
            listening: watch::Sender::new(true),
            reply_bytes_left: AtomicU64::new(UNLIMITED),
            delay_ms: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
        });
        let accepting = tokio::spawn(accept(listener, addr, Arc::clone(&shared)));
        Self { addr, shared, accepting }
    }

    /// Returns the address that clients connect to.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Returns the number of connections accepted so far.
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// Closes every connection; new connections work.
    pub fn cut(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Stops forwarding in both directions. Connections stay open and new ones are accepted.
    pub fn stall(&self) {
        self.shared.mode.send_replace(Mode::Stall);
    }

    /// Forwards nothing more over the connections that are open now, as a firewall that has forgotten them. They stay
    /// open, also after [`resume`](Self::resume). New connections work.
    pub fn lose_open(&self) {
        self.shared.losses.fetch_add(1, Ordering::SeqCst);
    }

    /// Forwards requests but discards replies, so clients never receive the results of commands that the server
    /// executed.
    pub fn drop_replies(&self) {
        self.shared.mode.send_replace(Mode::DropReplies);
    }

    /// Forwards `bytes` more bytes of replies, counted over all connections. A connection that exceeds this number is
    /// closed.
    ///
    /// With 0, the next request is forwarded and the connection closes when the reply arrives.
    pub fn cut_replies_after(&self, bytes: u64) {
        self.shared.reply_bytes_left.store(bytes, Ordering::SeqCst);
    }

    /// Delays each reply, as a network with a high latency does.
    pub fn delay_replies(&self, delay: Duration) {
        self.shared.delay_ms.store(u64::try_from(delay.as_millis()).unwrap_or(UNLIMITED), Ordering::SeqCst);
    }

    /// Closes every connection and the port. When this method returns, new connections are refused.
    pub async fn refuse(&self) {
        self.shared.mode.send_replace(Mode::Refuse);
        self.cut();
        self.wait_for_listening(false).await;
    }

    /// Removes all faults. When this method returns, the port is open.
    pub async fn resume(&self) {
        self.shared.reply_bytes_left.store(UNLIMITED, Ordering::SeqCst);
        self.shared.delay_ms.store(0, Ordering::SeqCst);
        self.shared.mode.send_replace(Mode::Forward);
        self.wait_for_listening(true).await;
    }

    async fn wait_for_listening(&self, expected: bool) {
        let mut listening = self.shared.listening.subscribe();
        listening.wait_for(|now| *now == expected).await.expect("the proxy owns the sender");
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, addr: SocketAddr, shared: Arc<Shared>) {
    let mut mode = shared.mode.subscribe();
    // When the proxy is dropped, this set is dropped too, which closes all connections.
    let mut connections = JoinSet::new();
    let mut listener = Some(listener);
    loop {
        if *mode.borrow_and_update() == Mode::Refuse {
            listener = None;
            shared.listening.send_replace(false);
            if mode.changed().await.is_err() {
                return;
            }
            continue;
        }
        let open = match listener.take() {
            Some(open) => open,
            None => TcpListener::bind(addr).await.expect("the proxy's port can be reopened"),
        };
        shared.listening.send_replace(true);
        tokio::select! {
            accepted = open.accept() => {
                if let Ok((client, _)) = accepted {
                    shared.accepted.fetch_add(1, Ordering::SeqCst);
                    connections.spawn(serve(client, Arc::clone(&shared)));
                }
            }
            changed = mode.changed() => if changed.is_err() { return },
            Some(_) = connections.join_next() => {}
        }
        listener = Some(open);
    }
}

/// Forwards one connection until one side closes it, a fault breaks it, or `cut` is called.
async fn serve(client: TcpStream, shared: Arc<Shared>) {
    let mut cuts = shared.cuts.subscribe();
    let cuts_at_start = *cuts.borrow_and_update();
    let losses_at_start = shared.losses.load(Ordering::SeqCst);
    let is_lost = || shared.losses.load(Ordering::SeqCst) != losses_at_start;
    let Ok(server) = TcpStream::connect(shared.upstream).await else { return };
    // Nagle's algorithm would delay small replies.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (client_in, client_out) = client.into_split();
    let (server_in, server_out) = server.into_split();
    tokio::select! {
        () = forward(client_in, server_out, &shared, Direction::Requests, &is_lost) => {}
        () = forward(server_in, client_out, &shared, Direction::Replies, &is_lost) => {}
        _ = cuts.wait_for(|now| *now != cuts_at_start) => {}
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Direction {
    Requests,
    Replies,
}

async fn forward(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    shared: &Shared,
    direction: Direction,
    is_lost: &(impl Fn() -> bool + Sync),
) {
    let mut mode = shared.mode.subscribe();
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let Ok(now) = mode.wait_for(|mode| *mode != Mode::Stall).await.map(|mode| *mode) else { return };
        if is_lost() {
            continue;
        }
        if direction == Direction::Requests {
            if to.write_all(&buffer[..count]).await.is_err() {
                return;
            }
            continue;
        }
        if now == Mode::DropReplies {
            continue;
        }
        let delay_ms = shared.delay_ms.load(Ordering::SeqCst);
        if delay_ms > 0 {
            tokio::time::sleep(Duration::from_millis(delay_ms)).await;
        }
        let read = u64::try_from(count).unwrap_or(UNLIMITED);
        let before = shared.reply_bytes_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
            Some(if left == UNLIMITED { left } else { left.saturating_sub(read) })
        });
        let left = before.unwrap_or(UNLIMITED);
        let forwarded = usize::try_from(left.min(read)).unwrap_or(count);
        if to.write_all(&buffer[..forwarded]).await.is_err() || forwarded < count {
            return;
        }
    }
}
