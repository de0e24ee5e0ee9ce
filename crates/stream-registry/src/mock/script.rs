//! The scripted errors and delays of a mock registry, and the calls that it recorded.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::registry::Operation;
use crate::stream::StreamId;

/// A completed call of a mock registry.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Call {
    /// The operation.
    pub operation: Operation,
    /// The id of the stream, if the call was about a single stream.
    pub stream_id: Option<StreamId>,
    /// The result: the kind of the error if the call failed.
    pub outcome: Result<(), ErrorKind>,
}

/// A scripted error.
#[derive(Debug)]
pub(super) enum Fault {
    /// The call fails without a change.
    Before(Error),
    /// The call fails after its change was applied.
    After(Error),
}

#[derive(Debug, Default)]
pub(super) struct Script {
    /// The scripted errors for the next calls of each operation, in order.
    faults: HashMap<Operation, VecDeque<Fault>>,
    delays: HashMap<Operation, Duration>,
    /// The completed calls.
    pub(super) calls: Vec<Call>,
}

impl Script {
    pub(super) fn push(&mut self, operation: Operation, fault: Fault) {
        self.faults.entry(operation).or_default().push_back(fault);
    }

    pub(super) fn pop(&mut self, operation: Operation) -> Option<Fault> {
        self.faults.get_mut(&operation)?.pop_front()
    }

    pub(super) fn delay(&mut self, operation: Operation, by: Duration) {
        self.delays.insert(operation, by);
    }

    pub(super) fn delay_of(&self, operation: Operation) -> Duration {
        self.delays.get(&operation).copied().unwrap_or_default()
    }

    pub(super) fn record<T>(&mut self, operation: Operation, id: Option<&StreamId>, answer: &Result<T>) {
        let outcome = answer.as_ref().map(|_| ()).map_err(Error::kind);
        self.calls.push(Call { operation, stream_id: id.cloned(), outcome });
    }
}
