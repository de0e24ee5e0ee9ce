//! Ends: by the holder, by others, by nobody.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stream_registry::lease::{LeaseEnd, LeaseState};
use stream_registry::registry::Operation;
use stream_registry::stream::EndReason;
use stream_registry::{ErrorKind, OnConflict, Registry, StreamPatch, StreamStats, StreamStatus};

use super::{ROUND, TTL, bed, stream};

#[tokio::test(start_paused = true)]
async fn the_last_record_has_what_was_reported_and_the_reason() {
    let bed = bed();
    let lease = bed.acquire("cam1").await;
    lease.report(StreamStats { bytes_received: 77, ..Default::default() });
    let last = lease.release_with("publisher left".parse().unwrap()).await.unwrap();
    assert_eq!((last.bytes_received, last.end_reason.as_deref()), (77, Some("publisher left")));
    assert_eq!(lease.ended().await, LeaseEnd::Released);
    assert!(bed.stored("cam1").await.is_none());
    for error in [
        lease.release().await.unwrap_err(),
        lease.set_status(StreamStatus::Active).await.unwrap_err(),
        lease.flush().await.unwrap_err(),
        lease.patch(StreamPatch::default()).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        assert!(error.message().contains("released"), "{error}");
    }
    lease.report(StreamStats::default());
    bed.probe.take();
    bed.go_on(ROUND * 3).await;
    assert!(bed.probe.take().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_release_waits_for_the_write_that_is_under_way() {
    let bed = bed();
    let lease = bed.acquire("cam1").await;
    bed.mock.delay(Operation::Status, Duration::from_millis(500));
    let began = tokio::time::Instant::now();
    let release = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        lease.release().await
    };
    let (status, last) = tokio::join!(lease.set_status(StreamStatus::Closed), release);
    status.unwrap();
    assert_eq!(last.unwrap().status, StreamStatus::Closed);
    assert_eq!(began.elapsed(), Duration::from_millis(500));
}

#[tokio::test(start_paused = true)]
async fn an_end_whose_answer_was_lost_is_the_same_end() {
    let bed = bed();
    let lease = bed.acquire("cam1").await;
    bed.mock.fail_next_after_applying(Operation::Unregister, ErrorKind::Timeout);
    let last = lease.release_with("done".parse().unwrap()).await.unwrap();
    assert_eq!(last.end_reason.as_deref(), Some("done"));
    assert_eq!(lease.state(), LeaseState::Ended(LeaseEnd::Released));

    // Away for longer than anybody waits: the lease goes on, and is released later.
    let lease = bed.acquire("cam2").await;
    bed.probe.set_away(true);
    let began = tokio::time::Instant::now();
    assert!(lease.release().await.unwrap_err().is_retryable());
    assert!((Duration::from_secs(2)..Duration::from_secs(6)).contains(&began.elapsed()), "{:?}", began.elapsed());
    assert_eq!(lease.state(), LeaseState::Held);
    bed.probe.set_away(false);
    bed.go_on(ROUND * 2).await;
    assert!(bed.stored("cam2").await.is_some());
    lease.release().await.unwrap();
    assert!(bed.stored("cam2").await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_to_an_end_that_nobody_repeats_is_found_out() {
    let bed = bed();
    let lease = bed.acquire("cam1").await;
    bed.mock.delay(Operation::Unregister, Duration::from_secs(1));
    bed.mock.fail_next_after_applying(Operation::Unregister, ErrorKind::Timeout);
    // Dropped after the first call was answered, before the second.
    let patience = tokio::time::timeout(Duration::from_millis(1_500), lease.release());
    assert!(patience.await.is_err());
    assert!(bed.stored("cam1").await.is_none());
    assert_eq!(lease.ended().await, LeaseEnd::Released);
    assert!(bed.stored("cam1").await.is_none(), "it was not brought back");
}

#[tokio::test(start_paused = true)]
async fn a_release_that_failed_does_not_claim_what_an_operator_ends_later() {
    let bed = bed();
    // Refused: it was not done.
    let lease = bed.acquire("cam1").await;
    bed.probe.set_away(true);
    assert!(lease.release().await.unwrap_err().is_retryable());
    bed.force_end("cam1").await;
    bed.probe.set_away(false);
    assert_eq!(lease.ended().await, LeaseEnd::Removed);

    let lease = bed.acquire("cam2").await;
    bed.mock.fail_next(Operation::Unregister, ErrorKind::Unavailable);
    bed.mock.delay(Operation::Unregister, Duration::from_millis(100));
    let ended = async {
        tokio::time::sleep(Duration::from_millis(130)).await;
        bed.mock.delay(Operation::Unregister, Duration::ZERO);
        bed.force_end("cam2").await;
    };
    let (released, ()) = tokio::join!(lease.release(), ended);
    assert_eq!(released.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(lease.state(), LeaseState::Ended(LeaseEnd::Removed), "while it was tried again");

    // Nobody knows, until a heartbeat finds the stream.
    let lease = bed.acquire("cam3").await;
    bed.mock.delay(Operation::Unregister, Duration::from_secs(1));
    assert!(tokio::time::timeout(Duration::from_millis(500), lease.release()).await.is_err());
    bed.mock.delay(Operation::Unregister, Duration::ZERO);
    bed.go_on(ROUND).await;
    assert_eq!(lease.state(), LeaseState::Held);
    bed.force_end("cam3").await;
    assert_eq!(lease.ended().await, LeaseEnd::Removed);
}

#[tokio::test(start_paused = true)]
async fn a_release_of_what_is_not_ours_says_so() {
    let bed = bed();
    let lease = bed.acquire("cam1").await;
    let others = bed.others();
    let other = others.acquire_with(stream("cam1", "198.51.100.9:5000"), OnConflict::TakeOver).await.unwrap();
    let error = lease.release().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotHolder, "{error}");
    let by = Some("198.51.100.9:5000".to_owned());
    assert_eq!(lease.state(), LeaseState::Ended(LeaseEnd::Superseded { by }));
    let error = lease.release().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotHolder);
    assert!(error.message().contains("198.51.100.9:5000"), "{error}");
    assert_eq!(other.state(), LeaseState::Held);

    let lease = bed.acquire("cam2").await;
    bed.force_end("cam2").await;
    assert_eq!(lease.release().await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(lease.state(), LeaseState::Ended(LeaseEnd::Removed));
}

#[tokio::test(start_paused = true)]
async fn a_stream_whose_epoch_was_dropped_can_be_released() {
    let bed = bed();
    let lease = bed.acquire("cam1").await;
    let theirs = r#"{"id":"cam1","type":"srt","source_addr":"203.0.113.7:40112"}"#;
    bed.mock.put_stored(lease.id(), theirs).unwrap();
    lease.release().await.unwrap();
    assert_eq!(lease.state(), LeaseState::Ended(LeaseEnd::Released));
    assert!(bed.stored("cam1").await.is_none());

    // One that drops it all the while: not between two calls only, and not for ever.
    bed.mock.delay(Operation::Unregister, Duration::from_millis(20));
    for (seconds, is_released) in [(1, true), (20, false)] {
        let lease = bed.acquire("cam1").await;
        let dropping = async {
            loop {
                bed.mock.put_stored(lease.id(), theirs).unwrap();
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let dropping = tokio::time::timeout(Duration::from_secs(seconds), dropping);
        let (released, _) = tokio::join!(lease.release(), dropping);
        assert_eq!(released.is_ok(), is_released, "{released:?}");
        assert!(released.err().is_none_or(|error| error.is_retryable()));
        bed.go_on(ROUND).await;
        let state = if is_released { LeaseState::Ended(LeaseEnd::Released) } else { LeaseState::Held };
        assert_eq!((lease.state(), bed.stored("cam1").await.is_some()), (state, !is_released));
    }
}

#[tokio::test(start_paused = true)]
async fn all_leases_of_a_node_end_and_what_failed_is_named() {
    let bed = bed();
    let mut held = Vec::new();
    for at in 0..500 {
        held.push(bed.acquire(&format!("cam{at}")).await);
    }
    let stuck = bed.acquire("stuck").await;
    bed.mock.put_stored(stuck.id(), r#"{"type":"srt","source_addr":"elsewhere:1"}"#).unwrap();
    bed.mock.delay(Operation::Unregister, Duration::from_millis(100));
    let began = tokio::time::Instant::now();
    let reason: EndReason = "maintenance".parse().unwrap();
    let failed = bed.leases.release_all_with(reason).await;
    assert!(began.elapsed() <= Duration::from_millis(900), "many at once: {:?}", began.elapsed());
    let failed: Vec<_> = failed.iter().map(|error| (error.kind(), error.stream_id().cloned())).collect();
    assert_eq!(failed, [(ErrorKind::NotHolder, Some(stuck.id().clone()))]);
    assert!(bed.leases.is_empty());
    assert!(held.iter().all(|lease| lease.state() == LeaseState::Ended(LeaseEnd::Released)));
    assert_eq!(bed.mock.list().await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_ends_while_the_store_is_away_is_done_in_seconds() {
    let bed = bed();
    let mut held = Vec::new();
    for at in 0..1_000 {
        held.push(bed.acquire(&format!("cam{at}")).await);
        held[at].report(StreamStats { bytes_received: 7, ..Default::default() });
    }
    bed.probe.set_away(true);
    let began = tokio::time::Instant::now();
    let failed = bed.leases.release_all().await;
    assert!((Duration::from_secs(2)..Duration::from_secs(6)).contains(&began.elapsed()), "{:?}", began.elapsed());
    assert!(failed.iter().all(|error| error.is_retryable() && error.operation() == Some(Operation::Unregister)));
    let named: HashSet<_> = failed.iter().filter_map(|error| error.stream_id().cloned()).collect();
    assert_eq!((failed.len(), named.len(), bed.leases.len()), (1_000, 1_000, 1_000), "each is named, and goes on");
    bed.probe.set_away(false);
    assert!(bed.leases.release_all().await.is_empty());
    assert!(bed.mock.list().await.unwrap().is_empty());

    // Slow is not away: nobody is left behind.
    for at in 0..640 {
        held.push(bed.acquire(&format!("cam{at}")).await);
    }
    bed.mock.delay(Operation::Unregister, Duration::from_secs(1));
    assert!(bed.leases.release_all().await.is_empty());
    assert!(bed.mock.list().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn acquired_again_by_the_same_process_the_earlier_lease_ends_at_once() {
    let bed = bed();
    let (first, second) = (bed.acquire("cam1").await, bed.acquire("cam1").await);
    assert!(first.epoch() < second.epoch());
    assert!(matches!(first.state(), LeaseState::Ended(LeaseEnd::Superseded { .. })));
    assert_eq!((second.state(), bed.leases.len()), (LeaseState::Held, 1));
    drop(first);
    bed.go_on(TTL * 2).await;
    assert_eq!(second.state(), LeaseState::Held);
    assert!(bed.stored("cam1").await.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_closed_registry_ends_all_leases() {
    let bed = bed();
    let (one, two) = (bed.acquire("cam1").await, bed.acquire("cam2").await);
    bed.mock.close().await.unwrap();
    assert_eq!((one.ended().await, two.ended().await), (LeaseEnd::Closed, LeaseEnd::Closed));
    assert_eq!(one.release().await.unwrap_err().kind(), ErrorKind::Closed);
}

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn logged() -> (Log, tracing::subscriber::DefaultGuard) {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    (log, tracing::subscriber::set_default(subscriber))
}

#[tokio::test(start_paused = true)]
async fn a_handle_that_is_dropped_says_so_and_writes_nothing_more() {
    let (log, _guard) = logged();
    let bed = bed();
    let (dropped, released) = (bed.acquire("dropped").await, bed.acquire("released").await);
    released.release().await.unwrap();
    drop((dropped, released));
    let text = log.text();
    assert_eq!(text.matches("dropped without release").count(), 1, "{text}");
    assert!(text.contains("WARN") && text.contains("stream=dropped"), "{text}");
    bed.go_on(TTL / 2).await;
    assert!(bed.stored("dropped").await.is_some(), "it is not ended");
    assert!(bed.probe.take().is_empty());
    bed.go_on(TTL).await;
    assert!(bed.stored("dropped").await.is_none(), "it expires");
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_told_once_and_not_for_each_lease() {
    let (log, _guard) = logged();
    // A store that fails calls, and one that fails each write in them.
    for leases in [1, 300] {
        for each in [false, true] {
            let bed = bed();
            bed.probe.each.store(each, Ordering::SeqCst);
            let mut held = Vec::new();
            for at in 0..leases {
                held.push(bed.acquire(&format!("cam{at}")).await);
            }
            bed.probe.set_away(true);
            bed.go_on(TTL * 3).await;
            bed.probe.set_away(false);
            bed.go_on(ROUND * 3).await;
            assert!(held.iter().all(|lease| lease.state() == LeaseState::Held));
            bed.leases.release_all().await;
            let text = log.text();
            log.0.lock().unwrap().clear();
            assert!(text.contains("rejecting heartbeats") && text.contains(&format!("leases={leases}")), "{text}");
            assert!(text.lines().count() <= 6, "{leases} {each}: {text}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_fault_of_one_stream_does_not_tell_that_the_store_is_back() {
    let (log, _guard) = logged();
    let bed = bed();
    let lease = bed.acquire("cam1").await;
    bed.mock.advance(TTL);
    for kind in [ErrorKind::Unavailable, ErrorKind::Internal, ErrorKind::Corrupt, ErrorKind::Unavailable] {
        bed.mock.fail_next(Operation::Register, kind);
    }
    bed.go_on(TTL * 2).await;
    assert_eq!(lease.state(), LeaseState::Held);
    let text = log.text();
    assert_eq!(text.matches("rejecting recoveries").count(), 1, "{text}");
    assert_eq!(text.matches("accepts recoveries again").count(), 1, "{text}");
}
