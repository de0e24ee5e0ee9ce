//! Many writes in one call, and many calls at once.

use super::case::{Case, Check, at_once, ensure, fails, full, id, same, stream, write};
use super::declare;
use crate::error::{ErrorKind, Operation};
use crate::registry::{Change, Guard, Write};
use crate::stream::{StreamPatch, StreamStats, StreamStatus};

declare! {
    "batches", Long: [
        are_answered_each_on_its_own_and_in_order,
        of_nothing_answer_nothing,
        of_1000_are_taken,
        of_more_than_1000_are_refused_whole,
        apply_writes_to_one_stream_in_order,
        go_on_after_a_write_that_fails,
        name_operation_and_stream_of_each_failure,
        of_different_callers_do_not_mix,
    ],
}

async fn are_answered_each_on_its_own_and_in_order(case: &Case) -> Check {
    for name in ["a", "b", "c"] {
        case.put(&stream(name)).await?;
    }
    let too_many = StreamStats { bytes_received: u64::MAX, ..Default::default() };
    let patch = StreamPatch { video_codec: Some("AV1".to_owned()), ..Default::default() };
    let batch = [
        write("a", Change::Status(StreamStatus::Active)),
        write("never", Change::Heartbeat),
        write("b", Change::Stats(too_many)),
        Write { guard: Guard::Holder("00000000000000ff-x".parse()?), ..write("c", Change::Heartbeat) },
        write("b", Change::Stats(StreamStats { bitrate: 7, ..Default::default() })),
        write("c", Change::Patch(Box::new(patch))),
        write("a", Change::Update(Box::new(full("b")))),
        write("never", Change::Status(StreamStatus::Active)),
        write("b", Change::Heartbeat),
    ];
    let kinds: Vec<_> =
        case.registry().write(&batch).await?.into_iter().map(|answer| answer.map_err(|error| error.kind())).collect();
    use ErrorKind::{InvalidArgument, NotFound, NotHolder};
    let should = vec![
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
    same("the answers", kinds, should)?;
    same("the status", case.get("a").await?.status, StreamStatus::Active)?;
    let b = case.get("b").await?;
    same("the statistics", (b.bitrate, b.bytes_received), (7, 0))?;
    same("the codec", case.get("c").await?.video_codec.as_str(), "AV1")
}

async fn of_nothing_answer_nothing(case: &Case) -> Check {
    same("the number of answers", case.registry().write(&[]).await?.len(), 0)
}

async fn of_1000_are_taken(case: &Case) -> Check {
    case.put_all((0..500).map(|at| format!("s{at}"))).await?;
    let batch: Vec<_> = (0..1_000).map(|at| write(&format!("s{at}"), Change::Status(StreamStatus::Paused))).collect();
    for (at, answer) in case.registry().write(&batch).await?.into_iter().enumerate() {
        if at < 500 { answer? } else { drop(fails(answer, ErrorKind::NotFound)?) }
    }
    let paused = case.registry().list().await?.iter().filter(|record| record.status == StreamStatus::Paused).count();
    same("the number of changed streams", paused, 500)
}

async fn of_more_than_1000_are_refused_whole(case: &Case) -> Check {
    let before = case.put(&stream("a")).await?;
    let batch: Vec<_> = (0..1_001).map(|_| write("a", Change::Status(StreamStatus::Paused))).collect();
    fails(case.registry().write(&batch).await, ErrorKind::InvalidArgument)?;
    case.unchanged(&before).await
}

async fn apply_writes_to_one_stream_in_order(case: &Case) -> Check {
    case.put(&stream("a")).await?;
    let stats = |bitrate| Change::Stats(StreamStats { bitrate, ..Default::default() });
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

async fn go_on_after_a_write_that_fails(case: &Case) -> Check {
    let refused = case.put(&full("refused")).await?;
    case.put(&stream("last")).await?;
    let mut batch: Vec<_> = (0..50).map(|at| write(&format!("never {at}"), Change::Heartbeat)).collect();
    batch.push(write("refused", Change::Update(Box::new(stream("other")))));
    batch.push(write("last", Change::Status(StreamStatus::Active)));
    let answers = case.registry().write(&batch).await?;
    ensure(answers[..51].iter().all(Result::is_err) && answers[51].is_ok(), "the answers are in other places")?;
    case.unchanged(&refused).await?;
    same("the status", case.get("last").await?.status, StreamStatus::Active)
}

async fn name_operation_and_stream_of_each_failure(case: &Case) -> Check {
    let batch = [
        (Operation::Heartbeat, write("h", Change::Heartbeat)),
        (Operation::Status, write("s", Change::Status(StreamStatus::Active))),
        (Operation::Stats, write("t", Change::Stats(StreamStats::default()))),
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

/// Stores that join calls into one must give each caller its own answer.
async fn of_different_callers_do_not_mix(case: &Case) -> Check {
    case.put_all((0..100).map(|at| format!("s{at}"))).await?;
    for round in 1..=3_u64 {
        let answers = at_once((0..200_u64).map(|at| {
            let registry = case.shared();
            async move {
                let name = id(&format!("s{at}"));
                let stats = StreamStats { bytes_received: at, bitrate: round, ..Default::default() };
                let written = registry.update_stats(&name, &stats).await;
                (at, written, registry.get(&name).await)
            }
        }))
        .await?;
        for (at, written, read) in answers {
            if at < 100 {
                written?;
                let read = read?;
                same("the id", read.id, id(&format!("s{at}")))?;
                same("the statistics", (read.bytes_received, read.bitrate), (at, round))?;
            } else {
                let error = fails(written, ErrorKind::NotFound)?;
                same("the stream", error.stream_id(), Some(&id(&format!("s{at}"))))?;
                fails(read, ErrorKind::NotFound)?;
            }
        }
    }
    Ok(())
}
