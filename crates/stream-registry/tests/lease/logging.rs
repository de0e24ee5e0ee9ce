//! Log lines about outages and dropped handles.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, Once};

use stream_registry::ErrorKind;
use stream_registry::lease::LeaseState;
use stream_registry::registry::Operation;

use super::{ROUND, TTL, setup};

/// The log output of one test.
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

fn capture_log() -> (Log, tracing::subscriber::DefaultGuard) {
    // Tracing remembers whether any subscriber wants a log line. Without a global subscriber, another thread that logs at
    // the wrong moment could switch the line off for this thread, too.
    static GLOBAL: Once = Once::new();
    GLOBAL.call_once(|| {
        let sink = tracing_subscriber::fmt().with_writer(std::io::sink).finish();
        tracing::subscriber::set_global_default(sink).unwrap();
    });
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    (log, tracing::subscriber::set_default(subscriber))
}

#[tokio::test(start_paused = true)]
async fn dropped_handle_logs_a_warning_and_its_stream_expires() {
    let (log, _guard) = capture_log();
    let setup = setup();
    let (dropped, released) = (setup.acquire("dropped").await, setup.acquire("released").await);
    released.release().await.unwrap();
    drop((dropped, released));
    let text = log.text();
    assert_eq!(text.matches("dropped without release").count(), 1, "{text}");
    assert!(text.contains("WARN") && text.contains("stream=dropped"), "{text}");
    setup.advance(TTL / 2).await;
    assert!(setup.stored("dropped").await.is_some(), "dropping the handle unregistered the stream");
    assert!(setup.store.take_calls().is_empty());
    setup.advance(TTL).await;
    assert!(setup.stored("dropped").await.is_none(), "the stream did not expire");
}

#[tokio::test(start_paused = true)]
async fn outage_is_logged_once_for_all_leases() {
    let (log, _guard) = capture_log();
    // In an outage, some stores fail the whole call. Others fail each write in the call.
    for leases in [1, 300] {
        for fail_each_write in [false, true] {
            let setup = setup();
            setup.store.fail_each_write.store(fail_each_write, Ordering::SeqCst);
            let mut held = Vec::new();
            for at in 0..leases {
                held.push(setup.acquire(&format!("cam{at}")).await);
            }
            setup.store.set_down(true);
            setup.advance(TTL * 3).await;
            setup.store.set_down(false);
            setup.advance(ROUND * 3).await;
            assert!(held.iter().all(|lease| lease.state() == LeaseState::Held));
            setup.leases.release_all().await;
            let text = log.text();
            log.0.lock().unwrap().clear();
            assert!(text.contains("rejecting heartbeats") && text.contains(&format!("leases={leases}")), "{text}");
            assert!(text.lines().count() <= 6, "{leases} leases, fail_each_write: {fail_each_write}: {text}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn error_of_one_stream_does_not_end_the_logged_outage() {
    let (log, _guard) = capture_log();
    let setup = setup();
    let lease = setup.acquire("cam1").await;
    setup.mock.advance(TTL);
    for kind in [ErrorKind::Unavailable, ErrorKind::Internal, ErrorKind::Corrupt, ErrorKind::Unavailable] {
        setup.mock.fail_next(Operation::Register, kind);
    }
    setup.advance(TTL * 2).await;
    assert_eq!(lease.state(), LeaseState::Held);
    let text = log.text();
    assert_eq!(text.matches("rejecting recoveries").count(), 1, "{text}");
    assert_eq!(text.matches("accepts recoveries again").count(), 1, "{text}");
}
