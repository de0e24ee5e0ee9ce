//! Measures 1 000 event readers, each of which receives every event.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use memchr::memmem;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use stream_registry::StreamStatus;
use streamreg::server::raise_descriptor_limit;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;

use super::http::{Connection, ServerProcess, get};
use super::note;
use crate::args::Args;
use crate::report::{Line, line};
use crate::{Result, streams};

/// Number of event readers.
const READERS: usize = 1_000;
/// Number of streams on the server.
const STREAMS: usize = 1_000;
/// Number of status changes per second.
const RATE: u32 = 200;
/// Target: maximum memory of the server per reader, in KiB.
const LIMIT: u64 = 100;
/// Time after the last change in which all events must have arrived.
const PATIENCE: Duration = Duration::from_secs(30);
/// What each status change looks like in the response.
const FRAME: &[u8] = b"data: {\"event\":\"status\"";

pub(super) async fn rows(args: &Args) -> Result<Vec<Line>> {
    note("event readers");
    raise_descriptor_limit();
    let server = ServerProcess::start(STREAMS, None).await?;
    let before = server.settled_memory().await?;
    let received = Arc::new(AtomicU64::new(0));
    let mut readers = JoinSet::new();
    for _ in 0..READERS {
        let mut reader = Connection::open(server.port).await?.socket;
        reader.write_all(get("/api/v1/events").as_bytes()).await?;
        // The server has opened the watch when the headers arrive.
        let mut buffer = vec![0; 16 * 1024];
        let _ = reader.read(&mut buffer).await?;
        let received = Arc::clone(&received);
        readers.spawn(async move {
            let (mut from, mut buffered) = (0, 0);
            while let Ok(count @ 1..) = reader.read(&mut buffer[buffered..]).await {
                buffered += count;
                for at in memmem::find_iter(&buffer[..buffered], FRAME) {
                    received.fetch_add(1, Ordering::Relaxed);
                    from = at + FRAME.len();
                }
                // A frame may continue in the next part.
                from = from.max(buffered.saturating_sub(FRAME.len() - 1));
                buffer.copy_within(from..buffered, 0);
                (buffered, from) = (buffered - from, 0);
            }
        });
    }

    let changes = RATE * u32::try_from(args.rounds())? * u32::try_from(args.round().as_millis())? / 1_000;
    let expected = u64::from(changes) * READERS as u64;
    let mut writer = Connection::open(server.port).await?;
    let (start, mut memory) = (Instant::now(), 0);
    for number in 0..changes {
        writer.send(&change(number as usize)?).await?;
        memory = memory.max(server.memory()?);
        tokio::time::sleep_until((start + Duration::from_secs(1) * number / RATE).into()).await;
    }
    let end = Instant::now();
    while received.load(Ordering::Relaxed) < expected && end.elapsed() < PATIENCE {
        memory = memory.max(server.memory()?);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    let received = received.load(Ordering::Relaxed);
    let each = memory.saturating_sub(before) / READERS as u64 / 1_024;
    let row = format!("{READERS} event readers, {RATE} events a second");
    let missing = expected - received.min(expected);
    let figure = format!("{missing} of {expected} missing, the last after {} ms", end.elapsed().as_millis());
    Ok(vec![
        line(&row, "events", figure, "none missing".into(), Some(received == expected)),
        line(&row, "memory for a reader", format!("{each} KiB"), format!("≤ {LIMIT} KiB"), Some(each <= LIMIT)),
    ])
}

/// Returns the request for change number `number`, which gives a stream another status than before.
fn change(number: usize) -> Result<String> {
    let stream = streams::stream(number % STREAMS)?;
    let is_even = (number / STREAMS).is_multiple_of(2);
    let status = match stream.status {
        StreamStatus::Active if is_even => "paused",
        _ if is_even => "active",
        status => &status.to_string(),
    };
    let body = format!("{{\"status\":\"{status}\"}}");
    let id = utf8_percent_encode(stream.id.as_str(), NON_ALPHANUMERIC);
    Ok(format!(
        "PUT /api/v1/streams/{id}/status HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ))
}
