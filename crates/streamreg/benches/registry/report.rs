//! The table, on a terminal or for the document.

use std::io::Write as _;

use crate::figures::{Demand, Sample, Unit, ratio, spread};

/// One line of the table; all but the first two may be empty.
#[derive(Clone, Debug, Default)]
pub(crate) struct Line {
    pub(crate) row: String,
    pub(crate) who: String,
    pub(crate) figure: String,
    pub(crate) ratio: String,
    pub(crate) server: String,
    pub(crate) server_ratio: String,
    pub(crate) joined: String,
    pub(crate) demand: String,
    pub(crate) met: String,
}

const HEAD: [&str; 9] =
    ["row", "who", "per second, or time", "× A", "server µs each", "× A", "in one command", "demand", "met"];

impl Line {
    fn cells(&self) -> [&str; 9] {
        [
            &self.row,
            &self.who,
            &self.figure,
            &self.ratio,
            &self.server,
            &self.server_ratio,
            &self.joined,
            &self.demand,
            &self.met,
        ]
    }
}

pub(crate) fn verdict(met: Option<bool>) -> String {
    met.map_or("", |met| if met { "yes" } else { "**no**" }).to_owned()
}

/// The samples of one contender; the first of a row is what the others are compared with, if it is `usual`.
pub(crate) struct Contender {
    pub(crate) who: &'static str,
    pub(crate) samples: Vec<Sample>,
    pub(crate) demand: Demand,
}

/// Makes the lines of a row.
pub(crate) fn compare(row: &str, unit: Unit, usual: Option<&[Sample]>, contenders: &[Contender]) -> Vec<Line> {
    let line = |contender: &Contender| {
        let samples = &contender.samples;
        let values = |value: &dyn Fn(&Sample) -> f64| samples.iter().map(value).collect::<Vec<_>>();
        let joined = crate::figures::median(values(&|sample| sample.joined));
        let mut line = Line {
            row: row.to_owned(),
            who: contender.who.to_owned(),
            figure: spread(&values(&|sample| unit.of(sample)), |value| unit.text(value)),
            server: spread(&values(&|sample| sample.server_micros), micros),
            joined: format!("{joined:.1}"),
            demand: contender.demand.text(),
            ..Line::default()
        };
        if let Some(usual) = usual {
            let ratios =
                (ratio(samples, usual, |sample| unit.of(sample)), ratio(samples, usual, |sample| sample.server_micros));
            line.ratio = format!("{:.2}", ratios.0);
            line.server_ratio = format!("{:.2}", ratios.1);
            line.met = verdict(contender.demand.met(ratios.0, ratios.1));
        }
        line
    };
    contenders.iter().map(line).collect()
}

fn micros(value: f64) -> String {
    if value < 100.0 { format!("{value:.2}") } else { crate::figures::thousands(value) }
}

/// The table in Markdown.
pub(crate) fn markdown(lines: &[Line]) -> String {
    let mut text = format!("| {} |\n|{}\n", HEAD.join(" | "), "---|".repeat(HEAD.len()));
    for line in lines {
        text.push_str(&format!("| {} |\n", line.cells().join(" | ")));
    }
    text
}

/// The table for a terminal: columns as wide as they have to be.
pub(crate) fn plain(lines: &[Line]) -> String {
    let rows: Vec<_> = std::iter::once(HEAD).chain(lines.iter().map(Line::cells)).collect();
    let mut widths = [0; HEAD.len()];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in rows {
        for (width, cell) in widths.iter().zip(row) {
            text.push_str(&format!("{cell:<width$}  "));
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

/// Prints a part of the result.
pub(crate) fn print(text: &str) -> std::io::Result<()> {
    writeln!(std::io::stdout().lock(), "{text}")
}

/// Says something that is not part of the result.
pub(crate) fn note(text: &str) {
    // Nobody may be reading any more.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
