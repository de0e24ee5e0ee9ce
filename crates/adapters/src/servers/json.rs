//! JSON from servers, read leniently: every field is parsed on its own, so one bad value does not affect the others.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;
use stream_registry::stream::limits::MAX_COUNT;

use super::{Answer, ReadError};

/// Returns the body as a string that a JSON parser accepts whatever the names of streams contain.
///
/// Some servers copy the bytes of a name as they are. Invalid UTF-8 and control characters are replaced; otherwise one
/// publisher with such a name would hide all other streams.
pub(super) fn text(body: &[u8]) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(body);
    if !body.iter().any(u8::is_ascii_control) {
        return text;
    }
    // A line break between two values may become a space, too.
    let printable = |c| match c {
        '\t' | '\n' | '\r' => ' ',
        c if c < ' ' => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    Cow::Owned(text.chars().map(printable).collect())
}

/// Returns the body of an answer with status 200, for a parser.
///
/// # Errors
///
/// Returns an error that names the request if the status is not 200.
pub(super) fn body<'a>(answer: &'a Answer, requested: &str) -> Result<Cow<'a, str>, ReadError> {
    match answer.status {
        200 => Ok(text(&answer.body)),
        status => {
            let hint = match status {
                401 | 403 => "; check the permissions of the API",
                404 => "; check the URL of the API",
                _ => "",
            };
            Err(ReadError::new(format!("the server answered {status} to the request for {requested}{hint}")))
        }
    }
}

/// A JSON object. A field that is missing, or whose value has another type, is `None`.
pub(crate) struct Object<'a>(BTreeMap<String, &'a RawValue>);

impl<'a> Object<'a> {
    /// Reads an object. Returns `None` if the JSON is invalid or is not an object.
    pub(crate) fn read(json: &'a str) -> Option<Self> {
        serde_json::from_str(json).ok().map(Self)
    }

    fn get<T: Deserialize<'a>>(&self, name: &str) -> Option<T> {
        serde_json::from_str(self.0.get(name)?.get()).ok()
    }

    /// Returns whether the field is null; `None` if it is missing.
    pub(super) fn is_null(&self, name: &str) -> Option<bool> {
        self.0.get(name).map(|value| value.get() == "null")
    }

    pub(super) fn string(&self, name: &str) -> Option<String> {
        self.get(name)
    }

    /// Returns an identifier, which some versions of a server send as a number. It is never empty.
    pub(crate) fn id(&self, name: &str) -> Option<String> {
        let id = self.string(name).or_else(|| self.get::<i64>(name).map(|number| number.to_string()))?;
        (!id.is_empty()).then_some(id)
    }

    pub(super) fn bool(&self, name: &str) -> Option<bool> {
        self.get(name)
    }

    pub(super) fn integer(&self, name: &str) -> Option<i64> {
        self.get(name)
    }

    /// Returns a string that is not empty.
    pub(super) fn word(&self, name: &str) -> Option<String> {
        self.string(name).filter(|word| !word.is_empty())
    }

    /// Returns a count. A count that is too large for a record is `None`.
    pub(crate) fn count(&self, name: &str) -> Option<u64> {
        self.get(name).filter(|count| *count <= MAX_COUNT)
    }

    /// Returns the first of several fields that has a count.
    pub(super) fn first_count(&self, names: &[&str]) -> Option<u64> {
        names.iter().find_map(|name| self.count(name))
    }

    /// Returns a finite number of at least 0.
    pub(crate) fn number(&self, name: &str) -> Option<f64> {
        self.get(name).filter(|number: &f64| number.is_finite() && *number >= 0.0)
    }

    /// Returns the names of all fields.
    pub(super) fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub(crate) fn object(&self, name: &str) -> Option<Self> {
        Self::read(self.0.get(name)?.get())
    }

    /// Returns the strings among the elements of an array.
    pub(super) fn strings(&self, name: &str) -> Vec<String> {
        let elements = self.array(name).unwrap_or_default();
        elements.into_iter().filter_map(|element| serde_json::from_str(element).ok()).collect()
    }

    /// Returns the elements of an array, each as JSON.
    pub(super) fn array(&self, name: &str) -> Option<Vec<&'a str>> {
        let values: Vec<&RawValue> = self.get(name)?;
        Some(values.into_iter().map(RawValue::get).collect())
    }

    /// Returns the elements of an array, each as JSON. A field that is missing or null counts as an empty array.
    pub(super) fn elements(&self, name: &str) -> Option<Vec<&'a str>> {
        if self.is_null(name).unwrap_or(true) { Some(Vec::new()) } else { self.array(name) }
    }
}
