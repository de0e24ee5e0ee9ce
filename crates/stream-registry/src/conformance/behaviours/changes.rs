//! Writes to a live stream: heartbeat, status, statistics and update.

use std::time::Duration;

use super::case::{Case, Check, ensure, fails, full, id, same, stream, totals, without_times, write};
use super::declare;
use crate::error::ErrorKind;
use crate::registry::Change;
use crate::stream::{Stream, StreamStats, StreamStatus, Timestamp};

declare! {
    "heartbeat", Long: [
        heartbeat_changes_only_last_heartbeat,
        heartbeat_returns_not_found_without_a_live_stream,
    ],
    "status", Long: [
        status_update_changes_only_status_and_last_heartbeat,
        status_update_returns_not_found_without_a_live_stream,
    ],
    "stats", Long: [
        statistics_update_changes_only_statistics_and_last_heartbeat,
        statistics_update_keeps_values_that_are_not_given,
        empty_statistics_change_only_last_heartbeat,
        counters_may_decrease,
        statistics_update_returns_not_found_without_a_live_stream,
    ],
    "update", Long: [
        update_replaces_the_whole_record,
        update_keeps_created_at,
        update_ignores_times_in_the_given_record,
        update_creates_nothing_without_a_live_stream,
        update_rejects_a_record_with_another_id,
        update_can_change_the_publisher,
    ],
    "time", Long: [
        last_heartbeat_advances_with_every_write,
        last_heartbeat_never_goes_back,
        timestamps_come_from_the_clock_of_the_store,
        now_is_the_time_of_the_store,
    ],
}

const STEP: Duration = Duration::from_millis(20);

async fn put_and_wait(case: &Case, given: &Stream) -> Check<Stream> {
    let before = case.put(given).await?;
    case.instance.advance(STEP).await;
    Ok(before)
}

/// Checks that the stored record equals `expected`, except for a later `last_heartbeat`.
async fn assert_changed_only(case: &Case, mut expected: Stream) -> Check {
    let now = case.get(expected.id.as_str()).await?;
    ensure(now.last_heartbeat > expected.last_heartbeat, "last_heartbeat does not advance")?;
    expected.last_heartbeat = now.last_heartbeat;
    same("the record", now.to_json(), expected.to_json())
}

async fn assert_not_found(case: &Case, change: Change) -> Check {
    case.put(&stream("ended")).await?;
    case.registry().unregister(&id("ended")).await?;
    for name in ["never", "ended"] {
        let error = fails(case.registry().write_one(write(name, change.clone())).await, ErrorKind::NotFound)?;
        ensure(!error.is_retryable() && !error.may_have_applied(), "NotFound looks like a failure of the store")?;
        case.assert_gone(name).await?;
    }
    Ok(())
}

async fn heartbeat_changes_only_last_heartbeat(case: &Case) -> Check {
    let before = put_and_wait(case, &full("a")).await?;
    case.registry().update_heartbeat(&id("a")).await?;
    assert_changed_only(case, before).await
}

async fn heartbeat_returns_not_found_without_a_live_stream(case: &Case) -> Check {
    assert_not_found(case, Change::Heartbeat).await
}

async fn status_update_changes_only_status_and_last_heartbeat(case: &Case) -> Check {
    use StreamStatus::{Active, Closed, Connecting, Error, Paused};
    let mut before = put_and_wait(case, &full("a")).await?;
    for status in [Connecting, Active, Paused, Error, Closed] {
        case.registry().update_status(&id("a"), status.clone()).await?;
        before.status = status;
        assert_changed_only(case, before.clone()).await?;
    }
    Ok(())
}

async fn status_update_returns_not_found_without_a_live_stream(case: &Case) -> Check {
    assert_not_found(case, Change::Status(StreamStatus::Active)).await
}

async fn statistics_update_changes_only_statistics_and_last_heartbeat(case: &Case) -> Check {
    let mut before = put_and_wait(case, &full("a")).await?;
    let stats = StreamStats {
        bytes_received: Some(1),
        packets_received: Some(2),
        packets_lost: Some(3),
        bitrate: Some(4),
        rtt_ms: Some(5.5),
        jitter_ms: Some(6.5),
        packets_retransmitted: Some(7),
        packets_dropped: Some(8),
        viewers: Some(9),
        frame_rate: Some(10.5),
    };
    case.registry().update_stats(&id("a"), &stats).await?;
    before.update_stats(&stats);
    assert_changed_only(case, before).await?;
    same("the statistics", case.get("a").await?.stats(), stats)
}

async fn statistics_update_keeps_values_that_are_not_given(case: &Case) -> Check {
    let mut before = put_and_wait(case, &full("a")).await?;
    for one in [
        totals(),
        StreamStats { bytes_received: Some(1), ..Default::default() },
        StreamStats { packets_received: Some(2), viewers: Some(0), ..Default::default() },
        StreamStats { packets_lost: Some(3), bitrate: Some(4), rtt_ms: Some(5.5), ..Default::default() },
    ] {
        case.registry().update_stats(&id("a"), &one).await?;
        before.update_stats(&one);
        assert_changed_only(case, before.clone()).await?;
        before = case.get("a").await?;
        case.instance.advance(STEP).await;
    }
    let now = case.get("a").await?;
    same("the given values", (now.bytes_received, now.packets_received, now.viewers), (1, 2, Some(0)))?;
    same("the given values", (now.packets_lost, now.bitrate, now.rtt_ms), (3, 4, Some(5.5)))?;
    same("the values that were not given", (now.frame_rate, now.packets_dropped), (59.94, Some(5)))
}

async fn empty_statistics_change_only_last_heartbeat(case: &Case) -> Check {
    let before = put_and_wait(case, &full("a")).await?;
    case.registry().update_stats(&id("a"), &StreamStats::default()).await?;
    assert_changed_only(case, before).await
}

async fn counters_may_decrease(case: &Case) -> Check {
    case.put(&full("a")).await?;
    let zero = StreamStats { bytes_received: Some(0), ..Default::default() };
    case.registry().update_stats(&id("a"), &zero).await?;
    same("the counter", case.get("a").await?.bytes_received, 0)
}

async fn statistics_update_returns_not_found_without_a_live_stream(case: &Case) -> Check {
    assert_not_found(case, Change::Stats(Box::new(totals()))).await
}

async fn update_replaces_the_whole_record(case: &Case) -> Check {
    put_and_wait(case, &full("a")).await?;
    let given = stream("a");
    case.registry().update(&given).await?;
    same("the record", without_times(&case.get("a").await?), without_times(&given))?;
    let given = full("a");
    case.registry().update(&given).await?;
    same("the record", without_times(&case.get("a").await?), without_times(&given))
}

async fn update_keeps_created_at(case: &Case) -> Check {
    let before = put_and_wait(case, &stream("a")).await?;
    let mut given = full("a");
    given.created_at = Timestamp::ZERO;
    case.registry().update(&given).await?;
    let now = case.get("a").await?;
    same("created_at", now.created_at, before.created_at)?;
    ensure(now.last_heartbeat > before.last_heartbeat, "last_heartbeat does not advance")
}

async fn update_ignores_times_in_the_given_record(case: &Case) -> Check {
    let before = put_and_wait(case, &stream("a")).await?;
    let mut given = stream("a");
    given.created_at = "2099-12-31T23:59:59Z".parse()?;
    given.last_heartbeat = given.created_at;
    case.registry().update(&given).await?;
    assert_changed_only(case, before).await?;
    ensure(case.get("a").await?.last_heartbeat < given.last_heartbeat, "the time is from the caller's clock")
}

async fn update_creates_nothing_without_a_live_stream(case: &Case) -> Check {
    case.put(&stream("ended")).await?;
    case.registry().unregister(&id("ended")).await?;
    for name in ["never", "ended"] {
        fails(case.registry().update(&full(name)).await, ErrorKind::NotFound)?;
        case.assert_gone(name).await?;
    }
    Ok(())
}

async fn update_rejects_a_record_with_another_id(case: &Case) -> Check {
    let before = case.put(&full("a")).await?;
    let other = case.put(&full("b")).await?;
    let renamed = write("a", Change::Update(Box::new(stream("b"))));
    fails(case.registry().write_one(renamed).await, ErrorKind::InvalidArgument)?;
    case.unchanged(&before).await?;
    case.unchanged(&other).await
}

async fn update_can_change_the_publisher(case: &Case) -> Check {
    case.put(&stream("a")).await?;
    let mut given = stream("a");
    given.kind = crate::StreamType::Rtp;
    given.source_addr = "[2001:db8::17]:5004".to_owned();
    given.node = Some("ingest-9".to_owned());
    case.registry().update(&given).await?;
    same("the record", without_times(&case.get("a").await?), without_times(&given))
}

async fn last_heartbeat_advances_with_every_write(case: &Case) -> Check {
    let mut before = put_and_wait(case, &stream("a")).await?;
    let changes = [
        Change::Heartbeat,
        Change::Status(StreamStatus::Active),
        Change::Stats(Box::new(totals())),
        Change::Patch(Box::default()),
        Change::Update(Box::new(stream("a"))),
    ];
    for change in changes {
        case.registry().write_one(write("a", change.clone())).await?;
        let now = case.get("a").await?;
        let passed = now.last_heartbeat.since(before.last_heartbeat);
        // This requires only half a step, because a store may round to milliseconds, and a client may only estimate the
        // store's clock.
        ensure(passed >= STEP / 2, &format!("{change:?} advances last_heartbeat by {passed:?} after {STEP:?}"))?;
        before = now;
        case.instance.advance(STEP).await;
    }
    Ok(())
}

async fn last_heartbeat_never_goes_back(case: &Case) -> Check {
    let mut last = case.put(&stream("a")).await?.last_heartbeat;
    for _ in 0..100 {
        case.registry().update_heartbeat(&id("a")).await?;
        let now = case.get("a").await?.last_heartbeat;
        ensure(now >= last, "last_heartbeat goes back")?;
        last = now;
    }
    Ok(())
}

async fn timestamps_come_from_the_clock_of_the_store(case: &Case) -> Check {
    let one = case.put(&stream("a")).await?.created_at;
    let mut other = stream("b");
    other.created_at = "1999-01-01T00:00:00Z".parse()?;
    other.last_heartbeat = other.created_at;
    let other = case.put(&other).await?.created_at;
    // In a Redis Cluster, the two times can come from the clocks of two nodes.
    let difference = other.since(one).max(one.since(other));
    ensure(difference < Duration::from_secs(60), "the time is from the caller's clock")?;
    case.registry().update(&stream("a")).await?;
    ensure(
        case.get("a").await?.last_heartbeat.since(other) < Duration::from_secs(60),
        "the time is from the caller's clock",
    )
}

async fn now_is_the_time_of_the_store(case: &Case) -> Check {
    case.put(&stream("a")).await?;
    // In a store with a test clock, this hook can also move the clock, so that it differs from the local clock.
    case.instance.age(&id("a"), case.ttl / 2).await;
    case.registry().update_heartbeat(&id("a")).await?;
    let written = case.get("a").await?.last_heartbeat;
    let now = case.registry().now();
    let difference = now.since(written).max(written.since(now));
    ensure(difference < Duration::from_secs(60), &format!("now differs from the time of a write by {difference:?}"))
}
