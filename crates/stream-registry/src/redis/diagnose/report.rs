//! The result of a diagnosis: its findings, and what they are about.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::error::{Error, ErrorKind, Result};

/// The result of a diagnosis.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Diagnosis {
    /// All findings, grouped by topic.
    pub findings: Vec<Finding>,
}

impl Diagnosis {
    /// Returns the findings of a severity.
    pub fn of(&self, severity: Severity) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(move |finding| finding.severity == severity)
    }

    /// Returns the severity of the worst finding. Parts that were not checked do not count.
    pub fn worst(&self) -> Severity {
        let found = self.findings.iter().map(|finding| finding.severity);
        found.filter(|severity| *severity != Severity::Unchecked).max().unwrap_or(Severity::Ok)
    }
}

/// One finding of a diagnosis.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// The part of the store that was checked.
    pub code: Code,
    /// How serious the finding is.
    pub severity: Severity,
    /// Address of the server that was checked. In a cluster, also of the node that has the shard that the message
    /// names. `None` if the finding is about the store as a whole.
    pub server: Option<String>,
    /// What was found.
    pub message: String,
    /// What to do about it. `None` if nothing needs to be done.
    pub remedy: Option<String>,
}

/// How serious a finding is. The order is from harmless to serious.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Severity {
    /// Nothing needs to be done.
    Ok,
    /// This part was not checked, e.g. because the Redis user lacks a right. The remedy names the right.
    Unchecked,
    /// The store works, but may lose streams or stop working.
    Warning,
    /// The store loses streams or rejects calls, or will do so at the next failover.
    Error,
}

impl Severity {
    /// Returns the severity as a stable lower-case word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unchecked => "unchecked",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Declares the codes with their words and topics, so that the list of all codes is complete.
macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $word:literal, $topic:literal;)+) => {
        /// The part of a store that a finding is about.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Code {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Code {
            /// All codes, in the order in which a diagnosis reports them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// Returns the code as a stable lower-case word.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)+ }
            }

            /// Returns the topic by which findings are grouped.
            pub fn topic(self) -> &'static str {
                match self { $(Self::$name => $topic,)+ }
            }
        }
    };
}

codes! {
    /// The version of the server.
    Version = "version", "server";
    /// The topology of the store, and whether the server is a primary or a replica.
    Role = "role", "server";
    /// The reply to `INFO`, which many checks need.
    Info = "info", "server";
    /// The settings of the server, which some checks need.
    Settings = "settings", "server";
    /// Open connections compared with `maxclients`.
    Connections = "connections", "server";
    /// What Redis deletes if its memory is full.
    EvictionPolicy = "eviction_policy", "memory";
    /// Used memory compared with `maxmemory`.
    Memory = "memory", "memory";
    /// What a restart of the server loses.
    Persistence = "persistence", "persistence";
    /// Whether the last save to disk succeeded.
    LastSave = "last_save", "persistence";
    /// The link of a replica to its primary.
    PrimaryLink = "primary_link", "replication";
    /// The replicas, their state and their lag.
    Replicas = "replicas", "replication";
    /// How many replicas a write needs.
    MinReplicas = "min_replicas", "replication";
    /// Whether this machine could use a replica after a failover.
    ReplicaAccess = "replica_access", "replication";
    /// The Sentinels of the store URL: how many answer, and whether they agree.
    Sentinels = "sentinels", "sentinel";
    /// Whether the Sentinels can start a failover.
    Quorum = "quorum", "sentinel";
    /// The nodes of the cluster: which are down, and whether the others can replace them.
    Nodes = "nodes", "cluster";
    /// What each node says about the state of the cluster.
    ClusterState = "cluster_state", "cluster";
    /// Whether a cluster with a part that is down still serves the rest.
    FullCoverage = "full_coverage", "cluster";
    /// How the shards are spread over the primaries.
    Balance = "shard_balance", "cluster";
    /// The stored number of shards, and the function that assigns streams to them.
    Layout = "layout", "cluster";
    /// Whether the announced addresses match the certificates.
    HostNames = "host_names", "tls";
    /// The clock of this machine compared with the server's.
    LocalClock = "local_clock", "clock";
    /// The clocks of the replicas compared with the primary's.
    ReplicaClock = "replica_clock", "clock";
    /// The roles that the Redis user has the rights for.
    Rights = "rights", "rights";
    /// Ids in the index without a record.
    WithoutRecord = "index_without_record", "index";
    /// Records that are missing from the index.
    NotInIndex = "record_not_in_index", "index";
    /// Records that cannot be decoded.
    Unreadable = "unreadable_records", "index";
    /// Keys that never expire although they should.
    WithoutTtl = "keys_without_ttl", "index";
    /// Another registry whose prefix begins with the prefix of this one.
    NestedPrefix = "nested_prefix", "index";
    /// Keys with the prefix of the registry that are in none of its shards.
    OutsideShards = "keys_outside_shards", "index";
    /// Whether all keys were read.
    KeyLimit = "key_limit", "index";
    /// The change feed: its length, its metadata and the age of its oldest event.
    Feed = "feed", "feed";
    /// Whether a process reports expired streams.
    Sweep = "sweep", "feed";
    /// The round-trip time of `PING`.
    Latency = "latency", "speed";
    /// Calls of this software that Redis has logged as slow.
    SlowLog = "slow_log", "speed";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Collects findings.
#[derive(Default)]
pub(super) struct Report {
    findings: Vec<Finding>,
    /// Address of the server that is being checked.
    server: Option<String>,
}

impl Report {
    /// Sets the server that the next findings are about.
    pub(super) fn about(&mut self, server: Option<String>) {
        self.server = server;
    }

    /// Adds a complete finding.
    pub(super) fn push(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// Returns whether there is a finding about a part.
    pub(super) fn has(&self, code: Code) -> bool {
        self.findings.iter().any(|finding| finding.code == code)
    }

    /// Returns all findings in the order in which they were added.
    pub(super) fn into_findings(self) -> Vec<Finding> {
        self.findings
    }

    pub(super) fn ok(&mut self, code: Code, message: impl Into<String>) {
        let server = self.server.clone();
        self.findings.push(Finding { code, severity: Severity::Ok, server, message: message.into(), remedy: None });
    }

    pub(super) fn warning(&mut self, code: Code, message: impl Into<String>, remedy: impl Into<String>) {
        self.finding(code, Severity::Warning, message, remedy);
    }

    pub(super) fn error(&mut self, code: Code, message: impl Into<String>, remedy: impl Into<String>) {
        self.finding(code, Severity::Error, message, remedy);
    }

    /// Adds a finding whose severity was computed.
    pub(super) fn finding(
        &mut self,
        code: Code,
        severity: Severity,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let (server, message, remedy) = (self.server.clone(), message.into(), Some(remedy.into()));
        self.findings.push(Finding { code, severity, server, message, remedy });
    }

    /// Notes that a part was not checked because the user lacks `rights`.
    pub(super) fn unchecked(&mut self, code: Code, part: &str, rights: &str) {
        self.finding(code, Severity::Unchecked, format!("not checked: {part}"), format!("grant {rights}"));
    }

    /// Returns the value of an answer. If the server does not allow the question or does not know the command, notes
    /// that the part was not checked.
    pub(super) fn allowed<T>(&mut self, code: Code, part: &str, rights: &str, answer: Result<T>) -> Result<Option<T>> {
        match answer {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.kind() == ErrorKind::Denied => {
                self.unchecked(code, part, rights);
                Ok(None)
            }
            Err(error) if is_refused(&error) => {
                let remedy = "the server does not have the command; remove rename-command from its configuration";
                self.finding(code, Severity::Unchecked, format!("not checked: {part}"), remedy);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Returns the diagnosis, sorted by topic. Findings of one topic stay in their order.
    pub(super) fn finish(self) -> Diagnosis {
        let mut findings = self.findings;
        let rank = |code: Code| Code::ALL.iter().position(|one| one.topic() == code.topic());
        findings.sort_by_key(|finding| rank(finding.code));
        Diagnosis { findings }
    }
}

/// Returns whether the server refuses to run a command for this user, or does not have the command.
pub(super) fn is_refused(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Denied | ErrorKind::Unsupported)
}

/// Returns the severity of the worst finding of a check. `None` if the check has found nothing.
#[cfg(test)]
pub(super) fn worst(check: impl Fn(&mut Report)) -> Option<Severity> {
    let mut report = Report::default();
    check(&mut report);
    report.finish().findings.into_iter().map(|finding| finding.severity).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn diagnosis_is_grouped_by_topic_and_knows_its_worst_finding() {
        let mut report = Report::default();
        report.ok(Code::Latency, "fast");
        report.warning(Code::Memory, "full", "raise it");
        report.ok(Code::Version, "7");
        report.unchecked(Code::SlowLog, "the slow log", "+slowlog|get");
        let diagnosis = report.finish();
        let codes: Vec<_> = diagnosis.findings.iter().map(|finding| finding.code).collect();
        assert_eq!(codes, [Code::Version, Code::Memory, Code::Latency, Code::SlowLog]);
        assert_eq!(diagnosis.worst(), Severity::Warning);
        assert_eq!(diagnosis.of(Severity::Unchecked).count(), 1);
        let json = serde_json::to_value(&diagnosis.findings[3]).unwrap();
        assert_eq!((&json["code"], &json["severity"]), (&"slow_log".into(), &"unchecked".into()));
        let unchecked = Diagnosis { findings: diagnosis.findings[3..].to_vec() };
        assert_eq!(unchecked.worst(), Severity::Ok);
    }

    #[test]
    fn error_of_a_refused_command_becomes_an_unchecked_part() {
        let mut report = Report::default();
        for kind in [ErrorKind::Denied, ErrorKind::Unsupported] {
            let answer: Result<()> = Err(Error::new(kind, "no"));
            assert_eq!(report.allowed(Code::Info, "x", "+info", answer).unwrap(), None);
        }
        let lost: Result<()> = Err(Error::new(ErrorKind::Unavailable, "lost"));
        assert!(report.allowed(Code::Info, "x", "+info", lost).is_err());
        assert_eq!(report.finish().of(Severity::Unchecked).count(), 2);
    }
}
