//! The operation, stream and message that errors contain.

use super::case::{Case, Check, ensure, fails, id, same, stream};
use super::declare;
use crate::error::{Error, ErrorKind, Operation};
use crate::registry::{Guard, RegisterOptions, UnregisterOptions};
use crate::stream::{StreamPatch, StreamStats, StreamStatus};

declare! {
    "errors", Long: [
        errors_name_the_operation_and_the_stream,
        invalid_argument_errors_name_the_operation_and_the_stream,
        permanent_errors_are_not_retryable_and_leave_no_change,
        error_messages_name_the_operation_and_the_stream,
    ],
}

async fn not_found(case: &Case) -> Check<Vec<(Operation, Error)>> {
    let (registry, name) = (case.registry(), id("never"));
    let patch = StreamPatch::default();
    let kind = ErrorKind::NotFound;
    Ok(vec![
        (Operation::Get, fails(registry.get(&name).await, kind)?),
        (Operation::Unregister, fails(registry.unregister(&name).await, kind)?),
        (Operation::Heartbeat, fails(registry.update_heartbeat(&name).await, kind)?),
        (Operation::Status, fails(registry.update_status(&name, StreamStatus::Active).await, kind)?),
        (Operation::Stats, fails(registry.update_stats(&name, &StreamStats::default()).await, kind)?),
        (Operation::Patch, fails(registry.patch(&name, &patch).await, kind)?),
        (Operation::Update, fails(registry.update(&stream("never")).await, kind)?),
    ])
}

async fn conflicts(case: &Case) -> Check<Vec<(Operation, Error)>> {
    let registry = case.registry();
    case.put(&stream("never")).await?;
    let mut other = stream("never");
    other.source_addr = "10.9.9.9:1".to_owned();
    let end = UnregisterOptions::default().guard(Guard::Holder("00000000000000ff-x".parse()?));
    let recovery = RegisterOptions::default().recover("00000000000000ff-x".parse()?);
    let answers = vec![
        (Operation::Register, fails(registry.register(&other).await, ErrorKind::AlreadyExists)?),
        (Operation::Register, fails(registry.register_with(&other, &recovery).await, ErrorKind::NotHolder)?),
        (Operation::Unregister, fails(registry.unregister_with(&id("never"), &end).await, ErrorKind::NotHolder)?),
    ];
    registry.unregister(&id("never")).await?;
    Ok(answers)
}

async fn invalid(case: &Case) -> Check<Vec<(Operation, Error)>> {
    let registry = case.registry();
    let mut bad = stream("never");
    bad.bitrate = u64::MAX;
    let stats = StreamStats { bitrate: Some(u64::MAX), ..Default::default() };
    let patch = StreamPatch { frame_rate: Some(f64::NAN), ..Default::default() };
    let kind = ErrorKind::InvalidArgument;
    Ok(vec![
        (Operation::Register, fails(registry.register(&bad).await, kind)?),
        (Operation::Stats, fails(registry.update_stats(&bad.id, &stats).await, kind)?),
        (Operation::Patch, fails(registry.patch(&bad.id, &patch).await, kind)?),
        (Operation::Update, fails(registry.update(&bad).await, kind)?),
    ])
}

fn assert_named(errors: &[(Operation, Error)]) -> Check {
    for (operation, error) in errors {
        same("the operation", error.operation(), Some(*operation))?;
        same("the stream", error.stream_id(), Some(&id("never")))?;
    }
    Ok(())
}

async fn errors_name_the_operation_and_the_stream(case: &Case) -> Check {
    assert_named(&not_found(case).await?)?;
    assert_named(&conflicts(case).await?)
}

async fn invalid_argument_errors_name_the_operation_and_the_stream(case: &Case) -> Check {
    assert_named(&invalid(case).await?)
}

async fn permanent_errors_are_not_retryable_and_leave_no_change(case: &Case) -> Check {
    for (_, error) in [not_found(case).await?, conflicts(case).await?, invalid(case).await?].concat() {
        ensure(!error.is_retryable(), &format!("{error} is retryable"))?;
        ensure(!error.may_have_applied(), &format!("{error} may have been applied"))?;
    }
    Ok(())
}

async fn error_messages_name_the_operation_and_the_stream(case: &Case) -> Check {
    for (operation, error) in [not_found(case).await?, conflicts(case).await?].concat() {
        let text = error.to_string();
        ensure(
            text.contains("never") && text.contains(operation.as_str()),
            &format!("{text} does not name the stream and the operation"),
        )?;
        ensure(error.message().len() > 8, &format!("{text} has no message"))?;
    }
    Ok(())
}
