//! Reads lists and hooks, and shows what damage to one stream does to the others.

use std::collections::BTreeMap;

use adapters::model::{Event, Item, Snapshot};
use adapters::servers::{Answer, Hooks, List, ReadError, Step};
use serde_json::Value;

use crate::captures::Capture;
use crate::mutate::{Place, damaged, prefixes, with_unknown_fields};

/// Reads a list that needs one request.
pub(crate) fn read(list: &mut dyn List, body: &[u8]) -> Result<Snapshot, ReadError> {
    match list.step(&[]).unwrap() {
        Step::Ask(requests) => assert_eq!(requests.len(), 1),
        Step::Done(_) => panic!("the list must send a request first"),
    }
    match list.step(&[Answer { status: 200, body: body.to_vec() }])? {
        Step::Done(snapshot) => Ok(snapshot),
        Step::Ask(_) => panic!("the list must be complete after one answer"),
    }
}

/// Returns the path of the only request.
pub(crate) fn path(list: &mut dyn List) -> String {
    match list.step(&[]).unwrap() {
        Step::Ask(requests) => requests[0].path.clone(),
        Step::Done(_) => panic!("the list must send a request first"),
    }
}

/// Reads all hooks of a recording.
pub(crate) fn events(hooks: &mut dyn Hooks, capture: &Capture) -> Vec<Event> {
    let read = |hook: &crate::captures::Hook| {
        hooks.read(&hook.body).unwrap_or_else(|error| panic!("{} {}: {error}", capture.name, hook.target))
    };
    capture.hooks().iter().flat_map(read).collect()
}

/// Returns `started SESSION` or `ended SESSION` for each event.
pub(crate) fn summary(events: &[Event]) -> Vec<String> {
    let line = |event: &Event| match event {
        Event::Started(item) => format!("started {} {}", item.name, item.session),
        Event::Ended { name, session } => format!("ended {name} {}", session.as_deref().unwrap_or("-")),
        Event::ServerStarted { .. } => "server started".to_owned(),
        Event::ServerExited => "server exited".to_owned(),
    };
    events.iter().map(line).collect()
}

/// Returns the item with this name.
pub(crate) fn item<'a>(snapshot: &'a Snapshot, name: &str) -> &'a Item {
    snapshot.items.iter().find(|item| item.name.to_string() == name).unwrap_or_else(|| panic!("no stream {name}"))
}

/// Returns the names of all items, in their order.
pub(crate) fn names(snapshot: &Snapshot) -> Vec<String> {
    snapshot.items.iter().map(|item| item.name.to_string()).collect()
}

/// Returns labels with these names and values.
pub(crate) fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Damages a list of two or more streams in every way. `owner` returns the name of the stream that a place belongs to.
///
/// Each damaged list is rejected, or all other streams are still in it, unchanged. If the damaged stream is missing
/// although `may_end` does not allow it, the list is incomplete, so that the stream does not end.
pub(crate) fn assert_damage_stays_local(
    list: &mut dyn List,
    document: &Value,
    owner: impl Fn(&Place) -> Option<String>,
    may_end: impl Fn(&Place) -> bool,
) {
    let healthy = read(list, document.to_string().as_bytes()).unwrap();
    assert!(healthy.complete && healthy.items.len() >= 2, "the list must have two streams");
    let check = |place: &Place, snapshot: &Snapshot| {
        let owner = owner(place);
        for expected in &healthy.items {
            let name = expected.name.to_string();
            let ends = snapshot.complete && !may_end(place);
            if owner.as_ref() != Some(&name) {
                let unchanged = snapshot.items.contains(expected);
                assert!(unchanged || owner.is_none() && !ends, "{name} must be unchanged: {}", place.join("."));
            } else if !snapshot.items.iter().any(|item| item.name == expected.name) {
                // With another name, it is another stream.
                assert!(!ends || snapshot.items.len() == healthy.items.len(), "{}", place.join("."));
            }
        }
    };
    for (place, damaged) in damaged(document) {
        match read(list, damaged.as_bytes()) {
            Ok(snapshot) => check(&place, &snapshot),
            Err(error) => {
                assert_eq!(owner(&place), None, "one stream must not hide others: {} {error}", place.join("."))
            }
        }
    }
    let unknown = read(list, with_unknown_fields(document).to_string().as_bytes()).unwrap();
    assert_eq!(unknown.items, healthy.items);
}

/// Every proper prefix of an answer is rejected, so that a connection that breaks ends no stream.
pub(crate) fn assert_prefixes_are_rejected(list: &mut dyn List, body: &[u8]) {
    for prefix in prefixes(body.trim_ascii_end()) {
        assert!(read(list, prefix).is_err(), "a list of {} bytes must be rejected", prefix.len());
    }
}

/// Answers with another status and answers of other servers are rejected.
pub(crate) fn assert_other_answers_are_rejected(list: &mut dyn List) {
    for status in [204, 301, 401, 403, 404, 500, 502] {
        let error = list.step(&[Answer { status, body: b"{}".to_vec() }]).unwrap_err().to_string();
        assert!(error.contains(&status.to_string()), "{error}");
    }
    for body in ["", " ", "null", "[]", "0", "\"x\"", "404 page not found", "<html><body></body></html>", "\u{0}"] {
        assert!(read(list, body.as_bytes()).is_err(), "{body:?} must be rejected");
    }
}
