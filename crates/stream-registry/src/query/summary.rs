//! Counts of streams by node, type or status.

use std::borrow::Borrow;
use std::str::FromStr;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use crate::stream::{InvalidValue, Stream};

/// The field by which streams are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum By {
    /// The ingest node.
    Node,
    /// The protocol of the publisher.
    Type,
    /// The status.
    #[default]
    Status,
}

impl By {
    /// Returns the field as a stable lower-case word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Type => "type",
            Self::Status => "status",
        }
    }
}

impl FromStr for By {
    type Err = InvalidValue;

    fn from_str(name: &str) -> Result<Self, InvalidValue> {
        let all = [Self::Node, Self::Type, Self::Status];
        all.into_iter()
            .find(|by| by.as_str() == name)
            .ok_or_else(|| InvalidValue::new(format!("invalid by {name:?}; expected node, type or status")))
    }
}

/// The streams that share a node, type or status.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// The node, type or status; `None` for streams without a node.
    pub key: Option<String>,
    /// Number of streams.
    pub streams: u64,
    /// Sum of the bit rates of these streams, in bits per second.
    pub bitrate: u64,
    /// Sum of the packets that these streams received.
    pub packets_received: u64,
    /// Sum of the packets that these streams lost.
    pub packets_lost: u64,
}

impl Group {
    fn add(&mut self, stream: &Stream) {
        self.streams += 1;
        self.bitrate = self.bitrate.saturating_add(stream.bitrate);
        self.packets_received = self.packets_received.saturating_add(stream.packets_received);
        self.packets_lost = self.packets_lost.saturating_add(stream.packets_lost);
    }
}

/// Counts of live streams in groups.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The field by which streams are counted: `node`, `type` or `status`.
    pub by: String,
    /// Number of streams in all groups.
    pub total: u64,
    /// Sum of all bit rates, in bits per second.
    pub bitrate: u64,
    /// The groups, sorted by key; streams without a node come first.
    pub groups: Vec<Group>,
}

impl Summary {
    /// Counts streams in groups.
    pub fn of<S: Borrow<Stream>>(by: By, streams: impl IntoIterator<Item = S>) -> Self {
        let mut counter = Counter::new(by);
        for stream in streams {
            counter.add(stream.borrow());
        }
        counter.finish()
    }
}

/// Builds a [`Summary`]; streams are added one by one.
pub(crate) struct Counter {
    by: By,
    all: Group,
    groups: HashMap<String, Group, RandomState>,
    /// The streams without a node.
    without_key: Group,
}

impl Counter {
    pub(crate) fn new(by: By) -> Self {
        Self { by, all: Group::default(), groups: HashMap::default(), without_key: Group::default() }
    }

    pub(crate) fn add(&mut self, stream: &Stream) {
        let key = match self.by {
            By::Node => stream.node.as_deref(),
            By::Type => Some(stream.kind.as_str()),
            By::Status => Some(stream.status.as_str()),
        };
        self.all.add(stream);
        match key {
            Some(key) => self.groups.entry_ref(key).or_default().add(stream),
            None => self.without_key.add(stream),
        }
    }

    pub(crate) fn finish(self) -> Summary {
        let keyed = self.groups.into_iter().map(|(key, group)| Group { key: Some(key), ..group });
        let mut groups: Vec<_> =
            Some(self.without_key).filter(|group| group.streams > 0).into_iter().chain(keyed).collect();
        groups.sort_unstable_by(|one, other| one.key.cmp(&other.key));
        Summary { by: self.by.as_str().to_owned(), total: self.all.streams, bitrate: self.all.bitrate, groups }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::{StreamStatus, StreamType};

    #[test]
    fn summary_counts_every_stream_once() {
        let mut one = Stream::new("a".parse().unwrap(), StreamType::Srt, "a:1");
        (one.bitrate, one.node) = (5, Some("n".into()));
        let mut two = Stream::new("b".parse().unwrap(), StreamType::Srt, "a:1");
        two.bitrate = u64::MAX;
        two.set_status(StreamStatus::Active);
        let counts = |by| {
            let summary = Summary::of(by, [&one, &two]);
            assert_eq!((summary.total, summary.bitrate), (2, u64::MAX));
            summary.groups.into_iter().map(|group| (group.key, group.streams)).collect::<Vec<_>>()
        };
        assert_eq!(counts(By::Type), [(Some("srt".to_owned()), 2)]);
        assert_eq!(counts(By::Status), [(Some("active".to_owned()), 1), (Some("connecting".to_owned()), 1)]);
        assert_eq!(counts(By::Node), [(None, 1), (Some("n".to_owned()), 1)]);
        assert_eq!(Summary::of(By::Node, Vec::<Stream>::new()).groups, []);
    }
}
