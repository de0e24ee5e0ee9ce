//! Checks the change feed and the sweep, which reports expired streams.

use std::time::Duration;

use redis::Value;

use super::report::{Code, Report};
use crate::error::{ErrorKind, Result};
use crate::redis::feed::position::{EntryId, entry_id};
use crate::redis::feed::{ends, entry};
use crate::redis::reply;
use crate::redis::store::Store;
use crate::stream::Timestamp;

/// Redis trims the feed to about 100 000 entries, in whole nodes of the stream.
const MAX_ENTRIES: i64 = 110_000;
/// A process that sweeps does so about once a second.
const MAX_SWEEP_AGE: Duration = Duration::from_secs(10);

/// What the server says about the feed.
#[derive(Default)]
struct Feed {
    length: i64,
    first: Option<EntryId>,
    last: Option<EntryId>,
    /// Id of the last entry according to the metadata.
    tail: Option<EntryId>,
    /// Time of the last sweep, in Unix milliseconds.
    swept: Option<u64>,
}

/// The feeds without a fault.
#[derive(Default)]
pub(super) struct Faultless {
    /// Number of feeds.
    feeds: u64,
    events: i64,
    /// Age of the oldest event, in seconds.
    age: u64,
    /// Number of feeds whose streams are swept.
    swept: u64,
}

/// Checks the feed of a shard.
pub(super) async fn check(report: &mut Report, store: &Store, faultless: &mut Faultless) -> Result<()> {
    let answer = read(store).await;
    let rights = "+xlen +xread +xrevrange +hmget";
    let feed = match report.allowed(Code::Feed, "the change feed", rights, answer) {
        Err(error) if error.kind() == ErrorKind::Corrupt => {
            let message = "a key of the change feed holds a value of another type, so there are no events";
            report.error(Code::Feed, message, "delete the key; the next event creates the feed again");
            return Ok(());
        }
        feed => feed?,
    };
    if let Some(feed) = feed {
        let now = millis(store.link.estimated_now());
        judge_feed(report, &feed, now, faultless);
        judge_sweep(report, &feed, now, faultless);
    }
    Ok(())
}

fn millis(time: Timestamp) -> u64 {
    u64::try_from(time.as_unix_nanos() / 1_000_000).unwrap_or(0)
}

async fn read(store: &Store) -> Result<Feed> {
    let feed = store.keys.feed();
    let mut length = redis::cmd("XLEN");
    let mut last = redis::cmd("XREVRANGE");
    last.arg(&feed).arg("+").arg("-").arg("COUNT").arg(1);
    let mut metadata = redis::cmd("HMGET");
    metadata.arg(store.keys.feed_metadata()).arg("tail").arg("swept");
    let mut metadata = reply::array(store.link.read(&metadata).await?)?.into_iter();
    let mut field = || reply::optional_bytes(metadata.next().unwrap_or(Value::Nil));
    Ok(Feed {
        tail: field()?.and_then(|id| entry_id(&id)),
        swept: field()?.and_then(|millis| String::from_utf8(millis).ok()?.parse().ok()),
        length: reply::number(&store.link.read(length.arg(&feed)).await?)?,
        first: ends::oldest(store).await?.map(|entry| entry.id),
        last: reply::array(store.link.read(&last).await?)?.first().and_then(entry::id_of),
    })
}

fn judge_feed(report: &mut Report, feed: &Feed, now: u64, faultless: &mut Faultless) {
    if feed.length == 0 && feed.tail.is_none() {
        faultless.feeds += 1;
        return;
    }
    if feed.tail.is_none() || feed.tail < feed.last {
        let message = "the metadata of the change feed is missing or does not name its last event";
        let remedy = "find the program that changes these keys; a process with the role sweeper repairs the metadata";
        report.warning(Code::Feed, message, remedy);
        return;
    }
    let age = feed.first.map_or(0, |(first, _)| now.saturating_sub(first) / 1_000);
    if feed.length > MAX_ENTRIES {
        let message = format!("the change feed has {} events; the oldest is {} old", feed.length, duration(age));
        report.warning(Code::Feed, message, "find the program that adds entries; this software keeps about 100 000");
    } else {
        faultless.feeds += 1;
        faultless.events += feed.length;
        faultless.age = faultless.age.max(age);
    }
}

/// Reports that feeds have no fault, unless another one has.
pub(super) fn judge_faultless(report: &mut Report, faultless: &Faultless) {
    let Faultless { feeds, events, age, swept } = faultless;
    if *feeds > 0 && !report.has(Code::Feed) {
        let message = match events {
            0 => "the change feed is empty".to_owned(),
            _ => format!("the change feed has {events} events; the oldest is {} old", duration(*age)),
        };
        report.ok(Code::Feed, message);
    }
    if *swept > 0 && !report.has(Code::Sweep) {
        report.ok(Code::Sweep, "a process looks for expired streams");
    }
}

fn judge_sweep(report: &mut Report, feed: &Feed, now: u64, faultless: &mut Faultless) {
    const REMEDY: &str = "run a process with the rights of the role sweeper, e.g. streamreg serve";
    let Some(swept) = feed.swept else {
        if feed.tail.is_some() {
            report.warning(Code::Sweep, "no process has ever looked for expired streams", REMEDY);
        }
        return;
    };
    let age = now.saturating_sub(swept) / 1_000;
    if age > MAX_SWEEP_AGE.as_secs() {
        let message = format!("no process has looked for expired streams for {}", duration(age));
        report.warning(Code::Sweep, message, REMEDY);
    } else {
        faultless.swept += 1;
    }
}

/// Formats a number of seconds with one unit.
fn duration(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redis::diagnose::report::Severity;

    fn worst(check: impl Fn(&mut Report, &mut Faultless)) -> Option<Severity> {
        let (mut report, mut faultless) = (Report::default(), Faultless::default());
        check(&mut report, &mut faultless);
        judge_faultless(&mut report, &faultless);
        report.finish().findings.into_iter().map(|finding| finding.severity).max()
    }

    #[test]
    fn feed_is_reported_if_it_is_too_long_or_its_metadata_is_wrong() {
        let id = |millis| Some((millis, 0));
        for (length, last, tail, severity) in [
            (0, None, None, Severity::Ok),
            (2, id(5), id(5), Severity::Ok),
            (0, None, id(5), Severity::Ok),
            (2, id(5), None, Severity::Warning),
            (2, id(5), id(4), Severity::Warning),
            (110_001, id(5), id(5), Severity::Warning),
        ] {
            let feed = Feed { length, first: id(1), last, tail, swept: None };
            let found = worst(|report, faultless| judge_feed(report, &feed, 10_000, faultless));
            assert_eq!(found, Some(severity), "{length} {last:?} {tail:?}");
        }
    }

    #[test]
    fn sweep_is_reported_if_it_stopped() {
        let tail = Some((1, 0));
        for (swept, tail, severity) in [
            (None, None, None),
            (None, tail, Some(Severity::Warning)),
            (Some(90_000), tail, Some(Severity::Ok)),
            (Some(80_000), tail, Some(Severity::Warning)),
        ] {
            let feed = Feed { swept, tail, ..Feed::default() };
            let found = worst(|report, faultless| judge_sweep(report, &feed, 100_000, faultless));
            assert_eq!(found, severity, "{swept:?}");
        }
    }

    #[test]
    fn durations_have_one_unit() {
        let words: Vec<_> = [1, 120, 7_200, 172_800].into_iter().map(duration).collect();
        assert_eq!(words, ["1 s", "2 min", "2 h", "2 days"]);
    }
}
