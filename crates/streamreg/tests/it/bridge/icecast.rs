//! Icecast with real sources.

use std::time::Duration;

use super::icecast_server::Icecast;
use super::nginx::{arguments, commands};
use super::process::{bridge, play, publish_icecast, throughout, until};
use super::store::Store;

const RADIO: &str = "edge1/radio.mp3";

#[test]
fn icecast_stream_appears_with_codec_and_listeners_and_ends() {
    let (icecast, store) = (Icecast::start(), Store::start());
    let _bridge = bridge(&["icecast", "--api", &icecast.api()], &store.url());
    let source = publish_icecast(&icecast.source("radio.mp3"));
    let stream = store.wait_active(RADIO);
    assert_eq!((&stream["type"], &stream["audio_codec"]), (&"icecast".into(), &"MP3".into()));
    assert_eq!(stream["labels"]["server"], "icecast");
    let listener = play(&icecast.listen("radio.mp3"));
    store.wait(RADIO, "listened to", |stream| stream["viewers"] == 1);
    listener.kill();
    store.wait(RADIO, "not listened to", |stream| stream["viewers"] == 0);
    source.signal("INT");
    store.wait_gone(RADIO);
    assert_eq!(store.ended(RADIO)["end_reason"], "media server no longer lists the stream");
}

#[test]
fn icecast_stream_of_a_killed_source_ends() {
    let (icecast, store) = (Icecast::start(), Store::start());
    let _bridge = bridge(&["icecast", "--api", &icecast.api()], &store.url());
    let source = publish_icecast(&icecast.source("radio.mp3"));
    store.wait_active(RADIO);
    source.kill();
    store.wait_gone(RADIO);
}

#[test]
fn rejected_second_source_of_icecast_changes_nothing() {
    let (icecast, store) = (Icecast::start(), Store::start());
    let _bridge = bridge(&["icecast", "--api", &icecast.api()], &store.url());
    let mut first = publish_icecast(&icecast.source("radio.mp3"));
    let before = store.wait_active(RADIO);
    let mut second = publish_icecast(&icecast.source("radio.mp3"));
    assert_ne!(second.ended(), Some(0));
    throughout(Duration::from_secs(3), "the first source is live", || {
        first.is_running() && store.stream(RADIO)["created_at"] == before["created_at"]
    });
}

#[test]
fn icecast_stream_outlives_icecast_and_its_bridge_and_keeps_created_at() {
    let (mut icecast, store) = (Icecast::start(), Store::start());
    let api = icecast.api();
    let first = bridge(&["icecast", "--api", &api], &store.url());
    let source = publish_icecast(&icecast.source("radio.mp3"));
    let before = store.wait_active(RADIO);
    icecast.kill();
    source.kill();
    throughout(Duration::from_secs(3), "the stream is listed", || !store.stream(RADIO).is_null());
    // A list between the restart and the return of the source would end the stream.
    first.signal("STOP");
    icecast.restart();
    let _source = publish_icecast(&icecast.source("radio.mp3"));
    until("the source is back", || icecast.status().contains("radio.mp3"));
    first.signal("CONT");
    let after = store.wait(RADIO, "connected again", |stream| stream["labels"]["reconnects"] == "1");
    assert_eq!(after["created_at"], before["created_at"]);
    // The records have no address, so only the node shows that the stream belongs to this bridge.
    first.kill();
    let _second = bridge(&["icecast", "--api", &api], &store.url());
    let after = store.wait(RADIO, "registered by the second bridge", |stream| stream["epoch"] != after["epoch"]);
    assert_eq!(after["created_at"], before["created_at"]);
}

#[test]
fn recipe_for_icecast_works_as_written() {
    let (icecast, store) = (Icecast::start(), Store::start());
    let commands = commands("icecast.md");
    let args: Vec<String> =
        arguments(&commands[0]).iter().map(|word| word.replace("8000", &icecast.port.to_string())).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let _bridge = bridge(&args, &store.url());
    let _source = publish_icecast(&icecast.source("radio.mp3"));
    store.wait_active(RADIO);
}
