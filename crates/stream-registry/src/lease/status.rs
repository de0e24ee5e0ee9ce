//! The state of a lease, as its holder sees it.

use crate::stream::{Stream, Timestamp};

/// Whether this process still holds a stream.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> stream_registry::Result<()> {
/// use stream_registry::{Stream, StreamType};
/// use stream_registry::lease::{LeaseEnd, LeaseOptions, LeaseState, Leases};
///
/// let leases = Leases::new(stream_registry::connect("memory:").await?, LeaseOptions::default());
/// let lease = leases.acquire(Stream::new("cam1".parse()?, StreamType::Srt, "203.0.113.7:40112")).await?;
/// assert_eq!(lease.state(), LeaseState::Held);
/// lease.release().await?;
/// assert_eq!(lease.state(), LeaseState::Ended(LeaseEnd::Released));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeaseState {
    /// The process holds the stream: the last successful write is younger than the time to live.
    Held,
    /// The process may have lost the stream: the store has lost the stream or cannot be reached.
    ///
    /// The lease recovers automatically, unless the stream has been unregistered or taken over. Keep serving the
    /// publisher, and wait.
    Recovering {
        /// When the lease was lost, according to this machine's clock.
        since: Timestamp,
    },
    /// The lease has ended permanently. Nothing more is written.
    ///
    /// Stop the session, or acquire the stream again.
    Ended(LeaseEnd),
}

/// Why a lease ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeaseEnd {
    /// The holder released the lease.
    Released,
    /// Another holder has the stream.
    Superseded {
        /// The new holder's node, or its publisher's address if it has no node. `None` if unknown.
        by: Option<String>,
    },
    /// Another client unregistered the stream, e.g. an operator.
    Removed,
    /// The registry was closed.
    Closed,
}

impl LeaseEnd {
    /// Returns `Superseded`, with the holder of this record as the new holder.
    pub(super) fn superseded_by(record: &Stream) -> Self {
        let by = record.node.as_ref().unwrap_or(&record.source_addr);
        Self::Superseded { by: (!by.is_empty()).then(|| by.clone()) }
    }
}
