//! Values that other programs use and this one only carries.

use std::fmt;
use std::sync::Arc;

use super::invalid::{InvalidValue, Result};
use super::limits::MAX_TOKEN_BYTES;

/// A type or status that this version does not know, kept as it is.
///
/// Only the parsers of [`StreamType`](super::StreamType) and [`StreamStatus`](super::StreamStatus)
/// make one, so a known value never hides in `Other`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(Arc<str>);

impl Token {
    pub(super) fn stored(text: &str) -> Self {
        Self(text.into())
    }

    /// Returns the token as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// Checks a type or status that a caller gives; stored ones are read as they are.
pub(super) fn check(what: &str, text: &str) -> Result<()> {
    if text.is_empty() || text.len() > MAX_TOKEN_BYTES || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(InvalidValue::new(format!(
            "the {what} must have 1 to {MAX_TOKEN_BYTES} bytes without blanks or control characters"
        )));
    }
    Ok(())
}

/// Declares an enum of known words with `Other(Token)` for all others.
macro_rules! word_enum {
    ($(#[$doc:meta])* $name:ident, $what:literal, { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$vdoc])* $variant,)+
            /// Any other word, kept as it is.
            Other(super::Token),
        }

        impl $name {
            /// Returns the word as records carry it.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $word,)+
                    Self::Other(token) => token.as_str(),
                }
            }

            /// Reads a stored word, whatever it is.
            pub(crate) fn stored(text: &str) -> Self {
                match text {
                    $($word => Self::$variant,)+
                    other => Self::Other(super::Token::stored(other)),
                }
            }

            /// Checks the limits for a word that a caller gives.
            pub(crate) fn check(&self) -> $crate::stream::invalid::Result<()> {
                super::token::check($what, self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::stream::InvalidValue;

            fn from_str(text: &str) -> $crate::stream::invalid::Result<Self> {
                super::token::check($what, text)?;
                Ok(Self::stored(text))
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
