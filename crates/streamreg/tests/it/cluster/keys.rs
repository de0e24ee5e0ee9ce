//! The keys of a registry in a cluster: their slots, and the permissions that cover them.

use std::collections::{BTreeMap, BTreeSet};

use stream_registry::lease::{LeaseOptions, Leases};
use stream_registry::stream::OperationId;
use stream_registry::watch::WatchFrom;
use stream_registry::{RegisterOptions, Registry as _, StreamStatus, UnregisterOptions};
use testkit::ClusterSet;

use super::layout::{TAGS, prefix_of, shard_of};
use super::{PREFIX, connect, connect_to, id, register_all, stream, three_primaries};

/// Returns all keys of all nodes.
async fn all_keys(cluster: &ClusterSet) -> Vec<String> {
    let outputs = cluster.cli_all(&["KEYS", "*"]).await;
    outputs.iter().flat_map(|keys| keys.lines()).filter(|key| !key.is_empty()).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_a_stream_have_the_prefix_and_the_tag_of_its_shard() {
    let cluster = three_primaries().await;
    let registry = connect(&cluster).await;
    let names: Vec<_> = (0..64).map(|n| format!("cam{n}")).collect();
    register_all(&registry, names.clone()).await;
    for name in &names[..16] {
        let operation = OperationId::generate();
        let options = RegisterOptions::default().operation(operation).lease();
        registry.register_with(&stream(&format!("leased {name}")), &options).await.unwrap();
        let options = UnregisterOptions::default().operation(OperationId::generate());
        registry.unregister_with(&id(name), &options).await.unwrap();
    }
    let keys = all_keys(&cluster).await;
    let prefixes: BTreeMap<String, usize> = (0..16).map(|shard| (prefix_of(PREFIX, shard), shard)).collect();
    let mut shards = BTreeSet::new();
    for key in &keys {
        let (prefix, rest) = key.split_at(key.find("}:").unwrap_or_else(|| panic!("{key:?} has no tag")) + 2);
        let shard = *prefixes.get(prefix).unwrap_or_else(|| panic!("{key:?} has an unknown prefix"));
        shards.insert(shard);
        // The id of the stream is the whole rest of a record's key, and the end of some auxiliary keys.
        let of_stream = match rest.strip_prefix('\u{1f}') {
            None => Some(rest).filter(|rest| *rest != "active"),
            Some(auxiliary) => auxiliary.split_once(':').filter(|(kind, _)| *kind != "op").map(|(_, id)| id),
        };
        if let Some(id) = of_stream {
            assert_eq!(shard_of(id), shard, "{key:?}");
        }
    }
    assert_eq!(shards.len(), 16);
    assert!(names[16..].iter().all(|name| keys.contains(&format!("{}{name}", prefix_of(PREFIX, shard_of(name))))));
    // Each shard has keys on the node of its tag only, because nodes reject keys of other slots.
    assert_eq!(cluster.slot_of(&prefix_of(PREFIX, 0)).await, 128);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_pattern_covers_all_keys_of_a_registry_in_a_cluster() {
    let cluster = three_primaries().await;
    let rules = ["ACL", "SETUSER", "node", "on", ">pw", "~mirror:streams:*", "+@all", "-@admin", "+cluster|slots"];
    cluster.cli_all(&rules).await;
    let url = cluster.url().replace("redis+cluster://", "redis+cluster://node:pw@");
    let registry = connect_to(&url).await;
    let mut watch = registry.watch(WatchFrom::Now).await.unwrap();
    let names: Vec<_> = (0..48).map(|n| format!("cam{n}")).collect();
    register_all(&registry, names.clone()).await;
    watch.next().await.unwrap();
    for name in &names {
        registry.update_status(&id(name), StreamStatus::Active).await.unwrap();
    }
    assert_eq!(registry.list().await.unwrap().len(), 48);
    let leases = Leases::new(registry.clone(), LeaseOptions::default());
    let lease = leases.acquire(stream("leased")).await.unwrap();
    lease.release().await.unwrap();
    registry.unregister(&id("cam1")).await.unwrap();
    let layouts = TAGS.map(|tag| format!("{PREFIX}{{{tag}}}:\u{1f}facts"));
    let keys = all_keys(&cluster).await;
    assert!(layouts.iter().all(|key| keys.contains(key)));
}
