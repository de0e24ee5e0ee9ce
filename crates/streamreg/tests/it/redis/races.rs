//! Concurrent processes: registrations have one winner, generated ids are distinct, and no call fails because of a
//! flushed script cache.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use stream_registry::{ErrorKind, Outcome, RedisRegistry, RegisterOptions, Registry};
use testkit::{RedisServer, wait_until};

use super::operations::{SOURCE, Verb};
use super::{TestRedis, id, stream, workers};

const PROCESSES: usize = 4;
const TASKS: usize = 16;
const ROUNDS: usize = 200;
const NEW_IDS: usize = 320;

/// In a worker process, the tasks of this test compete with the tasks of three other processes. Otherwise, they compete
/// only with each other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_one_of_16_tasks_wins_each_registration() {
    let assignment = workers::job();
    let (_server, url, job, process) = match &assignment {
        Some(assignment) => {
            let mut parts = assignment.split('|').map(str::to_owned);
            (None, parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap())
        }
        None => {
            let server = RedisServer::start().await;
            let url = server.unix_url();
            (Some(server), url, "register".to_owned(), "0".to_owned())
        }
    };
    let store = Arc::new(RedisRegistry::connect(url.parse().unwrap()).await.unwrap());
    if job == "new" {
        let calls = (0..TASKS).map(|_| {
            let store = Arc::clone(&store);
            async move {
                let mut ids = Vec::new();
                for _ in 0..NEW_IDS / TASKS {
                    let made = store.register_new(&stream("any", SOURCE), &RegisterOptions::default()).await;
                    ids.push(made.unwrap().stream.id);
                }
                ids
            }
        });
        let ids: BTreeSet<_> = futures_util::future::join_all(calls).await.into_iter().flatten().collect();
        assert_eq!(ids.len(), NEW_IDS);
        return;
    }
    let rounds = if assignment.is_some() { ROUNDS } else { 20 };
    let mut won = Vec::new();
    for round in 0..rounds {
        if assignment.is_some() {
            barrier(&url, round).await;
        }
        let name = format!("round{round}");
        let calls = (0..TASKS).map(|task| {
            let (store, name, source) = (Arc::clone(&store), name.clone(), format!("p{process}:{}", 1_000 + task));
            tokio::spawn(async move { (store.register(&stream(&name, &source)).await, source) })
        });
        for answer in futures_util::future::join_all(calls).await {
            let (answer, source) = answer.unwrap();
            match answer {
                Ok(registered) => {
                    assert_eq!((registered.outcome, &registered.stream.source_addr), (Outcome::Created, &source));
                    won.push((round, registered.stream));
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error:?}");
                    // The error contains the winner's stream, which must be the stored stream.
                    let winner = error.existing().expect("the existing record");
                    assert_ne!(winner.source_addr, source);
                    assert_eq!(*winner, store.get(&id(&name)).await.unwrap());
                }
            }
        }
    }
    if assignment.is_none() {
        assert_eq!(won.len(), rounds, "one winner per round");
    }
    // Stores the winning publishers of this process in Redis, where the parent process reads them.
    let mut raw = connect_raw(&url).await;
    for (round, stream) in won {
        let () = ::redis::cmd("RPUSH")
            .arg(format!("test:winners:{round}"))
            .arg(stream.source_addr)
            .query_async(&mut raw)
            .await
            .unwrap();
    }
}

async fn connect_raw(url: &str) -> ::redis::aio::MultiplexedConnection {
    ::redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap()
}

/// Waits until all processes have reached a round, so that they compete.
async fn barrier(url: &str, round: usize) {
    thread_local! {
        static RAW: std::cell::RefCell<Option<::redis::aio::MultiplexedConnection>> = const { std::cell::RefCell::new(None) };
    }
    let mut raw = match RAW.with_borrow(Clone::clone) {
        Some(raw) => raw,
        None => {
            let raw = connect_raw(url).await;
            RAW.set(Some(raw.clone()));
            raw
        }
    };
    let key = format!("test:round:{round}");
    let () = ::redis::cmd("INCR").arg(&key).query_async(&mut raw).await.unwrap();
    let all = i64::try_from(PROCESSES).unwrap();
    loop {
        let arrived: i64 = ::redis::cmd("GET").arg(&key).query_async(&mut raw).await.unwrap();
        if arrived >= all {
            return;
        }
        tokio::time::sleep(Duration::from_micros(300)).await;
    }
}

/// Runs four worker processes with one job and waits for all of them.
async fn run_workers(url: &str, job: &str) {
    let workers: Vec<_> = (0..PROCESSES)
        .map(|process| {
            workers::start(
                "redis::races::exactly_one_of_16_tasks_wins_each_registration",
                &format!("{url}|{job}|{process}"),
            )
        })
        .collect();
    futures_util::future::join_all(workers.into_iter().map(workers::wait)).await;
}

#[tokio::test]
async fn exactly_one_of_64_tasks_in_4_processes_wins_each_registration() {
    let redis = TestRedis::start().await;
    run_workers(&redis.server.url(), "register").await;
    let store = redis.store().await;
    let mut sources = BTreeSet::new();
    for round in 0..ROUNDS {
        let winners: Vec<String> = ::redis::cmd("LRANGE")
            .arg(format!("test:winners:{round}"))
            .arg(0)
            .arg(-1)
            .query_async(&mut redis.raw.clone())
            .await
            .unwrap();
        assert_eq!(winners.len(), 1, "round {round}: {winners:?}");
        let stored = store.get(&id(&format!("round{round}"))).await.unwrap();
        assert_eq!(stored.source_addr, winners[0], "round {round}");
        sources.insert(stored.source_addr.split(':').next().unwrap().to_owned());
    }
    assert!(sources.len() > 1, "the processes did not compete: only {sources:?} won");
    assert_eq!(store.list().await.unwrap().len(), ROUNDS);
}

#[tokio::test]
async fn register_new_in_4_processes_generates_distinct_ids() {
    let redis = TestRedis::start().await;
    run_workers(&redis.server.url(), "new").await;
    let listed: BTreeSet<_> = redis.store().await.list().await.unwrap().into_iter().map(|stream| stream.id).collect();
    assert_eq!(listed.len(), PROCESSES * NEW_IDS, "each call registered its own stream");
    redis.assert_consistent("after register_new").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_fails_while_the_script_cache_is_flushed() {
    let redis = TestRedis::start().await;
    let store = Arc::new(redis.store().await);
    redis.user("scripts", "+@all -sort_ro allkeys").await;
    let lister = Arc::new(redis.store_as("scripts").await);
    let stop = Arc::new(AtomicBool::new(false));
    let flusher = tokio::spawn({
        let (stop, mut raw) = (Arc::clone(&stop), redis.raw.clone());
        async move {
            let mut flushed = 0;
            while !stop.load(Ordering::Relaxed) {
                let () = ::redis::cmd("SCRIPT").arg("FLUSH").query_async(&mut raw).await.unwrap();
                flushed += 1;
                tokio::task::yield_now().await;
            }
            flushed
        }
    });
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..16 {
        let (store, lister) = (Arc::clone(&store), Arc::clone(&lister));
        tasks.spawn(async move {
            let name = format!("cam{task}");
            for round in 0..20 {
                let verbs = [Verb::Register, Verb::Heartbeat, Verb::AllStats, Verb::Patch, Verb::Update, Verb::Batch];
                for verb in verbs.into_iter().chain([Verb::Unregister]) {
                    verb.run(&store, &name).await.unwrap_or_else(|error| panic!("{verb:?}, round {round}: {error:?}"));
                }
                lister.list().await.unwrap_or_else(|error| panic!("list, round {round}: {error:?}"));
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    assert!(flusher.await.unwrap() > 50);
    wait_until(super::TIMEOUT, async || redis.index().await.is_empty()).await;
    redis.assert_consistent("after the flushes").await;
}
