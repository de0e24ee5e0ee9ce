//! Converts JSON to YAML 1.2 in block style.
//!
//! The order of fields and the digits of numbers stay as they are. A string is quoted unless every YAML parser reads it
//! as a string. In YAML 1.1, for example, `no` is a boolean and `2026-01-01` is a date.

use serde_json::value::RawValue;

use super::members::in_order;
use crate::cli::terminal;

/// Longest key that can stand on the same line as its value (YAML 1.2.2, section 8.2.2).
const MAX_IMPLICIT_KEY: usize = 1_000;

/// Words that some parsers read as a boolean or as null, in any case.
const RESERVED: [&str; 10] = ["true", "false", "yes", "no", "on", "off", "y", "n", "null", "nan"];

/// Converts a JSON document to a YAML document that ends with a newline.
pub(super) fn document(json: &str) -> String {
    let mut out = String::with_capacity(json.len() + json.len() / 8);
    block(json.trim(), 0, &mut out);
    out
}

/// Converts a JSON document to an element of a YAML sequence.
pub(super) fn element(json: &str) -> String {
    let mut out = String::from("- ");
    block(json.trim(), 2, &mut out);
    out
}

/// Writes a value. The indentation of its first line has already been written.
fn block(json: &str, indent: usize, out: &mut String) {
    match Node::parse(json) {
        Node::Object(members) => {
            for (at, (name, raw)) in members.iter().enumerate() {
                if at > 0 {
                    out.push_str(&" ".repeat(indent));
                }
                let key = string(name);
                if key.len() > MAX_IMPLICIT_KEY {
                    out.push_str(&format!("? {key}\n{}", " ".repeat(indent)));
                } else {
                    out.push_str(&key);
                }
                out.push(':');
                match Node::parse(raw) {
                    Node::Scalar(scalar) => out.extend([" ", &scalar, "\n"]),
                    _ => {
                        let indent = indent + 2;
                        out.push_str(&format!("\n{}", " ".repeat(indent)));
                        block(raw, indent, out);
                    }
                }
            }
        }
        Node::Array(elements) => {
            for (at, raw) in elements.iter().enumerate() {
                if at > 0 {
                    out.push_str(&" ".repeat(indent));
                }
                out.push_str("- ");
                block(raw.get(), indent + 2, out);
            }
        }
        Node::Scalar(scalar) => out.extend([&scalar, "\n"]),
    }
}

/// One level of a JSON document.
enum Node {
    /// An object that is not empty.
    Object(Vec<(String, Box<str>)>),
    /// An array that is not empty.
    Array(Vec<Box<RawValue>>),
    /// A value on one line, in YAML.
    Scalar(String),
}

impl Node {
    /// Parses a level. The JSON comes from the encoder, so parsing does not fail; if it did, the JSON would be shown as
    /// a string.
    fn parse(json: &str) -> Self {
        let parsed = match json.as_bytes().first() {
            Some(b'{') => in_order(json).map(Self::Object),
            Some(b'[') => serde_json::from_str(json).map(Self::Array),
            Some(b'"') => serde_json::from_str::<String>(json).map(|value| Self::Scalar(string(&value))),
            _ => Ok(Self::Scalar(json.to_owned())),
        };
        match parsed {
            Ok(Self::Object(members)) if members.is_empty() => Self::Scalar("{}".to_owned()),
            Ok(Self::Array(elements)) if elements.is_empty() => Self::Scalar("[]".to_owned()),
            Ok(node) => node,
            Err(_) => Self::Scalar(string(json)),
        }
    }
}

/// Formats a string, with quotes if necessary.
fn string(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./".contains(&byte);
    let starts_plain = value.bytes().next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_');
    if starts_plain && value.bytes().all(plain) && !RESERVED.contains(&&*value.to_ascii_lowercase()) {
        return value.to_owned();
    }
    // Serialising a string cannot fail. The escape sequences of JSON are also those of YAML, but YAML requires an escape
    // sequence for more characters.
    let json = serde_json::to_string(value).unwrap_or_default();
    terminal::escape_json(&json).replace('\u{fffe}', "\\ufffe").replace('\u{ffff}', "\\uffff")
}

#[cfg(test)]
mod tests {
    use yaml_rust2::{Yaml, YamlLoader};

    use super::*;

    /// Converts parsed YAML to JSON.
    fn to_json(yaml: &Yaml) -> serde_json::Value {
        match yaml {
            Yaml::Hash(members) => {
                let key = |key: &Yaml| key.as_str().unwrap_or_else(|| panic!("{key:?} is not a string")).to_owned();
                members.iter().map(|(name, value)| (key(name), to_json(value))).collect()
            }
            Yaml::Array(elements) => elements.iter().map(to_json).collect(),
            Yaml::String(string) => string.as_str().into(),
            Yaml::Integer(number) => (*number).into(),
            Yaml::Real(number) => serde_json::from_str(number).unwrap(),
            Yaml::Boolean(value) => (*value).into(),
            Yaml::Null => serde_json::Value::Null,
            other => panic!("{other:?}"),
        }
    }

    fn parse(yaml: &str) -> serde_json::Value {
        let documents = YamlLoader::load_from_str(yaml).unwrap_or_else(|error| panic!("{error}:\n{yaml}"));
        assert_eq!(documents.len(), 1, "{yaml}");
        to_json(&documents[0])
    }

    #[test]
    fn yaml_is_in_block_style_and_keeps_order_and_digits() {
        let json =
            r#"{"id":"cam1","bitrate":9007199254740993,"b":[1.50,[true,{"x":null,"y":"n"}],[],{}],"a":{"k":"v: w"}}"#;
        let yaml = "\
id: cam1
bitrate: 9007199254740993
b:
  - 1.50
  - - true
    - x: null
      \"y\": \"n\"
  - []
  - {}
a:
  k: \"v: w\"
";
        assert_eq!(document(json), yaml);
        assert_eq!(parse(yaml), serde_json::from_str::<serde_json::Value>(json).unwrap());
        assert_eq!(element(r#"{"a":1,"b":[2]}"#) + &element("3"), "- a: 1\n  b:\n    - 2\n- 3\n");
        assert_eq!(document("[]"), "[]\n");
    }

    #[test]
    fn string_that_yaml_could_read_as_another_type_is_quoted() {
        for value in [
            "",
            " ",
            "~",
            "null",
            "Null",
            "true",
            "FALSE",
            "yes",
            "No",
            "on",
            "OFF",
            "y",
            "N",
            "nan",
            ".nan",
            ".inf",
            "-.Inf",
            "0",
            "-1",
            "+1",
            "1e5",
            "1.5",
            ".5",
            "0x1f",
            "0o17",
            "1_000",
            "12:30:45",
            "203.0.113.7:40112",
            "2026-01-01",
            "2026-01-01T00:00:00Z",
            "-",
            "- a",
            "--- a",
            "...",
            "?",
            "? a",
            ":",
            "a: b",
            "a:",
            "a #b",
            "#a",
            "&a",
            "*a",
            "!a",
            "|",
            ">",
            "%a",
            "@a",
            "`a",
            "{a}",
            "[2001:db8::1]:5004",
            "a, b",
            "'a'",
            "\"a\"",
            " a",
            "a ",
            "a\tb",
            "a\nb\n",
            "\r",
            "\u{0}",
            "\u{1b}[2J",
            "\u{7f}",
            "\u{85}",
            "\u{9b}",
            "\u{2028}",
            "\u{feff}a",
            "\u{fffe}",
            "\u{ffff}",
            "Zürich",
            "東京 📺",
            "=",
            "<<",
            "\\",
            "1920x1080",
        ] {
            let yaml = string(value);
            assert!(yaml.starts_with('"') && yaml.ends_with('"'), "{yaml}");
            let json = serde_json::json!({ value: [value] });
            assert_eq!(parse(&document(&json.to_string())), json, "{yaml}");
        }
        for value in ["cam1", "_x", "HEVC", "ingest-1", "a/b.c", "e5", "nulls", "connecting"] {
            assert_eq!(string(value), value);
            assert_eq!(parse(&document(&format!("\"{value}\""))), value);
        }
    }

    #[test]
    fn long_key_is_written_on_its_own_line() {
        let json = serde_json::json!({ "k".repeat(5_000): { "a": 1 }, "b": { "x".repeat(2_000): [1, "2"] } });
        assert_eq!(parse(&document(&json.to_string())), json);
    }
}
