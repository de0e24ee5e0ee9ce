//! Samples, their medians, and what is demanded of them.

/// What one round of one contender gave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// Calls per second, or streams for batches.
    pub(crate) per_second: f64,
    /// Microseconds of server time for one of these.
    pub(crate) server_micros: f64,
    /// How many of them went in one command.
    pub(crate) joined: f64,
}

/// What a row shows and judges beside the server's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    PerSecond,
    /// Milliseconds for one call.
    Millis,
}

impl Unit {
    pub(crate) fn of(self, sample: &Sample) -> f64 {
        match self {
            Self::PerSecond => sample.per_second,
            Self::Millis => 1_000.0 / sample.per_second,
        }
    }

    pub(crate) fn text(self, value: f64) -> String {
        match self {
            Self::PerSecond => thousands(value),
            Self::Millis => format!("{value:.1} ms"),
        }
    }
}

/// The limits of a row, as ratios to the usual way.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Demand {
    /// At least so much of the row's rate.
    pub(crate) rate: Option<f64>,
    /// At most so much of the row's time.
    pub(crate) time: Option<f64>,
    /// At most so much of the server's time.
    pub(crate) server: Option<f64>,
}

impl Demand {
    pub(crate) fn text(self) -> String {
        let parts = [
            self.rate.map(|limit| format!("≥ {limit} × A")),
            self.time.map(|limit| format!("≤ {limit} × A in time")),
            self.server.map(|limit| format!("≤ {limit} × A server time")),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }

    /// Whether the ratios are within the limits; nothing where there is no limit.
    pub(crate) fn met(self, ratio: f64, server: f64) -> Option<bool> {
        let checks = [
            self.rate.map(|limit| ratio >= limit),
            self.time.map(|limit| ratio <= limit),
            self.server.map(|limit| server <= limit),
        ];
        checks.into_iter().flatten().reduce(|a, b| a && b)
    }
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

/// The median of the ratios of rounds that followed one another: what disturbs both for longer than a
/// round falls out.
pub(crate) fn ratio(ours: &[Sample], usual: &[Sample], value: impl Fn(&Sample) -> f64) -> f64 {
    median(ours.iter().zip(usual).map(|(ours, usual)| value(ours) / value(usual)).collect())
}

/// The median with the least and the greatest value.
pub(crate) fn spread(values: &[f64], text: impl Fn(f64) -> String) -> String {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    format!("{} ({} – {})", text(median(values.to_vec())), text(least), text(most))
}

/// The value below which `part` of the sorted values lie.
pub(crate) fn percentile(sorted: &[u64], part: f64) -> u64 {
    let place = (sorted.len() as f64 * part).ceil().max(1.0) as usize;
    sorted.get(place - 1).or(sorted.last()).copied().unwrap_or(0)
}

/// Groups the digits of a whole number by threes.
pub(crate) fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}
