//! Damaged statistics pages of nginx.

use std::ops::Range;

use adapters::model::Snapshot;
use adapters::servers::ReadError;
use adapters::servers::nginx_rtmp::StatList;

use crate::captures::read as capture;
use crate::listing;

fn read(document: &str) -> Result<Snapshot, ReadError> {
    listing::read(&mut StatList, document.as_bytes())
}

/// Returns a page with the streams `live/cam0` and `live/cam1`.
fn two_streams() -> String {
    let document = capture("nginx-rtmp", "stat-one-publisher-one-player.xml").text;
    // The other applications are idle.
    let idle = document.find("</application>").unwrap() + "</application>".len()..document.find("</server>").unwrap();
    let document = replaced(&document, &idle, "\n");
    let (start, end) = (document.find("<stream>").unwrap(), document.find("</stream>").unwrap() + "</stream>".len());
    let second = document[start..end].replace("cam1", "cam0").replace("<id>2</id>", "<id>1</id>");
    format!("{}{second}\n{}", &document[..start], &document[start..])
}

/// Returns the name and the range of every element.
fn elements(document: &str) -> Vec<(&str, Range<usize>)> {
    let mut found = Vec::new();
    for (start, _) in document.match_indices('<') {
        let tag = &document[start + 1..start + document[start..].find('>').unwrap()];
        if tag.starts_with(['/', '?']) {
            continue;
        }
        if let Some(name) = tag.strip_suffix('/') {
            found.push((name, start..start + tag.len() + 2));
            continue;
        }
        let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
        let mut end = start;
        let mut level = 0;
        loop {
            let next = document[end..].find(&close).unwrap() + end;
            level += document[end..next].matches(&open).count();
            level -= 1;
            end = next + close.len();
            if level == 0 {
                break;
            }
        }
        found.push((tag, start..end));
    }
    found
}

fn replaced(document: &str, range: &Range<usize>, with: &str) -> String {
    format!("{}{with}{}", &document[..range.start], &document[range.end..])
}

/// Checks that the damaged page is rejected, or that the stream that was not damaged is unchanged in it.
fn assert_neighbour_is_unchanged(healthy: &str, range: &Range<usize>, damaged: &str, what: &str) {
    let before = read(healthy).unwrap();
    let Ok(after) = read(damaged) else { panic!("{what} must not make the page unreadable") };
    for stream in elements(healthy).into_iter().filter(|(name, _)| *name == "stream") {
        let name = if healthy[stream.1.clone()].contains("cam0") { "live/cam0" } else { "live/cam1" };
        let owns = stream.1.start <= range.start && range.end <= stream.1.end;
        let outer = range.start < stream.1.start && stream.1.end < range.end;
        if !owns && !outer && after.complete {
            let found = after.items.iter().find(|item| item.name.name == name["live/".len()..]);
            let expected = listing::item(&before, name);
            let found = found.unwrap_or_else(|| panic!("{what} must not hide {name}"));
            assert_eq!((&found.session, &found.counters), (&expected.session, &expected.counters), "{what}");
        }
    }
}

#[test]
fn page_is_read_when_any_element_is_missing() {
    let document = two_streams();
    for (name, range) in elements(&document).into_iter().filter(|(name, _)| *name != "rtmp") {
        let damaged = replaced(&document, &range, "");
        assert_neighbour_is_unchanged(&document, &range, &damaged, &format!("a missing <{name}>"));
    }
}

#[test]
fn page_is_read_when_any_text_is_invalid() {
    let document = two_streams();
    let long = "9".repeat(1 << 12);
    for (name, range) in elements(&document).into_iter().filter(|(name, _)| *name != "rtmp") {
        for text in
            ["", " ", "-1", "1e99", "NaN", "inf", "x", "&lt;stream&gt;", "\u{0}\u{1b}\u{fffd}", "<x><x/></x>", &long]
        {
            let damaged = replaced(&document, &range, &format!("<{name}>{text}</{name}>"));
            assert_neighbour_is_unchanged(&document, &range, &damaged, &format!("<{name}>{text}"));
        }
    }
}

#[test]
fn stream_without_name_does_not_end_it() {
    for name in ["", "<name></name>", "<name/>"] {
        let snapshot = read(&two_streams().replace("<name>cam0</name>", name)).unwrap();
        assert!(!snapshot.complete && snapshot.items.len() == 1, "{name:?}: {snapshot:?}");
    }
}

#[test]
fn unknown_elements_are_ignored() {
    let document = two_streams();
    let unknown = "<unknown a=\"1\"><name>x</name><publishing/><!-- x --><?x y?><![CDATA[<x>]]></unknown>";
    let mut changed = document.clone();
    for (_, range) in elements(&document).into_iter().rev() {
        if !document[range.clone()].ends_with("/>") && document[range.clone()].matches('<').count() > 2 {
            let inside = range.start + document[range].find('>').unwrap() + 1;
            changed.insert_str(inside, unknown);
        }
    }
    assert!(changed.matches("<unknown").count() > 10);
    assert_eq!(read(&changed).unwrap(), read(&document).unwrap());
}

#[test]
fn truncated_page_is_rejected_at_every_byte() {
    listing::assert_prefixes_are_rejected(&mut StatList, two_streams().as_bytes());
}

#[test]
fn deep_nesting_is_rejected() {
    let document = two_streams();
    for levels in [30, 100_000] {
        let nested = format!("{}{}", "<x>".repeat(levels), "</x>".repeat(levels));
        let deep = document.replacen("<server>", &format!("<server>{nested}"), 1);
        assert_eq!(read(&deep).is_err(), levels > 30, "{levels} levels");
        assert!(read(&document.replacen("<server>", &format!("<server>{}", "<x>".repeat(levels)), 1)).is_err());
    }
}

#[test]
fn invalid_utf8_does_not_hide_other_streams() {
    let mut page = two_streams().into_bytes();
    let at = page.windows(4).position(|bytes| bytes == b"cam0").unwrap();
    page[at] = 0xff;
    let snapshot = listing::read(&mut StatList, &page).unwrap();
    assert_eq!(snapshot.items.len(), 2);
    assert_eq!(listing::item(&snapshot, "live/cam1").session, "2");
}
