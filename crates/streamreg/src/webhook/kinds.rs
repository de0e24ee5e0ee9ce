//! The kinds of events that a receiver gets.

use stream_registry::watch::Event;

/// The kinds of events about streams, as [`Event::as_str`] names them.
const ALL: [&str; 7] = ["registered", "updated", "status", "patched", "taken_over", "unregistered", "expired"];

/// Kinds of events. The default contains all of them.
#[derive(Clone, Debug)]
pub struct Kinds(Vec<&'static str>);

impl Default for Kinds {
    fn default() -> Self {
        Self(ALL.to_vec())
    }
}

impl Kinds {
    /// Selects kinds by their names.
    ///
    /// # Errors
    ///
    /// Returns a message if there is no name, or if a name is unknown.
    pub fn named<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let known = |name: &'a str| {
            let found = ALL.into_iter().find(|kind| *kind == name);
            found.ok_or_else(|| {
                let all = ALL.join(", ");
                format!("unknown event {name:?}; expected some of {all} (resync is always sent)")
            })
        };
        let kinds = names.into_iter().map(known).collect::<Result<Vec<_>, _>>()?;
        if kinds.is_empty() {
            return Err("expected at least one event; omit this key for all events".to_owned());
        }
        Ok(Self(kinds))
    }

    /// Returns whether the receiver gets an event. A resync is always sent, because events may have been lost.
    pub(super) fn contains(&self, event: &Event) -> bool {
        event.stream().is_none() || self.0.contains(&event.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_named_as_in_the_change_feed_and_include_resync() {
        let kinds = Kinds::named(["expired", "status"]).unwrap();
        let resync = r#"{"event":"resync","revision":"a-1"}"#;
        for name in ALL {
            let json = format!(r#"{{"event":"{name}","revision":"a-1","stream":{{"id":"a"}}}}"#);
            let event = Event::from_json(&json).unwrap();
            assert_eq!(kinds.contains(&event), ["expired", "status"].contains(&name), "{name}");
            assert!(Kinds::default().contains(&event));
        }
        assert!(kinds.contains(&Event::from_json(resync).unwrap()));
        assert!(
            Kinds::named(["ended"]).unwrap_err().starts_with("unknown event \"ended\"; expected some of registered,")
        );
        assert!(Kinds::named([]).unwrap_err().starts_with("expected at least one event"));
    }
}
