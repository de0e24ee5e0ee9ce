//! Guards: the conditions of writes.

use super::case::{Case, Check, fails, full, id, same, stream, write};
use super::declare;
use crate::error::ErrorKind;
use crate::registry::{Change, Guard, OnConflict, RegisterOptions, UnregisterOptions, Write};
use crate::stream::{Stream, StreamPatch, StreamStats, StreamStatus};

declare! {
    "guards", Long: [
        holder_guard_is_rejected_when_the_stream_has_no_lease,
        forced_writes_are_accepted_when_the_stream_has_no_lease,
        leased_stream_rejects_writes_without_its_epoch,
        leased_stream_accepts_writes_of_its_holder,
        leased_stream_accepts_forced_writes,
        registration_without_a_lease_does_not_replace_a_leased_stream,
        write_to_unknown_stream_returns_not_found_with_any_guard,
    ],
}

fn changes(name: &str) -> [Change; 5] {
    let patch = StreamPatch { video_codec: Some("AV1".to_owned()), ..Default::default() };
    [
        Change::Heartbeat,
        Change::Status(StreamStatus::Paused),
        Change::Stats(Box::new(StreamStats { bitrate: Some(1), ..Default::default() })),
        Change::Patch(Box::new(patch)),
        Change::Update(Box::new(stream(name))),
    ]
}

async fn write_one(case: &Case, guard: &Guard, change: Change) -> crate::error::Result<()> {
    case.registry().write_one(Write { guard: guard.clone(), ..write("a", change) }).await
}

/// Checks that a guard rejects every kind of write to the stream `a` and the unregistration of `a`.
pub(super) async fn all_rejected(case: &Case, guard: &Guard, kind: ErrorKind) -> Check {
    for change in changes("a") {
        fails(write_one(case, guard, change).await, kind)?;
    }
    let end = UnregisterOptions::default().guard(guard.clone());
    let error = fails(case.registry().unregister_with(&id("a"), &end).await, kind)?;
    same("the stream", error.stream_id(), Some(&id("a")))
}

/// Makes every kind of write to the stream `a`, unregisters `a`, and returns its last record.
pub(super) async fn all_accepted(case: &Case, guard: &Guard) -> Check<Stream> {
    for change in changes("a") {
        write_one(case, guard, change).await?;
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

async fn holder_guard_is_rejected_when_the_stream_has_no_lease(case: &Case) -> Check {
    let before = case.put(&full("a")).await?;
    all_rejected(case, &Guard::Holder(EPOCH.parse()?), ErrorKind::NotHolder).await?;
    case.unchanged(&before).await
}

async fn forced_writes_are_accepted_when_the_stream_has_no_lease(case: &Case) -> Check {
    case.put(&full("a")).await?;
    all_accepted(case, &Guard::Force).await?;
    case.assert_gone("a").await
}

async fn leased_stream_rejects_writes_without_its_epoch(case: &Case) -> Check {
    let before = put_leased(case).await?;
    all_rejected(case, &Guard::None, ErrorKind::NotHolder).await?;
    all_rejected(case, &Guard::Holder("0006543210abcdef-0123456789abcdee".parse()?), ErrorKind::NotHolder).await?;
    case.unchanged(&before).await
}

async fn leased_stream_accepts_writes_of_its_holder(case: &Case) -> Check {
    put_leased(case).await?;
    let last = all_accepted(case, &Guard::Holder(EPOCH.parse()?)).await?;
    same("the last record's epoch", last.epoch().map(crate::stream::Epoch::as_str), Some(EPOCH))?;
    case.assert_gone("a").await
}

async fn leased_stream_accepts_forced_writes(case: &Case) -> Check {
    put_leased(case).await?;
    for change in changes("a") {
        write_one(case, &Guard::Force, change).await?;
        same("the epoch", case.get("a").await?.epoch().map(crate::stream::Epoch::as_str), Some(EPOCH))?;
    }
    case.registry().unregister_with(&id("a"), &UnregisterOptions::default().guard(Guard::Force)).await?;
    case.assert_gone("a").await
}

async fn registration_without_a_lease_does_not_replace_a_leased_stream(case: &Case) -> Check {
    let before = put_leased(case).await?;
    // The store rejects a registration without a lease, even from the same publisher.
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

async fn write_to_unknown_stream_returns_not_found_with_any_guard(case: &Case) -> Check {
    for guard in [Guard::None, Guard::Force, Guard::Holder(EPOCH.parse()?)] {
        all_rejected(case, &guard, ErrorKind::NotFound).await?;
    }
    case.assert_gone("a").await
}
