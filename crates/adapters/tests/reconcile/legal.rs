//! Values that the registry would reject.

use adapters::model::{Counters, Event, Gauges, Item, Name};
use adapters::reconcile::Change;
use stream_registry::stream::limits::{MAX_COUNT, MAX_LABELS, MAX_STRING_BYTES};

use crate::bench::{Bench, KEEP_FIRST, list, publisher, publisher_of};

#[test]
fn illegal_id_is_reported_once_and_its_neighbours_stay() {
    let mut bench = Bench::new(KEEP_FIRST);
    let items = [
        publisher_of("live/a\u{1b}[31m?token=s3cret", "1"),
        publisher_of(&"x".repeat(257), "2"),
        publisher_of("active", "3"),
        publisher("4"),
    ];
    assert_eq!(bench.list(list(&items)).len(), 1);
    bench.pass(1.0);
    assert_eq!(bench.list(list(&items)), []);
    bench.event(Event::Started(items[0].clone()));
    let problems = bench.reconciler.take_problems();
    assert_eq!(problems.len(), 3, "{problems:?}");
    for part in ["control character", "longer than 256 bytes", "reserved"] {
        assert!(problems.iter().any(|problem| problem.contains(part)), "{problems:?}");
    }
    let all = problems.concat();
    assert!(!all.contains("s3cret") && !all.contains('\u{1b}'), "{all}");
    assert_eq!(bench.reconciler.take_problems(), [""; 0]);
}

#[test]
fn second_name_with_the_same_id_is_reported_once_and_waits_for_the_first() {
    let mut bench = Bench::with_ids(KEEP_FIRST, "{node}/{name}");
    let [first, second] = [publisher_of("live/cam1", "1"), publisher_of("tv/cam1", "2")];
    assert_eq!(bench.list(list(&[first.clone(), second.clone()])).len(), 1);
    bench.pass(1.0);
    assert_eq!(bench.list(list(&[first, second.clone()])), []);
    let problems = bench.reconciler.take_problems();
    assert!(matches!(&problems[..], [one] if one.contains("same id") && one.contains("tv/cam1")), "{problems:?}");
    bench.pass(1.0);
    let changes = bench.list(list(&[second]));
    assert!(matches!(&changes[..], [Change::Unregister { .. }, Change::Register(_)]));
    assert_eq!(bench.table.0["edge1/cam1"].labels["session"], "2");
    assert_eq!(bench.reconciler.take_problems(), [""; 0]);
}

#[test]
fn values_beyond_the_limits_are_cut() {
    let mut bench = Bench::new(KEEP_FIRST);
    let long = "ä".repeat(2_000);
    let mut item = Item { source_addr: long.clone(), ..publisher(&long) };
    item.media.video_codec.clone_from(&long);
    item.media.resolution.clone_from(&long);
    item.media.audio_codec.clone_from(&long);
    item.media.frame_rate = f64::NAN;
    item.counters = Counters {
        bytes: Some(u64::MAX),
        packets: Some(u64::MAX),
        lost: Some(u64::MAX),
        retransmitted: Some(u64::MAX),
        dropped: Some(u64::MAX),
    };
    item.gauges = Gauges { bitrate: Some(u64::MAX), rtt_ms: Some(-1.0), viewers: Some(u64::MAX) };
    item.labels.insert(String::new(), "empty name".to_owned());
    item.labels.insert("n".repeat(65), "long name".to_owned());
    item.labels.insert("server".to_owned(), "not this one".to_owned());
    item.labels.insert("long".to_owned(), long.clone());
    // The bench checks each record.
    bench.list(list(&[item.clone()]));
    let stream = bench.stream();
    assert_eq!(stream.source_addr.len(), MAX_STRING_BYTES);
    assert_eq!((stream.bytes_received, stream.bitrate, stream.rtt_ms), (MAX_COUNT, MAX_COUNT, None));
    assert_eq!(stream.labels.keys().collect::<Vec<_>>(), ["long", "server", "session"]);
    assert_eq!((&*stream.labels["server"], stream.labels["long"].len()), ("main", 256));
    item.gauges.rtt_ms = Some(f64::INFINITY);
    item.media.frame_rate = -25.0;
    bench.pass(1.0);
    assert_eq!(bench.list(list(&[item])), []);
}

#[test]
fn labels_of_the_reconciler_stay_when_there_are_too_many() {
    let mut bench = Bench::new(KEEP_FIRST);
    let mut item = publisher("a");
    item.labels.extend((0..100).map(|i| (format!("label{i:03}"), "x".to_owned())));
    bench.list(list(&[item.clone()]));
    assert_eq!(bench.stream().labels.len(), MAX_LABELS);
    item.session = "b".to_owned();
    item.counters.bytes = Some(1);
    for _ in 0..2 {
        bench.pass(10.0);
        bench.list(list(&[item.clone()]));
    }
    let labels = &bench.stream().labels;
    assert_eq!(labels.len(), MAX_LABELS);
    assert_eq!((&*labels["session"], &*labels["reconnects"], &*labels["stalled"]), ("b", "1", "true"));
}

#[test]
fn labels_that_do_not_fit_into_a_record_are_dropped() {
    let mut bench = Bench::new(KEEP_FIRST);
    let mut item = publisher("a");
    item.labels.extend((0..60).map(|i| (format!("label{i}"), "\u{1}".repeat(256))));
    bench.list(list(&[item]));
    assert_eq!(bench.stream().labels.keys().collect::<Vec<_>>(), ["server", "session"]);
}

#[test]
fn virtual_hosts_have_ids_of_their_own() {
    let mut bench = Bench::with_ids(KEEP_FIRST, "{node}/{path}");
    let mut other = publisher("b");
    other.name = Name { vhost: "tv.example".to_owned(), ..other.name };
    bench.list(list(&[publisher("a"), other]));
    assert_eq!(bench.table.0.keys().collect::<Vec<_>>(), ["edge1/live/cam1", "edge1/tv.example/live/cam1"]);
}
