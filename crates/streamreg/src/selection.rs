//! Selects the events of streams that match a filter, for `watch` and for webhooks.

use std::collections::HashSet;

use stream_registry::StreamId;
use stream_registry::query::Filter;
use stream_registry::watch::Event;

/// The streams whose events a consumer gets.
#[derive(Debug, Default)]
pub(crate) struct Selection {
    /// The streams with these ids; all streams if empty.
    ids: Vec<StreamId>,
    filter: Filter,
    /// The live streams that matched the filter at their last selected event.
    shown: HashSet<StreamId>,
}

impl Selection {
    /// Selects the streams with these ids.
    pub(crate) fn ids(ids: &[StreamId]) -> Self {
        Self { ids: ids.to_vec(), ..Self::default() }
    }

    /// Selects the streams that match a filter.
    pub(crate) fn filter(filter: Filter) -> Self {
        Self { filter, ..Self::default() }
    }

    /// Adds matching streams that the consumer already knows.
    pub(crate) fn with_shown(mut self, ids: impl IntoIterator<Item = StreamId>) -> Self {
        if !self.filter.is_empty() {
            self.shown.extend(ids);
        }
        self
    }

    /// Returns the live streams that matched the filter at their last selected event. Without a filter, the set is
    /// empty.
    pub(crate) fn shown(&self) -> &HashSet<StreamId> {
        &self.shown
    }

    /// Returns whether the consumer gets an event, and remembers the result for the next event of the stream.
    pub(crate) fn selects(&mut self, event: &Event) -> bool {
        let Some(stream) = event.stream() else { return true };
        if !self.ids.is_empty() && !self.ids.contains(&stream.id) {
            return false;
        }
        if self.filter.is_empty() {
            return true;
        }
        let (known, live) = match event {
            Event::Ended { as_of, .. } => (as_of.is_some(), false),
            _ => (true, true),
        };
        let matches = known && self.filter.matches(stream);
        let shown = if matches && live { !self.shown.insert(stream.id.clone()) } else { self.shown.remove(&stream.id) };
        matches || shown
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use stream_registry::watch::{ChangeKind, Ending};
    use stream_registry::{Stream, StreamStatus, StreamType, Timestamp};

    use super::*;

    fn stream(id: &str, status: StreamStatus) -> Stream {
        let mut stream = Stream::new(id.parse().unwrap(), StreamType::Srt, "203.0.113.7:40112");
        stream.set_status(status);
        stream
    }

    fn changed(id: &str, status: StreamStatus) -> Event {
        let (revision, kind) = ("h-1".parse().unwrap(), ChangeKind::Status);
        Event::Changed { revision, kind, stream: Arc::new(stream(id, status)) }
    }

    fn ended(id: &str, as_of: Option<Timestamp>) -> Event {
        let last = Arc::new(stream(id, StreamStatus::Paused));
        Event::Ended { revision: "h-1".parse().unwrap(), reason: Ending::Expired, last, as_of }
    }

    #[test]
    fn filter_selects_a_stream_until_it_has_ceased_to_match() {
        let mut active =
            Selection::filter(Filter::default().status(StreamStatus::Active)).with_shown(["listed".parse().unwrap()]);
        for (event, expected) in [
            (changed("a", StreamStatus::Connecting), false),
            (changed("a", StreamStatus::Active), true),
            (changed("a", StreamStatus::Active), true),
            (changed("a", StreamStatus::Paused), true),
            (changed("a", StreamStatus::Error), false),
            (ended("a", Some(Timestamp::ZERO)), false),
            (changed("b", StreamStatus::Active), true),
            (ended("b", Some(Timestamp::ZERO)), true),
            (ended("b", Some(Timestamp::ZERO)), false),
            // The last record is unknown, so that no condition matches; but the stream was printed.
            (ended("listed", None), true),
            (ended("other", None), false),
            (Event::Resync { revision: "h-1".parse().unwrap(), shard: None }, true),
        ] {
            assert_eq!(active.selects(&event), expected, "{event:?}");
        }
        assert!(active.shown.is_empty());
    }

    #[test]
    fn ids_select_every_event_of_their_streams() {
        let mut selection = Selection::ids(&["a".parse().unwrap()]);
        assert!(selection.selects(&changed("a", StreamStatus::Error)) && selection.selects(&ended("a", None)));
        assert!(!selection.selects(&changed("b", StreamStatus::Error)));
        assert!(Selection::default().selects(&ended("b", None)));
    }
}
