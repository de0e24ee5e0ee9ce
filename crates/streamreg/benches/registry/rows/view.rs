//! Measures the local view: the time for a look-up while changes are applied.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use stream_registry::view::{View, ViewOptions};
use stream_registry::{Stream, StreamId};

use super::feed::{RATE, change};
use super::{Setup, note};
use crate::Result;
use crate::figures::{median, spread, thousands};
use crate::report::{Line, verdict};

/// Target: maximum time for a look-up, in nanoseconds.
const TARGET: f64 = 300.0;
/// Number of look-ups between two clock readings.
const BLOCK: usize = 1_000;

/// Measures look-ups by one thread in random order while changes arrive from the store.
pub(super) async fn row(setup: &mut Setup<'_>) -> Result<Line> {
    note("view get");
    let registry = setup.large().await?;
    let view = View::new(Arc::clone(&registry), ViewOptions::default());
    view.ready().await?;
    // Give each id its own allocation, as in a router. Shuffle the ids so that look-ups do not follow the order of
    // memory.
    let mut ids: Vec<StreamId> = view.all().iter().map(|stream| stream.id.clone()).collect();
    fastrand::Rng::with_seed(7).shuffle(&mut ids);
    let ids = ids.iter().map(StreamId::new).collect::<std::result::Result<Vec<_>, _>>()?;
    let rounds = setup.args.rounds();
    let count = RATE * setup.args.round().as_secs().max(1) * u64::try_from(rounds)?;
    let (stop, changed) = (Arc::new(AtomicBool::new(false)), ids[..10_000.min(ids.len())].to_vec());
    let reader = {
        let (view, stop, round) = (view.clone(), Arc::clone(&stop), setup.args.round());
        tokio::task::spawn_blocking(move || {
            let (mut times, mut at) = (Vec::new(), 0);
            while !stop.load(Ordering::Relaxed) {
                let (start, mut done) = (Instant::now(), 0);
                while start.elapsed() < round && !stop.load(Ordering::Relaxed) {
                    for _ in 0..BLOCK {
                        at = (at + 1) % ids.len();
                        // Reads a field, as a real caller would.
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
    change(&registry, &changed, count, RATE).await?;
    stop.store(true, Ordering::Relaxed);
    let times = reader.await?;
    Ok(Line {
        row: "view get".into(),
        candidate: format!("{} streams, {RATE} changes per second", thousands(setup.args.large() as f64)),
        figure: format!("{} ns", spread(&times, thousands)),
        target: format!("≤ {TARGET} ns"),
        met: verdict(Some(median(times) <= TARGET)),
        ..Line::default()
    })
}
