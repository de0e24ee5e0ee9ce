//! Time to live. Real stores wait, with a time to live of a second; a machine that is too busy to look
//! in time gets another try with twice that, since nothing was found out.

use std::collections::BTreeMap;
use std::time::Instant;

use super::case::{Case, Check, count, ensure, fails, id, same, stream, write};
use super::declare;
use crate::error::ErrorKind;
use crate::registry::{Change, Guard, OnConflict, Outcome, RegisterOptions, UnregisterOptions, Write};
use crate::stream::{LabelsPatch, StreamPatch, StreamStats, StreamStatus};

declare! {
    "ttl", Short: [
        is_over_without_a_write,
        leaves_nothing_behind,
        is_renewed_by_a_heartbeat,
        is_renewed_by_a_status,
        is_renewed_by_statistics,
        is_renewed_by_a_patch,
        is_renewed_by_an_update,
        is_renewed_by_a_renewal,
        is_renewed_by_a_take_over,
        is_renewed_by_a_batch_and_by_force,
        is_not_renewed_by_reads,
        is_not_renewed_by_writes_that_fail,
        is_not_renewed_by_refused_registrations,
        frees_the_id,
        makes_every_write_fail_when_it_is_over,
        is_each_streams_own,
    ],
}

/// Past the deadline of whatever was written before, with room for stores that count in milliseconds.
const OVER: f64 = 1.05;

async fn is_over_without_a_write(case: &Case) -> Check {
    let sent = Instant::now();
    case.put(&stream("a")).await?;
    case.pass(0.6).await;
    case.lives("a", sent).await?;
    case.pass(OVER - 0.6).await;
    case.is_gone("a").await
}

async fn leaves_nothing_behind(case: &Case) -> Check {
    case.put_all((0..20).map(|at| format!("s{at}"))).await?;
    case.pass(OVER).await;
    same("the list", case.listed().await?, Vec::new())?;
    same("the pages", case.paged(3).await?, Vec::new())?;
    same("the total", case.registry().list_page(None, count(3)).await?.total, 0)?;
    if let Some(index) = case.instance.index().await {
        same("the index", index, Vec::new())?;
    }
    Ok(())
}

/// Registered, written at six tenths of its time, alive past the first deadline, gone after the second.
async fn renewed(case: &Case, call: impl AsyncFnOnce() -> Check) -> Check {
    let first = Instant::now();
    case.put(&stream("a")).await?;
    case.pass(0.6).await;
    case.lives("a", first).await?;
    let second = Instant::now();
    if let Err(fault) = call().await {
        return Err(if first.elapsed() >= case.ttl { super::case::Fault::TooLate } else { fault });
    }
    case.pass(0.6).await;
    case.lives("a", second).await?;
    case.pass(OVER - 0.6).await;
    case.is_gone("a").await
}

async fn renewed_by(case: &Case, change: Change) -> Check {
    renewed(case, async || {
        for answer in case.registry().write(&[write("a", change)]).await? {
            answer?;
        }
        Ok(())
    })
    .await
}

async fn is_renewed_by_a_heartbeat(case: &Case) -> Check {
    renewed_by(case, Change::Heartbeat).await
}

async fn is_renewed_by_a_status(case: &Case) -> Check {
    renewed_by(case, Change::Status(StreamStatus::Active)).await
}

async fn is_renewed_by_statistics(case: &Case) -> Check {
    renewed_by(case, Change::Stats(StreamStats::default())).await
}

async fn is_renewed_by_a_patch(case: &Case) -> Check {
    renewed_by(case, Change::Patch(Box::default())).await
}

async fn is_renewed_by_an_update(case: &Case) -> Check {
    renewed_by(case, Change::Update(Box::new(stream("a")))).await
}

async fn is_renewed_by_a_renewal(case: &Case) -> Check {
    renewed(case, async || same("the outcome", case.registry().register(&stream("a")).await?.outcome, Outcome::Renewed))
        .await
}

async fn is_renewed_by_a_take_over(case: &Case) -> Check {
    renewed(case, async || {
        let options = RegisterOptions::default().on_conflict(OnConflict::TakeOver);
        same("the outcome", case.registry().register_with(&stream("a"), &options).await?.outcome, Outcome::TakenOver)
    })
    .await
}

async fn is_renewed_by_a_batch_and_by_force(case: &Case) -> Check {
    renewed(case, async || {
        let forced = Write { guard: Guard::Force, ..write("a", Change::Heartbeat) };
        let batch = [write("never", Change::Heartbeat), forced, write("never", Change::Heartbeat)];
        case.registry().write(&batch).await?.swap_remove(1)?;
        Ok(())
    })
    .await
}

/// Calls at six tenths that must not renew.
async fn not_renewed(case: &Case, calls: impl AsyncFnOnce() -> Check) -> Check {
    let sent = Instant::now();
    case.put(&stream("a")).await?;
    case.pass(0.6).await;
    case.lives("a", sent).await?;
    if let Err(fault) = calls().await {
        return Err(if sent.elapsed() >= case.ttl { super::case::Fault::TooLate } else { fault });
    }
    case.pass(OVER - 0.6).await;
    case.is_gone("a").await
}

async fn is_not_renewed_by_reads(case: &Case) -> Check {
    not_renewed(case, async || {
        case.get("a").await?;
        same("the list", case.listed().await?.len(), 1)?;
        same("the pages", case.paged(10).await?.len(), 1)?;
        case.registry().ping().await?;
        Ok(())
    })
    .await
}

async fn is_not_renewed_by_writes_that_fail(case: &Case) -> Check {
    not_renewed(case, async || {
        let holder = Guard::Holder("00000000000000ff-x".parse()?);
        let bad_stats = StreamStats { bytes_received: u64::MAX, ..Default::default() };
        let many: BTreeMap<_, _> = (0..64).map(|at| (at.to_string(), "\u{1}".repeat(256))).collect();
        let bad_patch = StreamPatch { labels: LabelsPatch::Replace(many), ..Default::default() };
        let batch = [
            Write { guard: holder.clone(), ..write("a", Change::Heartbeat) },
            Write { guard: holder.clone(), ..write("a", Change::Status(StreamStatus::Active)) },
            Write { guard: holder.clone(), ..write("a", Change::Stats(StreamStats::default())) },
            Write { guard: holder.clone(), ..write("a", Change::Patch(Box::default())) },
            Write { guard: holder.clone(), ..write("a", Change::Update(Box::new(stream("a")))) },
            write("a", Change::Stats(bad_stats)),
            write("a", Change::Patch(Box::new(bad_patch))),
            write("a", Change::Update(Box::new(stream("b")))),
        ];
        for answer in case.registry().write(&batch).await? {
            ensure(answer.is_err(), "a write that should fail does not")?;
        }
        let end = UnregisterOptions::default().guard(holder);
        fails(case.registry().unregister_with(&id("a"), &end).await, ErrorKind::NotHolder)?;
        Ok(())
    })
    .await
}

async fn is_not_renewed_by_refused_registrations(case: &Case) -> Check {
    not_renewed(case, async || {
        let mut other = stream("a");
        other.source_addr = "10.9.9.9:1".to_owned();
        fails(case.registry().register(&other).await, ErrorKind::AlreadyExists)?;
        let only = RegisterOptions::default().on_conflict(OnConflict::CreateOnly);
        fails(case.registry().register_with(&stream("a"), &only).await, ErrorKind::AlreadyExists)?;
        let mut bad = stream("a");
        bad.bitrate = u64::MAX;
        fails(case.registry().register(&bad).await, ErrorKind::InvalidArgument)?;
        Ok(())
    })
    .await
}

async fn frees_the_id(case: &Case) -> Check {
    let before = case.put(&stream("a")).await?;
    case.pass(OVER).await;
    let mut other = stream("a");
    other.source_addr = "10.9.9.9:1".to_owned();
    let answer = case.registry().register(&other).await?;
    same("the outcome", answer.outcome, Outcome::Created)?;
    ensure(answer.stream.created_at > before.created_at, "created_at is the expired record's")
}

async fn makes_every_write_fail_when_it_is_over(case: &Case) -> Check {
    case.put(&stream("a")).await?;
    case.pass(OVER).await;
    let batch = [
        write("a", Change::Heartbeat),
        write("a", Change::Status(StreamStatus::Active)),
        write("a", Change::Stats(StreamStats::default())),
        write("a", Change::Patch(Box::default())),
        write("a", Change::Update(Box::new(stream("a")))),
    ];
    for answer in case.registry().write(&batch).await? {
        fails(answer, ErrorKind::NotFound)?;
    }
    fails(case.registry().unregister(&id("a")).await, ErrorKind::NotFound)?;
    case.is_gone("a").await
}

async fn is_each_streams_own(case: &Case) -> Check {
    let first = Instant::now();
    case.put(&stream("a")).await?;
    case.put(&stream("b")).await?;
    case.pass(0.6).await;
    case.lives("b", first).await?;
    let second = Instant::now();
    case.put(&stream("b")).await?;
    case.pass(OVER - 0.6).await;
    case.is_gone("a").await?;
    case.lives("b", second).await?;
    let listed = case.listed().await?;
    if second.elapsed() >= case.ttl {
        return Err(super::case::Fault::TooLate);
    }
    same("the list", listed, vec!["b".to_owned()])
}
