//! How many streams there are, by node, type or status.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use stream_registry::Stream;

/// What streams are counted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum By {
    /// The ingest node
    Node,
    /// The protocol of the publisher
    Type,
    /// The state
    #[default]
    Status,
}

impl By {
    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Type => "type",
            Self::Status => "status",
        }
    }
}

impl FromStr for By {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::Node, Self::Type, Self::Status];
        all.into_iter().find(|by| by.as_str() == text).ok_or_else(|| "by must be node, type or status".to_owned())
    }
}

/// The streams that have something in common.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// What they have in common; `None` for those without a node.
    pub key: Option<String>,
    /// How many they are.
    pub streams: u64,
    /// The sum of their bit rates, in bits per second.
    pub bitrate: u64,
    /// The sum of the packets that they received.
    pub packets_received: u64,
    /// The sum of the packets that they lost.
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

/// Streams, counted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// What they are counted by: `node`, `type` or `status`.
    pub by: String,
    /// How many there are in all.
    pub total: u64,
    /// The sum of all bit rates, in bits per second.
    pub bitrate: u64,
    /// The groups, by their keys; those without one come first.
    pub groups: Vec<Group>,
}

impl Summary {
    /// Counts streams.
    pub fn of<S: Borrow<Stream>>(by: By, streams: impl IntoIterator<Item = S>) -> Self {
        let mut all = Group::default();
        let mut groups: BTreeMap<Option<String>, Group> = BTreeMap::new();
        for stream in streams {
            let stream = stream.borrow();
            let key = match by {
                By::Node => stream.node.clone(),
                By::Type => Some(stream.kind.as_str().to_owned()),
                By::Status => Some(stream.status.as_str().to_owned()),
            };
            all.add(stream);
            let group = groups.entry(key).or_insert_with_key(|key| Group { key: key.clone(), ..Group::default() });
            group.add(stream);
        }
        let groups = groups.into_values().collect();
        Self { by: by.as_str().to_owned(), total: all.streams, bitrate: all.bitrate, groups }
    }
}

#[cfg(test)]
mod tests {
    use stream_registry::{StreamStatus, StreamType};

    use super::*;

    #[test]
    fn every_stream_counts_once() {
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
