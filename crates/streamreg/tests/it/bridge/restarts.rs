//! A bridge that stops, is restarted, or has a rival.

use std::time::Duration;

use super::fakes::Fake;
use super::process::{bridge, bridge_of, throughout};
use super::store::Store;

const MEDIAMTX: [&str; 3] = ["info.txt", "paths-list-rtmp.txt", "rtmpconns-list.txt"];
const CAM1: &str = "edge1/live/cam1";

#[test]
fn streams_stay_when_the_bridge_stops_and_are_continued_when_it_is_back() {
    let (fake, store) = (Fake::recorded("mediamtx", &MEDIAMTX), Store::start());
    let args = ["mediamtx", "--api", &fake.api()];
    let mut first = bridge(&args, &store.url());
    let before = store.wait_active(CAM1);
    first.signal("TERM");
    assert_eq!(first.ended(), Some(0));
    assert_eq!(store.stream(CAM1)["epoch"], before["epoch"]);
    let second = bridge(&args, &store.url());
    let after = store.wait(CAM1, "continued", |stream| stream["epoch"] != before["epoch"]);
    assert_eq!((&after["created_at"], &after["status"]), (&before["created_at"], &"active".into()));
    assert!(!second.stderr().contains("WARN"), "{}", second.stderr());
    // A killed bridge leaves the stream in the same way.
    second.kill();
    let _third = bridge(&args, &store.url());
    let last = store.wait(CAM1, "continued", |stream| stream["epoch"] != after["epoch"]);
    assert_eq!(last["created_at"], before["created_at"]);
}

#[test]
fn second_node_with_the_same_id_waits_until_the_first_has_ended() {
    let (one, two, store) =
        (Fake::recorded("mediamtx", &MEDIAMTX), Fake::recorded("mediamtx", &MEDIAMTX), Store::start());
    let args = |api| ["mediamtx", "--api", api, "--id-template", "{path}"];
    let (one_api, two_api) = (one.api(), two.api());
    let _first = bridge(&args(&one_api), &store.url());
    let first = store.wait_active("live/cam1");
    let second = bridge_of("edge2", &args(&two_api), &store.url());
    throughout(Duration::from_secs(13), "the first node has the stream", || {
        store.stream("live/cam1")["epoch"] == first["epoch"]
    });
    assert_eq!(second.stderr().matches("WARN").count(), 1, "{}", second.stderr());
    one.show("mediamtx", &["info.txt", "paths-list-idle.txt"]);
    let after = store.wait("live/cam1", "of the second node", |stream| stream["node"] == "edge2");
    assert_ne!(after["epoch"], first["epoch"]);
}

#[test]
fn stream_that_an_operator_unregisters_is_back_after_a_while() {
    let (fake, store) = (Fake::recorded("mediamtx", &MEDIAMTX), Store::start());
    let bridge = bridge(&["mediamtx", "--api", &fake.api()], &store.url());
    let before = store.wait_active(CAM1);
    let args = ["unregister", CAM1, "--force", "--store", &store.url()];
    assert!(crate::cli::program(&args).output().unwrap().status.success());
    store.wait(CAM1, "back", |stream| stream["epoch"] != before["epoch"]);
    assert!(bridge.stderr().contains("another client has ended or taken over a stream"), "{}", bridge.stderr());
}
