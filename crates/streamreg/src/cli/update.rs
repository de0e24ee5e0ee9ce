//! `update`: replaces a whole record.

use std::io::Read;
use std::path::PathBuf;

use clap::Args;
use stream_registry::{Change, Guard, Registry, Stream, Write};

use super::failure::Result;
use super::input;
use super::output::Output;

/// Arguments of `update`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  streamreg update --json cam1.json
  streamreg get cam1 --output json | sed s/HEVC/AV1/ | streamreg update --json -

created_at and the epoch do not change; last_heartbeat becomes the current time.")]
pub struct UpdateArgs {
    /// File with the whole record as JSON, or - for standard input
    #[arg(long, value_name = "FILE")]
    pub json: PathBuf,

    /// Write even if the stream is leased
    #[arg(long)]
    pub force: bool,
}

/// A replacement record that has been checked as far as possible without a store.
#[derive(Debug)]
pub struct Plan {
    stream: Stream,
    guard: Guard,
}

impl Plan {
    /// Returns the stream.
    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }
}

impl UpdateArgs {
    /// Reads the record and checks it.
    ///
    /// # Errors
    ///
    /// Returns a usage error if the record cannot be read or is invalid.
    pub fn prepare(&self, stdin: &mut dyn Read) -> Result<Plan> {
        let json = input::read_json(&self.json, stdin)?;
        let stream = Stream::from_json(&json).map_err(|error| input::invalid_json(&self.json, &error))?;
        Ok(Plan { stream, guard: input::guard(self.force) })
    }
}

/// Replaces the record.
///
/// # Errors
///
/// Returns `NotFound` if no live stream has the id, or `Conflict` if another process holds its lease. Also fails if the
/// store returns another error.
pub async fn run(registry: &dyn Registry, plan: &Plan, out: &mut Output<'_>) -> Result {
    let write = Write {
        id: plan.stream.id.clone(),
        guard: plan.guard.clone(),
        change: Change::Update(Box::new(plan.stream.clone())),
    };
    registry.write_one(write).await.map_err(|error| out.failure(&error))
}
