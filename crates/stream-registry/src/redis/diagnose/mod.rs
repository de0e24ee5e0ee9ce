//! The diagnosis of a store: its servers, the rights of the user, the index and the change feed.
//!
//! A diagnosis only reads, and none of its commands blocks Redis for long. Parts that the user may not read are
//! reported as unchecked.

mod ask;
mod clock;
mod cluster;
mod content;
mod feed;
mod index;
mod info;
mod merge;
mod node;
mod replication;
mod report;
mod rights;
mod sentinel;
mod server;
mod speed;

use std::collections::BTreeSet;

use self::index::Budget;
use self::report::Report;
pub use self::report::{Code, Diagnosis, Finding, Severity};
pub use self::rights::Role;
use super::connect::Link;
use super::connect::topology::Topology;
use super::ops::{prune, restore};
use super::shards::{Shard, Shards};
use crate::error::{Error, Result};

/// Options of a diagnosis.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DiagnoseOptions {
    /// The role that the Redis user should have. If the user lacks a right of this role, the diagnosis contains an
    /// error. Default: none, so the diagnosis only names the roles that the user can have.
    pub role: Option<Role>,
    /// Maximum number of keys and index entries that are read. Redis stays responsive in between. If there are more,
    /// the diagnosis says so. Default: 3 000 000, which suffices for a million streams.
    pub max_keys: u64,
}

impl Default for DiagnoseOptions {
    fn default() -> Self {
        Self { role: None, max_keys: 3_000_000 }
    }
}

impl DiagnoseOptions {
    /// Sets the role that the Redis user should have.
    #[must_use]
    pub fn role(mut self, role: Role) -> Self {
        self.role = Some(role);
        self
    }

    /// Sets the maximum number of keys and index entries that are read.
    #[must_use]
    pub fn max_keys(mut self, max_keys: u64) -> Self {
        self.max_keys = max_keys;
        self
    }
}

/// What a repair of the index has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct IndexRepair {
    /// Number of ids without a record that were removed from the index.
    pub removed: u64,
    /// Number of ids that were added to the index because they have a record.
    pub added: u64,
    /// Whether all keys were read. If not, the limit of keys was reached.
    pub is_complete: bool,
    /// Number of shards that were not repaired, because their node did not answer. Always 0 without a cluster.
    pub unavailable_shards: usize,
}

/// A server, with the shards on it.
struct Server<'a> {
    /// Address of a node of a cluster. `None` if there is only one server.
    node: Option<String>,
    /// Link to this server, whichever slots it serves.
    bulk: &'a Link,
    shards: Vec<&'a Shard>,
}

/// Checks the servers and the content of all shards.
pub(super) async fn diagnose(shards: &Shards, options: &DiagnoseOptions) -> Result<Diagnosis> {
    let mut report = Report::default();
    if let Topology::Cluster(cluster) = shards.topology() {
        let nodes = cluster::nodes(cluster, shards).await?;
        if shards.are_assumed() {
            let message =
                format!("the number of shards cannot be read; this diagnosis assumes {}", shards.iter().len());
            let remedy = "start the nodes that are down, and grant +hmget; or add shards=N to the store URL";
            report.finding(Code::Layout, Severity::Unchecked, message, remedy);
        }
        cluster::check(&mut report, shards, &nodes, options).await;
        content::check(&mut report, shards, &cluster::servers(&nodes), options).await?;
    } else {
        for shard in shards.iter() {
            let store = &shard.store;
            let mut connection = store.link.connection().await?;
            report.about(Some(connection.address().to_string()));
            node::check(&mut report, shards.topology(), &store.link, store, &mut connection, None, options).await?;
            report.about(None);
            content::check(&mut report, shards, &single(shard), options).await?;
        }
    }
    Ok(report.finish())
}

/// Returns the only server of a registry that is not in a cluster.
fn single(shard: &Shard) -> [Server<'_>; 1] {
    [Server { node: None, bulk: &shard.store.bulk, shards: vec![shard] }]
}

/// Removes ids without a record from the index, and adds ids whose record is missing from it.
pub(super) async fn repair_index(shards: &Shards, options: &DiagnoseOptions) -> Result<IndexRepair> {
    let mut repair = IndexRepair { is_complete: true, ..IndexRepair::default() };
    if shards.are_assumed() {
        repair.unavailable_shards = shards.iter().len();
        return Ok(repair);
    }
    let mut budget = Budget(options.max_keys);
    if let Topology::Cluster(cluster) = shards.topology() {
        let nodes = cluster::nodes(cluster, shards).await?;
        let servers = cluster::servers(&nodes);
        repair.unavailable_shards = shards.iter().count() - servers.iter().map(|one| one.shards.len()).sum::<usize>();
        for server in &servers {
            repair_server(server, &mut budget, &mut repair).await?;
        }
    } else {
        for shard in shards.iter() {
            repair_server(&single(shard)[0], &mut budget, &mut repair).await?;
        }
    }
    Ok(repair)
}

async fn repair_server(server: &Server<'_>, budget: &mut Budget, repair: &mut IndexRepair) -> Result<()> {
    for shard in &server.shards {
        shard.store.check_writable()?;
    }
    for examined in index::examine(server, budget).await.parts {
        let shard = examined.shard;
        repair.is_complete &= !examined.found.is_incomplete;
        match repair_shard(examined, repair).await {
            // The node has failed since the examination, or the shard is being moved.
            Err(error) if shard.label().is_some() && error.is_retryable() => repair.unavailable_shards += 1,
            done => done.map_err(|error| shard.named(error))?,
        }
    }
    Ok(())
}

async fn repair_shard(examined: index::Examined<'_>, repair: &mut IndexRepair) -> Result<()> {
    let (store, found) = (&examined.shard.store, examined.found);
    examined.index?;
    examined.keys?;
    if let Some(key) = found.nested {
        let key = String::from_utf8_lossy(&key).into_owned();
        return Err(Error::invalid(format!(
            "the prefix of another registry begins with this one (key {key:?}); give one of them another prefix"
        )));
    }
    let list = |ids: BTreeSet<Vec<u8>>| ids.into_iter().collect::<Vec<_>>();
    repair.removed += prune::prune_all(store, &list(found.without_record)).await?;
    repair.added += restore::restore_all(store, &list(found.not_in_index)).await?;
    Ok(())
}
