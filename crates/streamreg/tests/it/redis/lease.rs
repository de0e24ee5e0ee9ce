//! Leases on a real Redis that is killed, emptied and cut off, among holders that fight for a stream.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ::redis::AsyncCommands as _;
use stream_registry::lease::{Lease, LeaseEnd, LeaseOptions, LeaseState, Leases};
use stream_registry::redis::RedisOptions;
use stream_registry::{
    ErrorKind, Guard, OnConflict, RedisRegistry, Registry, StreamStats, StreamStatus, UnregisterOptions,
};
use testkit::{Data, FaultProxy, wait_until};

use super::{Bed, INDEX, SOON, id, key, stream};

const TTL: Duration = Duration::from_secs(5);
/// A fifth of it.
const HEARTBEAT: Duration = Duration::from_secs(1);
const MINE: &str = "203.0.113.7:40112";
const THEIRS: &str = "198.51.100.9:5000";

async fn store(options: RedisOptions, ttl: Duration) -> Arc<RedisRegistry> {
    Arc::new(RedisRegistry::connect(options.ttl(ttl)).await.unwrap())
}

impl Bed {
    async fn leases(&self, ttl: Duration) -> Leases {
        Leases::new(store(self.options(), ttl).await, LeaseOptions::default())
    }

    /// Leases behind a network that can be broken.
    async fn leases_by_proxy(&self) -> (Leases, FaultProxy) {
        let proxy = FaultProxy::start(self.server.addr()).await;
        let options: RedisOptions = format!("redis://{}", proxy.addr()).parse().unwrap();
        (Leases::new(store(options, TTL).await, LeaseOptions::default()), proxy)
    }

    async fn is_there(&self, name: &str) -> bool {
        self.raw.clone().exists(key(name)).await.unwrap()
    }

    /// How often a command was called by clients or scripts.
    async fn calls(&self, command: &str) -> u64 {
        let info = self.server.cli(&["INFO", "commandstats"]).await;
        let line = info.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
        line.and_then(|line| line.split(',').next()?.parse().ok()).unwrap_or(0)
    }
}

async fn acquire_many(leases: &Leases, count: usize) -> Vec<Lease> {
    let mut tasks = tokio::task::JoinSet::new();
    for at in 0..count {
        let leases = leases.clone();
        tasks.spawn(async move { leases.acquire(stream(&format!("cam{at}"), MINE)).await.unwrap() });
    }
    tasks.join_all().await
}

fn bytes(bytes_received: u64) -> StreamStats {
    StreamStats { bytes_received, ..Default::default() }
}

fn is_held(lease: &Lease) -> bool {
    lease.state() == LeaseState::Held
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_streams_come_back_to_a_redis_that_was_killed_and_is_empty() {
    let mut bed = Bed::start().await;
    let ttl = Duration::from_secs(10);
    let witness = bed.witness().await;
    let leases = bed.leases(ttl).await;
    let held = acquire_many(&leases, 1_000).await;
    for (lease, at) in held.iter().zip(1..) {
        lease.report(bytes(at));
    }
    let before: Vec<_> = held.iter().map(Lease::stream).collect();
    bed.server.kill();
    // As an operator who sees it: down for a moment.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    bed.server.restart(Data::Empty).await;
    let back = Instant::now();
    let bed = Bed::of(bed.server).await;
    let raw = bed.raw.clone();
    wait_until(ttl / 5 + Duration::from_secs(2), async || {
        let there: usize = raw.clone().scard(INDEX).await.unwrap();
        there == held.len() && held.iter().all(is_held)
    })
    .await;
    println!("1 000 leases were back {:?} after the restart", back.elapsed());
    let reader = store(bed.options(), ttl).await;
    for (lease, before) in held.iter().zip(&before) {
        let stored = reader.get(lease.id()).await.unwrap();
        assert_eq!((stored.created_at, stored.epoch()), (before.created_at, Some(lease.epoch())));
        assert_eq!(stored.bytes_received, before.bytes_received);
    }
    witness.settled(&bed, "all are back").await;
    assert!(leases.release_all().await.is_empty());
    assert!(bed.index().await.is_empty());
    // What is left are end marks and answers, each with a time to live.
    witness.settled(&bed, "all are released").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_that_was_cut_off_does_not_bring_back_what_its_successor_ended() {
    for fault in ["refuse", "stall"] {
        let bed = Bed::start().await;
        let witness = bed.witness().await;
        let (cut_off, proxy) = bed.leases_by_proxy().await;
        let lease = cut_off.acquire(stream("cam1", MINE)).await.unwrap();
        if fault == "refuse" {
            proxy.refuse().await;
        } else {
            proxy.stall();
        }
        lease.report(bytes(666));
        let others = bed.leases(TTL).await;
        let other = others.acquire_with(stream("cam1", THEIRS), OnConflict::TakeOver).await.unwrap();
        // The first holder's time is over, and it knows.
        wait_until(TTL * 2, async || matches!(lease.state(), LeaseState::Recovering { .. })).await;
        assert!(is_held(&other));
        witness.settled(&bed, fault).await;
        assert_eq!(other.release().await.unwrap().bytes_received, 0, "{fault}");
        proxy.resume().await;
        let end = tokio::time::timeout(SOON, lease.ended()).await.unwrap();
        assert_eq!(end, LeaseEnd::Superseded { by: None }, "{fault}");
        assert!(!bed.is_there("cam1").await, "{fault}: it came back");
        // Every write asks for the text, every registration for its type; sweeps do neither.
        let asked = async || bed.calls("mget").await + bed.calls("type").await;
        let calls = asked().await;
        tokio::time::sleep(HEARTBEAT * 3).await;
        assert_eq!(asked().await, calls, "{fault}: something was written after the end");
        assert!(!bed.is_there("cam1").await, "{fault}: it came back later");
        witness.settled(&bed, fault).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_operator_ended_stays_ended() {
    let bed = Bed::start().await;
    let witness = bed.witness().await;
    let (leases, proxy) = bed.leases_by_proxy().await;
    let (near, far) =
        (leases.acquire(stream("near", MINE)).await.unwrap(), leases.acquire(stream("far", MINE)).await.unwrap());
    let operator = store(bed.options(), TTL).await;
    let force = UnregisterOptions::default().guard(Guard::Force);
    operator.unregister_with(near.id(), &force).await.unwrap();
    assert_eq!(tokio::time::timeout(SOON, near.ended()).await.unwrap(), LeaseEnd::Removed);
    assert!(is_held(&far));
    witness.settled(&bed, "one is ended").await;
    // And while the holder hears nothing.
    proxy.refuse().await;
    operator.unregister_with(far.id(), &force).await.unwrap();
    wait_until(TTL * 2, async || !is_held(&far)).await;
    proxy.resume().await;
    assert_eq!(tokio::time::timeout(SOON, far.ended()).await.unwrap(), LeaseEnd::Removed);
    assert!(leases.is_empty() && bed.index().await.is_empty());
    witness.settled(&bed, "both are ended").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_flush_the_later_of_two_holders_wins_whoever_comes_first() {
    for first_back in ["earlier", "later"] {
        let bed = Bed::start().await;
        let witness = bed.witness().await;
        let (earlier, earlier_proxy) = bed.leases_by_proxy().await;
        let (later, later_proxy) = bed.leases_by_proxy().await;
        let old = earlier.acquire(stream("cam1", MINE)).await.unwrap();
        earlier_proxy.refuse().await;
        let new = later.acquire_with(stream("cam1", THEIRS), OnConflict::TakeOver).await.unwrap();
        later_proxy.refuse().await;
        // Marks and all.
        bed.flush().await;
        let order = [(&earlier_proxy, &old), (&later_proxy, &new)];
        let (first, second) = if first_back == "earlier" { (order[0], order[1]) } else { (order[1], order[0]) };
        first.0.resume().await;
        wait_until(SOON, async || bed.is_there("cam1").await && is_held(first.1)).await;
        second.0.resume().await;
        let end = tokio::time::timeout(SOON, old.ended()).await.unwrap();
        assert_eq!(end, LeaseEnd::Superseded { by: Some(THEIRS.into()) }, "{first_back}");
        wait_until(SOON, async || is_held(&new)).await;
        new.flush().await.unwrap();
        let stored = store(bed.options(), TTL).await.get(&id("cam1")).await.unwrap();
        assert_eq!((stored.epoch(), stored.created_at), (Some(new.epoch()), new.stream().created_at), "{first_back}");
        witness.settled(&bed, first_back).await;
        new.release().await.unwrap();
        witness.settled(&bed, first_back).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_is_one_script_call() {
    const ROUNDS: u32 = 5;
    let bed = Bed::start().await;
    let witness = bed.witness().await;
    let leases = bed.leases(TTL).await;
    let held = acquire_many(&leases, 1_000).await;
    bed.server.cli(&["CONFIG", "RESETSTAT"]).await;
    let began = Instant::now();
    while began.elapsed() < HEARTBEAT * ROUNDS {
        for lease in &held {
            lease.report(bytes(u64::try_from(began.elapsed().as_millis()).unwrap()));
        }
        tokio::time::sleep(HEARTBEAT / 4).await;
    }
    // Each asks for the texts once; a script call of a sweep does not.
    let calls = bed.calls("mget").await;
    // Four would do; neighbours join as rounds go by.
    let most = u64::from(ROUNDS + 1) * 12;
    assert!((u64::from(ROUNDS - 1) * 4..=most).contains(&calls), "{calls} script calls in {ROUNDS} rounds of 1 000");
    println!("{calls} script calls in {ROUNDS} intervals of 1 000 leases");
    let stored = store(bed.options(), TTL).await.list().await.unwrap();
    assert_eq!(stored.len(), 1_000);
    assert!(stored.iter().all(|stream| stream.bytes_received > 1_500), "each was written again and again");
    assert!(held.iter().all(is_held));
    witness.settled(&bed, "written in batches").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_epoch_that_another_program_dropped_is_put_back() {
    let bed = Bed::start().await;
    let witness = bed.witness().await;
    let leases = bed.leases(TTL).await;
    let lease = leases.acquire(stream("cam1", MINE)).await.unwrap();
    let theirs = format!(r#"{{"status":"paused","source_addr":"{MINE}","theirs":[1],"id":"cam1","type":"srt"}}"#);
    bed.put("cam1", theirs, 60_000).await;
    let reader = store(bed.options(), TTL).await;
    wait_until(SOON, async || reader.get(&id("cam1")).await.is_ok_and(|stored| stored.epoch() == Some(lease.epoch())))
        .await;
    let stored = reader.get(&id("cam1")).await.unwrap();
    assert_eq!(stored.status, StreamStatus::Paused);
    assert!(stored.to_json().contains(r#""theirs":[1]"#), "{}", stored.to_json());
    witness.settled(&bed, "put back").await;
    lease.release().await.unwrap();
    witness.settled(&bed, "released").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_whose_answer_is_lost_is_answered_once_it_can_be() {
    let bed = Bed::start().await;
    let (leases, proxy) = bed.leases_by_proxy().await;
    // The server has the scripts from here on: a lost answer is not the one that asks for their text.
    leases.acquire(stream("cam0", MINE)).await.unwrap().release().await.unwrap();
    let lease = Arc::new(leases.acquire(stream("cam1", MINE)).await.unwrap());
    lease.report(bytes(7));
    lease.flush().await.unwrap();
    proxy.drop_replies();
    let releasing = tokio::spawn({
        let lease = Arc::clone(&lease);
        async move { lease.release_with("over".parse().unwrap()).await }
    });
    wait_until(SOON, async || !bed.is_there("cam1").await).await;
    proxy.cut();
    proxy.resume().await;
    let last = releasing.await.unwrap().unwrap();
    assert_eq!((last.bytes_received, last.end_reason.as_deref()), (7, Some("over")));
    assert_eq!(lease.state(), LeaseState::Ended(LeaseEnd::Released));
    assert!(!bed.is_there("cam1").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_futures_leave_leases_and_store_of_one_mind() {
    const TASKS: u64 = 4;
    const CALLS: usize = 300;
    let seed = fastrand::u64(..);
    let bed = Bed::start().await;
    let witness = bed.witness().await;
    let leases = bed.leases(TTL).await;
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TASKS {
        let leases = leases.clone();
        tasks.spawn(async move {
            let mut random = fastrand::Rng::with_seed(seed.wrapping_add(task));
            let name = format!("cam{task}");
            let mut held: Option<Lease> = None;
            let mut dropped = 0;
            for call in 0..CALLS {
                let patience = Duration::from_micros(random.u64(0..1_500));
                let kind = random.usize(0..6);
                let Some(lease) = &held else {
                    match tokio::time::timeout(patience, leases.acquire(stream(&name, MINE))).await {
                        Ok(lease) => held = Some(lease.unwrap()),
                        Err(_) => dropped += 1,
                    }
                    continue;
                };
                lease.report(bytes(u64::try_from(call).unwrap()));
                let called = async {
                    match kind {
                        0 => lease.release().await.map(|_| true),
                        1 | 2 => lease.set_status(StreamStatus::Active).await.map(|()| false),
                        _ => lease.flush().await.map(|()| false),
                    }
                };
                match tokio::time::timeout(patience, called).await {
                    Err(_) => dropped += 1,
                    // An end that was dropped may have happened: the lease has found out, or does.
                    Ok(Err(error)) => assert_eq!(error.kind(), ErrorKind::NotFound, "seed {seed}: {error:?}"),
                    Ok(Ok(_)) => {}
                }
                if matches!(lease.state(), LeaseState::Ended(_)) {
                    held = None;
                }
            }
            (held, dropped)
        });
    }
    let (held, dropped): (Vec<_>, Vec<usize>) = tasks.join_all().await.into_iter().unzip();
    assert!(dropped.iter().sum::<usize>() > 50, "seed {seed}: {dropped:?} were dropped");
    let reader = store(bed.options(), TTL).await;
    for lease in held.iter().flatten() {
        // An end under way is found out by the next write.
        let flushed = lease.flush().await;
        let stored = reader.get(lease.id()).await;
        match lease.state() {
            LeaseState::Held => {
                let stored = stored.unwrap_or_else(|error| panic!("seed {seed}: flushed {flushed:?}, but {error:?}"));
                assert_eq!(stored.epoch(), Some(lease.epoch()), "seed {seed}");
            }
            LeaseState::Ended(LeaseEnd::Released) => assert!(stored.is_err(), "seed {seed}: {stored:?}"),
            other => panic!("seed {seed}: {other:?}"),
        }
    }
    // What an acquire left that was dropped, its publisher gets anew.
    for task in 0..TASKS {
        let lease = leases.acquire(stream(&format!("cam{task}"), MINE)).await.unwrap();
        lease.release().await.unwrap();
    }
    assert!(leases.is_empty() && bed.index().await.is_empty(), "seed {seed}");
    witness.settled(&bed, &format!("seed {seed}")).await;
}
