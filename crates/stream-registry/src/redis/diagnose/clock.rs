//! Measures how far the clocks of servers differ from the clock of this machine.

use std::time::Duration;

use redis::Value;

use super::ask::ask;
use super::report::{Code, Report};
use crate::error::Result;
use crate::redis::connect::connection::Connection;
use crate::redis::reply;
use crate::stream::Timestamp;

/// Number of readings. The reading with the shortest round trip is used, because it is the most precise.
const READINGS: usize = 5;
/// Maximum difference between two clocks. Readers of the change feed rely on it after a failover.
const MAX_DIFFERENCE: Duration = Duration::from_secs(1);
const NANOS_PER_MILLI: i128 = 1_000_000;

/// How far a server's clock is ahead of the clock of this machine, in milliseconds, and the error bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Offset {
    pub(super) millis: i128,
    pub(super) error_millis: i128,
}

/// Measures the offset of a server's clock.
///
/// # Errors
///
/// Returns `Denied` if the user may not run `TIME`.
pub(super) async fn measure(connection: &mut Connection) -> Result<Offset> {
    let mut best: Option<(i128, i128)> = None;
    for _ in 0..READINGS {
        let sent = Timestamp::now().as_unix_nanos();
        let server = nanos(ask(connection, &redis::cmd("TIME")).await?)?;
        let received = Timestamp::now().as_unix_nanos();
        let round_trip = (received - sent).max(0);
        if best.is_none_or(|(shortest, _)| round_trip < shortest) {
            best = Some((round_trip, server - sent - round_trip / 2));
        }
    }
    let (round_trip, offset) = best.unwrap_or_default();
    Ok(Offset { millis: offset / NANOS_PER_MILLI, error_millis: round_trip / 2 / NANOS_PER_MILLI + 1 })
}

fn nanos(time: Value) -> Result<i128> {
    let parts = reply::array(time)?;
    let part = |at: usize| reply::number(parts.get(at).unwrap_or(&Value::Nil)).map(i128::from);
    Ok(part(0)? * 1_000_000_000 + part(1)? * 1_000)
}

fn is_large(offset: Offset) -> bool {
    let limit = i128::try_from(MAX_DIFFERENCE.as_millis()).unwrap_or(i128::MAX);
    offset.millis.abs() - offset.error_millis > limit
}

/// Describes how far a clock is ahead of another one.
fn describe(offset: Offset, other: &str) -> String {
    let Offset { millis, error_millis } = offset;
    let relation = if millis < 0 { "behind" } else { "ahead of" };
    format!("{} ms {relation} {other} (± {error_millis} ms)", millis.abs())
}

/// Compares the server's clock with the clock of this machine.
pub(super) fn local(report: &mut Report, offset: Offset) {
    let message = format!("the server's clock is {}", describe(offset, "the clock of this machine"));
    if is_large(offset) {
        report.warning(Code::LocalClock, message, "synchronise both clocks, e.g. with chrony or systemd-timesyncd");
    } else {
        report.ok(Code::LocalClock, message);
    }
}

/// Compares a replica's clock with the primary's.
pub(super) fn replica(report: &mut Report, address: &str, primary: Offset, replica: Offset) {
    let offset =
        Offset { millis: replica.millis - primary.millis, error_millis: replica.error_millis + primary.error_millis };
    let message = format!("the clock of the replica {address} is {}", describe(offset, "the primary's"));
    if is_large(offset) {
        let remedy = "synchronise the clocks of all servers; otherwise events after a failover have wrong times";
        report.warning(Code::ReplicaClock, message, remedy);
    } else {
        report.ok(Code::ReplicaClock, message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redis::diagnose::report::{Finding, Severity};

    fn finding(check: impl Fn(&mut Report)) -> Finding {
        let mut report = Report::default();
        check(&mut report);
        report.finish().findings.remove(0)
    }

    #[test]
    fn clocks_may_differ_by_a_second_and_the_error_of_the_measurement() {
        for (millis, severity) in
            [(0, Severity::Ok), (1_005, Severity::Ok), (1_006, Severity::Warning), (-1_006, Severity::Warning)]
        {
            let offset = Offset { millis, error_millis: 5 };
            assert_eq!(finding(|report| local(report, offset)).severity, severity, "{millis}");
            let same = finding(|report| replica(report, "h:1", offset, offset));
            assert_eq!(same.severity, Severity::Ok, "only the difference between the servers counts");
        }
        let found = finding(|report| {
            let zero = Offset { millis: 0, error_millis: 1 };
            replica(report, "h:1", zero, Offset { millis: -3_000, error_millis: 1 });
        });
        assert_eq!(found.severity, Severity::Warning);
        assert!(found.message.contains("3000 ms behind the primary's (± 2 ms)"), "{}", found.message);
    }

    #[test]
    fn time_is_parsed_to_nanoseconds() {
        let time = |parts: &[&str]| {
            Value::Array(parts.iter().map(|part| Value::BulkString(part.as_bytes().to_vec())).collect())
        };
        assert_eq!(nanos(time(&["2", "3"])).unwrap(), 2_000_003_000);
        assert!(nanos(time(&["2"])).is_err());
    }
}
