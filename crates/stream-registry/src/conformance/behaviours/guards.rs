//! On what condition a write happens.

use super::case::{Case, Check, fails, full, id, same, stream, write};
use super::declare;
use crate::error::ErrorKind;
use crate::registry::{Change, Guard, OnConflict, RegisterOptions, UnregisterOptions, Write};
use crate::stream::{Stream, StreamPatch, StreamStats, StreamStatus};

declare! {
    "guards", Long: [
        a_holder_of_a_stream_that_nobody_leased_is_refused,
        force_works_on_a_stream_that_nobody_leased,
        a_leased_stream_refuses_writes_without_its_epoch,
        a_leased_stream_takes_its_holders_writes,
        a_leased_stream_takes_an_operators_override,
        a_leased_stream_is_not_registered_over,
        unknown_streams_are_unknown_under_every_guard,
    ],
}

fn changes(name: &str) -> [Change; 5] {
    let patch = StreamPatch { video_codec: Some("AV1".to_owned()), ..Default::default() };
    [
        Change::Heartbeat,
        Change::Status(StreamStatus::Paused),
        Change::Stats(StreamStats { bitrate: 1, ..Default::default() }),
        Change::Patch(Box::new(patch)),
        Change::Update(Box::new(stream(name))),
    ]
}

async fn one(case: &Case, guard: &Guard, change: Change) -> Check<crate::error::Result<()>> {
    let mut answers = case.registry().write(&[Write { guard: guard.clone(), ..write("a", change) }]).await?;
    answers.pop().ok_or_else(|| super::case::fault("no answer"))
}

/// Checks that every kind of write to `a`, and its end, is refused under a guard.
pub(super) async fn all_refused(case: &Case, guard: &Guard, kind: ErrorKind) -> Check {
    for change in changes("a") {
        fails(one(case, guard, change).await?, kind)?;
    }
    let end = UnregisterOptions::default().guard(guard.clone());
    let error = fails(case.registry().unregister_with(&id("a"), &end).await, kind)?;
    same("the stream", error.stream_id(), Some(&id("a")))
}

/// Makes every kind of write to `a` and ends it, and returns the last record.
pub(super) async fn all_taken(case: &Case, guard: &Guard) -> Check<Stream> {
    for change in changes("a") {
        one(case, guard, change).await??;
    }
    Ok(case.registry().unregister_with(&id("a"), &UnregisterOptions::default().guard(guard.clone())).await?)
}

const EPOCH: &str = "0006543210abcdef-0123456789abcdef";

async fn put_leased(case: &Case) -> Check<Stream> {
    let record = full("a");
    let json = record.to_json();
    let (head, rest) = json.split_once(",\"labels\"").unwrap_or((&json, ""));
    case.put_stored("a", &format!("{head},\"epoch\":\"{EPOCH}\",\"labels\"{rest}")).await?;
    let leased = case.get("a").await?;
    same("the epoch", leased.epoch().map(crate::stream::Epoch::as_str), Some(EPOCH))?;
    Ok(leased)
}

async fn a_holder_of_a_stream_that_nobody_leased_is_refused(case: &Case) -> Check {
    let before = case.put(&full("a")).await?;
    all_refused(case, &Guard::Holder(EPOCH.parse()?), ErrorKind::NotHolder).await?;
    case.unchanged(&before).await
}

async fn force_works_on_a_stream_that_nobody_leased(case: &Case) -> Check {
    case.put(&full("a")).await?;
    all_taken(case, &Guard::Force).await?;
    case.is_gone("a").await
}

async fn a_leased_stream_refuses_writes_without_its_epoch(case: &Case) -> Check {
    let before = put_leased(case).await?;
    all_refused(case, &Guard::None, ErrorKind::NotHolder).await?;
    all_refused(case, &Guard::Holder("0006543210abcdef-0123456789abcdee".parse()?), ErrorKind::NotHolder).await?;
    case.unchanged(&before).await
}

async fn a_leased_stream_takes_its_holders_writes(case: &Case) -> Check {
    put_leased(case).await?;
    let last = all_taken(case, &Guard::Holder(EPOCH.parse()?)).await?;
    same("the last record's epoch", last.epoch().map(crate::stream::Epoch::as_str), Some(EPOCH))?;
    case.is_gone("a").await
}

async fn a_leased_stream_takes_an_operators_override(case: &Case) -> Check {
    put_leased(case).await?;
    for change in changes("a") {
        one(case, &Guard::Force, change).await??;
        same("the epoch", case.get("a").await?.epoch().map(crate::stream::Epoch::as_str), Some(EPOCH))?;
    }
    case.registry().unregister_with(&id("a"), &UnregisterOptions::default().guard(Guard::Force)).await?;
    case.is_gone("a").await
}

async fn a_leased_stream_is_not_registered_over(case: &Case) -> Check {
    let before = put_leased(case).await?;
    // By the very same publisher.
    for policy in [OnConflict::Reject, OnConflict::CreateOnly] {
        let options = RegisterOptions::default().on_conflict(policy);
        let error = fails(case.registry().register_with(&full("a"), &options).await, ErrorKind::AlreadyExists)?;
        same("the record in the error", error.existing().map(Stream::to_json), Some(before.to_json()))?;
    }
    case.unchanged(&before).await?;
    let options = RegisterOptions::default().on_conflict(OnConflict::TakeOver);
    case.registry().register_with(&full("a"), &options).await?;
    same("the epoch after a take-over", case.get("a").await?.epoch().cloned(), None)
}

async fn unknown_streams_are_unknown_under_every_guard(case: &Case) -> Check {
    for guard in [Guard::None, Guard::Force, Guard::Holder(EPOCH.parse()?)] {
        all_refused(case, &guard, ErrorKind::NotFound).await?;
    }
    case.is_gone("a").await
}
