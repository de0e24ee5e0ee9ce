//! `update`: replaces a whole record.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use stream_registry::stream::InvalidValue;
use stream_registry::{Change, Guard, Registry, Stream, Write};

use super::failure::{Failure, Result};
use super::heartbeat::guard;
use super::input;
use super::output::Output;

/// Arguments of `update`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  streamreg update --json cam1.json
  streamreg get cam1 --output json | sed 's/HEVC/AV1/' | streamreg update --json -

created_at and the epoch stay as they are, last_heartbeat becomes now.")]
pub struct UpdateArgs {
    /// A file with the whole record as JSON, - for standard input
    #[arg(long, value_name = "FILE")]
    pub json: PathBuf,

    /// Write to a leased stream too
    #[arg(long)]
    pub force: bool,
}

/// A replacement that was checked as far as it can be without a store.
#[derive(Debug)]
pub struct Plan {
    stream: Stream,
    guard: Guard,
}

impl UpdateArgs {
    /// Reads the record and checks it.
    ///
    /// # Errors
    ///
    /// Usage errors.
    pub fn prepare(&self, stdin: &mut dyn Read) -> Result<Plan> {
        let text = input::read_json(&self.json, stdin)?;
        let stream = Stream::from_json(&text).map_err(|error| json_fault(&self.json, &error))?;
        Ok(Plan { stream, guard: guard(self.force) })
    }
}

/// Words what is wrong with the record in a file.
pub(super) fn json_fault(file: &Path, invalid: &InvalidValue) -> Failure {
    let name = if file == Path::new("-") { "standard input".into() } else { file.display().to_string() };
    Failure::usage(format_args!("--json: {name}: {}", invalid.message()))
}

/// Replaces the record.
///
/// # Errors
///
/// Not found, not the holder, and where the store fails.
pub async fn run(registry: &dyn Registry, plan: &Plan, out: &mut Output<'_>) -> Result {
    let write = Write {
        id: plan.stream.id.clone(),
        guard: plan.guard.clone(),
        change: Change::Update(Box::new(plan.stream.clone())),
    };
    let answers = registry.write(&[write]).await.map_err(|error| out.failure(&error))?;
    answers.into_iter().try_for_each(|answer| answer.map_err(|error| out.failure(&error)))
}
