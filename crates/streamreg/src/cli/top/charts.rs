//! The charts of the detail pane: what was recorded about one stream.

use stream_registry::Stream;

use super::data::{Run, Sample};
use super::spark::spark;
use crate::cli::output::units;
use crate::cli::{duration, terminal};

/// Width of the names, and of a value with the space before it.
const NAME: usize = 9;
const VALUE: usize = 14;
/// The least and the greatest number of bars.
const BARS: (usize, usize) = (8, 60);

/// A figure of a stream.
struct Figure {
    name: &'static str,
    value: fn(&Sample) -> f32,
    show: fn(f32) -> String,
}

const FIGURES: [Figure; 4] = [
    Figure { name: "bitrate", value: |sample| sample.bitrate, show: |bits| units::bitrate(bits as u64) },
    Figure { name: "loss", value: |sample| sample.loss, show: |percent| units::percent(percent.into()) },
    Figure { name: "rtt", value: |sample| sample.rtt, show: |ms| format!("{ms:.1} ms") },
    Figure { name: "jitter", value: |sample| sample.jitter, show: |ms| format!("{ms:.1} ms") },
];

/// Returns a line for each figure that was recorded, below a line of headings: a chart, and the latest, the lowest and
/// the highest value. All charts cover the same time. The record is as new as the last values or newer.
pub(super) fn lines(recorded: &Run, stream: &Stream, width: usize) -> Vec<String> {
    let mut samples = recorded.samples.clone();
    // The record is read more often. So the latest values are those of its fields.
    if let Some(latest) = samples.last_mut() {
        *latest = Sample::new(stream, latest.loss);
    }
    let values = (width.saturating_sub(NAME + BARS.0) / VALUE).min(3);
    let bars = width.saturating_sub(NAME + values * VALUE).clamp(BARS.0, BARS.1);
    let line = |start: String, cells: [String; 3]| {
        let padding = " ".repeat((NAME + bars).saturating_sub(terminal::width(&start)));
        let cells = cells.iter().take(values).map(|cell| format!("{:>VALUE$}", terminal::shorten(cell, VALUE - 2)));
        start + &padding + &cells.collect::<String>()
    };
    let heading = match samples.len() {
        1 => "recorded once".to_owned(),
        _ => format!("recorded for {}", duration::short(recorded.span)),
    };
    let mut lines = vec![line(heading, ["latest", "lowest", "highest"].map(str::to_owned))];
    for figure in FIGURES {
        let all: Vec<_> = samples.iter().map(figure.value).collect();
        let known = || all.iter().copied().filter(|value| value.is_finite());
        let (Some(lowest), Some(highest)) = (known().reduce(f32::min), known().reduce(f32::max)) else { continue };
        // The latest value may be unknown, e.g. the loss while no packets arrive.
        let latest = all.last().copied().filter(|value| value.is_finite());
        let show = |value: Option<f32>| value.map_or_else(|| "-".to_owned(), figure.show);
        let chart = format!("{:NAME$}{}", figure.name, spark(&all, bars));
        lines.push(line(chart, [latest, Some(lowest), Some(highest)].map(show)));
    }
    lines
}
