//! Behaviours of `unregister` and `get`.

use super::case::{Case, Check, concurrently, ensure, fails, full, id, same, stream};
use super::declare;
use crate::error::ErrorKind;
use crate::registry::UnregisterOptions;
use crate::stream::{EndReason, StreamStats, StreamStatus};

declare! {
    "unregister", Long: [
        unregister_returns_the_last_record,
        unregister_removes_the_record_and_its_index_entry,
        unregister_returns_not_found_without_a_live_stream,
        exactly_one_of_many_concurrent_unregister_calls_succeeds,
        last_record_contains_the_end_reason,
        delete_behaves_like_unregister,
        unregister_keeps_streams_with_similar_ids,
    ],
    "get", Long: [get_returns_the_record_of_the_last_write, get_returns_not_found_for_an_unknown_id],
}

async fn unregister_returns_the_last_record(case: &Case) -> Check {
    case.put(&full("a")).await?;
    case.registry().update_status(&id("a"), StreamStatus::Closed).await?;
    case.registry().update_stats(&id("a"), &StreamStats { bytes_received: Some(5), ..Default::default() }).await?;
    let before = case.get("a").await?;
    same("the last record", case.registry().unregister(&id("a")).await?.to_json(), before.to_json())
}

async fn unregister_removes_the_record_and_its_index_entry(case: &Case) -> Check {
    case.put(&stream("a")).await?;
    case.registry().unregister(&id("a")).await?;
    case.assert_gone("a").await?;
    same("the pages", case.paged(10).await?, Vec::new())?;
    if let Some(stored) = case.instance.stored(&id("a")).await {
        same("the stored record", stored, None)?;
    }
    if let Some(index) = case.instance.index().await {
        same("the index", index, Vec::new())?;
    }
    Ok(())
}

async fn unregister_returns_not_found_without_a_live_stream(case: &Case) -> Check {
    fails(case.registry().unregister(&id("never")).await, ErrorKind::NotFound)?;
    case.put(&stream("a")).await?;
    case.registry().unregister(&id("a")).await?;
    fails(case.registry().unregister(&id("a")).await, ErrorKind::NotFound)?;
    case.assert_gone("a").await
}

async fn exactly_one_of_many_concurrent_unregister_calls_succeeds(case: &Case) -> Check {
    for round in 0..10 {
        let name = format!("round {round}");
        let before = case.put(&stream(&name)).await?;
        let answers = concurrently((0..32).map(|_| {
            let (registry, id) = (case.shared(), id(&name));
            async move { registry.unregister(&id).await }
        }))
        .await?;
        let mut ended = 0;
        for answer in answers {
            match answer {
                Ok(last) => {
                    same("the last record", &last, &before)?;
                    ended += 1;
                }
                Err(error) => drop(fails(Err::<(), _>(error), ErrorKind::NotFound)?),
            }
        }
        same("the number of successful calls", ended, 1)?;
    }
    Ok(())
}

async fn last_record_contains_the_end_reason(case: &Case) -> Check {
    for reason in ["operator", "ключ \"x\"\n", &"r".repeat(1_024)] {
        case.put(&stream("a")).await?;
        let options = UnregisterOptions::default().reason(reason.parse()?);
        let last = case.registry().unregister_with(&id("a"), &options).await?;
        same("the reason", last.end_reason.as_deref(), Some(reason))?;
    }
    case.put(&stream("a")).await?;
    same("the missing reason", case.registry().unregister(&id("a")).await?.end_reason, None)?;
    ensure("r".repeat(1_025).parse::<EndReason>().is_err(), "a reason of more than 1 KiB is accepted")
}

async fn delete_behaves_like_unregister(case: &Case) -> Check {
    let before = case.put(&full("a")).await?;
    same("the last record", case.registry().delete(&id("a")).await?, before)?;
    fails(case.registry().delete(&id("a")).await, ErrorKind::NotFound)?;
    case.assert_gone("a").await
}

async fn unregister_keeps_streams_with_similar_ids(case: &Case) -> Check {
    for name in ["a", "a:b", "ab", "*", "a*"] {
        case.put(&stream(name)).await?;
    }
    case.registry().unregister(&id("a*")).await?;
    case.registry().unregister(&id("*")).await?;
    same("the list", case.listed().await?, ["a", "a:b", "ab"].map(str::to_owned).into())
}

async fn get_returns_the_record_of_the_last_write(case: &Case) -> Check {
    case.put(&stream("a")).await?;
    for value in 1..=50 {
        let stats = StreamStats { bytes_received: Some(value), ..Default::default() };
        case.registry().update_stats(&id("a"), &stats).await?;
        same("the counter", case.get("a").await?.bytes_received, value)?;
    }
    Ok(())
}

async fn get_returns_not_found_for_an_unknown_id(case: &Case) -> Check {
    let error = fails(case.registry().get(&id("never")).await, ErrorKind::NotFound)?;
    ensure(!error.is_retryable(), "NotFound looks like a failure of the store")
}
