//! The primaries of a cluster, for a diagnosis.

use std::ops::RangeInclusive;

use super::{Cluster, NodeLink};
use crate::error::Result;
use crate::redis::connect::Purpose;
use crate::redis::servers::Address;

/// A primary, with its replicas and the slots that it serves.
#[derive(Debug)]
pub(in crate::redis) struct Primary {
    pub(in crate::redis) address: Address,
    /// The replicas that the cluster does not consider as failed.
    pub(in crate::redis) replicas: Vec<Address>,
    slots: Vec<RangeInclusive<u16>>,
}

impl Primary {
    /// Returns whether the primary serves a slot.
    pub(in crate::redis) fn serves(&self, slot: u16) -> bool {
        self.slots.iter().any(|range| range.contains(&slot))
    }

    /// Returns the number of slots.
    pub(in crate::redis) fn slot_count(&self) -> usize {
        self.slots.iter().map(ExactSizeIterator::len).sum()
    }
}

impl Cluster {
    /// Reads the map of slots again, and returns all primaries that serve slots.
    ///
    /// # Errors
    ///
    /// Returns the error of a node if no node answers.
    pub(in crate::redis) async fn primaries(&self) -> Result<Vec<Primary>> {
        let _reading = self.reading.lock().await;
        self.read_map().await?;
        let mut primaries: Vec<Primary> = Vec::new();
        for range in &self.map().ranges {
            if let Some(known) = primaries.iter_mut().find(|known| known.address == range.primary) {
                known.slots.push(range.slots.clone());
            } else {
                let (address, replicas) = (range.primary.clone(), range.replicas.clone());
                primaries.push(Primary { address, replicas, slots: vec![range.slots.clone()] });
            }
        }
        Ok(primaries)
    }

    /// Returns a link to one node, whichever slots it serves.
    pub(in crate::redis) fn node(&self, address: &Address, purpose: Purpose) -> NodeLink {
        self.link(address.clone(), purpose)
    }
}
