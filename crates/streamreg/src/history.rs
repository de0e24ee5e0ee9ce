//! Streams that have ended, out of what the change feed still keeps.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::time::Duration;

use stream_registry::{Error, ErrorKind, Event, Operation, Registry, Result, Stream, StreamId, StreamType, WatchFrom};
use tokio::time::timeout;

/// How many are shown where nobody says.
pub(crate) const DEFAULT_LIMIT: usize = 100;
/// The most that are shown.
pub(crate) const MAX_LIMIT: usize = 10_000;
/// How long the next event may take: all of them are there already.
const PATIENCE: Duration = Duration::from_secs(10);

/// Which streams.
#[derive(Clone, Debug, Default)]
pub(crate) struct Which {
    pub(crate) id: Option<StreamId>,
    pub(crate) kind: Option<StreamType>,
    pub(crate) node: Option<String>,
}

impl Which {
    fn has(&self, stream: &Stream) -> bool {
        self.id.as_ref().is_none_or(|id| stream.id == *id)
            && self.kind.as_ref().is_none_or(|kind| stream.kind == *kind)
            && self.node.as_ref().is_none_or(|node| stream.node.as_ref() == Some(node))
    }
}

/// Returns the ends of streams, the last one first: at most `limit` of them.
///
/// Reads the whole feed that is kept; a stream whose id was taken over has not ended.
///
/// # Errors
///
/// `Unsupported` where the store has no feed, `Timeout` where it stops in between.
pub(crate) async fn read(registry: &dyn Registry, which: &Which, limit: usize) -> Result<Vec<Event>> {
    let mut watch = registry.watch(WatchFrom::Oldest).await?;
    // Where the feed ends for this call: the watch itself has no end.
    let tail = match registry.list_page(None, NonZeroU32::MIN).await?.revision {
        Some(revision) => Some(revision),
        None => registry.snapshot().await?.revision,
    };
    let mut ends = VecDeque::new();
    let mut reached = watch.begins() == tail.as_ref();
    while !reached {
        let event = timeout(PATIENCE, watch.next()).await.map_err(|_| stopped())?.ok_or_else(Error::closed)?;
        reached = Some(event.revision()) == tail.as_ref();
        if let Event::Ended { last, .. } = &event
            && which.has(last)
        {
            ends.truncate(limit.saturating_sub(1));
            ends.push_front(event);
        }
    }
    Ok(ends.into())
}

fn stopped() -> Error {
    let message = "the change feed stopped before its end; try again";
    Error::new(ErrorKind::Timeout, message).with_operation(Operation::Watch).with_may_have_applied(false)
}

#[cfg(test)]
mod tests {
    use stream_registry::MemoryRegistry;

    use super::*;

    async fn ended(registry: &MemoryRegistry, id: &str, kind: StreamType, node: &str) {
        let mut stream = Stream::new(id.parse().unwrap(), kind, "h:1");
        stream.node = Some(node.to_owned());
        registry.register(&stream).await.unwrap();
        registry.unregister(&stream.id).await.unwrap();
    }

    fn names(ends: &[Event]) -> Vec<&str> {
        ends.iter().map(|end| end.stream().unwrap().id.as_str()).collect()
    }

    #[tokio::test]
    async fn the_last_end_comes_first_and_filters_choose() {
        let registry = MemoryRegistry::new();
        let all = Which::default();
        assert_eq!(read(&registry, &all, 10).await.unwrap(), []);
        for (id, kind, node) in
            [("a", StreamType::Srt, "n1"), ("b", StreamType::Rtp, "n1"), ("a", StreamType::Srt, "n2")]
        {
            ended(&registry, id, kind, node).await;
        }
        registry.register(&Stream::new("live".parse().unwrap(), StreamType::Srt, "h:1")).await.unwrap();
        assert_eq!(names(&read(&registry, &all, 10).await.unwrap()), ["a", "b", "a"]);
        assert_eq!(names(&read(&registry, &all, 2).await.unwrap()), ["a", "b"]);
        let which = Which { id: Some("a".parse().unwrap()), ..Which::default() };
        assert_eq!(names(&read(&registry, &which, 10).await.unwrap()), ["a", "a"]);
        let which = Which { node: Some("n1".into()), kind: Some(StreamType::Rtp), ..Which::default() };
        assert_eq!(names(&read(&registry, &which, 10).await.unwrap()), ["b"]);
    }
}
