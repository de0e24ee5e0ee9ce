//! Batch size and waiting time of a watch, on a slow network and without events.

use std::time::{Duration, Instant};

use stream_registry::redis::RedisOptions;
use stream_registry::watch::{Event, Watch, WatchFrom};
use stream_registry::{RedisRegistry, Registry, Stream, StreamPatch, StreamStatus};
use testkit::FaultProxy;

use super::feed::next;
use super::operations::SOURCE;
use super::readers::commands_during;
use super::{TIMEOUT, TestRedis, id, stream};

/// Number of events in the first read.
const FIRST_BATCH: usize = 8;
/// Maximum number of events per read.
const MAX_BATCH: usize = 64;

/// Returns the value of an option in each read command of a watch. The sweep reads the feed inside a script.
fn option_values(commands: &[String], option: &str) -> Vec<usize> {
    let option = format!("\"{option}\" \"");
    let reads = commands.iter().filter(|line| line.contains("\"XREAD\"") && !line.contains(" lua] "));
    let values = reads.map(|line| line.split_once(&option).unwrap_or_else(|| panic!("{line}")).1);
    values.map(|value| value.split('"').next().unwrap().parse().unwrap()).collect()
}

/// Returns a stream with a large record, for which the proxy needs four buffers.
fn large(name: &str) -> Stream {
    let json = format!(r#"{{"id":"{name}","type":"srt","source_addr":"{SOURCE}","x":"{}"}}"#, "x".repeat(58_000));
    Stream::from_json(&json).unwrap()
}

async fn next_changed(watch: &mut Watch) -> Stream {
    match next(watch).await {
        Event::Changed { stream, .. } => (*stream).clone(),
        other => panic!("expected a change, got {other:?}"),
    }
}

#[tokio::test]
async fn watch_reads_smaller_batches_after_a_timeout_and_larger_ones_later() {
    let redis = TestRedis::start().await;
    let writer = redis.store().await;
    writer.register(&large("large")).await.unwrap();
    writer.register(&stream("small", SOURCE)).await.unwrap();
    let proxy = FaultProxy::start(redis.server.addr()).await;
    let options: RedisOptions = format!("redis://{}", proxy.addr()).parse().unwrap();
    let reader = RedisRegistry::connect(options.read_only()).await.unwrap();
    let mut watch = reader.watch(WatchFrom::Now).await.unwrap();
    for n in 0..MAX_BATCH {
        let patch = StreamPatch { resolution: Some(n.to_string()), ..StreamPatch::default() };
        writer.patch(&id("large"), &patch).await.unwrap();
    }
    // The proxy forwards 16 KiB at a time and delays each piece. The records of the first read take at least five
    // seconds, which is longer than the reply timeout.
    proxy.delay_replies(Duration::from_millis(180));
    let commands = commands_during(&redis, async {
        let first = tokio::time::timeout(TIMEOUT * 4, watch.next()).await.expect("an event after a smaller read");
        let first = first.unwrap();
        assert_eq!(first.stream().unwrap().resolution, "0", "{first:?}");
    })
    .await;
    assert_eq!(option_values(&commands, "COUNT")[..2], [FIRST_BATCH, FIRST_BATCH / 8]);
    proxy.resume().await;
    for n in 1..MAX_BATCH {
        assert_eq!(next_changed(&mut watch).await.resolution, n.to_string(), "no event is lost or repeated");
    }
    // The network is fast again, but a busy machine may still be slow.
    let started = Instant::now();
    loop {
        let commands = commands_during(&redis, async {
            for n in 0..2 * MAX_BATCH {
                let status = if n % 2 == 0 { StreamStatus::Active } else { StreamStatus::Paused };
                writer.update_status(&id("small"), status).await.unwrap();
            }
            for _ in 0..2 * MAX_BATCH {
                assert_eq!(next_changed(&mut watch).await.id.as_str(), "small");
            }
        })
        .await;
        let values = option_values(&commands, "COUNT");
        assert!(values.iter().all(|&count| count <= MAX_BATCH), "{values:?}");
        if values.contains(&MAX_BATCH) {
            break;
        }
        assert!(started.elapsed() < TIMEOUT * 2, "the watch still reads batches of {values:?} events");
    }
}

#[tokio::test]
async fn idle_watch_blocks_at_most_until_its_next_alive_event() {
    let redis = TestRedis::start().await;
    let reader = RedisRegistry::connect(redis.options().read_only()).await.unwrap();
    let mut watch = reader.watch(WatchFrom::Now).await.unwrap();
    let commands = commands_during(&redis, async {
        let event = tokio::time::timeout(TIMEOUT * 4, watch.next()).await.unwrap().unwrap();
        assert!(matches!(event, Event::Alive { .. }), "{event:?}");
    })
    .await;
    // Each BLOCK timeout is at least one millisecond, because a timeout of 0 would block forever.
    let blocks = option_values(&commands, "BLOCK");
    assert!(blocks.iter().all(|&block| (1..=3_000).contains(&block)), "{blocks:?}");
    assert!((1..=10_050).contains(&blocks.iter().sum::<usize>()), "{blocks:?}");
}
