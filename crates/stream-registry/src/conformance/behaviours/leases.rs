//! Leased registrations: epochs, and who may write.

use super::case::{Case, Check, at_once, ensure, fails, full, holder, id, same, stream, timeless, write};
use super::declare;
use super::guards::{all_refused, all_taken};
use crate::error::ErrorKind;
use crate::registry::{Change, Guard, OnConflict, Outcome, RegisterOptions, UnregisterOptions, Write};
use crate::stream::{Epoch, OperationId, Stream};

declare! {
    "leases", Long: [
        give_an_epoch_and_store_it,
        of_new_ids_have_an_epoch_too,
        do_not_take_an_epoch_from_the_caller,
        sent_twice_have_one_epoch,
        refuse_a_plain_registration,
        refuse_another_publisher,
        create_only_refuses_even_the_holder,
        are_taken_anew_by_the_same_publisher,
        may_be_taken_of_a_plain_stream_by_its_publisher,
        take_writes_and_the_end_of_their_holder,
        refuse_what_has_another_epoch_or_none,
        take_an_operators_override,
        keep_their_epoch_through_every_write,
        are_told_of_each_stream_in_a_batch,
    ],
    "epochs", Long: [
        of_later_registrations_are_greater,
        are_greater_than_those_of_ended_streams,
        are_greater_than_those_that_other_programs_wrote,
        of_registrations_at_once_differ,
    ],
}

pub(super) fn leased() -> RegisterOptions {
    RegisterOptions::default().lease(true)
}

/// A publisher that is not the one of [`stream`].
pub(super) fn other(name: &str) -> Stream {
    Stream { source_addr: "198.51.100.9:9000".to_owned(), ..stream(name) }
}

pub(super) fn epoch(stream: &Stream) -> Option<Epoch> {
    stream.epoch().cloned()
}

async fn give_an_epoch_and_store_it(case: &Case) -> Check {
    let answer = case.registry().register_with(&full("a"), &leased()).await?;
    same("the outcome", answer.outcome, Outcome::Created)?;
    ensure(answer.epoch.is_some(), "a lease has no epoch")?;
    same("the record's epoch", answer.stream.epoch(), answer.epoch.as_ref())?;
    let mut plain = timeless(&answer.stream);
    plain.epoch = None;
    same("the rest", plain.to_json(), timeless(&full("a")).to_json())?;
    case.unchanged(&answer.stream).await?;
    same("the list", case.registry().list().await?, vec![answer.stream])
}

async fn of_new_ids_have_an_epoch_too(case: &Case) -> Check {
    let answer = case.registry().register_new(&stream("x"), &leased()).await?;
    ensure(answer.epoch.is_some(), "a lease has no epoch")?;
    case.unchanged(&answer.stream).await
}

async fn do_not_take_an_epoch_from_the_caller(case: &Case) -> Check {
    let given = Stream { epoch: Some("zz".parse()?), ..stream("a") };
    let leased = case.lease(&given).await?;
    ensure(epoch(&leased) != epoch(&given), "the epoch is the caller's")?;
    same("a plain stream's epoch", case.put(&Stream { id: id("b"), ..given }).await?.epoch(), None)
}

async fn sent_twice_have_one_epoch(case: &Case) -> Check {
    let options = leased().operation(OperationId::generate());
    let first = case.registry().register_with(&stream("a"), &options).await?;
    same("the answer", case.registry().register_with(&stream("a"), &options).await?, first.clone())?;
    case.unchanged(&first.stream).await
}

async fn refused(case: &Case, before: &Stream, given: &Stream, options: &RegisterOptions) -> Check {
    let error = fails(case.registry().register_with(given, options).await, ErrorKind::AlreadyExists)?;
    same("the record in the error", error.existing().map(Stream::to_json), Some(before.to_json()))?;
    case.unchanged(before).await
}

async fn refuse_a_plain_registration(case: &Case) -> Check {
    let before = case.lease(&full("a")).await?;
    refused(case, &before, &full("a"), &RegisterOptions::default()).await?;
    refused(case, &before, &other("a"), &RegisterOptions::default()).await
}

async fn refuse_another_publisher(case: &Case) -> Check {
    let before = case.lease(&stream("a")).await?;
    refused(case, &before, &other("a"), &leased()).await
}

async fn create_only_refuses_even_the_holder(case: &Case) -> Check {
    let before = case.lease(&stream("a")).await?;
    refused(case, &before, &stream("a"), &leased().on_conflict(OnConflict::CreateOnly)).await
}

async fn are_taken_anew_by_the_same_publisher(case: &Case) -> Check {
    let old = case.lease(&full("a")).await?;
    let answer = case.registry().register_with(&full("a"), &leased()).await?;
    same("the outcome", answer.outcome, Outcome::Renewed)?;
    same("created_at", answer.stream.created_at, old.created_at)?;
    ensure(answer.epoch > epoch(&old), "the later epoch is not greater")?;
    all_refused(case, &holder(&old)?, ErrorKind::NotHolder).await?;
    case.unchanged(&answer.stream).await?;
    all_taken(case, &holder(&answer.stream)?).await?;
    case.is_gone("a").await
}

async fn may_be_taken_of_a_plain_stream_by_its_publisher(case: &Case) -> Check {
    let plain = case.put(&full("a")).await?;
    let answer = case.registry().register_with(&full("a"), &leased()).await?;
    same("the outcome", answer.outcome, Outcome::Renewed)?;
    same("created_at", answer.stream.created_at, plain.created_at)?;
    all_refused(case, &Guard::None, ErrorKind::NotHolder).await?;
    all_taken(case, &holder(&answer.stream)?).await?;
    Ok(())
}

async fn take_writes_and_the_end_of_their_holder(case: &Case) -> Check {
    let lease = case.lease(&full("a")).await?;
    let last = all_taken(case, &holder(&lease)?).await?;
    same("the last record's epoch", last.epoch(), lease.epoch())?;
    same("created_at", last.created_at, lease.created_at)?;
    case.is_gone("a").await?;
    all_refused(case, &holder(&lease)?, ErrorKind::NotFound).await
}

async fn refuse_what_has_another_epoch_or_none(case: &Case) -> Check {
    let before = case.lease(&full("a")).await?;
    let theirs = case.lease(&stream("b")).await?;
    for guard in [Guard::None, holder(&theirs)?, Guard::Holder("0".parse()?), Guard::Holder("~".parse()?)] {
        all_refused(case, &guard, ErrorKind::NotHolder).await?;
    }
    case.unchanged(&before).await
}

async fn take_an_operators_override(case: &Case) -> Check {
    let lease = case.lease(&full("a")).await?;
    let last = all_taken(case, &Guard::Force).await?;
    same("the last record's epoch", last.epoch(), lease.epoch())?;
    case.is_gone("a").await
}

async fn keep_their_epoch_through_every_write(case: &Case) -> Check {
    let lease = case.lease(&full("a")).await?;
    let given = Stream { epoch: Some("zz".parse()?), ..stream("a") };
    for guard in [holder(&lease)?, Guard::Force] {
        let writes = [Change::Heartbeat, Change::Update(Box::new(given.clone()))]
            .map(|change| Write { guard: guard.clone(), ..write("a", change) });
        for answer in case.registry().write(&writes).await? {
            answer?;
        }
        let now = case.get("a").await?;
        same("the epoch", now.epoch(), lease.epoch())?;
        same("created_at", now.created_at, lease.created_at)?;
    }
    Ok(())
}

async fn are_told_of_each_stream_in_a_batch(case: &Case) -> Check {
    let mine = case.lease(&stream("mine")).await?;
    let lost = case.lease(&stream("lost")).await?;
    let theirs = case.lease(&stream("lost")).await?;
    case.put(&stream("plain")).await?;
    let heartbeat = |name: &str, guard: Guard| Write { guard, ..write(name, Change::Heartbeat) };
    let writes = [
        heartbeat("mine", holder(&mine)?),
        heartbeat("lost", holder(&lost)?),
        heartbeat("gone", holder(&mine)?),
        heartbeat("plain", Guard::None),
        heartbeat("plain", holder(&mine)?),
    ];
    let answers = case.registry().write(&writes).await?;
    let kinds: Vec<_> = answers.iter().map(|answer| answer.as_ref().err().map(crate::error::Error::kind)).collect();
    let (lost, gone) = (Some(ErrorKind::NotHolder), Some(ErrorKind::NotFound));
    same("the answers", kinds, vec![None, lost, gone, None, lost])?;
    case.unchanged(&theirs).await
}

async fn of_later_registrations_are_greater(case: &Case) -> Check {
    let mut last = None;
    for at in 0..20 {
        let given = if at % 2 == 0 { stream("a") } else { other("a") };
        let options = leased().on_conflict(OnConflict::TakeOver);
        let next = case.registry().register_with(&given, &options).await?.epoch;
        ensure(next > last, &format!("{next:?} is not greater than {last:?}"))?;
        last = next;
    }
    Ok(())
}

async fn are_greater_than_those_of_ended_streams(case: &Case) -> Check {
    let mut last = None;
    for at in 0..20 {
        let lease = case.lease(&stream("a")).await?;
        ensure(epoch(&lease) > last, &format!("{:?} is not greater than {last:?}", lease.epoch()))?;
        let guard = if at % 2 == 0 { holder(&lease)? } else { Guard::Force };
        case.registry().unregister_with(&id("a"), &UnregisterOptions::default().guard(guard)).await?;
        last = epoch(&lease);
    }
    Ok(())
}

async fn are_greater_than_those_that_other_programs_wrote(case: &Case) -> Check {
    for theirs in ["~", "zzz", "fffffffffffffffe-0", "ffffffffffffffff-ffffffffffffffff", "1"] {
        let text = format!(r#"{{"id":"a","type":"srt","source_addr":"203.0.113.7:40112","epoch":"{theirs}"}}"#);
        case.put_stored("a", &text).await?;
        let lease = case.lease(&stream("a")).await?;
        ensure(lease.epoch().is_some_and(|mine| mine.as_str() > theirs), &format!("{theirs} is greater"))?;
        let last =
            case.registry().unregister_with(&id("a"), &UnregisterOptions::default().guard(holder(&lease)?)).await?;
        let next = case.lease(&stream("a")).await?;
        ensure(epoch(&next) > epoch(&last), "the epoch after the end is not greater")?;
    }
    Ok(())
}

async fn of_registrations_at_once_differ(case: &Case) -> Check {
    // One after the other in the end, each with several round trips: no more than a busy machine does in time.
    let answers = at_once((0..8).map(|_| {
        let registry = case.shared();
        async move { registry.register_with(&stream("a"), &leased().on_conflict(OnConflict::TakeOver)).await }
    }))
    .await?;
    let mut epochs = Vec::new();
    for answer in answers {
        epochs.push(answer?.epoch);
    }
    let last = case.get("a").await?;
    same("the epoch that stays", epoch(&last), epochs.iter().max().cloned().flatten())?;
    epochs.sort();
    epochs.dedup();
    same("the number of epochs", epochs.len(), 8)?;
    // Of all that believe they hold it, one does.
    let mut holders = 0;
    for epoch in epochs.into_iter().flatten() {
        let heartbeat = Write { guard: Guard::Holder(epoch), ..write("a", Change::Heartbeat) };
        for answer in case.registry().write(&[heartbeat]).await? {
            match answer {
                Ok(()) => holders += 1,
                Err(error) => same("the refusal", error.kind(), ErrorKind::NotHolder)?,
            }
        }
    }
    same("the number of holders", holders, 1)
}
