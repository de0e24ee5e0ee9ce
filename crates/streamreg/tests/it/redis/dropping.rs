//! Futures dropped at any point: the store stays consistent and serves the next call at once.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use stream_registry::{ErrorKind, RedisRegistry, Registry};

use super::operations::{ALL, SOURCE};
use super::{Bed, id, stream};

/// Polls a future at most so often; `None` if it was not done by then and is dropped.
struct AtMost<F> {
    inner: Pin<Box<F>>,
    left: usize,
}

impl<F: Future> Future for AtMost<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.left -= 1;
        match self.inner.as_mut().poll(context) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending if self.left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_futures_leave_no_half_and_nothing_stuck() {
    const TASKS: usize = 8;
    const DROPS: usize = 250;
    let seed = fastrand::u64(..);
    let bed = Bed::start().await;
    let store = Arc::new(bed.store().await);
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
                    let answer = match ALL.get(verb) {
                        Some(verb) => verb.run(&store, &name).await,
                        None if verb == ALL.len() => store.get(&id(&name)).await.map(|_| ()),
                        None if verb == ALL.len() + 1 => store.list().await.map(|_| ()),
                        None => store.list_page(None, std::num::NonZeroU32::MIN).await.map(|_| ()),
                    };
                    if let Err(error) = answer {
                        let known = [ErrorKind::NotFound, ErrorKind::AlreadyExists];
                        // Sixteen tries among so many writers may not do.
                        let contended =
                            error.kind() == ErrorKind::Unavailable && error.message().contains("changes faster");
                        assert!(known.contains(&error.kind()) || contended, "{error:?}");
                    }
                };
                let done = if by_time {
                    tokio::time::timeout(delay, call).await.is_ok()
                } else {
                    AtMost { inner: Box::pin(call), left: polls }.await.is_some()
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
    // The next call is served at once.
    let began = Instant::now();
    store.register(&stream("next", "h:1")).await.unwrap();
    store.update_heartbeat(&id("next")).await.unwrap();
    store.get(&id("next")).await.unwrap();
    store.list().await.unwrap();
    assert!(began.elapsed() < Duration::from_millis(900), "seed {seed}: {:?}", began.elapsed());
    // What was under way when it was dropped has ended: the server answers in order.
    bed.assert_whole(&format!("seed {seed}")).await;
    let listed = store.list().await.unwrap();
    assert_eq!(listed.len(), bed.index().await.len(), "seed {seed}");
}

/// A runtime that ends under calls leaves nothing behind that would hinder the next one.
#[test]
fn a_runtime_that_ends_takes_no_place_along() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let first = runtime();
    let (bed, store) = first.block_on(async {
        let bed = Bed::start().await;
        let store = bed.store().await;
        store.register(&stream("cam1", SOURCE)).await.unwrap();
        (bed, store)
    });
    for _ in 0..5 {
        let short = runtime();
        short.block_on(async {
            // Begun and left: the runtime ends before anything else has had a turn.
            let get = async { drop(store.get(&id("cam1")).await) };
            let mut get = pin!(get);
            std::future::poll_fn(|context| {
                assert!(get.as_mut().poll(context).is_pending());
                Poll::Ready(())
            })
            .await;
            let beat = async { drop(store.update_heartbeat(&id("cam1")).await) };
            let mut beat = pin!(beat);
            std::future::poll_fn(|context| {
                assert!(beat.as_mut().poll(context).is_pending());
                Poll::Ready(())
            })
            .await;
        });
        drop(short);
    }
    let began = Instant::now();
    first.block_on(async {
        assert_served(&store).await;
    });
    assert!(began.elapsed() < Duration::from_millis(900), "{:?}", began.elapsed());
    drop(bed);
}

async fn assert_served(store: &RedisRegistry) {
    store.get(&id("cam1")).await.unwrap();
    store.update_heartbeat(&id("cam1")).await.unwrap();
}
