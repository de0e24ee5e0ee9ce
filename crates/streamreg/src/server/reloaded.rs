//! The kinds of files that the server reads again when they change.

use std::fmt::{self, Display};

/// A kind of file that the server reads again when it has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReloadedFile {
    /// The access file.
    Access,
    /// The file of a single token.
    Token,
    /// The certificate, its key, or the CA of the clients.
    Tls,
}

impl ReloadedFile {
    pub(super) const ALL: [Self; 3] = [Self::Access, Self::Token, Self::Tls];

    /// Returns the value of the label `file`.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Token => "token",
            Self::Tls => "tls",
        }
    }
}

impl Display for ReloadedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Access => "access file",
            Self::Token => "token file",
            Self::Tls => "TLS file",
        })
    }
}
