//! Statistics, patches and statuses: the newest, once an interval or at once.

use std::collections::BTreeMap;
use std::time::Duration;

use stream_registry::lease::LeaseState;
use stream_registry::registry::Operation;
use stream_registry::stream::LabelsPatch;
use stream_registry::{Change, ErrorKind, Registry, StreamPatch, StreamStats, StreamStatus};

use super::{ROUND, bed};

fn stats(bytes_received: u64) -> StreamStats {
    StreamStats { bytes_received, packets_received: bytes_received / 1_316, ..Default::default() }
}

#[tokio::test(start_paused = true)]
async fn of_many_reports_the_newest_is_written_once() {
    let bed = bed();
    let lease = bed.acquire("cam1").await;
    for round in 0..5_u64 {
        for report in 0..10 {
            lease.report(stats(round * 1_000 + report));
        }
        bed.go_on(ROUND).await;
        assert_eq!(bed.probe.operations(), ["stats"], "a report is a heartbeat too");
        assert_eq!(bed.stored("cam1").await.unwrap().bytes_received, round * 1_000 + 9);
        bed.go_on(ROUND).await;
        assert_eq!(bed.probe.operations(), ["heartbeat"]);
    }
    lease.report(StreamStats { rtt_ms: Some(f64::NAN), ..stats(7) });
    lease.flush().await.unwrap();
    assert_eq!(bed.stored("cam1").await.unwrap().bytes_received, 4_009, "what is no number is dropped");
    assert!(bed.probe.operations().is_empty(), "nothing was to be flushed");
}

#[tokio::test(start_paused = true)]
async fn patches_are_merged_and_flushed_with_the_rest() {
    let bed = bed();
    let lease = bed.acquire("cam1").await;
    lease.patch(StreamPatch { video_codec: Some("H264".into()), ..Default::default() }.label("a", "1")).unwrap();
    lease.patch(StreamPatch { video_codec: Some("HEVC".into()), ..Default::default() }.label("b", "2")).unwrap();
    lease.report(stats(5));
    lease.flush().await.unwrap();
    assert_eq!(bed.probe.operations(), ["stats", "patch"]);
    let stored = bed.stored("cam1").await.unwrap();
    assert_eq!((stored.video_codec.as_str(), stored.labels.len(), stored.bytes_received), ("HEVC", 2, 5));
    let long = StreamPatch { resolution: Some("x".repeat(2_000)), ..Default::default() };
    assert_eq!(lease.patch(long).unwrap_err().kind(), ErrorKind::InvalidArgument);
    let many: BTreeMap<_, _> = (0..63).map(|at| (format!("l{at}"), Some(String::new()))).collect();
    let many = StreamPatch { labels: LabelsPatch::Merge(many), ..Default::default() };
    assert_eq!(lease.patch(many).unwrap_err().kind(), ErrorKind::InvalidArgument, "65 labels");
    lease.flush().await.unwrap();
    assert!(bed.probe.operations().is_empty());
}

#[tokio::test(start_paused = true)]
async fn statuses_are_written_at_once_and_in_their_order() {
    let bed = bed();
    let lease = bed.acquire("cam1").await;
    let began = tokio::time::Instant::now();
    for status in [StreamStatus::Active, StreamStatus::Paused, StreamStatus::Active] {
        lease.set_status(status.clone()).await.unwrap();
        assert_eq!(bed.stored("cam1").await.unwrap().status, status);
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
    bed.probe.take();

    // Slow calls, many at once: never two under way, and the last is the last.
    bed.mock.delay(Operation::Status, Duration::from_millis(300));
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
    let written: Vec<_> = bed.probe.take().into_iter().flatten().map(|write| write.change).collect();
    assert_eq!(written, [Change::Status(a.clone()), Change::Status(e.clone())]);
    assert_eq!(bed.stored("cam1").await.unwrap().status, *e);
    let blank = "x".repeat(33).parse::<StreamStatus>();
    assert!(blank.is_err() || lease.set_status(blank.unwrap()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_status_that_failed_is_told_and_written_later() {
    let bed = bed();
    let lease = bed.acquire("cam1").await;
    bed.probe.set_away(true);
    let error = lease.set_status(StreamStatus::Active).await.unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
    let error = lease.set_status(StreamStatus::Paused).await.unwrap_err();
    assert!(error.is_retryable(), "an outage answers at once, each time: {error:?}");
    bed.probe.set_away(false);
    bed.probe.take();
    bed.go_on(Duration::from_millis(1_000)).await;
    assert_eq!(bed.stored("cam1").await.unwrap().status, StreamStatus::Paused, "sooner than the interval");
}

#[tokio::test(start_paused = true)]
async fn what_fails_under_way_goes_back_beneath_what_came_meanwhile() {
    let bed = bed();
    let lease = bed.acquire("cam1").await;
    lease.report(StreamStats { rtt_ms: Some(8.0), ..stats(1) });
    bed.mock.delay(Operation::Stats, Duration::from_millis(200));
    bed.mock.fail_next(Operation::Stats, ErrorKind::Unavailable);
    let meanwhile = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        lease.report(stats(2));
        lease.patch(StreamPatch::default().label("a", "1")).unwrap();
    };
    let (flushed, ()) = tokio::join!(lease.flush(), meanwhile);
    flushed.unwrap_err();
    bed.go_on(ROUND).await;
    let stored = bed.stored("cam1").await.unwrap();
    assert_eq!((stored.bytes_received, stored.rtt_ms, stored.labels.len()), (2, Some(8.0), 1));
}

#[tokio::test(start_paused = true)]
async fn a_status_whose_answer_was_lost_is_written_again() {
    let bed = bed();
    let lease = bed.acquire("cam1").await;
    bed.mock.fail_next_after_applying(Operation::Status, ErrorKind::Timeout);
    lease.set_status(StreamStatus::Active).await.unwrap_err();
    lease.set_status(StreamStatus::Paused).await.unwrap();
    // The first, on another connection, comes in after the second.
    let old = stream_registry::Write {
        id: lease.id().clone(),
        guard: stream_registry::Guard::Holder(lease.epoch().clone()),
        change: Change::Status(StreamStatus::Active),
    };
    bed.mock.write(&[old]).await.unwrap().remove(0).unwrap();
    bed.go_on(ROUND).await;
    assert_eq!(bed.stored("cam1").await.unwrap().status, StreamStatus::Paused);
    bed.probe.take();
    bed.go_on(ROUND * 2).await;
    assert_eq!(bed.probe.operations(), ["heartbeat", "heartbeat"], "once is enough");
}

#[tokio::test(start_paused = true)]
async fn a_report_that_the_store_refuses_costs_no_heartbeat() {
    let bed = bed();
    let lease = bed.acquire("cam1").await;
    // What is refused for good is dropped, the rest is tried again.
    for (kind, times) in [(ErrorKind::InvalidArgument, 1), (ErrorKind::Unavailable, 30)] {
        for _ in 0..times {
            bed.mock.fail_next(Operation::Patch, kind);
        }
        lease.patch(StreamPatch::default().label("a", kind.as_str())).unwrap();
        for _ in 0..35 {
            bed.go_on(ROUND).await;
            assert_eq!(lease.state(), LeaseState::Held, "{kind}");
        }
        let stored = bed.stored("cam1").await.expect("it is alive");
        let expected = (kind == ErrorKind::Unavailable).then_some("unavailable");
        assert_eq!(stored.labels.get("a").map(String::as_str), expected, "{kind}");
    }
}
