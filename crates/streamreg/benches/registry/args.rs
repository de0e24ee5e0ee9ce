//! The command line of the benchmark.

use std::time::Duration;

use crate::Result;

/// What to measure, and for how long.
#[derive(Clone, Debug, Default)]
pub(crate) struct Args {
    /// Given by `cargo bench`.
    pub(crate) bench: bool,
    /// Short rounds: shows that everything works, says little about speed.
    pub(crate) quick: bool,
    /// Print the table for the document.
    pub(crate) markdown: bool,
    /// Only rows whose name contains one of these.
    pub(crate) names: Vec<String>,
    /// In a process of its own: fill a memory store and print its size.
    pub(crate) fill_memory: Option<usize>,
    /// In a process of its own: serve lists of so many streams from a memory store.
    pub(crate) serve_lists: Option<usize>,
    /// In a process of its own: hold leases in the store of this URL and print what that costs.
    pub(crate) hold_leases: Option<String>,
}

impl Args {
    pub(crate) fn read(given: impl Iterator<Item = String>) -> Result<Self> {
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
                        return Err(
                            format!("unknown option {other}; there are --quick, --markdown and names of rows").into()
                        );
                    } else {
                        args.names.push(argument);
                    }
                }
            }
        }
        Ok(args)
    }

    /// Whether a row of this name is to be measured.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|part| name.contains(part.as_str()))
    }

    /// Whether any row that needs Redis is to be measured.
    pub(crate) fn wants_redis(&self) -> bool {
        self.names.is_empty()
            || self.names.iter().any(|part| !["memory store", "lists"].iter().any(|row| row.contains(part.as_str())))
    }

    /// How often each contender of a row is measured, in turns.
    pub(crate) fn rounds(&self) -> usize {
        if self.quick { 3 } else { 7 }
    }

    /// How long one measurement lasts.
    pub(crate) fn round(&self) -> Duration {
        Duration::from_millis(if self.quick { 150 } else { 1_000 })
    }

    /// How many streams the large registry has.
    pub(crate) fn large(&self) -> usize {
        if self.quick { 20_000 } else { 100_000 }
    }
}
