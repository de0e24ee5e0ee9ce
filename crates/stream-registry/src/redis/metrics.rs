//! The figures of a Redis store.

use std::collections::BTreeMap;

use super::shards::Shards;
use crate::registry::metrics::{FeedMetrics, NodeMetrics, StoreMetrics};

pub(super) fn read(shards: &Shards) -> StoreMetrics {
    let mut nodes = BTreeMap::new();
    let mut metrics = StoreMetrics::default();
    for (number, shard) in shards.iter().enumerate() {
        let store = &shard.store;
        // A node of a cluster can have several shards.
        *nodes.entry(store.link.server()).or_insert(true) &= store.link.is_up();
        metrics.reconnects += store.link.reconnects() + store.bulk.reconnects();
        if store.feed_reader.is_running()
            && let Some(lag) = store.feed_lag.get()
        {
            metrics.feeds.push(FeedMetrics { shard: number, lag });
        }
        metrics.sweep_lag = metrics.sweep_lag.max(store.sweep_lag());
    }
    metrics.nodes = nodes.into_iter().map(|(node, up)| NodeMetrics { node, up }).collect();
    let counters = shards.counters();
    (metrics.skipped_records, metrics.pruned) = (counters.unreadable, counters.pruned);
    metrics.prune_failures = counters.prune_failures;
    metrics
}
