//! Two processes that take one stream from each other, again and again, while they and others write what they can.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ::redis::AsyncCommands as _;
use ::redis::aio::MultiplexedConnection;
use stream_registry::lease::{Lease, LeaseEnd, LeaseOptions, LeaseState, Leases};
use stream_registry::watch::{ChangeKind, Ending, Event, WatchFrom};
use stream_registry::{
    Change, ErrorKind, Guard, OnConflict, RedisRegistry, Registry, Stream, StreamPatch, StreamStats, StreamStatus,
    UnregisterOptions, Write,
};
use testkit::wait_until;

use super::{Bed, SOON, children, id, stream};

const WORKER: &str = "redis::fight::worker_of_the_fight";
const TTL: Duration = Duration::from_secs(5);
const HEARTBEAT: Duration = Duration::from_millis(100);
/// Leases that each side keeps alive meanwhile.
const LOAD: usize = 20;
/// Tasks of each side that change other streams meanwhile.
const CHANGERS: usize = 2;

/// How the sides take the stream: so often each in turns, and then so often each as it comes.
#[derive(Clone, Copy)]
struct Rounds {
    turns: usize,
    free: usize,
}

impl Rounds {
    fn of_one(self) -> usize {
        self.turns + self.free
    }
}

/// Where the sides meet, in a database of its own: lists that one pushes to and another waits for.
struct Board(MultiplexedConnection);

impl Board {
    async fn connect(url: &str) -> Self {
        let patient = ::redis::AsyncConnectionConfig::new().set_response_timeout(Some(SOON * 8));
        let client = ::redis::Client::open(format!("{url}/1")).unwrap();
        Self(client.get_multiplexed_async_connection_with_config(&patient).await.unwrap())
    }

    async fn tell(&mut self, place: &str, words: &str) {
        let () = self.0.rpush(place, words).await.unwrap();
    }

    async fn hear(&mut self, place: &str) -> String {
        let heard: Option<(String, String)> = self.0.blpop(place, 60.0).await.unwrap();
        heard.unwrap_or_else(|| panic!("nothing came to {place}")).1
    }
}

/// What a holder writes says who it is, by side and round.
fn source(side: usize, round: usize) -> String {
    format!("10.0.{side}.1:{round}")
}

fn word(side: usize, round: usize) -> StreamStatus {
    format!("side{side}-round{round}").parse().unwrap()
}

fn bytes(side: usize, round: usize) -> StreamStats {
    StreamStats { bytes_received: u64::try_from(side * 1_000_000 + round + 1).unwrap(), ..StreamStats::default() }
}

/// A record is one holder's, whole: what another one wrote is not in it.
fn assert_of_one(record: &Stream) {
    let (side, round) = record.source_addr.strip_prefix("10.0.").unwrap().split_once(".1:").unwrap();
    let (side, round) = (side.parse().unwrap(), round.parse().unwrap());
    assert!([StreamStatus::Connecting, word(side, round)].contains(&record.status), "{}", record.to_json());
    assert!([0, bytes(side, round).bytes_received].contains(&record.bytes_received), "{}", record.to_json());
}

/// Takes a stream that others take all the while: a store may say that it changes too fast.
async fn take_over(leases: &Leases, source: &str) -> Lease {
    let began = Instant::now();
    loop {
        match leases.acquire_with(stream("cam1", source), OnConflict::TakeOver).await {
            Ok(lease) => return lease,
            Err(error) => assert!(error.is_retryable() && began.elapsed() < SOON, "{error:?}"),
        }
    }
}

/// A heartbeat, statistics, a status and an end of a lease that was lost, past all that the handle knows.
async fn assert_too_late(store: &RedisRegistry, old: &Lease) {
    let guard = Guard::Holder(old.epoch().clone());
    let late = StreamStats { bytes_received: 666_666, ..StreamStats::default() };
    let changes = [Change::Heartbeat, Change::Stats(late), Change::Status("late".parse().unwrap())];
    let writes = changes.map(|change| Write { id: old.id().clone(), guard: guard.clone(), change });
    for answer in store.write(&writes).await.unwrap() {
        assert_eq!(answer.unwrap_err().kind(), ErrorKind::NotHolder);
    }
    let error = store.unregister_with(old.id(), &UnregisterOptions::default().guard(guard)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotHolder);
    assert_of_one(&store.get(old.id()).await.unwrap());
}

/// And what its handle says of it.
async fn assert_learns(old: &Lease, winner: usize) {
    assert_eq!(old.set_status("late".parse().unwrap()).await.unwrap_err().kind(), ErrorKind::NotHolder);
    let LeaseState::Ended(LeaseEnd::Superseded { by: Some(by) }) = old.state() else { panic!("{:?}", old.state()) };
    assert!(by.starts_with(&format!("10.0.{winner}.1:")), "taken by {by}");
    assert_eq!(old.release().await.unwrap_err().kind(), ErrorKind::NotHolder);
}

/// Changes streams that nobody leases, until it is told to stop; returns how many changes were done.
async fn change_others(store: Arc<RedisRegistry>, name: String, stop: Arc<AtomicBool>) -> usize {
    let (other, mut done) = (id(&name), 0);
    while !stop.load(Ordering::Relaxed) {
        store.register(&stream(&name, "h:1")).await.unwrap();
        store.update_status(&other, StreamStatus::Active).await.unwrap();
        let patch = StreamPatch { resolution: Some(done.to_string()), ..StreamPatch::default() };
        store.patch(&other, &patch).await.unwrap();
        store.unregister(&other).await.unwrap();
        done += 4;
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    done
}

/// One side, from its first round to the end of all that it holds.
async fn fight(url: String, side: usize, rounds: Rounds) {
    let mut board = Board::connect(&url).await;
    let store = Arc::new(
        RedisRegistry::connect(url.parse::<stream_registry::redis::RedisOptions>().unwrap().ttl(TTL)).await.unwrap(),
    );
    let leases = Leases::new(store.clone(), LeaseOptions::default().heartbeat(HEARTBEAT));
    let mut load = Vec::new();
    for at in 0..LOAD {
        load.push(leases.acquire(stream(&format!("load{side}-{at}"), "h:1")).await.unwrap());
    }
    let stop = Arc::new(AtomicBool::new(false));
    let changers: Vec<_> = (0..CHANGERS)
        .map(|at| tokio::spawn(change_others(Arc::clone(&store), format!("other{side}-{at}"), Arc::clone(&stop))))
        .collect();
    let (mine, theirs) = (format!("turn{side}"), format!("turn{}", 1 - side));
    let mut all: Vec<Lease> = Vec::new();
    for round in 0..rounds.of_one() {
        let in_turns = round < rounds.turns;
        if in_turns || round == rounds.turns {
            board.hear(&mine).await;
        }
        if let Some(old) = all.last().filter(|_| in_turns) {
            // The other process has the stream, and writes while this one says what comes too late.
            assert_too_late(&store, old).await;
            assert_learns(old, 1 - side).await;
        }
        let lease = take_over(&leases, &source(side, round)).await;
        if let Some(old) = all.last().filter(|_| !in_turns) {
            assert_too_late(&store, old).await;
        }
        if in_turns || round == rounds.turns {
            board.tell(&theirs, "go on").await;
        }
        // While the other one takes it: written, or too late.
        lease.report(bytes(side, round));
        if let Err(error) = lease.set_status(word(side, round)).await {
            assert_eq!(error.kind(), ErrorKind::NotHolder, "{error:?}");
        }
        all.push(lease);
    }
    stop.store(true, Ordering::Relaxed);
    for changer in changers {
        assert!(changer.await.unwrap() > 0);
    }
    board.tell("done", "").await;
    board.hear(&format!("settle{side}")).await;
    // Whoever believes to have it has a heartbeat written from now on, and whoever has not learns by its own.
    let last = all.last().unwrap();
    let now = store.get(last.id()).await.unwrap().last_heartbeat;
    wait_until(SOON, async || {
        let stored = store.get(last.id()).await.unwrap();
        last.state() != LeaseState::Held || stored.epoch() == Some(last.epoch()) && stored.last_heartbeat > now
    })
    .await;
    let held: Vec<_> = all.iter().filter(|lease| lease.state() == LeaseState::Held).collect();
    let belief: Vec<_> = held.iter().map(|lease| format!("{} {}", lease.epoch(), lease.stream().source_addr)).collect();
    board.tell("belief", &belief.join(",")).await;
    board.hear(&format!("end{side}")).await;
    assert!(load.iter().all(|lease| lease.state() == LeaseState::Held), "the load was kept alive");
    assert!(leases.release_all().await.is_empty());
}

/// What the feed tells of the stream, up to its end.
async fn story(store: Arc<RedisRegistry>) -> Vec<Event> {
    let mut watch = store.watch(WatchFrom::Oldest).await.unwrap();
    let mut told = Vec::new();
    loop {
        let event = watch.next().await.unwrap();
        assert!(!matches!(event, Event::Resync { .. }));
        if event.stream().is_some_and(|stream| stream.id.as_str() == "cam1") {
            let over = matches!(event, Event::Ended { .. });
            told.push(event);
            if over {
                return told;
            }
        }
    }
}

/// Every take-over is told once, later epochs are greater, and between two nobody but the holder has changed a thing.
fn assert_told(told: &[Event], rounds: Rounds, last: &Stream) {
    let Some((Event::Ended { reason: Ending::Unregistered(_), last: end, .. }, changes)) = told.split_last() else {
        panic!("{:?}", told.last())
    };
    assert_eq!((end.epoch(), &end.source_addr), (last.epoch(), &last.source_addr), "ended by who had it");
    let mut holder: Option<&Stream> = None;
    let (mut taken, mut in_turns) = (0, 0);
    for event in changes {
        let Event::Changed { kind, stream, .. } = event else { panic!("{event:?}") };
        assert_of_one(stream);
        match kind {
            ChangeKind::Registered => assert!(holder.is_none(), "it was never gone"),
            ChangeKind::TakenOver => {
                let before = holder.unwrap();
                assert!(stream.epoch() > before.epoch(), "{event:?}");
                assert_ne!(stream.source_addr, before.source_addr);
                in_turns += usize::from(stream.source_addr[..6] != before.source_addr[..6]);
                taken += 1;
            }
            ChangeKind::Status => {
                let holder = holder.unwrap();
                assert_eq!((stream.epoch(), &stream.source_addr), (holder.epoch(), &holder.source_addr), "{event:?}");
            }
            _ => panic!("{event:?}"),
        }
        if *kind != ChangeKind::Status {
            holder = Some(stream);
        }
    }
    assert_eq!(taken, rounds.of_one() * 2 - 1, "one registered, all others took over");
    assert!(in_turns >= rounds.turns * 2 - 1, "{in_turns} were from the other process");
}

/// Lets two sides fight and looks what came of it. They are told when to begin and to end, and run elsewhere.
async fn referee(bed: &Bed, rounds: Rounds) {
    let witness = bed.witness().await;
    let store = Arc::new(RedisRegistry::connect(bed.options().ttl(TTL)).await.unwrap());
    let told = tokio::spawn(story(Arc::clone(&store)));
    let mut board = Board::connect(&bed.server.url()).await;
    let began = Instant::now();
    board.tell("turn0", "begin").await;
    for _ in 0..2 {
        board.hear("done").await;
    }
    println!("{} take-overs in {:?}", rounds.of_one() * 2, began.elapsed());
    let mut beliefs = String::new();
    for side in 0..2 {
        board.tell(&format!("settle{side}"), "").await;
    }
    for _ in 0..2 {
        beliefs.push_str(&board.hear("belief").await);
    }
    let stored = store.get(&id("cam1")).await.unwrap();
    assert_eq!(beliefs, format!("{} {}", stored.epoch().unwrap(), stored.source_addr), "exactly one believes it");
    assert_of_one(&stored);
    assert!(stored.bytes_received > 0 && stored.status != StreamStatus::Connecting, "{}", stored.to_json());
    witness.settled(bed, "one holds it").await;
    for side in 0..2 {
        board.tell(&format!("end{side}"), "").await;
    }
    let told = tokio::time::timeout(SOON, told).await.unwrap().unwrap();
    assert_told(&told, rounds, &stored);
    wait_until(SOON, async || bed.index().await.is_empty()).await;
    witness.settled(bed, "all are released").await;
}

/// One of the two processes, where it was told so; else both sides in this one, for a few rounds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn worker_of_the_fight() {
    if let Some(told) = children::job() {
        let words: Vec<&str> = told.split('|').collect();
        let [url, side, turns, free] = words[..] else { panic!("{told}") };
        let rounds = Rounds { turns: turns.parse().unwrap(), free: free.parse().unwrap() };
        return fight(url.to_owned(), side.parse().unwrap(), rounds).await;
    }
    let bed = Bed::start().await;
    let rounds = Rounds { turns: 20, free: 20 };
    let fight = |side| fight(bed.server.url(), side, rounds);
    tokio::join!(fight(0), fight(1), referee(&bed, rounds));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_take_a_stream_from_each_other_a_thousand_times() {
    let bed = Bed::start().await;
    let (url, rounds) = (bed.server.url(), Rounds { turns: 500, free: 25 });
    // A process that fails ends the test, with what it said.
    let run = |side: usize| {
        children::ended(children::start(WORKER, &format!("{url}|{side}|{}|{}", rounds.turns, rounds.free)))
    };
    tokio::join!(run(0), run(1), referee(&bed, rounds));
}
