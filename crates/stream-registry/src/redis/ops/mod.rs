//! What a registry does, one file a verb, with its script beside it.

pub(super) mod end;
pub(super) mod get;
pub(super) mod list;
pub(super) mod page;
pub(super) mod prune;
pub(super) mod register;
pub(super) mod replace;
pub(super) mod write;

use std::time::Duration;

/// How often a change is tried that others keep changing under our hands.
const TRIES: u32 = 16;

/// Waits a little, longer each time and by chance, so that two who disturb each other part.
async fn back_off(attempt: u32) {
    let most = 1_000 << attempt.min(5);
    tokio::time::sleep(Duration::from_micros(fastrand::u64(0..most))).await;
}

/// The error after the last try.
fn contended() -> crate::Error {
    crate::Error::new(
        crate::ErrorKind::Unavailable,
        "the record changes faster than it can be read and written; try again",
    )
}
