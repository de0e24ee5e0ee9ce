//! A registry in a Redis Cluster.

pub(crate) mod layout;
