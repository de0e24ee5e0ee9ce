//! The atomic list.

use tokio::task::JoinSet;

use super::case::{Case, Check, ensure, fault, full, id, same, stream};
use super::declare;
use crate::stream::{Stream, StreamStatus};

declare! {
    "list", Long: [
        of_nothing_is_empty,
        has_every_live_stream_once,
        has_the_records_that_get_returns,
        has_what_was_just_written,
        is_one_moment,
        carries_many_streams,
    ],
}

async fn of_nothing_is_empty(case: &Case) -> Check {
    let snapshot = case.registry().snapshot().await?;
    same("the list", snapshot.streams, Vec::new())?;
    same("the unreadable records", snapshot.unreadable, 0)
}

async fn has_every_live_stream_once(case: &Case) -> Check {
    let names: Vec<_> = (0..50).map(|at| format!("s{at:02}")).collect();
    case.put_all(names.clone()).await?;
    case.put_all(names.clone()).await?;
    same("the list", case.listed().await?, names)
}

async fn has_the_records_that_get_returns(case: &Case) -> Check {
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

async fn has_what_was_just_written(case: &Case) -> Check {
    for round in 0..20 {
        let name = format!("s{round}");
        case.put(&stream(&name)).await?;
        case.registry().update_status(&id(&name), StreamStatus::Paused).await?;
        let listed = case.registry().list().await?;
        let found = listed.iter().find(|record| record.id.as_str() == name).ok_or_else(|| fault("not listed"))?;
        same("the status", &found.status, &StreamStatus::Paused)?;
        if round % 2 == 0 {
            case.registry().unregister(&id(&name)).await?;
            ensure(!case.listed().await?.contains(&name), "an ended stream is listed")?;
        }
    }
    Ok(())
}

/// At every moment at least one of two streams lives; a list that is not of one moment misses both.
async fn is_one_moment(case: &Case) -> Check {
    case.put(&stream("a")).await?;
    // Others between them, so that the list takes its time.
    case.put_all((0..200).map(|at| format!("between {at}"))).await?;
    let registry = case.shared();
    // Ends with the set, also where a check fails.
    let mut swaps = JoinSet::new();
    swaps.spawn(async move {
        loop {
            for (comes, goes) in [("z", "a"), ("a", "z")] {
                registry.register(&stream(comes)).await?;
                tokio::task::yield_now().await;
                registry.unregister(&id(goes)).await?;
                tokio::task::yield_now().await;
            }
        }
        #[expect(unreachable_code, reason = "names the type of the error")]
        Ok::<(), crate::error::Error>(())
    });
    for _ in 0..40 {
        let listed = case.listed().await?;
        ensure(listed.iter().any(|name| name == "a" || name == "z"), "neither stream is listed, and one always lived")?;
        ensure((201..=202).contains(&listed.len()), &format!("{} streams are listed", listed.len()))?;
        // A store in memory never makes a caller wait; the other task needs its turn.
        tokio::task::yield_now().await;
        if let Some(ended) = swaps.try_join_next() {
            return Err(fault(&format!("the other task failed: {ended:?}")));
        }
    }
    Ok(())
}

async fn carries_many_streams(case: &Case) -> Check {
    let names: Vec<_> = (0..1_500).map(|at| format!("s{at:04}")).collect();
    case.put_all(names.clone()).await?;
    same("the list", case.listed().await?, names.clone())?;
    let mut paged = case.paged(100).await?;
    paged.dedup();
    same("the pages", paged, names)
}
