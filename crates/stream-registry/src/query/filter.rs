//! The conditions that select streams.

use crate::stream::{InvalidValue, Stream, StreamPatch, StreamStatus, StreamType, limits};

/// Conditions on a live stream, all of which must hold. The default filter has no conditions and matches every
/// stream.
///
/// ```
/// use stream_registry::query::Filter;
/// use stream_registry::{Stream, StreamType};
///
/// let filter = Filter::default().kind(StreamType::Srt).label("site", "north").search("CAM");
/// let mut cam = Stream::new("cam1".parse()?, StreamType::Srt, "203.0.113.7:40112");
/// assert!(!filter.matches(&cam));
/// cam.labels.insert("site".into(), "north".into());
/// assert!(filter.matches(&cam));
/// # Ok::<(), stream_registry::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Filter {
    /// Selects streams with this status.
    pub status: Option<StreamStatus>,
    /// Selects streams of this type.
    pub kind: Option<StreamType>,
    /// Selects streams of this ingest node; an empty name selects streams without a node.
    pub node: Option<String>,
    /// Selects streams with all of these labels, each a pair of name and value.
    pub labels: Vec<(String, String)>,
    /// Selects streams whose id, source address, node or label values contain this string, ignoring case.
    pub search: Option<String>,
}

impl Filter {
    /// The names of the conditions in a query string.
    pub const NAMES: [&str; 5] = ["status", "type", "node", "label", "search"];

    /// Selects streams with this status.
    #[must_use]
    pub fn status(mut self, status: StreamStatus) -> Self {
        self.status = Some(status);
        self
    }

    /// Selects streams of this type.
    #[must_use]
    pub fn kind(mut self, kind: StreamType) -> Self {
        self.kind = Some(kind);
        self
    }

    /// Selects streams of this ingest node; an empty name selects streams without a node.
    #[must_use]
    pub fn node(mut self, node: impl Into<String>) -> Self {
        self.node = Some(node.into());
        self
    }

    /// Selects streams with this label, in addition to earlier labels.
    #[must_use]
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.push((name.into(), value.into()));
        self
    }

    /// Selects streams whose id, source address, node or label values contain this string, ignoring case.
    #[must_use]
    pub fn search(mut self, string: impl Into<String>) -> Self {
        self.search = Some(string.into());
        self
    }

    /// Adds a condition by its name in a query string, one of [`NAMES`](Self::NAMES).
    ///
    /// # Errors
    ///
    /// Returns [`InvalidValue`] if the name is unknown or the value is outside its limits.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), InvalidValue> {
        match name {
            "status" => self.status = Some(value.parse()?),
            "type" => self.kind = Some(value.parse()?),
            "node" => self.node = Some(value.to_owned()),
            "label" => self.labels.push(label(value)?),
            "search" => self.search = Some(value.to_owned()),
            _ => {
                let known = Self::NAMES.join(", ");
                return Err(InvalidValue::new(format!("unknown filter {name:?}; expected one of {known}")));
            }
        }
        self.check()
    }

    /// Checks the limits of the conditions. Every store calls this method before it answers a query.
    ///
    /// # Errors
    ///
    /// Returns [`InvalidValue`] if a condition is outside the limits of a record, if the search contains a NUL
    /// character, or if the name of a label contains `=`. (A query string cannot express such a name.)
    pub fn check(&self) -> Result<(), InvalidValue> {
        check_string("node", self.node.as_deref())?;
        check_string("search", self.search.as_deref())?;
        // A search reads several strings of a stream, which are joined with NUL characters.
        if self.search.as_ref().is_some_and(|search| search.contains('\0')) {
            return Err(InvalidValue::new("search contains a NUL character; remove it"));
        }
        if self.labels.len() > limits::MAX_LABELS {
            let message = format!("too many labels; a stream has at most {}", limits::MAX_LABELS);
            return Err(InvalidValue::new(message));
        }
        for (name, value) in &self.labels {
            if name.contains('=') {
                return Err(InvalidValue::new(format!(
                    "invalid label name {name:?}; a filter cannot select a name with ="
                )));
            }
            StreamPatch::default().label(name, value).check()?;
        }
        Ok(())
    }

    /// Returns the conditions as pairs of name and value, which [`set`](Self::set) accepts.
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        let mut pairs = Vec::new();
        pairs.extend(self.status.as_ref().map(|status| ("status", status.to_string())));
        pairs.extend(self.kind.as_ref().map(|kind| ("type", kind.to_string())));
        pairs.extend(self.node.as_ref().map(|node| ("node", node.clone())));
        pairs.extend(self.labels.iter().map(|(name, value)| ("label", format!("{name}={value}"))));
        pairs.extend(self.search.as_ref().map(|search| ("search", search.clone())));
        pairs
    }

    /// Returns whether the filter has no conditions, so that every stream matches.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns whether a stream matches. For many streams, [`matcher`](Self::matcher) is faster.
    pub fn matches(&self, stream: &Stream) -> bool {
        self.matcher()(stream)
    }

    /// Returns a function that checks the conditions. Work that does not depend on the stream is done once, in
    /// advance.
    pub fn matcher(&self) -> impl Fn(&Stream) -> bool {
        let search = self.lower_case_search();
        move |stream| {
            self.fields_match(stream) && search.as_ref().is_none_or(|string| searched_string(stream).contains(string))
        }
    }

    /// Returns whether the filter has conditions other than the search.
    pub(crate) fn has_field_conditions(&self) -> bool {
        self.status.is_some() || self.kind.is_some() || self.node.is_some() || !self.labels.is_empty()
    }

    /// Returns whether all conditions except the search hold.
    pub(crate) fn fields_match(&self, stream: &Stream) -> bool {
        self.status.as_ref().is_none_or(|status| *status == stream.status)
            && self.kind.as_ref().is_none_or(|kind| *kind == stream.kind)
            && self.node.as_ref().is_none_or(|node| node == stream.node.as_deref().unwrap_or_default())
            && self.labels.iter().all(|(name, value)| stream.labels.get(name) == Some(value))
    }

    /// Returns the string to find in a [`searched_string`]; `None` if there is nothing to search for.
    pub(crate) fn lower_case_search(&self) -> Option<String> {
        self.search.as_deref().map(fold).filter(|search| !search.is_empty())
    }
}

/// Returns the strings of a stream that a search reads, in lower case, separated by NUL.
pub(crate) fn searched_string(stream: &Stream) -> String {
    let mut searched = fold(stream.id.as_str());
    let strings = [Some(&stream.source_addr), stream.node.as_ref()];
    for string in strings.into_iter().flatten().chain(stream.labels.values()) {
        searched.push('\0');
        searched.push_str(&fold(string));
    }
    searched
}

/// Returns a string in lower case, character by character.
///
/// [`str::to_lowercase`] converts a capital sigma differently at the end of a word. So a search for the beginning
/// of a word could miss the word.
fn fold(string: &str) -> String {
    if string.is_ascii() {
        return string.to_ascii_lowercase();
    }
    let lower = |character: char| if character == 'ς' { 'σ' } else { character };
    string.chars().flat_map(char::to_lowercase).map(lower).collect()
}

/// Returns whether [`searched_string`] is the same for two records of one stream.
pub(crate) fn has_same_searched_string(one: &Stream, other: &Stream) -> bool {
    one.source_addr == other.source_addr && one.node == other.node && one.labels == other.labels
}

/// Checks the length of a string in a condition.
pub(super) fn check_string(name: &str, string: Option<&str>) -> Result<(), InvalidValue> {
    if string.is_some_and(|string| string.len() > limits::MAX_STRING_BYTES) {
        return Err(InvalidValue::new(format!("{name} is longer than {} bytes", limits::MAX_STRING_BYTES)));
    }
    Ok(())
}

/// Parses a label of the form `name=value`; the value may be empty.
///
/// # Errors
///
/// Returns [`InvalidValue`] if there is no `=` or if the name or the value is outside its limits.
pub fn label(pair: &str) -> Result<(String, String), InvalidValue> {
    let (name, value) = pair
        .split_once('=')
        .ok_or_else(|| InvalidValue::new(format!("invalid label {pair:?}; expected name=value")))?;
    StreamPatch::default().label(name, value).check()?;
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
    fn filter_matches_only_if_all_conditions_hold() {
        let mut one = Stream::new("Cam-1".parse().unwrap(), StreamType::Srt, "203.0.113.7:40112");
        one.node = Some("ingest-1".into());
        one.labels =
            [("site", "North"), ("tier", "1"), ("ship", "ὈΔΥΣΣΕΎΣ-2")].map(|(k, v)| (k.into(), v.into())).into();
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
            (&[("search", "Ὀδυσσεύς")], true, false),
            (&[("search", "ΣΣΕΎΣ-2")], true, false),
        ] {
            let filter = filter(conditions);
            let condition = filter.matcher();
            assert_eq!((condition(&one), condition(&two)), (first, second), "{conditions:?}");
        }
    }

    #[test]
    fn invalid_filter_condition_is_rejected() {
        for (name, value) in [
            ("status", ""),
            ("type", "a b"),
            ("label", "site"),
            ("label", "=x"),
            ("search", &"x".repeat(1_025)),
            ("search", "a\0b"),
            ("node", &"x".repeat(1_025)),
            ("codec", "AV1"),
        ] {
            assert!(Filter::default().set(name, value).is_err(), "{name} {value}");
        }
    }
}
