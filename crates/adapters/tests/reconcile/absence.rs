//! Streams that a list does not show.

use std::time::Duration;

use adapters::model::{Item, Snapshot};
use adapters::reconcile::Change;

use crate::bench::{Bench, KEEP_FIRST, list, list_of_scope, publisher, publisher_of};

#[test]
fn absence_in_a_complete_list_ends_the_stream() {
    let mut bench = Bench::new(KEEP_FIRST);
    bench.list(list(&[publisher("a"), publisher_of("live/cam2", "b")]));
    bench.pass(1.0);
    let changes = bench.list(list(&[publisher_of("live/cam2", "b")]));
    assert!(matches!(&changes[..], [Change::Unregister { id, reason: "media server no longer lists the stream" }]
            if id.as_str() == "live/cam1"));
}

#[test]
fn failed_or_partial_list_removes_nothing() {
    let mut bench = Bench::new(KEEP_FIRST);
    bench.list(list(&[publisher("a")]));
    // A failed list is not applied; only time passes.
    assert_eq!(bench.pass(100.0), []);
    assert_eq!(bench.list(Snapshot { complete: false, ..list(&[]) }), []);
    assert_eq!(bench.session(), Some("a"));
}

#[test]
fn partial_list_adds_and_updates() {
    let mut bench = Bench::new(KEEP_FIRST);
    bench.list(Snapshot { complete: false, ..list(&[publisher("a")]) });
    assert_eq!(bench.session(), Some("a"));
    bench.pass(1.0);
    bench.list(Snapshot { complete: false, ..list(&[publisher("b")]) });
    assert_eq!(bench.session(), Some("b"));
}

#[test]
fn list_that_is_older_than_a_start_does_not_end_the_stream() {
    let mut bench = Bench::new(KEEP_FIRST);
    let requested = bench.now();
    bench.pass(1.0);
    bench.start("a");
    bench.pass(20.0);
    assert_eq!(bench.late_list(requested, list(&[])), []);
    assert_eq!(bench.session(), Some("a"));
}

#[test]
fn start_is_protected_until_the_server_can_list_it() {
    let mut bench = Bench::new(KEEP_FIRST);
    bench.start("a");
    bench.pass(4.9);
    assert_eq!(bench.list(list(&[])), []);
    bench.pass(0.1);
    assert!(matches!(&bench.list(list(&[]))[..], [Change::Unregister { .. }]));
}

#[test]
fn listed_stream_is_not_protected() {
    let mut bench = Bench::new(KEEP_FIRST);
    bench.start("a");
    bench.pass(1.0);
    bench.list(list(&[publisher("a")]));
    bench.pass(1.0);
    assert!(matches!(&bench.list(list(&[]))[..], [Change::Unregister { .. }]));
}

#[test]
fn answer_that_was_overtaken_by_a_newer_one_is_ignored() {
    let mut bench = Bench::new(KEEP_FIRST);
    let first = bench.now();
    bench.pass(1.0);
    bench.list(list(&[publisher("a")]));
    assert_eq!(bench.late_list(first, list(&[])), []);
    assert_eq!(bench.session(), Some("a"));
}

#[test]
fn worker_that_is_not_listed_keeps_its_streams() {
    let mut bench = Bench::new(KEEP_FIRST);
    bench.list(list_of_scope("101", &[publisher("a")]));
    for _ in 0..148 {
        bench.pass(2.0);
        bench.list(list_of_scope("102", &[publisher_of("live/cam2", "b")]));
        assert_eq!(bench.session(), Some("a"));
    }
    assert_eq!(bench.pass(3.9), []);
    let changes = bench.pass(0.1);
    assert!(matches!(
        &changes[..],
        [Change::Unregister { reason: "media server has not listed the stream for too long", .. }]
    ));
}

#[test]
fn absence_in_another_worker_says_nothing() {
    let mut bench = Bench::new(KEEP_FIRST);
    bench.list(list_of_scope("101", &[publisher("a")]));
    bench.pass(1.0);
    assert_eq!(bench.list(list_of_scope("102", &[])), []);
    bench.pass(1.0);
    assert!(matches!(&bench.list(list_of_scope("101", &[]))[..], [Change::Unregister { .. }]));
}

#[test]
fn start_that_no_worker_has_listed_yet_outlives_the_list_of_another() {
    let mut bench = Bench::new(KEEP_FIRST);
    bench.start("a");
    bench.pass(60.0);
    assert_eq!(bench.list(list_of_scope("102", &[])), []);
    assert_eq!(bench.session(), Some("a"));
}

/// nginx with two workers accepts two publishers of one name. The lists of the workers alternate.
#[test]
fn two_workers_with_one_name_do_not_alternate() {
    let mut bench = Bench::new(KEEP_FIRST);
    bench.list(list_of_scope("101", &[publisher("a")]));
    bench.pass(1.0);
    bench.list(list_of_scope("102", &[publisher("b")]));
    assert_eq!(bench.session(), Some("b"), "the other worker may be dead");
    for _ in 0..20 {
        bench.pass(1.0);
        assert_eq!(bench.list(list_of_scope("101", &[publisher("a")])), []);
        bench.pass(1.0);
        assert_eq!(bench.list(list_of_scope("102", &[publisher("b")])), []);
    }
    bench.pass(1.0);
    bench.list(list_of_scope("102", &[]));
    assert_eq!(bench.session(), Some("a"));
}

#[test]
fn rejected_publishers_do_not_displace_a_session_in_another_worker() {
    let mut bench = Bench::new(KEEP_FIRST);
    bench.list(list_of_scope("101", &[publisher("a")]));
    bench.pass(1.0);
    bench.list(list_of_scope("102", &[publisher("b")]));
    bench.pass(1.0);
    bench.list(list_of_scope("101", &[publisher("a")]));
    for i in 0..100 {
        bench.start(&format!("c{i}"));
    }
    bench.pass(40.0);
    bench.end("b");
    assert_eq!(bench.session(), Some("a"));
}

#[test]
fn streams_of_a_silent_server_end_after_the_time_to_live() {
    let mut bench = Bench::new(KEEP_FIRST);
    bench.list(list(&[publisher("a"), publisher_of("live/cam2", "b")]));
    assert_eq!(bench.pass(299.0), []);
    assert_eq!(bench.pass(1.0).len(), 2);
}

#[test]
fn hundreds_of_streams_start_and_end_in_one_list_each() {
    let mut bench = Bench::new(KEEP_FIRST);
    let items: Vec<Item> = (0..300).map(|i| publisher_of(&format!("live/cam{i}"), &i.to_string())).collect();
    assert_eq!(bench.list(list(&items)).len(), 300);
    bench.set_time(bench.now() + Duration::from_secs(1));
    assert_eq!(bench.list(list(&items)), []);
    assert_eq!(bench.list(list(&[])).len(), 300);
}
