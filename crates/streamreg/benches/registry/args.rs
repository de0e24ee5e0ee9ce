//! Command-line arguments of the benchmark.

use std::time::Duration;

use crate::Result;

/// Arguments that select the rows, the length of a round and the output format.
#[derive(Clone, Debug, Default)]
pub(crate) struct Args {
    /// Whether `cargo bench` started the program. If false, nothing is measured.
    pub(crate) bench: bool,
    /// Whether rounds are short. Short rounds only check that everything works; ignore their figures.
    pub(crate) quick: bool,
    /// Whether to print the table as Markdown for `docs/performance.md`.
    pub(crate) markdown: bool,
    /// Measure only the rows whose names contain one of these strings. If empty, measure all rows.
    pub(crate) names: Vec<String>,
    /// Set only in a child process that fills a memory store with this many streams and prints the bytes per stream.
    pub(crate) fill_memory: Option<usize>,
    /// Set only in a child process that serves this many streams over HTTP.
    pub(crate) serve: Option<usize>,
    /// URL of the Redis server with the streams that the child process serves. If not set, they are in a memory store.
    pub(crate) store: Option<String>,
    /// Set only in a child process that holds leases in the store with this URL and prints the cost of the leases.
    pub(crate) hold_leases: Option<String>,
}

impl Args {
    /// Parses the arguments after the program name.
    pub(crate) fn parse(given: impl Iterator<Item = String>) -> Result<Self> {
        let mut args = Self::default();
        for argument in given {
            match argument.as_str() {
                "--bench" => args.bench = true,
                "--quick" => args.quick = true,
                "--markdown" => args.markdown = true,
                other => {
                    if let Some(count) = other.strip_prefix("--fill-memory=") {
                        args.fill_memory = Some(count.parse()?);
                    } else if let Some(count) = other.strip_prefix("--serve=") {
                        args.serve = Some(count.parse()?);
                    } else if let Some(url) = other.strip_prefix("--store=") {
                        args.store = Some(url.to_owned());
                    } else if let Some(url) = other.strip_prefix("--hold-leases=") {
                        args.hold_leases = Some(url.to_owned());
                    } else if other.starts_with('-') {
                        return Err(format!(
                            "unknown option {other}; expected --quick, --markdown or the names of rows"
                        )
                        .into());
                    } else {
                        args.names.push(argument);
                    }
                }
            }
        }
        Ok(args)
    }

    /// Returns whether the row with this name was selected.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|part| name.contains(part.as_str()))
    }

    /// Returns whether any selected row needs the registries in Redis that most rows share.
    pub(crate) fn wants_shared(&self) -> bool {
        let others = [
            "memory store",
            "valkey",
            "earlier",
            "scale",
            "lists",
            "healthz",
            "http requests",
            "metrics",
            "event readers",
            "server memory",
            "top",
            "departed streams",
        ];
        self.names.is_empty() || self.names.iter().any(|part| !others.iter().any(|row| row.contains(part.as_str())))
    }

    /// Number of rounds per candidate. The candidates of a row take turns.
    pub(crate) fn rounds(&self) -> usize {
        if self.quick { 3 } else { 7 }
    }

    /// Duration of one round.
    pub(crate) fn round(&self) -> Duration {
        Duration::from_millis(if self.quick { 150 } else { 1_000 })
    }

    /// Number of streams in the large registry.
    pub(crate) fn large(&self) -> usize {
        if self.quick { 20_000 } else { 100_000 }
    }
}
