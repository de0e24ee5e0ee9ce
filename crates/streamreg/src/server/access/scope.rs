//! Scopes: what a caller may do.

use std::fmt::{self, Display};
use std::str::FromStr;

/// What a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Read streams, events, the history and metrics.
    Read,
    /// Register, update and unregister streams.
    Write,
    /// Read metrics, and the list of ingest nodes for Prometheus.
    Metrics,
    /// Everything, including writes to streams that another client holds.
    Admin,
}

impl Scope {
    pub(crate) const ALL: [Self; 4] = [Self::Read, Self::Write, Self::Metrics, Self::Admin];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Metrics => "metrics",
            Self::Admin => "admin",
        }
    }

    /// Returns whether a caller with this scope may do what `needed` allows.
    fn includes(self, needed: Self) -> bool {
        match self {
            Self::Admin => true,
            // All metrics could be calculated from the streams and the events.
            Self::Read => matches!(needed, Self::Read | Self::Metrics),
            Self::Write | Self::Metrics => self == needed,
        }
    }
}

impl Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let scope = Self::ALL.into_iter().find(|scope| scope.as_str() == name);
        scope.ok_or_else(|| format!("unknown scope; expected {}", Self::ALL.map(Self::as_str).join(", ")))
    }
}

/// Returns whether a caller with these scopes may do what `needed` allows.
pub(super) fn allow(scopes: &[Scope], needed: Scope) -> bool {
    scopes.iter().any(|scope| scope.includes(needed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scope_includes_only_what_the_documentation_lists() {
        let included =
            |scope: Scope| Scope::ALL.into_iter().filter(|needed| scope.includes(*needed)).collect::<Vec<_>>();
        assert_eq!(included(Scope::Read), [Scope::Read, Scope::Metrics]);
        assert_eq!(included(Scope::Write), [Scope::Write]);
        assert_eq!(included(Scope::Metrics), [Scope::Metrics]);
        assert_eq!(included(Scope::Admin), Scope::ALL);
        assert!(!allow(&[], Scope::Metrics));
        assert!("READ".parse::<Scope>().is_err());
    }
}
