//! Leased registrations and their epochs.

use std::time::Duration;

use super::case::{
    Case, Check, concurrently, ensure, fails, fault, full, holder, id, same, stream, without_times, write,
};
use super::declare;
use super::guards::{all_accepted, all_rejected};
use crate::error::ErrorKind;
use crate::lease::{LeaseEnd, LeaseOptions, Leases};
use crate::registry::{Change, Guard, OnConflict, Outcome, RegisterOptions, UnregisterOptions, Write};
use crate::stream::{Epoch, OperationId, Stream};
use crate::watch::WatchFrom;

declare! {
    "leases", Long: [
        leased_registration_returns_and_stores_an_epoch,
        leased_stream_with_a_generated_id_has_an_epoch,
        leased_registration_ignores_an_epoch_in_the_given_record,
        leased_registration_sent_twice_returns_the_same_epoch,
        leased_stream_rejects_a_registration_without_a_lease,
        leased_stream_rejects_another_publisher,
        create_only_rejects_even_the_holder,
        same_publisher_gets_a_new_epoch,
        same_publisher_can_add_a_lease_to_its_stream,
        leased_stream_accepts_writes_and_unregistration_by_its_holder,
        leased_stream_rejects_writes_without_the_current_epoch,
        leased_stream_accepts_forced_writes,
        writes_keep_the_epoch_of_a_leased_stream,
        batch_reports_not_holder_per_stream,
        holder_learns_from_the_feed_that_its_stream_was_lost,
    ],
    "epochs", Long: [
        later_registrations_get_greater_epochs,
        new_epoch_is_greater_than_that_of_an_unregistered_stream,
        new_epoch_is_greater_than_that_of_another_program,
        concurrent_registrations_get_different_epochs,
    ],
}

pub(super) fn leased() -> RegisterOptions {
    RegisterOptions::default().lease()
}

/// Returns the same stream as [`stream`], but from another publisher.
pub(super) fn other(name: &str) -> Stream {
    Stream { source_addr: "198.51.100.9:9000".to_owned(), ..stream(name) }
}

pub(super) fn epoch(stream: &Stream) -> Option<Epoch> {
    stream.epoch().cloned()
}

async fn leased_registration_returns_and_stores_an_epoch(case: &Case) -> Check {
    let answer = case.registry().register_with(&full("a"), &leased()).await?;
    same("the outcome", answer.outcome, Outcome::Created)?;
    ensure(answer.epoch.is_some(), "a lease has no epoch")?;
    same("the record's epoch", answer.stream.epoch(), answer.epoch.as_ref())?;
    let mut plain = without_times(&answer.stream);
    plain.epoch = None;
    same("the rest", plain.to_json(), without_times(&full("a")).to_json())?;
    case.unchanged(&answer.stream).await?;
    same("the list", case.registry().list().await?, vec![answer.stream])
}

async fn leased_stream_with_a_generated_id_has_an_epoch(case: &Case) -> Check {
    let answer = case.registry().register_new(&stream("x"), &leased()).await?;
    ensure(answer.epoch.is_some(), "a lease has no epoch")?;
    case.unchanged(&answer.stream).await
}

async fn leased_registration_ignores_an_epoch_in_the_given_record(case: &Case) -> Check {
    let given = Stream { epoch: Some("zz".parse()?), ..stream("a") };
    let leased = case.lease(&given).await?;
    ensure(epoch(&leased) != epoch(&given), "the epoch is the caller's")?;
    same("the epoch of a stream without a lease", case.put(&Stream { id: id("b"), ..given }).await?.epoch(), None)
}

async fn leased_registration_sent_twice_returns_the_same_epoch(case: &Case) -> Check {
    let options = leased().operation(OperationId::generate());
    let first = case.registry().register_with(&stream("a"), &options).await?;
    same("the answer", case.registry().register_with(&stream("a"), &options).await?, first.clone())?;
    case.unchanged(&first.stream).await
}

async fn assert_rejected(case: &Case, before: &Stream, given: &Stream, options: &RegisterOptions) -> Check {
    let error = fails(case.registry().register_with(given, options).await, ErrorKind::AlreadyExists)?;
    same("the record in the error", error.existing().map(Stream::to_json), Some(before.to_json()))?;
    case.unchanged(before).await
}

async fn leased_stream_rejects_a_registration_without_a_lease(case: &Case) -> Check {
    let before = case.lease(&full("a")).await?;
    assert_rejected(case, &before, &full("a"), &RegisterOptions::default()).await?;
    assert_rejected(case, &before, &other("a"), &RegisterOptions::default()).await
}

async fn leased_stream_rejects_another_publisher(case: &Case) -> Check {
    let before = case.lease(&stream("a")).await?;
    assert_rejected(case, &before, &other("a"), &leased()).await
}

async fn create_only_rejects_even_the_holder(case: &Case) -> Check {
    let before = case.lease(&stream("a")).await?;
    assert_rejected(case, &before, &stream("a"), &leased().on_conflict(OnConflict::CreateOnly)).await
}

async fn same_publisher_gets_a_new_epoch(case: &Case) -> Check {
    let old = case.lease(&full("a")).await?;
    let answer = case.registry().register_with(&full("a"), &leased()).await?;
    same("the outcome", answer.outcome, Outcome::Renewed)?;
    same("created_at", answer.stream.created_at, old.created_at)?;
    ensure(answer.epoch > epoch(&old), "the later epoch is not greater")?;
    all_rejected(case, &holder(&old)?, ErrorKind::NotHolder).await?;
    case.unchanged(&answer.stream).await?;
    all_accepted(case, &holder(&answer.stream)?).await?;
    case.assert_gone("a").await
}

async fn same_publisher_can_add_a_lease_to_its_stream(case: &Case) -> Check {
    let plain = case.put(&full("a")).await?;
    let answer = case.registry().register_with(&full("a"), &leased()).await?;
    same("the outcome", answer.outcome, Outcome::Renewed)?;
    same("created_at", answer.stream.created_at, plain.created_at)?;
    all_rejected(case, &Guard::None, ErrorKind::NotHolder).await?;
    all_accepted(case, &holder(&answer.stream)?).await?;
    Ok(())
}

async fn leased_stream_accepts_writes_and_unregistration_by_its_holder(case: &Case) -> Check {
    let lease = case.lease(&full("a")).await?;
    let last = all_accepted(case, &holder(&lease)?).await?;
    same("the last record's epoch", last.epoch(), lease.epoch())?;
    same("created_at", last.created_at, lease.created_at)?;
    case.assert_gone("a").await?;
    all_rejected(case, &holder(&lease)?, ErrorKind::NotFound).await
}

async fn leased_stream_rejects_writes_without_the_current_epoch(case: &Case) -> Check {
    let before = case.lease(&full("a")).await?;
    let theirs = case.lease(&stream("b")).await?;
    for guard in [Guard::None, holder(&theirs)?, Guard::Holder("0".parse()?), Guard::Holder("~".parse()?)] {
        all_rejected(case, &guard, ErrorKind::NotHolder).await?;
    }
    case.unchanged(&before).await
}

async fn leased_stream_accepts_forced_writes(case: &Case) -> Check {
    let lease = case.lease(&full("a")).await?;
    let last = all_accepted(case, &Guard::Force).await?;
    same("the last record's epoch", last.epoch(), lease.epoch())?;
    case.assert_gone("a").await
}

async fn writes_keep_the_epoch_of_a_leased_stream(case: &Case) -> Check {
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

async fn batch_reports_not_holder_per_stream(case: &Case) -> Check {
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

async fn holder_learns_from_the_feed_that_its_stream_was_lost(case: &Case) -> Check {
    if case.registry().watch(WatchFrom::Now).await.is_err_and(|error| error.kind() == ErrorKind::Unsupported) {
        return Ok(());
    }
    // A holder usually learns of the loss within milliseconds. On a busy machine, it may take longer, but the next
    // heartbeat is much further away.
    let (interval, timeout) = (Duration::from_secs(60), Duration::from_secs(20));
    let leases = Leases::new(case.shared(), LeaseOptions::default().heartbeat(interval));
    let (taken, removed, kept) =
        (leases.acquire(full("a")).await?, leases.acquire(full("b")).await?, leases.acquire(full("c")).await?);
    case.registry().register_with(&other("a"), &leased().on_conflict(OnConflict::TakeOver)).await?;
    case.registry().unregister_with(&id("b"), &UnregisterOptions::default().guard(Guard::Force)).await?;
    let ends = async { (taken.ended().await, removed.ended().await) };
    let ends =
        tokio::time::timeout(timeout, ends).await.map_err(|_| fault("the holder still believes in its lease"))?;
    let superseded = LeaseEnd::Superseded { by: Some(other("a").source_addr) };
    same("the reasons", ends, (superseded, LeaseEnd::Removed))?;
    kept.release().await?;
    Ok(())
}

async fn later_registrations_get_greater_epochs(case: &Case) -> Check {
    let mut last = None;
    for n in 0..20 {
        let given = if n % 2 == 0 { stream("a") } else { other("a") };
        let options = leased().on_conflict(OnConflict::TakeOver);
        let next = case.registry().register_with(&given, &options).await?.epoch;
        ensure(next > last, &format!("{next:?} is not greater than {last:?}"))?;
        last = next;
    }
    Ok(())
}

async fn new_epoch_is_greater_than_that_of_an_unregistered_stream(case: &Case) -> Check {
    let mut last = None;
    for n in 0..20 {
        let lease = case.lease(&stream("a")).await?;
        ensure(epoch(&lease) > last, &format!("{:?} is not greater than {last:?}", lease.epoch()))?;
        let guard = if n % 2 == 0 { holder(&lease)? } else { Guard::Force };
        case.registry().unregister_with(&id("a"), &UnregisterOptions::default().guard(guard)).await?;
        last = epoch(&lease);
    }
    Ok(())
}

async fn new_epoch_is_greater_than_that_of_another_program(case: &Case) -> Check {
    for theirs in ["~", "zzz", "fffffffffffffffe-0", "ffffffffffffffff-ffffffffffffffff", "1"] {
        let json = format!(r#"{{"id":"a","type":"srt","source_addr":"203.0.113.7:40112","epoch":"{theirs}"}}"#);
        case.put_stored("a", &json).await?;
        let lease = case.lease(&stream("a")).await?;
        ensure(lease.epoch().is_some_and(|mine| mine.as_str() > theirs), &format!("{theirs} is greater"))?;
        let last =
            case.registry().unregister_with(&id("a"), &UnregisterOptions::default().guard(holder(&lease)?)).await?;
        let next = case.lease(&stream("a")).await?;
        ensure(epoch(&next) > epoch(&last), "the epoch after the unregistration is not greater")?;
    }
    Ok(())
}

async fn concurrent_registrations_get_different_epochs(case: &Case) -> Check {
    // The store applies these calls one after the other, and each takes several round trips. Eight calls are enough.
    let answers = concurrently((0..8).map(|_| {
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
    // Only the holder has the current epoch.
    let mut holders = 0;
    for epoch in epochs.into_iter().flatten() {
        let heartbeat = Write { guard: Guard::Holder(epoch), ..write("a", Change::Heartbeat) };
        for answer in case.registry().write(&[heartbeat]).await? {
            match answer {
                Ok(()) => holders += 1,
                Err(error) => same("the error", error.kind(), ErrorKind::NotHolder)?,
            }
        }
    }
    same("the number of holders", holders, 1)
}
