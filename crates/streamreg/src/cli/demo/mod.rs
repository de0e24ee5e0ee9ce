//! `demo`: some twenty made-up streams, for a first look.

mod cast;
mod sim;

use std::future::Future;
use std::time::Duration;

use clap::Args;
use stream_registry::{
    Error, ErrorKind, Guard, OnConflict, RegisterOptions, Registry, Stream, UnregisterOptions, Write,
};
use tokio::time::MissedTickBehavior;

use self::sim::Simulation;
use super::duration;
use super::failure::{Failure, Result, Status};
use super::output::Output;

/// A second of the story.
const TICK: Duration = Duration::from_secs(1);
/// How long the ends may take at the end, for a store that does not answer.
const FAREWELL: Duration = Duration::from_secs(5);

/// Arguments of `demo`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  streamreg demo
  streamreg demo --for 2m --seed 7

The streams have ids that begin with demo- and the label demo=true. They change once a second: rates wander, loss
comes in bursts, streams pause, end, come again and move to another node. Ctrl-C ends the demo and all its streams.")]
pub struct DemoArgs {
    /// End after this time, 30s or 5m say; default: at Ctrl-C
    #[arg(long = "for", value_name = "DURATION", value_parser = duration::parse_positive)]
    pub duration: Option<Duration>,

    /// Tell the story of this number; the same number tells the same story
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
}

/// Keeps the made-up streams alive until `stop` or the time is over, then ends them.
///
/// # Errors
///
/// Where the store fails at the start, and where another publisher's stream has one of the ids. Later
/// failures are told, and the next second tries again.
pub async fn run(registry: &dyn Registry, args: &DemoArgs, stop: impl Future, out: &mut Output<'_>) -> Result {
    play(registry, args, TICK, stop, out).await
}

async fn play(
    registry: &dyn Registry,
    args: &DemoArgs,
    tick: Duration,
    stop: impl Future,
    out: &mut Output<'_>,
) -> Result {
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    let simulation = Simulation::new(seed).map_err(|error| out.failure(&error))?;
    let mut show = Show { registry, simulation, troubled: false };
    let mut stop = std::pin::pin!(stop);
    let mut over = std::pin::pin!(async {
        match args.duration {
            Some(time) => tokio::time::sleep(time).await,
            None => std::future::pending().await,
        }
    });
    let mut ticks = tokio::time::interval(tick);
    // After a store that was slow the story goes on; it does not hurry to catch up.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut begun = false;
    let done = loop {
        let second = async {
            ticks.tick().await;
            show.second(begun, out).await
        };
        tokio::select! {
            biased;
            _ = &mut stop => break Ok(()),
            () = &mut over => break Ok(()),
            played = second => {
                if let Err(failure) = played {
                    break Err(failure);
                }
            }
        }
        if !begun {
            begun = true;
            let count = show.simulation.live().count();
            let store = out.store;
            out.note(format_args!(
                "{count} made-up streams on {store} (seed {seed}); see them with `streamreg list`, Ctrl-C ends them"
            ));
        }
    };
    let ended = tokio::time::timeout(FAREWELL, show.end()).await.unwrap_or(0);
    if begun {
        out.note(format_args!("ended {ended} made-up streams"));
    }
    done
}

/// The story on its way into a registry.
struct Show<'a> {
    registry: &'a dyn Registry,
    simulation: Simulation,
    /// Whether the last second failed: that is told once, not each second.
    troubled: bool,
}

impl Show<'_> {
    /// Plays one second. Failures of the first end the show; `begun` says that it is not the first.
    async fn second(&mut self, begun: bool, out: &mut Output<'_>) -> Result {
        let played = self.try_second().await;
        match played {
            Ok(()) => {
                if std::mem::take(&mut self.troubled) {
                    let store = out.store;
                    out.note(format_args!("the store {store} answers again"));
                }
                Ok(())
            }
            Err(failed) => {
                let failure = Failure { status: out.failure(&failed).status, message: Some(word(&failed, out)) };
                // What no retry mends ends the show, whenever it comes.
                if !begun || !matches!(failure.status, Status::Unreachable) {
                    return Err(failure);
                }
                if !std::mem::replace(&mut self.troubled, true) {
                    out.report(&failure);
                }
                Ok(())
            }
        }
    }

    async fn try_second(&mut self) -> stream_registry::Result<()> {
        let step = self.simulation.step();
        let mut first_error = None;
        for (id, reason) in step.ends {
            let options = UnregisterOptions::default().reason(reason);
            if let Err(error) = self.registry.unregister_with(&id, &options).await {
                keep(&mut first_error, error);
            }
        }
        for (stream, policy) in step.registrations {
            if let Err(error) = self.register(&stream, policy).await {
                self.simulation.lost(&stream.id);
                // The others would fail alike, each after its own time.
                let hopeless = error.is_retryable();
                keep(&mut first_error, error);
                if hopeless {
                    break;
                }
            }
        }
        let writes: Vec<_> =
            step.changes.into_iter().map(|(id, change)| Write { id, guard: Guard::None, change }).collect();
        if !writes.is_empty() && first_error.is_none() {
            for (write, answer) in writes.iter().zip(self.registry.write(&writes).await?) {
                match answer {
                    // Somebody ended it, or the store has forgotten: its publisher comes again.
                    Err(error) if error.kind() == ErrorKind::NotFound => self.simulation.lost(&write.id),
                    Err(error) => keep(&mut first_error, error),
                    Ok(()) => {}
                }
            }
        }
        first_error.map_or(Ok(()), Err)
    }

    /// Registers a made-up stream. What an earlier demo left behind is replaced; nobody else's stream is.
    async fn register(&self, stream: &Stream, policy: OnConflict) -> stream_registry::Result<()> {
        let options = RegisterOptions::default();
        match self.registry.register_with(stream, &options.clone().on_conflict(policy)).await {
            Err(error) if error.existing().is_some_and(is_made_up) => {
                self.registry.register_with(stream, &options.on_conflict(OnConflict::TakeOver)).await.map(|_| ())
            }
            answer => answer.map(|_| ()),
        }
    }

    /// Ends all made-up streams that are there, and counts them.
    async fn end(&self) -> usize {
        let options = UnregisterOptions::default().reason("end of the demo".parse().unwrap_or_default());
        let mut ended = 0;
        // Of the whole cast: a second that was broken off may have left more than the story knows.
        for id in self.simulation.ids() {
            // Only what is made up: where the first second failed, an id may be another publisher's.
            match self.registry.get(id).await {
                Ok(stream) if is_made_up(&stream) => {}
                Ok(_) => continue,
                Err(error) if error.is_retryable() => break,
                Err(_) => continue,
            }
            ended += usize::from(self.registry.unregister_with(id, &options).await.is_ok());
        }
        ended
    }
}

fn is_made_up(stream: &Stream) -> bool {
    stream.labels.get("demo").is_some_and(|value| value == "true")
}

/// Keeps the first error; a stream that has ended already is none.
fn keep(first: &mut Option<Error>, error: Error) {
    if error.kind() != ErrorKind::NotFound {
        first.get_or_insert(error);
    }
}

fn word(error: &Error, out: &Output<'_>) -> String {
    match error.kind() {
        ErrorKind::AlreadyExists => {
            let id = error.stream_id().map_or_else(String::new, ToString::to_string);
            super::terminal::escape(&format!(
                "{id:?} is a live stream that the demo did not make; end it, or try the demo on another store"
            ))
            .into_owned()
        }
        _ => out.failure(error).message.unwrap_or_default(),
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
            store: "memory:",
        };
        let args = DemoArgs { duration: None, seed: Some(seed) };
        let done = play(registry, &args, FAST, stop, &mut out).await;
        (done, String::from_utf8(stderr).unwrap())
    }

    /// Waits until the registry holds what is looked for, at most half a minute.
    async fn until(registry: &MemoryRegistry, found: impl Fn(&[Stream]) -> bool) {
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        while !found(&registry.list().await.unwrap()) {
            assert!(std::time::Instant::now() < deadline, "it did not happen");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test]
    async fn streams_come_alive_come_again_when_lost_and_are_all_ended() {
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
        let (done, told) = demo(&*registry, 1, stop).await;
        assert_eq!(done, Ok(()));
        assert!(told.starts_with("20 made-up streams on memory: (seed 1)"), "{told}");
        assert_eq!(registry.list().await.unwrap(), []);
    }

    #[tokio::test]
    async fn what_an_earlier_demo_left_is_replaced_and_a_real_stream_is_not() {
        let registry = MemoryRegistry::new();
        let step = Simulation::new(1).unwrap().step();
        for (stream, _) in &step.registrations {
            registry.register(stream).await.unwrap();
        }
        let stop = until(&registry, |streams| streams.iter().all(|stream| stream.status == StreamStatus::Active));
        assert_eq!(demo(&registry, 2, stop).await.0, Ok(()));

        let real = Stream::new("demo-playout-1".parse().unwrap(), StreamType::Rtp, "203.0.113.7:5004");
        registry.register(&real).await.unwrap();
        let (done, told) = demo(&registry, 2, std::future::pending::<()>()).await;
        let failure = done.unwrap_err();
        assert_eq!(failure.status, Status::Conflict);
        assert!(failure.message.unwrap().contains("demo-playout-1"), "{told}");
        let left = registry.list().await.unwrap();
        assert_eq!(left.iter().map(|stream| stream.id.as_str()).collect::<Vec<_>>(), ["demo-playout-1"]);
    }

    #[tokio::test]
    async fn a_store_that_refuses_ends_the_demo_at_once() {
        let registry = MemoryRegistry::new().read_only(true);
        let failure = demo(&registry, 1, std::future::pending::<()>()).await.0.unwrap_err();
        assert_eq!(failure.status, Status::Failed);
        assert!(failure.message.unwrap().contains("read-only"));
    }
}
