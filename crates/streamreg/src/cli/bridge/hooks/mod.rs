//! Receives the hooks of media servers.
//!
//! A publish hook is an admission gate: if the receiver is slow or answers with anything but success, the media server
//! disconnects the publisher. So every request gets the same answer, which all servers understand as permission. The
//! answer does not depend on the store, nor on what the request contains.

mod http;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use adapters::servers::Hooks;
use percent_encoding::percent_decode_str;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinSet;
use tokio::time::sleep;

use self::http::Hook;
use super::follow::Follower;
use super::repeats::Repeats;
use crate::cli::failure::{Failure, Result, Status};

/// Maximum number of hooks of a server that wait to be read.
const QUEUE: usize = 1_000;
/// Pause after a connection could not be accepted, e.g. because the process has no free file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Listens on the address.
///
/// # Errors
///
/// Returns a usage error if the address is not loopback. Fails if the address is not available.
pub(super) async fn bind(address: SocketAddr) -> Result<TcpListener> {
    if !address.ip().to_canonical().is_loopback() {
        return Err(Failure::usage(format_args!(
            "--hooks {address}: anyone who reaches this address could register streams; use 127.0.0.1, \
             and run the bridge on the node of the media server"
        )));
    }
    TcpListener::bind(address).await.map_err(|error| {
        Failure::new(
            Status::Failed,
            format_args!("cannot listen on {address}: {error}; choose another address with --hooks"),
        )
    })
}

/// The queues of hooks, by server name.
struct Queues {
    queues: Vec<(String, Sender<Vec<u8>>)>,
    warnings: Repeats,
}

impl Queues {
    fn warn(&self, message: &str) {
        if self.warnings.admit(message) {
            tracing::warn!("{message}");
        }
    }

    fn receive(&self, hook: Option<Hook>) {
        let Some(hook) = hook else {
            return self.warn("ignored a hook that is too large, incomplete or not an HTTP request");
        };
        if hook.is_from_page {
            return self.warn("ignored a hook sent by a web page");
        }
        let name = hook.path.strip_prefix("/hooks/").unwrap_or_default();
        let name = percent_decode_str(name.trim_end_matches('/')).decode_utf8_lossy();
        let Some((_, queue)) = self.queues.iter().find(|(server, _)| *server == name) else {
            return self.warn("ignored a hook of an unknown server; expected the path /hooks/ and the server's name");
        };
        // nginx-rtmp can be configured to send the fields in the query of a GET.
        let body = if hook.body.is_empty() { hook.query.into_bytes() } else { hook.body };
        if queue.try_send(body).is_err() {
            self.warn("ignored a hook because too many are waiting; the next list shows its change");
        }
    }
}

/// Serves hooks forever.
pub(super) async fn serve(listener: TcpListener, followers: Vec<Arc<Follower>>) {
    let mut queues = Queues { queues: Vec::new(), warnings: Repeats::default() };
    for follower in followers {
        let Some(hooks) = follower.server.kind.hooks() else { continue };
        let (sender, bodies) = channel(QUEUE);
        queues.queues.push((follower.server.name.clone(), sender));
        tokio::spawn(read(follower, hooks, bodies));
    }
    let queues = Arc::new(queues);
    let mut connections = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((socket, _)) => {
                // The answers are small and written at once, so Nagle's algorithm would only delay them.
                let _ = socket.set_nodelay(true);
                let queues = Arc::clone(&queues);
                connections.spawn(http::serve(socket, move |hook| queues.receive(hook)));
            }
            Err(error) => {
                if queues.warnings.admit("accept") {
                    tracing::warn!(%error, "cannot accept a hook connection; retrying");
                }
                sleep(ACCEPT_PAUSE).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

/// Reads the hooks of one server, in the order in which they arrived.
async fn read(follower: Arc<Follower>, mut hooks: Box<dyn Hooks>, mut bodies: Receiver<Vec<u8>>) {
    while let Some(body) = bodies.recv().await {
        match hooks.read(&body) {
            Ok(events) if events.is_empty() => {}
            Ok(events) => follower.received(events),
            Err(error) => follower.warn(&format!("ignored a hook: {error}")),
        }
    }
}
