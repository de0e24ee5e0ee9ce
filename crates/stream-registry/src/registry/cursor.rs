//! Cursors of `list_page`, for stores that number the positions of their streams.
//!
//! A cursor is a letter for the kind of store, followed by the position as 16 hexadecimal digits.

use crate::error::{Error, ErrorKind, Operation, Result};
use crate::stream::Cursor;

/// Creates the cursor for a position in a store of this kind.
pub(crate) fn make(kind: char, position: u64) -> Result<Cursor> {
    Ok(format!("{kind}{position:016x}").parse()?)
}

/// Returns the position in a cursor that a store of this kind has issued.
///
/// # Errors
///
/// Returns `InvalidCursor` if [`make`] did not create the cursor for this kind of store.
pub(crate) fn read(kind: char, cursor: &Cursor) -> Result<u64> {
    let position = || {
        let position = u64::from_str_radix(cursor.as_str().strip_prefix(kind)?, 16).ok()?;
        // `from_str_radix` accepts several spellings of one number, e.g. with a sign. The comparison rejects each
        // cursor that `make` would spell differently.
        (make(kind, position).ok()? == *cursor).then_some(position)
    };
    position().ok_or_else(invalid)
}

/// Returns the error for a cursor that a store of this kind has not issued.
pub(crate) fn invalid() -> Error {
    Error::new(ErrorKind::InvalidCursor, "the cursor does not belong to this store; start again without one")
        .with_operation(Operation::ListPage)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_cursor_is_rejected_by_another_kind_of_store() {
        for position in [0, 1, u64::MAX] {
            let cursor = make('m', position).unwrap();
            assert_eq!(read('m', &cursor).unwrap(), position);
            assert!(read('r', &cursor).is_err());
        }
        for bad in ["0", "m0", "m+000000000000001", "m000000000000000A", "m00000000000000000", "m", "é"] {
            let cursor = bad.parse::<Cursor>();
            assert!(cursor.map_or(true, |cursor| read('m', &cursor).is_err()), "{bad}");
        }
    }
}
