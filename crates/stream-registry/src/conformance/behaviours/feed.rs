//! The change feed. Does not apply to stores that have none.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::case::{Case, Check, Fault, at_once, ensure, fails, fault, full, id, same, stream, write};
use super::declare;
use crate::error::ErrorKind;
use crate::registry::{Change, OnConflict, RegisterOptions, UnregisterOptions};
use crate::stream::{Revision, Stream, StreamPatch, StreamStats, StreamStatus};
use crate::watch::{ChangeKind, Ending, Event, Watch, WatchFrom};

declare! {
    "feed", Long: [
        tells_every_change_of_state_once_with_the_record,
        tells_nothing_of_heartbeats_statistics_and_refusals,
        tells_how_a_stream_ended,
        keeps_the_order,
        tells_all_followers_the_same,
        resumes_after_any_revision,
        begins_with_the_oldest_change_that_is_kept,
        begins_with_the_next_change_where_nothing_is_said,
        goes_on_from_the_revision_of_a_snapshot,
        says_resync_for_a_place_that_it_does_not_have,
        loses_nothing_when_futures_are_dropped,
        ends_when_the_registry_is_closed,
    ],
    "feed", Short: [tells_of_an_expiry_once_with_the_last_record],
}

/// How long an event may take; no store is nearly so late.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) async fn follow(case: &Case, from: WatchFrom) -> Check<Watch> {
    match case.registry().watch(from).await {
        Err(error) if error.kind() == ErrorKind::Unsupported => Err(Fault::NoHook("watch")),
        other => Ok(other?),
    }
}

/// The next event that is not only a sign of life.
async fn next(watch: &mut Watch) -> Check<Event> {
    let told = async {
        loop {
            match watch.next().await {
                Some(Event::Alive { .. }) => {}
                other => return other,
            }
        }
    };
    let event = tokio::time::timeout(PATIENCE, told).await.map_err(|_| fault("no event comes"))?;
    event.ok_or_else(|| fault("the watch ends"))
}

pub(super) async fn changed(watch: &mut Watch) -> Check<(ChangeKind, Stream)> {
    match next(watch).await? {
        Event::Changed { kind, stream, .. } => Ok((kind, (*stream).clone())),
        other => Err(fault(&format!("{other:?} is no change"))),
    }
}

pub(super) async fn ended(watch: &mut Watch) -> Check<(Ending, Stream)> {
    match next(watch).await? {
        Event::Ended { reason, last, .. } => Ok((reason, (*last).clone())),
        other => Err(fault(&format!("{other:?} is no end"))),
    }
}

/// The place in the feed, as a snapshot shows it.
async fn tail(case: &Case) -> Check<Revision> {
    let revision = case.registry().snapshot().await?.revision;
    revision.ok_or_else(|| fault("the snapshot of a store with a feed has no revision"))
}

async fn tells_every_change_of_state_once_with_the_record(case: &Case) -> Check {
    let mut watch = follow(case, WatchFrom::Now).await?;
    let registry = case.registry();
    let mut expected =
        vec![(ChangeKind::Registered, case.put(&full("a")).await?), (ChangeKind::Updated, case.put(&full("a")).await?)];
    registry.update_status(&id("a"), StreamStatus::Error).await?;
    expected.push((ChangeKind::Status, case.get("a").await?));
    registry.patch(&id("a"), &StreamPatch { video_codec: Some("AV1".into()), ..StreamPatch::default() }).await?;
    expected.push((ChangeKind::Patched, case.get("a").await?));
    registry.update(&stream("a")).await?;
    expected.push((ChangeKind::Updated, case.get("a").await?));
    let options = RegisterOptions::default().on_conflict(OnConflict::TakeOver);
    expected.push((ChangeKind::TakenOver, registry.register_with(&full("a"), &options).await?.stream));
    for (what, record) in expected {
        let (told, stream) = changed(&mut watch).await?;
        same("what happened", told, what)?;
        same("the record", stream.to_json(), record.to_json())?;
    }
    let last = registry.unregister(&id("a")).await?;
    let (reason, told) = ended(&mut watch).await?;
    ensure(matches!(reason, Ending::Unregistered(_)), "the end has another cause")?;
    same("the last record", told.to_json(), last.to_json())
}

async fn tells_nothing_of_heartbeats_statistics_and_refusals(case: &Case) -> Check {
    let registry = case.registry();
    case.put(&full("a")).await?;
    let lease = case.lease(&full("leased")).await?;
    let mut watch = follow(case, WatchFrom::Now).await?;
    registry.update_heartbeat(&id("a")).await?;
    registry.update_stats(&id("a"), &StreamStats { bytes_received: 7, ..StreamStats::default() }).await?;
    // It is active already.
    registry.update_status(&id("a"), StreamStatus::Active).await?;
    let mut other = stream("a");
    other.source_addr = "198.51.100.9:1".into();
    fails(registry.register(&other).await, ErrorKind::AlreadyExists)?;
    fails(registry.unregister(&id("b")).await, ErrorKind::NotFound)?;
    // A holder makes sure that its stream is there.
    if let Some(epoch) = lease.epoch() {
        registry.register_with(&lease, &RegisterOptions::default().recover(epoch.clone())).await?;
    }
    for refused in [Change::Status(StreamStatus::Error), Change::Update(Box::new(stream("b")))] {
        for answer in registry.write(&[write("b", refused)]).await? {
            fails(answer, ErrorKind::NotFound)?;
        }
    }
    case.put(&stream("marker")).await?;
    let (what, told) = changed(&mut watch).await?;
    same("the event", (what, told.id), (ChangeKind::Registered, id("marker")))
}

async fn tells_how_a_stream_ended(case: &Case) -> Check {
    let mut watch = follow(case, WatchFrom::Now).await?;
    case.put(&full("a")).await?;
    let stats = StreamStats { bytes_received: 1 << 62, packets_received: 3, ..StreamStats::default() };
    case.registry().update_stats(&id("a"), &stats).await?;
    let options = UnregisterOptions::default().reason("end of \"event\"".parse()?);
    case.registry().unregister_with(&id("a"), &options).await?;
    changed(&mut watch).await?;
    let (reason, last) = ended(&mut watch).await?;
    same("the reason", reason, Ending::Unregistered(options.reason))?;
    same("the reason of the record", last.end_reason.as_deref(), Some("end of \"event\""))?;
    same("the counters", (last.bytes_received, last.packets_received), (1 << 62, 3))
}

async fn keeps_the_order(case: &Case) -> Check {
    let mut watch = follow(case, WatchFrom::Now).await?;
    case.put(&stream("a")).await?;
    for n in 0..100 {
        let codec = StreamPatch { video_codec: Some(format!("v{n}")), ..StreamPatch::default() };
        case.registry().patch(&id("a"), &codec).await?;
    }
    changed(&mut watch).await?;
    for n in 0..100 {
        same("the codec", changed(&mut watch).await?.1.video_codec, format!("v{n}"))?;
    }
    Ok(())
}

async fn tells_all_followers_the_same(case: &Case) -> Check {
    let mut watches = Vec::new();
    for _ in 0..4 {
        watches.push(follow(case, WatchFrom::Now).await?);
    }
    let writers = (0..4).map(|writer| {
        let registry = case.shared();
        async move {
            for n in 0..25 {
                registry.register(&stream(&format!("w{writer}-{n}"))).await?;
            }
            crate::error::Result::<()>::Ok(())
        }
    });
    for done in at_once(writers).await? {
        done?;
    }
    let mut first = Vec::new();
    for (at, watch) in watches.iter_mut().enumerate() {
        let mut seen = Vec::new();
        for _ in 0..100 {
            let event = next(watch).await?;
            let name = event.stream().map(|stream| stream.id.as_str().to_owned());
            seen.push((event.revision().clone(), name));
        }
        if at == 0 {
            let distinct: HashSet<_> = seen.iter().flat_map(|(_, name)| name).collect();
            same("the streams told of", distinct.len(), 100)?;
            first = seen;
        } else {
            same("the events", &seen, &first)?;
        }
    }
    Ok(())
}

async fn resumes_after_any_revision(case: &Case) -> Check {
    let mut watch = follow(case, WatchFrom::Now).await?;
    let mut revisions = vec![tail(case).await?];
    case.put_all((0..10).map(|n| format!("s{n}"))).await?;
    let mut names = Vec::new();
    for _ in 0..10 {
        let event = next(&mut watch).await?;
        revisions.push(event.revision().clone());
        names.extend(event.stream().map(|stream| stream.id.clone()));
    }
    for (at, revision) in revisions.iter().enumerate() {
        let mut resumed = follow(case, WatchFrom::Revision(revision.clone())).await?;
        case.registry().unregister(&names[0]).await?;
        for name in &names[at.min(10)..] {
            same("the stream", &changed(&mut resumed).await?.1.id, name)?;
        }
        // What was done since, by this loop.
        for _ in 0..at {
            ended(&mut resumed).await?;
            changed(&mut resumed).await?;
        }
        same("the end", ended(&mut resumed).await?.1.id, names[0].clone())?;
        case.put(&stream(names[0].as_str())).await?;
    }
    Ok(())
}

async fn begins_with_the_oldest_change_that_is_kept(case: &Case) -> Check {
    follow(case, WatchFrom::Now).await?;
    case.put(&stream("a")).await?;
    case.registry().unregister(&id("a")).await?;
    let mut watch = follow(case, WatchFrom::Oldest).await?;
    same("the first", changed(&mut watch).await?.1.id, id("a"))?;
    same("the second", ended(&mut watch).await?.1.id, id("a"))?;
    case.put(&stream("b")).await?;
    same("the third", changed(&mut watch).await?.1.id, id("b"))
}

async fn begins_with_the_next_change_where_nothing_is_said(case: &Case) -> Check {
    for n in 0..20 {
        case.put(&stream(&format!("before{n}"))).await?;
        let mut watch = follow(case, WatchFrom::default()).await?;
        let begins = watch.start().cloned();
        let before = tail(case).await?;
        if let Some(begins) = begins {
            same("where the watch begins", begins, before)?;
        }
        case.put(&stream(&format!("after{n}"))).await?;
        same("the first", changed(&mut watch).await?.1.id, id(&format!("after{n}")))?;
    }
    Ok(())
}

async fn goes_on_from_the_revision_of_a_snapshot(case: &Case) -> Check {
    let mut watch = follow(case, WatchFrom::Now).await?;
    case.put(&stream("a")).await?;
    let told = next(&mut watch).await?.revision().clone();
    same("the snapshot's revision", tail(case).await?, told.clone())?;
    case.registry().update_heartbeat(&id("a")).await?;
    same("the revision after a heartbeat", tail(case).await?, told.clone())?;
    if let Some(revision) = case.registry().list_page(None, std::num::NonZeroU32::MIN).await?.revision {
        same("the page's revision", revision, told.clone())?;
    }
    let mut from = follow(case, WatchFrom::Revision(told)).await?;
    case.put(&stream("b")).await?;
    same("the next", changed(&mut from).await?.1.id, id("b"))
}

async fn says_resync_for_a_place_that_it_does_not_have(case: &Case) -> Check {
    follow(case, WatchFrom::Now).await?;
    case.put(&stream("a")).await?;
    let place = tail(case).await?;
    for from in [format!("{place}9"), "of-another-history-1".to_owned(), "-".to_owned(), format!("x{place}")] {
        let place = tail(case).await?;
        let mut watch = follow(case, WatchFrom::Revision(from.parse()?)).await?;
        let event = next(&mut watch).await?;
        ensure(matches!(event, Event::Resync { .. }), &format!("{event:?} comes first from {from}"))?;
        same("where it goes on", event.revision(), &place)?;
        let mut resumed = follow(case, WatchFrom::Revision(place)).await?;
        case.registry().patch(&id("a"), &StreamPatch { node: Some(from), ..StreamPatch::default() }).await?;
        same("what comes next", changed(&mut watch).await?.0, ChangeKind::Patched)?;
        same("what comes next from there", changed(&mut resumed).await?.0, ChangeKind::Patched)?;
    }
    Ok(())
}

async fn loses_nothing_when_futures_are_dropped(case: &Case) -> Check {
    let mut watch = follow(case, WatchFrom::Now).await?;
    let mut told = 0;
    for n in 0..200 {
        case.put(&stream(&format!("s{n}"))).await?;
        // Dropped at whatever await it has come to.
        let patience = Duration::from_micros(50 * (n % 7));
        if let Ok(event) = tokio::time::timeout(patience, changed(&mut watch)).await {
            same("the stream", event?.1.id, id(&format!("s{told}")))?;
            told += 1;
        }
    }
    while told < 200 {
        same("the stream", changed(&mut watch).await?.1.id, id(&format!("s{told}")))?;
        told += 1;
    }
    Ok(())
}

async fn ends_when_the_registry_is_closed(case: &Case) -> Check {
    let mut watch = follow(case, WatchFrom::Now).await?;
    let mut idle = follow(case, WatchFrom::Now).await?;
    let waiting = tokio::spawn(async move {
        while idle.next().await.is_some() {}
        idle
    });
    case.registry().close().await?;
    let ends = async {
        while watch.next().await.is_some() {}
        watch.next().await
    };
    let ended = tokio::time::timeout(PATIENCE, ends).await.map_err(|_| fault("the watch does not end"))?;
    same("what comes after the end", ended, None)?;
    let waited = tokio::time::timeout(PATIENCE, waiting).await;
    ensure(matches!(waited, Ok(Ok(_))), "a watch that waits does not end")?;
    fails(case.registry().watch(WatchFrom::Now).await, ErrorKind::Closed)?;
    Ok(())
}

async fn tells_of_an_expiry_once_with_the_last_record(case: &Case) -> Check {
    let mut watch = follow(case, WatchFrom::Now).await?;
    let sent = Instant::now();
    case.put(&full("a")).await?;
    changed(&mut watch).await?;
    case.pass(0.6).await;
    case.lives("a", sent).await?;
    let written = Instant::now();
    case.registry().update_heartbeat(&id("a")).await?;
    let last = case.lives("a", written).await?;
    case.pass(1.05).await;
    let (reason, told) = ended(&mut watch).await?;
    same("the cause", reason, Ending::Expired)?;
    if told.created_at == crate::stream::Timestamp::ZERO {
        // The store was too busy to look in the last fifth of the time to live; with a longer one it is not.
        return Err(Fault::TooLate);
    }
    same("the last record", told.to_json(), last.to_json())?;
    case.is_gone("a").await?;
    case.put(&stream("a")).await?;
    same("what comes next", changed(&mut watch).await?.0, ChangeKind::Registered)
}
