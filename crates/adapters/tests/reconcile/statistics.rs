//! Counters, bit rate, stalls, media and labels.

use std::time::Duration;

use adapters::model::{Counters, Gauges, Item};
use adapters::reconcile::{Change, Profile};
use stream_registry::stream::LabelsPatch;
use stream_registry::{StreamPatch, StreamStatus};

use crate::bench::{Bench, KEEP_FIRST, TAKE_OVER, list, publisher, with_bytes};

#[test]
fn counters_continue_across_reconnects_while_the_stream_stays_registered() {
    let mut bench = Bench::new(TAKE_OVER);
    bench.list(list(&[with_bytes("a", 1_000)]));
    bench.start("b");
    assert_eq!(bench.stream().bytes_received, 1_000);
    bench.pass(1.0);
    bench.list(list(&[with_bytes("b", 50)]));
    assert_eq!(bench.stream().bytes_received, 1_050);
    bench.pass(1.0);
    bench.list(list(&[with_bytes("c", 7)]));
    assert_eq!(bench.stream().bytes_received, 1_057);
    assert_eq!(bench.stream().labels["reconnects"], "2");
}

#[test]
fn counters_begin_at_zero_after_an_end() {
    let mut bench = Bench::new(KEEP_FIRST);
    bench.list(list(&[with_bytes("a", 1_000)]));
    bench.end("a");
    bench.pass(1.0);
    bench.list(list(&[with_bytes("b", 50)]));
    assert_eq!(bench.stream().bytes_received, 50);
    assert_eq!(bench.stream().labels.get("reconnects"), None);
}

#[test]
fn counter_that_falls_without_a_new_session_is_a_new_base() {
    let mut bench = Bench::new(KEEP_FIRST);
    bench.list(list(&[with_bytes("a", 1_000)]));
    bench.pass(1.0);
    assert!(matches!(&bench.list(list(&[with_bytes("a", 10)]))[..], [Change::Update { .. }]));
    assert_eq!(bench.stream().bytes_received, 1_010);
    assert_eq!(bench.stream().labels.get("reconnects"), None);
}

#[test]
fn rate_before_kbps() {
    let mut bench = Bench::new(Profile { rate_window: Duration::from_secs(10), ..KEEP_FIRST });
    // The server reports a bit rate of 0 until it has measured it.
    let item = |bytes, bitrate| Item {
        gauges: Gauges { bitrate: Some(bitrate), ..Gauges::default() },
        ..with_bytes("a", bytes)
    };
    for (second, bitrate) in [(0, 0), (5, 0), (10, 800_000), (15, 800_000), (20, 800_000)] {
        bench.list(list(&[item(second * 100_000, 0)]));
        assert_eq!(bench.stream().bitrate, bitrate, "after {second} s");
        bench.pass(5.0);
    }
    bench.list(list(&[item(2_500_000, 790_000)]));
    assert_eq!(bench.stream().bitrate, 790_000);
}

#[test]
fn frozen_timestamp_is_stalled() {
    let mut bench = Bench::new(KEEP_FIRST);
    bench.list(list(&[with_bytes("a", 1_000)]));
    for _ in 0..9 {
        bench.pass(1.0);
        bench.list(list(&[with_bytes("a", 1_000)]));
        assert_eq!(bench.stream().status, StreamStatus::Active);
    }
    bench.pass(1.0);
    let changes = bench.list(list(&[with_bytes("a", 1_000)]));
    let label = StreamPatch::default().label("stalled", "true");
    assert!(
        matches!(&changes[..], [Change::Update { status: Some(StreamStatus::Paused), patch, .. }] if *patch == label)
    );
    for _ in 0..600 {
        bench.pass(1.0);
        assert_eq!(bench.list(list(&[with_bytes("a", 1_000)])), [], "a stalled stream never ends");
    }
    let changes = bench.list(list(&[with_bytes("a", 1_001)]));
    let [Change::Update { status, patch, .. }] = &changes[..] else { panic!("{changes:?}") };
    assert_eq!(*status, Some(StreamStatus::Active));
    assert_eq!(patch.labels, LabelsPatch::Merge([("stalled".to_owned(), None)].into()));
}

#[test]
fn stalled_stream_has_no_bit_rate_even_if_the_server_keeps_the_last_one() {
    let mut bench = Bench::new(KEEP_FIRST);
    let gauges = Gauges { bitrate: Some(5_000_000), ..Gauges::default() };
    bench.list(list(&[Item { gauges, ..with_bytes("a", 1_000) }]));
    assert_eq!(bench.stream().bitrate, 5_000_000);
    bench.pass(10.0);
    bench.list(list(&[Item { gauges, ..with_bytes("a", 1_000) }]));
    assert_eq!(bench.stream().bitrate, 0);
}

#[test]
fn stream_without_counters_never_stalls() {
    let mut bench = Bench::new(KEEP_FIRST);
    bench.list(list(&[publisher("a")]));
    bench.pass(100.0);
    assert_eq!(bench.list(list(&[publisher("a")])), []);
    assert_eq!(bench.stream().status, StreamStatus::Active);
}

#[test]
fn stream_whose_packets_move_is_not_stalled() {
    let mut bench = Bench::new(KEEP_FIRST);
    for packets in 0..30 {
        let counters = Counters { bytes: Some(1_000), packets: Some(packets), ..Counters::default() };
        bench.list(list(&[Item { counters, ..publisher("a") }]));
        assert_eq!(bench.stream().status, StreamStatus::Active);
        bench.pass(1.0);
    }
}

#[test]
fn unchanged_list_changes_nothing() {
    let mut bench = Bench::new(KEEP_FIRST);
    let mut item = with_bytes("a", 1_000);
    item.gauges = Gauges { bitrate: Some(1), rtt_ms: Some(2.5), viewers: Some(3) };
    item.media.frame_rate = 25.0;
    bench.list(list(&[item.clone()]));
    bench.pass(1.0);
    assert_eq!(bench.list(list(&[item])), []);
    let stream = bench.stream();
    assert_eq!((stream.bitrate, stream.rtt_ms, stream.viewers, stream.frame_rate), (1, Some(2.5), Some(3), 25.0));
}

#[test]
fn media_and_labels_are_patched_when_they_change() {
    let mut bench = Bench::new(KEEP_FIRST);
    let mut item = publisher("a");
    item.labels.insert("app".to_owned(), "live".to_owned());
    item.labels.insert("old".to_owned(), "1".to_owned());
    bench.list(list(&[item.clone()]));
    item.labels.insert("app".to_owned(), "tv".to_owned());
    item.labels.remove("old");
    item.media.video_codec = "H264".to_owned();
    item.media.resolution = "1920x1080".to_owned();
    item.media.audio_codec = "AAC".to_owned();
    bench.pass(1.0);
    let changes = bench.list(list(&[item.clone()]));
    let labels = [("app".to_owned(), Some("tv".to_owned())), ("old".to_owned(), None)];
    let expected = StreamPatch {
        video_codec: Some("H264".to_owned()),
        resolution: Some("1920x1080".to_owned()),
        audio_codec: Some("AAC".to_owned()),
        labels: LabelsPatch::Merge(labels.into()),
        ..StreamPatch::default()
    };
    assert!(matches!(&changes[..], [Change::Update { status: None, patch, .. }] if *patch == expected));
    bench.pass(1.0);
    item.media = Default::default();
    assert_eq!(bench.list(list(&[item])), [], "media that the server leaves out are kept");
}

#[test]
fn media_of_the_old_session_are_not_kept_for_the_new_one() {
    let mut bench = Bench::new(KEEP_FIRST);
    let mut item = publisher("a");
    item.media.video_codec = "H264".to_owned();
    item.gauges.rtt_ms = Some(5.0);
    bench.list(list(&[item]));
    bench.pass(1.0);
    bench.list(list(&[publisher("b")]));
    assert_eq!((&*bench.stream().video_codec, bench.stream().rtt_ms), ("", None));
}
