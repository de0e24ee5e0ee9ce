//! The server as a process: crashes, stores, and the log.

use std::path::Path;
use std::time::{Duration, Instant};

use stream_registry::{StreamStatus, connect};
use testkit::wait_until;
use tokio::time::timeout;

use super::config::configured;
use super::delivery::assert_in_order;
use super::kit::{Hooks, Receiver, Reply, SECRET, webhook};
use crate::cli::Running;
use crate::http::kit::{PATIENCE, id, stream};
use crate::redis::TestRedis;

/// Starts a server, and waits until it runs. Returns its URL too.
fn serve(config: &str) -> (Running, String) {
    let server = Running::start(&["serve", "--config", config]);
    let line = server.line_with("listening on http://");
    let url =
        line.split_whitespace().find(|word| word.starts_with("http://")).unwrap().trim_end_matches(',').to_owned();
    (server, url)
}

fn config(dir: &Path, store: &str, receiver: &Receiver) -> String {
    configured(dir, &format!("store = '{store}'"), &format!("url = '{}'", receiver.url()))
}

#[tokio::test(flavor = "multi_thread")]
async fn no_event_is_lost_when_the_server_is_killed_again_and_again() {
    const STREAMS: usize = 400;
    let (dir, redis) = (tempfile::tempdir().unwrap(), TestRedis::start().await);
    let receiver = std::sync::Arc::new(Receiver::start().await);
    let file = config(dir.path(), &redis.server.url(), &receiver);
    let (mut server, _) = serve(&file);
    let registry = connect(&redis.server.url()).await.unwrap();
    let writer = tokio::spawn(async move {
        for number in 0..STREAMS {
            registry.register(&stream(&format!("cam{number}"))).await.unwrap();
        }
        for status in [StreamStatus::Active, StreamStatus::Paused] {
            for number in 0..STREAMS {
                registry.update_status(&id(&format!("cam{number}")), status.clone()).await.unwrap();
            }
        }
    });
    for part in 1..5 {
        receiver.accepted_at_least(part * 200).await;
        server.signal("KILL");
        server.ended();
        (server, _) = serve(&file);
    }
    writer.await.unwrap();
    receiver.accepted_at_least(3 * STREAMS).await;
    assert_in_order(&receiver, STREAMS);
    server.signal("TERM");
    assert_eq!(server.ended(), Some(0));
    // A clean stop has stored the position after the last event, so nothing is repeated.
    let before = receiver.all().len();
    let (_server, _) = serve(&file);
    let registry = connect(&redis.server.url()).await.unwrap();
    registry.register(&stream("last")).await.unwrap();
    receiver.accepted_at_least(3 * STREAMS + 1).await;
    assert_eq!(receiver.all().len(), before + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_of_a_read_only_server_and_of_a_client_of_it_send_the_same_requests() {
    let (redis, receiver, second) = (TestRedis::start().await, Receiver::start().await, Receiver::start().await);
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let keys = format!("store = '{}'\nread_only = true", redis.server.url());
    let (_server, url) = serve(&configured(dirs[0].path(), &keys, &format!("url = '{}'", receiver.url())));
    let client = connect(&url).await.unwrap();
    let _hooks = Hooks::start(dirs[1].path(), &client, vec![webhook("a", &second.url())]).await;
    let registry = connect(&redis.server.url()).await.unwrap();
    registry.register(&stream("cam1")).await.unwrap();
    let (one, other) = (receiver.accepted_at_least(1).await, second.accepted_at_least(1).await);
    assert_eq!((one[0].id(), &one[0].body), (other[0].id(), &other[0].body));
}

#[tokio::test(flavor = "multi_thread")]
async fn server_with_an_unreachable_receiver_serves_and_stops() {
    let (dir, receiver) = (tempfile::tempdir().unwrap(), Receiver::start().await);
    let file = config(dir.path(), "memory:", &receiver);
    drop(receiver);
    let (mut server, url) = serve(&file);
    let registry = connect(&url).await.unwrap();
    registry.register(&stream("cam1")).await.unwrap();
    let line = server.line_with("receiver of a webhook fails; retrying");
    assert!(line.contains("webhook=a") && line.contains("cannot connect to http://127.0.0.1:"), "{line}");
    wait_until(PATIENCE, async || registry.list().await.unwrap().len() == 1).await;
    let started = Instant::now();
    server.signal("TERM");
    assert_eq!(server.ended(), Some(0));
    assert!(started.elapsed() < Duration::from_secs(9), "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn hanging_receiver_delays_no_request() {
    let dir = tempfile::tempdir().unwrap();
    let hanging = Receiver::answering(|_, _| Reply { delay: PATIENCE * 10, ..200.into() }).await;
    let (_server, url) = serve(&config(dir.path(), "memory:", &hanging));
    let registry = connect(&url).await.unwrap();
    let started = Instant::now();
    for number in 0..20 {
        registry.register(&stream(&format!("cam{number}"))).await.unwrap();
    }
    wait_until(PATIENCE, async || hanging.most_concurrent() == 8).await;
    for _ in 0..10 {
        assert_eq!(timeout(Duration::from_secs(1), registry.list()).await.unwrap().unwrap().len(), 20);
    }
    // The webhook gives up on a response after 15 s.
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn secret_and_parameters_of_the_url_are_in_no_log_line() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::answering(|_, earlier| if earlier == 0 { 503 } else { 204 }.into()).await;
    let (mut server, url) =
        serve(&configured(dir.path(), "store = 'memory:'\nlog = 'trace'", &format!("url = '{}'", receiver.url())));
    let registry = connect(&url).await.unwrap();
    registry.register(&stream("cam1")).await.unwrap();
    server.line_with("receiver of a webhook works again");
    assert_eq!(receiver.all().len(), 2);
    let log = server.stop();
    for part in ["TRACE", "webhook started", "receiver of a webhook fails"] {
        assert!(log.contains(part), "no {part}: {log}");
    }
    for secret in ["s3cret", SECRET.trim_start_matches("whsec_")] {
        assert!(!log.contains(secret), "{secret} is in the log: {log}");
    }
}
