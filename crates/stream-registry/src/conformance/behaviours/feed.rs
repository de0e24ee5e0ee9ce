//! The change feed. These behaviours do not apply to stores without a change feed.

use std::collections::{BTreeSet, HashSet};
use std::time::{Duration, Instant};

use super::case::{Case, Check, Fault, concurrently, ensure, fails, fault, full, id, same, stream, write};
use super::declare;
use crate::error::ErrorKind;
use crate::registry::{Change, OnConflict, RegisterOptions, UnregisterOptions};
use crate::stream::{Revision, Stream, StreamPatch, StreamStats, StreamStatus};
use crate::watch::{ChangeKind, Ending, Event, Watch, WatchFrom};

declare! {
    "feed", Long: [
        feed_emits_each_state_change_once_with_the_record,
        feed_emits_nothing_for_heartbeats_statistics_and_rejected_calls,
        unregistration_event_contains_the_reason_and_the_last_record,
        feed_keeps_the_order_of_changes,
        all_watches_receive_the_same_events,
        every_watch_reports_the_same_id_for_a_change,
        watch_resumes_after_any_revision,
        watch_from_oldest_starts_with_the_oldest_retained_event,
        watch_starts_with_the_next_change_by_default,
        watch_continues_from_the_revision_of_a_snapshot,
        watch_rejects_an_invalid_revision,
        cancelling_watch_next_loses_no_event,
        watch_ends_when_the_registry_is_closed,
    ],
    "feed", Short: [feed_emits_each_expiry_once_with_the_last_record],
}

/// Time limit for receiving one event. The limit is much longer than any store needs.
const TIMEOUT: Duration = Duration::from_secs(20);

pub(super) async fn follow(case: &Case, from: WatchFrom) -> Check<Watch> {
    match case.registry().watch(from).await {
        Err(error) if error.kind() == ErrorKind::Unsupported => Err(Fault::NoHook("watch")),
        other => Ok(other?),
    }
}

/// Returns the next event other than `Alive`.
pub(super) async fn next(watch: &mut Watch) -> Check<Event> {
    let received = async {
        loop {
            match watch.next().await {
                Some(Event::Alive { .. }) => {}
                other => return other,
            }
        }
    };
    let event = tokio::time::timeout(TIMEOUT, received).await.map_err(|_| fault("no event was received in time"))?;
    event.ok_or_else(|| fault("the watch ended"))
}

pub(super) async fn changed(watch: &mut Watch) -> Check<(ChangeKind, Stream)> {
    match next(watch).await? {
        Event::Changed { kind, stream, .. } => Ok((kind, (*stream).clone())),
        other => Err(fault(&format!("{other:?} is not a change"))),
    }
}

pub(super) async fn ended(watch: &mut Watch) -> Check<(Ending, Stream)> {
    match next(watch).await? {
        Event::Ended { reason, last, .. } => Ok((reason, (*last).clone())),
        other => Err(fault(&format!("{other:?} is not the end of a stream"))),
    }
}

/// Returns the position at the end of the feed, read from a snapshot.
pub(super) async fn tail(case: &Case) -> Check<Revision> {
    let revision = case.registry().snapshot().await?.revision;
    revision.ok_or_else(|| fault("the snapshot of a store with a feed has no revision"))
}

async fn feed_emits_each_state_change_once_with_the_record(case: &Case) -> Check {
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
    for (kind, record) in expected {
        let (received, stream) = changed(&mut watch).await?;
        same("the kind of change", received, kind)?;
        same("the record", stream.to_json(), record.to_json())?;
    }
    let last = registry.unregister(&id("a")).await?;
    let (reason, received) = ended(&mut watch).await?;
    ensure(matches!(reason, Ending::Unregistered(_)), "the stream did not end by unregistration")?;
    same("the last record", received.to_json(), last.to_json())
}

async fn feed_emits_nothing_for_heartbeats_statistics_and_rejected_calls(case: &Case) -> Check {
    let registry = case.registry();
    case.put(&full("a")).await?;
    let lease = case.lease(&full("leased")).await?;
    let mut watch = follow(case, WatchFrom::Now).await?;
    registry.update_heartbeat(&id("a")).await?;
    registry.update_stats(&id("a"), &StreamStats { bytes_received: Some(7), ..StreamStats::default() }).await?;
    // The stream is already active, so this call changes no status.
    registry.update_status(&id("a"), StreamStatus::Active).await?;
    let mut other = stream("a");
    other.source_addr = "198.51.100.9:1".into();
    fails(registry.register(&other).await, ErrorKind::AlreadyExists)?;
    fails(registry.unregister(&id("b")).await, ErrorKind::NotFound)?;
    // A holder recovers a stream that is still live.
    if let Some(epoch) = lease.epoch() {
        registry.register_with(&lease, &RegisterOptions::default().recover(epoch.clone())).await?;
    }
    for change in [Change::Status(StreamStatus::Error), Change::Update(Box::new(stream("b")))] {
        fails(registry.write_one(write("b", change)).await, ErrorKind::NotFound)?;
    }
    case.put(&stream("marker")).await?;
    let (kind, received) = changed(&mut watch).await?;
    same("the event", (kind, received.id), (ChangeKind::Registered, id("marker")))
}

async fn unregistration_event_contains_the_reason_and_the_last_record(case: &Case) -> Check {
    let mut watch = follow(case, WatchFrom::Now).await?;
    case.put(&full("a")).await?;
    let stats = StreamStats { bytes_received: Some(1 << 62), packets_received: Some(3), ..StreamStats::default() };
    case.registry().update_stats(&id("a"), &stats).await?;
    let options = UnregisterOptions::default().reason("end of \"event\"".parse()?);
    case.registry().unregister_with(&id("a"), &options).await?;
    changed(&mut watch).await?;
    let (reason, last) = ended(&mut watch).await?;
    same("the reason", reason, Ending::Unregistered(options.reason))?;
    same("the reason of the record", last.end_reason.as_deref(), Some("end of \"event\""))?;
    same("the counters", (last.bytes_received, last.packets_received), (1 << 62, 3))
}

async fn feed_keeps_the_order_of_changes(case: &Case) -> Check {
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

async fn all_watches_receive_the_same_events(case: &Case) -> Check {
    let mut watches = Vec::new();
    for _ in 0..4 {
        watches.push(follow(case, WatchFrom::Now).await?);
    }
    let writers = (0..4).map(|writer| {
        let registry = case.shared();
        let names: Vec<_> = (0..25).map(|n| case.together(&format!("w{writer}-{n}"))).collect();
        async move {
            for name in names {
                registry.register(&stream(&name)).await?;
            }
            crate::error::Result::<()>::Ok(())
        }
    });
    for done in concurrently(writers).await? {
        done?;
    }
    let mut first = Vec::new();
    for (n, watch) in watches.iter_mut().enumerate() {
        let mut events = Vec::new();
        for _ in 0..100 {
            let event = next(watch).await?;
            let name = event.stream().map(|stream| stream.id.as_str().to_owned());
            events.push((event.revision().clone(), name));
        }
        if n == 0 {
            let distinct: HashSet<_> = events.iter().flat_map(|(_, name)| name).collect();
            same("the number of streams", distinct.len(), 100)?;
            first = events;
        } else {
            same("the events", &events, &first)?;
        }
    }
    Ok(())
}

async fn every_watch_reports_the_same_id_for_a_change(case: &Case) -> Check {
    const STREAMS: usize = 10;
    let names: Vec<_> = (0..STREAMS).map(|n| format!("change-{n}")).collect();
    let mut early = follow(case, WatchFrom::Now).await?;
    for name in &names {
        case.registry().register(&stream(name)).await?;
    }
    let mut late = follow(case, WatchFrom::Now).await?;
    for status in [StreamStatus::Active, StreamStatus::Paused] {
        for name in &names {
            case.registry().update_status(&id(name), status.clone()).await?;
        }
    }
    let (of_early, of_late) = (change_ids(&mut early, 3 * STREAMS).await?, change_ids(&mut late, 2 * STREAMS).await?);
    same("the number of different ids", of_early.len(), 3 * STREAMS)?;
    same("the number of different ids of the later watch", of_late.len(), 2 * STREAMS)?;
    ensure(of_late.is_subset(&of_early), "two watches report different ids for one change")
}

/// Returns the ids of the next changes, which can be in another order for each watch.
async fn change_ids(watch: &mut Watch, count: usize) -> Check<BTreeSet<String>> {
    let mut ids = BTreeSet::new();
    for _ in 0..count {
        ids.insert(next(watch).await?.change_id());
    }
    Ok(ids)
}

async fn watch_resumes_after_any_revision(case: &Case) -> Check {
    let mut watch = follow(case, WatchFrom::Now).await?;
    let mut revisions = vec![tail(case).await?];
    case.put_all((0..10).map(|n| case.together(&format!("s{n}")))).await?;
    let mut names = Vec::new();
    for _ in 0..10 {
        let event = next(&mut watch).await?;
        revisions.push(event.revision().clone());
        names.extend(event.stream().map(|stream| stream.id.clone()));
    }
    for (n, revision) in revisions.iter().enumerate() {
        let mut resumed = follow(case, WatchFrom::Revision(revision.clone())).await?;
        case.registry().unregister(&names[0]).await?;
        for name in &names[n.min(10)..] {
            same("the stream", &changed(&mut resumed).await?.1.id, name)?;
        }
        // Each earlier round of the outer loop unregistered and registered this stream. These two reads skip its
        // events.
        for _ in 0..n {
            ended(&mut resumed).await?;
            changed(&mut resumed).await?;
        }
        same("the ended stream", ended(&mut resumed).await?.1.id, names[0].clone())?;
        case.put(&stream(names[0].as_str())).await?;
    }
    Ok(())
}

async fn watch_from_oldest_starts_with_the_oldest_retained_event(case: &Case) -> Check {
    follow(case, WatchFrom::Now).await?;
    case.put(&stream("a")).await?;
    case.registry().unregister(&id("a")).await?;
    let mut watch = follow(case, WatchFrom::Oldest).await?;
    same("the first", changed(&mut watch).await?.1.id, id("a"))?;
    same("the second", ended(&mut watch).await?.1.id, id("a"))?;
    case.put(&stream("b")).await?;
    same("the third", changed(&mut watch).await?.1.id, id("b"))
}

async fn watch_starts_with_the_next_change_by_default(case: &Case) -> Check {
    for n in 0..20 {
        case.put(&stream(&format!("before{n}"))).await?;
        let mut watch = follow(case, WatchFrom::default()).await?;
        let start = watch.start().cloned();
        let before = tail(case).await?;
        if let Some(start) = start {
            same("the start of the watch", start, before)?;
        }
        case.put(&stream(&format!("after{n}"))).await?;
        same("the first", changed(&mut watch).await?.1.id, id(&format!("after{n}")))?;
    }
    Ok(())
}

async fn watch_continues_from_the_revision_of_a_snapshot(case: &Case) -> Check {
    let mut watch = follow(case, WatchFrom::Now).await?;
    case.put(&stream("a")).await?;
    let received = next(&mut watch).await?.revision().clone();
    same("the snapshot's revision", tail(case).await?, received.clone())?;
    case.registry().update_heartbeat(&id("a")).await?;
    same("the revision after a heartbeat", tail(case).await?, received.clone())?;
    if let Some(revision) = case.registry().list_page(None, std::num::NonZeroU32::MIN).await?.revision {
        same("the page's revision", revision, received.clone())?;
    }
    let mut from = follow(case, WatchFrom::Revision(received)).await?;
    case.put(&stream("b")).await?;
    same("the next", changed(&mut from).await?.1.id, id("b"))
}

async fn watch_rejects_an_invalid_revision(case: &Case) -> Check {
    follow(case, WatchFrom::Now).await?;
    case.put(&stream("a")).await?;
    let position = tail(case).await?;
    for from in ["x".to_owned(), "-".to_owned(), "latest-1".to_owned(), format!("x{position}"), format!("{position}x")]
    {
        match case.registry().watch(WatchFrom::Revision(from.parse()?)).await {
            Err(error) => same(&format!("the error for {from}"), error.kind(), ErrorKind::InvalidArgument)?,
            Ok(_) => return Err(fault(&format!("the watch from {from} started"))),
        }
    }
    Ok(())
}

async fn cancelling_watch_next_loses_no_event(case: &Case) -> Check {
    let mut watch = follow(case, WatchFrom::Now).await?;
    let mut received = 0;
    let names: Vec<_> = (0..200).map(|n| case.together(&format!("s{n}"))).collect();
    for (n, name) in (0..).zip(&names) {
        case.put(&stream(name)).await?;
        // The future is dropped at a different await in each round.
        let timeout = Duration::from_micros(50 * (n % 7));
        if let Ok(event) = tokio::time::timeout(timeout, changed(&mut watch)).await {
            same("the stream", event?.1.id, id(&names[received]))?;
            received += 1;
        }
    }
    while received < 200 {
        same("the stream", changed(&mut watch).await?.1.id, id(&names[received]))?;
        received += 1;
    }
    Ok(())
}

async fn watch_ends_when_the_registry_is_closed(case: &Case) -> Check {
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
    let ended = tokio::time::timeout(TIMEOUT, ends).await.map_err(|_| fault("the watch did not end"))?;
    same("the event after the end", ended, None)?;
    let waited = tokio::time::timeout(TIMEOUT, waiting).await;
    ensure(matches!(waited, Ok(Ok(_))), "a waiting watch did not end")?;
    fails(case.registry().watch(WatchFrom::Now).await, ErrorKind::Closed)?;
    Ok(())
}

async fn feed_emits_each_expiry_once_with_the_last_record(case: &Case) -> Check {
    let mut watch = follow(case, WatchFrom::Now).await?;
    let sent = Instant::now();
    case.put(&full("a")).await?;
    changed(&mut watch).await?;
    case.pass(0.6).await;
    case.assert_live("a", sent).await?;
    let written = Instant::now();
    if let Err(error) = case.registry().update_heartbeat(&id("a")).await {
        // On a busy machine, the stream may have expired after the check.
        return Err(if sent.elapsed() >= case.ttl { Fault::TooLate } else { error.into() });
    }
    let last = case.assert_live("a", written).await?;
    case.pass(1.05).await;
    let Event::Ended { reason, last: received, as_of, .. } = next(&mut watch).await? else {
        return Err(fault("the expiry is not reported next"));
    };
    same("the reason", reason, Ending::Expired)?;
    if as_of.is_none() {
        // The store was too busy to read the record before the stream expired. The behaviour runs again with a longer
        // time to live.
        return Err(Fault::TooLate);
    }
    same("the last record", received.to_json(), last.to_json())?;
    case.assert_gone("a").await?;
    case.put(&stream("a")).await?;
    same("the next event", changed(&mut watch).await?.0, ChangeKind::Registered)
}
