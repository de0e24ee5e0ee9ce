//! Calls on leases dropped at every point, on a real server: record, index and view are of one mind, and the next call works.

use std::sync::Arc;
use std::time::{Duration, Instant};

use stream_registry::lease::{Lease, LeaseEnd, LeaseOptions, LeaseState, Leases};
use stream_registry::{
    ErrorKind, OnConflict, Outcome, RedisRegistry, RegisterOptions, Registry, Stream, StreamStats, StreamStatus,
};

use super::dropping::{at_every_point, drop_after};
use super::settled::Witness;
use super::{BOUNDED, Bed, INDEX, SOON, id, key, stream};

const TTL: Duration = Duration::from_secs(60);
const MINE: &str = "203.0.113.7:40112";
const THEIRS: &str = "198.51.100.9:5000";

struct Scene {
    bed: Bed,
    witness: Witness,
    store: Arc<RedisRegistry>,
    leases: Leases,
}

impl Scene {
    async fn set() -> Self {
        let bed = Bed::start().await;
        let witness = bed.witness_that_compares(Duration::from_millis(50)).await;
        let store = Arc::new(RedisRegistry::connect(bed.options().ttl(TTL)).await.unwrap());
        // What a dropped call leaves to the keep-alive is not to take long.
        let options = LeaseOptions::default().heartbeat(Duration::from_millis(100));
        let leases = Leases::new(store.clone(), options);
        Self { bed, witness, store, leases }
    }

    async fn stored(&self, name: &str) -> Option<Stream> {
        self.store.get(&id(name)).await.ok()
    }

    /// The server has to be told every script anew: one more thing to wait for in each call.
    async fn forget_scripts(&self) {
        let () = ::redis::cmd("SCRIPT").arg("FLUSH").query_async(&mut self.bed.raw.clone()).await.unwrap();
    }

    /// Every connection but one for looking on breaks.
    async fn cut(&self) {
        let mut cut = ::redis::cmd("CLIENT");
        cut.arg("KILL").arg("TYPE").arg("normal").arg("SKIPME").arg("yes");
        let _: i64 = cut.query_async(&mut self.bed.raw.clone()).await.unwrap();
    }

    /// The server has lost a stream: no mark tells of an end.
    async fn lose(&self, name: &str) {
        let mut lose = ::redis::pipe();
        lose.atomic().del(key(name)).srem(INDEX, name).zrem(BOUNDED[1], name);
        let () = lose.query_async(&mut self.bed.raw.clone()).await.unwrap();
    }

    /// A lease says that it is held where the record is its own, and that it was released where there is none; returns
    /// whether it is held.
    async fn is_of_one_mind(&self, lease: &Lease, what: &str) -> bool {
        let began = Instant::now();
        loop {
            self.bed.assert_no_half(what).await;
            let stored = self.stored(lease.id().as_str()).await;
            let agreed = match lease.state() {
                LeaseState::Held => stored.as_ref().is_some_and(|stored| stored.epoch() == Some(lease.epoch())),
                LeaseState::Ended(LeaseEnd::Released) => stored.is_none(),
                _ => false,
            };
            if agreed {
                return stored.is_some();
            }
            assert!(began.elapsed() < SOON, "{what}: {lease:?}, but {stored:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// A lease writes, and what it writes is there.
    async fn assert_works(&self, lease: &Lease, bytes_received: u64) {
        lease.report(StreamStats { bytes_received, ..StreamStats::default() });
        lease.flush().await.unwrap();
        let stored = self.stored(lease.id().as_str()).await.unwrap();
        assert_eq!((stored.epoch(), stored.bytes_received), (Some(lease.epoch()), bytes_received));
        assert_eq!(lease.state(), LeaseState::Held);
    }

    /// Everything is released and nothing is left.
    async fn strike(self, dropped: usize) {
        println!("dropped at {dropped} points");
        assert!(dropped > 3, "only {dropped} were dropped");
        assert!(self.leases.release_all().await.is_empty() && self.leases.is_empty());
        assert!(self.bed.index().await.is_empty());
        self.witness.settled(&self.bed, "all are released").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acquiring() {
    let scene = Scene::set().await;
    let mut dropped = 0;
    let others = RegisterOptions::default().lease(true);
    let policies = [OnConflict::CreateOnly, OnConflict::Reject, OnConflict::TakeOver];
    for (policy, forgets) in policies.into_iter().flat_map(|policy| [(policy, false), (policy, true)]) {
        dropped += at_every_point(async |polls, when| {
            // Of nobody, my own from before, another's.
            let before = match policy {
                OnConflict::Reject => Some(scene.leases.acquire(stream("cam", MINE)).await.unwrap()),
                OnConflict::TakeOver => {
                    scene.store.register_with(&stream("cam", THEIRS), &others).await.unwrap();
                    None
                }
                _ => None,
            };
            let epoch = scene.stored("cam").await.and_then(|stored| stored.epoch().cloned());
            if forgets {
                scene.forget_scripts().await;
            }
            let call = scene.leases.acquire_with(stream("cam", MINE), policy);
            let done = drop_after(call, polls, when).await;
            scene.bed.assert_no_half(&format!("{policy:?} {polls} {when:?}")).await;
            scene.witness.shows(&format!("{policy:?} {polls} {when:?}")).await;
            let stored = scene.stored("cam").await;
            match &done {
                Some(lease) => assert_eq!(stored.unwrap().epoch(), Some(lease.as_ref().unwrap().epoch())),
                // Registered whole, or as it was.
                None => {
                    let mine =
                        stored.as_ref().is_some_and(|stored| stored.source_addr == MINE && stored.epoch().is_some());
                    assert!(mine || stored.and_then(|stored| stored.epoch().cloned()) == epoch, "{policy:?} {polls}");
                    assert_eq!(scene.leases.len(), usize::from(before.is_some()), "nothing is kept alive for nobody");
                }
            }
            drop(before);
            let anew = scene.leases.acquire_with(stream("cam", MINE), OnConflict::TakeOver).await.unwrap();
            scene.assert_works(&anew, 7).await;
            anew.release().await.unwrap();
            done.is_none()
        })
        .await;
    }
    scene.strike(dropped).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reporting() {
    let scene = Scene::set().await;
    let mut dropped = 0;
    // A stream that is there, that the server has lost, whose epoch another program has dropped; scripts that the
    // server has forgotten, connections that it has cut.
    for harm in ["none", "lost", "epoch", "scripts", "cut"] {
        for call in ["status", "flush"] {
            let mut round = 0;
            dropped += at_every_point(async |polls, when| {
                round += 1;
                let what = format!("{call}, {harm}, {polls}, {when:?}");
                let lease = scene.leases.acquire(stream("cam", MINE)).await.unwrap();
                let created = lease.stream().created_at;
                match harm {
                    "scripts" => scene.forget_scripts().await,
                    "cut" => scene.cut().await,
                    "lost" => scene.lose("cam").await,
                    "epoch" => {
                        let theirs =
                            format!(r#"{{"id":"cam","type":"srt","source_addr":"{MINE}","status":"connecting"}}"#);
                        scene.bed.put("cam", theirs, 60_000).await;
                    }
                    _ => {}
                }
                lease.report(StreamStats { bytes_received: round, ..StreamStats::default() });
                let done = match call {
                    "status" => drop_after(lease.set_status(StreamStatus::Active), polls, when).await,
                    _ => drop_after(lease.flush(), polls, when).await,
                };
                // What was begun is written all the same, and what was reported anyhow.
                let status =
                    if call == "status" && polls > 0 { StreamStatus::Active } else { StreamStatus::Connecting };
                let began = Instant::now();
                loop {
                    scene.bed.assert_no_half(&what).await;
                    let stored = scene.stored("cam").await;
                    let written = |stored: &Stream| stored.bytes_received == round && stored.status == status;
                    if stored.as_ref().is_some_and(written) {
                        break;
                    }
                    assert!(began.elapsed() < SOON, "{what}: {lease:?}, but {stored:?}");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                assert!(scene.is_of_one_mind(&lease, &what).await, "{what}");
                if harm != "epoch" {
                    assert_eq!(scene.stored("cam").await.unwrap().created_at, created, "{what}");
                }
                scene.assert_works(&lease, round + 1_000).await;
                scene.witness.shows(&what).await;
                lease.release().await.unwrap();
                done.is_none()
            })
            .await;
        }
    }
    scene.strike(dropped).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn releasing() {
    let scene = Scene::set().await;
    let mut dropped = 0;
    for harm in ["none", "lost", "epoch", "scripts", "cut"] {
        dropped += at_every_point(async |polls, when| {
            let what = format!("{harm}, {polls}, {when:?}");
            let lease = scene.leases.acquire(stream("cam", MINE)).await.unwrap();
            match harm {
                "scripts" => scene.forget_scripts().await,
                "cut" => scene.cut().await,
                "lost" => scene.lose("cam").await,
                "epoch" => {
                    let theirs = format!(r#"{{"id":"cam","type":"srt","source_addr":"{MINE}","status":"connecting"}}"#);
                    scene.bed.put("cam", theirs, 60_000).await;
                }
                _ => {}
            }
            lease.report(StreamStats { bytes_received: 7, ..StreamStats::default() });
            let done = drop_after(lease.release(), polls, when).await;
            scene.bed.assert_no_half(&what).await;
            if let Some(Err(error)) = &done {
                // What is not there cannot be ended.
                assert_eq!((harm, error.kind()), ("lost", ErrorKind::NotFound), "{what}");
                assert_eq!(lease.state(), LeaseState::Ended(LeaseEnd::Removed), "{what}");
            } else {
                if scene.is_of_one_mind(&lease, &what).await {
                    assert!(done.is_none(), "{what}: released, and there");
                    scene.assert_works(&lease, 8).await;
                    assert_eq!(lease.release().await.unwrap().bytes_received, 8, "{what}");
                }
                assert_eq!(lease.state(), LeaseState::Ended(LeaseEnd::Released), "{what}");
            }
            assert!(scene.stored("cam").await.is_none() && scene.leases.is_empty(), "{what}");
            scene.witness.shows(&what).await;
            done.is_none()
        })
        .await;
    }
    scene.strike(dropped).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn releasing_all() {
    let scene = Scene::set().await;
    let dropped = at_every_point(async |polls, when| {
        let what = format!("{polls}, {when:?}");
        let mut held = Vec::new();
        for name in ["cam0", "cam1", "cam2"] {
            held.push(scene.leases.acquire(stream(name, MINE)).await.unwrap());
        }
        let done = drop_after(scene.leases.release_all(), polls, when).await;
        for lease in &held {
            if scene.is_of_one_mind(lease, &what).await {
                assert!(done.is_none());
                scene.assert_works(lease, 8).await;
            }
        }
        assert!(scene.leases.release_all().await.is_empty() && scene.leases.is_empty());
        scene.witness.shows(&format!("{polls} {when:?}")).await;
        done.is_none()
    })
    .await;
    scene.strike(dropped).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_for_the_end() {
    let scene = Scene::set().await;
    let dropped = at_every_point(async |polls, when| {
        let lease = scene.leases.acquire(stream("cam", MINE)).await.unwrap();
        let end = async {
            scene
                .store
                .register_with(
                    &stream("cam", THEIRS),
                    &RegisterOptions::default().lease(true).on_conflict(OnConflict::TakeOver),
                )
                .await
                .unwrap();
        };
        let (done, ()) = tokio::join!(drop_after(lease.ended(), polls, when), end);
        let by = LeaseEnd::Superseded { by: Some(THEIRS.into()) };
        assert!(done.as_ref().is_none_or(|end| *end == by));
        assert_eq!(tokio::time::timeout(SOON, lease.ended()).await.unwrap(), by);
        assert_eq!(scene.stored("cam").await.unwrap().source_addr, THEIRS);
        scene.witness.shows(&format!("{polls} {when:?}")).await;
        scene.leases.acquire_with(stream("cam", MINE), OnConflict::TakeOver).await.unwrap().release().await.unwrap();
        done.is_none()
    })
    .await;
    scene.strike(dropped).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recovering() {
    let scene = Scene::set().await;
    let leased = RegisterOptions::default().lease(true);
    let mut dropped = 0;
    for harm in ["none", "lost", "epoch", "other", "scripts", "cut"] {
        dropped += at_every_point(async |polls, when| {
            let what = format!("{harm}, {polls}, {when:?}");
            let made = scene.store.register_with(&stream("cam", MINE), &leased).await.unwrap();
            let epoch = made.epoch.unwrap();
            match harm {
                "scripts" => scene.forget_scripts().await,
                "cut" => scene.cut().await,
                "lost" => scene.lose("cam").await,
                "epoch" => {
                    let theirs = format!(r#"{{"id":"cam","type":"srt","source_addr":"{MINE}","status":"connecting"}}"#);
                    scene.bed.put("cam", theirs, 60_000).await;
                }
                "other" => {
                    let take_over = leased.clone().on_conflict(OnConflict::TakeOver);
                    scene.store.register_with(&stream("cam", THEIRS), &take_over).await.unwrap();
                }
                _ => {}
            }
            let before = scene.stored("cam").await;
            let recover = leased.clone().recover(epoch.clone());
            let done = drop_after(scene.store.register_with(&made.stream, &recover), polls, when).await;
            scene.bed.assert_no_half(&what).await;
            scene.witness.shows(&what).await;
            let stored = scene.stored("cam").await;
            let mine = stored.as_ref().is_some_and(|stored| stored.epoch() == Some(&epoch));
            assert!(mine || stored == before, "{what}: {stored:?}");
            let again = scene.store.register_with(&made.stream, &recover).await;
            if harm == "other" {
                assert_eq!(again.unwrap_err().existing().unwrap().source_addr, THEIRS, "{what}");
                assert_eq!(stored, before, "{what}");
            } else {
                assert!([Outcome::Created, Outcome::Renewed].contains(&again.unwrap().outcome), "{what}");
                assert_eq!(scene.stored("cam").await.unwrap().epoch(), Some(&epoch), "{what}");
            }
            let take_over = scene.leases.acquire_with(stream("cam", MINE), OnConflict::TakeOver);
            take_over.await.unwrap().release().await.unwrap();
            done.is_none()
        })
        .await;
    }
    scene.strike(dropped).await;
}
