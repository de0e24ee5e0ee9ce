//! `demo`: simulated streams, for a first look.

mod sim;
mod streams;

use std::future::Future;
use std::time::Duration;

use clap::Args;
use futures_util::StreamExt as _;
use stream_registry::stream::limits;
use stream_registry::{
    Error, ErrorKind, Guard, OnConflict, RegisterOptions, Registry, Stream, StreamId, UnregisterOptions, Write,
};
use tokio::time::MissedTickBehavior;

use self::sim::Simulation;
use super::duration;
use super::failure::{Failure, Result, Status};
use super::output::Output;

/// Time between two steps of the simulation.
const TICK: Duration = Duration::from_secs(1);
/// Maximum time to unregister the streams at the end, besides the time for each stream.
const CLEANUP_TIMEOUT: Duration = Duration::from_secs(5);
/// Additional time for each stream.
const CLEANUP_TIMEOUT_PER_STREAM: Duration = Duration::from_millis(5);
/// Number of registrations, or of removals, in flight at once.
const IN_FLIGHT: usize = 32;

/// Arguments of `demo`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  streamreg demo
  streamreg demo --for 2m --seed 7
  streamreg demo --streams 1000
  streamreg demo --store redis://127.0.0.1:6379 --yes

The ids begin with demo-, and the streams have the label demo=true. The streams change once a second: bit rates vary, \
packets are lost in bursts, and streams pause, end, reconnect and move to another node. Ctrl-C stops the demo and \
unregisters its streams. Redis may already contain real streams, so --yes is needed there.")]
pub struct DemoArgs {
    /// Stop after this time, e.g. 30s or 5m [default: at Ctrl-C]
    #[arg(long = "for", value_name = "DURATION", value_parser = duration::parse_positive)]
    pub duration: Option<Duration>,

    /// Random seed; the same seed replays the same sequence
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,

    /// Number of simulated streams, 1 to 10000
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub streams: u16,

    /// Allow Redis as the store, although it may contain real streams
    #[arg(long, short = 'y')]
    pub yes: bool,
}

impl DemoArgs {
    /// Checks that the store is suitable. `store` is the store's name without secrets.
    ///
    /// # Errors
    ///
    /// Returns a usage error if the store is Redis and `--yes` is missing.
    pub(super) fn check_store(&self, store: &str) -> Result {
        if !store.starts_with("redis") || self.yes {
            return Ok(());
        }
        Err(Failure::usage(format_args!(
            "{store} may contain real streams, and simulated ones would mix with them; pass --yes, or use a test server"
        )))
    }
}

/// Keeps the simulated streams alive until `stop` completes or the duration has passed, then unregisters them.
///
/// # Errors
///
/// Fails if the first step fails, if the store rejects writes, or if another publisher uses one of the ids. If the
/// store becomes unreachable later, the demo reports the outage and retries once a second.
pub async fn run(registry: &dyn Registry, args: &DemoArgs, stop: impl Future, out: &mut Output<'_>) -> Result {
    run_with_tick(registry, args, TICK, stop, out).await
}

async fn run_with_tick(
    registry: &dyn Registry,
    args: &DemoArgs,
    tick: Duration,
    stop: impl Future,
    out: &mut Output<'_>,
) -> Result {
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    let simulation = Simulation::new(seed, args.streams.into()).map_err(|error| out.failure(&error))?;
    let mut demo = Demo { registry, simulation, outage_reported: false };
    let mut stop = std::pin::pin!(stop);
    let mut timeout = std::pin::pin!(async {
        match args.duration {
            Some(time) => tokio::time::sleep(time).await,
            None => std::future::pending().await,
        }
    });
    let mut ticks = tokio::time::interval(tick);
    // If a call was slow, the simulation skips the missed steps.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut started = false;
    let done = loop {
        let second = async {
            ticks.tick().await;
            demo.step(started, out).await
        };
        tokio::select! {
            biased;
            _ = &mut stop => break Ok(()),
            () = &mut timeout => break Ok(()),
            result = second => {
                if let Err(failure) = result {
                    break Err(failure);
                }
            }
        }
        if !started {
            started = true;
            let count = demo.simulation.live().count();
            let store = out.store;
            out.note(format_args!(
                "{count} simulated streams on {store} (seed {seed}); try `streamreg list`, stop with Ctrl-C"
            ));
        }
    };
    let limit = CLEANUP_TIMEOUT + CLEANUP_TIMEOUT_PER_STREAM * args.streams.into();
    let count = tokio::time::timeout(limit, demo.unregister_all()).await.unwrap_or(0);
    if started {
        out.note(format_args!("unregistered {count} simulated streams"));
    }
    done
}

/// A running demo, which writes a simulation to a registry.
struct Demo<'a> {
    registry: &'a dyn Registry,
    simulation: Simulation,
    /// Whether the current outage of the store has been reported. An outage is reported once, not every second.
    outage_reported: bool,
}

impl Demo<'_> {
    /// Simulates one second. `started` is false in the first step, in which any failure stops the demo.
    async fn step(&mut self, started: bool, out: &mut Output<'_>) -> Result {
        match self.try_step().await {
            Ok(()) => {
                if std::mem::take(&mut self.outage_reported) {
                    let store = out.store;
                    out.note(format_args!("the store {store} answers again"));
                }
                Ok(())
            }
            Err(error) => {
                let failure = failure(&error, out);
                // In the first step, any failure stops the demo. Later, the demo continues if the store is unreachable.
                if !started || !matches!(failure.status, Status::Unreachable) {
                    return Err(failure);
                }
                if !std::mem::replace(&mut self.outage_reported, true) {
                    out.report(&failure);
                }
                Ok(())
            }
        }
    }

    async fn try_step(&mut self) -> stream_registry::Result<()> {
        let step = self.simulation.step();
        let mut first_error = None;
        for (id, reason) in step.removals {
            let options = UnregisterOptions::default().reason(reason);
            if let Err(error) = self.registry.unregister_with(&id, &options).await {
                keep_first(&mut first_error, error);
            }
        }
        let mut lost = Vec::new();
        let registry = self.registry;
        let registrations = step.registrations.iter().map(|(stream, policy)| async move {
            register(registry, stream, *policy).await.map_err(|error| (&stream.id, error))
        });
        let mut registered = futures_util::stream::iter(registrations).buffered(IN_FLIGHT);
        while let Some(result) = registered.next().await {
            if let Err((id, error)) = result {
                lost.push(id);
                // During an outage, every remaining registration would also time out, so skip them.
                let outage = error.is_retryable();
                keep_first(&mut first_error, error);
                if outage {
                    break;
                }
            }
        }
        drop(registered);
        lost.into_iter().for_each(|id| self.simulation.lost(id));
        let writes: Vec<_> =
            step.changes.into_iter().map(|(id, change)| Write { id, guard: Guard::None, change }).collect();
        if let Some(error) = first_error {
            return Err(error);
        }
        for writes in writes.chunks(limits::MAX_WRITES) {
            for (write, result) in writes.iter().zip(self.registry.write(writes).await?) {
                match result {
                    // Another client unregistered the stream, or the store lost the stream. The simulated publisher
                    // reconnects.
                    Err(error) if error.kind() == ErrorKind::NotFound => self.simulation.lost(&write.id),
                    Err(error) => keep_first(&mut first_error, error),
                    Ok(()) => {}
                }
            }
        }
        first_error.map_or(Ok(()), Err)
    }

    /// Unregisters all simulated streams and returns their number.
    async fn unregister_all(&self) -> usize {
        // Try all ids: a cancelled step may have registered a stream that the simulation does not count as live.
        let calls = self.simulation.ids().map(|id| self.unregister(id));
        let mut calls = futures_util::stream::iter(calls).buffered(IN_FLIGHT);
        let mut count = 0;
        while let Some(result) = calls.next().await {
            match result {
                Ok(()) => count += 1,
                Err(error) if error.is_retryable() => break,
                Err(_) => {}
            }
        }
        count
    }

    /// Unregisters a simulated stream. Does not unregister a real stream, which may have one of the ids if the first
    /// step failed.
    async fn unregister(&self, id: &StreamId) -> stream_registry::Result<()> {
        let options = UnregisterOptions::default().reason("end of the demo".parse().unwrap_or_default());
        match self.registry.get(id).await? {
            stream if is_made_up(&stream) => self.registry.unregister_with(id, &options).await.map(|_| ()),
            _ => Err(Error::not_found(id)),
        }
    }
}

/// Registers a simulated stream. A stream from an earlier demo is replaced, but a real stream is not.
async fn register(registry: &dyn Registry, stream: &Stream, policy: OnConflict) -> stream_registry::Result<()> {
    let options = RegisterOptions::default();
    match registry.register_with(stream, &options.clone().on_conflict(policy)).await {
        Err(error) if error.existing().is_some_and(is_made_up) => {
            registry.register_with(stream, &options.on_conflict(OnConflict::TakeOver)).await.map(|_| ())
        }
        result => result.map(|_| ()),
    }
}

fn is_made_up(stream: &Stream) -> bool {
    stream.labels.get("demo").is_some_and(|value| value == "true")
}

/// Keeps the first error. `NotFound` does not count as an error.
fn keep_first(first: &mut Option<Error>, error: Error) {
    if error.kind() != ErrorKind::NotFound {
        first.get_or_insert(error);
    }
}

/// Converts an error from the store into a failure.
fn failure(error: &Error, out: &Output<'_>) -> Failure {
    match error.kind() {
        ErrorKind::AlreadyExists => {
            let id = error.stream_id().map_or("", |id| id.as_str());
            Failure::new(
                out.failure(error).status,
                format_args!("{id:?} is a real live stream; unregister it, or run the demo on another store"),
            )
        }
        _ => out.failure(error),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use stream_registry::{MemoryRegistry, StreamStatus, StreamType};

    use super::*;

    const FAST: Duration = Duration::from_millis(2);

    async fn demo(registry: &dyn Registry, seed: u64, stop: impl Future) -> (Result, String) {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let mut out = Output {
            stdout: &mut stdout,
            stderr: &mut stderr,
            format: None,
            terminal: false,
            width: None,
            colour: false,
            logs_notes: false,
            store: "memory:",
        };
        let args = DemoArgs { duration: None, seed: Some(seed), streams: 20, yes: false };
        let done = run_with_tick(registry, &args, FAST, stop, &mut out).await;
        (done, String::from_utf8(stderr).unwrap())
    }

    /// Waits until the streams in the registry meet a condition, for at most 30 seconds.
    async fn until(registry: &MemoryRegistry, met: impl Fn(&[Stream]) -> bool) {
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        while !met(&registry.list().await.unwrap()) {
            assert!(std::time::Instant::now() < deadline, "timed out");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test]
    async fn demo_registers_reconnects_and_finally_unregisters_its_streams() {
        let registry = Arc::new(MemoryRegistry::new());
        let watched = Arc::clone(&registry);
        let stop = async move {
            until(&watched, |streams| {
                let busy = |stream: &&Stream| stream.status == StreamStatus::Active && stream.bytes_received > 0;
                streams.len() >= 18 && streams.iter().filter(busy).count() >= 14
            })
            .await;
            let lost = watched.unregister(&"demo-playout-1".parse().unwrap()).await.unwrap();
            until(&watched, |streams| {
                streams.iter().any(|stream| stream.id == lost.id && stream.created_at > lost.created_at)
            })
            .await;
        };
        let (done, stderr) = demo(&*registry, 1, stop).await;
        assert_eq!(done, Ok(()));
        assert!(stderr.starts_with("20 simulated streams on memory: (seed 1)"), "{stderr}");
        assert_eq!(registry.list().await.unwrap(), []);
    }

    #[tokio::test]
    async fn demo_replaces_only_streams_of_an_earlier_demo() {
        let registry = MemoryRegistry::new();
        let step = Simulation::new(1, 20).unwrap().step();
        for (stream, _) in &step.registrations {
            registry.register(stream).await.unwrap();
        }
        let stop = until(&registry, |streams| streams.iter().all(|stream| stream.status == StreamStatus::Active));
        assert_eq!(demo(&registry, 2, stop).await.0, Ok(()));

        let real = Stream::new("demo-playout-1".parse().unwrap(), StreamType::Rtp, "203.0.113.7:5004");
        registry.register(&real).await.unwrap();
        let (done, stderr) = demo(&registry, 2, std::future::pending::<()>()).await;
        let failure = done.unwrap_err();
        assert_eq!(failure.status, Status::Conflict);
        assert!(failure.message.unwrap().contains("demo-playout-1"), "{stderr}");
        let left = registry.list().await.unwrap();
        assert_eq!(left.iter().map(|stream| stream.id.as_str()).collect::<Vec<_>>(), ["demo-playout-1"]);
    }

    #[tokio::test]
    async fn demo_stops_at_once_when_the_store_rejects_writes() {
        let registry = MemoryRegistry::new().read_only();
        let failure = demo(&registry, 1, std::future::pending::<()>()).await.0.unwrap_err();
        assert_eq!(failure.status, Status::Failed);
        assert!(failure.message.unwrap().contains("read-only"));
    }
}
