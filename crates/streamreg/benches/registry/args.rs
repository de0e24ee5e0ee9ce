//! Command-line arguments of the benchmark.

use std::time::Duration;

use crate::Result;

/// Arguments that select the rows, the length of a round and the output format.
#[derive(Clone, Debug, Default)]
pub(crate) struct Args {
    /// Set by `cargo bench`; without it, nothing is measured.
    pub(crate) bench: bool,
    /// Short rounds that check that everything works; ignore the figures.
    pub(crate) quick: bool,
    /// Print the table as Markdown for `docs/performance.md`.
    pub(crate) markdown: bool,
    /// Measure only rows whose name contains one of these strings; empty for all rows.
    pub(crate) names: Vec<String>,
    /// Mode of a child process: fill a memory store with this many streams and print the bytes per stream.
    pub(crate) fill_memory: Option<usize>,
    /// Mode of a child process: serve lists of this many streams from a memory store.
    pub(crate) serve_lists: Option<usize>,
    /// Mode of a child process: hold leases in the store at this URL and print their cost.
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
                    } else if let Some(count) = other.strip_prefix("--serve-lists=") {
                        args.serve_lists = Some(count.parse()?);
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

    /// Returns whether to measure the row with this name.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|part| name.contains(part.as_str()))
    }

    /// Returns whether to measure any row that needs Redis.
    pub(crate) fn wants_redis(&self) -> bool {
        self.names.is_empty()
            || self.names.iter().any(|part| !["memory store", "lists"].iter().any(|row| row.contains(part.as_str())))
    }

    /// Number of rounds per contender; the contenders of a row alternate.
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
