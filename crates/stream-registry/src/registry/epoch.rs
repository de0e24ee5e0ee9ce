//! Generation of epochs and tombstones.
//!
//! Epochs of one stream increase in byte order, even if the store's clock goes back or the store loses its data. A later
//! holder therefore always has the greater epoch.

use crate::stream::{Epoch, Timestamp};

/// Maximum number of bytes that a new epoch copies from an epoch that another program generated.
const MAX_COPIED_BYTES: usize = 100;

/// Returns the content of a tombstone for a stream that was not leased: the time at which it ended.
///
/// The content is greater than every earlier epoch and less than every later epoch, in byte order.
pub(crate) fn timestamp(now: Timestamp) -> String {
    format!("{:016x}-", micros(now))
}

/// Returns the content of the tombstone for a stream that ends: the epoch of the stream, or a [`timestamp`] if the
/// stream was not leased.
///
/// The content of a tombstone never decreases. Otherwise, after the clock goes back, the store could accept a
/// holder that it rejected before.
///
/// `redis/lua/tombstones.lua` implements the same rule.
pub(crate) fn tombstone(epoch: Option<&Epoch>, now: Timestamp, previous: Option<&str>) -> String {
    let tombstone = epoch.map_or_else(|| timestamp(now), ToString::to_string);
    match previous {
        None => tombstone,
        Some(previous) if previous < tombstone.as_str() => tombstone,
        // The stream has no epoch, but was registered after the previous tombstone was written. So the new
        // tombstone must be greater than the previous one.
        Some(previous) if epoch.is_none() && !previous.ends_with('~') => format!("{previous}~"),
        Some(previous) => previous.to_owned(),
    }
}

/// Generates an epoch that is greater, in byte order, than all previous epochs and tombstones.
///
/// The form is `<time>-<random>`: the store's time in microseconds as 16 hexadecimal digits, a hyphen, and 16
/// random hexadecimal digits.
pub(crate) fn next<'a>(now: Timestamp, previous: impl IntoIterator<Item = &'a str>) -> Epoch {
    let new = at(micros(now));
    let string = match previous.into_iter().max() {
        Some(greatest) if greatest >= new.as_str() => greater_than(greatest),
        _ => new,
    };
    // The string consists of hexadecimal digits and characters of a valid epoch, so it is a valid epoch.
    string.parse().unwrap_or_else(|_| unreachable!("{string:?} is an epoch"))
}

fn at(micros: u64) -> String {
    format!("{micros:016x}-{:016x}", fastrand::u64(..))
}

fn greater_than(greatest: &str) -> String {
    let digits = greatest.get(..16).filter(|digits| digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')));
    let later = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok()).and_then(|micros| micros.checked_add(1));
    match later.map(at) {
        Some(later) if later.as_str() > greatest => later,
        _ => greater_than_foreign(greatest),
    }
}

/// Generates an epoch that is greater than an epoch in a form that another program chose.
///
/// The new epoch is a copy in which the last byte below `~` is incremented, followed by a random suffix. The suffix
/// replaces an earlier random suffix, so that epochs do not become longer.
fn greater_than_foreign(greatest: &str) -> String {
    let suffix = format!("-{:016x}", fastrand::u64(..));
    let copied = &greatest.as_bytes()[..greatest.len().min(MAX_COPIED_BYTES)];
    // A tombstone that another program has damaged can contain any character.
    let copied = &copied[..copied.iter().position(|byte| !byte.is_ascii_graphic()).unwrap_or(copied.len())];
    let is_suffix = |tail: &[u8]| tail[0] == b'-' && tail[1..].iter().all(u8::is_ascii_hexdigit);
    let base = match copied.len().checked_sub(suffix.len()) {
        Some(start) if start > 0 && is_suffix(&copied[start..]) => &copied[..start],
        _ => copied,
    };
    // An epoch consists of visible ASCII characters, of which the tilde is the greatest.
    let Some(last) = base.iter().rposition(|&byte| byte < b'~') else {
        return String::from_utf8_lossy(base).into_owned() + "~" + &suffix;
    };
    let mut incremented = base[..=last].to_vec();
    // The quote and the backslash are skipped, because an epoch without JSON escapes is cheaper to compare in Lua.
    incremented[last] += if matches!(incremented[last], b'!' | b'[') { 2 } else { 1 };
    String::from_utf8_lossy(&incremented).into_owned() + &suffix
}

fn micros(now: Timestamp) -> u64 {
    u64::try_from(now.as_unix_nanos() / 1_000).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epoch_after_a_damaged_tombstone_is_valid() {
        for damaged in ["x y", "z\u{7f}", "é", "~ ", " ", "", "\u{fffd}\u{fffd}"] {
            let epoch = next(Timestamp::ZERO, [damaged]);
            assert!(!epoch.as_str().is_empty(), "{damaged:?}");
        }
    }

    #[test]
    fn later_epoch_is_greater_even_when_the_clock_goes_back() {
        let now = Timestamp::from_unix_nanos(1_800_000_000_000_000_000);
        let later = Timestamp::from_unix_nanos(1_800_000_000_000_001_000);
        let first = next(now, []);
        assert_eq!(first.as_str().len(), 33);
        assert_ne!(first, next(now, []), "epochs are unique");
        assert!(next(later, []) > first);
        assert!(next(now, [first.as_str()]) > first, "the clock stands still");
        assert!(next(Timestamp::ZERO, [first.as_str()]) > first, "the clock went back");
        let ended = timestamp(now);
        assert!(next(now, [ended.as_str()]).as_str() > ended.as_str());
        assert!(next(later, []).as_str() > ended.as_str());
        assert!(next(Timestamp::from_unix_nanos(1_799_999_999_999_999_000), []).as_str() < ended.as_str());
    }

    #[test]
    fn tombstone_epoch_never_decreases() {
        let now = Timestamp::from_unix_nanos(1_800_000_000_000_000_000);
        let epoch = next(now, []);
        assert_eq!(tombstone(Some(&epoch), now, None), epoch.as_str());
        assert_eq!(tombstone(Some(&epoch), now, Some(epoch.as_str())), epoch.as_str());
        let later = tombstone(None, Timestamp::from_unix_nanos(1_800_000_000_000_001_000), Some(epoch.as_str()));
        assert!(later.as_str() > epoch.as_str() && later.ends_with('-'), "{later}");
        // First the clock stands still, then it goes back.
        for now in [now, Timestamp::ZERO] {
            let above = tombstone(None, now, Some(epoch.as_str()));
            assert!(above.as_str() > epoch.as_str(), "{above}");
            assert_eq!(tombstone(None, now, Some(&above)), above, "the epoch of a tombstone stays the same");
            assert!(next(now, [above.as_str()]).as_str() > above.as_str());
            assert_eq!(tombstone(Some(&epoch), now, Some(&above)), above);
        }
    }

    #[test]
    fn new_epoch_is_greater_than_that_of_another_program() {
        let now = Timestamp::from_unix_nanos(1_800_000_000_000_000_000);
        let (long, hyphens) = ("f".repeat(128), "-".repeat(128));
        let others = ["zzz", "~", "1", "~-0123456789abcdef", "ffffffffffffffff-ffffffffffffffff", "FFFFFFFFFFFFFFFF"];
        for other in others.into_iter().chain([&*long, &*hyphens]) {
            let mut before = other.to_owned();
            for _ in 0..40 {
                let new = next(now, [before.as_str()]);
                assert!(new.as_str() > before.as_str(), "{new} is not greater than {before}");
                before = new.to_string();
            }
        }
        assert!(next(now, ["zzz"]).as_str().len() <= 20, "the new epoch is too long");
    }
}
