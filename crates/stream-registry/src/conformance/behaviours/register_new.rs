//! Registration under a generated id.

use std::collections::BTreeSet;

use super::case::{Case, Check, concurrently, ensure, full, same, stream, without_times};
use super::declare;
use crate::registry::{OnConflict, Outcome, RegisterOptions};
use crate::stream::StreamType;
use crate::stream::id::next_stream_ids;

declare! {
    "register-new", Long: [
        register_new_uses_a_generated_id,
        register_new_stores_every_field_except_the_id,
        concurrent_registrations_get_different_generated_ids,
        register_new_never_uses_the_id_of_a_live_stream,
        register_new_creates_a_stream_under_every_conflict_policy,
    ],
}

async fn register_new_uses_a_generated_id(case: &Case) -> Check {
    let answer = case.registry().register_new(&stream("mine"), &RegisterOptions::default()).await?;
    ensure(answer.stream.id.as_str().starts_with("srt_2"), &format!("{} is not a generated id", answer.stream.id))?;
    same("the outcome", answer.outcome, Outcome::Created)?;
    case.unchanged(&answer.stream).await?;
    case.assert_gone("mine").await
}

async fn register_new_stores_every_field_except_the_id(case: &Case) -> Check {
    let given = full("mine");
    let mut made = case.registry().register_new(&given, &RegisterOptions::default()).await?.stream;
    made.id = given.id.clone();
    same("the record", without_times(&made), without_times(&given))
}

async fn concurrent_registrations_get_different_generated_ids(case: &Case) -> Check {
    let answers = concurrently((0..200).map(|_| {
        let registry = case.shared();
        async move { registry.register_new(&stream("same"), &RegisterOptions::default()).await }
    }))
    .await?;
    let mut ids = BTreeSet::new();
    for answer in answers {
        ids.insert(answer?.stream.id.as_str().to_owned());
    }
    same("the number of ids", ids.len(), 200)?;
    same("the list", case.listed().await?, ids.into_iter().collect())
}

async fn register_new_never_uses_the_id_of_a_live_stream(case: &Case) -> Check {
    let live: Vec<_> = next_stream_ids(&StreamType::Srt, 3, 100).iter().map(|id| id.as_str().to_owned()).collect();
    case.put_all(live.clone()).await?;
    let before = case.registry().list().await?.len();
    let mut fresh = stream("fresh");
    fresh.source_addr = "10.9.9.9:9".to_owned();
    for made in 1..=10 {
        // Every second registration comes from the publisher of the live streams, but must not renew a live stream.
        let given = if made % 2 == 0 { &fresh } else { &stream("fresh") };
        let answer = case.registry().register_new(given, &RegisterOptions::default()).await?;
        ensure(!live.iter().any(|id| id == answer.stream.id.as_str()), "a live id is used again")?;
        same("the number of streams", case.registry().list().await?.len(), before + made)?;
    }
    Ok(())
}

async fn register_new_creates_a_stream_under_every_conflict_policy(case: &Case) -> Check {
    for policy in [OnConflict::CreateOnly, OnConflict::Reject, OnConflict::TakeOver] {
        let options = RegisterOptions::default().on_conflict(policy);
        let answer = case.registry().register_new(&stream("same"), &options).await?;
        same("the outcome", answer.outcome, Outcome::Created)?;
    }
    same("the number of streams", case.listed().await?.len(), 3)
}
