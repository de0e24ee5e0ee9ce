//! Stream ids and their generator.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::invalid::{InvalidValue, Result};
use super::kind::StreamType;
use super::limits::MAX_ID_BYTES;
use super::time::Timestamp;

/// The id of a stream: 1 to 256 bytes of UTF-8. It is cheap to clone.
///
/// An id contains no control characters, and no white space at its start or end. Three ids are reserved: `active`
/// is the name of an index key, and `.` and `..` cannot be part of a URL.
///
/// ```
/// use stream_registry::StreamId;
///
/// let id = StreamId::new("studio \"A\" / cam 1")?;
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
    /// Returns [`InvalidValue`] if the id breaks a rule; the message names the rule.
    pub fn new(id: impl AsRef<str>) -> Result<Self> {
        let id = id.as_ref();
        check(id).map(|()| Self(id.into()))
    }

    /// Returns the id as a string.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn check(id: &str) -> Result<()> {
    let fault = if id.is_empty() {
        "is empty"
    } else if id.len() > MAX_ID_BYTES {
        "is longer than 256 bytes"
    } else if id.chars().any(char::is_control) {
        "contains a control character"
    } else if id.trim() != id {
        "begins or ends with white space"
    } else if matches!(id, "active" | "." | "..") {
        "is reserved (active, . and ..)"
    } else {
        return Ok(());
    };
    Err(InvalidValue::new(format!("the stream id {fault}; use 1 to 256 bytes of printable text")))
}

impl FromStr for StreamId {
    type Err = InvalidValue;

    fn from_str(id: &str) -> Result<Self> {
        Self::new(id)
    }
}

impl TryFrom<&str> for StreamId {
    type Error = InvalidValue;

    fn try_from(id: &str) -> Result<Self> {
        Self::new(id)
    }
}

impl TryFrom<String> for StreamId {
    type Error = InvalidValue;

    fn try_from(id: String) -> Result<Self> {
        Self::new(id)
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

/// Generates an id of the form `<type>_<YYYYMMDD>_<HHMMSS>_<counter>`, in UTC.
///
/// The counter has at least three digits and never decreases, so a process never generates the same id twice. For an id
/// that is unique across nodes, call [`Registry::register_new`](crate::Registry::register_new). `source_addr` is not part
/// of the id, because the id may be shown to people who must not see a publisher's address.
///
/// ```
/// use stream_registry::StreamType;
/// use stream_registry::stream::generate_stream_id;
///
/// let id = generate_stream_id(&StreamType::Srt, "203.0.113.7:40112");
/// assert!(id.as_str().starts_with("srt_2"));
/// ```
pub fn generate_stream_id(kind: &StreamType, _source_addr: &str) -> StreamId {
    static COUNTER: AtomicU64 = AtomicU64::new(1);
    let counter = COUNTER.fetch_add(1, Ordering::Relaxed);
    let second = Timestamp::now().compact();
    // A stored type may be any string; characters that an id cannot contain are omitted.
    let kind: String = kind.as_str().chars().filter(|c| !c.is_control() && !c.is_whitespace()).take(32).collect();
    let kind = if kind.is_empty() { "stream" } else { &kind };
    StreamId(format!("{kind}_{second}_{counter:03}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_id_is_well_formed_and_unique() {
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
    fn invalid_stream_id_is_rejected() {
        for good in ["a", "a b", "a/b", "a:b", "*", "{}", "\"'\\", "📺", "Active", "...", &"é".repeat(128)] {
            assert_eq!(good.parse::<StreamId>().unwrap().as_str(), good);
        }
        for bad in ["", " a", "a ", "\u{a0}a", "a\n", "a\0b", "\u{7f}", "\u{85}", "active", ".", "..", &"é".repeat(129)]
        {
            assert!(bad.parse::<StreamId>().is_err(), "{bad:?}");
        }
    }
}
