//! Recovery of leased streams after the store lost them.

use super::case::{Case, Check, concurrently, ensure, fails, full, holder, id, same, stream, write};
use super::declare;
use super::guards::{all_accepted, all_rejected};
use super::leases::{epoch, leased, other};
use crate::error::{ErrorKind, Result};
use crate::registry::{Change, Guard, OnConflict, Outcome, RegisterOptions, Registered, UnregisterOptions, Write};
use crate::stream::{Epoch, Stream, StreamStatus, Timestamp};

declare! {
    "recovery", Long: [
        recovery_restores_a_lost_stream_unchanged,
        recovery_renews_a_stream_that_is_still_live,
        recovery_sent_twice_changes_only_last_heartbeat,
        concurrent_recoveries_create_the_stream_once,
        recovery_replaces_a_record_with_a_smaller_epoch,
        recovery_is_rejected_when_the_record_has_a_greater_epoch,
        recovery_is_rejected_when_another_publisher_has_the_id,
        recovery_adds_the_epoch_to_a_registration_without_a_lease,
        recovery_restores_what_another_program_removed,
        recovery_keeps_what_only_another_program_has_set,
        recovery_drops_fields_of_another_program_that_exceed_the_limit,
        recovery_is_rejected_after_the_holder_unregistered_the_stream,
        recovery_is_rejected_after_an_operator_unregistered_the_stream,
        recovery_is_rejected_after_a_newer_holder_unregistered_the_stream,
        recovery_is_rejected_after_a_take_over,
        recovery_is_rejected_after_a_take_over_without_a_lease,
        recovery_is_rejected_after_unleased_take_over_and_unregistration,
        recovery_succeeds_after_an_unleased_stream_was_unregistered,
        recovery_is_rejected_after_an_unleased_stream_was_removed_with_force,
        superseded_lease_with_a_future_epoch_is_not_recovered,
        recovery_ignores_the_conflict_policy,
        recovery_is_rejected_when_the_record_exceeds_a_limit,
        recovery_is_rejected_with_a_generated_id,
        epochs_after_a_recovery_are_greater,
    ],
    "recovery", Short: [recovery_restores_an_expired_stream],
}

const SMALL: &str = "0000000000000001-0123456789abcdef";
const LARGE: &str = "00fedcba98765432-0123456789abcdef";

async fn recover(case: &Case, stream: &Stream, epoch: &str) -> Result<Registered> {
    let options = RegisterOptions::default().recover(epoch.parse()?);
    case.registry().register_with(stream, &options).await
}

/// Recovers a stream with the epoch of the record.
async fn recover_own(case: &Case, lease: &Stream) -> Result<Registered> {
    recover(case, lease, lease.epoch().map_or("", Epoch::as_str)).await
}

/// Returns a holder's copy of a record, with counters and an old creation time.
fn remembered(name: &str) -> Check<Stream> {
    let mut stream = full(name);
    stream.created_at = "2024-01-15T14:30:52.123456789Z".parse()?;
    Ok(stream)
}

/// Returns the JSON of a record with `last_heartbeat` set to zero, because a recovery changes this time.
fn without_heartbeat(stream: &Stream) -> String {
    Stream { last_heartbeat: Timestamp::ZERO, ..stream.clone() }.to_json()
}

async fn recovery_restores_a_lost_stream_unchanged(case: &Case) -> Check {
    let given = remembered("a")?;
    let answer = recover(case, &given, LARGE).await?;
    same("the outcome", answer.outcome, Outcome::Created)?;
    same("the epoch", answer.epoch.as_ref().map(Epoch::as_str), Some(LARGE))?;
    let expected = Stream { epoch: Some(LARGE.parse()?), ..given };
    same("the record", without_heartbeat(&answer.stream), without_heartbeat(&expected))?;
    ensure(answer.stream.last_heartbeat > answer.stream.created_at, "last_heartbeat is not now")?;
    case.unchanged(&answer.stream).await?;
    same("the list", case.listed().await?, vec!["a".to_owned()])?;
    all_accepted(case, &holder(&answer.stream)?).await?;
    Ok(())
}

async fn recovery_restores_an_expired_stream(case: &Case) -> Check {
    let lease = case.lease(&full("a")).await?;
    case.pass(1.05).await;
    all_rejected(case, &holder(&lease)?, ErrorKind::NotFound).await?;
    let answer = recover_own(case, &lease).await?;
    same("the outcome", answer.outcome, Outcome::Created)?;
    same("the record", without_heartbeat(&answer.stream), without_heartbeat(&lease))
}

async fn recovery_renews_a_stream_that_is_still_live(case: &Case) -> Check {
    let lease = case.lease(&full("a")).await?;
    let status = Write { guard: holder(&lease)?, ..write("a", Change::Status(StreamStatus::Paused)) };
    case.registry().write_one(status).await?;
    let before = case.get("a").await?;
    // The stored record is kept, because the holder's copy may be older.
    let answer = recover_own(case, &lease).await?;
    same("the outcome", answer.outcome, Outcome::Renewed)?;
    same("the record", without_heartbeat(&answer.stream), without_heartbeat(&before))?;
    case.unchanged(&answer.stream).await
}

async fn recovery_sent_twice_changes_only_last_heartbeat(case: &Case) -> Check {
    let given = remembered("a")?;
    let first = recover(case, &given, LARGE).await?;
    let again = recover(case, &given, LARGE).await?;
    same("the outcome", again.outcome, Outcome::Renewed)?;
    same("the record", without_heartbeat(&again.stream), without_heartbeat(&first.stream))
}

async fn concurrent_recoveries_create_the_stream_once(case: &Case) -> Check {
    let given = remembered("a")?;
    let answers = concurrently((0..8).map(|_| {
        let (registry, given) = (case.shared(), given.clone());
        async move {
            let options = RegisterOptions::default().recover(LARGE.parse()?);
            registry.register_with(&given, &options).await
        }
    }))
    .await?;
    let mut created = 0;
    for answer in answers {
        let answer = answer?;
        created += u32::from(answer.outcome == Outcome::Created);
        same("created_at", answer.stream.created_at, given.created_at)?;
    }
    same("the number of creations", created, 1)
}

async fn recovery_replaces_a_record_with_a_smaller_epoch(case: &Case) -> Check {
    let theirs = recover(case, &other("a"), SMALL).await?;
    let mine = recover(case, &remembered("a")?, LARGE).await?;
    same("the outcome", mine.outcome, Outcome::TakenOver)?;
    same("created_at", mine.stream.created_at, remembered("a")?.created_at)?;
    case.unchanged(&mine.stream).await?;
    all_rejected(case, &holder(&theirs.stream)?, ErrorKind::NotHolder).await?;
    case.unchanged(&mine.stream).await
}

async fn assert_not_holder(case: &Case, lease: &Stream, to: &Stream) -> Check {
    let before = case.get("a").await?;
    let error = fails(recover_own(case, lease).await, ErrorKind::NotHolder)?;
    same("the record in the error", error.existing().map(Stream::to_json), Some(before.to_json()))?;
    same("the holder", before.source_addr, to.source_addr.clone())?;
    case.unchanged(&case.get("a").await?).await
}

async fn recovery_is_rejected_when_the_record_has_a_greater_epoch(case: &Case) -> Check {
    let theirs = recover(case, &other("a"), LARGE).await?.stream;
    let mine = Stream { epoch: Some(SMALL.parse()?), ..remembered("a")? };
    assert_not_holder(case, &mine, &theirs).await?;
    case.unchanged(&theirs).await
}

async fn recovery_is_rejected_when_another_publisher_has_the_id(case: &Case) -> Check {
    let theirs = case.put(&other("a")).await?;
    let mine = Stream { epoch: Some(LARGE.parse()?), ..remembered("a")? };
    assert_not_holder(case, &mine, &theirs).await?;
    case.unchanged(&theirs).await
}

/// Recovers a stream whose record has lost its epoch. Checks the record that the recovery stores.
async fn assert_restored(case: &Case, lease: &Stream, expected: &str) -> Check {
    same("the epoch", case.get("a").await?.epoch(), None)?;
    all_rejected(case, &holder(lease)?, ErrorKind::NotHolder).await?;
    let answer = recover_own(case, lease).await?;
    same("the outcome", answer.outcome, Outcome::Renewed)?;
    same("the record", without_heartbeat(&answer.stream), expected.to_owned())?;
    case.unchanged(&answer.stream).await?;
    all_accepted(case, &holder(lease)?).await?;
    Ok(())
}

/// Inserts fields before the closing brace of a record.
fn with_fields(json: &str, fields: &str) -> String {
    format!("{},{fields}}}", json.strip_suffix('}').unwrap_or(json))
}

async fn recovery_is_rejected_after_a_take_over_without_a_lease(case: &Case) -> Check {
    let lease = case.lease(&full("a")).await?;
    // The publisher is the same, so the record looks as if another program had removed the epoch.
    let options = RegisterOptions::default().on_conflict(OnConflict::TakeOver);
    let theirs = case.registry().register_with(&full("a"), &options).await?.stream;
    assert_not_holder(case, &lease, &theirs).await?;
    case.unchanged(&theirs).await
}

async fn recovery_adds_the_epoch_to_a_registration_without_a_lease(case: &Case) -> Check {
    // The store lost the stream. A program without leases then registered the stream before the holder recovered it.
    case.put(&full("a")).await?;
    let lease = Stream { epoch: Some(LARGE.parse()?), ..remembered("a")? };
    assert_restored(case, &lease, &without_heartbeat(&lease)).await
}

async fn recovery_restores_what_another_program_removed(case: &Case) -> Check {
    let lease = case.lease(&full("a")).await?;
    // A program that knows only the thirteen fields wrote an older copy of the record, with a field of its own.
    let plain = Stream { status: StreamStatus::Paused, bytes_received: 5, resolution: "x".to_owned(), ..stream("a") };
    case.put_stored("a", &with_fields(&plain.to_json(), r#""theirs":[1]"#)).await?;
    assert_restored(case, &lease, &with_fields(&without_heartbeat(&lease), r#""theirs":[1]"#)).await
}

async fn recovery_keeps_what_only_another_program_has_set(case: &Case) -> Check {
    // The holder has never reported a status, a statistic or any other field.
    let lease = case.lease(&stream("a")).await?;
    let plain = full("a");
    case.put_stored("a", &with_fields(&plain.to_json(), r#""theirs":1"#)).await?;
    let expected = Stream { created_at: lease.created_at, epoch: epoch(&lease), ..plain };
    assert_restored(case, &lease, &with_fields(&without_heartbeat(&expected), r#""theirs":1"#)).await
}

async fn recovery_drops_fields_of_another_program_that_exceed_the_limit(case: &Case) -> Check {
    let lease = case.lease(&full("a")).await?;
    let theirs = format!(r#""theirs":"{}""#, "x".repeat(63 * 1024));
    case.put_stored("a", &with_fields(&stream("a").to_json(), &theirs)).await?;
    assert_restored(case, &lease, &without_heartbeat(&lease)).await
}

async fn assert_ended(case: &Case, lease: &Stream, kind: ErrorKind) -> Check {
    for _ in 0..2 {
        let error = fails(recover_own(case, lease).await, kind)?;
        same("the record in the error", error.existing(), None)?;
        case.assert_gone("a").await?;
    }
    Ok(())
}

async fn recovery_is_rejected_after_the_holder_unregistered_the_stream(case: &Case) -> Check {
    let lease = case.lease(&full("a")).await?;
    case.registry().unregister_with(&id("a"), &UnregisterOptions::default().guard(holder(&lease)?)).await?;
    assert_ended(case, &lease, ErrorKind::NotFound).await
}

async fn recovery_is_rejected_after_an_operator_unregistered_the_stream(case: &Case) -> Check {
    let lease = case.lease(&full("a")).await?;
    case.registry().unregister_with(&id("a"), &UnregisterOptions::default().guard(Guard::Force)).await?;
    assert_ended(case, &lease, ErrorKind::NotFound).await?;
    // The store still accepts a new registration.
    let next = case.lease(&full("a")).await?;
    assert_not_holder(case, &lease, &next).await
}

async fn recovery_is_rejected_after_a_newer_holder_unregistered_the_stream(case: &Case) -> Check {
    let lease = case.lease(&full("a")).await?;
    let options = leased().on_conflict(OnConflict::TakeOver);
    let theirs = case.registry().register_with(&other("a"), &options).await?.stream;
    case.registry().unregister_with(&id("a"), &UnregisterOptions::default().guard(holder(&theirs)?)).await?;
    assert_ended(case, &lease, ErrorKind::NotHolder).await?;
    assert_ended(case, &theirs, ErrorKind::NotFound).await
}

async fn recovery_is_rejected_after_a_take_over(case: &Case) -> Check {
    let lease = case.lease(&full("a")).await?;
    let options = leased().on_conflict(OnConflict::TakeOver);
    let theirs = case.registry().register_with(&other("a"), &options).await?.stream;
    assert_not_holder(case, &lease, &theirs).await?;
    case.unchanged(&theirs).await
}

async fn recovery_is_rejected_after_unleased_take_over_and_unregistration(case: &Case) -> Check {
    let lease = case.lease(&full("a")).await?;
    let options = RegisterOptions::default().on_conflict(OnConflict::TakeOver);
    case.registry().register_with(&other("a"), &options).await?;
    case.registry().unregister(&id("a")).await?;
    assert_ended(case, &lease, ErrorKind::NotHolder).await
}

async fn recovery_succeeds_after_an_unleased_stream_was_unregistered(case: &Case) -> Check {
    // The store lost the leased stream. Another program then used the id without a lease.
    case.put(&other("a")).await?;
    case.registry().unregister(&id("a")).await?;
    let answer = recover(case, &remembered("a")?, SMALL).await?;
    same("the outcome", answer.outcome, Outcome::Created)?;
    case.unchanged(&answer.stream).await
}

async fn recovery_is_rejected_after_an_unleased_stream_was_removed_with_force(case: &Case) -> Check {
    // The removal with `Force` leaves a tombstone with the current time, which is greater than the epoch of the lease.
    case.put(&other("a")).await?;
    case.registry().unregister_with(&id("a"), &UnregisterOptions::default().guard(Guard::Force)).await?;
    assert_ended(case, &Stream { epoch: Some(SMALL.parse()?), ..remembered("a")? }, ErrorKind::NotHolder).await
}

async fn superseded_lease_with_a_future_epoch_is_not_recovered(case: &Case) -> Check {
    // The epoch of this lease comes from a clock that was far ahead.
    let lease = recover(case, &full("a"), LARGE).await?.stream;
    let options = RegisterOptions::default().on_conflict(OnConflict::TakeOver);
    case.registry().register_with(&other("a"), &options).await?;
    for _ in 0..2 {
        case.registry().unregister(&id("a")).await?;
        assert_ended(case, &lease, ErrorKind::NotHolder).await?;
        case.put(&other("a")).await?;
    }
    assert_not_holder(case, &lease, &other("a")).await?;
    case.registry().unregister(&id("a")).await?;
    let next = case.lease(&stream("a")).await?;
    ensure(epoch(&next) > epoch(&lease), "the later epoch is not greater")
}

async fn recovery_ignores_the_conflict_policy(case: &Case) -> Check {
    let lease = case.lease(&full("a")).await?;
    for policy in [OnConflict::CreateOnly, OnConflict::TakeOver, OnConflict::Reject] {
        let options = leased().on_conflict(policy);
        let options = lease.epoch().cloned().map_or(options.clone(), |epoch| options.recover(epoch));
        let answer = case.registry().register_with(&lease, &options).await?;
        same("the outcome", answer.outcome, Outcome::Renewed)?;
        same("the epoch", answer.epoch, epoch(&lease))?;
    }
    Ok(())
}

async fn recovery_is_rejected_when_the_record_exceeds_a_limit(case: &Case) -> Check {
    let bad = Stream { bitrate: u64::MAX, ..remembered("a")? };
    fails(recover(case, &bad, LARGE).await, ErrorKind::InvalidArgument)?;
    case.assert_gone("a").await
}

async fn recovery_is_rejected_with_a_generated_id(case: &Case) -> Check {
    let options = RegisterOptions::default().recover(LARGE.parse()?);
    fails(case.registry().register_new(&stream("x"), &options).await, ErrorKind::InvalidArgument)?;
    same("the list", case.listed().await?, Vec::new())
}

async fn epochs_after_a_recovery_are_greater(case: &Case) -> Check {
    recover(case, &stream("a"), LARGE).await?;
    let next = case.lease(&stream("a")).await?;
    ensure(next.epoch().is_some_and(|next| next.as_str() > LARGE), "the later epoch is not greater")?;
    let last = case.registry().unregister_with(&id("a"), &UnregisterOptions::default().guard(Guard::Force)).await?;
    let next = case.lease(&other("a")).await?;
    ensure(epoch(&next) > epoch(&last), "the epoch after the unregistration is not greater")
}
