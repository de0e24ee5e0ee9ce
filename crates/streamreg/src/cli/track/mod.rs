//! `track`: runs a program that carries one stream, and reports the stream with statistics.
//!
//! Nothing in this module may stop the program or slow it down. The program writes into `files`, `report` turns what
//! it writes into a record, and a background task writes the record to the store.

mod files;
mod report;

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use adapters::reconcile::SERVER_LABEL;
use adapters::tools::Tool;
use adapters::tools::ffmpeg::Ffmpeg;
use adapters::tools::srt_live_transmit::{Counting, SrtLiveTransmit};
use clap::{Args, Subcommand};
use stream_registry::StreamId;
use stream_registry::StreamType;
use stream_registry::stream::generate_stream_id;
use tokio::time::{Instant, MissedTickBehavior, interval};

use self::files::Written;
use self::report::Report;
use super::background::{BackgroundStream, ConflictPolicy, DISCONNECTED};
use super::bridge::config::machine_name;
use super::child::{self, Child, Forwarded};
use super::failure::{Failure, Result, Status};
use super::hold::PARENT_ENDED;
use super::input;
use super::messages::Messages;
use super::output::Output;
use super::parent::Parent;
use super::signal::HANGUP;
use super::store::Target;

/// Environment variable in which the program finds the stream's id.
const ID_VARIABLE: &str = "STREAMREG_ID";
/// Labels that describe the session.
const RESERVED_LABELS: [&str; 4] = [SERVER_LABEL, "session", "reconnects", "stalled"];
/// Interval at which the files are read.
const INTERVAL: Duration = Duration::from_millis(200);
/// Maximum number of parts of the files that are read at once, so that signals are forwarded in between.
const READS_PER_TICK: usize = 16;
/// Maximum number of parts that are read after the program has exited, because its children may continue to write.
const LAST_READS: usize = 1_000;
/// Maximum time for the program to exit after the parent process has ended; then the program is killed.
const GRACE: Duration = Duration::from_secs(10);
/// Maximum time to unregister the stream after the program has exited.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum time to write the end of the program's log after the program has exited.
const LAST_WRITE_TIMEOUT: Duration = Duration::from_secs(2);

/// Arguments of `track`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  streamreg track srt-live-transmit -- srt://:9000 udp://127.0.0.1:5000
  streamreg track ffmpeg --id cam1 -- ffmpeg -i srt://:9000 -c copy out.ts

The program starts at once and never waits for the registry. If the registry is unreachable or rejects the stream, the \
command retries until the program exits. The exit status is that of the program, which keeps running even if \
`streamreg` itself is killed.

Signals are forwarded to the program. If the process that started `track` has ended, the program is stopped and the \
stream is unregistered.")]
pub struct TrackArgs {
    /// The program.
    #[command(subcommand)]
    pub program: Program,
}

/// The programs that `track` knows.
#[derive(Subcommand, Debug)]
pub enum Program {
    /// Report the source of srt-live-transmit: packets, loss, retransmissions, round-trip time and bit rate
    #[command(after_help = "\
Examples:
  streamreg track srt-live-transmit -- srt://:9000 udp://127.0.0.1:5000
  streamreg track srt-live-transmit -- -s:50 srt://:9000 file://con > out.ts

The stream is registered while a source is connected. The command adds -statsout, -pf, -fullstats, and -s:100 unless \
-s is given.")]
    SrtLiveTransmit(Tracked),
    /// Report the first input of ffmpeg: codecs, resolution, bit rate, frame rate and speed
    #[command(after_help = "\
Examples:
  streamreg track ffmpeg --id cam1 -- ffmpeg -i srt://:9000 -c copy out.ts

The stream is registered while ffmpeg runs. The command adds the option -progress.")]
    Ffmpeg(Tracked),
}

/// What to report, and the program's arguments.
#[derive(Args, Debug)]
pub struct Tracked {
    /// Id of the stream [default: a generated, unique id]
    #[arg(long)]
    pub id: Option<StreamId>,

    /// Node that the stream belongs to [default: the name of this machine]
    #[arg(long, value_parser = input::non_empty_string)]
    pub node: Option<String>,

    /// Label, name=value; may be repeated
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = input::label)]
    pub labels: Vec<(String, String)>,

    /// Keep the program and the stream after the process that started `track` has ended
    #[arg(long)]
    pub no_parent_check: bool,

    /// The arguments of the program, or the program and its arguments
    #[arg(value_name = "ARGS", last = true, required = true)]
    pub command: Vec<OsString>,
}

impl Program {
    fn tracked(&self) -> &Tracked {
        match self {
            Self::SrtLiveTransmit(tracked) | Self::Ffmpeg(tracked) => tracked,
        }
    }

    /// Returns the command, the position at which to add options, and the reader for what the program writes.
    fn prepare(&self) -> Result<(Vec<OsString>, usize, Box<dyn Tool>)> {
        let name = match self {
            Self::SrtLiveTransmit(_) => "srt-live-transmit",
            Self::Ffmpeg(_) => "ffmpeg",
        };
        let (command, options_at) = with_program(&self.tracked().command, name)?;
        let args: Vec<String> = command[options_at..].iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
        let tool: std::result::Result<Box<dyn Tool>, _> = match self {
            Self::SrtLiveTransmit(_) => {
                SrtLiveTransmit::new(&args, Counting::SinceConnection).map(|tool| Box::new(tool) as _)
            }
            Self::Ffmpeg(_) => Ffmpeg::new(&args).map(|tool| Box::new(tool) as _),
        };
        Ok((command, options_at, tool.map_err(Failure::usage)?))
    }
}

/// Programs that start other programs without passing on open files, or on another machine.
const ISOLATING: [&str; 6] = ["sudo", "doas", "docker", "podman", "ssh", "flatpak"];

/// Returns the command with its program, and the position after the program.
///
/// The program may be given with a folder or a longer name, e.g. `/opt/bin/ffmpeg7`. Other programs such as `nice` may
/// come before it.
fn with_program(command: &[OsString], name: &str) -> Result<(Vec<OsString>, usize)> {
    let first = command.first().map(|first| first.to_string_lossy()).unwrap_or_default();
    if first.starts_with('-') || first.contains("://") {
        return Ok(([&[OsString::from(name)], command].concat(), 1));
    }
    let is_program = |arg: &OsString| {
        let file = Path::new(arg).file_name().unwrap_or_default();
        file.to_string_lossy().starts_with(name)
    };
    let is_isolating = |arg: &&OsString| ISOLATING.iter().any(|name| Path::new(arg).file_name() == Some(name.as_ref()));
    let at = command.iter().position(is_program);
    if let Some(other) = command[..at.unwrap_or(0)].iter().find(is_isolating) {
        let other = other.to_string_lossy();
        return Err(Failure::usage(format_args!(
            "under {other}, {name} cannot pass its statistics to streamreg; run streamreg itself under {other}"
        )));
    }
    match at {
        Some(at) => Ok((command.to_vec(), at + 1)),
        None => Err(Failure::usage(format_args!("the command does not contain {name}; pass e.g. -- {name} ARGS"))),
    }
}

/// The files into which the program writes.
struct Files {
    log: Written,
    statistics: Written,
}

impl Files {
    /// Creates the files. Returns also the path of the file for the statistics.
    fn create() -> std::io::Result<(Self, String)> {
        let files = Self { log: Written::create()?, statistics: Written::create()? };
        let path = files.statistics.path()?;
        Ok((files, path))
    }
}

/// Runs the program until it exits, and reports its stream.
///
/// # Errors
///
/// Returns a usage error if the arguments are invalid. Returns 126 or 127 if the program cannot be started, and the
/// program's exit status if the program fails. The registry has no influence on the exit status.
pub(super) async fn run(target: &Target, args: &TrackArgs, out: &mut Output<'_>) -> Result {
    let tracked = args.program.tracked();
    let parent = Parent::checked_unless(tracked.no_parent_check);
    let labels = input::labels(&tracked.labels)?;
    if let Some(name) = RESERVED_LABELS.iter().find(|name| labels.contains_key(**name)) {
        return Err(Failure::usage(format_args!("the label {name} is set by streamreg; choose another name")));
    }
    let (mut command, options_at, tool) = args.program.prepare()?;
    let id = tracked.id.clone().unwrap_or_else(|| {
        let kind = tool.stream(Duration::ZERO).map_or(StreamType::Srt, |item| item.kind);
        generate_stream_id(&kind, "")
    });
    let created = Files::create().and_then(|(files, path)| Ok((files.log.stderr()?, files, path)));
    let (files, stderr) = match created {
        Ok((stderr, files, path)) => {
            command.splice(options_at..options_at, tool.options(&path).into_iter().map(OsString::from));
            (Some(files), Some(stderr))
        }
        Err(error) => {
            out.note(format_args!("streamreg: cannot create a temporary file: {error}; the stream is not reported"));
            (None, None)
        }
    };
    let mut signals = Forwarded::new();
    let started = Child::start_with(&command, &[(ID_VARIABLE, id.as_str())], |command| {
        if let Some(stderr) = stderr {
            command.stderr(stderr);
        }
    });
    let mut child = started.map_err(|error| {
        let program = command.first().map(|program| program.to_string_lossy()).unwrap_or_default();
        let message = format!("cannot start {program:?}: {error}");
        Failure::new(Status::Command(child::code_of_start(&error)), message)
    })?;
    #[cfg(target_os = "linux")]
    tokio::spawn(super::orphans::reap(child.id()));
    let node = tracked.node.clone().unwrap_or_else(machine_name);
    let tracker = files.map(|files| Tracker::start(target, files, Report::new(tool, id, node, labels)));
    let code = follow(&mut child, &mut signals, parent, tracker).await;
    if code == 0 { Ok(()) } else { Err(Failure::reported(Status::Command(code))) }
}

/// Follows the program until it has exited and its stream has been unregistered. Returns the exit status.
async fn follow(child: &mut Child, signals: &mut Forwarded, parent: Parent, mut tracker: Option<Tracker>) -> u8 {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let parent_ended = parent.ended();
    tokio::pin!(parent_ended);
    let exited = loop {
        tokio::select! {
            biased;
            status = child.exited() => break Some(status),
            () = &mut parent_ended => break None,
            signal = signals.next() => child.forward(signal),
            _ = ticks.tick() => {
                if let Some(tracker) = &mut tracker {
                    tracker.read_up_to(READS_PER_TICK);
                }
            }
        }
    };
    let (code, reason) = match exited {
        Some(Ok(status)) => (child::code(status), child::describe(status)),
        Some(Err(_)) => (Status::Failed.code(), "exit status of the program is unknown".to_owned()),
        None => {
            child.stop(signals, GRACE).await;
            (child.exited().await.map_or(Status::Failed.code(), child::code), PARENT_ENDED.to_owned())
        }
    };
    if let Some(tracker) = tracker {
        // The user may not want to wait for the registry. A closing terminal may send SIGHUP twice, so SIGHUP does not
        // mean that a user is waiting.
        let stop_requested = async { while signals.stop_requested().await == HANGUP {} };
        tokio::select! {
            () = tracker.finish(&reason) => {}
            () = stop_requested => {}
        }
    }
    code
}

/// Passes what the program writes to standard error and to the registry.
struct Tracker {
    start: Instant,
    files: Files,
    report: Report,
    messages: Messages,
    stream: BackgroundStream,
    /// A part of the log that waits because standard error is blocked.
    waiting: Option<Vec<u8>>,
}

impl Tracker {
    fn start(target: &Target, files: Files, report: Report) -> Self {
        let messages = Messages::start();
        let stream = BackgroundStream::start(target.clone(), ConflictPolicy::Wait, messages.notes());
        Self { start: Instant::now(), files, report, messages, stream, waiting: None }
    }

    /// Reads everything that the program has written, but at most this many parts.
    fn read_up_to(&mut self, parts: usize) {
        (0..parts).all(|_| self.read());
    }

    /// Reads the next part of what the program has written. Returns whether there may be more.
    fn read(&mut self) -> bool {
        // A source is announced in the log before its first statistic, so the log is read last.
        let statistics = self.files.statistics.read();
        // While standard error is blocked, the log stays in its file.
        let log = if self.write_waiting() { self.files.log.read() } else { Vec::new() };
        match self.report.read(self.start.elapsed(), &log, &statistics) {
            Some(record) => self.stream.set(&record),
            None => self.stream.end(DISCONNECTED),
        }
        let may_have_more = !(statistics.is_empty() && log.is_empty());
        if !log.is_empty() {
            self.waiting = self.messages.write(log).err();
        }
        may_have_more
    }

    /// Returns whether no part of the log waits any more.
    fn write_waiting(&mut self) -> bool {
        self.waiting = self.waiting.take().and_then(|bytes| self.messages.write(bytes).err());
        self.waiting.is_none()
    }

    /// Reports the last statistics, unregisters the stream, and writes the rest of the log.
    async fn finish(mut self, reason: &str) {
        self.read_up_to(LAST_READS);
        let Self { files, messages, stream, waiting, .. } = self;
        let notes = messages.notes();
        if !stream.finish(reason, RELEASE_TIMEOUT).await {
            notes.note("the registry does not answer; the stream stays until its TTL expires");
        }
        messages.finish(waiting.into_iter().chain(files.log.rest()), LAST_WRITE_TIMEOUT).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(command: &str, name: &str) -> std::result::Result<(String, usize), String> {
        let command: Vec<OsString> = command.split(' ').map(OsString::from).collect();
        let (command, at) = with_program(&command, name).map_err(|failure| failure.message.unwrap_or_default())?;
        let command: Vec<String> = command.iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
        Ok((command.join(" "), at))
    }

    #[test]
    fn options_follow_the_program_wherever_it_is() {
        for (command, whole, at) in [
            ("ffmpeg -i a b", "ffmpeg -i a b", 1),
            ("-i a b", "ffmpeg -i a b", 1),
            ("/opt/ffmpeg-7/bin/ffmpeg7 -i a", "/opt/ffmpeg-7/bin/ffmpeg7 -i a", 1),
            ("nice -n 5 ffmpeg -i a", "nice -n 5 ffmpeg -i a", 4),
        ] {
            assert_eq!(position(command, "ffmpeg"), Ok((whole.to_owned(), at)), "{command}");
        }
        assert_eq!(
            position("srt://:1 udp://:2", "srt-live-transmit"),
            Ok(("srt-live-transmit srt://:1 udp://:2".to_owned(), 1))
        );
    }

    #[test]
    fn command_without_the_program_is_rejected() {
        let error = position("nice sleep 1", "ffmpeg").unwrap_err();
        assert_eq!(error, "the command does not contain ffmpeg; pass e.g. -- ffmpeg ARGS");
    }

    #[test]
    fn program_that_would_lose_the_open_files_is_rejected() {
        let error = position("/usr/bin/sudo -u media ffmpeg -i a", "ffmpeg").unwrap_err();
        assert!(error.contains("run streamreg itself under /usr/bin/sudo"), "{error}");
        // After the program, the word is an ordinary argument.
        assert_eq!(position("ffmpeg -i sudo", "ffmpeg"), Ok(("ffmpeg -i sudo".to_owned(), 1)));
    }
}
