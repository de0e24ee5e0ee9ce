//! Damaged answers and hooks.

use adapters::model::{Counters, Gauges, Item, Snapshot};
use adapters::servers::ReadError;
use serde_json::{Value, json};

/// One place in a document: object keys and array indexes, from the outside in.
pub(crate) type Place = Vec<String>;

/// Returns the place of every object key, the outer ones first.
pub(crate) fn fields(document: &Value) -> Vec<Place> {
    fn visit(value: &Value, place: &mut Place, found: &mut Vec<Place>) {
        let children: Vec<(String, &Value)> = match value {
            Value::Object(fields) => fields.iter().map(|(key, child)| (key.clone(), child)).collect(),
            Value::Array(items) => items.iter().enumerate().map(|(index, child)| (index.to_string(), child)).collect(),
            _ => Vec::new(),
        };
        for (key, child) in children {
            place.push(key);
            if value.is_object() {
                found.push(place.clone());
            }
            visit(child, place, found);
            place.pop();
        }
    }
    let mut found = Vec::new();
    visit(document, &mut Place::new(), &mut found);
    found
}

fn parent<'a>(document: &'a mut Value, place: &Place) -> &'a mut serde_json::Map<String, Value> {
    let escape = |part: &String| format!("/{}", part.replace('~', "~0").replace('/', "~1"));
    let pointer: String = place[..place.len() - 1].iter().map(escape).collect();
    document.pointer_mut(&pointer).unwrap().as_object_mut().unwrap()
}

/// Returns the document with each field removed once, and the place of that field.
pub(crate) fn without_each_field(document: &Value) -> Vec<(Place, Value)> {
    let remove = |place: Place| {
        let mut copy = document.clone();
        parent(&mut copy, &place).remove(place.last().unwrap());
        (place, copy)
    };
    fields(document).into_iter().map(remove).collect()
}

/// Returns the document with each field replaced by each value, and the place of that field.
pub(crate) fn with_each_field_as(document: &Value, values: &[Value]) -> Vec<(Place, Value)> {
    let mut found = Vec::new();
    for place in fields(document) {
        for value in values {
            let mut copy = document.clone();
            parent(&mut copy, &place).insert(place.last().unwrap().clone(), value.clone());
            found.push((place.clone(), copy));
        }
    }
    found
}

/// Returns the document with unknown fields in every object.
pub(crate) fn with_unknown_fields(document: &Value) -> Value {
    match document {
        Value::Object(fields) => {
            let known = fields.iter().map(|(key, value)| (key.clone(), with_unknown_fields(value)));
            let unknown = [("unknown", json!({"a": [1, null, "x"]})), ("", json!(1e300)), ("Name", json!("x"))];
            known.chain(unknown.map(|(key, value)| (key.to_owned(), value))).collect()
        }
        Value::Array(items) => items.iter().map(with_unknown_fields).collect(),
        other => other.clone(),
    }
}

/// Values of every type that no server sends for a field that the readers use.
pub(crate) fn wrong_types() -> Vec<Value> {
    vec![
        json!(null),
        json!(true),
        json!(-1),
        json!(1.5),
        json!(u64::MAX),
        json!(1e300),
        json!(""),
        json!([]),
        json!({}),
    ]
}

/// Strings that a hostile publisher could choose: very long, with control characters, with syntax of other formats.
pub(crate) fn hostile_strings() -> Vec<Value> {
    let long = "x".repeat(1 << 13);
    let strings =
        ["\0\u{1}\u{1b}[31m\r\n", "\u{202e}\u{feff}\u{fffd}", "../../etc", "a/b/c//", "{}\"';--", "%00%2f", "<x>"];
    strings.into_iter().chain([long.as_str()]).map(|string| json!(string)).collect()
}

/// Returns every proper prefix of the bytes.
pub(crate) fn prefixes(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    (0..bytes.len()).map(|length| &bytes[..length])
}

/// Returns the JSON of the document with the field at this place replaced by raw JSON. The raw JSON can be unusual,
/// e.g. a number out of range or deeply nested.
pub(crate) fn with_raw(document: &Value, place: &Place, raw: &str) -> String {
    let mut copy = document.clone();
    parent(&mut copy, place).insert(place.last().unwrap().clone(), json!("@raw@"));
    copy.to_string().replace("\"@raw@\"", raw)
}

/// JSON that parsers which recurse or convert every number cannot read.
pub(crate) fn extreme_json() -> Vec<String> {
    let digits = "9".repeat(1_000);
    let nested = format!("{}{}", "[".repeat(2_000), "]".repeat(2_000));
    vec!["1e999999".to_owned(), "-0.0e-999999".to_owned(), digits, nested]
}

/// Returns the JSON of the document with one field damaged, in every way, and the place of that field.
pub(crate) fn damaged(document: &Value) -> Vec<(Place, String)> {
    let mut found = without_each_field(document);
    found.extend(with_each_field_as(document, &wrong_types()));
    found.extend(with_each_field_as(document, &hostile_strings()));
    let mut found: Vec<(Place, String)> =
        found.into_iter().map(|(place, document)| (place, document.to_string())).collect();
    for raw in extreme_json() {
        found.extend(fields(document).into_iter().map(|place| (place.clone(), with_raw(document, &place, &raw))));
    }
    found
}

fn fits_in_a_record(item: &Item) -> bool {
    let Counters { bytes, packets, lost, retransmitted, dropped } = item.counters;
    let Gauges { bitrate, rtt_ms, viewers } = item.gauges;
    let counts = [bytes, packets, lost, retransmitted, dropped, bitrate, viewers];
    counts.into_iter().flatten().all(|count| i64::try_from(count).is_ok())
        && rtt_ms.is_none_or(|rtt| rtt.is_finite() && rtt >= 0.0)
}

/// Checks that damage to one entry of a list changes only the item of that entry, and ends no stream.
///
/// `entries` is the field with the array. `read` reads a list, with this document as one of its answers. `state` names
/// the fields, of an entry or of the document, that may end streams if they have another value. Returns how many
/// damaged documents were read.
#[track_caller]
pub(crate) fn assert_damage_stays_in_its_entry(
    document: &Value,
    entries: &str,
    state: &[&str],
    read: impl Fn(&[u8]) -> Result<Snapshot, ReadError>,
) -> usize {
    let intact = read(document.to_string().as_bytes()).unwrap();
    assert!(intact.complete && !intact.items.is_empty());
    let missing =
        |items: &[Item]| -> Vec<Item> { intact.items.iter().filter(|item| !items.contains(item)).cloned().collect() };
    // The items that each entry contributes to.
    let own: Vec<Vec<Item>> = (0..document[entries].as_array().unwrap().len())
        .map(|index| {
            let mut without = document.clone();
            without[entries].as_array_mut().unwrap().remove(index);
            missing(&read(without.to_string().as_bytes()).unwrap().items)
        })
        .collect();
    let mut count = 0;
    for (place, json) in damaged(document) {
        let fail = |problem: &str| panic!("{problem}: {} in {json:.1000}", place.join("."));
        let Ok(snapshot) = read(json.as_bytes()) else {
            if place.len() > 1 {
                fail("damage to one entry makes the list unreadable");
            }
            continue;
        };
        count += 1;
        if !snapshot.items.iter().all(fits_in_a_record) {
            fail("damage makes a value that no record can hold");
        }
        let ended = snapshot.items.len() < intact.items.len() && snapshot.complete;
        if ended && !state.contains(&place.get(2).unwrap_or(&place[0]).as_str()) {
            fail("damage ends a stream");
        }
        if place.len() == 1 {
            continue;
        }
        let own = &own[place[1].parse::<usize>().unwrap()];
        if missing(&snapshot.items).iter().any(|item| !own.contains(item)) {
            fail("damage to one entry changes the item of another entry");
        }
        if snapshot.items.iter().filter(|item| !intact.items.contains(item)).count() > 1 {
            fail("damage to one entry adds items");
        }
    }
    count
}

#[test]
fn fields_lists_keys_at_every_depth() {
    let document = json!({"a": [{"b": 1}], "c": {"d/~": {}}});
    let places: Vec<String> = fields(&document).iter().map(|place| place.join(".")).collect();
    assert_eq!(places, ["a", "a.0.b", "c", "c.d/~"]);
}

#[test]
fn mutations_change_one_place_each() {
    let document = json!({"a": [{"b": 1}], "c/~": {"d": 2}});
    let removed: Vec<Value> = without_each_field(&document).into_iter().map(|(_, document)| document).collect();
    assert_eq!(removed[1], json!({"a": [{}], "c/~": {"d": 2}}));
    assert_eq!(removed[3], json!({"a": [{"b": 1}], "c/~": {}}));

    let (place, replaced) = with_each_field_as(&document, &wrong_types()).swap_remove(wrong_types().len());
    assert_eq!((place.join("."), replaced), ("a.0.b".to_owned(), json!({"a": [{"b": null}], "c/~": {"d": 2}})));
    assert_eq!(with_unknown_fields(&document)["a"][0]["b"], 1);
    assert!(with_unknown_fields(&document)["a"][0]["unknown"].is_object());
    assert_eq!(with_raw(&json!({"a": {"b": 1}}), &vec!["a".to_owned(), "b".to_owned()], "1e9"), r#"{"a":{"b":1e9}}"#);
}

#[test]
fn damaged_values_are_what_they_claim() {
    assert_eq!(prefixes(b"abc").collect::<Vec<_>>(), [&b""[..], b"a", b"ab"]);
    assert!(hostile_strings().iter().any(|string| string.as_str().unwrap().len() >= 1 << 13));
    assert!(extreme_json().iter().filter(|json| serde_json::from_str::<Value>(json).is_err()).count() >= 2);
}
