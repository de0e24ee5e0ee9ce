//! Reports of a holder: how a lease writes statistics, patches and statuses to the store.

use std::collections::BTreeMap;
use std::time::Duration;

use stream_registry::lease::LeaseState;
use stream_registry::registry::Operation;
use stream_registry::stream::LabelsPatch;
use stream_registry::{Change, ErrorKind, Registry, StreamPatch, StreamStats, StreamStatus};

use super::{ROUND, setup, setup_without_feed};

fn stats(bytes_received: u64) -> StreamStats {
    StreamStats {
        bytes_received: Some(bytes_received),
        packets_received: Some(bytes_received / 1_316),
        ..Default::default()
    }
}

#[tokio::test(start_paused = true)]
async fn newest_of_many_reports_is_written_once() {
    let setup = setup_without_feed();
    let lease = setup.acquire("cam1").await;
    for round in 0..5_u64 {
        for report in 0..10 {
            lease.report(stats(round * 1_000 + report));
        }
        setup.advance(ROUND).await;
        assert_eq!(setup.store.take_operations(), ["stats"], "the statistics replace a heartbeat");
        assert_eq!(setup.stored("cam1").await.unwrap().bytes_received, round * 1_000 + 9);
        setup.advance(ROUND).await;
        assert_eq!(setup.store.take_operations(), ["heartbeat"]);
    }
    lease.report(StreamStats { rtt_ms: Some(f64::NAN), ..stats(7) });
    lease.flush().await.unwrap();
    assert_eq!(setup.stored("cam1").await.unwrap().bytes_received, 4_009, "statistics with NaN are dropped");
    assert!(setup.store.take_operations().is_empty(), "flush wrote although nothing was pending");
}

#[tokio::test(start_paused = true)]
async fn flush_writes_merged_patches_and_statistics() {
    let setup = setup();
    let lease = setup.acquire("cam1").await;
    lease.patch(StreamPatch { video_codec: Some("H264".into()), ..Default::default() }.label("a", "1")).unwrap();
    lease.patch(StreamPatch { video_codec: Some("HEVC".into()), ..Default::default() }.label("b", "2")).unwrap();
    lease.report(stats(5));
    lease.flush().await.unwrap();
    assert_eq!(setup.store.take_operations(), ["stats", "patch"]);
    let stored = setup.stored("cam1").await.unwrap();
    assert_eq!((stored.video_codec.as_str(), stored.labels.len(), stored.bytes_received), ("HEVC", 2, 5));
    let long = StreamPatch { resolution: Some("x".repeat(2_000)), ..Default::default() };
    assert_eq!(lease.patch(long).unwrap_err().kind(), ErrorKind::InvalidArgument);
    let many: BTreeMap<_, _> = (0..63).map(|at| (format!("l{at}"), Some(String::new()))).collect();
    let many = StreamPatch { labels: LabelsPatch::Merge(many), ..Default::default() };
    assert_eq!(lease.patch(many).unwrap_err().kind(), ErrorKind::InvalidArgument, "65 labels");
    lease.flush().await.unwrap();
    assert!(setup.store.take_operations().is_empty());
}

#[tokio::test(start_paused = true)]
async fn statuses_are_written_at_once_and_in_order() {
    let setup = setup();
    let lease = setup.acquire("cam1").await;
    let began = tokio::time::Instant::now();
    for status in [StreamStatus::Active, StreamStatus::Paused, StreamStatus::Active] {
        lease.set_status(status.clone()).await.unwrap();
        assert_eq!(setup.stored("cam1").await.unwrap().status, status);
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
    setup.store.take_calls();

    // The store is slow. While the first status is in flight, the holder sets four more. The lease writes only the last
    // of these.
    setup.mock.delay(Operation::Status, Duration::from_millis(300));
    let statuses = ["a", "b", "c", "d", "e"].map(|word| word.parse::<StreamStatus>().unwrap());
    let [a, b, c, d, e] = &statuses;
    let later = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let (b, c, d, e) = tokio::join!(
            lease.set_status(b.clone()),
            lease.set_status(c.clone()),
            lease.set_status(d.clone()),
            lease.set_status(e.clone())
        );
        b.and(c).and(d).and(e)
    };
    let (first, rest) = tokio::join!(lease.set_status(a.clone()), later);
    first.and(rest).unwrap();
    let written: Vec<_> = setup.store.take_calls().into_iter().flatten().map(|write| write.change).collect();
    assert_eq!(written, [Change::Status(a.clone()), Change::Status(e.clone())]);
    assert_eq!(setup.stored("cam1").await.unwrap().status, *e);
    let too_long = "x".repeat(33).parse::<StreamStatus>();
    assert!(too_long.is_err() || lease.set_status(too_long.unwrap()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn status_that_failed_in_an_outage_is_written_later() {
    let setup = setup();
    let lease = setup.acquire("cam1").await;
    setup.store.set_down(true);
    let error = lease.set_status(StreamStatus::Active).await.unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
    let error = lease.set_status(StreamStatus::Paused).await.unwrap_err();
    assert!(error.is_retryable(), "each call returns the outage at once: {error:?}");
    setup.store.set_down(false);
    setup.store.take_calls();
    setup.advance(Duration::from_millis(1_000)).await;
    assert_eq!(
        setup.stored("cam1").await.unwrap().status,
        StreamStatus::Paused,
        "the status was not written within the heartbeat interval"
    );
}

#[tokio::test(start_paused = true)]
async fn newer_reports_win_over_reports_of_a_failed_write() {
    let setup = setup();
    let lease = setup.acquire("cam1").await;
    lease.report(StreamStats { rtt_ms: Some(8.0), ..stats(1) });
    setup.mock.delay(Operation::Stats, Duration::from_millis(200));
    setup.mock.fail_next(Operation::Stats, ErrorKind::Unavailable);
    let newer_reports = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        lease.report(stats(2));
        lease.patch(StreamPatch::default().label("a", "1")).unwrap();
    };
    let (flushed, ()) = tokio::join!(lease.flush(), newer_reports);
    flushed.unwrap_err();
    setup.advance(ROUND).await;
    let stored = setup.stored("cam1").await.unwrap();
    assert_eq!((stored.bytes_received, stored.rtt_ms, stored.labels.len()), (2, Some(8.0), 1));
}

#[tokio::test(start_paused = true)]
async fn status_is_written_again_when_an_earlier_write_was_unconfirmed() {
    let setup = setup();
    let lease = setup.acquire("cam1").await;
    setup.mock.fail_next_after_applying(Operation::Status, ErrorKind::Timeout);
    lease.set_status(StreamStatus::Active).await.unwrap_err();
    lease.set_status(StreamStatus::Paused).await.unwrap();
    // The first write arrives late: over another connection, and after the second write.
    let old = stream_registry::Write {
        id: lease.id().clone(),
        guard: stream_registry::Guard::Holder(lease.epoch().clone()),
        change: Change::Status(StreamStatus::Active),
    };
    setup.mock.write_one(old).await.unwrap();
    setup.advance(ROUND).await;
    assert_eq!(setup.stored("cam1").await.unwrap().status, StreamStatus::Paused);
    setup.store.take_calls();
    setup.advance(ROUND * 2).await;
    assert_eq!(setup.store.take_operations(), ["heartbeat", "heartbeat"], "the status was written more than once");
}

#[tokio::test(start_paused = true)]
async fn heartbeats_continue_while_the_store_rejects_a_report() {
    let setup = setup();
    let lease = setup.acquire("cam1").await;
    // The lease drops an invalid report, but retries a report after any other error.
    for (kind, times) in [(ErrorKind::InvalidArgument, 1), (ErrorKind::Unavailable, 30)] {
        for _ in 0..times {
            setup.mock.fail_next(Operation::Patch, kind);
        }
        lease.patch(StreamPatch::default().label("a", kind.as_str())).unwrap();
        for _ in 0..35 {
            setup.advance(ROUND).await;
            assert_eq!(lease.state(), LeaseState::Held, "{kind}");
        }
        let stored = setup.stored("cam1").await.expect("the stream has expired");
        let expected = (kind == ErrorKind::Unavailable).then_some("unavailable");
        assert_eq!(stored.labels.get("a").map(String::as_str), expected, "{kind}");
    }
}
