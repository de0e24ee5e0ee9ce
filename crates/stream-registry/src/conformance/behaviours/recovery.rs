//! Leased streams that come back after the store lost them.

use super::case::{Case, Check, at_once, ensure, fails, full, holder, id, same, stream, write};
use super::declare;
use super::guards::{all_refused, all_taken};
use super::leases::{epoch, leased, other};
use crate::error::{ErrorKind, Result};
use crate::registry::{Change, Guard, OnConflict, Outcome, RegisterOptions, Registered, UnregisterOptions, Write};
use crate::stream::{Epoch, Stream, StreamStatus, Timestamp};

declare! {
    "recovery", Long: [
        brings_an_absent_stream_back_as_it_was,
        renews_a_stream_that_is_there,
        sent_twice_changes_nothing_but_the_time,
        at_once_brings_it_back_once,
        takes_the_place_of_a_smaller_epoch,
        yields_to_a_greater_epoch,
        yields_to_another_publisher,
        puts_the_epoch_back_that_a_plain_registration_dropped,
        puts_the_epoch_back_that_another_program_dropped,
        of_a_stream_that_its_holder_ended_is_refused,
        of_a_stream_that_an_operator_ended_is_refused,
        of_a_stream_that_a_successor_ended_is_refused,
        of_a_stream_that_was_taken_over_is_refused,
        of_a_stream_that_was_taken_over_without_a_lease_is_refused,
        of_a_stream_that_a_plain_successor_ended_is_refused,
        is_refused_whatever_the_clock_says,
        does_not_ask_for_the_policy,
        is_refused_outside_the_limits,
        needs_an_id,
        leaves_later_epochs_greater,
    ],
    "recovery", Short: [brings_a_stream_back_whose_time_was_over],
}

const SMALL: &str = "0000000000000001-0123456789abcdef";
const LARGE: &str = "00fedcba98765432-0123456789abcdef";

async fn recover(case: &Case, stream: &Stream, epoch: &str) -> Result<Registered> {
    let options = RegisterOptions::default().recover(epoch.parse()?);
    case.registry().register_with(stream, &options).await
}

/// Recovers with the record's own epoch.
async fn back(case: &Case, lease: &Stream) -> Result<Registered> {
    recover(case, lease, lease.epoch().map_or("", Epoch::as_str)).await
}

/// A record as a holder remembers it: of long ago, with counters.
fn remembered(name: &str) -> Check<Stream> {
    let mut stream = full(name);
    stream.created_at = "2024-01-15T14:30:52.123456789Z".parse()?;
    Ok(stream)
}

/// The record without the time that a recovery sets.
fn but_heartbeat(stream: &Stream) -> String {
    Stream { last_heartbeat: Timestamp::ZERO, ..stream.clone() }.to_json()
}

async fn brings_an_absent_stream_back_as_it_was(case: &Case) -> Check {
    let given = remembered("a")?;
    let answer = recover(case, &given, LARGE).await?;
    same("the outcome", answer.outcome, Outcome::Created)?;
    same("the epoch", answer.epoch.as_ref().map(Epoch::as_str), Some(LARGE))?;
    let expected = Stream { epoch: Some(LARGE.parse()?), ..given };
    same("the record", but_heartbeat(&answer.stream), but_heartbeat(&expected))?;
    ensure(answer.stream.last_heartbeat > answer.stream.created_at, "last_heartbeat is not now")?;
    case.unchanged(&answer.stream).await?;
    same("the list", case.listed().await?, vec!["a".to_owned()])?;
    all_taken(case, &holder(&answer.stream)?).await?;
    Ok(())
}

async fn brings_a_stream_back_whose_time_was_over(case: &Case) -> Check {
    let lease = case.lease(&full("a")).await?;
    case.pass(1.05).await;
    all_refused(case, &holder(&lease)?, ErrorKind::NotFound).await?;
    let answer = back(case, &lease).await?;
    same("the outcome", answer.outcome, Outcome::Created)?;
    same("the record", but_heartbeat(&answer.stream), but_heartbeat(&lease))
}

async fn renews_a_stream_that_is_there(case: &Case) -> Check {
    let lease = case.lease(&full("a")).await?;
    let status = Write { guard: holder(&lease)?, ..write("a", Change::Status(StreamStatus::Paused)) };
    for answer in case.registry().write(&[status]).await? {
        answer?;
    }
    let before = case.get("a").await?;
    // The record is the store's: what the holder remembers may be older.
    let answer = back(case, &lease).await?;
    same("the outcome", answer.outcome, Outcome::Renewed)?;
    same("the record", but_heartbeat(&answer.stream), but_heartbeat(&before))?;
    case.unchanged(&answer.stream).await
}

async fn sent_twice_changes_nothing_but_the_time(case: &Case) -> Check {
    let given = remembered("a")?;
    let first = recover(case, &given, LARGE).await?;
    let again = recover(case, &given, LARGE).await?;
    same("the outcome", again.outcome, Outcome::Renewed)?;
    same("the record", but_heartbeat(&again.stream), but_heartbeat(&first.stream))
}

async fn at_once_brings_it_back_once(case: &Case) -> Check {
    let given = remembered("a")?;
    let answers = at_once((0..8).map(|_| {
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

async fn takes_the_place_of_a_smaller_epoch(case: &Case) -> Check {
    let theirs = recover(case, &other("a"), SMALL).await?;
    let mine = recover(case, &remembered("a")?, LARGE).await?;
    same("the outcome", mine.outcome, Outcome::TakenOver)?;
    same("created_at", mine.stream.created_at, remembered("a")?.created_at)?;
    case.unchanged(&mine.stream).await?;
    all_refused(case, &holder(&theirs.stream)?, ErrorKind::NotHolder).await?;
    case.unchanged(&mine.stream).await
}

async fn lost(case: &Case, lease: &Stream, to: &Stream) -> Check {
    let before = case.get("a").await?;
    let error = fails(back(case, lease).await, ErrorKind::NotHolder)?;
    same("the record in the error", error.existing().map(Stream::to_json), Some(before.to_json()))?;
    same("the holder", before.source_addr, to.source_addr.clone())?;
    case.unchanged(&case.get("a").await?).await
}

async fn yields_to_a_greater_epoch(case: &Case) -> Check {
    let theirs = recover(case, &other("a"), LARGE).await?.stream;
    let mine = Stream { epoch: Some(SMALL.parse()?), ..remembered("a")? };
    lost(case, &mine, &theirs).await?;
    case.unchanged(&theirs).await
}

async fn yields_to_another_publisher(case: &Case) -> Check {
    let theirs = case.put(&other("a")).await?;
    let mine = Stream { epoch: Some(LARGE.parse()?), ..remembered("a")? };
    lost(case, &mine, &theirs).await?;
    case.unchanged(&theirs).await
}

async fn put_back(case: &Case, lease: &Stream) -> Check {
    let before = case.get("a").await?;
    same("the epoch", before.epoch(), None)?;
    all_refused(case, &holder(lease)?, ErrorKind::NotHolder).await?;
    let answer = back(case, lease).await?;
    same("the outcome", answer.outcome, Outcome::Renewed)?;
    let expected = Stream { epoch: epoch(lease), ..before };
    same("the record", but_heartbeat(&answer.stream), but_heartbeat(&expected))?;
    case.unchanged(&answer.stream).await?;
    all_taken(case, &holder(lease)?).await?;
    Ok(())
}

async fn of_a_stream_that_was_taken_over_without_a_lease_is_refused(case: &Case) -> Check {
    let lease = case.lease(&full("a")).await?;
    // By the same publisher, whose record looks as if the epoch had been dropped.
    let options = RegisterOptions::default().on_conflict(OnConflict::TakeOver);
    let theirs = case.registry().register_with(&full("a"), &options).await?.stream;
    lost(case, &lease, &theirs).await?;
    case.unchanged(&theirs).await
}

async fn puts_the_epoch_back_that_a_plain_registration_dropped(case: &Case) -> Check {
    // After the store was emptied, a tool that knows no leases was faster than the holder.
    case.put(&full("a")).await?;
    put_back(case, &Stream { epoch: Some(LARGE.parse()?), ..remembered("a")? }).await
}

async fn puts_the_epoch_back_that_another_program_dropped(case: &Case) -> Check {
    let lease = case.lease(&full("a")).await?;
    let mut plain = Stream { status: StreamStatus::Paused, ..lease.clone() };
    plain.epoch = None;
    case.put_stored("a", &plain.to_json()).await?;
    put_back(case, &lease).await
}

async fn ended(case: &Case, lease: &Stream, kind: ErrorKind) -> Check {
    for _ in 0..2 {
        let error = fails(back(case, lease).await, kind)?;
        same("the record in the error", error.existing(), None)?;
        case.is_gone("a").await?;
    }
    Ok(())
}

async fn of_a_stream_that_its_holder_ended_is_refused(case: &Case) -> Check {
    let lease = case.lease(&full("a")).await?;
    case.registry().unregister_with(&id("a"), &UnregisterOptions::default().guard(holder(&lease)?)).await?;
    ended(case, &lease, ErrorKind::NotFound).await
}

async fn of_a_stream_that_an_operator_ended_is_refused(case: &Case) -> Check {
    let lease = case.lease(&full("a")).await?;
    case.registry().unregister_with(&id("a"), &UnregisterOptions::default().guard(Guard::Force)).await?;
    ended(case, &lease, ErrorKind::NotFound).await?;
    // Registering anew is another matter.
    let next = case.lease(&full("a")).await?;
    lost(case, &lease, &next).await
}

async fn of_a_stream_that_a_successor_ended_is_refused(case: &Case) -> Check {
    let lease = case.lease(&full("a")).await?;
    let options = leased().on_conflict(OnConflict::TakeOver);
    let theirs = case.registry().register_with(&other("a"), &options).await?.stream;
    case.registry().unregister_with(&id("a"), &UnregisterOptions::default().guard(holder(&theirs)?)).await?;
    ended(case, &lease, ErrorKind::NotHolder).await?;
    ended(case, &theirs, ErrorKind::NotFound).await
}

async fn of_a_stream_that_was_taken_over_is_refused(case: &Case) -> Check {
    let lease = case.lease(&full("a")).await?;
    let options = leased().on_conflict(OnConflict::TakeOver);
    let theirs = case.registry().register_with(&other("a"), &options).await?.stream;
    lost(case, &lease, &theirs).await?;
    case.unchanged(&theirs).await
}

async fn of_a_stream_that_a_plain_successor_ended_is_refused(case: &Case) -> Check {
    let lease = case.lease(&full("a")).await?;
    let options = RegisterOptions::default().on_conflict(OnConflict::TakeOver);
    case.registry().register_with(&other("a"), &options).await?;
    case.registry().unregister(&id("a")).await?;
    ended(case, &lease, ErrorKind::NotHolder).await
}

async fn is_refused_whatever_the_clock_says(case: &Case) -> Check {
    // Leased by a clock far ahead of this one, then taken over and ended by it.
    let lease = recover(case, &full("a"), LARGE).await?.stream;
    let options = RegisterOptions::default().on_conflict(OnConflict::TakeOver);
    case.registry().register_with(&other("a"), &options).await?;
    for _ in 0..2 {
        case.registry().unregister(&id("a")).await?;
        ended(case, &lease, ErrorKind::NotHolder).await?;
        case.put(&other("a")).await?;
    }
    lost(case, &lease, &other("a")).await?;
    case.registry().unregister(&id("a")).await?;
    let next = case.lease(&stream("a")).await?;
    ensure(epoch(&next) > epoch(&lease), "the later epoch is not greater")
}

async fn does_not_ask_for_the_policy(case: &Case) -> Check {
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

async fn is_refused_outside_the_limits(case: &Case) -> Check {
    let bad = Stream { bitrate: u64::MAX, ..remembered("a")? };
    fails(recover(case, &bad, LARGE).await, ErrorKind::InvalidArgument)?;
    case.is_gone("a").await
}

async fn needs_an_id(case: &Case) -> Check {
    let options = RegisterOptions::default().recover(LARGE.parse()?);
    fails(case.registry().register_new(&stream("x"), &options).await, ErrorKind::InvalidArgument)?;
    same("the list", case.listed().await?, Vec::new())
}

async fn leaves_later_epochs_greater(case: &Case) -> Check {
    recover(case, &stream("a"), LARGE).await?;
    let next = case.lease(&stream("a")).await?;
    ensure(next.epoch().is_some_and(|next| next.as_str() > LARGE), "the later epoch is not greater")?;
    let last = case.registry().unregister_with(&id("a"), &UnregisterOptions::default().guard(Guard::Force)).await?;
    let next = case.lease(&other("a")).await?;
    ensure(epoch(&next) > epoch(&last), "the epoch after the end is not greater")
}
