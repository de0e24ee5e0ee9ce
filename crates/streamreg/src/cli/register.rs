//! `register`: registers a stream.

use std::io::Read;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use stream_registry::stream::generate_stream_id;
use stream_registry::{OnConflict, Outcome, RegisterOptions, Registry, Stream, StreamId, StreamStatus, StreamType};

use super::failure::{Failure, Result};
use super::output::Output;
use super::{duration, input};

/// Arguments of `register`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  streamreg register --type srt --source 203.0.113.7:40112
  streamreg register --id cam1 --type rtp --source '[2001:db8::1]:5004' --node ingest-1 --label tenant=acme
  streamreg register --json cam1.json --on-conflict take-over
  streamreg register --id cam1 --type srt --source 203.0.113.7:40112 --hold

Prints the id, in every output format. The stream is gone after its time to live unless heartbeats come,
which --hold sends until SIGINT (Ctrl-C), SIGTERM or SIGHUP ends the stream. Where nobody takes the output then, the
process ends after 2 s with 128 and the signal's number; a second signal ends it at once.")]
pub struct RegisterArgs {
    /// The stream.
    #[command(flatten)]
    pub stream: StreamArgs,

    /// Lease the stream and keep it alive until a signal comes; ends with 4 when somebody else takes or ends it
    #[arg(long)]
    pub hold: bool,
}

/// Arguments that describe a stream to register.
#[derive(Args, Debug)]
pub struct StreamArgs {
    /// The id; without it one is generated that nobody else has
    #[arg(long)]
    pub id: Option<StreamId>,

    /// The protocol: srt, rtp, or another word (rtmp, rtsp, webrtc …)
    #[arg(long = "type", value_name = "TYPE", required_unless_present = "json")]
    pub kind: Option<StreamType>,

    /// The publisher's address, host:port, IPv6 in brackets
    #[arg(long, value_name = "ADDR", required_unless_present = "json", value_parser = input::some_text)]
    pub source: Option<String>,

    /// The state: connecting (default), active, paused, error, closed, or another word
    #[arg(long)]
    pub status: Option<StreamStatus>,

    /// The ingest node that owns the stream
    #[arg(long, value_parser = input::some_text)]
    pub node: Option<String>,

    /// A label, name=value; may be given several times
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = input::label)]
    pub labels: Vec<(String, String)>,

    /// A file with the whole record as JSON, - for standard input; its id may be missing
    #[arg(long, value_name = "FILE", conflicts_with_all = ["id", "kind", "source", "status", "node", "labels"])]
    pub json: Option<PathBuf>,

    /// What to do when the id is live: reject (default; the same publisher is renewed), create-only, take-over
    #[arg(long, value_name = "POLICY", value_enum, hide_possible_values = true)]
    pub on_conflict: Option<Conflict>,
}

/// What happens when the id is live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Conflict {
    /// Another publisher's stream is left alone; the same publisher is renewed.
    Reject,
    /// Any live stream is left alone.
    CreateOnly,
    /// Whatever is there is replaced.
    TakeOver,
}

/// A registration that was checked as far as it can be without a store.
#[derive(Debug)]
pub struct Plan {
    stream: Stream,
    /// Whether the store makes sure that nobody else has the id.
    generated: bool,
    options: RegisterOptions,
    hold: bool,
}

impl Plan {
    /// The stream.
    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// The policy for an id that was given; `None` where one is generated.
    pub(super) fn policy(&self) -> Option<OnConflict> {
        (!self.generated).then_some(self.options.on_conflict)
    }

    /// Whether the stream is to be kept alive.
    pub(super) fn holds(&self) -> bool {
        self.hold
    }
}

impl RegisterArgs {
    /// Makes the record and checks it.
    ///
    /// # Errors
    ///
    /// Usage errors.
    pub fn prepare(&self, stdin: &mut dyn Read) -> Result<Plan> {
        Ok(Plan { hold: self.hold, ..self.stream.prepare(stdin)? })
    }
}

impl StreamArgs {
    /// Makes the record and checks it.
    ///
    /// # Errors
    ///
    /// Usage errors.
    pub(super) fn prepare(&self, stdin: &mut dyn Read) -> Result<Plan> {
        let (stream, given) = match &self.json {
            Some(file) => {
                let text = input::read_json(file, stdin)?;
                let argument = |error| super::update::json_fault(file, &error);
                let (stream, given) = Stream::from_json_any_id(&text).map_err(argument)?;
                if stream.source_addr.is_empty() {
                    return Err(Failure::usage("--json: the record has no source_addr; add the publisher's host:port"));
                }
                (stream, given)
            }
            None => (self.stream()?, self.id.is_some()),
        };
        if !given && matches!(self.on_conflict, Some(Conflict::Reject | Conflict::TakeOver)) {
            return Err(Failure::usage("--on-conflict needs an id that can be live already; give --id too"));
        }
        stream.check().map_err(|error| Failure::argument(&error))?;
        let policy = match self.on_conflict {
            None | Some(Conflict::Reject) => OnConflict::Reject,
            Some(Conflict::CreateOnly) => OnConflict::CreateOnly,
            Some(Conflict::TakeOver) => OnConflict::TakeOver,
        };
        Ok(Plan { stream, generated: !given, options: RegisterOptions::default().on_conflict(policy), hold: false })
    }

    fn stream(&self) -> Result<Stream> {
        let (Some(kind), Some(source)) = (&self.kind, &self.source) else {
            return Err(Failure::usage("give --type and --source, or --json"));
        };
        let id = self.id.clone().unwrap_or_else(|| generate_stream_id(kind, source));
        let mut stream = Stream::new(id, kind.clone(), source);
        if let Some(status) = &self.status {
            stream.set_status(status.clone());
        }
        stream.node.clone_from(&self.node);
        stream.labels = input::labels(&self.labels)?;
        Ok(stream)
    }
}

/// Prints the id, and returns it as a terminal may see it.
///
/// # Errors
///
/// Where standard output takes no more.
pub(super) fn print_id(id: &StreamId, out: &mut Output<'_>) -> Result<String> {
    // An id has no control characters; a terminal is spared marks of direction too, a program gets the id itself.
    let shown = super::terminal::escape(id.as_str()).into_owned();
    out.line(if out.terminal { &*shown } else { id.as_str() })?;
    out.flush()?;
    Ok(shown)
}

/// Registers the stream and prints its id.
///
/// # Errors
///
/// Already exists, where the store fails, and where standard output takes no more.
pub async fn run(registry: &dyn Registry, plan: &Plan, out: &mut Output<'_>) -> Result {
    let registered = if plan.generated {
        registry.register_new(&plan.stream, &plan.options).await
    } else {
        registry.register_with(&plan.stream, &plan.options).await
    }
    .map_err(|error| out.failure(&error))?;
    let shown = print_id(&registered.stream.id, out)?;
    if out.terminal {
        let what = match registered.outcome {
            Outcome::Renewed => "registered again by the same publisher",
            Outcome::TakenOver => "taken over",
            _ => "registered",
        };
        let ttl = duration::short(registered.ttl);
        out.note(format_args!("{what}; expires in {ttl} unless a heartbeat comes: streamreg heartbeat {shown:?}"));
    }
    Ok(())
}
