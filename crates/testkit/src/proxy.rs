//! A network that fails on demand.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

const UNLIMITED: u64 = u64::MAX;

/// A TCP proxy between a client and a server on this machine.
///
/// ```no_run
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let redis = testkit::RedisServer::start().await;
/// let proxy = testkit::FaultProxy::start(redis.addr()).await;
/// let url = format!("redis://{}", proxy.addr());
/// proxy.stall();  // nothing gets through, connections stay open
/// proxy.resume().await;
/// proxy.cut();    // every connection breaks; new ones are good
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
    /// Connections of an older generation are closed.
    generation: watch::Sender<u64>,
    /// Whether the port is open; follows `mode`.
    listening: watch::Sender<bool>,
    /// Bytes of answers that still get through before connections break.
    answers_left: AtomicU64,
    /// What each answer waits for, in ms.
    delay: AtomicU64,
    accepted: AtomicU64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Pass,
    Stall,
    Swallow,
    Refuse,
}

impl FaultProxy {
    /// Opens a loopback port whose connections go to `upstream`.
    ///
    /// # Panics
    ///
    /// When no port can be opened.
    pub async fn start(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a loopback port can be opened");
        let addr = listener.local_addr().expect("a listener has an address");
        let shared = Arc::new(Shared {
            upstream,
            mode: watch::Sender::new(Mode::Pass),
            generation: watch::Sender::new(0),
            listening: watch::Sender::new(true),
            answers_left: AtomicU64::new(UNLIMITED),
            delay: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
        });
        let accepting = tokio::spawn(accept(listener, addr, Arc::clone(&shared)));
        Self { addr, shared, accepting }
    }

    /// Returns the address for clients.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Returns how many connections were accepted so far.
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// Breaks every connection; new ones are good.
    pub fn cut(&self) {
        self.shared.generation.send_modify(|generation| *generation += 1);
    }

    /// Lets nothing through in either direction; connections stay open, new ones are accepted.
    pub fn stall(&self) {
        self.shared.mode.send_replace(Mode::Stall);
    }

    /// Lets requests through and throws answers away: what is asked is done, and nobody learns of it.
    pub fn swallow_answers(&self) {
        self.shared.mode.send_replace(Mode::Swallow);
    }

    /// Breaks a connection when an answer would exceed `bytes` more bytes, all connections counted together;
    /// 0 breaks it after its next request was passed on and answered.
    pub fn cut_answers_after(&self, bytes: u64) {
        self.shared.answers_left.store(bytes, Ordering::SeqCst);
    }

    /// Lets each answer wait this long, as on a long way.
    pub fn slow(&self, delay: Duration) {
        self.shared.delay.store(u64::try_from(delay.as_millis()).unwrap_or(UNLIMITED), Ordering::SeqCst);
    }

    /// Breaks every connection and closes the port: new connections are refused, from the return on.
    pub async fn refuse(&self) {
        self.shared.mode.send_replace(Mode::Refuse);
        self.cut();
        self.until_listening(false).await;
    }

    /// Ends every fault; the port is open from the return on.
    pub async fn resume(&self) {
        self.shared.answers_left.store(UNLIMITED, Ordering::SeqCst);
        self.shared.delay.store(0, Ordering::SeqCst);
        self.shared.mode.send_replace(Mode::Pass);
        self.until_listening(true).await;
    }

    async fn until_listening(&self, goal: bool) {
        let mut listening = self.shared.listening.subscribe();
        listening.wait_for(|now| *now == goal).await.expect("the proxy holds the sender");
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, addr: SocketAddr, shared: Arc<Shared>) {
    let mut mode = shared.mode.subscribe();
    // Ends its connections with the proxy.
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
            None => TcpListener::bind(addr).await.expect("the proxy's port can be opened again"),
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

/// Carries one connection until a side closes it, a fault breaks it, or a cut reaches it.
async fn serve(client: TcpStream, shared: Arc<Shared>) {
    let mut generation = shared.generation.subscribe();
    let born = *generation.borrow_and_update();
    let Ok(server) = TcpStream::connect(shared.upstream).await else { return };
    // Small answers are not to wait for company.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (client_in, client_out) = client.into_split();
    let (server_in, server_out) = server.into_split();
    tokio::select! {
        () = carry(client_in, server_out, &shared, Direction::Requests) => {}
        () = carry(server_in, client_out, &shared, Direction::Answers) => {}
        _ = generation.wait_for(|now| *now != born) => {}
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Direction {
    Requests,
    Answers,
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, shared: &Shared, direction: Direction) {
    let mut mode = shared.mode.subscribe();
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let Ok(now) = mode.wait_for(|mode| *mode != Mode::Stall).await.map(|mode| *mode) else { return };
        if direction == Direction::Requests {
            if to.write_all(&buffer[..count]).await.is_err() {
                return;
            }
            continue;
        }
        if now == Mode::Swallow {
            continue;
        }
        let delay = shared.delay.load(Ordering::SeqCst);
        if delay > 0 {
            tokio::time::sleep(Duration::from_millis(delay)).await;
        }
        let wanted = u64::try_from(count).unwrap_or(UNLIMITED);
        let spent = shared.answers_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
            Some(if left == UNLIMITED { left } else { left.saturating_sub(wanted) })
        });
        let left = spent.unwrap_or(UNLIMITED);
        let through = usize::try_from(left.min(wanted)).unwrap_or(count);
        if to.write_all(&buffer[..through]).await.is_err() || through < count {
            return;
        }
    }
}
