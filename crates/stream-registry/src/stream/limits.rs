//! The limits that every border enforces.

/// The most bytes that a stored record has, as JSON.
pub const MAX_RECORD_BYTES: usize = 64 * 1024;
/// The most bytes that a leased record has without its epoch, status and statistics: with them it stays within
/// [`MAX_RECORD_BYTES`], whatever they become, so that its holder can register it again.
pub const MAX_LEASED_RECORD_BYTES: usize = 63 * 1024;
/// The largest counter: 2^63 − 1.
pub const MAX_COUNT: u64 = i64::MAX as u64;
/// The most labels that a stream has.
pub const MAX_LABELS: usize = 64;
/// The most bytes of a label's name.
pub const MAX_LABEL_NAME_BYTES: usize = 64;
/// The most bytes of a label's value.
pub const MAX_LABEL_VALUE_BYTES: usize = 256;
/// The most bytes of any other text of a record.
pub const MAX_TEXT_BYTES: usize = 1024;
/// The most bytes of a stream id.
pub const MAX_ID_BYTES: usize = 256;
/// The most bytes of a type or status.
pub const MAX_TOKEN_BYTES: usize = 32;
/// The most writes in one call of [`Registry::write`](crate::Registry::write).
pub const MAX_WRITES: usize = 1_000;
