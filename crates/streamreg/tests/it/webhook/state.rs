//! The stored positions.

use std::fs;
use std::sync::Arc;

use stream_registry::{MemoryRegistry, Registry};
use testkit::{CapturedLog, wait_until};

use super::kit::{Hooks, Receiver, Reply, position_file, quick, webhook};
use crate::http::kit::{PATIENCE, stream};

fn memory() -> Arc<dyn Registry> {
    Arc::new(MemoryRegistry::new())
}

#[tokio::test]
async fn webhook_continues_after_a_stop_and_after_a_crash() {
    let (dir, registry, receiver) = (tempfile::tempdir().unwrap(), memory(), Receiver::start().await);
    let start = async || Hooks::start(dir.path(), &registry, vec![webhook("a", &receiver.url())]).await;
    registry.register(&stream("too-early")).await.unwrap();
    let hooks = start().await;
    registry.register(&stream("cam1")).await.unwrap();
    receiver.accepted_at_least(1).await;
    hooks.stop().await;
    registry.register(&stream("cam2")).await.unwrap();
    let crashing = start().await;
    receiver.accepted_at_least(2).await;
    assert_eq!(receiver.all().len(), 2, "a clean stop repeats nothing");
    drop(crashing);
    registry.register(&stream("cam3")).await.unwrap();
    let _hooks = start().await;
    let names: Vec<_> = receiver.accepted_at_least(3).await.iter().map(super::kit::Delivery::stream).collect();
    assert_eq!(names, ["cam1", "cam2", "cam3"]);
}

#[tokio::test]
async fn position_is_stored_while_the_webhook_runs() {
    let (dir, registry, receiver) = (tempfile::tempdir().unwrap(), memory(), Receiver::start().await);
    let _hooks = Hooks::start(dir.path(), &registry, vec![webhook("a", &receiver.url())]).await;
    let file = position_file(dir.path(), "a");
    let first = fs::read_to_string(&file).unwrap();
    for number in 0..3 {
        registry.register(&stream(&format!("cam{number}"))).await.unwrap();
    }
    receiver.accepted_at_least(3).await;
    let revision = receiver.accepted()[2].json()["data"]["revision"].as_str().unwrap().to_owned();
    wait_until(PATIENCE, async || fs::read_to_string(&file).unwrap().contains(&revision)).await;
    assert!(!first.contains(&revision));
}

#[tokio::test]
async fn stop_waits_for_requests_in_flight() {
    let (dir, registry) = (tempfile::tempdir().unwrap(), memory());
    let receiver =
        Receiver::answering(|_, _| Reply { delay: std::time::Duration::from_millis(300), ..200.into() }).await;
    let hooks = Hooks::start(dir.path(), &registry, vec![webhook("a", &receiver.url())]).await;
    registry.register(&stream("cam1")).await.unwrap();
    wait_until(PATIENCE, async || receiver.all().len() == 1).await;
    let figures = hooks.webhooks.figures();
    assert_eq!(figures[0].results()[0].1, 0, "the response has not arrived yet");
    hooks.stop().await;
    assert_eq!(figures[0].results()[0].1, 1);
    let hooks = Hooks::start(dir.path(), &registry, vec![webhook("a", &receiver.url())]).await;
    registry.register(&stream("cam2")).await.unwrap();
    receiver.accepted_at_least(2).await;
    assert_eq!(receiver.all().len(), 2, "the first event was repeated");
    hooks.stop().await;
}

#[tokio::test]
async fn webhook_delivers_while_its_position_cannot_be_stored() {
    let (dir, registry, receiver) = (tempfile::tempdir().unwrap(), memory(), Receiver::start().await);
    let log = CapturedLog::start();
    let state = dir.path().join("state");
    let _hooks = Hooks::start(&state, &registry, vec![webhook("a", &receiver.url())]).await;
    fs::remove_dir_all(&state).unwrap();
    registry.register(&stream("cam1")).await.unwrap();
    receiver.accepted_at_least(1).await;
    wait_until(PATIENCE, async || log.text().contains("cannot store the position of a webhook; retrying")).await;
    registry.register(&stream("cam2")).await.unwrap();
    receiver.accepted_at_least(2).await;
    fs::create_dir(&state).unwrap();
    wait_until(PATIENCE, async || position_file(&state, "a").exists()).await;
    wait_until(PATIENCE, async || log.text().contains("can be stored again")).await;
    assert_eq!(log.text().matches("cannot store the position").count(), 1, "{}", log.text());
}

#[tokio::test]
async fn unusable_state_directory_or_position_is_an_error_at_the_start() {
    let (dir, registry) = (tempfile::tempdir().unwrap(), memory());
    let start = async |path: &std::path::Path| {
        let webhooks = vec![webhook("a", "http://127.0.0.1:1/")];
        Hooks::with(path, &registry, webhooks, quick()).await
    };
    let fault = async |path: &std::path::Path| start(path).await.err().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(fault(&file).await.starts_with("--state-dir /"), "a file");
    assert!(fault(&file.join("a")).await.contains("Not a directory"));
    let state = dir.path().join("state");
    let running = start(&state).await.unwrap();
    assert!(fault(&state).await.contains("another server uses this directory"));
    running.stop().await;
    fs::write(position_file(&state, "a"), "nonsense").unwrap();
    let damaged = fault(&state).await;
    assert!(damaged.contains("webhook-a.position is damaged; restore it, or delete it to begin"), "{damaged}");
    fs::remove_file(position_file(&state, "a")).unwrap();
    fs::create_dir(state.join("webhook-a.new")).unwrap();
    let unwritable = fault(&state).await;
    assert!(unwritable.starts_with("cannot write /") && unwritable.contains("webhook-a.position: "), "{unwritable}");
}
