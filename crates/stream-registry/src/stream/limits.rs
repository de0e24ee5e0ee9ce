//! The limits of the values that a caller gives.

/// Upper bound of a stored record as JSON, in bytes.
pub const MAX_RECORD_BYTES: usize = 64 * 1024;
/// Upper bound of a leased record as JSON, in bytes, without its epoch, status and statistics.
///
/// The rest of [`MAX_RECORD_BYTES`] is reserved for epoch, status and statistics, so that the holder can always
/// register the stream again.
pub const MAX_LEASED_RECORD_BYTES: usize = 63 * 1024;
/// Upper bound of the nested levels of a record. The record itself is the first level.
///
/// Many readers cannot parse deeply nested JSON, so one such record would make a whole list unreadable to them.
pub const MAX_LEVELS: usize = 64;
/// Largest counter: 2^63 − 1.
pub const MAX_COUNT: u64 = i64::MAX as u64;
/// Largest number of labels of a stream.
pub const MAX_LABELS: usize = 64;
/// Upper bound of a label's name, in bytes.
pub const MAX_LABEL_NAME_BYTES: usize = 64;
/// Upper bound of a label's value, in bytes.
pub const MAX_LABEL_VALUE_BYTES: usize = 256;
/// Upper bound of any other string in a record, in bytes.
pub const MAX_STRING_BYTES: usize = 1024;
/// Upper bound of a stream id, in bytes.
pub const MAX_ID_BYTES: usize = 256;
/// Upper bound of a type or status, in bytes.
pub const MAX_TOKEN_BYTES: usize = 32;
/// Largest number of writes in one call of [`Registry::write`](crate::Registry::write).
pub const MAX_WRITES: usize = 1_000;
