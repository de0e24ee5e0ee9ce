//! Icecast.

use adapters::model::{Counters, Snapshot};
use adapters::servers::ReadError;
use adapters::servers::icecast::StatusList;
use serde_json::{Value, json};

use crate::captures::{all, read as capture};
use crate::listing::{self, item};

fn read(document: &Value) -> Result<Snapshot, ReadError> {
    listing::read(&mut StatusList, document.to_string().as_bytes())
}

fn recorded(name: &str) -> Value {
    serde_json::from_str(&capture("icecast", name).text).unwrap()
}

#[test]
fn every_recording_is_read() {
    let names: Vec<(String, Vec<String>)> = all("icecast")
        .into_iter()
        .map(|capture| {
            let snapshot = listing::read(&mut StatusList, capture.text.as_bytes()).unwrap();
            assert!(snapshot.complete && snapshot.scope.is_none());
            assert_eq!(snapshot.epoch.as_deref(), Some("2026-11-29T10:33:18+0000"));
            (capture.name, snapshot.items.iter().map(|item| item.name.to_string()).collect())
        })
        .collect();
    let mounts = |mounts: &[&str]| mounts.iter().map(|mount| mount.to_string()).collect::<Vec<_>>();
    let expected = [
        ("status-json-idle.txt".to_owned(), mounts(&[])),
        ("status-json-one.txt".to_owned(), mounts(&["live.mp3"])),
        ("status-json-two.txt".to_owned(), mounts(&["live.mp3", "two.mp3"])),
    ];
    assert_eq!(names, expected);
}

#[test]
fn list_shows_mount_type_and_listeners() {
    let snapshot = read(&recorded("status-json-one.txt")).unwrap();
    let mount = item(&snapshot, "live.mp3");
    assert_eq!((mount.session.as_str(), mount.kind.as_str()), ("2026-11-29T10:33:21+0000", "icecast"));
    assert_eq!((mount.media.audio_codec.as_str(), mount.source_addr.as_str()), ("MP3", ""));
    assert_eq!((mount.gauges.viewers, mount.gauges.bitrate), (Some(1), None));
    assert_eq!(mount.counters, Counters::default());
    assert_eq!(listing::path(&mut StatusList), "");
}

#[test]
fn bit_rate_is_shown_when_the_source_announces_it() {
    for (field, value, expected) in [
        ("bitrate", json!(128), Some(128_000)),
        ("bitrate", json!("128"), Some(128_000)),
        ("ice-bitrate", json!(96), Some(96_000)),
        ("bitrate", json!(0), None),
        ("bitrate", json!("quality 4"), None),
        ("bitrate", json!(u64::MAX), None),
    ] {
        let mut document = recorded("status-json-one.txt");
        document["icestats"]["source"][field] = value.clone();
        assert_eq!(read(&document).unwrap().items[0].gauges.bitrate, expected, "{field}: {value}");
    }
}

#[test]
fn mount_without_source_is_not_live() {
    let mut document = recorded("status-json-two.txt");
    document["icestats"]["source"][1] = json!({"listenurl": "http://radio.example:28000/two.mp3", "dummy": null});
    let snapshot = read(&document).unwrap();
    assert!(snapshot.complete && snapshot.items.len() == 1);
}

#[test]
fn name_is_the_path_of_the_mount() {
    for (url, expected) in [
        ("https://radio.example/a/b.mp3?x=s3cret#y", Some("a/b.mp3")),
        ("http://user:s3cret@[::1]:8000/b.mp3", Some("b.mp3")),
        ("http://radio.example:8000/", None),
        ("http://radio.example:8000", None),
        ("/b.mp3", None),
        ("", None),
    ] {
        let mut document = recorded("status-json-one.txt");
        document["icestats"]["source"]["listenurl"] = json!(url);
        let snapshot = read(&document).unwrap();
        let name = snapshot.items.first().map(|item| item.name.to_string());
        assert_eq!(name.as_deref(), expected, "{url}");
        assert_eq!(snapshot.complete, expected.is_some(), "{url}");
    }
}

#[test]
fn secret_not_logged() {
    let mut document = recorded("status-json-one.txt");
    document["icestats"]["admin"] = json!("s3cret");
    document["icestats"]["source"]["server_url"] = json!("http://user:s3cret@radio.example/");
    document["icestats"]["source"]["title"] = json!("s3cret");
    let snapshot = read(&document).unwrap();
    assert!(snapshot.items.len() == 1 && !format!("{snapshot:?}").contains("s3cret"));
    let error = listing::read(&mut StatusList, b"{\"icestats\": s3cret").unwrap_err();
    assert!(!format!("{error} {error:?}").contains("s3cret"));
}

#[test]
fn title_with_invalid_utf8_does_not_hide_other_mounts() {
    let text = capture("icecast", "status-json-two.txt").text.replacen("Desc", "D\u{e9}sc", 1);
    let latin1: Vec<u8> = text.chars().map(|character| u8::try_from(u32::from(character)).unwrap()).collect();
    assert_eq!(listing::read(&mut StatusList, &latin1).unwrap().items.len(), 2);
}

#[test]
fn damage_to_one_mount_stays_local() {
    let mounts = ["live.mp3", "two.mp3"];
    listing::assert_damage_stays_local(
        &mut StatusList,
        &recorded("status-json-two.txt"),
        |place| place.get(2).map(|index| mounts[index.parse::<usize>().unwrap()].to_owned()),
        |place| place.len() == 1 || place[1] == "source",
    );
}

#[test]
fn truncated_list_is_rejected_at_every_byte() {
    listing::assert_prefixes_are_rejected(&mut StatusList, capture("icecast", "status-json-two.txt").text.as_bytes());
}

#[test]
fn other_answers_are_rejected() {
    listing::assert_other_answers_are_rejected(&mut StatusList);
}
