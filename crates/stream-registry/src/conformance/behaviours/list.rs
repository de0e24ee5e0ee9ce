//! The atomic list.

use tokio::task::JoinSet;

use super::case::{Case, Check, ensure, fault, full, id, same, stream};
use super::declare;
use crate::stream::{Stream, StreamStatus};

declare! {
    "list", Long: [
        list_is_empty_when_no_stream_is_live,
        list_contains_every_live_stream_once,
        list_and_get_return_the_same_records,
        list_shows_the_result_of_the_last_write,
        list_is_an_atomic_snapshot,
        list_can_contain_1500_streams,
    ],
}

async fn list_is_empty_when_no_stream_is_live(case: &Case) -> Check {
    let snapshot = case.registry().snapshot().await?;
    same("the list", snapshot.streams, Vec::new())?;
    same("the unreadable records", snapshot.unreadable, 0)
}

async fn list_contains_every_live_stream_once(case: &Case) -> Check {
    let names: Vec<_> = (0..50).map(|n| format!("s{n:02}")).collect();
    case.put_all(names.clone()).await?;
    case.put_all(names.clone()).await?;
    same("the list", case.listed().await?, names)
}

async fn list_and_get_return_the_same_records(case: &Case) -> Check {
    case.put(&full("a")).await?;
    case.put(&stream("b")).await?;
    for record in case.registry().list().await? {
        same("the record", record.to_json(), case.get(record.id.as_str()).await?.to_json())?;
    }
    let mut paged: Vec<Stream> = Vec::new();
    case.pages(10, |page| paged.extend(page.streams)).await?;
    for record in paged {
        case.unchanged(&record).await?;
    }
    Ok(())
}

async fn list_shows_the_result_of_the_last_write(case: &Case) -> Check {
    for round in 0..20 {
        let name = format!("s{round}");
        case.put(&stream(&name)).await?;
        case.registry().update_status(&id(&name), StreamStatus::Paused).await?;
        let listed = case.registry().list().await?;
        let found = listed.iter().find(|record| record.id.as_str() == name).ok_or_else(|| fault("not listed"))?;
        same("the status", &found.status, &StreamStatus::Paused)?;
        if round % 2 == 0 {
            case.registry().unregister(&id(&name)).await?;
            ensure(!case.listed().await?.contains(&name), "an unregistered stream is listed")?;
        }
    }
    Ok(())
}

/// At every moment, at least one of the streams `a` and `z` is live. Both are in the same part of the store. A list
/// that contains neither is not a snapshot.
async fn list_is_an_atomic_snapshot(case: &Case) -> Check {
    let (a, z) = (case.together("a"), case.together("z"));
    case.put(&stream(&a)).await?;
    // Many streams between `a` and `z` make the list take longer.
    case.put_all((0..200).map(|n| format!("between {n}"))).await?;
    let registry = case.shared();
    // Dropping the `JoinSet` stops the task, even if a check fails.
    let mut swaps = JoinSet::new();
    let both = [(z.clone(), a.clone()), (a.clone(), z.clone())];
    swaps.spawn(async move {
        loop {
            for (comes, goes) in &both {
                registry.register(&stream(comes)).await?;
                tokio::task::yield_now().await;
                registry.unregister(&id(goes)).await?;
                // The number of yields is random. Otherwise, the two tasks could run in lockstep on one thread.
                for _ in 0..fastrand::u8(1..4) {
                    tokio::task::yield_now().await;
                }
            }
        }
        #[expect(unreachable_code, reason = "the loop never ends; this gives the task its type")]
        Ok::<(), crate::error::Error>(())
    });
    for _ in 0..40 {
        let listed = case.listed().await?;
        ensure(
            listed.iter().any(|name| *name == a || *name == z),
            "neither stream is listed, although one is always live",
        )?;
        ensure((201..=202).contains(&listed.len()), &format!("{} streams are listed", listed.len()))?;
        // An in-memory store never suspends its caller. Without this yield, the other task could not run.
        tokio::task::yield_now().await;
        if let Some(ended) = swaps.try_join_next() {
            return Err(fault(&format!("the other task failed: {ended:?}")));
        }
    }
    Ok(())
}

async fn list_can_contain_1500_streams(case: &Case) -> Check {
    let names: Vec<_> = (0..1_500).map(|n| format!("s{n:04}")).collect();
    case.put_all(names.clone()).await?;
    same("the list", case.listed().await?, names.clone())?;
    let mut paged = case.paged(100).await?;
    paged.dedup();
    same("the pages", paged, names)
}
