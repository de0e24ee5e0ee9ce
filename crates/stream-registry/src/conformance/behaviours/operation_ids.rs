//! Operation ids: the store applies a call once, even if a client sends the call twice.

use super::case::{Case, Check, concurrently, ensure, fails, full, id, same, stream};
use super::declare;
use crate::error::ErrorKind;
use crate::registry::{OnConflict, RegisterOptions, UnregisterOptions};
use crate::stream::{OperationId, Stream, StreamStatus};

declare! {
    "operation-ids", Long: [
        register_sent_twice_returns_the_first_answer,
        register_sent_twice_does_not_restore_an_unregistered_stream,
        concurrent_copies_of_a_registration_are_applied_once,
        register_new_sent_twice_creates_one_stream,
        take_over_sent_twice_is_applied_once,
        unregister_sent_twice_returns_the_first_answer,
        unregister_sent_twice_keeps_a_stream_registered_in_between,
        calls_with_different_operation_ids_are_independent,
        operation_id_of_another_stream_is_rejected,
        operation_id_of_another_kind_of_call_is_rejected,
    ],
}

fn register_options(operation: &OperationId) -> RegisterOptions {
    RegisterOptions::default().operation(operation.clone())
}

fn unregister_options(operation: &OperationId) -> UnregisterOptions {
    UnregisterOptions::default().operation(operation.clone())
}

async fn register_sent_twice_returns_the_first_answer(case: &Case) -> Check {
    let options = register_options(&OperationId::generate()).on_conflict(OnConflict::CreateOnly);
    let first = case.registry().register_with(&full("a"), &options).await?;
    case.registry().update_status(&id("a"), StreamStatus::Paused).await?;
    let before = case.get("a").await?;
    let again = case.registry().register_with(&full("a"), &options).await?;
    same("the answer", again, first)?;
    case.unchanged(&before).await
}

async fn register_sent_twice_does_not_restore_an_unregistered_stream(case: &Case) -> Check {
    let options = register_options(&OperationId::generate());
    let first = case.registry().register_with(&stream("a"), &options).await?;
    case.registry().unregister(&id("a")).await?;
    let again = case.registry().register_with(&stream("a"), &options).await?;
    same("the answer", again, first)?;
    case.assert_gone("a").await
}

async fn concurrent_copies_of_a_registration_are_applied_once(case: &Case) -> Check {
    let options = register_options(&OperationId::generate()).on_conflict(OnConflict::TakeOver);
    let answers = concurrently((0..16).map(|_| {
        let (registry, options) = (case.shared(), options.clone());
        async move { registry.register_with(&stream("a"), &options).await }
    }))
    .await?;
    let mut answers = answers.into_iter();
    let first = answers.next().ok_or_else(|| super::case::fault("no answer"))??;
    for answer in answers {
        same("the answer", answer?, first.clone())?;
    }
    case.unchanged(&first.stream).await
}

async fn register_new_sent_twice_creates_one_stream(case: &Case) -> Check {
    let options = register_options(&OperationId::generate());
    let first = case.registry().register_new(&stream("x"), &options).await?;
    let again = case.registry().register_new(&stream("x"), &options).await?;
    same("the answer", again, first.clone())?;
    same("the list", case.registry().list().await?, vec![first.stream])
}

async fn take_over_sent_twice_is_applied_once(case: &Case) -> Check {
    case.put(&full("a")).await?;
    let options = register_options(&OperationId::generate()).on_conflict(OnConflict::TakeOver);
    let first = case.registry().register_with(&stream("a"), &options).await?;
    case.instance.advance(std::time::Duration::from_millis(10)).await;
    let again = case.registry().register_with(&stream("a"), &options).await?;
    same("the answer", again, first.clone())?;
    case.unchanged(&first.stream).await
}

async fn unregister_sent_twice_returns_the_first_answer(case: &Case) -> Check {
    case.put(&full("a")).await?;
    let options = unregister_options(&OperationId::generate()).reason("over".parse()?);
    let first = case.registry().unregister_with(&id("a"), &options).await?;
    same("the reason", first.end_reason.as_deref(), Some("over"))?;
    let again = case.registry().unregister_with(&id("a"), &options).await?;
    same("the answer", again.to_json(), first.to_json())?;
    fails(case.registry().unregister(&id("a")).await, ErrorKind::NotFound)?;
    Ok(())
}

async fn unregister_sent_twice_keeps_a_stream_registered_in_between(case: &Case) -> Check {
    case.put(&full("a")).await?;
    let options = unregister_options(&OperationId::generate());
    let first = case.registry().unregister_with(&id("a"), &options).await?;
    let successor = case.put(&stream("a")).await?;
    same("the answer", case.registry().unregister_with(&id("a"), &options).await?, first)?;
    case.unchanged(&successor).await
}

async fn calls_with_different_operation_ids_are_independent(case: &Case) -> Check {
    let policy = |operation| register_options(&operation).on_conflict(OnConflict::CreateOnly);
    let first = case.registry().register_with(&stream("a"), &policy(OperationId::generate())).await?;
    let again = case.registry().register_with(&stream("a"), &policy(OperationId::generate())).await;
    fails(again, ErrorKind::AlreadyExists)?;
    case.unchanged(&first.stream).await?;
    case.registry().unregister_with(&id("a"), &unregister_options(&OperationId::generate())).await?;
    let again = case.registry().unregister_with(&id("a"), &unregister_options(&OperationId::generate())).await;
    fails(again, ErrorKind::NotFound)?;
    Ok(())
}

async fn operation_id_of_another_stream_is_rejected(case: &Case) -> Check {
    let operation = OperationId::generate();
    let (b, c) = (case.together("b"), case.together("c"));
    case.registry().register_with(&stream("a"), &register_options(&operation)).await?;
    let other = case.registry().register_with(&stream(&b), &register_options(&operation)).await;
    let error = fails(other, ErrorKind::InvalidArgument)?;
    same("the stream", error.stream_id(), Some(&id(&b)))?;
    case.assert_gone(&b).await?;
    let operation = OperationId::generate();
    let other = case.put(&stream(&c)).await?;
    case.registry().unregister_with(&id("a"), &unregister_options(&operation)).await?;
    fails(case.registry().unregister_with(&id(&c), &unregister_options(&operation)).await, ErrorKind::InvalidArgument)?;
    case.unchanged(&other).await
}

async fn operation_id_of_another_kind_of_call_is_rejected(case: &Case) -> Check {
    let operation = case.operation();
    let record = case.registry().register_with(&stream("a"), &register_options(&operation)).await?.stream;
    let end = case.registry().unregister_with(&id("a"), &unregister_options(&operation)).await;
    let error = fails(end, ErrorKind::InvalidArgument)?;
    ensure(!error.is_retryable(), "the error is retryable")?;
    // A registration with a generated id is another kind of call than a registration with an id of the caller.
    let new = case.registry().register_new(&stream("x"), &register_options(&operation)).await;
    fails(new, ErrorKind::InvalidArgument)?;
    case.unchanged(&record).await?;
    let operation = OperationId::generate();
    let generated = case.registry().register_new(&stream("x"), &register_options(&operation)).await?.stream;
    let same_id = Stream { id: generated.id.clone(), ..stream("x") };
    fails(case.registry().register_with(&same_id, &register_options(&operation)).await, ErrorKind::InvalidArgument)?;
    case.unchanged(&generated).await
}
