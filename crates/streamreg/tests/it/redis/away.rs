//! The server goes away and comes back; the network loses, cuts and refuses.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use stream_registry::redis::RedisOptions;
use stream_registry::{ErrorKind, RedisRegistry, Registry, Result};
use testkit::{Data, FaultProxy};

use super::operations::{SOURCE, Verb};
use super::{Bed, id, stream};

/// No call takes longer, whatever happens.
const LONGEST: Duration = Duration::from_secs(2);
/// After its return the server has to be in use again.
const BACK: Duration = Duration::from_secs(1);
/// What a busy machine may add to a measured time.
const SLACK: Duration = Duration::from_millis(400);
const CALLERS: usize = 32;

/// One call that ended: when it began, when it ended, and how.
struct Ended {
    began: Instant,
    ended: Instant,
    what: &'static str,
    error: Option<stream_registry::Error>,
}

/// Callers that go on whatever happens.
struct Callers {
    stop: Arc<AtomicBool>,
    tasks: tokio::task::JoinSet<Vec<Ended>>,
}

async fn one_call(store: &RedisRegistry, caller: usize, round: usize) -> (&'static str, Result<()>) {
    let name = format!("cam{caller}");
    match (caller % 4, round % 4) {
        (0, 0) => ("list", store.list().await.map(|_| ())),
        (0, 1) => ("list_page", store.list_page(None, std::num::NonZeroU32::MIN).await.map(|_| ())),
        (0, _) | (1, 0) => ("get", store.get(&id(&name)).await.map(|_| ())),
        (1, _) => ("heartbeat", Verb::Heartbeat.run(store, &name).await),
        (2, 0) => ("register", Verb::Register.run(store, &name).await),
        (2, 1) => ("unregister", Verb::Unregister.run(store, &format!("{name}x")).await),
        (2, _) => ("register", Verb::Register.run(store, &format!("{name}x")).await),
        (_, 0) => ("patch", Verb::Patch.run(store, &name).await),
        (_, 1) => ("update", Verb::Update.run(store, &name).await),
        (_, 2) => ("batch", Verb::Batch.run(store, &name).await),
        _ => ("stats", Verb::AllStats.run(store, &name).await),
    }
}

impl Callers {
    fn start(store: &Arc<RedisRegistry>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = tokio::task::JoinSet::new();
        for caller in 0..CALLERS {
            let (store, stop) = (Arc::clone(store), Arc::clone(&stop));
            tasks.spawn(async move {
                let mut ended = Vec::new();
                for round in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let began = Instant::now();
                    let (what, answer) = one_call(&store, caller, round).await;
                    let error = answer.err();
                    let failed = error.is_some();
                    ended.push(Ended { began, ended: Instant::now(), what, error });
                    // Some pace, so that the machine has time for the server too.
                    tokio::time::sleep(Duration::from_millis(if failed { 20 } else { 5 })).await;
                }
                ended
            });
        }
        Self { stop, tasks }
    }

    async fn stop(self) -> Vec<Ended> {
        self.stop.store(true, Ordering::Relaxed);
        self.tasks.join_all().await.into_iter().flatten().collect()
    }
}

/// Failures only of calls that touched the time from `gone` to `back` and a second; none too long.
fn judge(ended: &[Ended], gone: Instant, back: Instant, context: &str) {
    let longest = ended.iter().max_by_key(|call| call.ended - call.began).unwrap();
    let took = longest.ended - longest.began;
    assert!(took <= LONGEST + SLACK, "{context}: {} took {took:?}: {:?}", longest.what, longest.error);
    let mut away = 0;
    for call in ended {
        let Some(error) = &call.error else { continue };
        if error.kind() == ErrorKind::NotFound && call.what == "unregister" {
            continue;
        }
        let at = call.began.saturating_duration_since(gone);
        assert!(call.ended >= gone, "{context}: {} failed before the server was gone: {error:?}", call.what);
        assert!(
            call.began <= back + BACK,
            "{context}: {} began {:?} after the return and failed: {error:?}",
            call.what,
            call.began - back
        );
        let kinds = [ErrorKind::Unavailable, ErrorKind::Timeout];
        assert!(kinds.contains(&error.kind()), "{context}: {} at {at:?}: {error:?}", call.what);
        assert!(error.is_retryable());
        away += 1;
    }
    assert!(away > 0, "{context}: no call met the outage");
    let good_after = ended.iter().filter(|call| call.began > back + BACK && call.error.is_none()).count();
    assert!(good_after > CALLERS, "{context}: {good_after} calls after the return");
}

async fn prepare(store: &RedisRegistry) {
    for caller in 0..CALLERS {
        store.register(&stream(&format!("cam{caller}"), SOURCE)).await.unwrap();
    }
    store.list().await.unwrap();
}

/// Lets the callers work on for a while, measured by the clock, since "nothing happens" has no condition.
async fn go_on(time: Duration) {
    tokio::time::sleep(time).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_and_started_again() {
    let mut bed = Bed::start().await;
    let store = Arc::new(bed.store().await);
    prepare(&store).await;
    let callers = Callers::start(&store);
    go_on(Duration::from_millis(300)).await;
    bed.server.cli(&["SAVE"]).await;
    let gone = Instant::now();
    bed.server.kill();
    go_on(Duration::from_millis(1_500)).await;
    let error = store.get(&id("cam1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    let error = Verb::Heartbeat.run(&store, "cam1").await.unwrap_err();
    assert_eq!((error.kind(), error.may_have_applied()), (ErrorKind::Unavailable, false), "{error:?}");
    bed.server.restart(Data::Kept).await;
    let back = Instant::now();
    go_on(Duration::from_secs(2)).await;
    judge(&callers.stop().await, gone, back, "kill and restart");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_for_five_seconds() {
    let bed = Bed::start().await;
    let store = Arc::new(bed.store().await);
    prepare(&store).await;
    let callers = Callers::start(&store);
    go_on(Duration::from_millis(300)).await;
    let gone = Instant::now();
    bed.server.pause();
    go_on(Duration::from_secs(5)).await;
    bed.server.resume();
    let back = Instant::now();
    go_on(Duration::from_secs(2)).await;
    judge(&callers.stop().await, gone, back, "SIGSTOP");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_fails_in_every_way() {
    let bed = Bed::start().await;
    let proxy = FaultProxy::start(bed.server.addr()).await;
    let options: RedisOptions = format!("redis://{}", proxy.addr()).parse().unwrap();
    let store = Arc::new(RedisRegistry::connect(options).await.unwrap());
    prepare(&store).await;
    for fault in ["stall", "swallow", "cut", "cut mid-reply", "refuse"] {
        let callers = Callers::start(&store);
        go_on(Duration::from_millis(200)).await;
        let gone = Instant::now();
        match fault {
            "stall" => proxy.stall(),
            "swallow" => proxy.drop_replies(),
            "cut" => proxy.cut(),
            "cut mid-reply" => proxy.cut_replies_after(777),
            _ => proxy.refuse().await,
        }
        if fault == "cut" {
            // A cut lasts no time, in which no call may be under way.
            for _ in 0..10 {
                go_on(Duration::from_millis(5)).await;
                proxy.cut();
            }
        } else {
            go_on(Duration::from_millis(1_300)).await;
        }
        if fault == "swallow" {
            // A connection that has lost a part of an answer brings nothing more: TCP has no gaps.
            proxy.cut();
        }
        proxy.resume().await;
        let back = Instant::now();
        go_on(BACK + Duration::from_millis(400)).await;
        judge(&callers.stop().await, gone, back, fault);
        bed.assert_whole(fault).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_connection_notices_a_restart() {
    let mut bed = Bed::start().await;
    for unix in [false, true] {
        let url = if unix { bed.server.unix_url() } else { bed.server.url() };
        let store = RedisRegistry::connect(url.parse().unwrap()).await.unwrap();
        for round in 0..4_u8 {
            store.register(&stream("cam1", SOURCE)).await.unwrap();
            store.list().await.unwrap();
            bed.server.restart(Data::Kept).await;
            // The first call after the restart, of each kind in turn.
            let done = match round {
                0 => store.get(&id("cam1")).await.map(|_| ()),
                1 => store.update_heartbeat(&id("cam1")).await,
                2 => store.list().await.map(|_| ()),
                _ => store.unregister(&id("cam1")).await.map(|_| ()),
            };
            done.unwrap_or_else(|error| panic!("unix {unix}, round {round}: {error:?}"));
        }
    }
}

#[tokio::test]
async fn lists_and_pages_end_in_time_when_the_server_stops() {
    let bed = Bed::start().await;
    for warm in [true, false] {
        let store = bed.store().await;
        store.register(&stream("cam1", SOURCE)).await.unwrap();
        if warm {
            store.list().await.unwrap();
        }
        bed.server.pause();
        for round in 0..2 {
            for what in ["list", "list_page"] {
                let began = Instant::now();
                let error = match what {
                    "list" => store.list().await.map(|_| ()).unwrap_err(),
                    _ => store.list_page(None, std::num::NonZeroU32::MIN).await.map(|_| ()).unwrap_err(),
                };
                let took = began.elapsed();
                assert!(took <= LONGEST + SLACK, "{what}, warm {warm}, round {round}: {took:?}: {error:?}");
                assert!(error.is_retryable() && !error.may_have_applied(), "{what}: {error:?}");
            }
        }
        bed.server.resume();
        store.list().await.unwrap();
    }
}

#[tokio::test]
async fn closed_means_closed() {
    let bed = Bed::start().await;
    let store = bed.store().await;
    store.register(&stream("cam1", SOURCE)).await.unwrap();
    store.close().await.unwrap();
    store.close().await.unwrap();
    for verb in super::operations::ALL {
        let error = verb.run(&store, "cam1").await.unwrap_err();
        assert_eq!((error.kind(), error.may_have_applied()), (ErrorKind::Closed, false), "{verb:?}: {error:?}");
    }
    assert_eq!(store.get(&id("cam1")).await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(store.list().await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(store.ping().await.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn a_server_that_cannot_read_yet_does_not_change_the_way_of_listing() {
    let bed = Bed::start().await;
    let store = bed.store().await;
    store.register(&stream("cam1", "h:1")).await.unwrap();
    // As while it loads: it takes commands and refuses those that read.
    bed.server.cli(&["CONFIG", "SET", "replica-serve-stale-data", "no"]).await;
    bed.server.cli(&["REPLICAOF", "127.0.0.1", "1"]).await;
    for _ in 0..3 {
        let error = store.list().await.unwrap_err();
        assert!(error.kind() == ErrorKind::Unavailable && error.is_retryable(), "{error:?}");
        assert!(error.message().contains("has lost its primary"), "{error}");
    }
    bed.server.cli(&["REPLICAOF", "NO", "ONE"]).await;
    bed.server.cli(&["CONFIG", "RESETSTAT"]).await;
    assert_eq!(store.list().await.unwrap().len(), 1);
    let stats = bed.server.cli(&["INFO", "commandstats"]).await;
    assert!(stats.contains("cmdstat_sort_ro:calls=1"), "{stats}");
}
