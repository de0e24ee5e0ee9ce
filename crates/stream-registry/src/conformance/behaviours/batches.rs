//! Batches of writes, and concurrent calls that a store may coalesce.

use super::case::{Case, Check, concurrently, ensure, fails, full, id, same, stream, totals, write};
use super::declare;
use crate::error::{ErrorKind, Operation};
use crate::registry::{Change, Guard, Write};
use crate::stream::{StreamPatch, StreamStats, StreamStatus};

declare! {
    "batches", Long: [
        batch_returns_one_result_per_write_in_order,
        empty_batch_returns_no_results,
        batch_of_1000_writes_is_accepted,
        batch_of_1001_writes_is_rejected_and_changes_nothing,
        batch_applies_writes_to_one_stream_in_order,
        batch_continues_after_a_failed_write,
        batch_errors_name_the_operation_and_the_stream,
        each_coalesced_call_gets_its_own_result,
    ],
}

async fn batch_returns_one_result_per_write_in_order(case: &Case) -> Check {
    for name in ["a", "b", "c"] {
        case.put(&stream(name)).await?;
    }
    let too_many = StreamStats { bytes_received: Some(u64::MAX), ..Default::default() };
    let patch = StreamPatch { video_codec: Some("AV1".to_owned()), ..Default::default() };
    let batch = [
        write("a", Change::Status(StreamStatus::Active)),
        write("never", Change::Heartbeat),
        write("b", Change::Stats(Box::new(too_many))),
        Write { guard: Guard::Holder("00000000000000ff-x".parse()?), ..write("c", Change::Heartbeat) },
        write("b", Change::Stats(Box::new(StreamStats { bitrate: Some(7), ..Default::default() }))),
        write("c", Change::Patch(Box::new(patch))),
        write("a", Change::Update(Box::new(full("b")))),
        write("never", Change::Status(StreamStatus::Active)),
        write("b", Change::Heartbeat),
    ];
    let kinds: Vec<_> =
        case.registry().write(&batch).await?.into_iter().map(|answer| answer.map_err(|error| error.kind())).collect();
    use ErrorKind::{InvalidArgument, NotFound, NotHolder};
    let expected = vec![
        Ok(()),
        Err(NotFound),
        Err(InvalidArgument),
        Err(NotHolder),
        Ok(()),
        Ok(()),
        Err(InvalidArgument),
        Err(NotFound),
        Ok(()),
    ];
    same("the answers", kinds, expected)?;
    same("the status", case.get("a").await?.status, StreamStatus::Active)?;
    let b = case.get("b").await?;
    same("the statistics", (b.bitrate, b.bytes_received), (7, 0))?;
    same("the codec", case.get("c").await?.video_codec.as_str(), "AV1")
}

async fn empty_batch_returns_no_results(case: &Case) -> Check {
    same("the number of answers", case.registry().write(&[]).await?.len(), 0)
}

async fn batch_of_1000_writes_is_accepted(case: &Case) -> Check {
    case.put_all((0..500).map(|n| format!("s{n}"))).await?;
    let batch: Vec<_> = (0..1_000).map(|n| write(&format!("s{n}"), Change::Status(StreamStatus::Paused))).collect();
    for (n, answer) in case.registry().write(&batch).await?.into_iter().enumerate() {
        if n < 500 { answer? } else { drop(fails(answer, ErrorKind::NotFound)?) }
    }
    let paused = case.registry().list().await?.iter().filter(|record| record.status == StreamStatus::Paused).count();
    same("the number of changed streams", paused, 500)
}

async fn batch_of_1001_writes_is_rejected_and_changes_nothing(case: &Case) -> Check {
    let before = case.put(&stream("a")).await?;
    let batch: Vec<_> = (0..1_001).map(|_| write("a", Change::Status(StreamStatus::Paused))).collect();
    fails(case.registry().write(&batch).await, ErrorKind::InvalidArgument)?;
    case.unchanged(&before).await
}

async fn batch_applies_writes_to_one_stream_in_order(case: &Case) -> Check {
    case.put(&stream("a")).await?;
    let stats = |bitrate| Change::Stats(Box::new(StreamStats { bitrate: Some(bitrate), ..Default::default() }));
    let patch = StreamPatch { resolution: Some("1x1".to_owned()), ..Default::default() };
    for round in 0..10 {
        let batch = [
            write("a", Change::Status(StreamStatus::Paused)),
            write("a", stats(1)),
            write("a", Change::Patch(Box::new(patch.clone().label("round", round.to_string())))),
            write("a", stats(2 + round)),
            write("a", Change::Heartbeat),
            write("a", Change::Status(StreamStatus::Active)),
        ];
        for answer in case.registry().write(&batch).await? {
            answer?;
        }
        let now = case.get("a").await?;
        same("status and rate", (now.status.clone(), now.bitrate), (StreamStatus::Active, 2 + round))?;
        same("the label", now.labels.get("round").cloned(), Some(round.to_string()))?;
    }
    Ok(())
}

async fn batch_continues_after_a_failed_write(case: &Case) -> Check {
    let rejected = case.put(&full("rejected")).await?;
    case.put(&stream("last")).await?;
    let mut batch: Vec<_> = (0..50).map(|n| write(&format!("never {n}"), Change::Heartbeat)).collect();
    batch.push(write("rejected", Change::Update(Box::new(stream("other")))));
    batch.push(write("last", Change::Status(StreamStatus::Active)));
    let answers = case.registry().write(&batch).await?;
    ensure(answers[..51].iter().all(Result::is_err) && answers[51].is_ok(), "the results are out of order")?;
    case.unchanged(&rejected).await?;
    same("the status", case.get("last").await?.status, StreamStatus::Active)
}

async fn batch_errors_name_the_operation_and_the_stream(case: &Case) -> Check {
    let batch = [
        (Operation::Heartbeat, write("h", Change::Heartbeat)),
        (Operation::Status, write("s", Change::Status(StreamStatus::Active))),
        (Operation::Stats, write("t", Change::Stats(Box::new(totals())))),
        (Operation::Patch, write("p", Change::Patch(Box::default()))),
        (Operation::Update, write("u", Change::Update(Box::new(stream("u"))))),
    ];
    let writes: Vec<_> = batch.iter().map(|(_, write)| write.clone()).collect();
    for ((operation, write), answer) in batch.iter().zip(case.registry().write(&writes).await?) {
        let error = fails(answer, ErrorKind::NotFound)?;
        same("the operation", error.operation(), Some(*operation))?;
        same("the stream", error.stream_id(), Some(&write.id))?;
    }
    Ok(())
}

/// Checks that each caller gets its own result, even if the store coalesces concurrent calls.
async fn each_coalesced_call_gets_its_own_result(case: &Case) -> Check {
    case.put_all((0..100).map(|n| format!("s{n}"))).await?;
    for round in 1..=3_u64 {
        let answers = concurrently((0..200_u64).map(|n| {
            let registry = case.shared();
            async move {
                let name = id(&format!("s{n}"));
                let stats = StreamStats { bytes_received: Some(n), bitrate: Some(round), ..Default::default() };
                let written = registry.update_stats(&name, &stats).await;
                (n, written, registry.get(&name).await)
            }
        }))
        .await?;
        for (n, written, read) in answers {
            if n < 100 {
                written?;
                let read = read?;
                same("the id", read.id, id(&format!("s{n}")))?;
                same("the statistics", (read.bytes_received, read.bitrate), (n, round))?;
            } else {
                let error = fails(written, ErrorKind::NotFound)?;
                same("the stream", error.stream_id(), Some(&id(&format!("s{n}"))))?;
                fails(read, ErrorKind::NotFound)?;
            }
        }
    }
    Ok(())
}
