//! Time to live: when streams expire, and which calls renew them.
//!
//! On a store with a real clock, these behaviours wait until streams expire. The time to live is one second. If the
//! machine is too busy to check a stream before it expires, the behaviour runs again with twice the time to live.

use std::collections::BTreeMap;
use std::time::Instant;

use super::case::{Case, Check, count, ensure, fails, id, same, stream, totals, write};
use super::declare;
use crate::error::ErrorKind;
use crate::query::Query;
use crate::registry::{Change, Guard, OnConflict, Outcome, RegisterOptions, UnregisterOptions, Write};
use crate::stream::{LabelsPatch, StreamPatch, StreamStats, StreamStatus};

declare! {
    "ttl", Short: [
        stream_that_is_not_written_expires,
        expired_streams_disappear_from_list_pages_and_index,
        heartbeat_renews_the_time_to_live,
        status_update_renews_the_time_to_live,
        statistics_update_renews_the_time_to_live,
        patch_renews_the_time_to_live,
        update_renews_the_time_to_live,
        registration_by_the_same_publisher_renews_the_time_to_live,
        take_over_renews_the_time_to_live,
        forced_write_in_a_batch_renews_the_time_to_live,
        reads_do_not_renew_the_time_to_live,
        failed_writes_do_not_renew_the_time_to_live,
        rejected_registrations_do_not_renew_the_time_to_live,
        expiry_frees_the_id,
        every_write_fails_after_expiry,
        each_stream_has_its_own_time_to_live,
    ],
}

/// Fraction of the time to live after which a stream has certainly expired. The margin is for stores that round to
/// milliseconds.
const EXPIRED: f64 = 1.05;

async fn stream_that_is_not_written_expires(case: &Case) -> Check {
    let sent = Instant::now();
    case.put(&stream("a")).await?;
    case.pass(0.6).await;
    case.assert_live("a", sent).await?;
    case.pass(EXPIRED - 0.6).await;
    case.assert_gone("a").await
}

async fn expired_streams_disappear_from_list_pages_and_index(case: &Case) -> Check {
    case.put_all((0..20).map(|n| format!("s{n}"))).await?;
    case.pass(EXPIRED).await;
    same("the list", case.listed().await?, Vec::new())?;
    same("the pages", case.paged(3).await?, Vec::new())?;
    same("the total", case.registry().list_page(None, count(3)).await?.total, 0)?;
    if let Some(index) = case.instance.index().await {
        same("the index", index, Vec::new())?;
    }
    Ok(())
}

/// Registers a stream, and makes a call after 60 % of the time to live. Then checks that the call renewed the stream:
/// the stream outlives its first deadline and expires at the second one.
async fn assert_renewed(case: &Case, call: impl AsyncFnOnce() -> Check) -> Check {
    let first = Instant::now();
    case.put(&stream("a")).await?;
    case.pass(0.6).await;
    case.assert_live("a", first).await?;
    let second = Instant::now();
    if let Err(fault) = call().await {
        return Err(if first.elapsed() >= case.ttl { super::case::Fault::TooLate } else { fault });
    }
    case.pass(0.6).await;
    case.assert_live("a", second).await?;
    case.pass(EXPIRED - 0.6).await;
    case.assert_gone("a").await
}

async fn assert_renewed_by(case: &Case, change: Change) -> Check {
    assert_renewed(case, async || {
        case.registry().write_one(write("a", change)).await?;
        Ok(())
    })
    .await
}

async fn heartbeat_renews_the_time_to_live(case: &Case) -> Check {
    assert_renewed_by(case, Change::Heartbeat).await
}

async fn status_update_renews_the_time_to_live(case: &Case) -> Check {
    assert_renewed_by(case, Change::Status(StreamStatus::Active)).await
}

async fn statistics_update_renews_the_time_to_live(case: &Case) -> Check {
    assert_renewed_by(case, Change::Stats(Box::new(totals()))).await
}

async fn patch_renews_the_time_to_live(case: &Case) -> Check {
    assert_renewed_by(case, Change::Patch(Box::default())).await
}

async fn update_renews_the_time_to_live(case: &Case) -> Check {
    assert_renewed_by(case, Change::Update(Box::new(stream("a")))).await
}

async fn registration_by_the_same_publisher_renews_the_time_to_live(case: &Case) -> Check {
    assert_renewed(case, async || {
        same("the outcome", case.registry().register(&stream("a")).await?.outcome, Outcome::Renewed)
    })
    .await
}

async fn take_over_renews_the_time_to_live(case: &Case) -> Check {
    assert_renewed(case, async || {
        let options = RegisterOptions::default().on_conflict(OnConflict::TakeOver);
        same("the outcome", case.registry().register_with(&stream("a"), &options).await?.outcome, Outcome::TakenOver)
    })
    .await
}

async fn forced_write_in_a_batch_renews_the_time_to_live(case: &Case) -> Check {
    assert_renewed(case, async || {
        let forced = Write { guard: Guard::Force, ..write("a", Change::Heartbeat) };
        let batch = [write("never", Change::Heartbeat), forced, write("never", Change::Heartbeat)];
        case.registry().write(&batch).await?.swap_remove(1)?;
        Ok(())
    })
    .await
}

/// Registers a stream, and makes calls after 60 % of the time to live. Then checks that the stream still expires at its
/// first deadline.
async fn assert_not_renewed(case: &Case, calls: impl AsyncFnOnce() -> Check) -> Check {
    let sent = Instant::now();
    case.put(&stream("a")).await?;
    case.pass(0.6).await;
    case.assert_live("a", sent).await?;
    if let Err(fault) = calls().await {
        return Err(if sent.elapsed() >= case.ttl { super::case::Fault::TooLate } else { fault });
    }
    case.pass(EXPIRED - 0.6).await;
    case.assert_gone("a").await
}

async fn reads_do_not_renew_the_time_to_live(case: &Case) -> Check {
    assert_not_renewed(case, async || {
        case.get("a").await?;
        same("the list", case.listed().await?.len(), 1)?;
        same("the pages", case.paged(10).await?.len(), 1)?;
        same("the total", case.registry().find(&Query::default()).await?.total, 1)?;
        same("the records", case.registry().get_many(&[id("a")]).await?.len(), 1)?;
        case.registry().ping().await?;
        Ok(())
    })
    .await
}

async fn failed_writes_do_not_renew_the_time_to_live(case: &Case) -> Check {
    assert_not_renewed(case, async || {
        let holder = Guard::Holder("00000000000000ff-x".parse()?);
        let bad_stats = StreamStats { bytes_received: Some(u64::MAX), ..Default::default() };
        let many: BTreeMap<_, _> = (0..64).map(|n| (n.to_string(), "\u{1}".repeat(256))).collect();
        let bad_patch = StreamPatch { labels: LabelsPatch::Replace(many), ..Default::default() };
        let batch = [
            Write { guard: holder.clone(), ..write("a", Change::Heartbeat) },
            Write { guard: holder.clone(), ..write("a", Change::Status(StreamStatus::Active)) },
            Write { guard: holder.clone(), ..write("a", Change::Stats(Box::new(totals()))) },
            Write { guard: holder.clone(), ..write("a", Change::Patch(Box::default())) },
            Write { guard: holder.clone(), ..write("a", Change::Update(Box::new(stream("a")))) },
            write("a", Change::Stats(Box::new(bad_stats))),
            write("a", Change::Patch(Box::new(bad_patch))),
            write("a", Change::Update(Box::new(stream("b")))),
        ];
        for answer in case.registry().write(&batch).await? {
            ensure(answer.is_err(), "a write succeeds, but must fail")?;
        }
        let end = UnregisterOptions::default().guard(holder);
        fails(case.registry().unregister_with(&id("a"), &end).await, ErrorKind::NotHolder)?;
        Ok(())
    })
    .await
}

async fn rejected_registrations_do_not_renew_the_time_to_live(case: &Case) -> Check {
    assert_not_renewed(case, async || {
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

async fn expiry_frees_the_id(case: &Case) -> Check {
    let before = case.put(&stream("a")).await?;
    case.pass(EXPIRED).await;
    let mut other = stream("a");
    other.source_addr = "10.9.9.9:1".to_owned();
    let answer = case.registry().register(&other).await?;
    same("the outcome", answer.outcome, Outcome::Created)?;
    ensure(answer.stream.created_at > before.created_at, "created_at is that of the expired record")
}

async fn every_write_fails_after_expiry(case: &Case) -> Check {
    case.put(&stream("a")).await?;
    case.pass(EXPIRED).await;
    let batch = [
        write("a", Change::Heartbeat),
        write("a", Change::Status(StreamStatus::Active)),
        write("a", Change::Stats(Box::new(totals()))),
        write("a", Change::Patch(Box::default())),
        write("a", Change::Update(Box::new(stream("a")))),
    ];
    for answer in case.registry().write(&batch).await? {
        fails(answer, ErrorKind::NotFound)?;
    }
    fails(case.registry().unregister(&id("a")).await, ErrorKind::NotFound)?;
    case.assert_gone("a").await
}

async fn each_stream_has_its_own_time_to_live(case: &Case) -> Check {
    let first = Instant::now();
    case.put(&stream("a")).await?;
    case.put(&stream("b")).await?;
    case.pass(0.6).await;
    case.assert_live("b", first).await?;
    let second = Instant::now();
    case.put(&stream("b")).await?;
    case.pass(EXPIRED - 0.6).await;
    case.assert_gone("a").await?;
    case.assert_live("b", second).await?;
    let listed = case.listed().await?;
    if second.elapsed() >= case.ttl {
        return Err(super::case::Fault::TooLate);
    }
    same("the list", listed, vec!["b".to_owned()])
}
