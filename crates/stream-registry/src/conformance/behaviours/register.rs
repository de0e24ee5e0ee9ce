//! Registration under a given id.

use super::case::{Case, Check, concurrently, ensure, fails, full, id, same, stream, without_times};
use super::declare;
use crate::error::ErrorKind;
use crate::registry::{Guard, OnConflict, Outcome, RegisterOptions, SameSource, UnregisterOptions};
use crate::stream::{Stream, StreamType};

declare! {
    "register", Long: [
        registration_creates_a_stream_with_current_times,
        registration_returns_the_record_and_the_time_to_live,
        same_publisher_renews_the_stream,
        publisher_without_a_node_matches_any_node,
        renewal_replaces_the_record,
        publisher_with_another_address_is_rejected,
        publisher_with_another_type_is_rejected,
        publisher_on_another_node_is_rejected,
        publisher_without_an_address_cannot_renew,
        publisher_on_another_port_renews_if_only_the_host_must_be_equal,
        any_publisher_of_the_node_renews_if_only_the_node_must_be_equal,
        conflict_error_contains_the_live_record,
        rejected_registration_changes_nothing,
        create_only_rejects_even_the_same_publisher,
        create_only_creates_a_stream_under_a_free_id,
        take_over_replaces_the_record,
        take_over_of_a_free_id_creates_a_stream,
        take_over_by_the_same_publisher_creates_a_new_record,
        unregistered_id_is_free_for_any_publisher,
        exactly_one_of_many_concurrent_publishers_registers_the_stream,
        exactly_one_of_many_concurrent_calls_creates_the_stream,
    ],
}

fn stream_from(name: &str, source: &str) -> Stream {
    Stream::new(id(name), StreamType::Srt, source)
}

fn policy(policy: OnConflict) -> RegisterOptions {
    RegisterOptions::default().on_conflict(policy)
}

async fn registration_creates_a_stream_with_current_times(case: &Case) -> Check {
    let answer = case.registry().register(&stream("a")).await?;
    same("the outcome", answer.outcome, Outcome::Created)?;
    same("last_heartbeat", answer.stream.last_heartbeat, answer.stream.created_at)?;
    same("the list", case.listed().await?, vec!["a".to_owned()])
}

async fn registration_returns_the_record_and_the_time_to_live(case: &Case) -> Check {
    let answer = case.registry().register(&full("a")).await?;
    case.unchanged(&answer.stream).await?;
    same("the epoch", answer.epoch, None)?;
    same("the time to live", answer.ttl, case.ttl)?;
    same("the store's time to live", case.registry().info().ttl, case.ttl)
}

async fn assert_renewed(case: &Case, first: &Stream, second: &Stream) -> Check {
    let created = case.put(first).await?;
    let answer = case.registry().register(second).await?;
    same("the outcome", answer.outcome, Outcome::Renewed)?;
    same("created_at", answer.stream.created_at, created.created_at)?;
    ensure(answer.stream.last_heartbeat >= created.last_heartbeat, "last_heartbeat goes back")?;
    case.unchanged(&answer.stream).await?;
    case.registry().unregister(&first.id).await?;
    Ok(())
}

async fn same_publisher_renews_the_stream(case: &Case) -> Check {
    case.put(&stream("a")).await?;
    let created = case.get("a").await?;
    case.instance.advance(std::time::Duration::from_millis(20)).await;
    let answer = case.registry().register(&stream("a")).await?;
    same("the outcome", answer.outcome, Outcome::Renewed)?;
    same("created_at", answer.stream.created_at, created.created_at)?;
    ensure(answer.stream.last_heartbeat > created.last_heartbeat, "last_heartbeat does not advance")?;
    case.unchanged(&answer.stream).await
}

async fn publisher_without_a_node_matches_any_node(case: &Case) -> Check {
    let mut on_node = stream("a");
    on_node.node = Some("ingest-1".to_owned());
    assert_renewed(case, &on_node, &on_node).await?;
    assert_renewed(case, &on_node, &stream("a")).await?;
    assert_renewed(case, &stream("a"), &on_node).await
}

async fn renewal_replaces_the_record(case: &Case) -> Check {
    case.put(&full("a")).await?;
    let plain = stream("a");
    case.put(&plain).await?;
    same("the record", without_times(&case.get("a").await?), without_times(&plain))
}

async fn assert_rejected(case: &Case, first: &Stream, second: &Stream) -> Check {
    let before = case.put(first).await?;
    fails(case.registry().register(second).await, ErrorKind::AlreadyExists)?;
    case.unchanged(&before).await?;
    case.registry().unregister(&first.id).await?;
    Ok(())
}

async fn publisher_with_another_address_is_rejected(case: &Case) -> Check {
    assert_rejected(case, &stream_from("a", "10.0.0.1:5000"), &stream_from("a", "10.0.0.1:5001")).await?;
    assert_rejected(case, &stream_from("a", "10.0.0.1:5000"), &stream_from("a", "")).await
}

async fn publisher_with_another_type_is_rejected(case: &Case) -> Check {
    let mut rtp = stream("a");
    rtp.kind = StreamType::Rtp;
    assert_rejected(case, &stream("a"), &rtp).await
}

async fn publisher_on_another_node_is_rejected(case: &Case) -> Check {
    let (mut one, mut other) = (stream("a"), stream("a"));
    (one.node, other.node) = (Some("ingest-1".to_owned()), Some("ingest-2".to_owned()));
    assert_rejected(case, &one, &other).await
}

async fn publisher_on_another_port_renews_if_only_the_host_must_be_equal(case: &Case) -> Check {
    let same_host = RegisterOptions::default().same_source(SameSource::Host);
    for (first, second) in [("10.0.0.1:5000", "10.0.0.1:5001"), ("[2001:db8::1]:5000", "[2001:db8::1]:9")] {
        for options in [same_host.clone(), same_host.clone().lease()] {
            let created = case.registry().register_with(&stream_from("a", first), &options).await?.stream;
            let answer = case.registry().register_with(&stream_from("a", second), &options).await?;
            same("the outcome", answer.outcome, Outcome::Renewed)?;
            same("created_at", answer.stream.created_at, created.created_at)?;
            same("the address", &*answer.stream.source_addr, second)?;
            ensure(!options.lease || answer.epoch.as_ref() > created.epoch(), "the epoch is not greater")?;
            case.unchanged(&answer.stream).await?;
            let rejected = stream_from("a", "10.0.0.11:5000");
            fails(case.registry().register_with(&rejected, &options).await, ErrorKind::AlreadyExists)?;
            case.unchanged(&answer.stream).await?;
            case.registry().unregister_with(&id("a"), &UnregisterOptions::default().guard(Guard::Force)).await?;
        }
    }
    // The type and the node must still be equal, and an address without a host identifies no publisher.
    let (mut one, mut two) = (stream_from("a", "10.0.0.1:5000"), stream_from("a", "10.0.0.1:5001"));
    (one.node, two.node) = (Some("ingest-1".to_owned()), Some("ingest-2".to_owned()));
    let rtp = Stream { kind: StreamType::Rtp, node: None, ..two.clone() };
    for (first, second) in [(&one, &two), (&one, &rtp), (&stream_from("a", ":5000"), &stream_from("a", ":5001"))] {
        let before = case.put(first).await?;
        fails(case.registry().register_with(second, &same_host).await, ErrorKind::AlreadyExists)?;
        case.unchanged(&before).await?;
        case.registry().unregister(&id("a")).await?;
    }
    Ok(())
}

async fn any_publisher_of_the_node_renews_if_only_the_node_must_be_equal(case: &Case) -> Check {
    let same_node = RegisterOptions::default().same_source(SameSource::Node).lease();
    let on_node = |node: Option<&str>, kind, source: &str| Stream {
        kind,
        node: node.map(str::to_owned),
        ..stream_from("a", source)
    };
    let first = on_node(Some("edge1"), StreamType::Srt, "10.0.0.1:5000");
    let created = case.registry().register_with(&first, &same_node).await?.stream;
    for again in [
        on_node(Some("edge1"), StreamType::Srt, "192.0.2.7:5000"),
        on_node(Some("edge1"), StreamType::Rtp, ""),
        on_node(Some("edge1"), StreamType::Rtp, ""),
    ] {
        let answer = case.registry().register_with(&again, &same_node).await?;
        same("the outcome", answer.outcome, Outcome::Renewed)?;
        same("created_at", answer.stream.created_at, created.created_at)?;
        same("the type", &answer.stream.kind, &again.kind)?;
        case.unchanged(&answer.stream).await?;
    }
    for other in [on_node(Some("edge2"), StreamType::Rtp, "10.0.0.1:5000"), on_node(None, StreamType::Rtp, "")] {
        fails(case.registry().register_with(&other, &same_node).await, ErrorKind::AlreadyExists)?;
    }
    case.registry().unregister_with(&id("a"), &UnregisterOptions::default().guard(Guard::Force)).await?;
    let without_node = on_node(None, StreamType::Srt, "10.0.0.1:5000");
    case.registry().register_with(&without_node, &same_node).await?;
    fails(case.registry().register_with(&without_node, &same_node).await, ErrorKind::AlreadyExists)?;
    Ok(())
}

async fn publisher_without_an_address_cannot_renew(case: &Case) -> Check {
    assert_rejected(case, &stream_from("a", ""), &stream_from("a", "")).await
}

async fn conflict_error_contains_the_live_record(case: &Case) -> Check {
    let there = case.put(&full("a")).await?;
    let error = fails(case.registry().register(&stream_from("a", "10.9.9.9:1")).await, ErrorKind::AlreadyExists)?;
    same("the record in the error", error.existing(), Some(&there))?;
    ensure(!error.may_have_applied() && !error.is_retryable(), "a conflict is reported as retryable or applied")
}

async fn rejected_registration_changes_nothing(case: &Case) -> Check {
    let before = case.put(&full("a")).await?;
    let mut other = stream_from("a", "10.9.9.9:1");
    other.labels.insert("mine".to_owned(), "now".to_owned());
    for options in [policy(OnConflict::Reject), policy(OnConflict::CreateOnly)] {
        fails(case.registry().register_with(&other, &options).await, ErrorKind::AlreadyExists)?;
    }
    case.unchanged(&before).await?;
    same("the list", case.registry().list().await?, vec![before])
}

async fn create_only_rejects_even_the_same_publisher(case: &Case) -> Check {
    let before = case.put(&stream("a")).await?;
    let options = policy(OnConflict::CreateOnly);
    let error = fails(case.registry().register_with(&stream("a"), &options).await, ErrorKind::AlreadyExists)?;
    same("the record in the error", error.existing(), Some(&before))?;
    case.unchanged(&before).await
}

async fn create_only_creates_a_stream_under_a_free_id(case: &Case) -> Check {
    let answer = case.registry().register_with(&stream("a"), &policy(OnConflict::CreateOnly)).await?;
    same("the outcome", answer.outcome, Outcome::Created)?;
    case.unchanged(&answer.stream).await
}

async fn take_over_replaces_the_record(case: &Case) -> Check {
    let before = case.put(&full("a")).await?;
    case.instance.advance(std::time::Duration::from_millis(20)).await;
    let other = stream_from("a", "10.9.9.9:1");
    let answer = case.registry().register_with(&other, &policy(OnConflict::TakeOver)).await?;
    same("the outcome", answer.outcome, Outcome::TakenOver)?;
    same("the record", without_times(&answer.stream), without_times(&other))?;
    ensure(answer.stream.created_at > before.created_at, "created_at is that of the old publisher")?;
    same("last_heartbeat", answer.stream.last_heartbeat, answer.stream.created_at)?;
    case.unchanged(&answer.stream).await?;
    same("the list", case.listed().await?, vec!["a".to_owned()])
}

async fn take_over_of_a_free_id_creates_a_stream(case: &Case) -> Check {
    let answer = case.registry().register_with(&stream("a"), &policy(OnConflict::TakeOver)).await?;
    same("the outcome", answer.outcome, Outcome::Created)?;
    case.unchanged(&answer.stream).await
}

async fn take_over_by_the_same_publisher_creates_a_new_record(case: &Case) -> Check {
    let before = case.put(&stream("a")).await?;
    case.instance.advance(std::time::Duration::from_millis(20)).await;
    let answer = case.registry().register_with(&stream("a"), &policy(OnConflict::TakeOver)).await?;
    same("the outcome", answer.outcome, Outcome::TakenOver)?;
    ensure(answer.stream.created_at > before.created_at, "created_at is that of the old record")
}

async fn unregistered_id_is_free_for_any_publisher(case: &Case) -> Check {
    case.put(&stream_from("a", "10.0.0.1:1")).await?;
    case.registry().unregister(&id("a")).await?;
    let answer = case.registry().register(&stream_from("a", "10.0.0.2:2")).await?;
    same("the outcome", answer.outcome, Outcome::Created)?;
    ensure(answer.stream.source_addr == "10.0.0.2:2", "the old record was restored")
}

async fn exactly_one_of_many_concurrent_publishers_registers_the_stream(case: &Case) -> Check {
    for round in 0..20 {
        let name = format!("round {round}");
        let answers = concurrently((0..64).map(|publisher| {
            let (registry, given) = (case.shared(), stream_from(&name, &format!("10.0.0.{publisher}:5000")));
            async move { registry.register(&given).await }
        }))
        .await?;
        let mut winners = Vec::new();
        for answer in answers {
            match answer {
                Ok(registered) => winners.push(registered.stream),
                Err(error) => {
                    let error = fails(Err::<(), _>(error), ErrorKind::AlreadyExists)?;
                    ensure(error.existing().is_some(), "the error carries no record")?;
                }
            }
        }
        same("the number of winners", winners.len(), 1)?;
        case.unchanged(&winners[0]).await?;
    }
    Ok(())
}

async fn exactly_one_of_many_concurrent_calls_creates_the_stream(case: &Case) -> Check {
    let answers = concurrently((0..16).map(|_| {
        let registry = case.shared();
        async move { registry.register(&stream("a")).await }
    }))
    .await?;
    let mut created = 0;
    let record = case.get("a").await?;
    for answer in answers {
        let answer = answer?;
        created += u32::from(answer.outcome == Outcome::Created);
        same("created_at", answer.stream.created_at, record.created_at)?;
    }
    same("the number of creations", created, 1)
}
