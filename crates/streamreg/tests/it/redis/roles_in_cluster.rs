//! Checks that the documented users of a Redis Cluster, exactly as they are written, suffice for each role, also while
//! a slot is moved, and that each additional right is necessary.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use stream_registry::lease::{LeaseOptions, Leases};
use stream_registry::query::Ended;
use stream_registry::redis::{DiagnoseOptions, Diagnosis, RedisOptions, Role, Severity};
use stream_registry::watch::{Event, WatchFrom};
use stream_registry::{ErrorKind, RedisRegistry, Registry, Result, StreamStatus};
use testkit::{ClusterSet, wait_until};
use tokio::time::timeout;

use super::operations::{SOURCE, totals};
use super::permissions::{OPERATIONS, rules};
use super::roles::{SWEEP_ONLY, set_user};
use super::{PASSWORD, PREFIX, TIMEOUT, id, stream};
use crate::cluster::layout::{ids_in, prefix_of};

/// The shard whose slot is moved.
const MOVED: usize = 4;
/// Commands that may be denied, because the client then uses another strategy.
const OPTIONAL: [&str; 5] = ["config|get", "info", "sort_ro", "multi", "exec"];

/// Returns the documented lines of a role: the user itself, and its additional rights.
fn documented(role: Role) -> [&'static str; 2] {
    let start = format!("ACL SETUSER {role} ");
    let lines: Vec<_> = OPERATIONS.lines().filter(|line| line.starts_with(&start)).collect();
    lines.try_into().unwrap_or_else(|lines| panic!("{role}: {lines:?}"))
}

/// Returns the additional rights of a role.
fn additional(role: Role) -> Vec<&'static str> {
    documented(role)[1].split(' ').skip(3).collect()
}

#[test]
fn documented_rights_for_a_cluster_are_those_that_a_diagnosis_checks() {
    for role in Role::ALL {
        let checked: Vec<_> = role.cluster_commands().into_iter().map(|command| format!("+{command}")).collect();
        assert_eq!(additional(role), checked, "{role}");
    }
}

struct Moving {
    cluster: ClusterSet,
    slot: u16,
}

impl Moving {
    /// Starts a cluster with the documented users on all nodes, and a stream in each shard.
    async fn start() -> Self {
        let cluster = ClusterSet::builder().replicas(0).config("cluster-require-full-coverage no").start().await;
        for line in Role::ALL.into_iter().flat_map(documented) {
            let line = line.replace("SECRET", PASSWORD);
            let words: Vec<&str> = line.split(' ').collect();
            assert_eq!(cluster.cli_all(&words).await, ["OK"; 3], "{line}");
        }
        let admin = RedisRegistry::connect(cluster.url().parse().unwrap()).await.unwrap();
        for shard in 0..16 {
            admin.register(&stream(&there(shard), SOURCE)).await.unwrap();
        }
        // Only the roles under test may sweep.
        admin.close().await.unwrap();
        let slot = cluster.slot_of(&prefix_of(PREFIX, MOVED)).await;
        Self { cluster, slot }
    }

    async fn open(&self, user: &str, role: Role) -> Result<Arc<RedisRegistry>> {
        let url = self.cluster.url().replace("redis+cluster://", &format!("redis+cluster://{user}:{PASSWORD}@"));
        let mut options: RedisOptions = url.parse().unwrap();
        if role == Role::Reader {
            options = options.read_only();
        }
        if role == Role::Sweeper {
            options = options.ttl(Duration::from_secs(1));
        }
        RedisRegistry::connect(options).await.map(Arc::new)
    }

    async fn owner(&self) -> usize {
        self.cluster.primary_of(&prefix_of(PREFIX, MOVED)).await
    }

    /// Moves all keys of the slot, but not the slot itself, so that its owner answers `ASK`. Returns both nodes.
    async fn move_keys(&self) -> (usize, usize) {
        let from = self.owner().await;
        let to = (from + 1) % 3;
        self.cluster.begin_migration(self.slot, from, to).await;
        while self.cluster.move_keys(self.slot, from, to, 100).await > 0 {}
        (from, to)
    }

    /// Returns the commands that were denied since the last call.
    async fn denied(&self) -> BTreeSet<String> {
        let mut denied = BTreeSet::new();
        for log in self.cluster.cli_all(&["ACL", "LOG"]).await {
            let lines: Vec<_> = log.lines().collect();
            denied.extend(lines.windows(2).filter(|pair| pair[0] == "object").map(|pair| pair[1].to_owned()));
        }
        self.cluster.cli_all(&["ACL", "LOG", "RESET"]).await;
        denied
    }

    /// Lets a stream of another program expire in the moved shard, until it is swept.
    async fn await_sweep(&self) {
        let node = &self.cluster.nodes[self.owner().await];
        let index = format!("{}active", prefix_of(PREFIX, MOVED));
        let name = &ids_in(MOVED, 3)[2];
        let record = format!("{}{name}", prefix_of(PREFIX, MOVED));
        node.cli(&["SET", &record, &stream(name, SOURCE).to_json(), "PX", "1000"]).await;
        node.cli(&["SADD", &index, name]).await;
        wait_until(TIMEOUT, async || node.cli(&["SISMEMBER", &index, name]).await == "0").await;
    }

    /// Does what a role does with the whole registry.
    async fn work(&self, role: Role, store: &Arc<RedisRegistry>) -> Result<()> {
        match role {
            Role::Node => {
                let leases = Leases::new(Arc::clone(store) as Arc<dyn Registry>, LeaseOptions::default());
                for shard in [0, MOVED, 15] {
                    let lease = leases.acquire(stream(&ids_in(shard, 2)[1], SOURCE)).await?;
                    lease.report(totals(7));
                    lease.set_status(StreamStatus::Active).await?;
                    lease.flush().await?;
                    lease.release().await?;
                }
            }
            Role::Server | Role::Reader => {
                store.ping().await?;
                let mut watch = store.watch(WatchFrom::Now).await?;
                assert_eq!(store.list().await?.len(), 16);
                assert_eq!(store.list_page(None, NonZeroU32::new(100).unwrap()).await?.streams.len(), 16);
                store.history(&Ended::default(), NonZeroU32::MIN).await?;
                let admin = RedisRegistry::connect(self.cluster.url().parse().unwrap()).await?;
                for shard in [0, MOVED, 15] {
                    let there = id(&there(shard));
                    admin.update_status(&there, StreamStatus::Paused).await?;
                    admin.update_status(&there, StreamStatus::Active).await?;
                    let changed = async {
                        loop {
                            match watch.next().await.unwrap() {
                                Event::Changed { stream, .. } if stream.id == there => return,
                                _ => {}
                            }
                        }
                    };
                    timeout(TIMEOUT, changed).await.unwrap_or_else(|_| panic!("no event of shard {shard}"));
                }
                admin.close().await?;
            }
            Role::Sweeper => self.await_sweep().await,
            _ => {
                let diagnosis = store.diagnose(&DiagnoseOptions::default().role(role)).await?;
                let unchecked: Vec<_> = diagnosis.of(Severity::Unchecked).collect();
                assert!(unchecked.is_empty(), "{unchecked:#?}");
                assert_eq!(rights_of(&diagnosis).0, Severity::Ok);
                store.repair_index(&DiagnoseOptions::default()).await?;
            }
        }
        Ok(())
    }

    /// Reads from the shard that is being moved. Returns false if `ASKING` was denied.
    ///
    /// A node that receives a slot answers commands for several keys only if it has all of them. So only reads of one
    /// key are sure to succeed.
    async fn read_moving(&self, role: Role, store: &RedisRegistry) -> Result<bool> {
        match role {
            // A sweeper may not read single streams, but it has read the layout when it connected.
            Role::Sweeper => Ok(!self.denied().await.contains("asking")),
            _ => store.get(&id(&there(MOVED))).await.map(|_| true),
        }
    }
}

/// Returns the id of the stream that a shard always has.
fn there(shard: usize) -> String {
    ids_in(shard, 1).remove(0)
}

/// Returns the severity of the worst finding about rights, and its remedy.
fn rights_of(diagnosis: &Diagnosis) -> (Severity, String) {
    let found = diagnosis.findings.iter().filter(|finding| finding.code.as_str() == "rights");
    let found = found.max_by_key(|finding| finding.severity).unwrap();
    (found.severity, found.remedy.clone().unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn documented_users_of_a_cluster_suffice_for_each_role_while_a_slot_is_moved() {
    let moving = Moving::start().await;
    for role in Role::ALL {
        moving.denied().await;
        let store = moving.open(role.as_str(), role).await.unwrap();
        moving.work(role, &store).await.unwrap_or_else(|error| panic!("{role}: {error}"));
        let (from, to) = moving.move_keys().await;
        // A process that starts now reads the layout from the new node.
        let late = moving.open(role.as_str(), role).await.unwrap();
        for store in [&store, &late] {
            let done = moving.read_moving(role, store).await;
            assert!(done.unwrap_or_else(|error| panic!("{role}: {error}")), "{role}");
        }
        moving.cluster.end_migration(moving.slot, from, to).await;
        moving.work(role, &store).await.unwrap_or_else(|error| panic!("{role}: {error}"));
        let mut denied = moving.denied().await;
        denied.retain(|command| !OPTIONAL.contains(&command.as_str()));
        match role {
            Role::Node => denied.retain(|command| !SWEEP_ONLY.contains(&command.as_str())),
            Role::Reader => denied.retain(|command| !["time", "evalsha"].contains(&command.as_str())),
            _ => {}
        }
        assert!(denied.is_empty(), "{role}: {denied:?}");
        store.close().await.unwrap();
        late.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_additional_right_in_a_cluster_is_necessary_and_a_diagnosis_names_it() {
    let moving = Moving::start().await;
    moving.move_keys().await;
    for role in Role::ALL {
        for removed in additional(role) {
            let fewer: Vec<_> = rules(role.as_str()).into_iter().chain(additional(role)).collect();
            let fewer: Vec<_> = fewer.into_iter().filter(|rule| *rule != removed).collect();
            for node in &moving.cluster.nodes {
                set_user(node, "narrow", &fewer).await;
            }
            moving.denied().await;
            let opened = moving.open("narrow", role).await;
            let Ok(store) = opened else {
                let error = opened.err().unwrap();
                assert_eq!((removed, error.kind()), ("+cluster|slots", ErrorKind::Denied), "{role}: {error}");
                assert!(error.message().contains("cluster|slots"), "{role}: {error}");
                continue;
            };
            if removed == "+asking" {
                match moving.read_moving(role, &store).await {
                    Ok(done) => assert!(!done, "{role} does not need {removed}"),
                    Err(error) => assert!(error.message().contains("asking"), "{role}: {error}"),
                }
            }
            let diagnosis = store.diagnose(&DiagnoseOptions::default().role(role)).await.unwrap();
            let (severity, remedy) = rights_of(&diagnosis);
            assert!(severity == Severity::Error && remedy.contains(removed), "{role} {removed}: {remedy}");
            if removed.starts_with("+cluster|") {
                let unchecked = diagnosis.of(Severity::Unchecked).filter_map(|finding| finding.remedy.as_ref());
                assert!(
                    unchecked.into_iter().all(|remedy| remedy.contains(removed)),
                    "{role} {removed}: {diagnosis:#?}"
                );
            }
            store.close().await.unwrap();
        }
    }
}
