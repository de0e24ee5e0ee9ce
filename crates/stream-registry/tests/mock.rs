//! The mock registry: scripted errors, delays and time, and recorded calls.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::num::NonZeroU32;
use std::time::Duration;

use stream_registry::mock::MockRegistry;
use stream_registry::query::{By, Ended, Filter, Query};
use stream_registry::registry::Operation;
use stream_registry::{Change, Error, ErrorKind, Guard, Registry, Stream, StreamId, StreamStatus, StreamType, Write};

fn stream(id: &str) -> Stream {
    Stream::new(id.parse().unwrap(), StreamType::Srt, "203.0.113.7:40112")
}

fn id(id: &str) -> StreamId {
    id.parse().unwrap()
}

fn write(to: &str, change: Change) -> Write {
    Write { id: id(to), guard: Guard::None, change }
}

#[tokio::test]
async fn scripted_errors_are_returned_in_order_and_change_nothing() {
    let mock = MockRegistry::new();
    mock.fail_next(Operation::Register, ErrorKind::Denied);
    mock.fail_next_with(Operation::Register, Error::new(ErrorKind::Unavailable, "the store restarts"));
    assert_eq!(mock.register(&stream("a")).await.unwrap_err().kind(), ErrorKind::Denied);
    let error = mock.register(&stream("a")).await.unwrap_err();
    assert_eq!((error.message(), error.operation()), ("the store restarts", Some(Operation::Register)));
    assert_eq!(error.stream_id(), Some(&id("a")));
    assert!(mock.list().await.unwrap().is_empty());
    mock.register(&stream("a")).await.unwrap();
}

#[tokio::test]
async fn scripted_error_fails_the_matching_write_in_a_batch() {
    let mock = MockRegistry::new();
    for name in ["a", "b"] {
        mock.register(&stream(name)).await.unwrap();
    }
    mock.fail_next(Operation::Status, ErrorKind::Corrupt);
    mock.fail_next_after_applying(Operation::Status, ErrorKind::Timeout);
    let batch = [
        write("a", Change::Status(StreamStatus::Paused)),
        write("a", Change::Heartbeat),
        write("b", Change::Status(StreamStatus::Paused)),
        write("gone", Change::Heartbeat),
    ];
    let kinds: Vec<_> =
        mock.write(&batch).await.unwrap().into_iter().map(|answer| answer.map_err(|error| error.kind())).collect();
    assert_eq!(kinds, [Err(ErrorKind::Corrupt), Ok(()), Err(ErrorKind::Timeout), Err(ErrorKind::NotFound)]);
    assert_eq!(mock.get(&id("a")).await.unwrap().status, StreamStatus::Connecting);
    assert_eq!(mock.get(&id("b")).await.unwrap().status, StreamStatus::Paused);

    mock.clear_calls();
    mock.fail_next(Operation::Write, ErrorKind::Unavailable);
    assert_eq!(mock.write(&batch).await.unwrap_err().kind(), ErrorKind::Unavailable);
    mock.update_heartbeat(&id("a")).await.unwrap();
    let calls: Vec<_> = mock.calls().into_iter().map(|call| (call.operation, call.stream_id, call.outcome)).collect();
    assert_eq!(
        calls,
        [(Operation::Write, None, Err(ErrorKind::Unavailable)), (Operation::Heartbeat, Some(id("a")), Ok(())),]
    );
}

#[tokio::test]
async fn get_many_is_recorded_as_one_get_call() {
    let mock = MockRegistry::with_ttl(Duration::from_secs(60)).unwrap();
    mock.register(&stream("a")).await.unwrap();
    let ids = [id("none"), id("a"), id("a")];
    mock.fail_next(Operation::Get, ErrorKind::Unavailable);
    let error = mock.get_many(&ids).await.unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::Unavailable, Some(Operation::Get)));
    let found: Vec<_> = mock.get_many(&ids).await.unwrap().into_iter().map(|stream| stream.is_some()).collect();
    assert_eq!(found, [false, true, true]);
    let outcomes: Vec<_> = mock.calls()[1..].iter().map(|call| (call.operation, call.outcome)).collect();
    assert_eq!(outcomes, [(Operation::Get, Err(ErrorKind::Unavailable)), (Operation::Get, Ok(()))]);
    mock.advance(Duration::from_secs(60));
    assert_eq!(mock.get_many(&[id("a")]).await.unwrap(), [None]);
    mock.close().await.unwrap();
    assert_eq!(mock.get_many(&ids).await.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn query_is_recorded_as_one_call_and_named_in_errors() {
    let operations = [Operation::Find, Operation::Summary, Operation::History];
    let mock = MockRegistry::new();
    let run = async |operation| match operation {
        Operation::Find => mock.find(&Query::default()).await.map(drop),
        Operation::Summary => mock.summary(&Filter::default(), By::Node).await.map(drop),
        _ => mock.history(&Ended::default(), NonZeroU32::MIN).await.map(drop),
    };
    for operation in operations {
        mock.fail_next(operation, ErrorKind::Denied);
        let error = run(operation).await.unwrap_err();
        assert_eq!((error.kind(), error.operation()), (ErrorKind::Denied, Some(operation)));
        run(operation).await.unwrap();
    }
    let calls: Vec<_> = mock.calls().into_iter().map(|call| call.operation).collect();
    assert_eq!(calls, operations.map(|operation| [operation; 2]).concat());
    mock.close().await.unwrap();
    for operation in operations {
        // Internally, the query reads a page or the change feed of the closed store. The error must name the query, not
        // that read.
        let error = run(operation).await.unwrap_err();
        assert_eq!((error.kind(), error.operation()), (ErrorKind::Closed, Some(operation)));
    }
}

#[tokio::test]
async fn rejected_call_ignores_a_scripted_lost_reply() {
    let mock = MockRegistry::new();
    mock.fail_next_after_applying(Operation::Unregister, ErrorKind::Timeout);
    assert_eq!(mock.unregister(&id("a")).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn scripted_delay_uses_tokio_time_and_is_cancellable() {
    let mock = MockRegistry::new();
    mock.delay(Operation::Register, Duration::from_secs(3600));
    let given = stream("a");
    let with_timeout = tokio::time::timeout(Duration::from_secs(60), mock.register(&given));
    assert!(with_timeout.await.is_err());
    assert!(mock.calls().is_empty() && mock.list().await.unwrap().is_empty());

    let start = tokio::time::Instant::now();
    mock.register(&stream("a")).await.unwrap();
    assert_eq!(start.elapsed(), Duration::from_secs(3600));
    mock.delay(Operation::Register, Duration::ZERO);
    mock.delay(Operation::Heartbeat, Duration::from_secs(1));
    mock.delay(Operation::Write, Duration::from_secs(2));
    let start = tokio::time::Instant::now();
    mock.update_heartbeat(&id("a")).await.unwrap();
    assert_eq!(start.elapsed(), Duration::from_secs(2));
}

#[tokio::test]
async fn stream_expires_exactly_when_the_mock_clock_reaches_its_ttl() {
    let mock = MockRegistry::with_ttl(Duration::from_secs(1)).unwrap();
    assert!(MockRegistry::with_ttl(Duration::from_millis(999)).is_err());
    let first = mock.register(&stream("a")).await.unwrap().stream;
    assert_eq!(first.created_at, mock.now());
    mock.advance(Duration::from_nanos(999_999_999));
    mock.get(&id("a")).await.unwrap();
    mock.advance(Duration::from_nanos(1));
    assert_eq!(mock.get(&id("a")).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn put_stored_keeps_times_epoch_and_unknown_fields() {
    let mock = MockRegistry::new();
    let json = r#"{"type":"srt","epoch":"7","x":[],"created_at":"2024-01-15T14:30:52+01:00"}"#;
    mock.put_stored(&id("a"), json).unwrap();
    let found = mock.get(&id("a")).await.unwrap();
    assert_eq!(found.epoch().unwrap().as_str(), "7");
    assert_eq!(found.created_at.to_string(), "2024-01-15T13:30:52.000000000Z");
    assert!(found.to_json().ends_with(r#","x":[]}"#));
    assert_eq!(mock.update_heartbeat(&id("a")).await.unwrap_err().kind(), ErrorKind::NotHolder);
    assert_eq!(mock.put_stored(&id("a"), "[]").unwrap_err().kind(), ErrorKind::Corrupt);
}
