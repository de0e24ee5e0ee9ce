//! Texts whose content only their maker reads: epochs, revisions, cursors, operation ids, reasons.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::check_text;
use super::invalid::{InvalidValue, Result};

macro_rules! opaque {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Returns the text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidValue;

            fn from_str(text: &str) -> Result<Self> {
                if text.is_empty() || text.len() > $max || !text.bytes().all(|b| b.is_ascii_graphic()) {
                    return Err(InvalidValue::new(concat!(
                        "the ", $what, " must have 1 to ", $max, " visible ASCII characters"
                    )));
                }
                Ok(Self(text.into()))
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
    /// The epoch of a leased registration: unique, and later ones are greater in byte order.
    Epoch, "epoch", 128
}
opaque! {
    /// A place in the change feed.
    Revision, "revision", 256
}
opaque! {
    /// Where the next page of a list begins; good for stores of the kind that made it.
    Cursor, "cursor", 1024
}
opaque! {
    /// Names one call, so that the same call sent twice is done once and answered alike.
    OperationId, "operation id", 128
}

impl OperationId {
    /// Makes a random id of 128 bits.
    pub fn generate() -> Self {
        Self(format!("{:032x}", fastrand::u128(..)).into())
    }
}

/// Why a stream ends; `end_reason` in its last record. At most 1 KiB, empty when nothing is to be said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct EndReason(Option<Arc<str>>);

impl EndReason {
    /// Returns the reason, where one was given.
    pub fn as_str(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

impl FromStr for EndReason {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self> {
        check_text("reason", text)?;
        Ok(Self((!text.is_empty()).then(|| text.into())))
    }
}
