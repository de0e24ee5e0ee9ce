//! The local view: how long a look-up takes while changes are applied.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use stream_registry::view::{View, ViewOptions};
use stream_registry::{Stream, StreamId};

use super::feed::{RATE, change};
use super::{World, note};
use crate::Result;
use crate::figures::{median, spread, thousands};
use crate::report::{Line, verdict};

/// Nanoseconds for a look-up, at most.
const DEMAND: f64 = 300.0;
/// Look-ups between two readings of the clock.
const BLOCK: usize = 1_000;

/// One thread looks streams up at random, while another process's worth of changes comes in from the store.
pub(super) async fn row(world: &mut World<'_>) -> Result<Line> {
    note("view get");
    let registry = world.large().await?;
    let view = View::new(Arc::clone(&registry), ViewOptions::default());
    view.ready().await?;
    // As long as a router holds a packet's id: texts of their own, in the order in which they are asked for.
    let mut ids: Vec<StreamId> = view.all().iter().map(|stream| stream.id.clone()).collect();
    fastrand::Rng::with_seed(7).shuffle(&mut ids);
    let ids = ids.iter().map(StreamId::new).collect::<std::result::Result<Vec<_>, _>>()?;
    let rounds = world.args.rounds();
    let count = RATE * world.args.round().as_secs().max(1) * u64::try_from(rounds)?;
    let (stop, changed) = (Arc::new(AtomicBool::new(false)), ids[..10_000.min(ids.len())].to_vec());
    let reader = {
        let (view, stop, round) = (view.clone(), Arc::clone(&stop), world.args.round());
        tokio::task::spawn_blocking(move || {
            let (mut times, mut at) = (Vec::new(), 0);
            while !stop.load(Ordering::Relaxed) {
                let (start, mut done) = (Instant::now(), 0);
                while start.elapsed() < round && !stop.load(Ordering::Relaxed) {
                    for _ in 0..BLOCK {
                        at = (at + 1) % ids.len();
                        // Something of it is used, as by whoever asks.
                        std::hint::black_box(view.get(&ids[at]).as_deref().map(Stream::is_active));
                    }
                    done += BLOCK;
                }
                if done > 0 {
                    times.push(start.elapsed().as_nanos() as f64 / done as f64);
                }
            }
            times
        })
    };
    change(&registry, &changed, count).await?;
    stop.store(true, Ordering::Relaxed);
    let times = reader.await?;
    Ok(Line {
        row: "view get".into(),
        who: format!("{} streams, {RATE} changes per second", thousands(world.args.large() as f64)),
        figure: format!("{} ns", spread(&times, thousands)),
        demand: format!("≤ {DEMAND} ns"),
        met: verdict(Some(median(times) <= DEMAND)),
        ..Line::default()
    })
}
