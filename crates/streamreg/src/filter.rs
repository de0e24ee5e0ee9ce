//! Which streams are meant: the one filter of command line and server.

use clap::Args;
use stream_registry::{Stream, StreamPatch, StreamStatus, StreamType, limits};

/// Conditions on a stream; all that are given must hold.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
#[command(next_help_heading = "Which streams")]
pub struct Filter {
    /// Streams with this status
    #[arg(long)]
    pub status: Option<StreamStatus>,

    /// Streams of this type
    #[arg(long = "type", value_name = "TYPE")]
    pub kind: Option<StreamType>,

    /// Streams of this node; empty: of none
    #[arg(long, value_name = "NODE", value_parser = text)]
    pub node: Option<String>,

    /// Streams with this label, name=value; may be given several times: all of them
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    pub labels: Vec<(String, String)>,

    /// Streams with this text in id, source address, node or a label's value; upper and lower case are the same
    #[arg(long, value_name = "TEXT", value_parser = text)]
    pub search: Option<String>,
}

impl Filter {
    /// The names of the conditions, as queries have them.
    pub const NAMES: [&str; 5] = ["status", "type", "node", "label", "search"];

    /// Adds a condition by its name.
    ///
    /// # Errors
    ///
    /// One sentence that says what to write instead.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "status" => self.status = Some(value.parse().map_err(|error| word(&error))?),
            "type" => self.kind = Some(value.parse().map_err(|error| word(&error))?),
            "node" => self.node = Some(text(value).map_err(|fault| format!("node: {fault}"))?),
            "label" => {
                if self.labels.len() == limits::MAX_LABELS {
                    return Err(format!("a stream has at most {} labels", limits::MAX_LABELS));
                }
                self.labels.push(label(value).map_err(|fault| format!("label: {fault}"))?);
            }
            "search" => self.search = Some(text(value).map_err(|fault| format!("search: {fault}"))?),
            _ => return Err(format!("there is no condition {name:?}; known are {}", Self::NAMES.join(", "))),
        }
        Ok(())
    }

    /// Makes the condition, so that what is the same for all streams is done once.
    pub fn condition(&self) -> impl Fn(&Stream) -> bool {
        let search = self.search.as_ref().map(|text| text.to_lowercase()).filter(|text| !text.is_empty());
        move |stream| {
            self.status.as_ref().is_none_or(|status| *status == stream.status)
                && self.kind.as_ref().is_none_or(|kind| *kind == stream.kind)
                && self.node.as_ref().is_none_or(|node| node == stream.node.as_deref().unwrap_or_default())
                && self.labels.iter().all(|(name, value)| stream.labels.get(name) == Some(value))
                && search.as_ref().is_none_or(|text| holds(stream, text))
        }
    }
}

/// Whether a stream has a text that is in lower case already.
fn holds(stream: &Stream, search: &str) -> bool {
    let contains = |text: &str| text.to_lowercase().contains(search);
    contains(stream.id.as_str())
        || contains(&stream.source_addr)
        || stream.node.as_deref().is_some_and(contains)
        || stream.labels.values().any(|value| contains(value))
}

fn word(error: &stream_registry::Error) -> String {
    error.message().to_owned()
}

fn text(given: &str) -> Result<String, String> {
    if given.len() > limits::MAX_TEXT_BYTES {
        return Err(format!("it is longer than {} bytes", limits::MAX_TEXT_BYTES));
    }
    Ok(given.to_owned())
}

/// Reads `name=value`; an empty value is one too.
///
/// # Errors
///
/// One sentence that says what to write instead.
pub fn label(given: &str) -> Result<(String, String), String> {
    let (name, value) = given.split_once('=').ok_or_else(|| format!("{given:?} has no =; write name=value"))?;
    StreamPatch::default().label(name, value).check().map_err(|error| word(&error))?;
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(conditions: &[(&str, &str)]) -> Filter {
        let mut filter = Filter::default();
        for (name, value) in conditions {
            filter.set(name, value).unwrap();
        }
        filter
    }

    #[test]
    fn all_conditions_must_hold() {
        let mut one = Stream::new("Cam-1".parse().unwrap(), StreamType::Srt, "203.0.113.7:40112");
        one.node = Some("ingest-1".into());
        one.labels = [("site", "North"), ("tier", "1")].map(|(k, v)| (k.into(), v.into())).into();
        let two = Stream::new("cam2".parse().unwrap(), StreamType::Rtp, "[2001:db8::1]:5004");
        for (conditions, first, second) in [
            (&[][..], true, true),
            (&[("type", "srt")], true, false),
            (&[("status", "connecting")], true, true),
            (&[("status", "connecting"), ("type", "rtp")], false, true),
            (&[("node", "ingest-1")], true, false),
            (&[("node", "")], false, true),
            (&[("label", "site=North")], true, false),
            (&[("label", "site=north")], false, false),
            (&[("label", "site=North"), ("label", "tier=1")], true, false),
            (&[("label", "site=North"), ("label", "tier=2")], false, false),
            (&[("search", "CAM-")], true, false),
            (&[("search", "db8")], false, true),
            (&[("search", "north")], true, false),
            (&[("search", "INGEST")], true, false),
            (&[("search", "")], true, true),
        ] {
            let filter = filter(conditions);
            let condition = filter.condition();
            assert_eq!((condition(&one), condition(&two)), (first, second), "{conditions:?}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (name, value) in [
            ("status", ""),
            ("type", "a b"),
            ("label", "site"),
            ("label", "=x"),
            ("search", &"x".repeat(1_025)),
            ("node", &"x".repeat(1_025)),
            ("codec", "AV1"),
        ] {
            assert!(Filter::default().set(name, value).is_err(), "{name} {value}");
        }
    }
}
