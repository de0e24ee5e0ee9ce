//! Drops calls on leases at every await point, with a real server. Record, index and view must still agree, and the
//! next call must work.

use std::sync::Arc;
use std::time::{Duration, Instant};

use stream_registry::lease::{Lease, LeaseEnd, LeaseOptions, LeaseState, Leases};
use stream_registry::{
    ErrorKind, OnConflict, Outcome, RedisRegistry, RegisterOptions, Registry, Stream, StreamStats, StreamStatus,
};

use super::cancellation::{drop_after, drop_at_every_point};
use super::observer::Observer;
use super::{DUE, INDEX, TIMEOUT, TestRedis, id, key, stream};

const TTL: Duration = Duration::from_secs(60);
const MINE: &str = "203.0.113.7:40112";
const THEIRS: &str = "198.51.100.9:5000";

struct Setup {
    redis: TestRedis,
    observer: Observer,
    store: Arc<RedisRegistry>,
    leases: Leases,
}

impl Setup {
    async fn start() -> Self {
        let redis = TestRedis::start().await;
        let observer = redis.observe_every(Duration::from_millis(50)).await;
        let store = Arc::new(RedisRegistry::connect(redis.options().ttl(TTL)).await.unwrap());
        // The heartbeat interval is short, because the next heartbeat completes a call whose future was dropped.
        let options = LeaseOptions::default().heartbeat(Duration::from_millis(100));
        let leases = Leases::new(store.clone(), options);
        Self { redis, observer, store, leases }
    }

    async fn stored(&self, name: &str) -> Option<Stream> {
        self.store.get(&id(name)).await.ok()
    }

    /// Makes the server forget all scripts. Each call must then load its script, which adds an await point.
    async fn forget_scripts(&self) {
        let () = ::redis::cmd("SCRIPT").arg("FLUSH").query_async(&mut self.redis.raw.clone()).await.unwrap();
    }

    /// Closes all connections to the server, except the connection that the test uses for its checks.
    async fn disconnect(&self) {
        let mut cut = ::redis::cmd("CLIENT");
        cut.arg("KILL").arg("TYPE").arg("normal").arg("SKIPME").arg("yes");
        let _: i64 = cut.query_async(&mut self.redis.raw.clone()).await.unwrap();
    }

    /// Deletes a stream without a tombstone, as if the server had lost it.
    async fn lose(&self, name: &str) {
        let mut lose = ::redis::pipe();
        lose.atomic().del(key(name)).srem(INDEX, name).zrem(DUE, name);
        let () = lose.query_async(&mut self.redis.raw.clone()).await.unwrap();
    }

    /// Waits until lease and store agree. If the lease is held, the record must have its epoch. If the lease is
    /// released, there must be no record. Returns whether the lease is held.
    async fn wait_until_consistent(&self, lease: &Lease, context: &str) -> bool {
        let started = Instant::now();
        loop {
            self.redis.assert_no_partial_change(context).await;
            let stored = self.stored(lease.id().as_str()).await;
            let agree = match lease.state() {
                LeaseState::Held => stored.as_ref().is_some_and(|stored| stored.epoch() == Some(lease.epoch())),
                LeaseState::Ended(LeaseEnd::Released) => stored.is_none(),
                _ => false,
            };
            if agree {
                return stored.is_some();
            }
            assert!(started.elapsed() < TIMEOUT, "{context}: lease {lease:?}, record {stored:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Checks that a report of the lease reaches the store.
    async fn assert_works(&self, lease: &Lease, bytes_received: u64) {
        lease.report(StreamStats { bytes_received: Some(bytes_received), ..StreamStats::default() });
        lease.flush().await.unwrap();
        let stored = self.stored(lease.id().as_str()).await.unwrap();
        assert_eq!((stored.epoch(), stored.bytes_received), (Some(lease.epoch()), bytes_received));
        assert_eq!(lease.state(), LeaseState::Held);
    }

    /// Releases all leases and checks that no stream is left.
    async fn finish(self, dropped: usize) {
        println!("dropped calls at {dropped} points");
        assert!(dropped > 3, "only {dropped} calls were dropped");
        assert!(self.leases.release_all().await.is_empty() && self.leases.is_empty());
        assert!(self.redis.index().await.is_empty());
        self.observer.wait_until_consistent(&self.redis, "all leases are released").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acquire_leaves_no_partial_record_when_cancelled() {
    let setup = Setup::start().await;
    let mut dropped = 0;
    let leased = RegisterOptions::default().lease();
    let policies = [OnConflict::CreateOnly, OnConflict::Reject, OnConflict::TakeOver];
    for (policy, forget_scripts) in policies.into_iter().flat_map(|policy| [(policy, false), (policy, true)]) {
        dropped += drop_at_every_point(async |polls, when| {
            // Depending on the policy, the id is free, held by this process, or held by another publisher.
            let before = match policy {
                OnConflict::Reject => Some(setup.leases.acquire(stream("cam", MINE)).await.unwrap()),
                OnConflict::TakeOver => {
                    setup.store.register_with(&stream("cam", THEIRS), &leased).await.unwrap();
                    None
                }
                _ => None,
            };
            let epoch = setup.stored("cam").await.and_then(|stored| stored.epoch().cloned());
            if forget_scripts {
                setup.forget_scripts().await;
            }
            let call = setup.leases.acquire_with(stream("cam", MINE), policy);
            let done = drop_after(call, polls, when).await;
            setup.redis.assert_no_partial_change(&format!("{policy:?} {polls} {when:?}")).await;
            setup.observer.wait_until_view_is_current(&format!("{policy:?} {polls} {when:?}")).await;
            let stored = setup.stored("cam").await;
            match &done {
                Some(lease) => assert_eq!(stored.unwrap().epoch(), Some(lease.as_ref().unwrap().epoch())),
                // Either the new record is complete, or the old record is unchanged.
                None => {
                    let mine =
                        stored.as_ref().is_some_and(|stored| stored.source_addr == MINE && stored.epoch().is_some());
                    assert!(mine || stored.and_then(|stored| stored.epoch().cloned()) == epoch, "{policy:?} {polls}");
                    assert_eq!(
                        setup.leases.len(),
                        usize::from(before.is_some()),
                        "a lease without a handle is kept alive"
                    );
                }
            }
            drop(before);
            let again = setup.leases.acquire_with(stream("cam", MINE), OnConflict::TakeOver).await.unwrap();
            setup.assert_works(&again, 7).await;
            again.release().await.unwrap();
            done.is_none()
        })
        .await;
    }
    setup.finish(dropped).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_are_written_when_set_status_or_flush_is_cancelled() {
    let setup = Setup::start().await;
    let mut dropped = 0;
    // One of these faults occurs before the call: none; the server loses the stream; another program removes the epoch;
    // the server forgets its scripts; the server closes its connections.
    for fault in ["none", "lost", "epoch", "scripts", "disconnect"] {
        for call in ["status", "flush"] {
            let mut round = 0;
            dropped += drop_at_every_point(async |polls, when| {
                round += 1;
                let context = format!("{call}, {fault}, {polls}, {when:?}");
                let lease = setup.leases.acquire(stream("cam", MINE)).await.unwrap();
                let created = lease.stream().created_at;
                match fault {
                    "scripts" => setup.forget_scripts().await,
                    "disconnect" => setup.disconnect().await,
                    "lost" => setup.lose("cam").await,
                    "epoch" => {
                        let theirs =
                            format!(r#"{{"id":"cam","type":"srt","source_addr":"{MINE}","status":"connecting"}}"#);
                        setup.redis.put("cam", theirs, 60_000).await;
                    }
                    _ => {}
                }
                lease.report(StreamStats { bytes_received: Some(round), ..StreamStats::default() });
                let done = match call {
                    "status" => drop_after(lease.set_status(StreamStatus::Active), polls, when).await,
                    _ => drop_after(lease.flush(), polls, when).await,
                };
                // The report is written even if the call is dropped. The status is written if the call was polled at
                // least once.
                let status =
                    if call == "status" && polls > 0 { StreamStatus::Active } else { StreamStatus::Connecting };
                let started = Instant::now();
                loop {
                    setup.redis.assert_no_partial_change(&context).await;
                    let stored = setup.stored("cam").await;
                    let written = |stored: &Stream| stored.bytes_received == round && stored.status == status;
                    if stored.as_ref().is_some_and(written) {
                        break;
                    }
                    assert!(started.elapsed() < TIMEOUT, "{context}: lease {lease:?}, record {stored:?}");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                assert!(setup.wait_until_consistent(&lease, &context).await, "{context}");
                if fault != "epoch" {
                    assert_eq!(setup.stored("cam").await.unwrap().created_at, created, "{context}");
                }
                setup.assert_works(&lease, round + 1_000).await;
                setup.observer.wait_until_view_is_current(&context).await;
                lease.release().await.unwrap();
                done.is_none()
            })
            .await;
        }
    }
    setup.finish(dropped).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn release_leaves_lease_and_store_consistent_when_cancelled() {
    let setup = Setup::start().await;
    let mut dropped = 0;
    for fault in ["none", "lost", "epoch", "scripts", "disconnect"] {
        dropped += drop_at_every_point(async |polls, when| {
            let context = format!("{fault}, {polls}, {when:?}");
            let lease = setup.leases.acquire(stream("cam", MINE)).await.unwrap();
            match fault {
                "scripts" => setup.forget_scripts().await,
                "disconnect" => setup.disconnect().await,
                "lost" => setup.lose("cam").await,
                "epoch" => {
                    let theirs = format!(r#"{{"id":"cam","type":"srt","source_addr":"{MINE}","status":"connecting"}}"#);
                    setup.redis.put("cam", theirs, 60_000).await;
                }
                _ => {}
            }
            lease.report(StreamStats { bytes_received: Some(7), ..StreamStats::default() });
            let done = drop_after(lease.release(), polls, when).await;
            setup.redis.assert_no_partial_change(&context).await;
            if let Some(Err(error)) = &done {
                // Only one error is expected: a stream that the server has lost cannot be unregistered.
                assert_eq!((fault, error.kind()), ("lost", ErrorKind::NotFound), "{context}");
                assert_eq!(lease.state(), LeaseState::Ended(LeaseEnd::Removed), "{context}");
            } else {
                if setup.wait_until_consistent(&lease, &context).await {
                    assert!(done.is_none(), "{context}: the stream exists after a release");
                    setup.assert_works(&lease, 8).await;
                    assert_eq!(lease.release().await.unwrap().bytes_received, 8, "{context}");
                }
                assert_eq!(lease.state(), LeaseState::Ended(LeaseEnd::Released), "{context}");
            }
            assert!(setup.stored("cam").await.is_none() && setup.leases.is_empty(), "{context}");
            setup.observer.wait_until_view_is_current(&context).await;
            done.is_none()
        })
        .await;
    }
    setup.finish(dropped).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn release_all_leaves_leases_and_store_consistent_when_cancelled() {
    let setup = Setup::start().await;
    let dropped = drop_at_every_point(async |polls, when| {
        let context = format!("{polls}, {when:?}");
        let mut held = Vec::new();
        for name in ["cam0", "cam1", "cam2"] {
            held.push(setup.leases.acquire(stream(name, MINE)).await.unwrap());
        }
        let done = drop_after(setup.leases.release_all(), polls, when).await;
        for lease in &held {
            if setup.wait_until_consistent(lease, &context).await {
                assert!(done.is_none());
                setup.assert_works(lease, 8).await;
            }
        }
        assert!(setup.leases.release_all().await.is_empty() && setup.leases.is_empty());
        setup.observer.wait_until_view_is_current(&format!("{polls} {when:?}")).await;
        done.is_none()
    })
    .await;
    setup.finish(dropped).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ended_returns_the_reason_when_an_earlier_call_was_cancelled() {
    let setup = Setup::start().await;
    let dropped = drop_at_every_point(async |polls, when| {
        let lease = setup.leases.acquire(stream("cam", MINE)).await.unwrap();
        let takeover = async {
            setup
                .store
                .register_with(
                    &stream("cam", THEIRS),
                    &RegisterOptions::default().lease().on_conflict(OnConflict::TakeOver),
                )
                .await
                .unwrap();
        };
        let (done, ()) = tokio::join!(drop_after(lease.ended(), polls, when), takeover);
        let by = LeaseEnd::Superseded { by: Some(THEIRS.into()) };
        assert!(done.as_ref().is_none_or(|end| *end == by));
        assert_eq!(tokio::time::timeout(TIMEOUT, lease.ended()).await.unwrap(), by);
        assert_eq!(setup.stored("cam").await.unwrap().source_addr, THEIRS);
        setup.observer.wait_until_view_is_current(&format!("{polls} {when:?}")).await;
        setup.leases.acquire_with(stream("cam", MINE), OnConflict::TakeOver).await.unwrap().release().await.unwrap();
        done.is_none()
    })
    .await;
    setup.finish(dropped).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recovery_leaves_no_partial_record_when_cancelled() {
    let setup = Setup::start().await;
    let leased = RegisterOptions::default().lease();
    let mut dropped = 0;
    for fault in ["none", "lost", "epoch", "other", "scripts", "disconnect"] {
        dropped += drop_at_every_point(async |polls, when| {
            let context = format!("{fault}, {polls}, {when:?}");
            let registered = setup.store.register_with(&stream("cam", MINE), &leased).await.unwrap();
            let epoch = registered.epoch.unwrap();
            match fault {
                "scripts" => setup.forget_scripts().await,
                "disconnect" => setup.disconnect().await,
                "lost" => setup.lose("cam").await,
                "epoch" => {
                    let theirs = format!(r#"{{"id":"cam","type":"srt","source_addr":"{MINE}","status":"connecting"}}"#);
                    setup.redis.put("cam", theirs, 60_000).await;
                }
                "other" => {
                    let take_over = leased.clone().on_conflict(OnConflict::TakeOver);
                    setup.store.register_with(&stream("cam", THEIRS), &take_over).await.unwrap();
                }
                _ => {}
            }
            let before = setup.stored("cam").await;
            let recover = leased.clone().recover(epoch.clone());
            let done = drop_after(setup.store.register_with(&registered.stream, &recover), polls, when).await;
            setup.redis.assert_no_partial_change(&context).await;
            setup.observer.wait_until_view_is_current(&context).await;
            let stored = setup.stored("cam").await;
            let mine = stored.as_ref().is_some_and(|stored| stored.epoch() == Some(&epoch));
            assert!(mine || stored == before, "{context}: {stored:?}");
            let again = setup.store.register_with(&registered.stream, &recover).await;
            if fault == "other" {
                assert_eq!(again.unwrap_err().existing().unwrap().source_addr, THEIRS, "{context}");
                assert_eq!(stored, before, "{context}");
            } else {
                assert!([Outcome::Created, Outcome::Renewed].contains(&again.unwrap().outcome), "{context}");
                assert_eq!(setup.stored("cam").await.unwrap().epoch(), Some(&epoch), "{context}");
            }
            let take_over = setup.leases.acquire_with(stream("cam", MINE), OnConflict::TakeOver);
            take_over.await.unwrap().release().await.unwrap();
            done.is_none()
        })
        .await;
    }
    setup.finish(dropped).await;
}
