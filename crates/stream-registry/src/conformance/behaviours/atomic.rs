//! All or nothing: under races, after failures, and when futures are dropped.

use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::case::{Case, Check, at_once, ensure, fails, fault, full, id, same, stream, timeless, write};
use super::declare;
use crate::error::ErrorKind;
use crate::registry::{Change, Registry};
use crate::stream::{Stream, StreamPatch, StreamStats, StreamStatus};

declare! {
    "atomicity", Long: [
        changes_of_one_stream_at_once_are_all_kept,
        a_record_is_never_half_replaced,
        a_failed_change_changes_nothing,
        an_ended_stream_is_not_brought_back_by_a_write,
        registering_and_ending_at_once_leave_all_or_nothing,
    ],
    "cancelling", Long: [
        a_dropped_register_leaves_all_or_nothing,
        a_dropped_unregister_leaves_all_or_nothing,
        a_dropped_write_leaves_all_or_nothing,
        a_dropped_read_harms_nobody,
        a_dropped_call_does_not_disturb_the_others,
    ],
}

async fn changes_of_one_stream_at_once_are_all_kept(case: &Case) -> Check {
    case.put(&stream("a")).await?;
    let answers = at_once((0..20_u64).map(|at| {
        let registry = case.shared();
        async move {
            let name = id("a");
            registry.patch(&name, &StreamPatch::default().label(format!("l{at}"), "x")).await?;
            match at % 3 {
                0 => registry.update_status(&name, StreamStatus::Paused).await,
                1 => registry.update_heartbeat(&name).await,
                _ => registry.update_stats(&name, &StreamStats { bitrate: 7, ..Default::default() }).await,
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

/// A record whose fields all tell which caller wrote it.
fn of_one_hand(name: &str, hand: u64) -> Stream {
    let mut record = stream(name);
    record.bitrate = hand;
    record.packets_lost = hand;
    record.video_codec = format!("codec {hand}");
    record.labels.insert("hand".to_owned(), hand.to_string());
    record
}

async fn a_record_is_never_half_replaced(case: &Case) -> Check {
    case.put(&of_one_hand("a", 0)).await?;
    let writers = (1..=8_u64).map(|hand| {
        let registry = case.shared();
        async move {
            for _ in 0..15 {
                registry.update(&of_one_hand("a", hand)).await?;
            }
            Ok::<(), crate::error::Error>(())
        }
    });
    let writers: Vec<_> = writers.map(tokio::spawn).collect();
    loop {
        let done = writers.iter().all(tokio::task::JoinHandle::is_finished);
        let now = case.get("a").await?;
        same("the record", timeless(&now), timeless(&of_one_hand("a", now.bitrate)))?;
        for listed in case.registry().list().await? {
            same("the listed record", timeless(&listed), timeless(&of_one_hand("a", listed.bitrate)))?;
        }
        if done {
            break;
        }
        // A store in memory never makes a caller wait; the writers need their turn.
        tokio::task::yield_now().await;
    }
    for writer in writers {
        writer.await.map_err(|error| fault(&error.to_string()))??;
    }
    Ok(())
}

async fn a_failed_change_changes_nothing(case: &Case) -> Check {
    let before = case.put(&full("a")).await?;
    let bad_stats = StreamStats { bitrate: u64::MAX, bytes_received: 1, ..Default::default() };
    let bad_patch = StreamPatch { video_codec: Some("AV1".to_owned()), frame_rate: Some(-1.0), ..Default::default() };
    let mut bad_record = full("a");
    bad_record.labels.insert(String::new(), String::new());
    bad_record.status = StreamStatus::Error;
    for change in [
        Change::Stats(bad_stats),
        Change::Patch(Box::new(bad_patch.label("new", "x"))),
        Change::Update(Box::new(bad_record)),
    ] {
        for answer in case.registry().write(&[write("a", change)]).await? {
            let error = fails(answer, ErrorKind::InvalidArgument)?;
            ensure(!error.may_have_applied(), "a refused write may have been applied")?;
        }
    }
    case.unchanged(&before).await
}

async fn an_ended_stream_is_not_brought_back_by_a_write(case: &Case) -> Check {
    for round in 0..20 {
        let name = format!("s{round}");
        case.put(&stream(&name)).await?;
        let writers: Vec<_> = (0..8)
            .map(|_| {
                let (registry, name) = (case.shared(), id(&name));
                tokio::spawn(async move {
                    for _ in 0..5 {
                        // Fails once the stream has ended.
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
        case.is_gone(&name).await?;
    }
    Ok(())
}

async fn registering_and_ending_at_once_leave_all_or_nothing(case: &Case) -> Check {
    for round in 0..10 {
        let name = format!("s{round}");
        at_once((0..24).map(|at| {
            let (registry, name) = (case.shared(), name.clone());
            async move {
                let _ = match at % 3 {
                    0 => registry.unregister(&id(&name)).await.map(drop),
                    _ => registry.register(&stream(&name)).await.map(drop),
                };
            }
        }))
        .await?;
        settled(case, &name).await?;
    }
    Ok(())
}

/// Polls a future this often, then drops it.
async fn dropped_after<T>(polls: u32, future: impl Future<Output = T>) -> Option<T> {
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

/// Waits until a call that was dropped has happened or not, and checks that record and lists agree.
async fn settled(case: &Case, name: &str) -> Check<Option<Stream>> {
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
                let seen = format!("get {before:?}, list {listed}, pages {paged}, get {after:?}");
                ensure(since.elapsed() < Duration::from_secs(5), &format!("record and lists do not agree: {seen}"))?;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
}

async fn a_dropped_register_leaves_all_or_nothing(case: &Case) -> Check {
    for polls in 0..12 {
        let name = format!("s{polls}");
        dropped_after(polls, case.registry().register(&full(&name))).await;
        if let Some(record) = settled(case, &name).await? {
            same("the record", timeless(&record), timeless(&full(&name)))?;
        }
        // Done late at worst: a call sent after it is not disturbed for long.
        case.put(&full(&name)).await?;
    }
    Ok(())
}

async fn a_dropped_unregister_leaves_all_or_nothing(case: &Case) -> Check {
    for polls in 0..12 {
        let name = format!("s{polls}");
        let before = case.put(&full(&name)).await?;
        dropped_after(polls, case.registry().unregister(&before.id)).await;
        if let Some(record) = settled(case, &name).await? {
            same("the record", record, before)?;
        }
    }
    Ok(())
}

async fn a_dropped_write_leaves_all_or_nothing(case: &Case) -> Check {
    for polls in 0..12 {
        let name = format!("s{polls}");
        case.put(&of_one_hand(&name, 1)).await?;
        dropped_after(polls, case.registry().update(&of_one_hand(&name, 2))).await;
        let now = settled(case, &name).await?.ok_or_else(|| fault("a dropped update removed the stream"))?;
        same("the record", timeless(&now), timeless(&of_one_hand(&name, now.bitrate)))?;
        let ids: Vec<_> = (0..4).map(|at| format!("{name}-{at}")).collect();
        case.put_all(ids.clone()).await?;
        let batch: Vec<_> = ids.iter().map(|id| write(id, Change::Status(StreamStatus::Paused))).collect();
        dropped_after(polls, case.registry().write(&batch)).await;
        for id in ids {
            settled(case, &id).await?.ok_or_else(|| fault("a dropped batch removed a stream"))?;
        }
    }
    Ok(())
}

async fn a_dropped_read_harms_nobody(case: &Case) -> Check {
    let before = case.put(&full("a")).await?;
    for polls in 0..8 {
        dropped_after(polls, case.registry().get(&id("a"))).await;
        dropped_after(polls, case.registry().snapshot()).await;
        dropped_after(polls, case.paged(1)).await;
        case.unchanged(&before).await?;
    }
    same("the list", case.registry().list().await?, vec![before])
}

/// Callers whose calls a store joined with one that is dropped still get their own answers.
async fn a_dropped_call_does_not_disturb_the_others(case: &Case) -> Check {
    case.put_all((0..40).map(|at| format!("s{at}"))).await?;
    let answers = at_once((0..120_u32).map(|at| {
        let registry = case.shared();
        async move {
            let name = id(&format!("s{}", at % 40));
            if at % 2 == 0 {
                dropped_after(1 + at % 4, registry.update_heartbeat(&name)).await;
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
