//! Stream ids and their generator.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::invalid::{InvalidValue, Result};
use super::limits::MAX_ID_BYTES;
use super::{StreamType, Timestamp};

/// The id of a stream: 1–256 bytes of UTF-8, checked. Cheap to clone.
///
/// No control characters, no leading or trailing white space, and not one of `active` (the name of
/// the index key), `.` and `..` (which no URL carries). Everything else round-trips.
///
/// ```
/// use stream_registry::StreamId;
/// let id: StreamId = "studio \"A\" / cam 1".parse()?;
/// assert_eq!(id.as_str(), "studio \"A\" / cam 1");
/// assert!("active".parse::<StreamId>().is_err());
/// # Ok::<(), stream_registry::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(Arc<str>);

impl StreamId {
    /// Checks an id.
    ///
    /// # Errors
    ///
    /// [`InvalidValue`] says which rule the id breaks.
    pub fn new(id: impl AsRef<str>) -> Result<Self> {
        let id = id.as_ref();
        check(id).map(|()| Self(id.into()))
    }

    /// Returns the id as a string.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn check(text: &str) -> Result<()> {
    let fault = if text.is_empty() {
        "is empty"
    } else if text.len() > MAX_ID_BYTES {
        "is longer than 256 bytes"
    } else if text.chars().any(char::is_control) {
        "has a control character"
    } else if text.trim() != text {
        "begins or ends with white space"
    } else if matches!(text, "active" | "." | "..") {
        "is reserved (active, . and .. are)"
    } else {
        return Ok(());
    };
    Err(InvalidValue::new(format!("the stream id {fault}; give 1 to 256 bytes of plain text")))
}

impl FromStr for StreamId {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self> {
        Self::new(text)
    }
}

impl TryFrom<&str> for StreamId {
    type Error = InvalidValue;

    fn try_from(text: &str) -> Result<Self> {
        text.parse()
    }
}

impl TryFrom<String> for StreamId {
    type Error = InvalidValue;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl AsRef<str> for StreamId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for StreamId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// Generates `<type>_<YYYYMMDD>_<HHMMSS>_<counter>` in UTC, the counter with at least three digits.
///
/// Within a process it never repeats, at any rate: the counter never goes back. Across nodes
/// [`Registry::register_new`](crate::Registry::register_new) makes an id unique. `source_addr` is
/// not part of the id, which may be shown to people who must not learn a publisher's address.
///
/// ```
/// use stream_registry::StreamType;
/// use stream_registry::stream::generate_stream_id;
/// let id = generate_stream_id(&StreamType::Srt, "203.0.113.7:40112");
/// assert!(id.as_str().starts_with("srt_2"));
/// ```
pub fn generate_stream_id(kind: &StreamType, _source_addr: &str) -> StreamId {
    static COUNTER: AtomicU64 = AtomicU64::new(1);
    let counter = COUNTER.fetch_add(1, Ordering::Relaxed);
    let second = Timestamp::now().compact();
    // A stored type is any text; what an id cannot carry is left out of it.
    let kind: String = kind.as_str().chars().filter(|c| !c.is_control() && !c.is_whitespace()).take(32).collect();
    let kind = if kind.is_empty() { "stream" } else { &kind };
    StreamId(format!("{kind}_{second}_{counter:03}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_ids_have_the_form_and_never_repeat() {
        let ids: std::collections::BTreeSet<_> =
            (0..10_000).map(|_| generate_stream_id(&StreamType::Rtp, "[::1]:5004")).collect();
        assert_eq!(ids.len(), 10_000);
        for id in &ids {
            let parts: Vec<_> = id.as_str().split('_').collect();
            assert_eq!((parts.len(), parts[0], parts[1].len(), parts[2].len()), (4, "rtp", 8, 6), "{id}");
            assert!(parts[3].len() >= 3);
            check(id.as_str()).unwrap();
        }
    }

    #[test]
    fn ids_at_the_limits() {
        for good in ["a", "a b", "a/b", "a:b", "*", "{}", "\"'\\", "📺", "Active", "...", &"é".repeat(128)] {
            assert_eq!(good.parse::<StreamId>().unwrap().as_str(), good);
        }
        for bad in ["", " a", "a ", "\u{a0}a", "a\n", "a\0b", "\u{7f}", "\u{85}", "active", ".", "..", &"é".repeat(129)]
        {
            assert!(bad.parse::<StreamId>().is_err(), "{bad:?}");
        }
    }
}
