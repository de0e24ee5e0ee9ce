//! `set`: sets the status, statistics and descriptive fields of one stream.

use clap::{ArgGroup, Args};
use stream_registry::stream::LabelsPatch;
use stream_registry::{Change, ErrorKind, Guard, Registry, StreamId, StreamPatch, StreamStats, StreamStatus, Write};

use super::failure::{Failure, Result, Status};
use super::input;
use super::output::Output;

/// Arguments of `set`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  streamreg set cam1 --status active
  streamreg set cam1 --bitrate 5M --packets-lost 12
  streamreg set cam1 --video-codec HEVC --resolution 1920x1080
  streamreg set cam1 --label tenant=acme --remove-label event

Other fields keep their values. Fractions are rounded to the nearest integer.")]
#[command(override_usage = "streamreg set <ID> [OPTIONS]")]
#[command(group(ArgGroup::new("changes").required(true).multiple(true)))]
pub struct SetArgs {
    /// Id of the stream
    #[arg(value_name = "ID")]
    pub id: StreamId,

    /// Status: connecting, active, paused, error, closed or another name
    #[arg(long, group = "changes")]
    pub status: Option<StreamStatus>,

    /// Bytes received since the stream began
    #[arg(long, value_name = "N", group = "changes", allow_negative_numbers = true, value_parser = input::count)]
    pub bytes_received: Option<u64>,

    /// Packets received since the stream began
    #[arg(long, value_name = "N", group = "changes", allow_negative_numbers = true, value_parser = input::count)]
    pub packets_received: Option<u64>,

    /// Packets lost since the stream began; a negative number is 0
    #[arg(long, value_name = "N", group = "changes", allow_negative_numbers = true, value_parser = input::lost)]
    pub packets_lost: Option<u64>,

    /// Bits per second, e.g. 800k, 5M or 1.2G
    #[arg(long, value_name = "N", group = "changes", allow_negative_numbers = true, value_parser = input::bitrate)]
    pub bitrate: Option<u64>,

    /// Video codec, e.g. HEVC; an empty value clears it
    #[arg(long, value_name = "CODEC", group = "changes", value_parser = input::string)]
    pub video_codec: Option<String>,

    /// Width and height, e.g. 1920x1080; an empty value clears it
    #[arg(long, value_name = "WxH", group = "changes", value_parser = input::string)]
    pub resolution: Option<String>,

    /// Frames per second
    #[arg(long, value_name = "F", group = "changes", allow_negative_numbers = true, value_parser = input::rate)]
    pub frame_rate: Option<f64>,

    /// Label to set, name=value; the value may be empty; this option may be repeated
    #[arg(long = "label", value_name = "NAME=VALUE", group = "changes", value_parser = input::label)]
    pub labels: Vec<(String, String)>,

    /// Label to remove; may be repeated
    #[arg(long = "remove-label", value_name = "NAME", group = "changes", value_parser = input::label_name)]
    pub remove_labels: Vec<String>,

    /// Write even if the stream is leased
    #[arg(long)]
    pub force: bool,
}

/// The changes to write. Their arguments have been checked as far as possible without a store.
#[derive(Debug)]
pub struct Plan {
    id: StreamId,
    guard: Guard,
    patch: StreamPatch,
    stats: StreamStats,
    status: Option<StreamStatus>,
}

impl SetArgs {
    /// Checks the changes.
    ///
    /// # Errors
    ///
    /// Returns a usage error if an argument is invalid.
    pub fn prepare(&self) -> Result<Plan> {
        let mut patch = StreamPatch {
            video_codec: self.video_codec.clone(),
            resolution: self.resolution.clone(),
            frame_rate: self.frame_rate,
            ..StreamPatch::default()
        };
        let mut labels: std::collections::BTreeMap<_, _> =
            input::labels(&self.labels)?.into_iter().map(|(name, value)| (name, Some(value))).collect();
        for name in &self.remove_labels {
            if let Some(Some(_)) = labels.insert(name.clone(), None) {
                return Err(Failure::usage(format_args!("label {name} is both set and removed; choose one")));
            }
        }
        if !labels.is_empty() {
            patch.labels = LabelsPatch::Merge(labels);
        }
        patch.check().map_err(|error| Failure::argument(&error))?;
        let stats = StreamStats {
            bytes_received: self.bytes_received,
            packets_received: self.packets_received,
            packets_lost: self.packets_lost,
            bitrate: self.bitrate,
            ..StreamStats::default()
        };
        Ok(Plan { id: self.id.clone(), guard: input::guard(self.force), patch, stats, status: self.status.clone() })
    }
}

/// Writes all changes in one call.
///
/// # Errors
///
/// Returns `NotFound` if no live stream has the id, or `Conflict` if another process holds its lease. Also fails if the
/// store returns another error.
pub async fn run(registry: &dyn Registry, plan: &Plan, out: &mut Output<'_>) -> Result {
    let mut changes = Vec::with_capacity(3);
    // Write the patch first. Only the patch can fail because of the record's content: the record may already have the
    // maximum of 64 labels.
    if !plan.patch.is_empty() {
        changes.push(Change::Patch(Box::new(plan.patch.clone())));
    }
    if !plan.stats.is_empty() {
        changes.push(Change::Stats(Box::new(plan.stats.clone())));
    }
    changes.extend(plan.status.clone().map(Change::Status));
    let writes: Vec<_> =
        changes.into_iter().map(|change| Write { id: plan.id.clone(), guard: plan.guard.clone(), change }).collect();
    let results = registry.write(&writes).await.map_err(|error| out.failure(&error))?;
    let mut worst = Status::Done;
    let mut reported: Vec<ErrorKind> = Vec::new();
    for (write, result) in writes.iter().zip(&results) {
        let Err(error) = result else { continue };
        // If the stream is missing, all changes fail with the same error. Report that error only once.
        if reported.contains(&error.kind()) {
            continue;
        }
        reported.push(error.kind());
        let mut failure = out.failure(error);
        if results.iter().any(std::result::Result::is_ok) {
            let which = write.change.operation();
            failure.message =
                failure.message.map(|message| format!("{message}; all changes except the {which} were applied"));
        }
        worst = worst.worst(out.report(&failure));
    }
    worst.into_result()
}
