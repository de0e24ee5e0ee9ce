//! Drops futures at any point. The store must stay consistent and serve the next call at once.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use stream_registry::{ErrorKind, RedisRegistry, Registry};

use super::operations::{ALL, SOURCE};
use super::{TIMEOUT, TestRedis, id, stream};

/// State in which a future is dropped after its last poll.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum When {
    /// While the future is pending.
    Pending,
    /// After the future was woken.
    Woken,
}

/// Polls a future at most `polls` times, each time after a wake-up, and then drops the future. Returns `None` if the
/// future did not complete.
pub(super) async fn drop_after<F: Future>(future: F, polls: usize, when: When) -> Option<F::Output> {
    let mut future = Box::pin(future);
    let mut left = polls;
    let polled = poll_fn(move |context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(context) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending if left == 0 && when == When::Pending => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    });
    tokio::time::timeout(TIMEOUT, polled).await.unwrap_or_else(|_| panic!("not woken after {polls} polls"))
}

/// Drops a call after zero, one, two … polls, until `drop_at` reports that the call completed. Repeats this for each
/// state in [`When`]. Returns the number of dropped calls.
pub(super) async fn drop_at_every_point(mut drop_at: impl AsyncFnMut(usize, When) -> bool) -> usize {
    // No call in these tests needs this many polls.
    const MAX_POLLS: usize = 100;
    let mut dropped = 0;
    for when in [When::Pending, When::Woken] {
        let mut polls = 0;
        while drop_at(polls, when).await {
            dropped += 1;
            polls += 1;
            assert!(polls < MAX_POLLS, "not complete after {polls} polls");
        }
    }
    dropped
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelled_calls_leave_no_partial_change() {
    const TASKS: usize = 8;
    const DROPS: usize = 250;
    let seed = fastrand::u64(..);
    let redis = TestRedis::start().await;
    let store = Arc::new(redis.store().await);
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TASKS {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            let mut random = fastrand::Rng::with_seed(seed.wrapping_add(u64::try_from(task).unwrap()));
            let mut dropped = 0;
            let mut calls = 0;
            while dropped < DROPS && calls < DROPS * 20 {
                calls += 1;
                let name = format!("cam{}", random.usize(0..12));
                let polls = random.usize(1..5);
                let verb = random.usize(0..ALL.len() + 3);
                let delay = Duration::from_micros(random.u64(0..800));
                let by_time = random.bool();
                let store = Arc::clone(&store);
                let call = async move {
                    let result = match ALL.get(verb) {
                        Some(verb) => verb.run(&store, &name).await,
                        None if verb == ALL.len() => store.get(&id(&name)).await.map(|_| ()),
                        None if verb == ALL.len() + 1 => store.list().await.map(|_| ()),
                        None => store.list_page(None, std::num::NonZeroU32::MIN).await.map(|_| ()),
                    };
                    if let Err(error) = result {
                        let known = [ErrorKind::NotFound, ErrorKind::AlreadyExists];
                        // With so many writers, the store's 16 attempts at a write may not be enough.
                        let contended =
                            error.kind() == ErrorKind::Unavailable && error.message().contains("changes faster");
                        assert!(known.contains(&error.kind()) || contended, "{error:?}");
                    }
                };
                let done = if by_time {
                    tokio::time::timeout(delay, call).await.is_ok()
                } else {
                    drop_after(call, polls, When::Pending).await.is_some()
                };
                dropped += usize::from(!done);
            }
            dropped
        });
    }
    let mut dropped = 0;
    while let Some(done) = tasks.join_next().await {
        dropped += done.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
    assert_eq!(dropped, TASKS * DROPS, "seed {seed}");
    // The next call is served immediately.
    let started = Instant::now();
    store.register(&stream("next", "h:1")).await.unwrap();
    store.update_heartbeat(&id("next")).await.unwrap();
    store.get(&id("next")).await.unwrap();
    store.list().await.unwrap();
    assert!(started.elapsed() < Duration::from_millis(900), "seed {seed}: {:?}", started.elapsed());
    // The server replies in order, so all calls that were dropped in flight have completed by now.
    redis.assert_consistent(&format!("seed {seed}")).await;
    let listed = store.list().await.unwrap();
    assert_eq!(listed.len(), redis.index().await.len(), "seed {seed}");
}

/// A runtime that stops with calls in flight does not block the next runtime.
#[test]
fn stopped_runtime_does_not_delay_calls_of_the_next_runtime() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let first = runtime();
    let (redis, store) = first.block_on(async {
        let redis = TestRedis::start().await;
        let store = redis.store().await;
        store.register(&stream("cam1", SOURCE)).await.unwrap();
        (redis, store)
    });
    for _ in 0..5 {
        let short = runtime();
        short.block_on(async {
            // The runtime stops before any other task has run.
            let get = async { drop(store.get(&id("cam1")).await) };
            let mut get = pin!(get);
            poll_fn(|context| {
                assert!(get.as_mut().poll(context).is_pending());
                Poll::Ready(())
            })
            .await;
            let beat = async { drop(store.update_heartbeat(&id("cam1")).await) };
            let mut beat = pin!(beat);
            poll_fn(|context| {
                assert!(beat.as_mut().poll(context).is_pending());
                Poll::Ready(())
            })
            .await;
        });
        drop(short);
    }
    let started = Instant::now();
    first.block_on(async {
        assert_served(&store).await;
    });
    assert!(started.elapsed() < Duration::from_millis(900), "{:?}", started.elapsed());
    drop(redis);
}

async fn assert_served(store: &RedisRegistry) {
    store.get(&id("cam1")).await.unwrap();
    store.update_heartbeat(&id("cam1")).await.unwrap();
}
