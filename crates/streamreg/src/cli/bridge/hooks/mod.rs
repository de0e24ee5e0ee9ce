//! Receives the hooks of media servers.
//!
//! A publish hook is an admission gate: if the receiver is slow or answers with anything but success, the media server
//! disconnects the publisher. So every request gets the same answer, which all servers understand as permission,
//! whatever the request contains and whether or not the store can be reached.
//!
//! The only exception is `--duplicates refuse`: if a hook asks whether a publisher may start, and the store answers in
//! time that another node has the stream, the publisher is refused (`gate`).

mod gate;
mod http;

pub(super) use self::gate::Gate;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use adapters::servers::Hooks;
use percent_encoding::percent_decode_str;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinSet;
use tokio::time::sleep;

use self::http::{Hook, Verdict};
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

/// The queues of hooks, by server.
struct Queues {
    queues: Vec<(Arc<Follower>, Sender<Vec<u8>>)>,
    /// `None` if every publisher is allowed.
    gate: Option<Gate>,
    warnings: Repeats,
}

impl Queues {
    fn warn(&self, message: &str) {
        if self.warnings.admit(message) {
            tracing::warn!("{message}");
        }
    }

    async fn receive(&self, hook: Option<Hook>) -> Verdict {
        let Some(hook) = hook else {
            self.warn("ignored a hook that is too large, incomplete or not an HTTP request");
            return Verdict::Allow;
        };
        if hook.is_from_page {
            self.warn("ignored a hook sent by a web page");
            return Verdict::Allow;
        }
        let name = hook.path.strip_prefix("/hooks/").unwrap_or_default();
        let name = percent_decode_str(name.trim_end_matches('/')).decode_utf8_lossy();
        let Some((follower, queue)) = self.queues.iter().find(|(follower, _)| follower.server.name == name) else {
            self.warn("ignored a hook of an unknown server; expected the path /hooks/ and the server's name");
            return Verdict::Allow;
        };
        // nginx-rtmp can be configured to send the fields in the query of a GET.
        let body = if hook.body.is_empty() { hook.query.into_bytes() } else { hook.body };
        if let (Some(gate), Some(refusal)) = (&self.gate, follower.server.kind.refusal())
            && gate.refuses(&follower.server, &body).await
        {
            // The hook is not queued, because the media server reports no end of a publisher that was refused.
            return Verdict::Refuse(refusal);
        }
        if queue.try_send(body).is_err() {
            self.warn("ignored a hook because too many are waiting; the next list shows its change");
        }
        Verdict::Allow
    }
}

/// Serves hooks forever. Without a gate, allows every publisher.
pub(super) async fn serve(listener: TcpListener, followers: Vec<Arc<Follower>>, gate: Option<Gate>) {
    let mut queues = Queues { queues: Vec::new(), gate, warnings: Repeats::default() };
    for follower in followers {
        let Some(hooks) = follower.server.kind.hooks() else { continue };
        let (sender, bodies) = channel(QUEUE);
        queues.queues.push((Arc::clone(&follower), sender));
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
                connections.spawn(http::serve(socket, async move |hook| queues.receive(hook).await));
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
