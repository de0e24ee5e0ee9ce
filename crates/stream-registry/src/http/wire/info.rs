//! The server's description: `GET /api/v1/info`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::problem::unexpected_response;
use crate::error::Result;

/// Description of a server.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Info {
    /// Name of the server software: `streamreg`.
    pub name: String,
    /// Version of the server.
    pub version: String,
    /// Kind of store behind the server, such as `memory` or `redis`.
    pub store: String,
    /// Time to live of a stream, in milliseconds.
    pub ttl_ms: u64,
    /// Whether the store rejects every write.
    pub read_only: bool,
    /// A setting of the store that endangers live streams, and what to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

/// Parses the description of a server.
pub(in crate::http) fn read_info(json: &str) -> Result<Info> {
    serde_json::from_str(json).map_err(unexpected_response)
}

/// Returns a duration in whole milliseconds.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
