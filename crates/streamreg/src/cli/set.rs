//! `set`: status, statistics and descriptive fields of one stream.

use clap::{ArgGroup, Args};
use stream_registry::stream::LabelsPatch;
use stream_registry::{Change, ErrorKind, Guard, Registry, StreamId, StreamPatch, StreamStats, StreamStatus, Write};

use super::failure::{Failure, Result, Status};
use super::heartbeat::{finish, guard};
use super::input;
use super::output::Output;

/// Arguments of `set`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  streamreg set cam1 --status active
  streamreg set cam1 --bitrate 5000000 --packets-lost 12
  streamreg set cam1 --video-codec HEVC --resolution 1920x1080 --frame-rate 29.97 --label tenant=acme

What is not given keeps its value. Of the statistics, those not given are read first and written back: beside a
node that reports its own, a figure may step back until the node's next report.")]
#[command(override_usage = "streamreg set <ID> [OPTIONS]")]
#[command(group(ArgGroup::new("changes").required(true).multiple(true)))]
pub struct SetArgs {
    /// The stream's id
    #[arg(value_name = "ID")]
    pub id: StreamId,

    /// The state: connecting, active, paused, error, closed, or another word
    #[arg(long, group = "changes")]
    pub status: Option<StreamStatus>,

    /// Bytes received since the stream began
    #[arg(long, value_name = "N", group = "changes", allow_negative_numbers = true, value_parser = input::count)]
    pub bytes_received: Option<u64>,

    /// Packets received since the stream began
    #[arg(long, value_name = "N", group = "changes", allow_negative_numbers = true, value_parser = input::count)]
    pub packets_received: Option<u64>,

    /// Packets lost since the stream began
    #[arg(long, value_name = "N", group = "changes", allow_negative_numbers = true, value_parser = input::count)]
    pub packets_lost: Option<u64>,

    /// Bits per second
    #[arg(long, value_name = "N", group = "changes", allow_negative_numbers = true, value_parser = input::count)]
    pub bitrate: Option<u64>,

    /// Video codec, HEVC say; empty clears it
    #[arg(long, value_name = "CODEC", group = "changes", value_parser = input::text)]
    pub video_codec: Option<String>,

    /// Width and height, 1920x1080 say; empty clears it
    #[arg(long, value_name = "WxH", group = "changes", value_parser = input::text)]
    pub resolution: Option<String>,

    /// Frames per second
    #[arg(long, value_name = "F", group = "changes", allow_negative_numbers = true, value_parser = input::rate)]
    pub frame_rate: Option<f64>,

    /// A label to set, name=value; may be given several times; the value may be empty
    #[arg(long = "label", value_name = "NAME=VALUE", group = "changes", value_parser = input::label)]
    pub labels: Vec<(String, String)>,

    /// A label to remove; may be given several times
    #[arg(long = "remove-label", value_name = "NAME", group = "changes", value_parser = input::label_name)]
    pub remove_labels: Vec<String>,

    /// Write to a leased stream too
    #[arg(long)]
    pub force: bool,
}

/// The statistics that were given.
#[derive(Debug)]
struct Given {
    bytes_received: Option<u64>,
    packets_received: Option<u64>,
    packets_lost: Option<u64>,
    bitrate: Option<u64>,
}

impl Given {
    fn is_empty(&self) -> bool {
        [self.bytes_received, self.packets_received, self.packets_lost, self.bitrate].iter().all(Option::is_none)
    }

    fn is_complete(&self) -> bool {
        [self.bytes_received, self.packets_received, self.packets_lost, self.bitrate].iter().all(Option::is_some)
    }

    /// The report: what was given over what is there. The optional statistics are left alone.
    fn over(&self, there: &StreamStats) -> StreamStats {
        StreamStats {
            bytes_received: self.bytes_received.unwrap_or(there.bytes_received),
            packets_received: self.packets_received.unwrap_or(there.packets_received),
            packets_lost: self.packets_lost.unwrap_or(there.packets_lost),
            bitrate: self.bitrate.unwrap_or(there.bitrate),
            ..StreamStats::default()
        }
    }
}

/// Changes that were checked as far as they can be without a store.
#[derive(Debug)]
pub struct Plan {
    id: StreamId,
    guard: Guard,
    patch: StreamPatch,
    stats: Given,
    status: Option<StreamStatus>,
}

impl SetArgs {
    /// Checks the changes.
    ///
    /// # Errors
    ///
    /// Usage errors.
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
                return Err(Failure::usage(format_args!("label {name} is both set and removed; decide for one")));
            }
        }
        if !labels.is_empty() {
            patch.labels = LabelsPatch::Merge(labels);
        }
        patch.check().map_err(|error| Failure::argument(&error))?;
        let stats = Given {
            bytes_received: self.bytes_received,
            packets_received: self.packets_received,
            packets_lost: self.packets_lost,
            bitrate: self.bitrate,
        };
        Ok(Plan { id: self.id.clone(), guard: guard(self.force), patch, stats, status: self.status.clone() })
    }
}

/// Makes all changes in one call.
///
/// # Errors
///
/// Not found, not the holder, and where the store fails.
pub async fn run(registry: &dyn Registry, plan: &Plan, out: &mut Output<'_>) -> Result {
    let mut changes = Vec::with_capacity(3);
    // First, since it alone can be refused for what is in the record already (64 labels).
    if !plan.patch.is_empty() {
        changes.push(Change::Patch(Box::new(plan.patch.clone())));
    }
    if plan.stats.is_complete() {
        changes.push(Change::Stats(plan.stats.over(&StreamStats::default())));
    } else if !plan.stats.is_empty() {
        let stream = registry.get(&plan.id).await.map_err(|error| out.failure(&error))?;
        changes.push(Change::Stats(plan.stats.over(&stream.stats())));
    }
    changes.extend(plan.status.clone().map(Change::Status));
    let writes: Vec<_> =
        changes.into_iter().map(|change| Write { id: plan.id.clone(), guard: plan.guard.clone(), change }).collect();
    let answers = registry.write(&writes).await.map_err(|error| out.failure(&error))?;
    let mut worst = Status::Done;
    let mut told: Vec<ErrorKind> = Vec::new();
    for (write, answer) in writes.iter().zip(&answers) {
        let Err(error) = answer else { continue };
        // A stream that is not there is so for each of the changes: said once.
        if told.contains(&error.kind()) {
            continue;
        }
        told.push(error.kind());
        let mut failure = out.failure(error);
        if answers.iter().any(std::result::Result::is_ok) {
            let which = write.change.operation();
            failure.message = failure.message.map(|text| format!("{text}; all was set but the {which}"));
        }
        worst = worst.worst(out.report(&failure));
    }
    finish(worst)
}
