//! The topology of a store: which server to use for a shard.

use std::fmt;
use std::sync::Arc;

use super::Purpose;
use super::cluster::{Cluster, SlotRoute};
use super::connection::Connection;
use super::endpoint::{Access, Endpoint};
use super::sentinel::Sentinels;
use super::session::{self, Expected};
use crate::error::Result;
use crate::redis::options::RedisOptions;
use crate::redis::servers::{Address, Servers};

/// The servers of a store.
pub(in crate::redis) enum Topology {
    Single(Endpoint),
    Sentinel(Arc<Sentinels>),
    Cluster(Arc<Cluster>),
}

impl Topology {
    /// With Sentinel, also starts a task. So this function must run inside a runtime.
    pub(in crate::redis) fn new(options: &RedisOptions) -> Self {
        match &options.servers {
            Servers::Single(address) => {
                let access = Arc::new(Access::new(options));
                Self::Single(Endpoint { address: address.clone(), access })
            }
            Servers::Sentinel(sentinel) => Self::Sentinel(Sentinels::new(options, sentinel)),
            Servers::Cluster(cluster) => Self::Cluster(Arc::new(Cluster::new(options, cluster))),
        }
    }

    /// Returns the route to the server of a slot. Without a cluster, one server has all slots.
    pub(super) fn route(&self, slot: u16, purpose: Purpose) -> Route {
        match self {
            Self::Single(endpoint) => Route::Standalone(endpoint.clone()),
            Self::Sentinel(sentinels) => Route::Primary(Arc::clone(sentinels)),
            Self::Cluster(cluster) => Route::Slot(SlotRoute::new(cluster, slot, purpose)),
        }
    }

    pub(in crate::redis) fn close(&self) {
        match self {
            Self::Single(_) => {}
            Self::Sentinel(sentinels) => sentinels.close(),
            Self::Cluster(cluster) => cluster.close(),
        }
    }
}

/// How a link finds its server. The link resolves its route again whenever it reconnects.
pub(super) enum Route {
    /// One server at a fixed address.
    Standalone(Endpoint),
    /// The primary that Sentinels name.
    Primary(Arc<Sentinels>),
    /// One node of a cluster, whichever slots it serves.
    ClusterNode(Endpoint),
    /// The node that serves a slot of a cluster. The link uses the connection of the node's own link.
    Slot(SlotRoute),
}

impl Route {
    /// Finds the server and connects to it. Sets no timeout.
    pub(super) async fn open(&self) -> Result<Connection> {
        match self {
            Self::Standalone(endpoint) => session::open(endpoint, Expected::Standalone).await,
            Self::Primary(sentinels) => sentinels.open().await,
            Self::ClusterNode(endpoint) => session::open(endpoint, Expected::ClusterNode).await,
            Self::Slot(slot) => {
                let node = slot.node().await?;
                // The node's link has another route, so the recursion ends there.
                node.boxed_connection().await
            }
        }
    }

    /// Like [`open`](Self::open), but never returns a connection that others use.
    pub(super) async fn open_separate(&self) -> Result<Connection> {
        match self {
            Self::Slot(slot) => session::open(&slot.endpoint().await?, Expected::ClusterNode).await,
            _ => self.open().await,
        }
    }

    /// Connects to another server of the store, with the settings of an open connection. Sets no timeout.
    pub(super) async fn open_at(&self, known: &Connection, address: &Address) -> Result<Connection> {
        let expected = match self {
            Self::Standalone(_) | Self::Primary(_) => Expected::Standalone,
            Self::ClusterNode(_) | Self::Slot(_) => Expected::ClusterNode,
        };
        session::open(&Endpoint { address: address.clone(), ..known.endpoint.clone() }, expected).await
    }

    /// Returns whether the link logs when it cannot connect. The links of nodes log for the shards.
    pub(super) fn logs(&self) -> bool {
        !matches!(self, Self::Slot(_))
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Standalone(endpoint) | Self::ClusterNode(endpoint) => endpoint.address.fmt(f),
            Self::Primary(sentinels) => write!(f, "the primary of {:?}", sentinels.service()),
            Self::Slot(slot) => f.write_str(&slot.describe()),
        }
    }
}
