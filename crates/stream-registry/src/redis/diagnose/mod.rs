//! The diagnosis of a store: its servers, the rights of the user, the index and the change feed.
//!
//! A diagnosis only reads, and no command of it holds Redis for long. What the user may not read is reported as not
//! checked.

mod ask;
mod clock;
mod feed;
mod index;
mod info;
mod replication;
mod report;
mod rights;
mod sentinel;
mod server;
mod speed;

use std::collections::BTreeSet;
use std::sync::Arc;

use redis::Value;

use self::ask::ask;
use self::clock::Offset;
use self::index::{Budget, Found};
use self::info::Values;
use self::report::Report;
pub use self::report::{Code, Diagnosis, Finding, Severity};
pub use self::rights::Role;
use super::connect::connection::Connection;
use super::connect::topology::Topology;
use super::ops::{prune, restore};
use super::reply;
use super::servers::Address;
use super::store::Store;
use crate::error::{Error, ErrorKind, Result};

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
}

/// Checks the servers and the content of all stores.
pub(super) async fn diagnose(
    topology: &Topology,
    stores: &[&Arc<Store>],
    options: &DiagnoseOptions,
) -> Result<Diagnosis> {
    let mut report = Report::default();
    let mut servers = BTreeSet::new();
    for store in stores {
        // Several shards of a cluster can be on one server.
        let mut connection = store.link.connection().await?;
        if servers.insert(connection.address().to_string()) {
            report.about(Some(connection.address().to_string()));
            check_server(&mut report, topology, store, &mut connection, options).await?;
        }
    }
    report.about(None);
    check_content(&mut report, stores, options).await?;
    Ok(report.finish())
}

async fn check_server(
    report: &mut Report,
    topology: &Topology,
    store: &Arc<Store>,
    connection: &mut Connection,
    options: &DiagnoseOptions,
) -> Result<()> {
    let hello = ask(connection, &redis::cmd("HELLO")).await?;
    let is_replica = check_hello(report, topology, &hello, options);
    let answer = ask(connection, &redis::cmd("INFO")).await.and_then(Values::from_info);
    let parts = "connections, memory, eviction policy, persistence and replicas";
    let info = report.allowed(Code::Info, parts, "+info", answer)?;
    let answer = ask(connection, &info::settings()).await.map(|answer| Values::from_config(&answer));
    let parts = "snapshots, appendfsync and min-replicas-to-write";
    let settings = report.allowed(Code::Settings, parts, "+config|get", answer)?;
    let clock = report.allowed(Code::LocalClock, "the clocks", "+time", clock::measure(connection).await)?;
    if let Some(offset) = clock {
        clock::local(report, offset);
    }
    let mut replicas = Vec::new();
    if let Some(info) = &info {
        server::connections(report, info);
        server::memory(report, info);
        let found = info.replicas();
        let fails_over = !matches!(topology, Topology::Single(_));
        server::persistence(report, info, settings.as_ref(), fails_over || !found.is_empty());
        server::last_save(report, info, settings.as_ref());
        if is_replica {
            replication::primary_link(report, info);
        } else {
            replication::replicas(report, info, fails_over);
            if let Some(settings) = &settings {
                replication::min_replicas(report, info, settings);
            }
        }
        replicas.extend(found.into_iter().map(|replica| replica.address));
    }
    let are_reachable = check_replicas(report, topology, store, &replicas, clock).await;
    if let Topology::Sentinel(sentinels) = topology {
        sentinel::check(report, sentinels).await?;
        if let Some(tls) = &store.options.tls {
            let mut all = replicas;
            all.push(connection.address().clone());
            sentinel::host_names(report, sentinels, tls, &all, are_reachable).await?;
        }
    }
    rights::check(report, connection, store, options.role).await?;
    speed::latency(report, connection).await?;
    speed::slow_log(report, connection, &store.options.prefix).await
}

/// Reports what the server says in its reply to `HELLO`. Returns whether it is a replica.
fn check_hello(report: &mut Report, topology: &Topology, hello: &Value, options: &DiagnoseOptions) -> bool {
    let field = |name: &str| reply::field(hello, name).unwrap_or_default();
    let name = if field("server") == "valkey" { "Valkey" } else { "Redis" };
    report.ok(Code::Version, format!("{name} {}", field("version")));
    let is_replica = field("role") != "master";
    let kind = match topology {
        Topology::Single(_) => "a single server",
        Topology::Sentinel(_) => "a server under Sentinel",
        Topology::Cluster(_) => "a node of a cluster",
    };
    match (is_replica, options.role) {
        (false, _) => report.ok(Code::Role, format!("{kind}, a primary")),
        (true, Some(Role::Reader)) => report.ok(Code::Role, format!("{kind}, a replica, which readers can use")),
        (true, role) => {
            let severity = if role.is_some() { Severity::Error } else { Severity::Warning };
            let message = format!("{kind}, a replica: every write fails");
            let remedy = "use the address of the primary or of the Sentinels; only readers can use a replica";
            report.finding(Code::Role, severity, message, remedy);
        }
    }
    is_replica
}

/// Checks whether this machine could use each replica after a failover, and compares the clocks. Returns whether all
/// replicas can be used.
async fn check_replicas(
    report: &mut Report,
    topology: &Topology,
    store: &Store,
    replicas: &[Address],
    primary: Option<Offset>,
) -> bool {
    let mut are_reachable = true;
    for address in replicas {
        let opened = store.link.open_at(address).await;
        let measured = match opened {
            Ok(mut connection) => clock::measure(&mut connection).await,
            Err(error) => Err(error),
        };
        match (measured, primary) {
            (Ok(offset), Some(primary)) => clock::replica(report, &address.to_string(), primary, offset),
            // Without the right to use `TIME`, the connection works, but the clocks are not compared.
            (Err(error), None) if error.kind() == ErrorKind::Denied => {}
            (Ok(_), None) => {}
            (Err(error), _) => {
                are_reachable = false;
                let message = format!("cannot use the replica {address}: {}", error.message());
                // A client of a single server never connects to its replicas.
                let severity =
                    if matches!(topology, Topology::Single(_)) { Severity::Unchecked } else { Severity::Error };
                let remedy = "give each server the same users and a certificate for its announced address";
                report.finding(Code::ReplicaAccess, severity, message, remedy);
            }
        }
    }
    if are_reachable && !replicas.is_empty() {
        report.ok(Code::ReplicaAccess, "this machine can connect to all replicas");
    }
    are_reachable
}

/// Checks the index, the keys and the feed of all stores.
async fn check_content(report: &mut Report, stores: &[&Arc<Store>], options: &DiagnoseOptions) -> Result<()> {
    let mut budget = Budget(options.max_keys);
    let mut found = Found::default();
    let (mut has_index, mut has_keys) = (true, true);
    for store in stores {
        let (index, keys) = examine(store, &mut budget, &mut found).await;
        let rights = "+sscan +scard +hmget +mget +type";
        match report.allowed(Code::WithoutRecord, "the index", rights, index) {
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                has_index = false;
                let message = "the index holds a value of another type, so lists fail";
                let remedy = "inspect the key and delete it; each stream's next write restores its entry";
                report.error(Code::WithoutRecord, message, remedy);
            }
            index => has_index &= index?.is_some(),
        }
        if has_index {
            let part = "records that are missing from the index, and keys without a time to live";
            has_keys &= report.allowed(Code::NotInIndex, part, "+scan +pttl +smismember +mget", keys)?.is_some();
        }
        feed::check(report, store).await?;
    }
    if has_index {
        index::judge(report, &found, has_keys);
    }
    if found.is_incomplete {
        let message = format!("only {} keys and index entries were read", options.max_keys);
        report.finding(Code::KeyLimit, Severity::Unchecked, message, "raise the limit with --max-keys");
    }
    Ok(())
}

/// Reads the index and the keys of a store.
async fn examine(store: &Arc<Store>, budget: &mut Budget, found: &mut Found) -> (Result<()>, Result<()>) {
    let mut here = Found::default();
    let index = index::read_index(store, budget, &mut here).await;
    let keys = if index.is_ok() { index::read_keys(store, budget, &mut here).await } else { Ok(()) };
    found.add(here);
    (index, keys)
}

/// Removes ids without a record from the index, and adds ids whose record is missing from it.
pub(super) async fn repair_index(stores: &[&Arc<Store>], options: &DiagnoseOptions) -> Result<IndexRepair> {
    let mut budget = Budget(options.max_keys);
    let mut repair = IndexRepair { is_complete: true, ..IndexRepair::default() };
    for store in stores {
        store.check_writable()?;
        let mut found = Found::default();
        let (index, keys) = examine(store, &mut budget, &mut found).await;
        index?;
        keys?;
        if let Some(key) = found.nested {
            let key = String::from_utf8_lossy(&key).into_owned();
            return Err(Error::invalid(format!(
                "the prefix of another registry begins with this one (key {key:?}); give one of them another prefix"
            )));
        }
        let list = |ids: BTreeSet<Vec<u8>>| ids.into_iter().collect::<Vec<_>>();
        repair.removed += prune::prune_all(store, &list(found.without_record)).await?;
        repair.added += restore::restore_all(store, &list(found.not_in_index)).await?;
        repair.is_complete &= !found.is_incomplete;
    }
    Ok(repair)
}
