//! The eviction policy of the server, as far as the client knows it. Every policy other than `noeviction` may delete
//! live streams when the server's memory is full.

use std::sync::{Mutex, PoisonError};

/// The server's `maxmemory-policy`, as last read.
#[derive(Debug, Default)]
pub(super) struct Eviction(Mutex<Policy>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Policy {
    /// The policy has not been read yet.
    #[default]
    Unread,
    /// The user may not read the policy, or the server does not support the command.
    Unreadable,
    Known(String),
}

impl Eviction {
    pub(super) fn policy(&self) -> Policy {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set(&self, policy: Policy) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = policy;
    }

    /// Returns a warning if the last policy that was read may delete live streams.
    pub(super) fn warning(&self) -> Option<String> {
        match self.policy() {
            Policy::Known(policy) if policy != "noeviction" => Some(format!(
                "the maxmemory-policy of Redis is {policy}, which may delete live streams; set it to noeviction"
            )),
            _ => None,
        }
    }
}
