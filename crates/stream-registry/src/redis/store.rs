//! State that all operations of a Redis store share.

use std::sync::atomic::{AtomicBool, AtomicU8};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::connect::Link;
use super::connect::Purpose;
use super::connect::topology::Topology;
use super::counters::Counters;
use super::eviction::Eviction;
use super::fault::Effect;
use super::feed::lag::FeedLag;
use super::feed::shared::Slot;
use super::keys::Keys;
use super::layout::Stored;
use super::locks::KeyLocks;
use super::options::{CALL_TIMEOUT, RedisOptions};
use crate::error::{Error, ErrorKind, Result};
use crate::registry::rules;
use crate::registry::ttl::tombstone_ttl;
use crate::registry::{Guard, TtlPolicy};

/// Lower bound of the sweep's margin in milliseconds, if the time to live is at least twice as long.
const MIN_MARGIN_MS: u64 = 6_000;

pub(super) struct Store {
    pub(super) options: RedisOptions,
    pub(super) keys: Keys,
    /// The layout that each shard of a cluster stores. `None` without a cluster.
    pub(super) layout: Option<Stored>,
    /// Connection for calls about single streams.
    pub(super) link: Arc<Link>,
    /// Connection for lists. It is separate, so that small calls do not queue behind large replies.
    pub(super) bulk: Arc<Link>,
    /// The cheapest list strategy that the server has not rejected. The strategies and their numbers are in
    /// `ops/list.rs`.
    pub(super) list_strategy: AtomicU8,
    /// Whether the server has refused to tell its run id. It is not asked again.
    pub(super) hides_run_id: AtomicBool,
    pub(super) locks: KeyLocks,
    pub(super) counters: Counters,
    pub(super) eviction: Eviction,
    /// The feed reader that all watches share.
    pub(super) feed_reader: Slot,
    /// How far the feed reader is behind the feed.
    pub(super) feed_lag: FeedLag,
    /// When this process last finished a sweep. `None` if it does not sweep.
    swept: Mutex<Option<Instant>>,
}

impl Store {
    /// Returns the store of all keys with a prefix. In a cluster, `slot` is the slot of these keys.
    pub(super) fn new(
        options: RedisOptions,
        topology: &Topology,
        prefix: &str,
        slot: u16,
        layout: Option<Stored>,
    ) -> Self {
        let link = |purpose| Arc::new(Link::to_slot(topology, slot, purpose, &options));
        Self {
            keys: Keys::new(prefix),
            layout,
            link: link(Purpose::Calls),
            bulk: link(Purpose::Bulk),
            list_strategy: AtomicU8::new(0),
            hides_run_id: AtomicBool::new(false),
            locks: KeyLocks::default(),
            counters: Counters::default(),
            eviction: Eviction::default(),
            feed_reader: Slot::default(),
            feed_lag: FeedLag::default(),
            swept: Mutex::default(),
            options,
        }
    }

    pub(super) fn ttl_ms(&self) -> u64 {
        millis(self.options.ttl)
    }

    /// Returns the TTL policy as an argument for the scripts.
    pub(super) fn ttl_policy(&self) -> &'static str {
        match self.options.ttl_policy {
            TtlPolicy::Renew => "renew",
            TtlPolicy::NeverShorten => "longer",
        }
    }

    /// Returns the TTL policy for a write with this guard. The holder of a lease owns its stream, so its time to live
    /// always applies.
    pub(super) fn ttl_policy_of(&self, guard: &Guard) -> &'static str {
        if matches!(guard, Guard::Holder(_)) { "renew" } else { self.ttl_policy() }
    }

    pub(super) fn tombstone_ms(&self) -> u64 {
        millis(tombstone_ttl(self.options.ttl))
    }

    /// Returns a threshold in milliseconds. The sweep copies a record when its remaining time to live is at most this
    /// long.
    ///
    /// For a short time to live, the threshold is longer than the interval between sweeps plus the longest gap that
    /// does not count as an outage. So a record is copied before it expires, however late the next sweep is.
    pub(super) fn margin_ms(&self) -> u64 {
        (self.ttl_ms() / 5).max(MIN_MARGIN_MS.min(self.ttl_ms() / 2))
    }

    /// Notes when a sweep ended, or that this process does not sweep.
    pub(super) fn note_sweep(&self, ended: Option<Instant>) {
        *self.swept.lock().unwrap_or_else(PoisonError::into_inner) = ended;
    }

    /// Returns the time since the end of the last sweep. Returns `None` if this process does not sweep.
    pub(super) fn sweep_lag(&self) -> Option<Duration> {
        self.swept.lock().unwrap_or_else(PoisonError::into_inner).map(|swept| swept.elapsed())
    }

    pub(super) fn check_writable(&self) -> Result<()> {
        if self.options.read_only { Err(rules::read_only()) } else { Ok(()) }
    }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Returns the deadline of a call about one stream that begins now.
pub(super) fn call_deadline() -> Instant {
    Instant::now() + CALL_TIMEOUT
}

/// Runs a call of several steps. The whole call times out after `CALL_TIMEOUT`.
pub(super) async fn within<T>(effect: Effect, call: impl Future<Output = Result<T>> + Send) -> Result<T> {
    tokio::time::timeout(CALL_TIMEOUT, call).await.unwrap_or_else(|_| {
        Err(Error::new(ErrorKind::Timeout, "Redis did not answer in time")
            .with_may_have_applied(effect == Effect::Write))
    })
}
