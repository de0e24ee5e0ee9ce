//! What a registry does, one file a verb, with its script beside it.

pub(super) mod end;
pub(super) mod get;
pub(super) mod list;
pub(super) mod page;
pub(super) mod prune;
pub(super) mod register;
pub(super) mod replace;
pub(super) mod sweep;
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

/// How long a change waits for its turn.
const PATIENCE: Duration = Duration::from_millis(500);

/// Lets the tasks of this process that read and replace one record do so one after the other: else those of
/// many would disturb one another more often than they try. Other processes are met by chance only.
pub(super) struct Turns {
    hasher: std::hash::RandomState,
    places: [Mutex<LastText>; 64],
}

/// The text that the last one who had the turn left in the store, for the next one: it need not read it.
pub(super) type LastText = Option<(StreamId, Vec<u8>)>;

impl Default for Turns {
    fn default() -> Self {
        Self { hasher: std::hash::RandomState::new(), places: std::array::from_fn(|_| Mutex::default()) }
    }
}

impl Turns {
    /// Waits for the turn, but not for long: who has it may be a future that its owner does not poll, and
    /// without it a change is as right, if not as quick. `text`, what is known of the record, becomes what
    /// the one before has made of it.
    async fn take(&self, id: &StreamId, text: &mut Vec<u8>) -> Option<MutexGuard<'_, LastText>> {
        let place = &self.places[usize::try_from(self.hasher.hash_one(id) % 64).unwrap_or(0)];
        if let Ok(mut turn) = place.try_lock() {
            // Nobody was before: what was just read is newer than what somebody left once.
            *turn = None;
            return Some(turn);
        }
        let mut turn = tokio::time::timeout(PATIENCE, place.lock()).await.ok()?;
        if let Some((_, left)) = turn.take().filter(|(of, _)| of == id) {
            *text = left;
        }
        Some(turn)
    }
}

/// The error after the last try.
fn contended() -> crate::error::Error {
    crate::error::Error::new(
        crate::error::ErrorKind::Unavailable,
        "the record changes faster than it can be read and written; try again",
    )
}
