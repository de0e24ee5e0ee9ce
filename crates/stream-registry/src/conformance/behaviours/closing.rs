//! Closing, and signs of life.

use super::case::{Case, Check, count, ensure, fails, id, stream, write};
use super::declare;
use crate::error::ErrorKind;
use crate::registry::{Change, RegisterOptions};
use crate::stream::{StreamPatch, StreamStats, StreamStatus};

declare! {
    "close", Long: [every_later_call_fails_with_closed, may_be_called_again, a_call_under_way_ends],
    "ping", Long: [answers_while_the_store_lives],
}

async fn every_later_call_fails_with_closed(case: &Case) -> Check {
    let (registry, name) = (case.registry(), id("a"));
    case.put(&stream("a")).await?;
    registry.close().await?;
    let kind = ErrorKind::Closed;
    let error = fails(registry.get(&name).await, kind)?;
    ensure(!error.is_retryable() && !error.may_have_applied(), "a closed registry looks like a failed store")?;
    fails(registry.register(&stream("a")).await, kind)?;
    fails(registry.register_new(&stream("a"), &RegisterOptions::default()).await, kind)?;
    fails(registry.unregister(&name).await, kind)?;
    fails(registry.delete(&name).await, kind)?;
    fails(registry.update_heartbeat(&name).await, kind)?;
    fails(registry.update_status(&name, StreamStatus::Active).await, kind)?;
    fails(registry.update_stats(&name, &StreamStats::default()).await, kind)?;
    fails(registry.patch(&name, &StreamPatch::default()).await, kind)?;
    fails(registry.update(&stream("a")).await, kind)?;
    fails(registry.write(&[write("a", Change::Heartbeat)]).await, kind)?;
    fails(registry.snapshot().await, kind)?;
    fails(registry.list().await, kind)?;
    fails(registry.list_page(None, count(10)).await, kind)?;
    fails(registry.ping().await, kind)?;
    Ok(())
}

async fn may_be_called_again(case: &Case) -> Check {
    case.registry().close().await?;
    case.registry().close().await?;
    ensure(!case.registry().info().kind.is_empty(), "a closed registry does not say what it is")
}

async fn a_call_under_way_ends(case: &Case) -> Check {
    case.put(&stream("a")).await?;
    let calls: Vec<_> = (0..32)
        .map(|_| {
            let registry = case.shared();
            tokio::spawn(async move { registry.update_heartbeat(&id("a")).await })
        })
        .collect();
    tokio::task::yield_now().await;
    case.registry().close().await?;
    for call in calls {
        // Done, or told that it was not: what it must not do is hang.
        let _ = call.await;
    }
    fails(case.registry().get(&id("a")).await, ErrorKind::Closed)?;
    Ok(())
}

async fn answers_while_the_store_lives(case: &Case) -> Check {
    case.registry().ping().await?;
    case.put(&stream("a")).await?;
    case.registry().ping().await?;
    Ok(())
}
