//! Migration of slots.

use super::{ClusterSet, order};
use crate::redis::{ADMIN, ADMIN_PASSWORD};

impl ClusterSet {
    /// Moves a slot with all its keys to another primary. Clients may use the keys in the meantime.
    ///
    /// # Panics
    ///
    /// Panics if a node refuses a step, e.g. because `from` does not own the slot.
    pub async fn migrate_slot(&self, slot: u16, from: usize, to: usize) {
        self.begin_migration(slot, from, to).await;
        while self.move_keys(slot, from, to, 100).await > 0 {}
        self.end_migration(slot, from, to).await;
    }

    /// Begins to move a slot to another primary, and moves no key yet.
    ///
    /// Until [`end_migration`](Self::end_migration), the node `from` answers `ASK` if it has none of a command's keys,
    /// and `TRYAGAIN` if it has only some of them.
    ///
    /// # Panics
    ///
    /// Panics if a node refuses a step, e.g. because `from` does not own the slot.
    pub async fn begin_migration(&self, slot: u16, from: usize, to: usize) {
        let slot = slot.to_string();
        order(&self.nodes[to], &["CLUSTER", "SETSLOT", &slot, "IMPORTING", &self.ids[from]]).await;
        order(&self.nodes[from], &["CLUSTER", "SETSLOT", &slot, "MIGRATING", &self.ids[to]]).await;
    }

    /// Moves at most `limit` keys of a slot that is being migrated. Returns the number of keys; 0 if none is left.
    ///
    /// # Panics
    ///
    /// Panics if the keys cannot be moved.
    pub async fn move_keys(&self, slot: u16, from: usize, to: usize, limit: usize) -> usize {
        let listed = ["CLUSTER", "GETKEYSINSLOT", &slot.to_string(), &limit.to_string()];
        let output = self.nodes[from].cli(&listed).await;
        let keys: Vec<&str> = output.lines().filter(|key| !key.is_empty()).collect();
        if keys.is_empty() {
            return 0;
        }
        let (ip, port) = (self.nodes[to].addr().ip().to_string(), self.nodes[to].addr().port().to_string());
        let command = ["MIGRATE", &ip, &port, "", "0", "5000", "AUTH2", ADMIN, ADMIN_PASSWORD, "KEYS"];
        let reply = self.nodes[from].cli(&[&command, keys.as_slice()].concat()).await;
        // `NOKEY` means that all these keys were deleted after they were listed.
        assert!(reply == "OK" || reply == "NOKEY", "cannot move the keys: {reply}");
        keys.len()
    }

    /// Makes the node `to` the owner of a slot whose keys were moved, and tells all primaries.
    ///
    /// # Panics
    ///
    /// Panics if `from` still has keys of the slot.
    pub async fn end_migration(&self, slot: u16, from: usize, to: usize) {
        let slot = slot.to_string();
        let command = ["CLUSTER", "SETSLOT", &slot, "NODE", &self.ids[to]];
        // The new owner is first, so that a client that is redirected to it finds it ready.
        for node in [to, from] {
            order(&self.nodes[node], &command).await;
        }
        for node in 0..self.nodes.len() {
            if ![to, from].contains(&node) && self.has_role(node, "master").await {
                order(&self.nodes[node], &command).await;
            }
        }
    }
}
