//! Stream ids and their generator.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use super::invalid::{InvalidValue, Result};
use super::kind::StreamType;
use super::limits::MAX_ID_BYTES;
use super::time::Timestamp;

const NANOS_PER_SECOND: i128 = 1_000_000_000;

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
/// In each second, the counter begins at a random number of six digits, so programs on other nodes hardly ever generate
/// the same id. A process never generates the same id twice. If two programs must never get the same id, call
/// [`Registry::register_new`](crate::Registry::register_new). `source_addr` is not part of the id, because the id may
/// be shown to people who must not see a publisher's address.
///
/// ```
/// use stream_registry::StreamType;
/// use stream_registry::stream::generate_stream_id;
///
/// let id = generate_stream_id(&StreamType::Srt, "203.0.113.7:40112");
/// assert!(id.as_str().starts_with("srt_2"));
/// ```
pub fn generate_stream_id(kind: &StreamType, _source_addr: &str) -> StreamId {
    let (second, counter) = COUNTER.lock().unwrap_or_else(PoisonError::into_inner).next(this_second());
    let time = Timestamp::from_unix_nanos(i128::from(second) * NANOS_PER_SECOND).compact();
    // A stored type may be any string; characters that an id cannot contain are omitted.
    let kind: String = kind.as_str().chars().filter(|c| !c.is_control() && !c.is_whitespace()).take(32).collect();
    let kind = if kind.is_empty() { "stream" } else { &kind };
    StreamId(format!("{kind}_{time}_{counter:03}").into())
}

static COUNTER: Mutex<Counter> = Mutex::new(Counter { second: 0, number: 0 });

/// The numbers in generated ids. Each pair of a second and a number is returned once.
#[derive(Debug)]
struct Counter {
    /// The latest second for which a number was returned, in Unix time.
    second: u64,
    /// The last number in this second.
    number: u64,
}

impl Counter {
    /// Returns the next number, and its second. If the clock went back, this second is later than `now`.
    fn next(&mut self, now: u64) -> (u64, u64) {
        if now > self.second {
            self.second = now;
            self.number = fastrand::u64(100_000..1_000_000);
        } else {
            self.number += 1;
        }
        (self.second, self.number)
    }
}

fn this_second() -> u64 {
    u64::try_from(Timestamp::now().as_unix_nanos() / NANOS_PER_SECOND).unwrap_or(0)
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
    fn generated_counter_begins_each_second_at_a_random_number() {
        let mut first_numbers = std::collections::BTreeSet::new();
        for _process in 0..20 {
            let mut counter = Counter { second: 0, number: 0 };
            for now in 1..=20 {
                let (second, number) = counter.next(now);
                assert_eq!(counter.next(now), (second, number + 1));
                assert_eq!(second, now);
                first_numbers.insert(number);
            }
        }
        // A few of the 400 numbers may be equal by chance.
        assert!(first_numbers.len() > 380, "{}", first_numbers.len());
    }

    #[test]
    fn generated_numbers_stay_unique_when_the_clock_goes_back() {
        let mut counter = Counter { second: 0, number: 0 };
        let times = (100..200).chain(50..250).chain([250; 1_000]).chain(240..260);
        let returned: Vec<_> = times.map(|now| counter.next(now)).collect();
        let unique: std::collections::BTreeSet<_> = returned.iter().collect();
        assert_eq!(unique.len(), returned.len());
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
