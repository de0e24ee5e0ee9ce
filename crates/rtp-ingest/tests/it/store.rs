//! A store that fails: ingest goes on, and the registry is right again afterwards.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rtp_ingest::ingest::IngestOptions;
use rtp_ingest::publish::GivenId;
use stream_registry::mock::MockRegistry;
use stream_registry::registry::Operation;
use stream_registry::{
    Error, ErrorKind, Guard, OnConflict, RegisterOptions, Registry, Stream, StreamStatus, StreamType, UnregisterOptions,
};
use testkit::wait_until;

use crate::packets::bye;
use crate::sockets::{DEADLINE, Node, Sender};

/// A node on a store that fails as it is told, and a sender.
async fn stage() -> (Arc<MockRegistry>, Node, Sender) {
    let registry = Arc::new(MockRegistry::new());
    let node = Node::start(Arc::clone(&registry) as Arc<dyn Registry>, IngestOptions::default());
    (registry, node, Sender::new().await)
}

/// Waits until an operation has failed this many times.
async fn failures(registry: &MockRegistry, operation: Operation, count: usize) {
    wait_until(DEADLINE, async || {
        registry.calls().iter().filter(|call| call.operation == operation && call.outcome.is_err()).count() >= count
    })
    .await;
}

#[tokio::test]
async fn a_lost_stream_comes_back_under_its_id_with_its_counters() {
    let (registry, node, sender) = stage().await;
    sender.run(node.rtp, 7, (1..10).filter(|n| *n != 5)).await;
    let before = node.shows(|all| all.len() == 1 && all[0].status == StreamStatus::Active).await.remove(0);
    // The time to live passes while nobody reports.
    registry.advance(registry.info().ttl);
    assert_eq!(node.streams().await, []);
    sender.run(node.rtp, 7, 10..=12).await;
    let after = node.shows(|all| all.len() == 1).await.remove(0);
    assert_eq!((&after.id, &after.created_at), (&before.id, &before.created_at));
    assert!(after.packets_received >= before.packets_received, "{before:?} then {after:?}");
    assert_eq!(after.status, StreamStatus::Active);
    node.shows(|all| all[0].packets_received == 10 && all[0].packets_lost == 1).await;
    node.stop().await.unwrap();
}

#[tokio::test]
async fn a_stream_that_an_operator_ended_or_another_holder_has_is_left_alone() {
    let (registry, node, sender) = stage().await;
    for ssrc in [7, 8] {
        sender.run(node.rtp, ssrc, 1..5).await;
        node.shows(|all| all.len() == 1 && all[0].status == StreamStatus::Active).await;
        let id = node.streams().await.remove(0).id;
        if ssrc == 7 {
            registry.unregister_with(&id, &UnregisterOptions::default().guard(Guard::Force)).await.unwrap();
        } else {
            let other = Stream::new(id, StreamType::Srt, "203.0.113.7:1");
            let options = RegisterOptions::default().lease(true).on_conflict(OnConflict::TakeOver);
            registry.register_with(&other, &options).await.unwrap();
        }
        registry.clear_calls();
        // The node has learnt it once it has asked for its stream in vain.
        failures(&registry, Operation::Register, 1).await;
        let tries = registry.calls().len();
        sender.run(node.rtp, ssrc, 5..9).await;
        // A session that begins later is registered, and by then the lost one would have been, too.
        sender.run(node.rtp, 100 + ssrc, 1..5).await;
        let label = format!("0x{:08x}", 100 + ssrc);
        node.shows(|all| all.iter().any(|s| s.labels.get("ssrc") == Some(&label) && s.status == StreamStatus::Active))
            .await;
        let others = registry.calls().split_off(tries);
        let registered = others.iter().filter(|call| call.operation == Operation::Register).count();
        assert_eq!(registered, 1, "{others:?}");
        assert!(node.streams().await.iter().all(|stream| stream.labels.get("ssrc") != Some(&format!("0x{ssrc:08x}"))));
        for ended in [ssrc, 100 + ssrc] {
            sender.send(node.rtp, &bye(ended)).await;
        }
        node.shows(|all| all.iter().all(|stream| stream.kind == StreamType::Srt)).await;
    }
    node.stop().await.unwrap();
    assert_eq!(registry.list().await.unwrap()[0].source_addr, "203.0.113.7:1", "the other holder's stays");
}

#[tokio::test]
async fn a_generated_id_that_is_taken_is_left_for_another_one() {
    let (registry, node, sender) = stage().await;
    let other = Stream::new("cam1".parse().unwrap(), StreamType::Srt, "203.0.113.7:1");
    registry.fail_next_with(Operation::Register, Error::already_exists(other));
    sender.run(node.rtp, 7, 1..5).await;
    node.shows(|all| all.len() == 1).await;
    let ids: Vec<_> = registry.calls().into_iter().filter(|call| call.operation == Operation::Register).collect();
    assert_ne!(ids[0].stream_id, ids[1].stream_id);
    node.stop().await.unwrap();
}

#[tokio::test]
async fn a_given_id_goes_from_one_session_to_the_next() {
    let registry: Arc<MockRegistry> = Arc::new(MockRegistry::new());
    let given = GivenId::new("cam1".parse().unwrap(), OnConflict::Reject);
    let options = IngestOptions::default().id(Some(given));
    let node = Node::start(Arc::clone(&registry) as Arc<dyn Registry>, options);
    let sender = Sender::new().await;
    for ssrc in [7, 8] {
        sender.run(node.rtp, ssrc, 1..5).await;
        let label = format!("0x{ssrc:08x}");
        node.shows(|all| all.iter().any(|s| s.id.as_str() == "cam1" && s.labels["ssrc"] == label)).await;
        // Another session at the same time has an id of its own.
        sender.run(node.rtp, 100 + ssrc, 1..5).await;
        node.shows(|all| all.len() == 2).await;
        for ended in [ssrc, 100 + ssrc] {
            sender.send(node.rtp, &bye(ended)).await;
        }
        node.shows(<[Stream]>::is_empty).await;
    }
    node.stop().await.unwrap();
}

#[tokio::test]
async fn an_outage_is_made_up_for() {
    let (registry, node, sender) = stage().await;
    for _ in 0..2 {
        registry.fail_next(Operation::Register, ErrorKind::Unavailable);
    }
    sender.run(node.rtp, 7, 1..5).await;
    failures(&registry, Operation::Register, 2).await;
    sender.run(node.rtp, 7, 5..10).await;
    node.shows(|all| all.len() == 1 && all[0].packets_received == 8).await;

    for _ in 0..2 {
        registry.fail_next(Operation::Write, ErrorKind::Unavailable);
    }
    sender.run(node.rtp, 7, 10..15).await;
    failures(&registry, Operation::Write, 2).await;
    node.shows(|all| all[0].packets_received == 13).await;

    registry.fail_next(Operation::Unregister, ErrorKind::Unavailable);
    sender.send(node.rtp, &bye(7)).await;
    node.shows(<[Stream]>::is_empty).await;
    node.stop().await.unwrap();
}

#[tokio::test]
async fn answers_that_are_lost_double_nothing() {
    let (registry, node, sender) = stage().await;
    registry.fail_next_after_applying(Operation::Register, ErrorKind::Timeout);
    sender.run(node.rtp, 7, 1..5).await;
    node.shows(|all| all.len() == 1 && all[0].status == StreamStatus::Active).await;

    registry.fail_next_after_applying(Operation::Unregister, ErrorKind::Timeout);
    sender.send(node.rtp, &bye(7)).await;
    node.shows(<[Stream]>::is_empty).await;

    // The answer to a registration is lost, and the session ends before the next try.
    registry.fail_next_after_applying(Operation::Register, ErrorKind::Timeout);
    sender.run(node.rtp, 8, 1..5).await;
    failures(&registry, Operation::Register, 2).await;
    assert_eq!(node.streams().await.len(), 1);
    sender.send(node.rtp, &bye(8)).await;
    node.shows(<[Stream]>::is_empty).await;
    node.stop().await.unwrap();
}

#[tokio::test]
async fn reports_of_all_streams_go_in_one_call() {
    let (registry, node, sender) = stage().await;
    for ssrc in 0..20 {
        sender.run(node.rtp, ssrc, 1..4).await;
    }
    node.shows(|all| all.len() == 20 && all.iter().all(|stream| stream.status == StreamStatus::Active)).await;
    let written = async || {
        let now = registry.now();
        node.streams().await.iter().filter(|stream| stream.last_heartbeat == now).count()
    };
    // The registry's clock stands still but for this: what it shows is who was written since.
    registry.advance(Duration::from_secs(1));
    wait_until(DEADLINE, async || written().await == 20).await;
    registry.advance(Duration::from_secs(1));
    // One call does its work, and none after it.
    registry.fail_next_after_applying(Operation::Write, ErrorKind::Timeout);
    for _ in 0..1_000 {
        registry.fail_next(Operation::Write, ErrorKind::Unavailable);
    }
    failures(&registry, Operation::Write, 1).await;
    // On a busy machine a few may miss it.
    let written = written().await;
    assert!(written >= 15, "{written} of 20 in one call");
    node.stop().await.unwrap();
}

#[tokio::test]
async fn a_store_that_hangs_holds_up_neither_packets_nor_the_end() {
    let (registry, node, sender) = stage().await;
    sender.run(node.rtp, 7, 1..5).await;
    node.shows(|all| all.len() == 1 && all[0].status == StreamStatus::Active).await;
    registry.delay(Operation::Write, Duration::from_secs(3_600));
    sender.run(node.rtp, 7, 5..2_000).await;
    let start = Instant::now();
    node.stop().await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(7), "{:?}", start.elapsed());
    assert_eq!(registry.list().await.unwrap().len(), 1, "what is left expires by itself");
}

#[tokio::test]
async fn a_store_that_comes_back_gets_what_was_counted_meanwhile() {
    let (registry, node, sender) = stage().await;
    sender.run(node.rtp, 7, 1..5).await;
    node.shows(|all| all.len() == 1 && all[0].status == StreamStatus::Active).await;
    registry.delay(Operation::Write, Duration::from_secs(2));
    sender.run(node.rtp, 7, 5..105).await;
    registry.delay(Operation::Write, Duration::ZERO);
    node.shows(|all| all[0].packets_received == 103).await;
    node.stop().await.unwrap();
}
