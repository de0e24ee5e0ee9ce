//! Restarts of the server.

use adapters::model::{Event, Snapshot};
use adapters::reconcile::Change;

use crate::bench::{
    Bench, KEEP_FIRST, TAKE_OVER, list, list_of_epoch, list_of_scope, publisher, publisher_of, with_bytes,
};

fn server_started(epoch: Option<&str>) -> Event {
    Event::ServerStarted { epoch: epoch.map(str::to_owned) }
}

#[test]
fn new_epoch_keeps_created_at_and_counts_a_reconnect() {
    let mut bench = Bench::new(KEEP_FIRST);
    bench.list(list_of_epoch("x", &[with_bytes("2", 1_000), publisher_of("live/cam2", "3")]));
    let created_at = bench.stream().created_at;
    bench.pass(5.0);
    // After the restart, the server uses the same session again.
    let changes = bench.list(list_of_epoch("y", &[with_bytes("2", 100)]));
    assert!(matches!(&changes[..], [Change::Register(_), Change::Unregister { reason: "media server restarted", .. }]));
    let stream = bench.stream();
    assert_eq!((stream.created_at, stream.bytes_received), (created_at, 1_100));
    assert_eq!(stream.labels["reconnects"], "1");
    bench.pass(1.0);
    bench.list(list_of_epoch("z", &[with_bytes("2", 100)]));
    assert_eq!(bench.stream().labels["reconnects"], "2");
}

#[test]
fn new_epoch_ends_nothing_until_one_complete_list() {
    let mut bench = Bench::new(KEEP_FIRST);
    bench.list(list_of_epoch("x", &[publisher("a")]));
    bench.pass(1.0);
    assert_eq!(bench.list(Snapshot { complete: false, ..list_of_epoch("y", &[]) }), []);
    assert_eq!(bench.list(list_of_epoch("y", &[])).len(), 1);
}

#[test]
fn list_without_an_epoch_continues_the_session() {
    let mut bench = Bench::new(KEEP_FIRST);
    bench.list(list_of_epoch("x", &[publisher("a")]));
    bench.pass(1.0);
    assert_eq!(bench.list(list(&[publisher("a")])), []);
}

/// nginx begins its connection numbers again after a restart; the worker has another process id.
#[test]
fn restarted_worker_with_the_same_session_counts_a_reconnect() {
    let mut bench = Bench::new(KEEP_FIRST);
    bench.list(list_of_scope("101", &[publisher("2")]));
    bench.pass(3.0);
    assert!(matches!(&bench.list(list_of_scope("105", &[publisher("2")]))[..], [Change::Register(_)]));
    assert_eq!(bench.stream().labels["reconnects"], "1");
    bench.pass(1.0);
    // The stream belongs to the new worker now, and does not fall back to the dead one.
    assert!(matches!(&bench.list(list_of_scope("105", &[]))[..], [Change::Unregister { .. }]));
}

#[test]
fn start_after_a_server_start_replaces_the_old_session_at_once() {
    let mut bench = Bench::new(KEEP_FIRST);
    bench.list(list(&[publisher("2")]));
    bench.pass(1.0);
    assert_eq!(bench.event(server_started(None)), []);
    bench.pass(1.0);
    assert!(matches!(&bench.start("2")[..], [Change::Register(_)]));
    assert_eq!(bench.stream().labels["reconnects"], "1");
}

#[test]
fn server_start_ends_the_old_sessions_with_the_next_complete_list() {
    let mut bench = Bench::new(KEEP_FIRST);
    bench.list(list(&[publisher("a"), publisher_of("live/cam2", "b")]));
    let requested = bench.now();
    bench.pass(1.0);
    assert_eq!(bench.event(server_started(None)), []);
    assert_eq!(bench.late_list(requested, list(&[])), [], "the list is older than the server");
    assert_eq!(bench.pass(60.0), []);
    let changes = bench.list(list(&[publisher_of("live/cam2", "c")]));
    assert!(matches!(&changes[..], [
        Change::Unregister { reason: "media server restarted", .. },
        Change::Register(stream)
    ] if stream.labels["reconnects"] == "1"));
}

#[test]
fn late_server_start_of_the_listed_epoch_changes_nothing() {
    let mut bench = Bench::new(TAKE_OVER);
    bench.list(list_of_epoch("y", &[publisher("a")]));
    bench.event(server_started(Some("y")));
    assert_eq!(bench.start("a"), []);
    assert_eq!(bench.session(), Some("a"));
}

#[test]
fn server_exit_ends_the_streams_unless_a_list_still_shows_them() {
    let mut bench = Bench::new(KEEP_FIRST);
    bench.list(list(&[publisher("a"), publisher_of("live/cam2", "b")]));
    bench.pass(1.0);
    assert_eq!(bench.event(Event::ServerExited), []);
    bench.pass(1.0);
    bench.list(Snapshot { complete: false, ..list(&[publisher("a")]) });
    assert_eq!(bench.pass(3.9), []);
    let changes = bench.pass(0.2);
    assert!(matches!(&changes[..], [Change::Unregister { id, reason: "media server stopped" }]
        if id.as_str() == "live/cam2"));
    assert_eq!(bench.session(), Some("a"));
}

#[test]
fn stream_that_is_back_soon_after_a_server_exit_counts_a_reconnect() {
    let mut bench = Bench::new(KEEP_FIRST);
    bench.list(list(&[publisher("a")]));
    bench.event(Event::ServerExited);
    bench.pass(2.0);
    bench.event(server_started(None));
    bench.start("b");
    assert_eq!(bench.pass(10.0), []);
    assert_eq!((bench.session(), &*bench.stream().labels["reconnects"]), (Some("b"), "1"));
}
