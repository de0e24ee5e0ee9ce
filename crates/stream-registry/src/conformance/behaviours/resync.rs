//! The event `resync` of the change feed. These behaviours do not apply to stores without a change feed.

use std::collections::BTreeSet;

use super::case::{Case, Check, count, ensure, fault, id, same, stream};
use super::declare;
use super::feed::{changed, follow, next, tail};
use crate::error::ErrorKind;
use crate::stream::StreamPatch;
use crate::watch::{ChangeKind, Event, WatchFrom};

declare! {
    "feed", Long: [
        watch_from_an_unknown_revision_starts_with_a_resync,
        resync_of_a_foreign_revision_concerns_all_streams,
        pages_of_the_shard_in_a_resync_contain_exactly_its_streams,
    ],
}

async fn watch_from_an_unknown_revision_starts_with_a_resync(case: &Case) -> Check {
    follow(case, WatchFrom::Now).await?;
    case.put(&stream("a")).await?;
    let position = tail(case).await?;
    for from in [format!("{position}9"), "0123456789abcdef-1".to_owned(), "1-0.2-0".to_owned()] {
        let position = tail(case).await?;
        let mut watch = follow(case, WatchFrom::Revision(from.parse()?)).await?;
        let event = next(&mut watch).await?;
        ensure(matches!(event, Event::Resync { .. }), &format!("the first event from {from} is {event:?}"))?;
        same("the position of the resync", event.revision(), &position)?;
        let mut resumed = follow(case, WatchFrom::Revision(position)).await?;
        case.registry().patch(&id("a"), &StreamPatch { node: Some(from), ..StreamPatch::default() }).await?;
        same("the next event", changed(&mut watch).await?.0, ChangeKind::Patched)?;
        same("the next event after its position", changed(&mut resumed).await?.0, ChangeKind::Patched)?;
    }
    Ok(())
}

async fn resync_of_a_foreign_revision_concerns_all_streams(case: &Case) -> Check {
    let mut watch = follow(case, WatchFrom::Revision("0123456789abcdef-1".parse()?)).await?;
    let event = next(&mut watch).await?;
    ensure(matches!(event, Event::Resync { shard: None, .. }), &format!("the first event is {event:?}"))
}

/// In a Redis Cluster, a position that only one shard does not know causes a `resync` of this shard. In other stores, a
/// `resync` names no shard.
async fn pages_of_the_shard_in_a_resync_contain_exactly_its_streams(case: &Case) -> Check {
    follow(case, WatchFrom::Now).await?;
    let mut ids = BTreeSet::new();
    for number in 0..40 {
        ids.insert(case.put(&stream(&format!("s{number}"))).await?.id);
    }
    let unknown = format!("{}9", tail(case).await?);
    let mut watch = follow(case, WatchFrom::Revision(unknown.parse()?)).await?;
    let event = next(&mut watch).await?;
    let Event::Resync { shard, .. } = event else { return Err(fault(&format!("the first event is {event:?}"))) };
    let Some(shard) = shard else { return Ok(()) };
    let mut listed = BTreeSet::new();
    let mut cursor = Some(shard.pages());
    while let Some(from) = cursor {
        let page = match case.registry().list_page(Some(&from), count(7)).await {
            // A server cannot list one shard.
            Err(error) if error.kind() == ErrorKind::InvalidCursor && listed.is_empty() => return Ok(()),
            page => page?,
        };
        listed.extend(page.streams.into_iter().map(|stream| stream.id));
        cursor = page.next;
    }
    ids.retain(|id| shard.contains(id));
    same("the streams of the shard", listed, ids)
}
