//! The parts of a stored record that its typed fields cannot hold.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::value::RawValue;

/// Unknown fields and nonconforming values of a record. Most records have neither; then `Extra` is empty, and
/// cloning it costs nothing.
///
/// A value is *nonconforming* if a known field holds something that its type cannot express, such as `"bitrate":-5`
/// or a number in place of a string. The encoder writes the raw JSON of such a value again until the field is set
/// to a new value. So a change of one field does not destroy other values that another program wrote.
#[derive(Clone, Default)]
pub(crate) struct Extra(Option<Arc<Inner>>);

#[derive(Clone, Default)]
struct Inner {
    /// Unknown fields, in the order of the record.
    unknown: Vec<(Box<str>, Box<RawValue>)>,
    /// Raw JSON of known fields with a nonconforming value.
    nonconforming: Vec<(&'static str, Box<RawValue>)>,
}

impl Extra {
    pub(super) fn new(
        unknown: Vec<(Box<str>, Box<RawValue>)>,
        nonconforming: Vec<(&'static str, Box<RawValue>)>,
    ) -> Self {
        let is_empty = unknown.is_empty() && nonconforming.is_empty();
        Self((!is_empty).then(|| Arc::new(Inner { unknown, nonconforming })))
    }

    /// Returns the raw JSON of a field if its value is nonconforming.
    pub(super) fn nonconforming(&self, name: &str) -> Option<&str> {
        let inner = self.0.as_ref()?;
        inner.nonconforming.iter().find(|(field, _)| *field == name).map(|(_, raw)| raw.get())
    }

    /// Returns the names and the raw JSON of the unknown fields.
    pub(super) fn unknown(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().flat_map(|inner| inner.unknown.iter().map(|(name, raw)| (&**name, raw.get())))
    }

    /// Copies the nonconforming value of a field, if any, from another record. Must be called whenever the field
    /// itself is copied.
    pub(crate) fn copy_nonconforming(&mut self, name: &'static str, from: &Extra) {
        if self.nonconforming(name).is_some() || from.nonconforming(name).is_some() {
            self.edit(|Inner { nonconforming, .. }| {
                nonconforming.retain(|(field, _)| *field != name);
                nonconforming.extend(from.nonconforming(name).and_then(to_raw).map(|raw| (name, raw)));
            });
        }
    }

    /// Discards the nonconforming values of fields that are set to new values.
    pub(crate) fn discard_nonconforming(&mut self, names: &[&str]) {
        if names.iter().any(|name| self.nonconforming(name).is_some()) {
            self.edit(|inner| inner.nonconforming.retain(|(field, _)| !names.contains(field)));
        }
    }

    /// If `value` is `Some`, sets a field of the record and discards the nonconforming value of the field.
    pub(super) fn set_if_some<T>(&mut self, name: &str, field: &mut T, value: Option<T>) {
        if let Some(value) = value {
            self.discard_nonconforming(&[name]);
            *field = value;
        }
    }

    /// Discards the nonconforming values of single labels that are set or removed.
    pub(super) fn discard_labels<'n>(&mut self, names: impl Iterator<Item = &'n String>) {
        let Some(raw) = self.nonconforming("labels") else { return };
        // If the nonconforming value of `labels` is not an object, it cannot be combined with the new labels.
        let mut labels: BTreeMap<String, Box<RawValue>> = serde_json::from_str(raw).unwrap_or_default();
        for name in names {
            labels.remove(name);
        }
        let raw = serde_json::value::to_raw_value(&labels).ok();
        self.edit(|Inner { nonconforming, .. }| {
            nonconforming.retain(|(field, _)| *field != "labels");
            nonconforming.extend(raw.map(|raw| ("labels", raw)));
        });
    }

    /// Adds the unknown fields of another record that this record lacks.
    pub(super) fn add_unknown(&mut self, from: &Extra) {
        let is_new = |name: &str| self.unknown().all(|(mine, _)| mine != name);
        let added: Vec<(Box<str>, Box<RawValue>)> = from
            .unknown()
            .filter(|(name, _)| is_new(name))
            .filter_map(|(name, raw)| Some((name.into(), to_raw(raw)?)))
            .collect();
        if !added.is_empty() {
            self.edit(|inner| inner.unknown.extend(added));
        }
    }

    fn edit(&mut self, edit: impl FnOnce(&mut Inner)) {
        let mut inner = self.0.as_deref().cloned().unwrap_or_default();
        edit(&mut inner);
        *self = Self::new(inner.unknown, inner.nonconforming);
    }
}

fn to_raw(json: &str) -> Option<Box<RawValue>> {
    RawValue::from_string(json.to_owned()).ok()
}

/// Compares the unknown fields only: nonconforming values do not make two records different.
impl PartialEq for Extra {
    fn eq(&self, other: &Self) -> bool {
        self.unknown().eq(other.unknown())
    }
}

impl fmt::Debug for Extra {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.unknown()).finish()
    }
}
