//! Starts and ends of sessions.

use adapters::model::{Event, Item, ItemState};
use adapters::reconcile::Change;
use stream_registry::StreamStatus;

use crate::bench::{Bench, KEEP_FIRST, TAKE_OVER, list, publisher, publisher_of};

#[test]
fn start_registers_and_its_end_unregisters() {
    let mut bench = Bench::new(KEEP_FIRST);
    assert!(matches!(&bench.start("a")[..], [Change::Register(stream)] if stream.status == StreamStatus::Connecting));
    assert_eq!(bench.stream().node.as_deref(), Some("edge1"));
    assert_eq!(bench.stream().labels["server"], "main");
    assert!(matches!(&bench.end("a")[..], [Change::Unregister { reason: "publisher disconnected", .. }]));
}

#[test]
fn offline_of_old_after_online_of_new() {
    let mut bench = Bench::new(TAKE_OVER);
    bench.list(list(&[publisher("a")]));
    bench.pass(1.0);
    assert!(matches!(&bench.start("b")[..], [Change::Register(_)]));
    assert_eq!(bench.end("a"), []);
    assert_eq!(bench.session(), Some("b"));
    bench.pass(1.0);
    bench.list(list(&[publisher("b")]));
    assert_eq!(bench.session(), Some("b"));
    assert_eq!(bench.stream().labels["reconnects"], "1");
}

#[test]
fn start_after_its_own_end_is_ignored_for_10_s() {
    let mut bench = Bench::new(KEEP_FIRST);
    assert_eq!(bench.end("a"), []);
    bench.pass(9.0);
    assert_eq!(bench.start("a"), []);
    assert_eq!(bench.start("a"), [], "the start was sent twice");
    bench.pass(1.0);
    assert_eq!(bench.start("a").len(), 1, "an end is remembered for 10 s only");
}

#[test]
fn start_that_is_sent_twice_does_not_revive_an_ended_session() {
    let mut bench = Bench::new(KEEP_FIRST);
    bench.start("a");
    assert_eq!(bench.start("a"), []);
    bench.end("a");
    assert_eq!(bench.start("a"), []);
    assert_eq!(bench.session(), None);
}

#[test]
fn end_of_refused_duplicate() {
    let mut bench = Bench::new(KEEP_FIRST);
    bench.list(list(&[publisher("a")]));
    assert_eq!(bench.start("b"), []);
    assert_eq!(bench.end("b"), []);
    assert_eq!(bench.session(), Some("a"));
    assert!(matches!(&bench.end("a")[..], [Change::Unregister { .. }]), "a rejected duplicate is not promoted");
}

#[test]
fn end_of_a_rejected_duplicate_before_its_start_keeps_the_stream() {
    let mut bench = Bench::new(KEEP_FIRST);
    bench.list(list(&[publisher("a")]));
    assert_eq!(bench.end("b"), []);
    assert_eq!(bench.start("b"), []);
    assert_eq!(bench.session(), Some("a"));
    bench.end("a");
    assert_eq!(bench.session(), None);
}

#[test]
fn refused_duplicate_without_end() {
    let mut bench = Bench::new(KEEP_FIRST);
    bench.list(list(&[publisher("a")]));
    assert_eq!(bench.start("b"), []);
    bench.pass(30.0);
    assert!(matches!(&bench.end("a")[..], [Change::Unregister { .. }]), "a start is pending for 30 s only");
}

#[test]
fn rejected_duplicate_without_end_is_forgotten_with_the_next_list() {
    let mut bench = Bench::new(KEEP_FIRST);
    bench.list(list(&[publisher("a")]));
    bench.start("b");
    bench.pass(6.0);
    bench.list(list(&[publisher("a")]));
    bench.end("a");
    assert_eq!(bench.session(), None);
}

#[test]
fn pending_start_becomes_the_stream_when_the_current_session_ends() {
    let mut bench = Bench::new(KEEP_FIRST);
    bench.list(list(&[publisher("a")]));
    bench.start("b");
    assert!(matches!(&bench.end("a")[..], [Change::Register(_)]));
    assert_eq!(bench.session(), Some("b"));
    assert_eq!(bench.stream().labels["reconnects"], "1");
}

#[test]
fn pending_start_becomes_the_stream_when_a_list_shows_it() {
    let mut bench = Bench::new(KEEP_FIRST);
    bench.list(list(&[publisher("a")]));
    bench.start("b");
    bench.pass(1.0);
    bench.list(list(&[publisher("b")]));
    assert_eq!(bench.session(), Some("b"));
}

#[test]
fn second_publisher_takes_over_at_once() {
    let mut bench = Bench::new(TAKE_OVER);
    bench.start("a");
    bench.start("b");
    assert_eq!(bench.session(), Some("b"));
    bench.end("b");
    assert_eq!(bench.session(), None, "the replaced session does not come back");
}

#[test]
fn late_start_of_an_old_session_does_not_remove_a_listed_one() {
    let mut bench = Bench::new(TAKE_OVER);
    bench.list(list(&[publisher("b")]));
    bench.pass(1.0);
    bench.start("a");
    bench.end("a");
    assert_eq!(bench.session(), Some("b"));
    bench.pass(1.0);
    bench.start("c");
    bench.pass(1.0);
    bench.list(list(&[publisher("b")]));
    assert_eq!(bench.session(), Some("b"));
}

#[test]
fn old_list_does_not_revert_a_take_over() {
    let mut bench = Bench::new(TAKE_OVER);
    bench.list(list(&[publisher("a")]));
    let requested = bench.now();
    bench.pass(1.0);
    bench.start("b");
    assert_eq!(bench.late_list(requested, list(&[publisher("a")])), []);
    assert_eq!(bench.session(), Some("b"));
}

#[test]
fn old_list_does_not_revive_an_ended_session() {
    let mut bench = Bench::new(KEEP_FIRST);
    bench.list(list(&[publisher("a")]));
    let requested = bench.now();
    bench.pass(0.5);
    bench.end("a");
    assert_eq!(bench.late_list(requested, list(&[publisher("a")])), []);
    bench.pass(0.5);
    assert_eq!(bench.list(list(&[publisher("a")])).len(), 1, "a newer list counts more than the hook");
}

#[test]
fn end_without_a_session_ends_the_stream() {
    let mut bench = Bench::new(KEEP_FIRST);
    bench.list(list(&[publisher("a")]));
    bench.pass(10.0);
    bench.start("refused");
    assert!(matches!(&bench.end_of_any()[..], [Change::Unregister { .. }]));
}

#[test]
fn late_end_without_a_session_spares_the_next_session() {
    let mut bench = Bench::new(KEEP_FIRST);
    bench.list(list(&[publisher("a")]));
    bench.pass(1.0);
    bench.list(list(&[publisher("b")]));
    bench.pass(1.0);
    assert_eq!(bench.end_of_any(), []);
    bench.pass(10.0);
    assert!(matches!(&bench.end_of_any()[..], [Change::Unregister { .. }]));
}

/// ZLMediaKit: the publisher was killed and came back while the server still kept the stream.
#[test]
fn back_within_grace_without_hook() {
    let mut bench = Bench::new(KEEP_FIRST);
    bench.list(list(&[publisher("a")]));
    bench.pass(2.0);
    bench.list(list(&[Item { state: ItemState::Paused, ..publisher("a") }]));
    assert_eq!(bench.stream().status, StreamStatus::Paused);
    bench.pass(2.0);
    assert!(matches!(&bench.list(list(&[publisher("b")]))[..], [Change::Register(_)]));
    assert_eq!((bench.session(), &bench.stream().status), (Some("b"), &StreamStatus::Active));
}

/// go2rtc: both producers stay in the list.
#[test]
fn two_producers_of_one_stream_keep_the_first() {
    let mut bench = Bench::new(KEEP_FIRST);
    bench.list(list(&[publisher("a")]));
    bench.pass(1.0);
    assert_eq!(bench.list(list(&[publisher("b"), publisher("a")])), []);
    bench.pass(1.0);
    bench.list(list(&[publisher("b")]));
    assert_eq!(bench.session(), Some("b"));
}

#[test]
fn late_start_does_not_lower_the_status_of_a_listed_stream() {
    let mut bench = Bench::new(KEEP_FIRST);
    bench.list(list(&[publisher("a")]));
    assert_eq!(bench.start("a"), []);
    assert_eq!(bench.stream().status, StreamStatus::Active);
}

#[test]
fn second_hook_of_a_session_adds_what_the_first_lacked() {
    let mut bench = Bench::new(KEEP_FIRST);
    bench.start("a");
    let mut item = publisher("a");
    item.media.video_codec = "H264".to_owned();
    assert!(matches!(&bench.event(Event::Started(item))[..], [Change::Update { status: Some(_), .. }]));
    assert_eq!(bench.stream().video_codec, "H264");
    assert_eq!(bench.start("a"), [], "the first hook comes again");
}

#[test]
fn address_that_the_list_adds_is_registered_without_a_reconnect() {
    let mut bench = Bench::new(KEEP_FIRST);
    bench.event(Event::Started(Item { source_addr: String::new(), ..publisher("a") }));
    bench.pass(1.0);
    assert!(matches!(&bench.list(list(&[publisher("a")]))[..], [Change::Register(_)]));
    assert_eq!(bench.stream().labels.get("reconnects"), None);
    bench.pass(1.0);
    assert_eq!(bench.list(list(&[Item { source_addr: String::new(), ..publisher("a") }])), []);
}

#[test]
fn many_rejected_duplicates_do_not_change_the_stream() {
    let mut bench = Bench::new(KEEP_FIRST);
    bench.list(list(&[publisher("a"), publisher_of("live/cam2", "z")]));
    for i in 0..10_000 {
        assert_eq!(bench.start(&format!("b{i}")), []);
    }
    assert_eq!(bench.session(), Some("a"));
}
