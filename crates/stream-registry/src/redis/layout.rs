//! The layout of a registry in a Redis Cluster, as it is stored.

/// The number of shards, and the function that assigns streams to them. The values can be any strings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) shards: String,
    /// The name of the function that assigns stream ids to shards.
    pub(super) function: String,
}
