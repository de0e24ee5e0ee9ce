//! Opaque strings: epochs, revisions, cursors, operation ids and end reasons.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::check;
use super::invalid::{InvalidValue, Result};

macro_rules! opaque {
    ($(#[$doc:meta])* $name:ident, $subject:literal, $max:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Returns the string.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidValue;

            fn from_str(string: &str) -> Result<Self> {
                if string.is_empty() || string.len() > $max || !string.bytes().all(|b| b.is_ascii_graphic()) {
                    return Err(InvalidValue::new(concat!(
                        "the ", $subject, " must have 1 to ", $max, " visible ASCII characters"
                    )));
                }
                Ok(Self(string.into()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
    };
}

opaque! {
    /// The epoch of a lease: a unique string that proves who holds the stream.
    ///
    /// A later epoch of the same stream is greater in byte order.
    Epoch, "epoch", 128
}
opaque! {
    /// A position in the change feed; see [`WatchFrom::Revision`](crate::watch::WatchFrom::Revision).
    Revision, "revision", 5120
}
opaque! {
    /// The position at which the next page of a list begins. Only stores of the same kind accept it.
    Cursor, "cursor", 1024
}
opaque! {
    /// The id of one call. If a call is sent twice with the same id, the store executes it only once.
    OperationId, "operation id", 128
}

impl OperationId {
    /// Generates a random id of 128 bits.
    pub fn generate() -> Self {
        Self(format!("{:032x}", fastrand::u128(..)).into())
    }
}

/// The reason why a stream ended; `end_reason` in its last record. A reason has at most 1 KiB. The default is no
/// reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct EndReason(Option<Arc<str>>);

impl EndReason {
    /// Returns the reason; `None` if no reason was given.
    pub fn as_str(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

impl FromStr for EndReason {
    type Err = InvalidValue;

    fn from_str(reason: &str) -> Result<Self> {
        check::string("reason", reason)?;
        Ok(Self((!reason.is_empty()).then(|| reason.into())))
    }
}
