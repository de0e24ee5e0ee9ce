//! Samples, medians, ratios, and the targets for the ratios.

/// Result of one round of one candidate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// Calls per second. For batches, streams per second.
    pub(crate) per_second: f64,
    /// Microseconds of server time per call. For batches, per stream.
    pub(crate) server_micros: f64,
    /// Calls per command sent. For batches, streams per command sent.
    pub(crate) per_command: f64,
}

/// Unit of a row's main figure. The table also shows the server time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Calls or streams per second.
    PerSecond,
    /// Milliseconds per call.
    Millis,
}

impl Unit {
    /// Returns the value of a sample in this unit.
    pub(crate) fn of(self, sample: &Sample) -> f64 {
        match self {
            Self::PerSecond => sample.per_second,
            Self::Millis => 1_000.0 / sample.per_second,
        }
    }

    pub(crate) fn format(self, value: f64) -> String {
        match self {
            Self::PerSecond => thousands(value),
            Self::Millis => format!("{value:.1} ms"),
        }
    }
}

/// Target of one candidate in a row: limits for the candidate's ratios to the baseline A.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Target {
    /// Lower limit of the ratio of rates.
    pub(crate) rate: Option<f64>,
    /// Upper limit of the ratio of times.
    pub(crate) time: Option<f64>,
    /// Upper limit of the ratio of server times.
    pub(crate) server: Option<f64>,
}

impl Target {
    /// Formats the limits for the table.
    pub(crate) fn format(self) -> String {
        let parts = [
            self.rate.map(|limit| format!("≥ {limit} × A")),
            self.time.map(|limit| format!("≤ {limit} × A in time")),
            self.server.map(|limit| format!("≤ {limit} × A server time")),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }

    /// Returns whether the ratios are within the limits, or `None` if there are no limits.
    pub(crate) fn met(self, ratio: f64, server: f64) -> Option<bool> {
        let checks = [
            self.rate.map(|limit| ratio >= limit),
            self.time.map(|limit| ratio <= limit),
            self.server.map(|limit| server <= limit),
        ];
        checks.into_iter().flatten().reduce(|a, b| a && b)
    }
}

/// Returns the median, or `NaN` if there are no values.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

/// Returns the median of the ratios between each round and the baseline's round next to it.
///
/// A disturbance that lasts longer than a round affects both of these rounds and cancels out.
pub(crate) fn ratio(samples: &[Sample], baseline: &[Sample], value: impl Fn(&Sample) -> f64) -> f64 {
    median(samples.iter().zip(baseline).map(|(sample, baseline)| value(sample) / value(baseline)).collect())
}

/// Formats the median with the smallest and the largest value in brackets.
pub(crate) fn spread(values: &[f64], format: impl Fn(f64) -> String) -> String {
    let smallest = values.iter().copied().fold(f64::INFINITY, f64::min);
    let largest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    format!("{} ({} – {})", format(median(values.to_vec())), format(smallest), format(largest))
}

/// Returns the smallest value that is at least as large as the fraction `part` of the sorted values.
pub(crate) fn percentile(sorted: &[u64], part: f64) -> u64 {
    let rank = (sorted.len() as f64 * part).ceil().max(1.0) as usize;
    sorted.get(rank - 1).or(sorted.last()).copied().unwrap_or(0)
}

/// Formats a number without decimals, with a space between groups of three digits.
pub(crate) fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(' ');
        }
        grouped.push(digit);
    }
    grouped
}
