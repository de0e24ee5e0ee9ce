//! The cluster as one of its nodes sees it.

use super::RedisServer;

/// A node, as another node or the node itself describes it.
pub(super) struct Entry {
    pub(super) id: String,
    flags: Vec<String>,
    connected: bool,
    /// The first and the last slot of each range.
    slots: Vec<(u16, u16)>,
}

impl Entry {
    pub(super) fn is_working(&self) -> bool {
        self.connected && self.flags.iter().all(|flag| ["myself", "master", "slave"].contains(&flag.as_str()))
    }

    pub(super) fn owns(&self, slot: u16) -> bool {
        self.slots.iter().any(|&(first, last)| (first..=last).contains(&slot))
    }
}

/// Returns the entries of `CLUSTER NODES`; no entries if the node does not reply.
pub(super) async fn of(node: &RedisServer) -> Vec<Entry> {
    node.ask(&["CLUSTER", "NODES"]).await.lines().filter_map(parse).collect()
}

/// Returns the number of replicas.
pub(super) fn replicas(view: &[Entry]) -> usize {
    view.iter().filter(|entry| entry.flags.iter().any(|flag| flag == "slave")).count()
}

/// Parses `<id> <address> <flags> <primary> <ping> <pong> <epoch> <link> <slots>…`.
///
/// The address is not used, because it has no port if the client uses no TLS but the cluster does.
fn parse(line: &str) -> Option<Entry> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let flags = fields.get(2)?.split(',').map(str::to_owned).collect();
    let slots = fields.get(8..).unwrap_or_default().iter().filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        // A slot that is being migrated is in brackets, and is listed without brackets, too, by its owner.
        Some((first.parse().ok()?, last.parse().ok()?))
    });
    Some(Entry { id: fields[0].to_owned(), flags, connected: *fields.get(7)? == "connected", slots: slots.collect() })
}
