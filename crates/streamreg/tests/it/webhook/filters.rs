//! Which events a receiver gets.

use std::sync::Arc;

use stream_registry::query::Filter;
use stream_registry::{MemoryRegistry, Registry, StreamStatus};
use streamreg::webhook::{Kinds, Webhook};

use super::kit::{Hooks, Receiver, webhook};
use crate::http::kit::{id, stream};

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
