//! Checks how fast the server answers, and which of our calls it has logged as slow.

use std::time::{Duration, Instant};

use redis::Value;

use super::ask::ask;
use super::report::{Code, Report, is_refused};
use crate::error::Result;
use crate::redis::connect::connection::Connection;
use crate::redis::reply;

/// Number of `PING`s.
const PINGS: usize = 20;
/// Median round-trip time from which Redis counts as slow.
const SLOW_PING: Duration = Duration::from_millis(50);
/// Number of entries of the slow log that are read.
const SLOW_ENTRIES: usize = 128;

/// Measures the round-trip time of `PING`.
pub(super) async fn latency(report: &mut Report, connection: &mut Connection) -> Result<()> {
    let mut times = Vec::with_capacity(PINGS);
    for _ in 0..PINGS {
        let sent = Instant::now();
        let answer = ask(connection, &redis::cmd("PING")).await.map(|_| ());
        let took = sent.elapsed();
        let answer = match answer {
            // A server that cannot save its data rejects PING too, but this reply shows the latency as well.
            Err(error) if error.is_store_reply() && !is_refused(&error) => Ok(()),
            answer => answer,
        };
        if report.allowed(Code::Latency, "the latency", "+ping", answer)?.is_none() {
            return Ok(());
        }
        times.push(took);
    }
    judge_latency(report, times);
    Ok(())
}

fn judge_latency(report: &mut Report, mut times: Vec<Duration>) {
    times.sort_unstable();
    let (Some(min), Some(max)) = (times.first(), times.last()) else { return };
    let median = times[times.len() / 2];
    let message = format!("PING takes {min:.1?} to {max:.1?}, and {median:.1?} in the median of {}", times.len());
    if median > SLOW_PING {
        let remedy = "check the network and the load of Redis with redis-cli --latency; see the slow log";
        report.warning(Code::Latency, message, remedy);
    } else {
        report.ok(Code::Latency, message);
    }
}

/// Looks for calls about keys with a prefix in the slow log.
pub(super) async fn slow_log(report: &mut Report, connection: &mut Connection, prefix: &str) -> Result<()> {
    let mut command = redis::cmd("SLOWLOG");
    command.arg("GET").arg(SLOW_ENTRIES);
    let answer = ask(connection, &command).await;
    let Some(entries) = report.allowed(Code::SlowLog, "the slow log", "+slowlog|get", answer)? else { return Ok(()) };
    let entries = reply::array(entries)?;
    let ours: Vec<_> = entries.iter().filter_map(|entry| slow_call(entry, prefix)).collect();
    match ours.iter().max_by_key(|(took, _)| *took) {
        Some((took, name)) => {
            let message = format!(
                "{} of the last {} slow commands are calls of this registry; the slowest is {name} with {took:.1?}",
                ours.len(),
                entries.len()
            );
            report.warning(Code::SlowLog, message, "see SLOWLOG GET; list pages instead of the whole registry");
        }
        None if entries.is_empty() => report.ok(Code::SlowLog, "the slow log is empty"),
        None => {
            let message = format!("none of the last {} slow commands is a call of this registry", entries.len());
            report.ok(Code::SlowLog, message);
        }
    }
    Ok(())
}

/// Returns the duration and the command of an entry of the slow log, if it is about a key with the prefix.
fn slow_call(entry: &Value, prefix: &str) -> Option<(Duration, String)> {
    let Value::Array(fields) = entry else { return None };
    let took = u64::try_from(reply::number(fields.get(2)?).ok()?).ok()?;
    let Value::Array(arguments) = fields.get(3)? else { return None };
    let is_ours = |argument: &Value| matches!(argument, Value::BulkString(text) if text.starts_with(prefix.as_bytes()));
    let name = match arguments.first()? {
        Value::BulkString(name) => String::from_utf8_lossy(name).to_uppercase(),
        _ => return None,
    };
    arguments.iter().any(is_ours).then(|| (Duration::from_micros(took), name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redis::diagnose::report::Severity;

    #[test]
    fn latency_is_judged_by_its_median() {
        for (slow, severity) in [(9, Severity::Ok), (11, Severity::Warning)] {
            let mut report = Report::default();
            let times = (0..20).map(|at| Duration::from_millis(if at < slow { 60 } else { 1 }));
            judge_latency(&mut report, times.collect());
            let finding = report.finish().findings.remove(0);
            assert_eq!(finding.severity, severity, "{}", finding.message);
            assert!(finding.message.starts_with("PING takes 1.0ms to 60.0ms"), "{}", finding.message);
        }
    }

    #[test]
    fn slow_calls_are_ours_if_they_name_our_keys() {
        let string = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let entry = |arguments: &[&str]| {
            let arguments = arguments.iter().map(|text| string(text)).collect();
            Value::Array(vec![Value::Int(1), Value::Int(2), Value::Int(30_000), Value::Array(arguments)])
        };
        let found = slow_call(&entry(&["evalsha", "abc", "1", "a:cam1"]), "a:");
        assert_eq!(found, Some((Duration::from_millis(30), "EVALSHA".to_owned())));
        assert_eq!(slow_call(&entry(&["get", "b:cam1"]), "a:"), None);
    }
}
