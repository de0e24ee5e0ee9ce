//! Parses a server's replies to `INFO` and `CONFIG GET`.

use std::collections::HashMap;

use redis::Value;

use crate::error::Result;
use crate::redis::reply;
use crate::redis::servers::Address;

/// The settings that the checks of a server need.
const SETTINGS: [&str; 8] = [
    "appendfsync",
    "cluster-preferred-endpoint-type",
    "cluster-require-full-coverage",
    "min-replicas-max-lag",
    "min-replicas-to-write",
    "save",
    "stop-writes-on-bgsave-error",
    "slowlog-log-slower-than",
];

/// Named values of a server, from `INFO` or from `CONFIG GET`.
#[derive(Debug, Default)]
pub(super) struct Values(HashMap<String, String>);

/// A replica, as its primary describes it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ReplicaState {
    pub(super) address: Address,
    pub(super) is_online: bool,
    /// Seconds since the primary last received an acknowledgement from the replica.
    pub(super) lag: u64,
}

/// Returns the command whose reply [`Values::from_config`] parses.
pub(super) fn settings() -> redis::Cmd {
    let mut command = redis::cmd("CONFIG");
    command.arg("GET").arg(&SETTINGS);
    command
}

impl Values {
    /// Parses the reply to `INFO`.
    pub(super) fn from_info(answer: Value) -> Result<Self> {
        let text = match answer {
            Value::VerbatimString { text, .. } => text,
            other => String::from_utf8_lossy(&reply::bytes(other)?).into_owned(),
        };
        Ok(Self::parse(&text))
    }

    pub(super) fn parse(text: &str) -> Self {
        let pair = |line: &str| line.split_once(':').map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
        Self(text.lines().filter_map(pair).collect())
    }

    /// Parses the reply to `CONFIG GET`.
    pub(super) fn from_config(answer: &Value) -> Self {
        let pair = |name: &str| reply::field(answer, name).map(|value| (name.to_owned(), value));
        Self(SETTINGS.into_iter().filter_map(pair).collect())
    }

    #[cfg(test)]
    pub(super) fn of(pairs: &[(&str, &str)]) -> Self {
        Self(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    /// Returns a value. Returns an empty string if the server does not report it.
    pub(super) fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// Returns a number. Returns 0 if the server does not report it.
    pub(super) fn number(&self, name: &str) -> u64 {
        self.get(name).parse().unwrap_or(0)
    }

    /// Returns the replicas of a primary.
    pub(super) fn replicas(&self) -> Vec<ReplicaState> {
        let lines = (0..).map_while(|at| self.0.get(&format!("slave{at}")));
        lines.filter_map(|line| replica(line)).collect()
    }
}

/// Parses a line such as `ip=10.0.0.6,port=6379,state=online,offset=42,lag=0`.
fn replica(line: &str) -> Option<ReplicaState> {
    let field = |name: &str| line.split(',').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    Some(ReplicaState {
        address: Address::Tcp(field("ip")?.to_owned(), field("port")?.parse().ok()?),
        is_online: field("state") == Some("online"),
        lag: field("lag").and_then(|lag| lag.parse().ok()).unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn info_lists_replicas_with_their_state() {
        let info = Values::parse(
            "# Replication\r\nrole:master\r\nconnected_slaves:2\r\n\
             slave0:ip=10.0.0.6,port=6379,state=online,offset=42,lag=1\r\n\
             slave1:ip=::1,port=6380,state=wait_bgsave,offset=0,lag=0,type=replica\r\n",
        );
        let replica = |host: &str, port, is_online, lag| {
            let address = Address::Tcp(host.to_owned(), port);
            ReplicaState { address, is_online, lag }
        };
        assert_eq!(info.replicas(), [replica("10.0.0.6", 6379, true, 1), replica("::1", 6380, false, 0)]);
    }
}
