//! Cursors of `list_page`: the shard of the next page, and the scan position in its index.
//!
//! With one shard, the cursor has the format of a single server. With several shards, the cursor is the letter `c`, the
//! number of the shard as two hexadecimal digits, and the scan position as 16 hexadecimal digits.

use crate::error::Result;
use crate::registry::cursor;
use crate::stream::Cursor;

/// First character of the cursors of a single server.
const SINGLE: char = 'r';
/// First character of the cursors of several shards.
const CLUSTER: char = 'c';

/// Where a page begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) shard: usize,
    pub(super) scan: u64,
}

/// Creates the cursor of a page that begins at a place.
pub(super) fn make(place: Place, shards: usize) -> Result<Cursor> {
    match shards {
        1 => cursor::make(SINGLE, place.scan),
        _ => Ok(format!("{CLUSTER}{:02x}{:016x}", place.shard, place.scan).parse()?),
    }
}

/// Returns the place where the page of a cursor begins.
///
/// # Errors
///
/// Returns `InvalidCursor` if [`make`] did not create the cursor for this number of shards.
pub(super) fn read(text: &Cursor, shards: usize) -> Result<Place> {
    if shards == 1 {
        return Ok(Place { shard: 0, scan: cursor::read(SINGLE, text)? });
    }
    let place = || {
        let digits = text.as_str().strip_prefix(CLUSTER)?;
        let shard = usize::from_str_radix(digits.get(..2)?, 16).ok().filter(|shard| *shard < shards)?;
        let place = Place { shard, scan: u64::from_str_radix(digits.get(2..)?, 16).ok()? };
        (make(place, shards).ok()? == *text).then_some(place)
    };
    place().ok_or_else(cursor::invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_cursor_is_rejected_by_another_number_of_shards() {
        let place = |shard, scan| Place { shard, scan };
        for (place, shards) in [(place(0, 0), 1), (place(0, 7), 1), (place(0, 0), 2), (place(63, u64::MAX), 64)] {
            assert_eq!(read(&make(place, shards).unwrap(), shards).unwrap(), place);
        }
        let cursor = make(place(5, 7), 16).unwrap();
        assert_eq!(cursor.as_str(), "c050000000000000007");
        assert!(read(&cursor, 1).is_err() && read(&cursor, 4).is_err());
        assert!(read(&make(place(0, 7), 1).unwrap(), 16).is_err());
        for bad in
            ["c", "c05", "c05000000000000007", "c0500000000000000007", "c+50000000000000007", "c05000000000000000A"]
        {
            assert!(read(&bad.parse().unwrap(), 16).is_err(), "{bad}");
        }
    }
}
