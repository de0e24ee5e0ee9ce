//! Checks of a cluster as a whole: its nodes, its state, and how the shards are spread over the nodes.

use std::net::IpAddr;

use futures_util::future::join_all;
use redis::Value;

use super::ask::ask;
use super::info::Values;
use super::merge::names;
use super::node::{self, is_wrong_name};
use super::report::{Code, Report, is_refused};
use super::{DiagnoseOptions, Server};
use crate::error::{Error, Result};
use crate::redis::connect::cluster::overview::Primary;
use crate::redis::connect::cluster::{Cluster, NodeLink};
use crate::redis::connect::connection::Connection;
use crate::redis::connect::{Link, Purpose};
use crate::redis::reply;
use crate::redis::servers::Address;
use crate::redis::shards::{Shard, Shards};
use crate::tls::options::TlsOptions;

/// Number of slots of every Redis Cluster.
const SLOTS: usize = 16_384;
/// Minimum number of primaries. With fewer primaries, the others have no majority if one fails.
const MIN_PRIMARIES: usize = 3;

/// A primary, with the shards on it.
pub(super) struct Node<'a> {
    primary: Primary,
    calls: NodeLink,
    bulk: NodeLink,
    connection: Result<Connection>,
    shards: Vec<&'a Shard>,
}

/// Returns all primaries, and connects to them.
///
/// # Errors
///
/// Returns the error of a node if no node answers.
pub(super) async fn nodes<'a>(cluster: &Cluster, shards: &'a Shards) -> Result<Vec<Node<'a>>> {
    let nodes = cluster.primaries().await?.into_iter().map(|primary| async {
        let link = |purpose| cluster.node(&primary.address, purpose);
        let (calls, bulk) = (link(Purpose::Calls), link(Purpose::Bulk));
        let connection = responding(&calls).await;
        let on_it = |shard: &&Shard| shard.label().is_some_and(|label| primary.serves(label.slot()));
        let shards = shards.iter().filter(on_it).collect();
        Node { primary, calls, bulk, connection, shards }
    });
    Ok(join_all(nodes).await)
}

/// Connects to a node, and checks that it answers. An earlier connection can lead to a node that hangs.
async fn responding(link: &Link) -> Result<Connection> {
    let mut connection = link.connection().await?;
    match ask(&mut connection, &redis::cmd("PING")).await {
        Err(error) if !error.is_store_reply() && !is_refused(&error) => Err(error),
        _ => Ok(connection),
    }
}

/// Returns the nodes that can be reached.
pub(super) fn servers<'a>(nodes: &'a [Node<'a>]) -> Vec<Server<'a>> {
    let up = nodes.iter().filter(|node| node.connection.is_ok());
    up.map(|node| Server {
        node: Some(node.primary.address.to_string()),
        bulk: &node.bulk,
        shards: node.shards.clone(),
    })
    .collect()
}

/// Checks the cluster and each node that can be reached.
pub(super) async fn check(report: &mut Report, shards: &Shards, nodes: &[Node<'_>], options: &DiagnoseOptions) {
    coverage(report, shards, nodes);
    balance(report, nodes);
    let mut names_match = true;
    let mut preferred = String::new();
    let mut has_asked = false;
    for node in nodes {
        let address = node.primary.address.to_string();
        report.about(Some(address.clone()));
        let checked = match &node.connection {
            Ok(connection) => {
                let mut connection = connection.clone();
                let checked = check_node(report, shards, node, nodes.len(), &mut connection, options).await;
                if !has_asked && let Ok(settings) = &checked {
                    has_asked = true;
                    preferred = settings.preferred.clone();
                    failed_nodes(report, &mut connection).await
                } else {
                    Ok(())
                }
                .and(checked)
            }
            Err(error) => Err(error.clone()),
        };
        match checked {
            Ok(checked) => names_match &= checked.names_match,
            Err(error) => {
                names_match &= !is_wrong_name(&error);
                node_fails(report, node, &error);
            }
        }
    }
    report.about(None);
    let tls = shards.iter().next().and_then(|shard| shard.store.options.tls.as_ref());
    if let Some(tls) = tls {
        let all: Vec<&Address> = nodes
            .iter()
            .flat_map(|node| std::iter::once(&node.primary.address).chain(&node.primary.replicas))
            .collect();
        host_names(report, tls, &all, &preferred, names_match);
    }
}

/// Facts about a node that was checked.
struct Checked {
    names_match: bool,
    /// The setting `cluster-preferred-endpoint-type`, if the user may read it.
    preferred: String,
}

async fn check_node(
    report: &mut Report,
    shards: &Shards,
    node: &Node<'_>,
    primaries: usize,
    connection: &mut Connection,
    options: &DiagnoseOptions,
) -> Result<Checked> {
    let mut command = redis::cmd("CLUSTER");
    command.arg("INFO");
    let answer = ask(connection, &command).await.and_then(Values::from_info);
    if let Some(state) = report.allowed(Code::ClusterState, "the state of the cluster", "+cluster|info", answer)? {
        cluster_state(report, &state);
    }
    let replicas = Some(&*node.primary.replicas);
    // A node without a shard is checked with the keys of another node, which it does not need to have.
    let Some(shard) = node.shards.first().copied().or_else(|| shards.iter().next()) else {
        return Ok(Checked { names_match: true, preferred: String::new() });
    };
    let topology = shards.topology();
    let checked = node::check(report, topology, &node.calls, &shard.store, connection, replicas, options).await?;
    if let Some(settings) = &checked.settings {
        full_coverage(report, settings, primaries);
    }
    let preferred = checked.settings.map(|settings| settings.get("cluster-preferred-endpoint-type").to_owned());
    Ok(Checked { names_match: checked.names_match, preferred: preferred.unwrap_or_default() })
}

fn node_fails(report: &mut Report, node: &Node<'_>, error: &Error) {
    let labels: Vec<_> = node.shards.iter().filter_map(|shard| shard.label()).collect();
    let lost = match (names(&labels), labels.len()) {
        (Some(names), 1) => format!("; {names} is unavailable"),
        (Some(names), _) => format!("; {names} are unavailable"),
        (None, _) => "; it has no shard".to_owned(),
    };
    let cause = error.message().split(';').next().unwrap_or_default();
    let message = format!("the primary cannot be used: {cause}{lost}");
    report.error(Code::Nodes, message, "start the node, or check the network, its users and its certificate");
}

/// Checks whether all slots have a primary, and whether the others can replace one that fails.
fn coverage(report: &mut Report, shards: &Shards, nodes: &[Node<'_>]) {
    let labels = shards.iter().filter_map(Shard::label);
    let uncovered: Vec<_> =
        labels.filter(|label| !nodes.iter().any(|node| node.primary.serves(label.slot()))).collect();
    let covered: usize = nodes.iter().map(|node| node.primary.slot_count()).sum();
    let remedy = "assign the slots with redis-cli --cluster fix";
    if let Some(names) = names(&uncovered) {
        report.error(Code::Nodes, format!("no node has the slots of these shards, so they fail: {names}"), remedy);
    } else if covered < SLOTS {
        let message = format!("{} of {SLOTS} slots have no node; no shard is in them", SLOTS - covered);
        report.warning(Code::Nodes, message, remedy);
    }
    if nodes.len() < MIN_PRIMARIES {
        let message = format!("with {} primaries or fewer, no replica replaces a failed primary", MIN_PRIMARIES - 1);
        report.warning(Code::Nodes, message, "use at least 3 primaries, on different machines");
    }
    if nodes.iter().all(|node| node.connection.is_ok()) {
        report.ok(Code::Nodes, format!("primaries that can be reached: {0} of {0}", nodes.len()));
    }
}

/// Checks how the shards are spread over the primaries.
fn balance(report: &mut Report, nodes: &[Node<'_>]) {
    judge_balance(report, &nodes.iter().map(|node| node.shards.len()).collect::<Vec<_>>());
}

fn judge_balance(report: &mut Report, counts: &[usize]) {
    let (count, most) = (counts.iter().sum::<usize>(), counts.iter().copied().max().unwrap_or(0));
    let listed: Vec<_> = counts.iter().map(ToString::to_string).collect();
    let message = format!("shards on the primaries: {}", listed.join(", "));
    // One more than the equal share is normal while slots are moved.
    if most > count.div_ceil(counts.len().max(1)) + 1 {
        report.warning(Code::Balance, message, "spread the slots equally with redis-cli --cluster rebalance");
    } else {
        report.ok(Code::Balance, message);
    }
}

/// Checks what a node says about the cluster.
fn cluster_state(report: &mut Report, info: &Values) {
    let state = info.get("cluster_state");
    let failing = info.number("cluster_slots_fail") + info.number("cluster_slots_pfail");
    let unassigned = (SLOTS as u64).saturating_sub(info.number("cluster_slots_assigned"));
    let message =
        format!("the node considers the cluster as {state}; slots that are not served: {}", failing + unassigned);
    if state != "ok" {
        report.error(Code::ClusterState, message, "start the nodes that are down; see CLUSTER NODES");
    } else if failing + unassigned > 0 {
        report.warning(Code::ClusterState, message, "start the nodes that are down; see CLUSTER NODES");
    } else {
        report.ok(Code::ClusterState, message);
    }
}

/// Checks whether the cluster serves the rest of the slots while some are not served.
fn full_coverage(report: &mut Report, settings: &Values, primaries: usize) {
    match settings.get("cluster-require-full-coverage") {
        "yes" if primaries > 1 => {
            let message = "cluster-require-full-coverage is yes, so all shards fail while one primary is down";
            report.warning(Code::FullCoverage, message, "set cluster-require-full-coverage no on every node");
        }
        "" | "yes" => {}
        _ => report.ok(Code::FullCoverage, "cluster-require-full-coverage is no"),
    }
}

/// Checks whether the cluster considers nodes as failed, e.g. a replica.
async fn failed_nodes(report: &mut Report, connection: &mut Connection) -> Result<()> {
    let mut command = redis::cmd("CLUSTER");
    command.arg("NODES");
    let answer = ask(connection, &command).await.and_then(text);
    let part = "whether the cluster considers nodes as failed";
    if let Some(list) = report.allowed(Code::Nodes, part, "+cluster|nodes", answer)? {
        judge_nodes(report, &list);
    }
    Ok(())
}

fn text(answer: Value) -> Result<String> {
    match answer {
        Value::VerbatimString { text, .. } => Ok(text),
        other => Ok(String::from_utf8_lossy(&reply::bytes(other)?).into_owned()),
    }
}

/// Judges the reply to `CLUSTER NODES`. Its lines are `<id> <address> <flags> <primary> <ping> <pong> <epoch> <link>
/// <slots>…`.
fn judge_nodes(report: &mut Report, list: &str) {
    let mut failed = Vec::new();
    for line in list.lines() {
        let fields: Vec<_> = line.split_whitespace().collect();
        let (Some(address), Some(flags)) = (fields.get(1), fields.get(2)) else { continue };
        let state = flags.split(',').find(|flag| matches!(*flag, "fail" | "fail?" | "noaddr" | "handshake"));
        if let Some(state) = state {
            failed.push(format!("{} ({state})", address.split('@').next().unwrap_or_default()));
        }
    }
    if !failed.is_empty() {
        let message = format!("the cluster considers these nodes as failed: {}", failed.join(", "));
        report.warning(Code::Nodes, message, "start them; remove what is gone with redis-cli --cluster del-node");
    }
}

/// Checks whether the certificates contain the addresses that the nodes announce. `names_match` says whether no
/// connection failed because of another name.
fn host_names(report: &mut Report, tls: &TlsOptions, servers: &[&Address], preferred: &str, names_match: bool) {
    const REMEDY: &str = "on each node, set cluster-announce-hostname to the name in its certificate, and \
                          cluster-preferred-endpoint-type hostname; or add server_name to the store URL";
    let is_ip = |address: &Address| matches!(address, Address::Tcp(host, _) if host.parse::<IpAddr>().is_ok());
    if tls.insecure || tls.server_name.is_some() {
        let message = "the store URL says which certificate to accept, so announced addresses do not matter";
        report.ok(Code::HostNames, message);
    } else if !names_match {
        let setting = if preferred.is_empty() { "unknown" } else { preferred };
        let message = format!(
            "not all certificates contain the addresses that the nodes announce; cluster-preferred-endpoint-type is \
             {setting}"
        );
        report.error(Code::HostNames, message, REMEDY);
    } else if servers.iter().any(|address| is_ip(address)) {
        report.ok(Code::HostNames, "nodes are announced by IP address, and their certificates contain it");
    } else {
        report.ok(Code::HostNames, "all nodes are announced by host name");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redis::diagnose::report::{Finding, Severity};

    fn findings(check: impl Fn(&mut Report)) -> Vec<Finding> {
        let mut report = Report::default();
        check(&mut report);
        report.into_findings()
    }

    #[test]
    fn shards_may_be_spread_as_equal_ranges_of_slots_are() {
        for (counts, severity) in [
            (&[16][..], Severity::Ok),
            (&[6, 5, 5], Severity::Ok),
            (&[7, 5, 4], Severity::Ok),
            (&[8, 4, 4], Severity::Warning),
            (&[0, 1, 0], Severity::Ok),
            (&[16, 0], Severity::Warning),
        ] {
            assert_eq!(findings(|report| judge_balance(report, counts))[0].severity, severity, "{counts:?}");
        }
    }

    #[test]
    fn state_of_the_cluster_is_reported_if_slots_are_not_served() {
        for (state, assigned, failing, severity) in [
            ("ok", "16384", "0", Severity::Ok),
            ("ok", "16384", "9", Severity::Warning),
            ("ok", "16000", "0", Severity::Warning),
            ("fail", "16384", "0", Severity::Error),
        ] {
            let info = Values::of(&[
                ("cluster_state", state),
                ("cluster_slots_assigned", assigned),
                ("cluster_slots_pfail", failing),
            ]);
            assert_eq!(findings(|report| cluster_state(report, &info))[0].severity, severity, "{state} {assigned}");
        }
    }

    #[test]
    fn nodes_that_the_cluster_considers_as_failed_are_named() {
        let list = "a 10.0.0.5:6379@16379,redis-1 myself,master - 0 0 1 connected 0-16383\n\
                    b 10.0.0.6:6379@16379 slave,fail a 1 2 3 disconnected\n\
                    c :0@0 slave,fail?,noaddr a 1 2 3 disconnected\n";
        let found = findings(|report| judge_nodes(report, list));
        assert!(found[0].message.ends_with("as failed: 10.0.0.6:6379 (fail), :0 (fail?)"), "{found:?}");
        assert!(findings(|report| judge_nodes(report, list.lines().next().unwrap())).is_empty());
    }
}
