//! Counters and rates: exactness and limits.

use super::case::{Case, Check, fails, id, same, stream};
use super::declare;
use crate::error::ErrorKind;
use crate::stream::limits::MAX_COUNT;
use crate::stream::{Stream, StreamPatch, StreamStats, StreamStatus};

declare! {
    "numbers", Long: [
        counters_are_exact_after_a_registration,
        counters_are_exact_after_a_statistics_update,
        counters_are_exact_after_an_update,
        counters_stay_exact_through_other_writes,
        counters_over_the_limit_are_rejected_in_a_registration,
        counters_over_the_limit_are_rejected_in_statistics,
        counters_over_the_limit_are_rejected_in_an_update,
        rates_are_stored_exactly,
        invalid_rates_are_rejected,
    ],
}

/// Counter values near the limits of 32-bit integers, 14 digits, doubles and signed 64-bit integers.
const COUNTS: [u64; 12] = [
    0,
    1,
    (1 << 31) - 1,
    1 << 32,
    99_999_999_999_999,
    100_000_000_000_000,
    123_456_789_012_345,
    (1 << 53) - 1,
    (1 << 53) + 1,
    999_999_999_999_999_999,
    MAX_COUNT - 1,
    MAX_COUNT,
];

fn stats(value: u64) -> StreamStats {
    StreamStats {
        bytes_received: Some(value),
        packets_received: Some(value),
        packets_lost: Some(value),
        bitrate: Some(value),
        packets_retransmitted: Some(value),
        packets_dropped: Some(value),
        viewers: Some(value),
        ..Default::default()
    }
}

fn counters(record: &Stream) -> [u64; 7] {
    let optional =
        [record.packets_retransmitted, record.packets_dropped, record.viewers].map(Option::unwrap_or_default);
    [
        record.bytes_received,
        record.packets_received,
        record.packets_lost,
        record.bitrate,
        optional[0],
        optional[1],
        optional[2],
    ]
}

fn with_counters(value: u64) -> Stream {
    let mut given = stream("a");
    given.update_stats(&stats(value));
    given
}

async fn counters_are_exact_after_a_registration(case: &Case) -> Check {
    for value in COUNTS {
        case.put(&with_counters(value)).await?;
        same("the counters", counters(&case.get("a").await?), [value; 7])?;
    }
    Ok(())
}

async fn counters_are_exact_after_a_statistics_update(case: &Case) -> Check {
    case.put(&stream("a")).await?;
    for value in COUNTS.into_iter().chain(COUNTS.into_iter().rev()) {
        case.registry().update_stats(&id("a"), &stats(value)).await?;
        same("the counters", counters(&case.get("a").await?), [value; 7])?;
    }
    Ok(())
}

async fn counters_are_exact_after_an_update(case: &Case) -> Check {
    case.put(&stream("a")).await?;
    for value in COUNTS {
        case.registry().update(&with_counters(value)).await?;
        same("the counters", counters(&case.get("a").await?), [value; 7])?;
    }
    Ok(())
}

async fn counters_stay_exact_through_other_writes(case: &Case) -> Check {
    for value in COUNTS {
        case.put(&with_counters(value)).await?;
        let name = id("a");
        case.registry().update_heartbeat(&name).await?;
        case.registry().update_status(&name, StreamStatus::Paused).await?;
        case.registry().patch(&name, &StreamPatch::default().label("a", "b")).await?;
        same("the counters", counters(&case.get("a").await?), [value; 7])?;
        same("the counters of the last record", counters(&case.registry().unregister(&name).await?), [value; 7])?;
    }
    Ok(())
}

/// Returns, for each counter, statistics in which only this counter is too large.
fn too_large() -> Vec<StreamStats> {
    let mut all = Vec::new();
    for value in [MAX_COUNT + 1, u64::MAX] {
        all.extend([
            StreamStats { bytes_received: Some(value), ..stats(7) },
            StreamStats { packets_received: Some(value), ..stats(7) },
            StreamStats { packets_lost: Some(value), ..stats(7) },
            StreamStats { bitrate: Some(value), ..stats(7) },
            StreamStats { packets_retransmitted: Some(value), ..stats(7) },
            StreamStats { packets_dropped: Some(value), ..stats(7) },
            StreamStats { viewers: Some(value), ..stats(7) },
        ]);
    }
    all
}

async fn counters_over_the_limit_are_rejected_in_a_registration(case: &Case) -> Check {
    for bad in too_large() {
        let mut given = stream("a");
        given.update_stats(&bad);
        fails(case.registry().register(&given).await, ErrorKind::InvalidArgument)?;
    }
    case.assert_gone("a").await
}

async fn counters_over_the_limit_are_rejected_in_statistics(case: &Case) -> Check {
    let before = case.put(&with_counters(7)).await?;
    for bad in too_large() {
        fails(case.registry().update_stats(&id("a"), &bad).await, ErrorKind::InvalidArgument)?;
    }
    case.unchanged(&before).await
}

async fn counters_over_the_limit_are_rejected_in_an_update(case: &Case) -> Check {
    let before = case.put(&with_counters(7)).await?;
    for bad in too_large() {
        let mut given = stream("a");
        given.update_stats(&bad);
        fails(case.registry().update(&given).await, ErrorKind::InvalidArgument)?;
    }
    case.unchanged(&before).await
}

async fn rates_are_stored_exactly(case: &Case) -> Check {
    case.put(&stream("a")).await?;
    for rate in [0.0, 25.0, 29.97, 60_000.0 / 1_001.0, 0.1 + 0.2, 1e-7, 5e-324, 1e21, f64::MAX] {
        let given =
            StreamStats { frame_rate: Some(rate), rtt_ms: Some(rate), jitter_ms: Some(rate), ..StreamStats::default() };
        case.registry().update_stats(&id("a"), &given).await?;
        let found = case.get("a").await?;
        same("the rates", (found.frame_rate, found.rtt_ms, found.jitter_ms), (rate, Some(rate), Some(rate)))?;
        let patch = StreamPatch { frame_rate: Some(rate), ..StreamPatch::default() };
        case.registry().patch(&id("a"), &patch).await?;
        same("the patched rate", case.get("a").await?.frame_rate, rate)?;
    }
    Ok(())
}

async fn invalid_rates_are_rejected(case: &Case) -> Check {
    let before = case.put(&with_counters(7)).await?;
    for rate in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0] {
        let mut given = with_counters(7);
        given.frame_rate = rate;
        fails(case.registry().register(&given).await, ErrorKind::InvalidArgument)?;
        fails(case.registry().update(&given).await, ErrorKind::InvalidArgument)?;
        let patch = StreamPatch { frame_rate: Some(rate), ..StreamPatch::default() };
        fails(case.registry().patch(&id("a"), &patch).await, ErrorKind::InvalidArgument)?;
        for bad in [
            StreamStats { frame_rate: Some(rate), ..stats(9) },
            StreamStats { rtt_ms: Some(rate), ..stats(9) },
            StreamStats { jitter_ms: Some(rate), ..stats(9) },
        ] {
            fails(case.registry().update_stats(&id("a"), &bad).await, ErrorKind::InvalidArgument)?;
        }
    }
    case.unchanged(&before).await
}
