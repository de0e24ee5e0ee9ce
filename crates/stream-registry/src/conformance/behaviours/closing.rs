//! Behaviours of `close` and `ping`.

use super::case::{Case, Check, count, ensure, fails, id, same, stream, write};
use super::declare;
use crate::error::{ErrorKind, Operation};
use crate::query::{By, Filter, Query};
use crate::registry::{Change, RegisterOptions};
use crate::stream::{StreamPatch, StreamStats, StreamStatus};

declare! {
    "close", Long: [
        every_call_after_close_fails_with_closed,
        close_can_be_called_twice,
        call_in_flight_returns_after_close,
    ],
    "ping", Long: [ping_succeeds_while_the_store_is_reachable],
}

async fn every_call_after_close_fails_with_closed(case: &Case) -> Check {
    let (registry, name) = (case.registry(), id("a"));
    case.put(&stream("a")).await?;
    registry.close().await?;
    let kind = ErrorKind::Closed;
    let error = fails(registry.get(&name).await, kind)?;
    ensure(!error.is_retryable() && !error.may_have_applied(), "Closed looks like a failure of the store")?;
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
    fails(registry.get_many(&[id("a"), id("b")]).await, kind)?;
    let found = fails(registry.find(&Query::default()).await, kind)?;
    same("the operation of find", found.operation(), Some(Operation::Find))?;
    let counted = fails(registry.summary(&Filter::default(), By::Status).await, kind)?;
    same("the operation of summary", counted.operation(), Some(Operation::Summary))?;
    fails(registry.ping().await, kind)?;
    Ok(())
}

async fn close_can_be_called_twice(case: &Case) -> Check {
    case.registry().close().await?;
    case.registry().close().await?;
    ensure(!case.registry().info().kind.is_empty(), "a closed registry does not return its kind")
}

async fn call_in_flight_returns_after_close(case: &Case) -> Check {
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
        // The call may succeed or fail, but must not hang.
        let _ = call.await;
    }
    fails(case.registry().get(&id("a")).await, ErrorKind::Closed)?;
    Ok(())
}

async fn ping_succeeds_while_the_store_is_reachable(case: &Case) -> Check {
    case.registry().ping().await?;
    case.put(&stream("a")).await?;
    case.registry().ping().await?;
    Ok(())
}
