//! Programs that carry one stream: which options to add to their arguments, and how to read what they report.

pub mod ffmpeg;
mod lines;
pub mod srt_live_transmit;
mod url;

use std::time::Duration;

pub use lines::Lines;

use crate::model::Item;
use crate::reconcile::{Duplicates, Profile};
use crate::servers::fields::NEVER;

/// How a program that carries one stream behaves.
pub const PROFILE: Profile = Profile {
    duplicates: Duplicates::TakeOver,
    stall_after: STALL_AFTER,
    rate_window: Duration::from_secs(2),
    // Only the end of the source or of the program ends the stream.
    forget_after: NEVER,
};

/// A program that reports nothing for this long has the status `paused`.
const STALL_AFTER: Duration = Duration::from_secs(10);

/// Reads what a program reports about its stream.
///
/// `now` is the time since any fixed moment, and never decreases.
pub trait Tool: Send {
    /// Returns the name of the program, for the label `server`.
    fn name(&self) -> &'static str;

    /// Returns the options that make the program write its statistics to a file. The options come before all others.
    fn options(&self, file: &str) -> Vec<String>;

    /// Reads a line that the program has written to standard error.
    ///
    /// Call this method for every line that was written before a statistic, and then read the statistic.
    fn log(&mut self, now: Duration, line: &str);

    /// Reads a line of the statistics.
    fn statistics(&mut self, now: Duration, line: &str);

    /// Returns the stream as it is now, or `None` if the program has no source.
    fn stream(&self, now: Duration) -> Option<Item>;
}

/// The arguments of the program contain an option that `streamreg track` sets itself. The message names the option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReservedOption(String);

impl ReservedOption {
    fn new(option: &str) -> Self {
        Self(format!("{option} is set by streamreg, which reads the statistics; remove the option"))
    }
}

impl std::fmt::Display for ReservedOption {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ReservedOption {}
