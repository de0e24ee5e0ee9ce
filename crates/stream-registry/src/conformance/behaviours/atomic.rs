//! Atomicity: concurrent calls, failures and dropped futures.

use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::case::{Case, Check, concurrently, ensure, fails, fault, full, id, same, stream, without_times, write};
use super::declare;
use crate::error::ErrorKind;
use crate::registry::{Change, Registry};
use crate::stream::{Stream, StreamPatch, StreamStats, StreamStatus};

declare! {
    "atomicity", Long: [
        concurrent_writes_to_one_stream_are_all_kept,
        readers_never_see_a_partially_replaced_record,
        failed_write_changes_nothing,
        write_does_not_restore_an_unregistered_stream,
        lists_match_the_record_after_concurrent_register_and_unregister,
    ],
    "cancelling", Long: [
        cancelled_registration_is_applied_completely_or_not_at_all,
        cancelled_unregistration_is_applied_completely_or_not_at_all,
        cancelled_write_is_applied_completely_or_not_at_all,
        cancelled_read_changes_nothing,
        cancelled_call_does_not_disturb_coalesced_calls,
    ],
}

async fn concurrent_writes_to_one_stream_are_all_kept(case: &Case) -> Check {
    case.put(&stream("a")).await?;
    let answers = concurrently((0..20_u64).map(|n| {
        let registry = case.shared();
        async move {
            let name = id("a");
            registry.patch(&name, &StreamPatch::default().label(format!("l{n}"), "x")).await?;
            match n % 3 {
                0 => registry.update_status(&name, StreamStatus::Paused).await,
                1 => registry.update_heartbeat(&name).await,
                _ => registry.update_stats(&name, &StreamStats { bitrate: Some(7), ..Default::default() }).await,
            }
        }
    }))
    .await?;
    for answer in answers {
        answer?;
    }
    let now = case.get("a").await?;
    same("the number of labels", now.labels.len(), 20)?;
    same("status and rate", (now.status, now.bitrate), (StreamStatus::Paused, 7))
}

/// Returns a record with the number of its writer in several fields. A mixture of two records would have two numbers.
fn written_by(name: &str, writer: u64) -> Stream {
    let mut record = stream(name);
    record.bitrate = writer;
    record.packets_lost = writer;
    record.video_codec = format!("codec {writer}");
    record.labels.insert("writer".to_owned(), writer.to_string());
    record
}

async fn readers_never_see_a_partially_replaced_record(case: &Case) -> Check {
    case.put(&written_by("a", 0)).await?;
    let writers = (1..=8_u64).map(|writer| {
        let registry = case.shared();
        async move {
            for _ in 0..15 {
                registry.update(&written_by("a", writer)).await?;
            }
            Ok::<(), crate::error::Error>(())
        }
    });
    let writers: Vec<_> = writers.map(tokio::spawn).collect();
    loop {
        let done = writers.iter().all(tokio::task::JoinHandle::is_finished);
        let now = case.get("a").await?;
        same("the record", without_times(&now), without_times(&written_by("a", now.bitrate)))?;
        for listed in case.registry().list().await? {
            same("the listed record", without_times(&listed), without_times(&written_by("a", listed.bitrate)))?;
        }
        if done {
            break;
        }
        // An in-memory store never suspends its caller. Without this yield, the writers could not run.
        tokio::task::yield_now().await;
    }
    for writer in writers {
        writer.await.map_err(|error| fault(&error.to_string()))??;
    }
    Ok(())
}

async fn failed_write_changes_nothing(case: &Case) -> Check {
    let before = case.put(&full("a")).await?;
    let bad_stats = StreamStats { bitrate: Some(u64::MAX), bytes_received: Some(1), ..Default::default() };
    let bad_patch = StreamPatch { video_codec: Some("AV1".to_owned()), frame_rate: Some(-1.0), ..Default::default() };
    let mut bad_record = full("a");
    bad_record.labels.insert(String::new(), String::new());
    bad_record.status = StreamStatus::Error;
    for change in [
        Change::Stats(Box::new(bad_stats)),
        Change::Patch(Box::new(bad_patch.label("new", "x"))),
        Change::Update(Box::new(bad_record)),
    ] {
        let error = fails(case.registry().write_one(write("a", change)).await, ErrorKind::InvalidArgument)?;
        ensure(!error.may_have_applied(), "a rejected write may have been applied")?;
    }
    case.unchanged(&before).await
}

async fn write_does_not_restore_an_unregistered_stream(case: &Case) -> Check {
    for round in 0..20 {
        let name = format!("s{round}");
        case.put(&stream(&name)).await?;
        let writers: Vec<_> = (0..8)
            .map(|_| {
                let (registry, name) = (case.shared(), id(&name));
                tokio::spawn(async move {
                    for _ in 0..5 {
                        // Both calls fail after the stream is unregistered.
                        let _ = registry.update_status(&name, StreamStatus::Active).await;
                        let _ = registry.patch(&name, &StreamPatch::default().label("a", "b")).await;
                    }
                })
            })
            .collect();
        case.registry().unregister(&id(&name)).await?;
        for writer in writers {
            writer.await.map_err(|error| fault(&error.to_string()))?;
        }
        case.assert_gone(&name).await?;
    }
    Ok(())
}

async fn lists_match_the_record_after_concurrent_register_and_unregister(case: &Case) -> Check {
    for round in 0..10 {
        let name = format!("s{round}");
        concurrently((0..24).map(|n| {
            let (registry, name) = (case.shared(), name.clone());
            async move {
                let _ = match n % 3 {
                    0 => registry.unregister(&id(&name)).await.map(drop),
                    _ => registry.register(&stream(&name)).await.map(drop),
                };
            }
        }))
        .await?;
        wait_until_consistent(case, &name).await?;
    }
    Ok(())
}

/// Polls a future `polls` times, then drops it.
async fn drop_after<T>(polls: u32, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut left = polls;
    std::future::poll_fn(move |context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        future.as_mut().poll(context).map(Some)
    })
    .await
}

/// Waits until `get`, the list and the pages agree on whether a stream is live. Returns the record of a live stream.
async fn wait_until_consistent(case: &Case, name: &str) -> Check<Option<Stream>> {
    let since = Instant::now();
    loop {
        let before = case.registry().get(&id(name)).await;
        let listed = case.listed().await?.iter().any(|listed| listed == name);
        let paged = case.paged(100).await?.iter().any(|listed| listed == name);
        let after = case.registry().get(&id(name)).await;
        match (before, after) {
            (Ok(before), Ok(after)) if listed && paged && before == after => return Ok(Some(after)),
            (Err(before), Err(after)) if !listed && !paged => {
                fails(Err::<(), _>(before), ErrorKind::NotFound)?;
                fails(Err::<(), _>(after), ErrorKind::NotFound)?;
                return Ok(None);
            }
            (before, after) => {
                let found = format!("get {before:?}, list {listed}, pages {paged}, get {after:?}");
                ensure(since.elapsed() < Duration::from_secs(5), &format!("record and lists differ: {found}"))?;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
}

async fn cancelled_registration_is_applied_completely_or_not_at_all(case: &Case) -> Check {
    for polls in 0..12 {
        let name = format!("s{polls}");
        drop_after(polls, case.registry().register(&full(&name))).await;
        if let Some(record) = wait_until_consistent(case, &name).await? {
            same("the record", without_times(&record), without_times(&full(&name)))?;
        }
        // The store may apply the dropped call late, but must accept this later call.
        case.put(&full(&name)).await?;
    }
    Ok(())
}

async fn cancelled_unregistration_is_applied_completely_or_not_at_all(case: &Case) -> Check {
    for polls in 0..12 {
        let name = format!("s{polls}");
        let before = case.put(&full(&name)).await?;
        drop_after(polls, case.registry().unregister(&before.id)).await;
        if let Some(record) = wait_until_consistent(case, &name).await? {
            same("the record", record, before)?;
        }
    }
    Ok(())
}

async fn cancelled_write_is_applied_completely_or_not_at_all(case: &Case) -> Check {
    for polls in 0..12 {
        let name = format!("s{polls}");
        case.put(&written_by(&name, 1)).await?;
        drop_after(polls, case.registry().update(&written_by(&name, 2))).await;
        let now =
            wait_until_consistent(case, &name).await?.ok_or_else(|| fault("a dropped update removed the stream"))?;
        same("the record", without_times(&now), without_times(&written_by(&name, now.bitrate)))?;
        let ids: Vec<_> = (0..4).map(|n| format!("{name}-{n}")).collect();
        case.put_all(ids.clone()).await?;
        let batch: Vec<_> = ids.iter().map(|id| write(id, Change::Status(StreamStatus::Paused))).collect();
        drop_after(polls, case.registry().write(&batch)).await;
        for id in ids {
            wait_until_consistent(case, &id).await?.ok_or_else(|| fault("a dropped batch removed a stream"))?;
        }
    }
    Ok(())
}

async fn cancelled_read_changes_nothing(case: &Case) -> Check {
    let before = case.put(&full("a")).await?;
    for polls in 0..8 {
        drop_after(polls, case.registry().get(&id("a"))).await;
        drop_after(polls, case.registry().snapshot()).await;
        drop_after(polls, case.paged(1)).await;
        case.unchanged(&before).await?;
    }
    same("the list", case.registry().list().await?, vec![before])
}

/// Checks that a dropped call does not affect other calls that the store coalesced with it.
async fn cancelled_call_does_not_disturb_coalesced_calls(case: &Case) -> Check {
    case.put_all((0..40).map(|n| format!("s{n}"))).await?;
    let answers = concurrently((0..120_u32).map(|n| {
        let registry = case.shared();
        async move {
            let name = id(&format!("s{}", n % 40));
            if n % 2 == 0 {
                drop_after(1 + n % 4, registry.update_heartbeat(&name)).await;
                return Ok(());
            }
            registry.update_status(&name, StreamStatus::Active).await
        }
    }))
    .await?;
    for answer in answers {
        answer?;
    }
    same("the number of streams", case.listed().await?.len(), 40)
}
