//! Waits for a condition with a deadline.

use std::panic::Location;
use std::time::{Duration, Instant};

/// Pause between two checks of a condition.
const CHECK_INTERVAL: Duration = Duration::from_millis(10);

/// Waits until `condition` returns true. Returns the elapsed time.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use std::time::Duration;
/// let mut checks = 0;
/// testkit::wait_until(Duration::from_secs(5), async || {
///     checks += 1;
///     checks == 3
/// })
/// .await;
/// # }
/// ```
///
/// # Panics
///
/// Panics if the condition is still false at the deadline; the message names the caller's line.
#[track_caller]
pub fn wait_until<C>(deadline: Duration, mut condition: C) -> impl Future<Output = Duration>
where
    C: AsyncFnMut() -> bool,
{
    let caller = Location::caller();
    async move {
        let start = Instant::now();
        while !condition().await {
            assert!(start.elapsed() < deadline, "{caller}: condition still false after {deadline:?}");
            tokio::time::sleep(CHECK_INTERVAL).await;
        }
        start.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    #[should_panic(expected = "condition still false after 30ms")]
    async fn wait_until_panics_at_the_deadline() {
        wait_until(Duration::from_millis(30), async || false).await;
    }
}
