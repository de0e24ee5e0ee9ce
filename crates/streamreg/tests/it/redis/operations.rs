//! Lists all operations that change the store, so that tests can iterate over them.

use stream_registry::{
    Guard, OnConflict, RedisRegistry, RegisterOptions, Registry, Result, Stream, StreamPatch, StreamStats,
    StreamStatus, UnregisterOptions, Write,
};

use super::{id, stream};

/// An operation with fixed arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Register,
    TakeOver,
    Heartbeat,
    Status,
    Stats,
    AllStats,
    Patch,
    Update,
    Batch,
    Unregister,
    Force,
}

pub(crate) const ALL: [Verb; 11] = [
    Verb::Register,
    Verb::TakeOver,
    Verb::Heartbeat,
    Verb::Status,
    Verb::Stats,
    Verb::AllStats,
    Verb::Patch,
    Verb::Update,
    Verb::Batch,
    Verb::Unregister,
    Verb::Force,
];

/// The source address with which `Verb::Register` registers a stream.
pub(crate) const SOURCE: &str = "203.0.113.7:40112";

/// Returns a report of exactly the four statistics that a script can set.
pub(crate) fn totals(bytes_received: u64) -> StreamStats {
    StreamStats {
        bytes_received: Some(bytes_received),
        packets_received: Some(0),
        packets_lost: Some(0),
        bitrate: Some(0),
        ..StreamStats::default()
    }
}

pub(crate) fn stats() -> StreamStats {
    StreamStats {
        bytes_received: Some(9_007_199_254_740_993),
        packets_received: Some(7),
        packets_lost: Some(1),
        bitrate: Some(5),
        ..Default::default()
    }
}

pub(crate) fn all_stats() -> StreamStats {
    StreamStats {
        rtt_ms: Some(12.5),
        jitter_ms: Some(0.25),
        packets_retransmitted: Some(3),
        packets_dropped: Some(4),
        viewers: Some(5),
        frame_rate: Some(59.94),
        ..stats()
    }
}

pub(crate) fn patch() -> StreamPatch {
    StreamPatch {
        video_codec: Some("AV1".into()),
        resolution: Some("640x360".into()),
        frame_rate: Some(30.0),
        audio_codec: Some("AAC".into()),
        ..Default::default()
    }
    .label("by", "patch")
}

pub(crate) fn replacement(name: &str) -> Stream {
    let mut replacement = stream(name, SOURCE);
    replacement.status = StreamStatus::Paused;
    replacement.resolution = "320x180".into();
    replacement
}

impl Verb {
    /// Returns whether the operation may need memory. Such operations fail when memory is full.
    pub(crate) fn needs_memory(self) -> bool {
        matches!(self, Self::Register | Self::TakeOver | Self::Patch | Self::Update)
    }

    pub(crate) fn ends(self) -> bool {
        matches!(self, Self::Unregister | Self::Force)
    }

    pub(crate) async fn run(self, store: &RedisRegistry, name: &str) -> Result<()> {
        let stream_id = id(name);
        match self {
            Self::Register => store.register(&stream(name, SOURCE)).await.map(|_| ()),
            Self::TakeOver => {
                let options = RegisterOptions::default().on_conflict(OnConflict::TakeOver);
                store.register_with(&stream(name, "198.51.100.1:1"), &options).await.map(|_| ())
            }
            Self::Heartbeat => store.update_heartbeat(&stream_id).await,
            Self::Status => store.update_status(&stream_id, StreamStatus::Active).await,
            Self::Stats => store.update_stats(&stream_id, &stats()).await,
            Self::AllStats => store.update_stats(&stream_id, &all_stats()).await,
            Self::Patch => store.patch(&stream_id, &patch()).await,
            Self::Update => store.update(&replacement(name)).await,
            Self::Batch => {
                let write = |change| Write { id: stream_id.clone(), guard: Guard::None, change };
                let writes = [
                    write(stream_registry::Change::Heartbeat),
                    write(stream_registry::Change::Status(StreamStatus::Active)),
                    write(stream_registry::Change::Stats(Box::new(all_stats()))),
                ];
                store.write(&writes).await?.into_iter().collect()
            }
            Self::Unregister => store.unregister(&stream_id).await.map(|_| ()),
            Self::Force => {
                store.unregister_with(&stream_id, &UnregisterOptions::default().guard(Guard::Force)).await.map(|_| ())
            }
        }
    }
}
