//! Rows that make the same calls with the baseline, with one shared registry and with one registry per caller.

use std::sync::Arc;

use super::{CALLERS, Setup, note};
use crate::figures::{Sample, Target, Unit, thousands};
use crate::load::{BATCH, Call, Caller, drive};
use crate::report::{Candidate, Line, compare};
use crate::{Result, baseline, ours};

/// Commands that clients send to make changes. Their time includes the commands that scripts call.
const SCRIPTS: &[&str] = &["evalsha", "eval", "time"];
/// Commands that clients send to get a stream.
const READS: &[&str] = &["get", "mget", "type"];
/// Commands that clients send to list streams.
const LISTS: &[&str] = &["evalsha", "eval", "sort_ro"];

/// No target.
const NONE: Target = Target { rate: None, time: None, server: None };
/// Target for changes by many callers.
const MANY: Target = Target { rate: Some(2.3), server: Some(0.6), ..NONE };
/// Target for changes by one caller.
const ONE: Target = Target { rate: Some(0.9), ..NONE };

/// Target for lists.
const LIST: Target = Target { time: Some(0.6), ..NONE };

/// One candidate of a row, with its callers.
struct Side {
    name: &'static str,
    callers: Vec<Caller>,
    call: Call,
    target: Target,
}

impl Side {
    fn new(name: &'static str, callers: &[Caller], call: Call, target: Target) -> Self {
        Self { name, callers: callers.to_vec(), call, target }
    }

    /// Returns the weight of one call: the number of streams for a batch, and 1 for any other call.
    fn weight(&self) -> f64 {
        if self.call == Call::Batch { BATCH as f64 } else { 1.0 }
    }
}

/// Measures the selected rows.
pub(super) async fn rows(setup: &mut Setup<'_>, lines: &mut Vec<Line>) -> Result<()> {
    let (baseline, ours, each) = (setup.baseline.clone(), setup.ours.clone(), setup.each.clone());
    let calls = [
        ("heartbeat", Call::Heartbeat, MANY, Some(ONE), SCRIPTS),
        ("status", Call::Status, MANY, Some(ONE), SCRIPTS),
        ("stats", Call::Stats, MANY, Some(ONE), SCRIPTS),
        ("get", Call::Get, Target { rate: Some(1.5), ..NONE }, None, READS),
    ];
    for (name, call, many, one, commands) in calls {
        let sides = [
            Side::new("A", &baseline, call, NONE),
            Side::new("ours", &ours, call, many),
            Side::new("ours, a connection each", &each, call, NONE),
        ];
        row(setup, lines, &format!("{name}, {CALLERS} callers"), Unit::PerSecond, &sides, commands).await?;
        let sides =
            [Side::new("A", &baseline[..1], call, NONE), Side::new("ours", &ours[..1], call, one.unwrap_or(NONE))];
        row(setup, lines, &format!("{name}, 1 caller"), Unit::PerSecond, &sides, commands).await?;
    }
    let target = Target { rate: Some(3.0), server: Some(0.45), ..NONE };
    let sides = [
        Side::new("A, single calls, 64 callers", &baseline, Call::Heartbeat, NONE),
        Side::new("ours, 64 callers", &ours, Call::Batch, target),
        Side::new("ours, 1 caller", &ours[..1], Call::Batch, NONE),
        Side::new("A in a pipeline of 100, 1 caller", &baseline[..1], Call::Batch, NONE),
    ];
    row(setup, lines, "write of 100 heartbeats, streams", Unit::PerSecond, &sides, SCRIPTS).await?;
    let sides = [Side::new("A", &baseline[..1], Call::List, NONE), Side::new("ours", &ours[..1], Call::List, LIST)];
    row(setup, lines, "list of 10 000 to structs", Unit::Millis, &sides, LISTS).await
}

/// Measures lists of the large registry.
pub(super) async fn large_list(setup: &mut Setup<'_>, lines: &mut Vec<Line>) -> Result<()> {
    let name = format!("list of {} to structs", thousands(setup.args.large() as f64));
    if !setup.args.wants(&name) {
        return Ok(());
    }
    let large = setup.large().await?;
    let mut callers = baseline::Caller::connect(&setup.server.url(), 1, baseline::LARGE, ours::ttl_ms()?).await?;
    let mut baseline = callers.pop().ok_or("the baseline has no caller")?;
    let streams = large.list().await?;
    let records: Vec<_> = streams.iter().map(|stream| (stream.id.to_string(), stream.to_json())).collect();
    baseline.load(&records).await?;
    let ids = Arc::new(streams.into_iter().map(|stream| stream.id).collect());
    let small = std::mem::replace(&mut setup.ids, ids);
    let sides = [
        Side::new("A", &[Caller::Baseline(baseline)], Call::List, NONE),
        Side::new("ours", &[Caller::Ours(large)], Call::List, LIST),
    ];
    let result = row(setup, lines, &name, Unit::Millis, &sides, LISTS).await;
    setup.ids = small;
    result
}

/// Measures the candidates in turn and compares each with the first one.
async fn row(
    setup: &mut Setup<'_>,
    lines: &mut Vec<Line>,
    name: &str,
    unit: Unit,
    sides: &[Side],
    commands: &[&str],
) -> Result<()> {
    if !setup.args.wants(name) {
        return Ok(());
    }
    note(name);
    let mut candidates: Vec<_> =
        sides.iter().map(|side| Candidate { name: side.name, samples: Vec::new(), target: side.target }).collect();
    for side in sides {
        drive(&side.callers, &setup.ids, side.call, setup.args.round() / 5).await?;
    }
    for _ in 0..setup.args.rounds() {
        for (side, candidate) in sides.iter().zip(&mut candidates) {
            setup.server.reset().await?;
            let work = drive(&side.callers, &setup.ids, side.call, setup.args.round()).await?;
            let (micros, sent) = setup.server.spent(commands).await?;
            // The counts in one round are far below 2^52, so the conversion is exact.
            let done = work.calls as f64 * side.weight();
            candidate.samples.push(Sample {
                per_second: done / work.elapsed.as_secs_f64(),
                server_micros: micros as f64 / done,
                per_command: done / sent as f64,
            });
        }
    }
    let baseline = candidates[0].samples.clone();
    lines.extend(compare(name, unit, Some(&baseline), &candidates));
    Ok(())
}
