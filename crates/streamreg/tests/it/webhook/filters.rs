//! Which events a receiver gets.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use stream_registry::query::Filter;
use stream_registry::{MemoryRegistry, Registry, StreamStatus};
use streamreg::webhook::{Kinds, Webhook};
use testkit::wait_until;

use super::kit::{Hooks, Receiver, position_file, webhook};
use crate::http::kit::{PATIENCE, id, stream};

fn events(names: &[(&str, &str)]) -> Vec<(String, String)> {
    names.iter().map(|(event, stream)| ((*event).to_owned(), (*stream).to_owned())).collect()
}

#[tokio::test]
async fn receiver_gets_only_the_selected_kinds_of_events_and_streams() {
    let (dir, receiver) = (tempfile::tempdir().unwrap(), Receiver::start().await);
    let registry: Arc<dyn Registry> = Arc::new(MemoryRegistry::new());
    let filter = Filter::default().node("edge1").label("tenant", "acme");
    let kinds = Kinds::named(["registered", "unregistered"]).unwrap();
    let selected = Webhook { filter, kinds, ..webhook("a", &receiver.url()) };
    let _hooks = Hooks::start(dir.path(), &registry, vec![selected]).await;
    for (name, node, tenant) in [("x", "edge2", "acme"), ("y", "edge1", "other"), ("z", "edge1", "acme")] {
        let mut cam = stream(name);
        cam.node = Some(node.into());
        cam.labels.insert("tenant".into(), tenant.into());
        registry.register(&cam).await.unwrap();
        registry.update_status(&id(name), StreamStatus::Active).await.unwrap();
        registry.unregister(&id(name)).await.unwrap();
    }
    receiver.accepted_at_least(2).await;
    assert_eq!(receiver.events(), events(&[("registered", "z"), ("unregistered", "z")]));
}

#[tokio::test]
async fn stream_that_ceases_to_match_during_a_restart_is_reported() {
    let (dir, receiver) = (tempfile::tempdir().unwrap(), Receiver::start().await);
    let registry: Arc<dyn Registry> = Arc::new(MemoryRegistry::new());
    let active = || {
        let filter = Filter::default().status(StreamStatus::Active);
        vec![Webhook { filter, ..webhook("a", &receiver.url()) }]
    };
    let hooks = Hooks::start(dir.path(), &registry, active()).await;
    for name in ["cam1", "cam2"] {
        registry.register(&stream(name)).await.unwrap();
    }
    registry.update_status(&id("cam1"), StreamStatus::Active).await.unwrap();
    receiver.accepted_at_least(1).await;
    hooks.stop().await;
    // cam2 has never matched, so its changes are not sent.
    for name in ["cam1", "cam2"] {
        registry.update_status(&id(name), StreamStatus::Paused).await.unwrap();
        registry.update_status(&id(name), StreamStatus::Error).await.unwrap();
    }
    let _hooks = Hooks::start(dir.path(), &registry, active()).await;
    registry.update_status(&id("cam2"), StreamStatus::Active).await.unwrap();
    receiver.accepted_at_least(3).await;
    assert_eq!(receiver.events(), events(&[("status", "cam1"), ("status", "cam1"), ("status", "cam2")]));
    let paused = &receiver.accepted()[1];
    assert_eq!(paused.json()["data"]["stream"]["status"], "paused");
}

#[tokio::test]
async fn stream_that_began_to_match_after_the_stored_position_is_not_sent_too_early() {
    let dir = tempfile::tempdir().unwrap();
    let status = Arc::new(AtomicU16::new(503));
    let shared = Arc::clone(&status);
    let receiver = Receiver::answering(move |delivery, _| match delivery.stream().as_str() {
        "stuck" => shared.load(Ordering::SeqCst).into(),
        _ => 200.into(),
    })
    .await;
    let registry: Arc<dyn Registry> = Arc::new(MemoryRegistry::new());
    let active = || {
        let filter = Filter::default().status(StreamStatus::Active);
        vec![Webhook { filter, ..webhook("a", &receiver.url()) }]
    };
    let hooks = Hooks::start(dir.path(), &registry, active()).await;
    for name in ["first", "stuck", "later"] {
        registry.register(&stream(name)).await.unwrap();
        registry.update_status(&id(name), StreamStatus::Active).await.unwrap();
    }
    receiver.accepted_at_least(2).await;
    let file = position_file(dir.path(), "a");
    wait_until(PATIENCE, async || fs::read_to_string(&file).unwrap().contains("first")).await;
    drop(hooks);
    assert!(!fs::read_to_string(&file).unwrap().contains("later"), "later did not match at the position");
    status.store(200, Ordering::SeqCst);
    let _hooks = Hooks::start(dir.path(), &registry, active()).await;
    receiver.accepted_at_least(3).await;
    let expected = [("status", "first"), ("status", "later"), ("status", "stuck")];
    assert_eq!(receiver.events(), events(&expected), "a registration does not match");
}
