//! The words for types and statuses, some of which may be unknown to this version.

use std::fmt;
use std::sync::Arc;

use super::invalid::{InvalidValue, Result};
use super::limits::MAX_TOKEN_BYTES;

/// A type or status that is unknown to this version.
///
/// Only the parsers of [`StreamType`](super::StreamType) and [`StreamStatus`](super::StreamStatus) create a
/// `Token`, so the variant `Other` never holds a known word.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(Arc<str>);

impl Token {
    pub(super) fn stored(token: &str) -> Self {
        Self(token.into())
    }

    /// Returns the word.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// Checks a type or status that a caller gives. A stored type or status may be any string.
pub(super) fn check(subject: &str, token: &str) -> Result<()> {
    if token.is_empty() || token.len() > MAX_TOKEN_BYTES || token.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(InvalidValue::new(format!(
            "the {subject} must have 1 to {MAX_TOKEN_BYTES} bytes without white space or control characters"
        )));
    }
    Ok(())
}

/// Declares an enum of known words, with `Other(Token)` for all other words.
macro_rules! word_enum {
    ($(#[$doc:meta])* $name:ident, $subject:literal, { $($(#[$vdoc:meta])* $variant:ident = $token:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$vdoc])* $variant,)+
            /// Any other word, unchanged.
            Other(super::token::Token),
        }

        impl $name {
            /// Returns the word in the record.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $token,)+
                    Self::Other(token) => token.as_str(),
                }
            }

            /// Reads a stored word, which may be any string.
            pub(crate) fn stored(token: &str) -> Self {
                match token {
                    $($token => Self::$variant,)+
                    other => Self::Other(super::token::Token::stored(other)),
                }
            }

            /// Checks the limits of a word that a caller gives.
            pub(crate) fn check(&self) -> $crate::stream::invalid::Result<()> {
                super::token::check($subject, self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::stream::InvalidValue;

            fn from_str(token: &str) -> $crate::stream::invalid::Result<Self> {
                super::token::check($subject, token)?;
                Ok(Self::stored(token))
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}
pub(super) use word_enum;
