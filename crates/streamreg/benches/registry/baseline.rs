//! The baseline, called `A` in the table: Lua scripts in the usual style. `B` stands for plain commands.
//!
//! The scripts decode, change and encode each record with cjson. Each change is one script call. Each caller has its
//! own connection.

use std::sync::Arc;

use redis::Cmd;
use redis::aio::MultiplexedConnection;
use serde::Deserialize;
use stream_registry::{StreamStats, StreamStatus, Timestamp};

use crate::{Result, server};

pub(crate) const HEARTBEAT: &str = include_str!("reference/heartbeat.lua");
pub(crate) const STATUS: &str = include_str!("reference/status.lua");
pub(crate) const STATS: &str = include_str!("reference/stats.lua");
pub(crate) const LIST: &str = include_str!("reference/list.lua");

/// Key prefix of the baseline. It is as long as the prefix that the library uses.
pub(crate) const PREFIX: &str = "common:streams:";
/// Key prefix of the baseline's large registry.
pub(crate) const LARGE: &str = "larger:commons:";

/// A record as the baseline decodes it.
#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "only the cost of decoding matters")]
pub(crate) struct Record {
    pub(crate) id: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) source_addr: String,
    pub(crate) status: String,
    pub(crate) created_at: String,
    pub(crate) last_heartbeat: String,
    pub(crate) video_codec: String,
    pub(crate) resolution: String,
    pub(crate) bitrate: u64,
    pub(crate) frame_rate: f64,
    pub(crate) bytes_received: u64,
    pub(crate) packets_received: u64,
    pub(crate) packets_lost: u64,
}

/// SHA-1 hashes of the loaded scripts.
#[derive(Debug)]
struct Hashes {
    heartbeat: String,
    status: String,
    stats: String,
    list: String,
}

/// A caller with its own connection.
#[derive(Clone)]
pub(crate) struct Caller {
    connection: MultiplexedConnection,
    hashes: Arc<Hashes>,
    prefix: &'static str,
    ttl_ms: u64,
}

impl Caller {
    /// Loads the scripts and connects `count` callers that use this key prefix.
    pub(crate) async fn connect(url: &str, count: usize, prefix: &'static str, ttl_ms: u64) -> Result<Vec<Self>> {
        let mut first = server::connect(url).await?;
        let mut hashes = Vec::new();
        for script in [HEARTBEAT, STATUS, STATS, LIST] {
            hashes.push(redis::cmd("SCRIPT").arg("LOAD").arg(script).query_async::<String>(&mut first).await?);
        }
        let [heartbeat, status, stats, list] =
            <[String; 4]>::try_from(hashes).map_err(|_| "some scripts were not loaded")?;
        let hashes = Arc::new(Hashes { heartbeat, status, stats, list });
        let mut callers = Vec::with_capacity(count);
        for _ in 0..count {
            let connection = server::connect(url).await?;
            callers.push(Self { connection, hashes: Arc::clone(&hashes), prefix, ttl_ms });
        }
        Ok(callers)
    }

    fn heartbeat_command(&self, id: &str) -> Cmd {
        self.command(&self.hashes.heartbeat, id)
    }

    fn command(&self, hash: &str, id: &str) -> Cmd {
        let mut command = redis::cmd("EVALSHA");
        command.arg(hash).arg(1).arg([self.prefix, id].concat()).arg(self.ttl_ms).arg(Timestamp::now().to_string());
        command
    }

    async fn run(&mut self, command: &Cmd) -> Result<()> {
        Ok(command.query_async(&mut self.connection).await?)
    }

    pub(crate) async fn heartbeat(&mut self, id: &str) -> Result<()> {
        let command = self.heartbeat_command(id);
        self.run(&command).await
    }

    pub(crate) async fn status(&mut self, id: &str, status: &StreamStatus) -> Result<()> {
        let mut command = self.command(&self.hashes.status, id);
        command.arg(status.as_str());
        self.run(&command).await
    }

    pub(crate) async fn stats(&mut self, id: &str, stats: &StreamStats) -> Result<()> {
        let mut command = self.command(&self.hashes.stats, id);
        for count in [stats.bytes_received, stats.packets_received, stats.packets_lost, stats.bitrate] {
            command.arg(count.unwrap_or(0));
        }
        self.run(&command).await
    }

    /// Sends heartbeats for many streams in one pipeline, with one script call per stream.
    pub(crate) async fn heartbeats(&mut self, ids: &[&str]) -> Result<()> {
        let mut pipeline = redis::pipe();
        for id in ids {
            pipeline.add_command(self.heartbeat_command(id)).ignore();
        }
        Ok(pipeline.query_async(&mut self.connection).await?)
    }

    pub(crate) async fn get(&mut self, id: &str) -> Result<Record> {
        let json: Vec<u8> = redis::cmd("GET").arg([self.prefix, id].concat()).query_async(&mut self.connection).await?;
        Ok(serde_json::from_slice(&json)?)
    }

    pub(crate) async fn list(&mut self) -> Result<Vec<Record>> {
        let mut command = redis::cmd("EVALSHA");
        command.arg(&self.hashes.list).arg(1).arg([self.prefix, "active"].concat()).arg(self.prefix);
        let records: Vec<Vec<u8>> = command.query_async(&mut self.connection).await?;
        records.iter().map(|json| Ok(serde_json::from_slice(json)?)).collect()
    }

    /// Registers a stream with plain commands, as the reference B of the table.
    pub(crate) async fn register(&mut self, id: &str, json: &str) -> Result<()> {
        let mut set = redis::cmd("SET");
        set.arg([self.prefix, id].concat()).arg(json).arg("NX").arg("PX").arg(self.ttl_ms);
        self.run(&set).await?;
        let mut add = redis::cmd("SADD");
        add.arg([self.prefix, "active"].concat()).arg(id);
        self.run(&add).await
    }

    /// Unregisters a stream with plain commands, as the reference B of the table.
    pub(crate) async fn unregister(&mut self, id: &str) -> Result<()> {
        let mut del = redis::cmd("DEL");
        del.arg([self.prefix, id].concat());
        self.run(&del).await?;
        let mut remove = redis::cmd("SREM");
        remove.arg([self.prefix, "active"].concat()).arg(id);
        self.run(&remove).await
    }

    /// Stores the records under the key prefix. Sends one heartbeat for each record, so that cjson has encoded the record
    /// once.
    pub(crate) async fn load(&mut self, records: &[(String, String)]) -> Result<()> {
        for records in records.chunks(500) {
            let mut pipeline = redis::pipe();
            for (id, json) in records {
                let key = [self.prefix, id].concat();
                pipeline.cmd("SET").arg(key).arg(json).arg("PX").arg(self.ttl_ms).ignore();
                pipeline.cmd("SADD").arg([self.prefix, "active"].concat()).arg(id).ignore();
                pipeline.add_command(self.heartbeat_command(id)).ignore();
            }
            pipeline.query_async::<()>(&mut self.connection).await?;
        }
        Ok(())
    }
}
