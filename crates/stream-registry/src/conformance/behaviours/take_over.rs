//! Take-over of a stream from another holder.

use std::time::Duration;

use super::case::{Case, Check, ensure, fails, full, holder, id, same, stream, write};
use super::declare;
use super::guards::all_rejected;
use super::leases::{epoch, leased, other};
use crate::error::ErrorKind;
use crate::registry::{Change, Guard, OnConflict, Outcome, RegisterOptions, Write};
use crate::stream::Stream;

declare! {
    "take-over", Long: [
        take_over_creates_a_new_record_with_a_greater_epoch,
        writes_of_the_old_holder_are_rejected_after_take_over,
        take_over_without_a_lease_removes_the_epoch,
        take_over_can_add_a_lease_to_the_stream,
        take_over_of_a_free_id_can_create_a_lease,
        take_over_if_stale_replaces_a_stale_stream,
        take_over_if_stale_is_rejected_while_stream_is_fresh,
        take_over_if_stale_by_the_same_publisher_renews,
        take_over_if_stale_registers_a_free_id,
        staleness_depends_on_the_remaining_time_to_live,
        take_over_if_stale_is_rejected_after_a_recent_heartbeat,
    ],
}

/// Duration that is longer than any behaviour takes, but shorter than the time to live.
const LONG: Duration = Duration::from_secs(200);

fn if_stale(options: RegisterOptions, after: Duration) -> RegisterOptions {
    options.on_conflict(OnConflict::TakeOverIfStale(after))
}

async fn assert_taken_over(case: &Case, before: &Stream, options: &RegisterOptions) -> Check<Stream> {
    let answer = case.registry().register_with(&other("a"), options).await?;
    same("the outcome", answer.outcome, Outcome::TakenOver)?;
    same("created_at", answer.stream.created_at, answer.stream.last_heartbeat)?;
    ensure(answer.stream.created_at >= before.created_at, "created_at goes back")?;
    same("whether it has an epoch", answer.epoch.is_some(), options.lease)?;
    ensure(!options.lease || answer.epoch > epoch(before), "the epoch is not greater")?;
    case.unchanged(&answer.stream).await?;
    Ok(answer.stream)
}

async fn assert_rejected(case: &Case, before: &Stream, given: &Stream, options: &RegisterOptions) -> Check {
    let error = fails(case.registry().register_with(given, options).await, ErrorKind::AlreadyExists)?;
    same("the record in the error", error.existing().map(Stream::to_json), Some(before.to_json()))?;
    case.unchanged(before).await
}

fn take_over(options: RegisterOptions) -> RegisterOptions {
    options.on_conflict(OnConflict::TakeOver)
}

async fn take_over_creates_a_new_record_with_a_greater_epoch(case: &Case) -> Check {
    let before = case.lease(&full("a")).await?;
    let mine = assert_taken_over(case, &before, &take_over(leased())).await?;
    // A publisher can also take over its own stream.
    let again = case.registry().register_with(&other("a"), &take_over(leased())).await?;
    same("the outcome", again.outcome, Outcome::TakenOver)?;
    ensure(again.epoch > epoch(&mine), "the epoch is not greater")
}

async fn writes_of_the_old_holder_are_rejected_after_take_over(case: &Case) -> Check {
    let before = case.lease(&full("a")).await?;
    let mine = assert_taken_over(case, &before, &take_over(leased())).await?;
    all_rejected(case, &holder(&before)?, ErrorKind::NotHolder).await?;
    case.unchanged(&mine).await
}

async fn take_over_without_a_lease_removes_the_epoch(case: &Case) -> Check {
    let before = case.lease(&full("a")).await?;
    let mine = assert_taken_over(case, &before, &take_over(RegisterOptions::default())).await?;
    all_rejected(case, &holder(&before)?, ErrorKind::NotHolder).await?;
    case.unchanged(&mine).await?;
    case.registry().update_heartbeat(&id("a")).await?;
    Ok(())
}

async fn take_over_can_add_a_lease_to_the_stream(case: &Case) -> Check {
    let before = case.put(&full("a")).await?;
    let mine = assert_taken_over(case, &before, &take_over(leased())).await?;
    all_rejected(case, &Guard::None, ErrorKind::NotHolder).await?;
    case.unchanged(&mine).await
}

async fn take_over_of_a_free_id_can_create_a_lease(case: &Case) -> Check {
    let answer = case.registry().register_with(&stream("a"), &take_over(leased())).await?;
    same("the outcome", answer.outcome, Outcome::Created)?;
    ensure(answer.epoch.is_some(), "a lease has no epoch")
}

async fn take_over_if_stale_replaces_a_stale_stream(case: &Case) -> Check {
    let before = case.lease(&full("a")).await?;
    let plain = assert_taken_over(case, &before, &if_stale(RegisterOptions::default(), Duration::ZERO)).await?;
    assert_taken_over(case, &plain, &if_stale(leased(), Duration::ZERO)).await?;
    Ok(())
}

async fn take_over_if_stale_is_rejected_while_stream_is_fresh(case: &Case) -> Check {
    for options in [RegisterOptions::default(), leased()] {
        let before = case.registry().register_with(&full("a"), &take_over(leased())).await?.stream;
        assert_rejected(case, &before, &other("a"), &if_stale(options.clone(), LONG)).await?;
        let before = case.registry().register_with(&full("a"), &take_over(RegisterOptions::default())).await?.stream;
        assert_rejected(case, &before, &other("a"), &if_stale(options, LONG)).await?;
    }
    Ok(())
}

async fn take_over_if_stale_by_the_same_publisher_renews(case: &Case) -> Check {
    let first = case.put(&full("a")).await?;
    for options in [RegisterOptions::default(), leased(), leased()] {
        let answer = case.registry().register_with(&full("a"), &if_stale(options, LONG)).await?;
        same("the outcome", answer.outcome, Outcome::Renewed)?;
        same("created_at", answer.stream.created_at, first.created_at)?;
    }
    let before = case.get("a").await?;
    assert_rejected(case, &before, &full("a"), &if_stale(RegisterOptions::default(), LONG)).await
}

async fn take_over_if_stale_registers_a_free_id(case: &Case) -> Check {
    let answer = case.registry().register_with(&stream("a"), &if_stale(leased(), LONG)).await?;
    same("the outcome", answer.outcome, Outcome::Created)
}

async fn staleness_depends_on_the_remaining_time_to_live(case: &Case) -> Check {
    let before = case.lease(&full("a")).await?;
    case.age("a", 0.5).await?;
    assert_rejected(case, &before, &other("a"), &if_stale(leased(), LONG)).await?;
    assert_taken_over(case, &before, &if_stale(leased(), case.ttl.mul_f64(0.5))).await?;
    Ok(())
}

async fn take_over_if_stale_is_rejected_after_a_recent_heartbeat(case: &Case) -> Check {
    let lease = case.lease(&full("a")).await?;
    case.age("a", 0.9).await?;
    let heartbeat = Write { guard: holder(&lease)?, ..write("a", Change::Heartbeat) };
    case.registry().write_one(heartbeat).await?;
    let now = case.get("a").await?;
    assert_rejected(case, &now, &other("a"), &if_stale(leased(), LONG)).await
}
