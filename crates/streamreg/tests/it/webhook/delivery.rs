//! Order, ids, signatures and isolation of deliveries.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use stream_registry::watch::{Event, WatchFrom};
use stream_registry::{MemoryRegistry, Registry, StreamStatus};
use streamreg::webhook::Secrets;
use testkit::{ClusterSet, TestTls, wait_until};

use super::kit::{Hooks, Receiver, Reply, SECRET, dead_url, webhook};
use crate::http::kit::{PATIENCE, id, stream};

fn memory() -> Arc<dyn Registry> {
    Arc::new(MemoryRegistry::new())
}

/// Registers streams, and sets two statuses of each.
async fn change(registry: &Arc<dyn Registry>, streams: usize) {
    for number in 0..streams {
        registry.register(&stream(&format!("cam{number}"))).await.unwrap();
    }
    for status in [StreamStatus::Active, StreamStatus::Paused] {
        for number in 0..streams {
            registry.update_status(&id(&format!("cam{number}")), status.clone()).await.unwrap();
        }
    }
}

/// Asserts that a receiver got the three events of each stream in order.
pub(super) fn assert_in_order(receiver: &Receiver, streams: usize) {
    let mut statuses: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for delivery in receiver.accepted() {
        let status = delivery.json()["data"]["stream"]["status"].as_str().unwrap().to_owned();
        statuses.entry(delivery.stream()).or_default().push(status);
    }
    assert_eq!(statuses.len(), streams);
    for (stream, statuses) in statuses {
        assert_eq!(statuses, ["connecting", "active", "paused"], "{stream}");
    }
}

#[tokio::test]
async fn event_is_sent_as_a_signed_request_with_the_document_of_the_feed() {
    let (dir, registry, receiver) = (tempfile::tempdir().unwrap(), memory(), Receiver::start().await);
    let _hooks = Hooks::start(dir.path(), &registry, vec![webhook("a", &receiver.url())]).await;
    let mut watch = registry.watch(WatchFrom::Now).await.unwrap();
    let mut cam = stream("cam1");
    cam.labels.insert("site".into(), "north".into());
    registry.register(&cam).await.unwrap();
    let event = watch.next().await.unwrap();
    let delivery = receiver.accepted_at_least(1).await.remove(0);
    assert_eq!(delivery.path, "/hooks?key=s3cret");
    assert_eq!(delivery.headers["content-type"], "application/json");
    assert!(delivery.headers["user-agent"].starts_with("streamreg/"));
    assert!(delivery.is_signed_with(SECRET));
    let time = event.stream().unwrap().last_heartbeat;
    let expected = format!(r#"{{"type":"stream.registered","timestamp":"{time}","data":{}}}"#, event.to_json());
    assert_eq!(delivery.body, expected);
}

#[tokio::test]
async fn events_of_each_stream_arrive_in_order_when_deliveries_fail() {
    let (dir, registry) = (tempfile::tempdir().unwrap(), memory());
    // Every third request fails, in four ways.
    let count = std::sync::atomic::AtomicUsize::new(0);
    let receiver =
        Receiver::answering(move |_, _| match count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) % 12 {
            2 => 500.into(),
            5 => 400.into(),
            8 => 429.into(),
            11 => Reply { headers: vec![("location", "/elsewhere".to_owned())], ..302.into() },
            _ => 200.into(),
        })
        .await;
    let hooks = Hooks::start(dir.path(), &registry, vec![webhook("a", &receiver.url())]).await;
    change(&registry, 60).await;
    receiver.accepted_at_least(180).await;
    assert_in_order(&receiver, 60);
    let failed = receiver.all().len() - 180;
    assert!(failed >= 60, "{failed}");
    wait_until(PATIENCE, async || hooks.results() == [180, failed as u64, 0]).await;
    assert!(receiver.all().iter().all(|delivery| delivery.path == "/hooks?key=s3cret"), "a redirection was followed");
}

#[tokio::test]
async fn all_of_10_000_events_arrive_in_order() {
    let (dir, registry, receiver) = (tempfile::tempdir().unwrap(), memory(), Receiver::start().await);
    let hooks = Hooks::start(dir.path(), &registry, vec![webhook("a", &receiver.url())]).await;
    change(&registry, 3_334).await;
    wait_until(PATIENCE * 2, async || hooks.results()[0] == 10_002).await;
    assert_in_order(&receiver, 3_334);
    assert_eq!(hooks.results(), [10_002, 0, 0]);
}

#[tokio::test]
async fn dead_and_slow_receivers_delay_no_other_webhook() {
    let (dir, registry, receiver) = (tempfile::tempdir().unwrap(), memory(), Receiver::start().await);
    let hanging = Receiver::answering(|_, _| Reply { delay: PATIENCE * 10, ..200.into() }).await;
    let webhooks =
        vec![webhook("dead", &dead_url().await), webhook("hanging", &hanging.url()), webhook("good", &receiver.url())];
    let hooks = Hooks::start(dir.path(), &registry, webhooks).await;
    change(&registry, 1_000).await;
    wait_until(PATIENCE, async || hooks.webhooks.figures()[2].results()[0].1 == 3_000).await;
    assert_in_order(&receiver, 1_000);
    let [dead, hanging, good] = &hooks.webhooks.figures()[..] else { panic!() };
    assert_eq!((dead.last_status(), good.last_status()), (Some(0), Some(204)));
    assert_eq!(hanging.last_status(), None);
    // The queues are full, and nothing more is read.
    wait_until(PATIENCE, async || (dead.pending(), hanging.pending(), good.pending()) == (1_000, 1_000, 0)).await;
    assert!(dead.oldest().is_some() && good.oldest().is_none());
}

#[tokio::test]
async fn at_most_eight_requests_are_in_flight_and_one_per_stream() {
    let (dir, registry) = (tempfile::tempdir().unwrap(), memory());
    let receiver = Receiver::answering(|_, _| Reply { delay: Duration::from_millis(20), ..200.into() }).await;
    let _hooks = Hooks::start(dir.path(), &registry, vec![webhook("a", &receiver.url())]).await;
    registry.register(&stream("cam0")).await.unwrap();
    for number in 0..8 {
        let status = if number % 2 == 0 { StreamStatus::Active } else { StreamStatus::Paused };
        registry.update_status(&id("cam0"), status.clone()).await.unwrap();
    }
    receiver.accepted_at_least(9).await;
    assert_eq!(receiver.most_concurrent(), 1);
    change(&registry, 40).await;
    receiver.accepted_at_least(9 + 120).await;
    assert_eq!(receiver.most_concurrent(), 8);
}

#[tokio::test]
async fn both_secrets_sign_while_a_receiver_changes_to_another_one() {
    let (dir, registry, receiver) = (tempfile::tempdir().unwrap(), memory(), Receiver::start().await);
    let new = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let mut both = webhook("a", &receiver.url());
    both.secrets = Secrets::parse(&format!("{SECRET}\n{new}\n")).unwrap();
    let hooks = Hooks::start(dir.path(), &registry, vec![both.clone()]).await;
    registry.register(&stream("cam1")).await.unwrap();
    let first = receiver.accepted_at_least(1).await.remove(0);
    assert!(first.is_signed_with(SECRET) && first.is_signed_with(new));
    hooks.stop().await;
    both.secrets = Secrets::parse(new).unwrap();
    let _hooks = Hooks::start(dir.path(), &registry, vec![both]).await;
    registry.register(&stream("cam2")).await.unwrap();
    let second = receiver.accepted_at_least(2).await.remove(1);
    assert!(!second.is_signed_with(SECRET) && second.is_signed_with(new));
}

#[tokio::test]
async fn hostile_records_are_sent_as_valid_signed_json() {
    let (dir, registry, receiver) = (tempfile::tempdir().unwrap(), memory(), Receiver::start().await);
    let _hooks = Hooks::start(dir.path(), &registry, vec![webhook("a", &receiver.url())]).await;
    let ids =
        ["a\"}],\"x", "../../etc/passwd", "{cam}", "a.b.c", "🎥 ü", "%0d%0aX-Injected: 1", "\\u0000", &"x".repeat(256)];
    for name in ids {
        let mut hostile = stream(name);
        hostile.source_addr = "\r\nX-Injected: 1\r\n\r\n\u{0}".into();
        hostile.labels.insert("\"\n".into(), "</script>\u{7f}".into());
        registry.register(&hostile).await.unwrap();
    }
    let deliveries = receiver.accepted_at_least(ids.len()).await;
    assert_eq!(
        deliveries.iter().map(super::kit::Delivery::stream).collect::<BTreeSet<_>>(),
        ids.map(str::to_owned).into()
    );
    for delivery in deliveries {
        assert!(delivery.is_signed_with(SECRET) && !delivery.headers.contains_key("x-injected"), "{delivery:?}");
        assert!(!delivery.body.contains('\n'));
        Event::from_json(&delivery.json()["data"].to_string()).unwrap();
    }
}

#[tokio::test]
async fn two_servers_of_a_cluster_send_the_same_ids() {
    let cluster = ClusterSet::builder().replicas(0).start().await;
    let (dirs, receivers) =
        ([(); 2].map(|()| tempfile::tempdir().unwrap()), [Receiver::start().await, Receiver::start().await]);
    let mut hooks = Vec::new();
    for (dir, receiver) in dirs.iter().zip(&receivers) {
        let registry = stream_registry::connect(&cluster.url()).await.unwrap();
        hooks.push(Hooks::start(dir.path(), &registry, vec![webhook("a", &receiver.url())]).await);
    }
    let writer = stream_registry::connect(&cluster.url()).await.unwrap();
    let mut writes = tokio::task::JoinSet::new();
    for number in 0..100 {
        let writer = Arc::clone(&writer);
        writes.spawn(async move { writer.register(&stream(&format!("cam{number}"))).await.unwrap() });
    }
    writes.join_all().await;
    let mut ids = Vec::new();
    for receiver in &receivers {
        let deliveries = receiver.accepted_at_least(100).await;
        ids.push(
            deliveries.iter().map(|delivery| (delivery.stream(), delivery.id().to_owned())).collect::<BTreeMap<_, _>>(),
        );
    }
    assert_eq!(ids[0].len(), 100);
    assert_eq!(ids[0], ids[1]);
}

#[tokio::test]
async fn receiver_with_https_is_verified() {
    let (dir, registry, tls, other) = (tempfile::tempdir().unwrap(), memory(), TestTls::new(), TestTls::new());
    let receiver = Receiver::with_tls(&tls).await;
    tls.issue_server(&["receiver.example", "127.0.0.2"]);
    let of_other_name = Receiver::with_tls(&tls).await;
    let with_ca = |name: &str, receiver: &Receiver, ca: &TestTls| {
        let url = format!("https://{}/", receiver.addr);
        let poster = stream_registry::http::post::Poster::new(&url, Some(ca.ca_file())).unwrap();
        streamreg::webhook::Webhook { poster, ..webhook(name, &url) }
    };
    let webhooks = vec![
        with_ca("other-ca", &receiver, &other),
        with_ca("other-name", &of_other_name, &tls),
        with_ca("right", &receiver, &tls),
    ];
    let hooks = Hooks::start(dir.path(), &registry, webhooks).await;
    registry.register(&stream("cam1")).await.unwrap();
    let delivery = receiver.accepted_at_least(1).await.remove(0);
    assert!(delivery.is_signed_with(SECRET));
    for wrong in &hooks.webhooks.figures()[..2] {
        wait_until(PATIENCE, async || wrong.results()[1].1 >= 2).await;
        assert_eq!((wrong.last_status(), wrong.results()[0].1), (Some(0), 0));
    }
    assert_eq!((receiver.all().len(), of_other_name.all().len()), (1, 0));
}
