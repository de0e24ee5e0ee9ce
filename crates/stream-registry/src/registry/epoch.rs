//! Epochs: made so that later ones are greater, whatever became of the store meanwhile.

use crate::stream::{Epoch, Timestamp};

/// How much of a text that is no epoch of ours goes into a greater one.
const KEPT: usize = 100;

/// What an end mark holds in place of an epoch where the stream was not leased: when it ended. It is smaller than
/// every later epoch and greater than every earlier one.
pub(crate) fn stamp(now: Timestamp) -> String {
    format!("{:016x}-", micros(now))
}

/// What goes into an end mark: the epoch of the record that ends, or what stands for it; never less than what was
/// there, so that no clock that goes back lets a holder in again who was refused before.
///
/// `redis/lua/tombstones.lua` does the same.
pub(crate) fn mark(ending: Option<&Epoch>, now: Timestamp, before: Option<&str>) -> String {
    let mark = ending.map_or_else(|| stamp(now), ToString::to_string);
    match before {
        None => mark,
        Some(before) if before < mark.as_str() => mark,
        // Above a record without epoch there is its predecessor's, which ended, too.
        Some(before) if ending.is_none() && !before.ends_with('~') => format!("{before}~"),
        Some(before) => before.to_owned(),
    }
}

/// Makes an epoch that is greater, in byte order, than those seen: `0006…` (the store's microseconds in 16
/// hexadecimal digits), `-`, 16 random digits.
pub(crate) fn next<'a>(now: Timestamp, seen: impl IntoIterator<Item = &'a str>) -> Epoch {
    let made = make(micros(now));
    let text = match seen.into_iter().max() {
        Some(greatest) if greatest >= made.as_str() => above(greatest),
        _ => made,
    };
    // Hexadecimal digits, or visible characters of an epoch that was read.
    text.parse().unwrap_or_else(|_| unreachable!("{text:?} is an epoch"))
}

fn make(micros: u64) -> String {
    format!("{micros:016x}-{:016x}", fastrand::u64(..))
}

fn above(greatest: &str) -> String {
    let digits = greatest.get(..16).filter(|digits| digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')));
    let later = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok()).and_then(|micros| micros.checked_add(1));
    match later.map(make) {
        Some(later) if later.as_str() > greatest => later,
        _ => above_other(greatest),
    }
}

/// Makes one that is greater than another writer's, or than one that was made here: the last character that can be
/// is raised. It does not grow each time.
fn above_other(greatest: &str) -> String {
    let unique = format!("-{:016x}", fastrand::u64(..));
    let kept = &greatest.as_bytes()[..greatest.len().min(KEPT)];
    // Without what was made here the time before.
    let own = |tail: &[u8]| tail[0] == b'-' && tail[1..].iter().all(u8::is_ascii_hexdigit);
    let base = match kept.len().checked_sub(unique.len()) {
        Some(at) if at > 0 && own(&kept[at..]) => &kept[..at],
        _ => kept,
    };
    // An epoch is of visible ASCII characters, of which the tilde is the last. Quotes and backslashes are left out:
    // what JSON escapes is dearer to compare.
    let Some(at) = base.iter().rposition(|&byte| byte < b'~') else {
        return String::from_utf8_lossy(base).into_owned() + "~" + &unique;
    };
    let mut raised = base[..=at].to_vec();
    raised[at] += if matches!(raised[at], b'!' | b'[') { 2 } else { 1 };
    String::from_utf8_lossy(&raised).into_owned() + &unique
}

fn micros(now: Timestamp) -> u64 {
    u64::try_from(now.as_unix_nanos() / 1_000).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_epochs_are_greater() {
        let now = Timestamp::from_unix_nanos(1_800_000_000_000_000_000);
        let later = Timestamp::from_unix_nanos(1_800_000_000_000_001_000);
        let first = next(now, []);
        assert_eq!(first.as_str().len(), 33);
        assert_ne!(first, next(now, []), "epochs are unique");
        assert!(next(later, []) > first);
        assert!(next(now, [first.as_str()]) > first, "though the clock stands still");
        assert!(next(Timestamp::ZERO, [first.as_str()]) > first, "though the clock went back");
        let ended = stamp(now);
        assert!(next(now, [ended.as_str()]).as_str() > ended.as_str());
        assert!(next(later, []).as_str() > ended.as_str());
        assert!(next(Timestamp::from_unix_nanos(1_799_999_999_999_999_000), []).as_str() < ended.as_str());
    }

    #[test]
    fn a_mark_never_goes_back() {
        let now = Timestamp::from_unix_nanos(1_800_000_000_000_000_000);
        let epoch = next(now, []);
        assert_eq!(mark(Some(&epoch), now, None), epoch.as_str());
        assert_eq!(mark(Some(&epoch), now, Some(epoch.as_str())), epoch.as_str());
        let later = mark(None, Timestamp::from_unix_nanos(1_800_000_000_000_001_000), Some(epoch.as_str()));
        assert!(later.as_str() > epoch.as_str() && later.ends_with('-'), "{later}");
        // Within the same microsecond, and when the clock went back.
        for now in [now, Timestamp::ZERO] {
            let above = mark(None, now, Some(epoch.as_str()));
            assert!(above.as_str() > epoch.as_str(), "{above}");
            assert_eq!(mark(None, now, Some(&above)), above, "it does not grow");
            assert!(next(now, [above.as_str()]).as_str() > above.as_str());
            assert_eq!(mark(Some(&epoch), now, Some(&above)), above);
        }
    }

    #[test]
    fn epochs_of_other_writers_are_surpassed() {
        let now = Timestamp::from_unix_nanos(1_800_000_000_000_000_000);
        let (long, hyphens) = ("f".repeat(128), "-".repeat(128));
        let others = ["zzz", "~", "1", "~-0123456789abcdef", "ffffffffffffffff-ffffffffffffffff", "FFFFFFFFFFFFFFFF"];
        for other in others.into_iter().chain([&*long, &*hyphens]) {
            let mut before = other.to_owned();
            for _ in 0..40 {
                let made = next(now, [before.as_str()]);
                assert!(made.as_str() > before.as_str(), "{made} is not greater than {before}");
                before = made.to_string();
            }
        }
        assert!(next(now, ["zzz"]).as_str().len() <= 20, "it does not grow");
    }
}
