//! Receivers that fail, and receivers that are hostile.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use stream_registry::{MemoryRegistry, Registry, StreamStatus};
use testkit::{CapturedLog, wait_until};

use super::kit::{Hooks, Receiver, Reply, SECRET, dead_url, quick, webhook};
use crate::http::kit::{PATIENCE, id, stream};

fn memory() -> Arc<dyn Registry> {
    Arc::new(MemoryRegistry::new())
}

#[tokio::test]
async fn rejected_event_is_given_up_after_ten_attempts_and_later_ones_follow() {
    let (dir, registry, log) = (tempfile::tempdir().unwrap(), memory(), CapturedLog::start());
    let receiver =
        Receiver::answering(|delivery, _| if delivery.event() == "registered" { 422 } else { 200 }.into()).await;
    let hooks = Hooks::start(dir.path(), &registry, vec![webhook("a", &receiver.url())]).await;
    registry.register(&stream("cam1")).await.unwrap();
    registry.update_status(&id("cam1"), StreamStatus::Active).await.unwrap();
    receiver.accepted_at_least(1).await;
    assert_eq!(receiver.events(), [("status".to_owned(), "cam1".to_owned())]);
    assert_eq!(receiver.all().len(), 11);
    wait_until(PATIENCE, async || hooks.results() == [1, 9, 1]).await;
    let log = log.text();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("webhook=a")).collect();
    assert_eq!(lines.len(), 4, "{log}");
    for (line, part) in lines.iter().zip(["webhook started", "fails; retrying", "gave up on an event", "works again"]) {
        assert!(line.contains(part), "{log}");
    }
    assert!(lines[2].contains("cam1") && lines[2].contains("status=422") && lines[2].contains("attempts=10"), "{log}");
    let secret = SECRET.trim_start_matches("whsec_");
    assert!(!log.contains("s3cret") && !log.contains(secret), "the log has the secret or the query of the URL: {log}");
}

#[tokio::test]
async fn stream_that_crashes_its_receiver_delays_no_other_stream() {
    let (dir, registry) = (tempfile::tempdir().unwrap(), memory());
    let receiver =
        Receiver::answering(|delivery, _| if delivery.stream() == "poison" { 500 } else { 200 }.into()).await;
    let mut retry = quick();
    let hooks = Hooks::with(dir.path(), &registry, vec![webhook("a", &receiver.url())], retry).await.unwrap();
    registry.register(&stream("poison")).await.unwrap();
    // More events than the queue can hold.
    for number in 0..1_500 {
        registry.register(&stream(&format!("cam{number}"))).await.unwrap();
    }
    wait_until(PATIENCE, async || hooks.results()[0] == 1_500).await;
    assert_eq!((hooks.results()[2], hooks.webhooks.figures()[0].pending()), (0, 1));
    hooks.stop().await;

    // Everything after the undelivered event is sent again. Then, the event is given up.
    retry.patience = Duration::from_millis(100);
    let hooks = Hooks::with(dir.path(), &registry, vec![webhook("a", &receiver.url())], retry).await.unwrap();
    wait_until(PATIENCE, async || hooks.results()[0] == 1_500).await;
    registry.register(&stream("last")).await.unwrap();
    wait_until(PATIENCE, async || hooks.results()[0] == 1_501 && hooks.results()[2] == 1).await;
    hooks.stop().await;
    let before = receiver.all().len();
    let hooks = Hooks::start(dir.path(), &registry, vec![webhook("a", &receiver.url())]).await;
    registry.register(&stream("next")).await.unwrap();
    wait_until(PATIENCE, async || hooks.results()[0] == 1).await;
    assert_eq!(receiver.all().len(), before + 1, "nothing is repeated");
}

#[tokio::test]
async fn outage_of_a_receiver_loses_no_event_and_logs_two_lines() {
    let (dir, registry, log) = (tempfile::tempdir().unwrap(), memory(), CapturedLog::start());
    let status = Arc::new(AtomicU16::new(503));
    let shared = Arc::clone(&status);
    let receiver = Receiver::answering(move |_, _| shared.load(Ordering::SeqCst).into()).await;
    let hooks = Hooks::start(dir.path(), &registry, vec![webhook("a", &receiver.url())]).await;
    for number in 0..200 {
        registry.register(&stream(&format!("cam{number}"))).await.unwrap();
    }
    wait_until(PATIENCE, async || hooks.results()[1] >= 30).await;
    assert_eq!((hooks.results()[0], hooks.results()[2]), (0, 0));
    status.store(200, Ordering::SeqCst);
    receiver.accepted_at_least(200).await;
    wait_until(PATIENCE, async || log.text().contains("works again")).await;
    assert_eq!(log.text().lines().filter(|line| line.contains("webhook=a")).count(), 3, "{}", log.text());
}

#[tokio::test]
async fn receiver_that_is_down_gets_one_request_at_a_time() {
    let (dir, registry) = (tempfile::tempdir().unwrap(), memory());
    let receiver = Receiver::answering(|_, _| Reply { delay: Duration::from_millis(5), ..503.into() }).await;
    let mut retry = quick();
    retry.first_pause = Duration::from_secs(3_600);
    retry.longest_pause = Duration::from_secs(3_600);
    let hooks = Hooks::with(dir.path(), &registry, vec![webhook("a", &receiver.url())], retry).await.unwrap();
    for number in 0..100 {
        registry.register(&stream(&format!("cam{number}"))).await.unwrap();
    }
    // Seven requests can be in flight when the eighth one fails. The next one is sent after half an hour.
    wait_until(PATIENCE, async || hooks.results()[1] >= 8 && hooks.results()[1] == receiver.all().len() as u64).await;
    wait_until(PATIENCE, async || hooks.webhooks.figures()[0].pending() == 100).await;
    assert!(receiver.all().len() <= 15, "{}", receiver.all().len());
}

#[tokio::test]
async fn receiver_that_demands_a_pause_gets_it() {
    let (dir, registry) = (tempfile::tempdir().unwrap(), memory());
    let receiver = Receiver::answering(|delivery, earlier| match (delivery.stream().as_str(), earlier) {
        ("cam1", 0) => Reply { headers: vec![("retry-after", "1".to_owned())], ..429.into() },
        _ => 200.into(),
    })
    .await;
    let mut retry = quick();
    retry.longest_pause = Duration::from_secs(300);
    let hooks = Hooks::with(dir.path(), &registry, vec![webhook("a", &receiver.url())], retry).await.unwrap();
    registry.register(&stream("cam1")).await.unwrap();
    wait_until(PATIENCE, async || hooks.results()[1] == 1).await;
    let start = Instant::now();
    registry.register(&stream("cam2")).await.unwrap();
    receiver.accepted_at_least(2).await;
    // The pause began a moment before `start`.
    assert!(start.elapsed() > Duration::from_millis(800), "{:?}", start.elapsed());
}

#[tokio::test]
async fn redirection_sends_no_event_to_another_server() {
    for status in [301, 302, 303, 307, 308] {
        let (dir, registry, other) = (tempfile::tempdir().unwrap(), memory(), Receiver::start().await);
        let location = other.url();
        let receiver =
            Receiver::answering(move |_, _| Reply { headers: vec![("location", location.clone())], ..status.into() })
                .await;
        let hooks = Hooks::start(dir.path(), &registry, vec![webhook("a", &receiver.url())]).await;
        registry.register(&stream("cam1")).await.unwrap();
        wait_until(PATIENCE, async || hooks.results() == [0, 9, 1]).await;
        assert_eq!((receiver.all().len(), other.all().len()), (10, 0), "{status}");
    }
}

#[tokio::test]
async fn endless_response_delays_later_events_only_briefly() {
    let (dir, registry) = (tempfile::tempdir().unwrap(), memory());
    let receiver = Receiver::answering(|_, _| Reply { is_endless: true, ..200.into() }).await;
    let hooks = Hooks::start(dir.path(), &registry, vec![webhook("a", &receiver.url())]).await;
    for number in 0..20 {
        registry.register(&stream(&format!("cam{number}"))).await.unwrap();
    }
    wait_until(PATIENCE, async || hooks.results() == [20, 0, 0]).await;
    assert_eq!(receiver.all().len(), 20);
}

#[tokio::test]
async fn figures_of_a_webhook_show_an_unreachable_receiver() {
    let (dir, registry, log) = (tempfile::tempdir().unwrap(), memory(), CapturedLog::start());
    let hooks = Hooks::start(dir.path(), &registry, vec![webhook("a", &dead_url().await)]).await;
    let figures = hooks.webhooks.figures();
    assert_eq!((figures[0].last_status(), figures[0].pending(), figures[0].oldest()), (None, 0, None));
    let registered = registry.register(&stream("cam1")).await.unwrap();
    wait_until(PATIENCE, async || figures[0].results()[1].1 >= 2).await;
    assert_eq!((figures[0].last_status(), figures[0].pending()), (Some(0), 1));
    assert_eq!(figures[0].oldest(), Some(registered.stream.last_heartbeat));
    assert!(log.text().contains("cannot connect to http://127.0.0.1:"), "{}", log.text());
    assert!(log.text().contains("Connection refused"), "{}", log.text());
}
