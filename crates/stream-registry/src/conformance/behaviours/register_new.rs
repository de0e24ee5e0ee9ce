//! Registration under a generated id.

use std::collections::BTreeSet;

use super::case::{Case, Check, concurrently, ensure, fault, full, same, stream, without_times};
use super::declare;
use crate::registry::{OnConflict, Outcome, RegisterOptions};
use crate::stream::{StreamType, generate_stream_id};

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
    let mut fresh = stream("fresh");
    fresh.source_addr = "10.9.9.9:9".to_owned();
    let mut live = BTreeSet::new();
    for _ in 0..5 {
        // The numbers in generated ids are consecutive within a second, so the ids after this one come next.
        let generated = generate_stream_id(&StreamType::Srt, "");
        let (prefix, number) = generated.as_str().rsplit_once('_').ok_or_else(|| fault("the id has no number"))?;
        let number: u64 = number.parse().map_err(|_| fault("the id does not end with a number"))?;
        let next: Vec<_> = (1..=60).map(|n| format!("{prefix}_{:03}", number + n)).collect();
        case.put_all(next.clone()).await?;
        live.extend(next);
        let before = case.registry().list().await?.len();
        // The second registration comes from the publisher of the live streams, but must not renew a live stream.
        for (made, given) in [&fresh, &stream("fresh")].into_iter().enumerate() {
            let answer = case.registry().register_new(given, &RegisterOptions::default()).await?;
            ensure(!live.contains(answer.stream.id.as_str()), "a live id is used again")?;
            same("the number of streams", case.registry().list().await?.len(), before + made + 1)?;
        }
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
