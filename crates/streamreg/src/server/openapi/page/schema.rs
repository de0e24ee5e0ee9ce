//! Schemas as HTML.

use std::fmt::Write as _;

use serde_json::Value;

use super::html::{block, code, escape, inline};
use super::{elements, entries, text};

/// Keywords of limits, with their wording.
const LIMITS: [(&str, &str); 8] = [
    ("minimum", "at least"),
    ("maximum", "at most"),
    ("minLength", "min. length"),
    ("maxLength", "max. length"),
    ("minItems", "min. elements"),
    ("maxItems", "max. elements"),
    ("maxProperties", "max. members"),
    ("pattern", "pattern"),
];

/// Returns the description of a schema, and one line about its type and limits.
pub(super) fn describe(schema: &Value) -> String {
    format!("{}<p class=\"soft\">{}</p>", block(text(&schema["description"])), summary(schema))
}

/// Returns the type of a schema and its limits, on one line.
pub(super) fn summary(schema: &Value) -> String {
    let mut parts = vec![kind(schema)];
    parts.extend(schema.get("default").map(|default| format!("default {}", code(&plain(default)))));
    let words: Vec<_> = elements(&schema["enum"]).map(|word| code(&plain(word))).collect();
    if !words.is_empty() {
        parts.push(format!("one of {}", words.join(", ")));
    }
    let excluded: Vec<_> = elements(&schema["not"]["enum"]).map(|word| code(&plain(word))).collect();
    if !excluded.is_empty() {
        parts.push(format!("not {}", excluded.join(", ")));
    }
    for (keyword, wording) in LIMITS {
        parts.extend(schema.get(keyword).map(|limit| format!("{wording} {}", code(&plain(limit)))));
    }
    parts.join("; ")
}

/// Returns a value as text, without the quotes of a string.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Returns the type of a schema, with links to the schemas that it refers to.
fn kind(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|reference| reference.rsplit('/').next()) {
        return format!("<a href=\"#schema-{0}\">{0}</a>", escape(name));
    }
    let alternatives = elements(&schema["anyOf"]).chain(elements(&schema["oneOf"]));
    let alternatives: Vec<_> = alternatives.map(kind).collect();
    if !alternatives.is_empty() {
        return alternatives.join(" or ");
    }
    if schema.get("items").is_some() {
        return format!("array of {}", kind(&schema["items"]));
    }
    let types = elements(&schema["type"]).map(text).chain(schema["type"].as_str());
    let format = schema["format"].as_str().map_or_else(String::new, |format| format!(" ({})", escape(format)));
    let kind = escape(&types.collect::<Vec<_>>().join(" or "));
    let values = Some(&schema["additionalProperties"]).filter(|values| values.is_object());
    let values = values.map_or_else(String::new, |values| format!(" of {}", self::kind(values)));
    format!("{kind}{format}{values}")
}

/// Returns the list of an object's members; nothing for another schema.
pub(super) fn members(schema: &Value) -> String {
    let mut out = String::new();
    let is_required = |name: &str| elements(&schema["required"]).any(|required| required == name);
    let (required, optional): (Vec<_>, Vec<_>) =
        entries(&schema["properties"]).partition(|(name, _)| is_required(name));
    for (name, member) in required.into_iter().chain(optional) {
        let mark = if is_required(name) { " <span>required</span>" } else { "" };
        let _ = write!(out, "<dt>{}{mark}</dt><dd>{} ", code(name), inline(text(&member["description"])));
        let _ = write!(out, "<span>{}</span>{}</dd>", summary(member), members(member));
    }
    if out.is_empty() { out } else { format!("<dl>{out}</dl>") }
}
