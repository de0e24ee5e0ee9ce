//! Cursors of `list_page`: the shard of the next page, and the scan position in its index.
//!
//! The cursor of a single server is the letter `r`, the cursor of `SSCAN` as 16 hexadecimal digits, and the server as 8
//! hexadecimal digits. With several shards, it is the letter `c`, and the number of the shard as two hexadecimal digits
//! comes before these numbers. If the pages are those of one shard only, the letter is `s` instead:
//! [`Shard::pages`](crate::watch::Shard::pages) returns the first of these cursors.

use crate::error::Result;
use crate::redis::ops::page::ScanPosition;
use crate::registry::cursor;
use crate::stream::Cursor;

/// Where a page begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) shard: usize,
    pub(super) scan: ScanPosition,
    pub(super) extent: Extent,
}

/// The shards whose streams are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Extent {
    #[default]
    All,
    /// Only the shard in which the list begins.
    One,
}

/// Creates the cursor of a page that begins at a place.
pub(super) fn make(place: Place, shards: usize) -> Result<Cursor> {
    let ScanPosition { cursor, server } = place.scan;
    let shard = match place.extent {
        Extent::All if shards == 1 => "r".to_owned(),
        Extent::All => format!("c{:02x}", place.shard),
        Extent::One => format!("s{:02x}", place.shard),
    };
    Ok(format!("{shard}{cursor:016x}{server:08x}").parse()?)
}

/// Returns the place where the page of a cursor begins.
///
/// # Errors
///
/// Returns `InvalidCursor` if [`make`] did not create the cursor for this number of shards.
pub(super) fn read(text: &Cursor, shards: usize) -> Result<Place> {
    let place = || {
        let (kind, rest) = text.as_str().split_at_checked(1)?;
        let extent = match (kind, shards) {
            ("r", 1) | ("c", 2..) => Extent::All,
            ("s", 2..) => Extent::One,
            _ => return None,
        };
        let (shard, scan) = match shards {
            1 => (0, rest),
            _ => (usize::from_str_radix(rest.get(..2)?, 16).ok().filter(|shard| *shard < shards)?, rest.get(2..)?),
        };
        let cursor = u64::from_str_radix(scan.get(..16)?, 16).ok()?;
        let server = u32::from_str_radix(scan.get(16..)?, 16).ok()?;
        let place = Place { shard, scan: ScanPosition { cursor, server }, extent };
        // `from_str_radix` accepts several spellings of one number.
        (make(place, shards).ok()? == *text).then_some(place)
    };
    place().ok_or_else(cursor::invalid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::Shard;

    #[test]
    fn page_cursor_is_rejected_by_another_number_of_shards() {
        let place =
            |shard, cursor| Place { shard, scan: ScanPosition { cursor, server: 9 }, extent: Extent::default() };
        for (place, shards) in [(place(0, 0), 1), (place(0, 7), 1), (place(0, 0), 2), (place(63, u64::MAX), 64)] {
            assert_eq!(read(&make(place, shards).unwrap(), shards).unwrap(), place);
        }
        let cursor = make(place(5, 7), 16).unwrap();
        assert_eq!(cursor.as_str(), "c05000000000000000700000009");
        assert!(read(&cursor, 1).is_err() && read(&cursor, 4).is_err());
        assert!(read(&make(place(0, 7), 1).unwrap(), 16).is_err());
        for bad in [
            "c",
            "c05",
            "c050000000000000007",
            "c0500000000000000070000009",
            "c050000000000000007000000090",
            "c+5000000000000000700000009",
            "c0500000000000000070000000A",
        ] {
            assert!(read(&bad.parse().unwrap(), 16).is_err(), "{bad}");
        }
    }

    #[test]
    fn first_cursor_of_a_shard_is_read_only_by_registries_with_this_shard() {
        let cursor = Shard::new(5, 16).unwrap().pages();
        let first = Place { shard: 5, scan: ScanPosition::default(), extent: Extent::One };
        assert_eq!(read(&cursor, 16).unwrap(), first);
        let next = Place { scan: ScanPosition { cursor: 7, server: 9 }, ..first };
        assert_eq!(read(&make(next, 16).unwrap(), 16).unwrap(), next);
        assert!(read(&cursor, 1).is_err() && read(&cursor, 4).is_err());
    }
}
