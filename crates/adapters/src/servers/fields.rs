//! The parts that several servers have in common.

use std::time::Duration;

use stream_registry::StreamType;

use crate::model::{Counters, Gauges, Item, ItemState, Media, Name};
use crate::reconcile::{Duplicates, Profile};

/// A time limit that no stream reaches: 136 years.
pub(crate) const NEVER: Duration = Duration::from_secs(u32::MAX as u64);

/// How most servers behave.
pub(super) const PROFILE: Profile = Profile {
    duplicates: Duplicates::KeepFirst,
    stall_after: Duration::from_secs(10),
    rate_window: Duration::from_secs(2),
    forget_after: Duration::from_secs(300),
};

/// Creates an active item whose other values are unknown.
pub(crate) fn item(name: Name, session: String, kind: StreamType) -> Item {
    Item {
        name,
        session,
        kind,
        source_addr: String::new(),
        state: ItemState::Active,
        media: Media::default(),
        counters: Counters::default(),
        gauges: Gauges::default(),
        labels: Default::default(),
    }
}

/// Joins an address and a port; an IPv6 address gets brackets.
pub(super) fn socket_addr(address: &str, port: Option<u64>) -> String {
    match port {
        Some(port) if address.contains(':') => format!("[{address}]:{port}"),
        Some(port) if !address.is_empty() => format!("{address}:{port}"),
        _ => address.to_owned(),
    }
}
