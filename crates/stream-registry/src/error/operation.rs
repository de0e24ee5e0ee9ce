//! The operations of a registry, as errors, logs and metrics name them.

use std::fmt;

/// An operation of a registry. Errors, logs and metrics use its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// Opening a store.
    Connect,
    /// Registering a stream, under a given or a generated id.
    Register,
    /// Unregistering a stream.
    Unregister,
    /// Applying a batch of writes.
    Write,
    /// Writing a heartbeat.
    Heartbeat,
    /// Setting the status.
    Status,
    /// Setting the statistics.
    Stats,
    /// Changing descriptive fields.
    Patch,
    /// Replacing the whole record.
    Update,
    /// Reading one stream.
    Get,
    /// Reading all streams at once.
    List,
    /// Reading a page of streams.
    ListPage,
    /// Querying live streams.
    Find,
    /// Counting streams in groups.
    Summary,
    /// Listing ended streams.
    History,
    /// Following changes.
    Watch,
    /// Checking that the store responds.
    Ping,
    /// Checking the store and its servers.
    Diagnose,
    /// Repairing the index.
    Repair,
    /// Closing the registry.
    Close,
}

/// All operations, in the order of their declaration.
pub(crate) const OPERATIONS: [Operation; 20] = [
    Operation::Connect,
    Operation::Register,
    Operation::Unregister,
    Operation::Write,
    Operation::Heartbeat,
    Operation::Status,
    Operation::Stats,
    Operation::Patch,
    Operation::Update,
    Operation::Get,
    Operation::List,
    Operation::ListPage,
    Operation::Find,
    Operation::Summary,
    Operation::History,
    Operation::Watch,
    Operation::Ping,
    Operation::Diagnose,
    Operation::Repair,
    Operation::Close,
];

impl Operation {
    /// Returns the operation as a stable lower-case word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Register => "register",
            Self::Unregister => "unregister",
            Self::Write => "write",
            Self::Heartbeat => "heartbeat",
            Self::Status => "status",
            Self::Stats => "stats",
            Self::Patch => "patch",
            Self::Update => "update",
            Self::Get => "get",
            Self::List => "list",
            Self::ListPage => "list_page",
            Self::Find => "find",
            Self::Summary => "summary",
            Self::History => "history",
            Self::Watch => "watch",
            Self::Ping => "ping",
            Self::Diagnose => "diagnose",
            Self::Repair => "repair",
            Self::Close => "close",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
