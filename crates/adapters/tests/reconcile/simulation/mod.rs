//! Random servers, publishers, hooks and lists. The list of registered streams must follow the server's truth.
//!
//! `SEED=7 cargo test -p stream-registry-adapters --test reconcile simulation` replays one seed. With `TRACE=1`, the
//! steps are printed if the seed fails.

mod server;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use adapters::model::{Event, Snapshot};
use adapters::reconcile::Change;
use fastrand::Rng;
use stream_registry::StreamStatus;

use crate::bench::Bench;
use server::{Kind, PATHS, Server};

/// Number of seeds, unless `SEEDS` says otherwise.
const SEEDS: u64 = 200;
/// Time during which publishers come and go.
const BUSY: Duration = Duration::from_secs(400);
/// Time after which all hooks have arrived, starts are no longer protected, and every worker has been listed twice.
const SETTLE: Duration = Duration::from_secs(30);

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a simulation has few steps at a time")]
enum Step {
    /// A publisher does something.
    Act,
    Stop,
    Restart,
    /// A hook arrives.
    Hook(Event),
    Request,
    /// The server reads its own state for the answer.
    Read(Duration),
    /// The answer arrives. `None` means that the list has failed.
    Answer(Duration, Option<(usize, u32, Snapshot)>),
    Tick,
}

struct Simulation {
    rng: Rng,
    bench: Bench,
    server: Server,
    steps: BinaryHeap<Reverse<(Duration, u64)>>,
    by_number: BTreeMap<u64, Step>,
    number: u64,
    /// When the simulation stops being random.
    calm: Duration,
    /// When the last hook arrives, so that hooks of a server that sends them in order stay in order.
    last_hook: Duration,
    /// When the last message about the server itself arrived.
    server_hook: Duration,
    /// The session that the last list of each worker has shown, by worker and path.
    shown: BTreeMap<(usize, String), String>,
    worker: usize,
    /// Whether to print each step.
    trace: bool,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let kind = Kind::random(&mut rng);
        let bench = Bench::new(kind.profile);
        let now = bench.now();
        let mut simulation = Self {
            rng,
            bench,
            server: Server::new(kind),
            steps: BinaryHeap::new(),
            by_number: BTreeMap::new(),
            number: 0,
            calm: now + BUSY,
            last_hook: now,
            server_hook: Duration::ZERO,
            shown: BTreeMap::new(),
            worker: 0,
            trace: std::env::var_os("TRACE").is_some(),
        };
        for step in [Step::Act, Step::Request, Step::Tick, Step::Stop] {
            let delay = if matches!(step, Step::Stop) { simulation.millis(20_000..150_000) } else { Duration::ZERO };
            simulation.after(delay, step);
        }
        simulation
    }

    fn millis(&mut self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.rng.u64(range))
    }

    fn after(&mut self, delay: Duration, step: Step) {
        self.at(self.bench.now() + delay, step);
    }

    fn at(&mut self, time: Duration, step: Step) {
        self.number += 1;
        self.steps.push(Reverse((time, self.number)));
        self.by_number.insert(self.number, step);
    }

    fn is_calm(&self) -> bool {
        self.bench.now() >= self.calm
    }

    fn run_until(&mut self, end: Duration) {
        while let Some(Reverse((time, number))) = self.steps.peek().copied()
            && time <= end
        {
            self.steps.pop();
            self.bench.set_time(time);
            if let Some(step) = self.by_number.remove(&number) {
                self.step(step);
            }
        }
        self.bench.set_time(end);
    }

    #[allow(clippy::print_stderr, reason = "a replayed seed can show its steps")]
    fn step(&mut self, step: Step) {
        if self.trace && !matches!(step, Step::Tick) {
            eprintln!("registered: {:?}", self.sessions());
            eprintln!("{:?} {}: {step:?}", self.bench.now(), self.server.run);
        }
        match step {
            Step::Act if self.is_calm() => {}
            Step::Act => {
                for hook in self.server.act(self.bench.now(), &mut self.rng) {
                    self.send(hook);
                }
                let pause = self.millis(10..1_500);
                self.after(pause, Step::Act);
            }
            Step::Stop if self.is_calm() => {}
            Step::Stop => {
                if self.server.kind.reuses_sessions {
                    // A hook of the old run would look like a hook of the new one.
                    self.by_number.retain(|_, step| !matches!(step, Step::Hook(..)));
                }
                if let Some(hook) = self.server.stop() {
                    let delay = self.millis(1..500);
                    self.after(delay, Step::Hook(hook));
                }
                let pause = self.millis(1_000..6_000);
                self.after(pause, Step::Restart);
            }
            Step::Restart => {
                if let Some(hook) = self.server.restart(&mut self.rng) {
                    self.send(hook);
                }
                let pause = self.millis(20_000..150_000);
                self.after(pause, Step::Stop);
            }
            Step::Hook(event) => {
                if matches!(event, Event::ServerStarted { .. } | Event::ServerExited) {
                    self.server_hook = self.bench.now();
                }
                let before = self.sessions();
                let changes = self.bench.event(event);
                self.check(&before, &changes);
            }
            Step::Request => {
                let delay = self.millis(1..1_000);
                self.after(delay, Step::Read(self.bench.now()));
            }
            Step::Read(requested) => {
                let answer = self.read();
                let delay = if self.rng.u8(..10) == 0 { self.millis(1..6_000) } else { self.millis(1..100) };
                self.after(delay, Step::Answer(requested, answer));
            }
            Step::Answer(requested, answer) => {
                if let Some((worker, run, snapshot)) = answer {
                    self.answer(requested, worker, run, snapshot);
                }
                let pause = self.millis(500..2_000);
                self.after(pause, Step::Request);
            }
            Step::Tick => {
                let before = self.sessions();
                let changes = self.bench.tick();
                self.check(&before, &changes);
                self.after(Duration::from_secs(1), Step::Tick);
            }
        }
    }

    /// Sends a hook, which may be lost, late, or sent twice.
    fn send(&mut self, hook: Event) {
        let now = self.bench.now();
        let copies = match self.rng.u8(..10) {
            0 => 0,
            1 => 2,
            _ => 1,
        };
        for _ in 0..copies {
            let delay = if self.rng.u8(..4) == 0 { self.millis(1..4_000) } else { self.millis(1..300) };
            let mut time = now + delay;
            if !self.server.kind.ends_name_session {
                time = time.max(self.last_hook);
                self.last_hook = time;
            }
            self.at(time, Step::Hook(hook.clone()));
        }
    }

    /// Reads the state of one worker. The list may fail or be incomplete.
    fn read(&mut self) -> Option<(usize, u32, Snapshot)> {
        let is_calm = self.is_calm();
        if !self.server.is_up || !is_calm && self.rng.u8(..8) == 0 {
            return None;
        }
        self.worker = if is_calm { self.worker + 1 } else { self.rng.usize(..) } % self.server.kind.workers;
        let mut snapshot = self.server.list(self.bench.now(), self.worker, &mut self.rng);
        if !is_calm && self.rng.u8(..8) == 0 {
            snapshot.complete = false;
            snapshot.items.retain(|_| self.rng.bool());
        }
        Some((self.worker, self.server.run, snapshot))
    }

    fn answer(&mut self, requested: Duration, worker: usize, run: u32, snapshot: Snapshot) {
        if requested >= self.server_hook && run == self.server.run {
            if snapshot.complete {
                self.shown.retain(|(at, _), _| *at != worker);
            }
            for item in &snapshot.items {
                self.shown.insert((worker, item.name.to_string()), item.session.clone());
            }
        }
        let before = self.sessions();
        let changes = self.bench.late_list(requested, snapshot);
        self.check(&before, &changes);
    }

    /// Returns the registered sessions by path.
    fn sessions(&self) -> BTreeMap<String, String> {
        let table = &self.bench.table.0;
        table.iter().map(|(path, stream)| (path.clone(), stream.labels["session"].clone())).collect()
    }

    /// Checks that no stream has ended whose live session the lists show.
    fn check(&self, before: &BTreeMap<String, String>, changes: &[Change]) {
        for change in changes {
            let Change::Unregister { id, reason } = change else { continue };
            for ((worker, path), live) in &self.server.live {
                let is_shown = self.shown.get(&(*worker, (*path).to_owned())) == Some(&live.session);
                // With two workers, a name may have two live publishers. The stream follows one of them.
                let is_followed = self.server.kind.workers == 1 || before.get(*path) == Some(&live.session);
                assert!(
                    !(id.as_str() == *path && is_shown && is_followed),
                    "at {:?}: {path} has ended ({reason}), but the lists show its live session {live:?}",
                    self.bench.now()
                );
            }
        }
        for path in PATHS {
            let counted = self.bench.table.0.get(path).map_or(0, |stream| stream.bytes_received);
            let sent = self.server.sent.get(path).copied().unwrap_or(0);
            assert!(counted <= sent, "{path} counts {counted} bytes, but its publishers have sent {sent}");
        }
    }

    /// Checks that every live stream is registered, with one of its live sessions and the right status.
    fn check_live(&self) {
        for path in PATHS {
            let live: Vec<_> =
                self.server.live.iter().filter(|((_, at), _)| *at == path).map(|(_, live)| live).collect();
            let Some(stream) = self.bench.table.0.get(path) else {
                assert!(live.is_empty(), "{path} is missing; live: {live:?}");
                continue;
            };
            let session = &stream.labels["session"];
            let Some(live) = live.iter().find(|live| live.session == *session) else {
                assert!(live.is_empty(), "{path} has the session {session}; live: {live:?}");
                continue;
            };
            let status = if live.stalled { StreamStatus::Paused } else { StreamStatus::Active };
            assert_eq!(stream.status, status, "{path}");
            assert_eq!(stream.labels.contains_key("stalled"), live.stalled, "{path}");
        }
    }

    fn run(&mut self) {
        let mut end = self.calm + SETTLE;
        self.run_until(end);
        self.check_live();
        if self.server.kind.workers > 1 {
            // The workers of earlier runs are never listed again.
            end += self.server.kind.profile.forget_after;
            self.run_until(end);
            self.check_live();
        }
        let truth: Vec<&str> =
            PATHS.into_iter().filter(|path| self.server.live.keys().any(|(_, at)| at == path)).collect();
        let mut registered: Vec<&str> = self.bench.table.0.keys().map(String::as_str).collect();
        registered.sort_by_key(|path| PATHS.iter().position(|at| at == path));
        assert_eq!(registered, truth, "the registered streams are not those of the server");
    }
}

/// Prints the seed if the simulation fails.
struct Report(u64, Kind);

impl Drop for Report {
    #[allow(clippy::print_stderr, reason = "a failed test reports its seed")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{:?}", self.1);
            eprintln!("SEED={} cargo test -p stream-registry-adapters --test reconcile simulation", self.0);
        }
    }
}

#[test]
fn registered_streams_equal_the_servers_truth_at_quiescence() {
    let seeds = match std::env::var("SEED") {
        Ok(seed) => seed.parse().unwrap()..=seed.parse().unwrap(),
        Err(_) => 1..=std::env::var("SEEDS").map_or(SEEDS, |seeds| seeds.parse().unwrap()),
    };
    for seed in seeds {
        let mut simulation = Simulation::new(seed);
        let _report = Report(seed, simulation.server.kind.clone());
        simulation.run();
    }
}
