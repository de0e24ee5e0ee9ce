//! The history of ended streams.

use std::time::Instant;

use super::case::{Case, Check, Fault, count, fault, full, id, same, stream};
use super::declare;
use super::feed::{changed, ended, follow};
use crate::error::ErrorKind;
use crate::query::Ended;
use crate::registry::{OnConflict, RegisterOptions, UnregisterOptions};
use crate::stream::StreamType;
use crate::watch::{Ending, Event, WatchFrom};

declare! {
    "queries", Long: [
        history_lists_the_latest_ended_stream_first,
        history_applies_conditions_and_limit,
        history_omits_streams_that_were_taken_over,
    ],
    "queries", Short: [history_lists_expired_streams],
}

async fn history(case: &Case, conditions: &Ended, limit: u32) -> Check<Vec<Event>> {
    match case.registry().history(conditions, count(limit)).await {
        Err(error) if error.kind() == ErrorKind::Unsupported => Err(Fault::NoHook("watch")),
        other => Ok(other?),
    }
}

fn ended_ids(events: &[Event]) -> Vec<&str> {
    events.iter().filter_map(Event::stream).map(|stream| stream.id.as_str()).collect()
}

async fn history_lists_the_latest_ended_stream_first(case: &Case) -> Check {
    // A store may start its change feed when the first watch opens.
    follow(case, WatchFrom::Now).await?;
    same("the history of an empty store", history(case, &Ended::default(), 10).await?, Vec::new())?;
    case.put_all(["a", "b", "live"].map(str::to_owned)).await?;
    same("the history of live streams", history(case, &Ended::default(), 10).await?, Vec::new())?;
    let first = case.registry().unregister(&id("a")).await?;
    let options = UnregisterOptions::default().reason("done".parse()?);
    let second = case.registry().unregister_with(&id("b"), &options).await?;
    // A stream that is registered again under the same id is a new session.
    case.put(&full("a")).await?;
    let third = case.registry().unregister(&id("a")).await?;
    let events = history(case, &Ended::default(), 10).await?;
    same("the ended streams", ended_ids(&events), vec!["a", "b", "a"])?;
    let records: Vec<_> = events.iter().filter_map(Event::stream).collect();
    same("the last record of the second session", records[0].to_json(), third.to_json())?;
    same("the last record of b", records[1].to_json(), second.to_json())?;
    same("the last record of the first session", records[2].to_json(), first.to_json())?;
    match &events[1] {
        Event::Ended { reason, .. } => same("the reason", reason, &Ending::Unregistered(options.reason)),
        other => Err(fault(&format!("{other:?} is not the end of a stream"))),
    }
}

async fn history_applies_conditions_and_limit(case: &Case) -> Check {
    follow(case, WatchFrom::Now).await?;
    for (name, kind, node) in [
        ("a", StreamType::Srt, Some("n1")),
        ("b", StreamType::Rtp, Some("n1")),
        ("c", StreamType::Srt, None),
        ("d", StreamType::Srt, Some("n2")),
    ] {
        let mut given = stream(name);
        given.kind = kind;
        given.node = node.map(str::to_owned);
        case.put(&given).await?;
        case.registry().unregister(&id(name)).await?;
    }
    let all = Ended::default;
    for (conditions, limit, expected) in [
        (all(), 10, &["d", "c", "b", "a"][..]),
        (all(), 2, &["d", "c"]),
        (all().id(id("b")), 10, &["b"]),
        (all().id(id("unknown")), 10, &[]),
        (all().kind(StreamType::Srt), 10, &["d", "c", "a"]),
        (all().kind(StreamType::Srt), 1, &["d"]),
        (all().node("n1"), 10, &["b", "a"]),
        (all().node(""), 10, &["c"]),
        (all().node("n1").kind(StreamType::Srt), 10, &["a"]),
    ] {
        let events = history(case, &conditions, limit).await?;
        same(&format!("the history filtered by {conditions:?}"), ended_ids(&events), expected.to_vec())?;
    }
    Ok(())
}

async fn history_omits_streams_that_were_taken_over(case: &Case) -> Check {
    follow(case, WatchFrom::Now).await?;
    case.put(&stream("a")).await?;
    let take_over = RegisterOptions::default().on_conflict(OnConflict::TakeOver);
    let mut successor = stream("a");
    successor.source_addr = "198.51.100.9:1".to_owned();
    case.registry().register_with(&successor, &take_over).await?;
    same("the history after a take-over", history(case, &Ended::default(), 10).await?, Vec::new())?;
    case.registry().unregister(&id("a")).await?;
    let events = history(case, &Ended::default(), 10).await?;
    let addresses: Vec<_> = events.iter().filter_map(Event::stream).map(|last| last.source_addr.as_str()).collect();
    same("the ended streams", addresses, vec!["198.51.100.9:1"])
}

async fn history_lists_expired_streams(case: &Case) -> Check {
    let mut watch = follow(case, WatchFrom::Now).await?;
    let sent = Instant::now();
    case.put(&stream("a")).await?;
    case.pass(0.6).await;
    let last = case.assert_live("a", sent).await?;
    case.pass(0.5).await;
    changed(&mut watch).await?;
    let (reason, _) = ended(&mut watch).await?;
    same("the reason", reason, Ending::Expired)?;
    let events = history(case, &Ended::default(), 10).await?;
    let Some(Event::Ended { reason, last: listed, as_of, .. }) = events.first() else {
        return Err(fault("the expired stream is not in the history"));
    };
    same("the number of ended streams", events.len(), 1)?;
    same("the listed reason", reason, &Ending::Expired)?;
    if as_of.is_none() {
        // The store was too busy to read the record before the stream expired. The behaviour runs again with a longer
        // time to live.
        return Err(Fault::TooLate);
    }
    same("the last record", listed.to_json(), last.to_json())
}
