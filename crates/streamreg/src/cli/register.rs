//! `register`: registers a stream.

use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use stream_registry::stream::generate_stream_id;
use stream_registry::{
    OnConflict, Outcome, RegisterOptions, Registry, SameSource, Stream, StreamId, StreamStatus, StreamType,
};

use super::failure::{Failure, Result};
use super::output::Output;
use super::parent::Parent;
use super::{duration, input};

/// Arguments of `register`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  streamreg register --type srt --source 203.0.113.7:40112
  streamreg register --id cam1 --type rtp --source '[2001:db8::1]:5004' \\
    --label tenant=acme
  streamreg register --json cam1.json --on-conflict take-over
  streamreg register --id cam1 --type srt --source 203.0.113.7:40112 \\
    --on-conflict take-over-if-stale --stale 15s
  streamreg register --id cam1 --type srt --source 203.0.113.7:40112 --hold

Prints the id in every output format. Without heartbeats, the stream expires when its TTL is over. With --hold, the command \
sends heartbeats until SIGINT (Ctrl-C), SIGTERM or SIGHUP, or until the process that started it has ended, and then \
unregisters the stream. To start it in the background of a shell that exits, use --no-parent-check. If the output is \
blocked, the command exits 2 s after the signal, with 128 plus the signal's number. A second signal exits at once.")]
pub struct RegisterArgs {
    /// Arguments that describe the stream.
    #[command(flatten)]
    pub stream: StreamArgs,

    /// Lease the stream and keep it alive until a signal arrives; exits with 4 if another client takes it over or
    /// unregisters it
    #[arg(long)]
    pub hold: bool,

    /// With --hold: keep the stream alive after the process that started this command has ended
    #[arg(long, requires = "hold")]
    pub no_parent_check: bool,
}

/// Arguments that describe a stream to register.
#[derive(Args, Debug)]
pub struct StreamArgs {
    /// Id of the stream [default: a generated, unique id]
    #[arg(long)]
    pub id: Option<StreamId>,

    /// Protocol: srt, rtp or another name (rtmp, rtsp, webrtc …)
    #[arg(long = "type", value_name = "TYPE", required_unless_present = "json")]
    pub kind: Option<StreamType>,

    /// Address of the publisher, host:port; IPv6 in brackets
    #[arg(long, value_name = "ADDR", required_unless_present = "json", value_parser = input::non_empty_string)]
    pub source: Option<String>,

    /// Status: connecting, active, paused, error, closed or another name [default: connecting]
    #[arg(long)]
    pub status: Option<StreamStatus>,

    /// Ingest node that owns the stream
    #[arg(long, value_parser = input::non_empty_string)]
    pub node: Option<String>,

    /// Label, name=value; may be repeated
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = input::label)]
    pub labels: Vec<(String, String)>,

    /// File with the whole record as JSON, or - for standard input; the id is optional
    #[arg(long, value_name = "FILE", conflicts_with_all = ["id", "kind", "source", "status", "node", "labels"])]
    pub json: Option<PathBuf>,

    /// Policy if the id is already live: reject (but renew if the publisher is the same), create-only, take-over,
    /// take-over-if-stale (with --stale) [default: reject]
    #[arg(long, value_name = "POLICY", value_enum, hide_possible_values = true)]
    pub on_conflict: Option<Conflict>,

    /// With take-over-if-stale: take the stream over if its last write is at least this long ago. Must be longer than
    /// the heartbeat interval of the stream's node, e.g. 15s
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    #[arg(required_if_eq("on_conflict", "take-over-if-stale"))]
    pub stale: Option<Duration>,

    /// Part of the address that identifies a publisher: address (host and port), or host, so that the publisher can
    /// reconnect from a new port
    #[arg(long, value_name = "PART", value_enum, hide_possible_values = true, default_value = "address")]
    pub same_source: SourcePart,
}

/// The part of a publisher's address that identifies the publisher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SourcePart {
    /// Host and port.
    Address,
    /// Host only.
    Host,
}

/// Policy if the id is already live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Conflict {
    /// Renew the stream if the publisher is the same. Otherwise, reject the registration.
    Reject,
    /// Reject the registration, even from the same publisher.
    CreateOnly,
    /// Replace the live stream.
    TakeOver,
    /// Replace the live stream if it has not been written for a while.
    TakeOverIfStale,
}

/// A registration whose arguments have been checked as far as possible without a store.
#[derive(Debug)]
pub struct Plan {
    stream: Stream,
    /// Whether the id is generated. If so, the store must check that the id is free.
    generated: bool,
    options: RegisterOptions,
    hold: bool,
    parent: Parent,
}

impl Plan {
    /// Returns the stream.
    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Returns the conflict policy, or `None` if the id is generated.
    pub(super) fn policy(&self) -> Option<OnConflict> {
        (!self.generated).then_some(self.options.on_conflict)
    }

    /// Returns the part of the address that identifies a publisher.
    pub(super) fn same_source(&self) -> SameSource {
        self.options.same_source
    }

    /// Returns the process whose end also ends this command.
    pub(super) fn parent(&self) -> Parent {
        self.parent
    }

    /// Returns whether the command keeps the stream alive after the registration (`--hold`).
    pub(super) fn holds(&self) -> bool {
        self.hold
    }
}

impl RegisterArgs {
    /// Builds the record and checks it.
    ///
    /// # Errors
    ///
    /// Returns a usage error if an argument is invalid.
    pub fn prepare(&self, stdin: &mut dyn Read) -> Result<Plan> {
        Ok(Plan { hold: self.hold, ..self.stream.prepare(Parent::checked_unless(self.no_parent_check), stdin)? })
    }
}

impl StreamArgs {
    /// Builds the record and checks it.
    ///
    /// # Errors
    ///
    /// Returns a usage error if an argument is invalid.
    pub(super) fn prepare(&self, parent: Parent, stdin: &mut dyn Read) -> Result<Plan> {
        let (stream, given) = match &self.json {
            Some(file) => {
                let json = input::read_json(file, stdin)?;
                let invalid = |error| input::invalid_json(file, &error);
                let (stream, given) = Stream::from_json_any_id(&json).map_err(invalid)?;
                if stream.source_addr.is_empty() {
                    return Err(Failure::usage("--json: the record has no source_addr; add the publisher's host:port"));
                }
                (stream, given)
            }
            None => (self.stream()?, self.id.is_some()),
        };
        if !given && !matches!(self.on_conflict, None | Some(Conflict::CreateOnly)) {
            return Err(Failure::usage("--on-conflict needs --id, because a generated id is never live"));
        }
        if !given && self.same_source != SourcePart::Address {
            return Err(Failure::usage("--same-source needs --id, because a generated id is never live"));
        }
        if self.stale.is_some() && self.on_conflict != Some(Conflict::TakeOverIfStale) {
            return Err(Failure::usage("--stale needs --on-conflict take-over-if-stale"));
        }
        stream.check().map_err(|error| Failure::argument(&error))?;
        let policy = match self.on_conflict {
            None | Some(Conflict::Reject) => OnConflict::Reject,
            Some(Conflict::CreateOnly) => OnConflict::CreateOnly,
            Some(Conflict::TakeOver) => OnConflict::TakeOver,
            // The parser requires --stale with this policy.
            Some(Conflict::TakeOverIfStale) => OnConflict::TakeOverIfStale(self.stale.unwrap_or(Duration::MAX)),
        };
        let same_source = match self.same_source {
            SourcePart::Address => SameSource::Address,
            SourcePart::Host => SameSource::Host,
        };
        let options = RegisterOptions::default().on_conflict(policy).same_source(same_source);
        Ok(Plan { stream, generated: !given, options, hold: false, parent })
    }

    fn stream(&self) -> Result<Stream> {
        let (Some(kind), Some(source)) = (&self.kind, &self.source) else {
            return Err(Failure::usage("missing --type and --source; pass them, or --json"));
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

/// Prints the id, and returns it escaped for a terminal.
///
/// # Errors
///
/// Fails if standard output cannot be written.
pub(super) fn print_id(id: &StreamId, out: &mut Output<'_>) -> Result<String> {
    let escaped_id = super::terminal::escape(id.as_str()).into_owned();
    out.id(id)?;
    out.flush()?;
    Ok(escaped_id)
}

/// Registers the stream and prints its id.
///
/// # Errors
///
/// Returns `Conflict` if the id belongs to a live stream that must not be replaced. Also fails if the store returns an
/// error, or if standard output cannot be written.
pub async fn run(registry: &dyn Registry, plan: &Plan, out: &mut Output<'_>) -> Result {
    let registered = if plan.generated {
        registry.register_new(&plan.stream, &plan.options).await
    } else {
        registry.register_with(&plan.stream, &plan.options).await
    }
    .map_err(|error| out.failure(&error))?;
    let escaped_id = print_id(&registered.stream.id, out)?;
    if out.terminal {
        let outcome = match registered.outcome {
            Outcome::Renewed => "registered again by the same publisher",
            Outcome::TakenOver => "taken over",
            _ => "registered",
        };
        let ttl = duration::short(registered.ttl);
        out.note(format_args!("{outcome}; expires in {ttl} without a heartbeat: streamreg heartbeat {escaped_id:?}"));
    }
    Ok(())
}
