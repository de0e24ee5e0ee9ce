//! Prints the table, either for a terminal or as Markdown.

use std::io::Write as _;

use crate::figures::{Sample, Target, Unit, ratio, spread};

/// One line of the table. All cells except `row` and `candidate` may be empty.
#[derive(Clone, Debug, Default)]
pub(crate) struct Line {
    pub(crate) row: String,
    pub(crate) candidate: String,
    pub(crate) figure: String,
    pub(crate) ratio: String,
    pub(crate) server: String,
    pub(crate) server_ratio: String,
    pub(crate) per_command: String,
    pub(crate) target: String,
    pub(crate) met: String,
}

const HEAD: [&str; 9] =
    ["row", "candidate", "per second, or time", "× A", "server µs each", "× A", "in one command", "target", "met"];

impl Line {
    fn cells(&self) -> [&str; 9] {
        [
            &self.row,
            &self.candidate,
            &self.figure,
            &self.ratio,
            &self.server,
            &self.server_ratio,
            &self.per_command,
            &self.target,
            &self.met,
        ]
    }
}

/// Returns the cell that shows whether a target was met. It is empty if there is no target.
pub(crate) fn verdict(met: Option<bool>) -> String {
    met.map_or("", |met| if met { "yes" } else { "**no**" }).to_owned()
}

/// Returns a line with a target. If there is no target, `target` is empty and `met` is `None`.
pub(crate) fn line(row: &str, candidate: &str, figure: String, target: String, met: Option<bool>) -> Line {
    Line { row: row.into(), candidate: candidate.into(), figure, target, met: verdict(met), ..Line::default() }
}

/// A candidate in a row: one of the implementations that the row compares.
pub(crate) struct Candidate {
    pub(crate) name: &'static str,
    pub(crate) samples: Vec<Sample>,
    pub(crate) target: Target,
}

/// Returns the lines of a row. If `baseline` is given, the lines contain the ratios to the baseline's samples.
pub(crate) fn compare(row: &str, unit: Unit, baseline: Option<&[Sample]>, candidates: &[Candidate]) -> Vec<Line> {
    let line = |candidate: &Candidate| {
        let samples = &candidate.samples;
        let values = |value: &dyn Fn(&Sample) -> f64| samples.iter().map(value).collect::<Vec<_>>();
        let per_command = crate::figures::median(values(&|sample| sample.per_command));
        let mut line = Line {
            row: row.to_owned(),
            candidate: candidate.name.to_owned(),
            figure: spread(&values(&|sample| unit.of(sample)), |value| unit.format(value)),
            server: spread(&values(&|sample| sample.server_micros), micros),
            per_command: format!("{per_command:.1}"),
            target: candidate.target.format(),
            ..Line::default()
        };
        if let Some(baseline) = baseline {
            let ratios = (
                ratio(samples, baseline, |sample| unit.of(sample)),
                ratio(samples, baseline, |sample| sample.server_micros),
            );
            line.ratio = format!("{:.2}", ratios.0);
            line.server_ratio = format!("{:.2}", ratios.1);
            line.met = verdict(candidate.target.met(ratios.0, ratios.1));
        }
        line
    };
    candidates.iter().map(line).collect()
}

fn micros(value: f64) -> String {
    if value < 100.0 { format!("{value:.2}") } else { crate::figures::thousands(value) }
}

/// Formats the table as Markdown.
pub(crate) fn markdown(lines: &[Line]) -> String {
    let mut table = format!("| {} |\n|{}\n", HEAD.join(" | "), "---|".repeat(HEAD.len()));
    for line in lines {
        table.push_str(&format!("| {} |\n", line.cells().join(" | ")));
    }
    table
}

/// Formats the table for a terminal. Each column is as wide as its longest cell.
pub(crate) fn plain(lines: &[Line]) -> String {
    let rows: Vec<_> = std::iter::once(HEAD).chain(lines.iter().map(Line::cells)).collect();
    let mut widths = [0; HEAD.len()];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut table = String::new();
    for row in rows {
        for (width, cell) in widths.iter().zip(row) {
            table.push_str(&format!("{cell:<width$}  "));
        }
        table.truncate(table.trim_end().len());
        table.push('\n');
    }
    table
}

/// Prints a part of the results to stdout.
pub(crate) fn print(output: &str) -> std::io::Result<()> {
    writeln!(std::io::stdout().lock(), "{output}")
}

/// Prints a progress or error message to stderr.
pub(crate) fn note(message: &str) {
    // If stderr is closed, the run continues.
    let _ = writeln!(std::io::stderr().lock(), "{message}");
}
