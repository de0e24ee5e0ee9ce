//! ffmpeg: reads its progress, and what its log says about the first input.

use std::time::Duration;

use super::url::{self, Source};
use super::{ReservedOption, STALL_AFTER, Tool};
use crate::model::{Counters, Gauges, Item, ItemState, Media, Name};
use crate::servers::{fields, words};

/// The label with the speed of ffmpeg, e.g. `1.01x`.
const SPEED_LABEL: &str = "speed";
/// The smallest change of the speed that changes the label.
const SPEED_STEP: f64 = 0.05;
/// The shortest time between two changes of the label.
const SPEED_INTERVAL: Duration = Duration::from_secs(10);

/// Follows one ffmpeg.
#[derive(Clone, Debug)]
pub struct Ffmpeg {
    source: Source,
    media: Media,
    log: Log,
    /// The block that is being read.
    block: Progress,
    /// The last complete block.
    progress: Progress,
    /// Whether ffmpeg has processed anything.
    has_started: bool,
    /// When the progress last changed.
    moved: Duration,
    /// The speed in the label, and when it was set.
    speed: Option<(f64, Duration)>,
}

/// Which part of the log is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Log {
    /// Before the first input.
    Head,
    /// The first input.
    Input,
    /// After the first input.
    Rest,
}

/// One block of `-progress`.
#[derive(Clone, Debug, Default)]
struct Progress {
    /// Values that grow while ffmpeg processes media, as ffmpeg writes them.
    frame: String,
    out_time: String,
    total_size: Option<u64>,
    bitrate: Option<u64>,
    frame_rate: Option<f64>,
    speed: Option<f64>,
}

impl Progress {
    fn position(&self) -> (&str, &str, Option<u64>) {
        (&self.frame, &self.out_time, self.total_size)
    }

    fn is_at_start(&self) -> bool {
        let digits = format!("{}{}", self.frame, self.out_time);
        !digits.contains(|c: char| ('1'..='9').contains(&c)) && self.total_size.unwrap_or(0) == 0
    }
}

impl Ffmpeg {
    /// Creates a reader for an ffmpeg with these arguments, without the program's name.
    ///
    /// # Errors
    ///
    /// Returns an error if the arguments select another file for the progress.
    pub fn new(args: &[String]) -> Result<Self, ReservedOption> {
        if args.iter().any(|arg| arg == "-progress") {
            return Err(ReservedOption::new("-progress"));
        }
        Ok(Self {
            source: first_input(args),
            media: Media::default(),
            log: Log::Head,
            block: Progress::default(),
            progress: Progress::default(),
            has_started: false,
            moved: Duration::ZERO,
            speed: None,
        })
    }

    fn finish_block(&mut self, now: Duration) {
        let block = std::mem::take(&mut self.block);
        if block.position() != self.progress.position() && !block.is_at_start() {
            self.has_started = true;
            self.moved = now;
        }
        let is_due = |(old, at): (f64, Duration), new: f64| {
            (new - old).abs() > SPEED_STEP && now.saturating_sub(at) >= SPEED_INTERVAL
        };
        if let Some(speed) = block.speed.filter(|speed| self.speed.is_none_or(|old| is_due(old, *speed))) {
            self.speed = Some((speed, now));
        }
        self.progress = block;
    }

    /// Reads the description of a stream of the first input, e.g. `0:0[0x100]: Video: h264 (High), yuv420p, 640x360, 25
    /// fps`. Only the first stream of each kind counts.
    fn read_stream(&mut self, stream: &str) {
        if let Some((_, video)) = stream.split_once(": Video: ") {
            if !self.media.video_codec.is_empty() {
                return;
            }
            codec(video).clone_into(&mut self.media.video_codec);
            for part in video.split(", ") {
                let part = part.trim();
                let size = part.split(' ').next().unwrap_or_default().split_once('x');
                let size = size.and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)));
                if let Some((width, height)) = size.filter(|_| self.media.resolution.is_empty()) {
                    self.media.resolution = words::resolution(Some(width), Some(height));
                } else if let Some(rate) = part.strip_suffix(" fps").and_then(number) {
                    self.media.frame_rate = rate;
                }
            }
        } else if let Some((_, audio)) = stream.split_once(": Audio: ")
            && self.media.audio_codec.is_empty()
        {
            codec(audio).clone_into(&mut self.media.audio_codec);
        }
    }
}

impl Tool for Ffmpeg {
    fn name(&self) -> &'static str {
        "ffmpeg"
    }

    fn options(&self, file: &str) -> Vec<String> {
        vec!["-progress".to_owned(), file.to_owned()]
    }

    fn log(&mut self, _: Duration, line: &str) {
        let line = line.trim_start();
        match self.log {
            Log::Head if line.starts_with("Input #0, ") => self.log = Log::Input,
            Log::Input if ["Input #", "Output #", "Stream mapping:"].iter().any(|part| line.starts_with(part)) => {
                self.log = Log::Rest;
            }
            Log::Input => {
                if let Some(stream) = line.strip_prefix("Stream #0:") {
                    self.read_stream(stream);
                }
            }
            Log::Head | Log::Rest => {}
        }
    }

    fn statistics(&mut self, now: Duration, line: &str) {
        let Some((key, value)) = line.split_once('=') else { return };
        let value = value.trim();
        match key {
            "frame" => value.clone_into(&mut self.block.frame),
            "out_time" => value.clone_into(&mut self.block.out_time),
            "total_size" => self.block.total_size = value.parse().ok(),
            "bitrate" => self.block.bitrate = words::bitrate(value.strip_suffix("kbits/s").and_then(number), 1e3),
            "fps" => self.block.frame_rate = number(value),
            "speed" => self.block.speed = value.strip_suffix('x').and_then(number),
            "progress" => self.finish_block(now),
            _ => {}
        }
    }

    fn stream(&self, now: Duration) -> Option<Item> {
        let is_stalled = now.saturating_sub(self.moved) >= STALL_AFTER;
        let state = match self.has_started {
            false => ItemState::Connecting,
            true if is_stalled => ItemState::Paused,
            true => ItemState::Active,
        };
        let mut media = self.media.clone();
        if media.frame_rate == 0.0 {
            media.frame_rate = self.progress.frame_rate.unwrap_or(0.0);
        }
        let bitrate = if is_stalled { None } else { self.progress.bitrate };
        let speed = self.speed.map(|(speed, _)| (SPEED_LABEL.to_owned(), format!("{speed:.2}x")));
        Some(Item {
            source_addr: self.source.address.clone(),
            state,
            media,
            counters: Counters { bytes: self.progress.total_size, ..Counters::default() },
            gauges: Gauges { bitrate, ..Gauges::default() },
            labels: speed.into_iter().collect(),
            ..fields::item(Name::from_path(self.name()), String::new(), self.source.kind.clone())
        })
    }
}

/// Returns the source that the first `-i` names. If the input is not a URL, the type is the format, e.g. `v4l2`.
fn first_input(args: &[String]) -> Source {
    let at = args.iter().position(|arg| arg == "-i").unwrap_or(args.len());
    let (before, input) = (&args[..at], args.get(at + 1).map_or("", String::as_str));
    let waits = before.windows(2).any(|pair| {
        matches!((&*pair[0], &*pair[1]), ("-listen", "1" | "2") | ("-mode", "listener") | ("-rtsp_flags", "listen"))
    });
    let format = before.windows(2).filter(|pair| pair[0] == "-f").map(|pair| &*pair[1]).next_back();
    url::source(input, waits).unwrap_or_else(|| {
        let kind = format.and_then(|format| format.parse().ok()).unwrap_or_else(|| words::stream_type("file"));
        Source { kind, address: String::new() }
    })
}

/// Returns the codec at the beginning of a description.
fn codec(description: &str) -> &str {
    let end = description.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(description.len());
    match &description[..end] {
        "none" => "",
        "vp8" => "VP8",
        "vp9" => "VP9",
        "av1" => "AV1",
        "opus" => "Opus",
        "mp3" => "MP3",
        name => words::codec(name),
    }
}

/// Reads a finite number above 0.
fn number(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|number: &f64| number.is_finite() && *number > 0.0)
}
