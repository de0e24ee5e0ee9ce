//! Parses one level of a JSON document.

use std::fmt;

use serde::Deserializer as _;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

/// Parses an object into its members, in order. Values remain raw JSON, so that numbers keep all their digits.
pub(super) fn in_order(json: &str) -> serde_json::Result<Vec<(String, Box<str>)>> {
    struct Members;
    impl<'de> Visitor<'de> for Members {
        type Value = Vec<(String, Box<str>)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut members = Vec::new();
            while let Some((name, raw)) = map.next_entry::<String, &RawValue>()? {
                members.push((name, raw.get().into()));
            }
            Ok(members)
        }
    }
    serde_json::Deserializer::from_str(json).deserialize_map(Members)
}
