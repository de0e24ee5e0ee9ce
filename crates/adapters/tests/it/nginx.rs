//! nginx with the RTMP module.

use adapters::model::{Counters, Event, Gauges, Item, ItemState, Media, Name, Snapshot};
use adapters::servers::nginx_rtmp::{HookReader, StatList};
use adapters::servers::{Hooks, ReadError};

use crate::captures::{all, read as capture};
use crate::listing::{self, events, item, summary};
use crate::mutate::prefixes;

fn read(document: &str) -> Result<Snapshot, ReadError> {
    listing::read(&mut StatList, document.as_bytes())
}

fn hook(body: &str) -> Result<Vec<Event>, ReadError> {
    HookReader.read(body.as_bytes())
}

fn one_publisher() -> String {
    capture("nginx-rtmp", "stat-one-publisher-one-player.xml").text
}

#[test]
fn every_recording_is_read() {
    let (mut lists, mut starts) = (0, 0);
    for capture in all("nginx-rtmp") {
        if capture.name.ends_with(".xml") {
            let snapshot = read(&capture.text).unwrap_or_else(|error| panic!("{}: {error}", capture.name));
            assert!(snapshot.complete && snapshot.epoch.is_none(), "{}", capture.name);
            assert_eq!(snapshot.items.is_empty(), capture.name == "stat-idle.xml", "{}", capture.name);
            lists += 1;
        }
        // The publisher's arguments can contain a second `call`, so only the first one counts.
        let call = |body: &[u8], call: &str| {
            let body = String::from_utf8_lossy(body).into_owned();
            body.split_once("&call=").is_some_and(|(_, rest)| rest.split('&').next() == Some(call))
        };
        for hook in capture.hooks() {
            let kinds: Vec<bool> =
                HookReader.read(&hook.body).unwrap().iter().map(|event| matches!(event, Event::Started(_))).collect();
            let expected: &[bool] = match (call(&hook.body, "publish"), call(&hook.body, "publish_done")) {
                (true, false) => &[true],
                (false, true) => &[false],
                _ => &[],
            };
            assert_eq!(kinds, expected, "{}", capture.name);
            starts += usize::from(expected == [true]);
        }
    }
    assert!(lists == 4 && starts >= 40, "{lists} lists, {starts} starts");
}

#[test]
fn list_shows_what_the_statistics_page_has() {
    let snapshot = read(&one_publisher()).unwrap();
    let expected = Item {
        name: Name { vhost: String::new(), app: "live".into(), name: "cam1".into() },
        session: "2".into(),
        kind: "rtmp".parse().unwrap(),
        source_addr: "127.0.0.1".into(),
        state: ItemState::Active,
        media: Media {
            video_codec: "H264".into(),
            resolution: "640x360".into(),
            frame_rate: 25.0,
            audio_codec: "AAC".into(),
        },
        counters: Counters { bytes: Some(457_574), ..Counters::default() },
        gauges: Gauges { viewers: Some(1), ..Gauges::default() },
        labels: [("app".to_owned(), "live".to_owned())].into(),
    };
    let scope = Some("17426".to_owned());
    assert_eq!(snapshot, Snapshot { epoch: None, scope, complete: true, items: vec![expected] });
    assert_eq!(listing::path(&mut StatList), "");
}

#[test]
fn bit_rate_is_reported_when_nginx_has_measured_it() {
    let document = one_publisher().replace("<time>6100</time><bw_in>0</bw_in>", "<bw_in>590560</bw_in>");
    assert_eq!(item(&read(&document).unwrap(), "live/cam1").gauges.bitrate, Some(590_560));
    assert_eq!(item(&read(&one_publisher()).unwrap(), "live/cam1").gauges.bitrate, None);
}

#[test]
fn player_only_is_not_live() {
    let document = one_publisher().replace("<publishing/>", "");
    assert_eq!(read(&document).unwrap().items, []);
}

#[test]
fn publisher_without_media_is_connecting() {
    let document = one_publisher().replace("<active/>", "");
    assert_eq!(item(&read(&document).unwrap(), "live/cam1").state, ItemState::Connecting);
}

#[test]
fn list_without_process_id_is_incomplete() {
    let snapshot = read(&one_publisher().replace("<pid>17426</pid>", "")).unwrap();
    assert!(!snapshot.complete && snapshot.scope.is_none() && snapshot.items.len() == 1);
}

#[test]
fn name_is_shown_once_when_two_servers_have_it() {
    let document = one_publisher();
    let (start, end) = (document.find("<server>").unwrap(), document.find("</rtmp>").unwrap());
    let twice = format!("{}{}", &document[..end], &document[start..]);
    assert_eq!(read(&twice).unwrap(), read(&document).unwrap());
}

#[test]
fn first_value_wins() {
    let events = events(&mut HookReader, &capture("nginx-rtmp", "publish-args.http"));
    let expected = [
        "started live/cam1 20",
        "ended live/cam1 20",
        "started live/cam 27",
        "ended live/cam 27",
        "started live/cäm/3 x+y&q=1 33",
        "ended live/cäm/3 x+y&q=1 33",
    ];
    assert_eq!(summary(&events), expected);
    let shown = format!("{events:?}");
    for foreign in ["evil", "other", "999", "203.0.113.99", "bad"] {
        assert!(!shown.contains(foreign), "{foreign} is the publisher's own argument: {shown}");
    }
}

#[test]
fn hook_of_publish_starts_a_connecting_stream() {
    let event = events(&mut HookReader, &capture("nginx-rtmp", "publish-normal.http")).swap_remove(0);
    let Event::Started(item) = event else { panic!("{event:?}") };
    assert_eq!(
        (item.session.as_str(), item.source_addr.as_str(), item.kind.as_str(), item.state),
        ("2", "127.0.0.1", "rtmp", ItemState::Connecting)
    );
}

#[test]
fn session_of_hook_equals_session_of_list() {
    let events = events(&mut HookReader, &capture("nginx-rtmp", "duplicate-allowed.http"));
    let expected = ["started live/cam1 39", "started live/cam1 43", "ended live/cam1 43", "ended live/cam1 39"];
    assert_eq!(summary(&events), expected);
    let listed = read(&capture("nginx-rtmp", "stat-duplicate.xml").text).unwrap();
    assert_eq!(item(&listed, "live/cam1").session, "39");
}

#[test]
fn end_without_session_is_rejected() {
    for body in ["app=live&call=publish_done&name=cam1", "app=live&clientid=&call=publish_done&name=cam1", "", "x"] {
        assert!(hook(body).is_err(), "{body:?}");
    }
}

#[test]
fn truncated_hook_gives_no_end_of_another_session() {
    let recording = capture("nginx-rtmp", "publish-args.http");
    for whole in recording.hooks() {
        for prefix in prefixes(&whole.body) {
            for event in HookReader.read(prefix).unwrap_or_default() {
                let session = match &event {
                    Event::Started(item) => item.session.as_str(),
                    Event::Ended { session, .. } => session.as_deref().unwrap(),
                    other => panic!("{other:?}"),
                };
                assert!(["20", "27", "33"].contains(&session), "{event:?}");
            }
        }
    }
}

#[test]
fn secret_not_logged() {
    let document = one_publisher().replace("LNX 9,0,124,2", "s3cret");
    assert!(!format!("{:?}", read(&document).unwrap()).contains("s3cret"));
    for recording in all("nginx-rtmp") {
        for hook in recording.hooks() {
            for prefix in prefixes(&hook.body) {
                let shown = match HookReader.read(prefix) {
                    Ok(events) => format!("{events:?}"),
                    Err(error) => format!("{error} {error:?}"),
                };
                assert!(!shown.contains("s3cret") && !shown.contains("token"), "{}: {shown}", recording.name);
            }
        }
    }
}

#[test]
fn doctype_is_rejected() {
    let document = one_publisher();
    let declared = |declaration: &str| document.replacen("<rtmp>", &format!("{declaration}<rtmp>"), 1);
    for declaration in [
        "<!DOCTYPE rtmp>",
        "<!DOCTYPE rtmp [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;&a;&a;\">]>",
        "<!DOCTYPE rtmp SYSTEM \"file:///etc/passwd\">",
        "<!DOCTYPE rtmp [<!ENTITY a SYSTEM \"file:///etc/passwd\">]>",
    ] {
        assert!(read(&declared(declaration)).is_err(), "{declaration}");
    }
    let named = |name: &str| read(&document.replace("<name>cam1</name>", &format!("<name>{name}</name>")));
    for entity in ["&a;", "&nbsp;", "&#xD800;", "&#0;", "&", "&amp", "&;"] {
        assert!(named(entity).is_err(), "{entity}");
    }
    let snapshot = named("a&amp;&lt;&gt;&quot;&apos;&#65;&#x42;").unwrap();
    assert_eq!(snapshot.items[0].name.name, "a&<>\"'AB");
}

#[test]
fn other_answers_are_rejected() {
    listing::assert_other_answers_are_rejected(&mut StatList);
    for body in ["<stat/>", "<rtmp/><rtmp/>", "<rtmp></stat>", "</rtmp>", "<rtmp>", "<rtmp", "<rtmp><![CDATA["] {
        assert!(read(body).is_err(), "{body}");
    }
}
