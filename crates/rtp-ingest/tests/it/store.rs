//! Tests with a failing store: reception continues, and the registry is correct after the store recovers.

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

/// Returns a scriptable store, a node that uses it, and a sender.
async fn setup() -> (Arc<MockRegistry>, Node, Sender) {
    let registry = Arc::new(MockRegistry::new());
    let node = Node::start(Arc::clone(&registry) as Arc<dyn Registry>, IngestOptions::default());
    (registry, node, Sender::new().await)
}

/// Waits until an operation has failed this many times.
async fn wait_for_failures(registry: &MockRegistry, operation: Operation, count: usize) {
    wait_until(DEADLINE, async || {
        registry.calls().iter().filter(|call| call.operation == operation && call.outcome.is_err()).count() >= count
    })
    .await;
}

#[tokio::test]
async fn expired_stream_is_restored_with_its_id_and_counters() {
    let (registry, node, sender) = setup().await;
    sender.send_rtp(node.rtp, 7, (1..10).filter(|n| *n != 5)).await;
    let before = node.wait_for(|all| all.len() == 1 && all[0].status == StreamStatus::Active).await.remove(0);
    // The stream expires before the next report.
    registry.advance(registry.info().ttl);
    assert_eq!(node.streams().await, []);
    sender.send_rtp(node.rtp, 7, 10..=12).await;
    let after = node.wait_for(|all| all.len() == 1).await.remove(0);
    assert_eq!((&after.id, &after.created_at), (&before.id, &before.created_at));
    assert!(after.packets_received >= before.packets_received, "{before:?} then {after:?}");
    assert_eq!(after.status, StreamStatus::Active);
    node.wait_for(|all| all[0].packets_received == 10 && all[0].packets_lost == 1).await;
    node.stop().await.unwrap();
}

#[tokio::test]
async fn removed_or_taken_over_stream_is_not_registered_again() {
    let (registry, node, sender) = setup().await;
    for ssrc in [7, 8] {
        sender.send_rtp(node.rtp, ssrc, 1..5).await;
        node.wait_for(|all| all.len() == 1 && all[0].status == StreamStatus::Active).await;
        let id = node.streams().await.remove(0).id;
        if ssrc == 7 {
            registry.unregister_with(&id, &UnregisterOptions::default().guard(Guard::Force)).await.unwrap();
        } else {
            let other = Stream::new(id, StreamType::Srt, "203.0.113.7:1");
            let options = RegisterOptions::default().lease().on_conflict(OnConflict::TakeOver);
            registry.register_with(&other, &options).await.unwrap();
        }
        registry.clear_calls();
        // The node tries to recover the stream. The failed attempt shows the node that the stream is lost.
        wait_for_failures(&registry, Operation::Register, 1).await;
        let call_count = registry.calls().len();
        sender.send_rtp(node.rtp, ssrc, 5..9).await;
        // Starts another session and waits until it is registered. A faulty node would have registered the old session
        // again by then.
        sender.send_rtp(node.rtp, 100 + ssrc, 1..5).await;
        let label = format!("0x{:08x}", 100 + ssrc);
        node.wait_for(|all| {
            all.iter().any(|s| s.labels.get("ssrc") == Some(&label) && s.status == StreamStatus::Active)
        })
        .await;
        let others = registry.calls().split_off(call_count);
        let registered = others.iter().filter(|call| call.operation == Operation::Register).count();
        assert_eq!(registered, 1, "{others:?}");
        assert!(node.streams().await.iter().all(|stream| stream.labels.get("ssrc") != Some(&format!("0x{ssrc:08x}"))));
        for ended in [ssrc, 100 + ssrc] {
            sender.send(node.rtp, &bye(ended)).await;
        }
        node.wait_for(|all| all.iter().all(|stream| stream.kind == StreamType::Srt)).await;
    }
    node.stop().await.unwrap();
    assert_eq!(registry.list().await.unwrap()[0].source_addr, "203.0.113.7:1", "the other holder's stream remains");
}

#[tokio::test]
async fn session_gets_another_id_when_its_generated_id_is_in_use() {
    let (registry, node, sender) = setup().await;
    let other = Stream::new("cam1".parse().unwrap(), StreamType::Srt, "203.0.113.7:1");
    registry.fail_next_with(Operation::Register, Error::already_exists(other));
    sender.send_rtp(node.rtp, 7, 1..5).await;
    node.wait_for(|all| all.len() == 1).await;
    let ids: Vec<_> = registry.calls().into_iter().filter(|call| call.operation == Operation::Register).collect();
    assert_ne!(ids[0].stream_id, ids[1].stream_id);
    node.stop().await.unwrap();
}

#[tokio::test]
async fn configured_id_is_reused_by_the_next_session() {
    let registry: Arc<MockRegistry> = Arc::new(MockRegistry::new());
    let given = GivenId::new("cam1".parse().unwrap(), OnConflict::Reject);
    let options = IngestOptions::default().id(given);
    let node = Node::start(Arc::clone(&registry) as Arc<dyn Registry>, options);
    let sender = Sender::new().await;
    for ssrc in [7, 8] {
        sender.send_rtp(node.rtp, ssrc, 1..5).await;
        let label = format!("0x{ssrc:08x}");
        node.wait_for(|all| all.iter().any(|s| s.id.as_str() == "cam1" && s.labels["ssrc"] == label)).await;
        // A concurrent session gets a generated id.
        sender.send_rtp(node.rtp, 100 + ssrc, 1..5).await;
        node.wait_for(|all| all.len() == 2).await;
        for ended in [ssrc, 100 + ssrc] {
            sender.send(node.rtp, &bye(ended)).await;
        }
        node.wait_for(<[Stream]>::is_empty).await;
    }
    node.stop().await.unwrap();
}

#[tokio::test]
async fn session_is_registered_updated_and_removed_despite_outages() {
    let (registry, node, sender) = setup().await;
    for _ in 0..2 {
        registry.fail_next(Operation::Register, ErrorKind::Unavailable);
    }
    sender.send_rtp(node.rtp, 7, 1..5).await;
    wait_for_failures(&registry, Operation::Register, 2).await;
    sender.send_rtp(node.rtp, 7, 5..10).await;
    node.wait_for(|all| all.len() == 1 && all[0].packets_received == 8).await;

    for _ in 0..2 {
        registry.fail_next(Operation::Write, ErrorKind::Unavailable);
    }
    sender.send_rtp(node.rtp, 7, 10..15).await;
    wait_for_failures(&registry, Operation::Write, 2).await;
    node.wait_for(|all| all[0].packets_received == 13).await;

    registry.fail_next(Operation::Unregister, ErrorKind::Unavailable);
    sender.send(node.rtp, &bye(7)).await;
    node.wait_for(<[Stream]>::is_empty).await;
    node.stop().await.unwrap();
}

#[tokio::test]
async fn lost_replies_cause_no_duplicate_streams() {
    let (registry, node, sender) = setup().await;
    registry.fail_next_after_applying(Operation::Register, ErrorKind::Timeout);
    sender.send_rtp(node.rtp, 7, 1..5).await;
    node.wait_for(|all| all.len() == 1 && all[0].status == StreamStatus::Active).await;

    registry.fail_next_after_applying(Operation::Unregister, ErrorKind::Timeout);
    sender.send(node.rtp, &bye(7)).await;
    node.wait_for(<[Stream]>::is_empty).await;

    // The reply to a registration is lost, and the session ends before the next attempt.
    registry.fail_next_after_applying(Operation::Register, ErrorKind::Timeout);
    sender.send_rtp(node.rtp, 8, 1..5).await;
    wait_for_failures(&registry, Operation::Register, 2).await;
    assert_eq!(node.streams().await.len(), 1);
    sender.send(node.rtp, &bye(8)).await;
    node.wait_for(<[Stream]>::is_empty).await;
    node.stop().await.unwrap();
}

#[tokio::test]
async fn reports_of_all_streams_share_one_write_call() {
    let (registry, node, sender) = setup().await;
    for ssrc in 0..20 {
        sender.send_rtp(node.rtp, ssrc, 1..4).await;
    }
    node.wait_for(|all| all.len() == 20 && all.iter().all(|stream| stream.status == StreamStatus::Active)).await;
    let written = async || {
        let now = registry.now();
        node.streams().await.iter().filter(|stream| stream.last_heartbeat == now).count()
    };
    // Only this test advances the registry's clock. A stream was therefore written since the last advance if its
    // heartbeat equals the current time.
    registry.advance(Duration::from_secs(1));
    wait_until(DEADLINE, async || written().await == 20).await;
    registry.advance(Duration::from_secs(1));
    // One write call is applied, and all later write calls fail.
    registry.fail_next_after_applying(Operation::Write, ErrorKind::Timeout);
    for _ in 0..1_000 {
        registry.fail_next(Operation::Write, ErrorKind::Unavailable);
    }
    wait_for_failures(&registry, Operation::Write, 1).await;
    // On a busy machine, the applied write call may miss a few reports.
    let written = written().await;
    assert!(written >= 15, "{written} of 20 in one call");
    node.stop().await.unwrap();
}

#[tokio::test]
async fn hanging_store_delays_neither_reception_nor_shutdown() {
    let (registry, node, sender) = setup().await;
    sender.send_rtp(node.rtp, 7, 1..5).await;
    node.wait_for(|all| all.len() == 1 && all[0].status == StreamStatus::Active).await;
    registry.delay(Operation::Write, Duration::from_secs(3_600));
    sender.send_rtp(node.rtp, 7, 5..2_000).await;
    let start = Instant::now();
    node.stop().await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(7), "{:?}", start.elapsed());
    assert_eq!(registry.list().await.unwrap().len(), 1, "the stream remains until it expires");
}

#[tokio::test]
async fn packets_counted_while_the_store_is_slow_are_reported() {
    let (registry, node, sender) = setup().await;
    sender.send_rtp(node.rtp, 7, 1..5).await;
    node.wait_for(|all| all.len() == 1 && all[0].status == StreamStatus::Active).await;
    registry.delay(Operation::Write, Duration::from_secs(2));
    sender.send_rtp(node.rtp, 7, 5..105).await;
    registry.delay(Operation::Write, Duration::ZERO);
    node.wait_for(|all| all[0].packets_received == 103).await;
    node.stop().await.unwrap();
}
