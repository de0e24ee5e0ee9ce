//! Cursors that a store recognises as made by its kind.

use crate::stream::Cursor;
use crate::{Error, ErrorKind, Operation, Result};

/// Makes the cursor of a kind of store from the place where the next page begins.
pub(crate) fn make(kind: char, place: u64) -> Result<Cursor> {
    format!("{kind}{place:016x}{:08x}", check(kind, place)).parse()
}

/// Reads the place from a cursor, if a store of this kind made it.
pub(crate) fn read(kind: char, cursor: &Cursor) -> Result<u64> {
    let place = || {
        let text = cursor.as_str().strip_prefix(kind).filter(|rest| rest.len() == 24 && rest.is_ascii())?;
        let place = u64::from_str_radix(&text[..16], 16).ok()?;
        // Made again, since there are several spellings of a number.
        make(kind, place).ok().filter(|made| made == cursor).map(|_| place)
    };
    place().ok_or_else(|| {
        Error::new(ErrorKind::InvalidCursor, "this cursor is not one of this store's; begin again without one")
            .with_operation(Operation::ListPage)
    })
}

/// FNV-1a, 32 bits (draft-eastlake-fnv): tells a made cursor from a guess, not from a forgery.
fn check(kind: char, place: u64) -> u32 {
    let mut hash = 0x811c_9dc5_u32;
    for byte in place.to_be_bytes().into_iter().chain([kind as u8]) {
        hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_its_own_and_no_other() {
        for place in [0, 1, u64::MAX] {
            let cursor = make('m', place).unwrap();
            assert_eq!(read('m', &cursor).unwrap(), place);
            assert!(read('r', &cursor).is_err());
            let upper: Cursor = cursor.as_str().to_uppercase().parse().unwrap();
            assert!(read('m', &upper).is_err());
        }
        for text in ["0", "m0", "m0000000000000001deadbeef", "m+00000000000000100000000"] {
            assert!(read('m', &text.parse().unwrap()).is_err(), "{text}");
        }
    }
}
