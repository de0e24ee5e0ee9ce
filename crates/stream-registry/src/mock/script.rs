//! What a mock registry was told to do, and what it was asked to do.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::registry::Operation;
use crate::stream::StreamId;

/// A call that a mock registry answered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Call {
    /// The operation.
    pub operation: Operation,
    /// The stream, where the call was about one.
    pub stream_id: Option<StreamId>,
    /// How it was answered.
    pub outcome: Result<(), ErrorKind>,
}

/// How a call fails.
#[derive(Debug)]
pub(super) enum Fault {
    /// Nothing happens.
    Before(Error),
    /// The change is made.
    After(Error),
}

#[derive(Debug, Default)]
pub(super) struct Script {
    /// For the next calls of each operation, in their order.
    faults: HashMap<Operation, VecDeque<Fault>>,
    delays: HashMap<Operation, Duration>,
    /// Answered calls; read by `calls`.
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

    pub(super) fn remember<T>(&mut self, operation: Operation, id: Option<&StreamId>, answer: &Result<T>) {
        let outcome = answer.as_ref().map(|_| ()).map_err(Error::kind);
        self.calls.push(Call { operation, stream_id: id.cloned(), outcome });
    }
}
