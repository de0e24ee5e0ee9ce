//! Checks of one server and its replicas.

use redis::Value;

use super::ask::ask;
use super::clock::{self, Offset};
use super::info::{self, Values};
use super::report::{Code, Report, Severity};
use super::rights::Role;
use super::{DiagnoseOptions, replication, rights, sentinel, server, speed};
use crate::error::{Error, ErrorKind, Result};
use crate::redis::connect::Link;
use crate::redis::connect::connection::Connection;
use crate::redis::connect::topology::Topology;
use crate::redis::reply;
use crate::redis::servers::Address;
use crate::redis::store::Store;

/// Checks a server. `link` leads to this server, and `store` is on it, if it has one. In a cluster, `replicas` are the
/// announced addresses of its replicas.
pub(super) async fn check(
    report: &mut Report,
    topology: &Topology,
    link: &Link,
    store: &Store,
    connection: &mut Connection,
    replicas: Option<&[Address]>,
    options: &DiagnoseOptions,
) -> Result<Checked> {
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
    let mut connected = Vec::new();
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
        connected.extend(found.into_iter().map(|replica| replica.address));
    }
    let replicas = replicas.unwrap_or(&connected);
    let names_match = check_replicas(report, topology, link, replicas, clock).await;
    if let Topology::Sentinel(sentinels) = topology {
        sentinel::check(report, sentinels).await?;
        if let Some(tls) = &store.options.tls {
            let all = [replicas, std::slice::from_ref(connection.address())].concat();
            sentinel::host_names(report, sentinels, tls, &all, names_match).await?;
        }
    }
    rights::check(report, connection, store, topology, options.role).await?;
    speed::latency(report, connection).await?;
    speed::slow_log(report, connection, &store.options.prefix).await?;
    Ok(Checked { settings, names_match })
}

/// What the checks of a cluster as a whole need from the check of a node.
pub(super) struct Checked {
    /// `None` if the user may not read them.
    pub(super) settings: Option<Values>,
    /// Whether the certificates of all replicas contain their announced addresses.
    pub(super) names_match: bool,
}

/// Returns whether a certificate is for other names than the address of its server.
pub(super) fn is_wrong_name(error: &Error) -> bool {
    error.kind() == ErrorKind::Unauthenticated && error.message().contains("server_name=")
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

/// Checks whether this machine could use each replica after a failover, and compares the clocks. Returns whether the
/// certificates of all replicas contain their announced addresses.
async fn check_replicas(
    report: &mut Report,
    topology: &Topology,
    link: &Link,
    replicas: &[Address],
    primary: Option<Offset>,
) -> bool {
    let mut are_reachable = true;
    let mut names_match = true;
    for address in replicas {
        let opened = link.open_at(address).await;
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
                names_match &= !is_wrong_name(&error);
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
    names_match
}
