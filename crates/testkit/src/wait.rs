//! Waiting for a condition with a deadline.

use std::panic::Location;
use std::time::{Duration, Instant};

/// How long to wait between two looks at a condition.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Waits until `condition` holds, and returns how long that took.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use std::time::Duration;
/// let mut looks = 0;
/// testkit::wait_until(Duration::from_secs(5), async || {
///     looks += 1;
///     looks == 3
/// })
/// .await;
/// # }
/// ```
///
/// # Panics
///
/// When the condition does not hold at the deadline; the message names the caller's line.
#[track_caller]
pub fn wait_until<C>(deadline: Duration, mut condition: C) -> impl Future<Output = Duration>
where
    C: AsyncFnMut() -> bool,
{
    let caller = Location::caller();
    async move {
        let start = Instant::now();
        while !condition().await {
            assert!(start.elapsed() < deadline, "{caller}: the condition does not hold after {deadline:?}");
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        start.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    #[should_panic(expected = "does not hold after 30ms")]
    async fn the_deadline_is_a_failure() {
        wait_until(Duration::from_millis(30), async || false).await;
    }
}
