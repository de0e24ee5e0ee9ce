//! Rows that compare the same calls made the usual way, through one shared registry, and through a
//! registry for each caller.

use super::{CALLERS, World, note};
use crate::Result;
use crate::figures::{Demand, Sample, Unit};
use crate::load::{BATCH, Call, Caller, drive};
use crate::report::{Contender, Line, compare};

/// Commands whose time is counted: those sent, not those inside scripts.
const SCRIPTS: &[&str] = &["evalsha", "eval", "time"];
const READS: &[&str] = &["get", "mget", "type"];
const LISTS: &[&str] = &["evalsha", "eval", "sort_ro"];

const NONE: Demand = Demand { rate: None, time: None, server: None };
const MANY: Demand = Demand { rate: Some(2.3), server: Some(0.6), ..NONE };
const ONE: Demand = Demand { rate: Some(0.9), ..NONE };

/// One side of a row.
struct Side {
    who: &'static str,
    callers: Vec<Caller>,
    call: Call,
    demand: Demand,
}

impl Side {
    fn new(who: &'static str, callers: &[Caller], call: Call, demand: Demand) -> Self {
        Self { who, callers: callers.to_vec(), call, demand }
    }

    /// Streams in one call, where the row counts streams.
    fn weight(&self) -> f64 {
        if self.call == Call::Batch { BATCH as f64 } else { 1.0 }
    }
}

/// Measures all rows of this kind.
pub(super) async fn rows(world: &mut World<'_>, lines: &mut Vec<Line>) -> Result<()> {
    let (usual, ours, each) = (world.usual.clone(), world.ours.clone(), world.each.clone());
    let calls = [
        ("heartbeat", Call::Heartbeat, MANY, Some(ONE), SCRIPTS),
        ("status", Call::Status, MANY, Some(ONE), SCRIPTS),
        ("stats", Call::Stats, MANY, Some(ONE), SCRIPTS),
        ("get", Call::Get, Demand { rate: Some(1.5), ..NONE }, None, READS),
    ];
    for (name, call, many, one, commands) in calls {
        let sides = [
            Side::new("A", &usual, call, NONE),
            Side::new("ours", &ours, call, many),
            Side::new("ours, a connection each", &each, call, NONE),
        ];
        row(world, lines, &format!("{name}, {CALLERS} callers"), Unit::PerSecond, &sides, commands).await?;
        let sides = [Side::new("A", &usual[..1], call, NONE), Side::new("ours", &ours[..1], call, one.unwrap_or(NONE))];
        row(world, lines, &format!("{name}, 1 caller"), Unit::PerSecond, &sides, commands).await?;
    }
    let demand = Demand { rate: Some(3.0), server: Some(0.45), ..NONE };
    let sides = [
        Side::new("A, single calls, 64 callers", &usual, Call::Heartbeat, NONE),
        Side::new("ours, 64 callers", &ours, Call::Batch, demand),
        Side::new("ours, 1 caller", &ours[..1], Call::Batch, NONE),
        Side::new("A in a pipeline of 100, 1 caller", &usual[..1], Call::Batch, NONE),
    ];
    row(world, lines, "write of 100 heartbeats, streams", Unit::PerSecond, &sides, SCRIPTS).await?;
    let demand = Demand { time: Some(0.75), ..NONE };
    let sides = [Side::new("A", &usual[..1], Call::List, NONE), Side::new("ours", &ours[..1], Call::List, demand)];
    row(world, lines, "list of 10 000 to structs", Unit::Millis, &sides, LISTS).await
}

/// Measures the sides in turns; the first is what the others are compared with.
async fn row(
    world: &mut World<'_>,
    lines: &mut Vec<Line>,
    name: &str,
    unit: Unit,
    sides: &[Side],
    commands: &[&str],
) -> Result<()> {
    if !world.args.wants(name) {
        return Ok(());
    }
    note(name);
    let mut contenders: Vec<_> =
        sides.iter().map(|side| Contender { who: side.who, samples: Vec::new(), demand: side.demand }).collect();
    for side in sides {
        drive(&side.callers, &world.ids, side.call, world.args.round() / 5).await?;
    }
    for _ in 0..world.args.rounds() {
        for (side, contender) in sides.iter().zip(&mut contenders) {
            world.server.reset().await?;
            let work = drive(&side.callers, &world.ids, side.call, world.args.round()).await?;
            let (micros, sent) = world.server.spent(commands).await?;
            // Counts of one round are far below 2^52.
            let done = work.calls as f64 * side.weight();
            contender.samples.push(Sample {
                per_second: done / work.took.as_secs_f64(),
                server_micros: micros as f64 / done,
                joined: done / sent as f64,
            });
        }
    }
    let usual = contenders[0].samples.clone();
    lines.extend(compare(name, unit, Some(&usual), &contenders));
    Ok(())
}
