//! What a registry does, one file a verb, with its script beside it.

pub(super) mod end;
pub(super) mod get;
pub(super) mod list;
pub(super) mod page;
pub(super) mod prune;
pub(super) mod register;
pub(super) mod replace;
pub(super) mod write;

use std::hash::BuildHasher as _;
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};

use crate::stream::StreamId;

/// How often a change is tried that others keep changing under our hands.
const TRIES: u32 = 16;

/// Waits a little, longer each time and by chance, so that two who disturb each other part.
async fn back_off(attempt: u32) {
    let most = 1_000 << attempt.min(5);
    tokio::time::sleep(Duration::from_micros(fastrand::u64(0..most))).await;
}

/// Lets the tasks of this process that read and replace one record do so one after the other: else those of
/// many would disturb one another more often than they try. Other processes are met by chance only.
pub(super) struct Turns {
    hasher: std::hash::RandomState,
    places: [Mutex<()>; 64],
}

impl Default for Turns {
    fn default() -> Self {
        Self { hasher: std::hash::RandomState::new(), places: std::array::from_fn(|_| Mutex::new(())) }
    }
}

impl Turns {
    async fn take(&self, id: &StreamId) -> MutexGuard<'_, ()> {
        let place = self.hasher.hash_one(id) % 64;
        self.places[usize::try_from(place).unwrap_or(0)].lock().await
    }
}

/// The error after the last try.
fn contended() -> crate::Error {
    crate::Error::new(
        crate::ErrorKind::Unavailable,
        "the record changes faster than it can be read and written; try again",
    )
}
