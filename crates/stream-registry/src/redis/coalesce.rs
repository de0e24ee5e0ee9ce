//! Coalesces concurrent single calls into few round trips, without waiting for more calls to arrive.
//!
//! If no call is in flight, a new call is sent at once, in the caller's own task. Otherwise, new calls wait and are
//! sent together in the next batch. Batches are cheaper, because most of the cost of a small call is its round trip.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};

use super::options::CALL_TIMEOUT;
use crate::error::{Error, ErrorKind, Result};
use crate::stream::StreamId;

/// Maximum number of calls in a batch. A larger batch would block the server noticeably.
const MAX_BATCH: usize = 128;

/// Maximum number of calls that a batch skips because it already has a call about the same stream. Without this limit,
/// many calls about one stream would make each batch search the whole queue.
const MAX_POSTPONED: usize = 512;

/// Time after which a failed batch counts as slow. The calls that are queued behind a slow batch fail too, instead of
/// waiting for another timeout.
const SLOW_FAILURE: Duration = Duration::from_millis(100);

/// A kind of call that can be coalesced.
#[async_trait]
pub(super) trait Job: Send + Sync + 'static {
    type Item: Send + Sync + 'static;
    type Answer: Send + 'static;
    /// Maximum number of batches in flight that need not be full. With two, the client prepares one batch while the
    /// server processes the other. With one, the batches are larger, which is faster if the server does most of the
    /// work.
    const MAX_IN_FLIGHT: usize;

    /// Returns the key of an item if a batch may contain only one item per key. Otherwise, returns `None`.
    fn key(item: &Self::Item) -> Option<&StreamId>;

    /// Sends all items in one round trip and returns one answer per item, in order.
    async fn run(&self, items: &[Self::Item]) -> Vec<Result<Self::Answer>>;
}

/// Maximum number of batches in flight if further calls would fill a whole batch.
const MAX_FULL_IN_FLIGHT: usize = 2;

/// A queued call.
struct Call<J: Job> {
    number: u64,
    item: J::Item,
    answer: oneshot::Sender<Result<J::Answer>>,
}

struct Queue<J: Job> {
    waiting: VecDeque<Call<J>>,
    /// Number of the next queued call.
    next: u64,
    in_flight: usize,
    /// Whether a call is in progress in its caller's task. Batches do not wait for this call, because its future may
    /// not be polled for a long time.
    direct: bool,
}

impl<J: Job> Queue<J> {
    /// Returns how many batches may be in flight now.
    fn max_in_flight(&self) -> usize {
        if self.waiting.len() < MAX_BATCH { J::MAX_IN_FLIGHT } else { J::MAX_IN_FLIGHT.max(MAX_FULL_IN_FLIGHT) }
    }
}

/// A slot for one batch in flight. The slot is released when the task of the batch ends for any reason.
struct Slot<J: Job> {
    coalescer: Arc<Coalescer<J>>,
    held: bool,
}

impl<J: Job> Drop for Slot<J> {
    fn drop(&mut self) {
        if self.held {
            self.coalescer.queue().in_flight -= 1;
        }
    }
}

/// A call that runs in its caller's task.
struct DirectCall<'a, J: Job>(&'a Coalescer<J>);

impl<J: Job> Drop for DirectCall<'_, J> {
    fn drop(&mut self) {
        self.0.queue().direct = false;
    }
}

/// Queues and batches calls of one kind.
pub(super) struct Coalescer<J: Job> {
    job: J,
    queue: Mutex<Queue<J>>,
}

impl<J: Job> Coalescer<J> {
    pub(super) fn new(job: J) -> Arc<Self> {
        Arc::new(Self {
            job,
            queue: Mutex::new(Queue { waiting: VecDeque::new(), next: 0, in_flight: 0, direct: false }),
        })
    }

    fn queue(&self) -> MutexGuard<'_, Queue<J>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes one call, until the deadline at most. If the future is dropped before the call is sent, the call is never
    /// sent.
    ///
    /// # Errors
    ///
    /// Returns `Timeout` if the answer does not arrive in time. Returns `Unavailable` if the call was not even sent,
    /// because it waited for earlier calls. So it was not applied.
    pub(super) async fn call(self: &Arc<Self>, item: J::Item, deadline: Instant) -> Result<J::Answer> {
        let item = match self.begin_direct() {
            Some(_direct) => {
                let answers = timeout_at(deadline, self.job.run(std::slice::from_ref(&item))).await;
                return answers
                    .map_or_else(|_| Err(no_reply()), |mut answers| answers.pop().unwrap_or_else(|| Err(no_reply())));
            }
            None => item,
        };
        let (sender, answer) = oneshot::channel();
        let (number, start) = {
            let mut queue = self.queue();
            let number = queue.next;
            queue.next += 1;
            queue.waiting.push_back(Call { number, item, answer: sender });
            let start = queue.in_flight < queue.max_in_flight();
            queue.in_flight += usize::from(start);
            (number, start)
        };
        if start {
            // The batch runs in its own task, so that dropping one caller's future does not cancel other calls. The
            // slot is created outside the task, so that the slot is released even if the runtime shuts down and never
            // polls the task.
            tokio::spawn(Self::work(Slot { coalescer: Arc::clone(self), held: true }));
        }
        match timeout_at(deadline, answer).await {
            Ok(answer) => answer.unwrap_or_else(|_| {
                Err(Error::new(ErrorKind::Unavailable, "the runtime shut down before Redis answered")
                    .with_may_have_applied(true))
            }),
            // A slow network makes a call wait if there are many calls about its stream, because a batch contains only
            // one of them.
            Err(_) if self.withdraw(number) => {
                Err(Error::new(ErrorKind::Unavailable, "not sent, because earlier calls took too long; try again"))
            }
            Err(_) => Err(no_reply()),
        }
    }

    /// Removes a call from the queue, so that it is never sent. Returns false if it is no longer in the queue.
    fn withdraw(&self, number: u64) -> bool {
        let mut queue = self.queue();
        // Calls that have waited for long are at the front.
        let place = queue.waiting.iter().position(|call| call.number == number);
        place.and_then(|place| queue.waiting.remove(place)).is_some()
    }

    fn begin_direct(&self) -> Option<DirectCall<'_, J>> {
        let mut queue = self.queue();
        let idle = !queue.direct && queue.in_flight == 0;
        queue.direct |= idle;
        idle.then(|| DirectCall(self))
    }

    async fn work(mut slot: Slot<J>) {
        loop {
            let (items, senders): (Vec<_>, Vec<_>) = {
                let mut queue = slot.coalescer.queue();
                let mut batch: Vec<Call<J>> = Vec::new();
                let mut keys = HashSet::new();
                let mut postponed = VecDeque::new();
                // The slot counts as in flight. If the calls no longer fill an additional batch, another slot sends them.
                let may_send = queue.in_flight <= queue.max_in_flight();
                while may_send
                    && batch.len() < MAX_BATCH
                    && postponed.len() < MAX_POSTPONED
                    && let Some(call) = queue.waiting.pop_front()
                {
                    // Skips a call whose caller has dropped its future.
                    if call.answer.is_closed() {
                        continue;
                    }
                    match J::key(&call.item) {
                        // A second call about a stream waits for the next batch, so that each batch is one script call.
                        Some(key) if !keys.insert(key.clone()) => postponed.push_back(call),
                        _ => batch.push(call),
                    }
                }
                if !postponed.is_empty() {
                    postponed.append(&mut queue.waiting);
                    queue.waiting = postponed;
                }
                if batch.is_empty() {
                    // The slot is released while the queue is locked, so that the next call starts a new task.
                    queue.in_flight -= 1;
                    slot.held = false;
                    return;
                }
                batch.into_iter().map(|call| (call.item, call.answer)).unzip()
            };
            let started = Instant::now();
            let answers = timeout(CALL_TIMEOUT, slot.coalescer.job.run(&items)).await;
            let answers = answers.unwrap_or_else(|_| items.iter().map(|_| Err(no_reply())).collect());
            if started.elapsed() > SLOW_FAILURE && matches!(answers.first(), Some(Err(error)) if error.is_retryable()) {
                slot.coalescer.fail_waiting();
            }
            for (sender, answer) in senders.into_iter().zip(answers) {
                // Sending fails if the caller has dropped its future.
                let _ = sender.send(answer);
            }
            // Callers that have just received an answer often call again. While the other batch is in flight, this task
            // yields, so that the new calls join the next batch. Larger batches cost less, and the yield delays no
            // caller.
            if slot.coalescer.queue().in_flight > 1 {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Fails all queued calls. These calls have already waited as long as the failed batch, and sending them could
    /// double their wait.
    fn fail_waiting(&self) {
        let waiting = std::mem::take(&mut self.queue().waiting);
        for call in waiting {
            let _ = call.answer.send(Err(Error::new(
                ErrorKind::Unavailable,
                "not sent, because Redis did not answer the previous calls; try again",
            )));
        }
    }
}

/// Returns the error for a call that got no reply in time. The call may have been applied.
fn no_reply() -> Error {
    Error::new(ErrorKind::Timeout, "Redis did not answer in time")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join_all;
    use tokio::time::sleep;

    use super::*;

    /// A store whose answers take most of the time limit of a call.
    #[derive(Default)]
    struct Slow {
        sent: AtomicUsize,
    }

    #[async_trait]
    impl Job for Slow {
        type Item = StreamId;
        type Answer = ();
        const MAX_IN_FLIGHT: usize = 1;

        fn key(item: &StreamId) -> Option<&StreamId> {
            Some(item)
        }

        async fn run(&self, items: &[StreamId]) -> Vec<Result<()>> {
            self.sent.fetch_add(items.len(), Ordering::Relaxed);
            sleep(Duration::from_millis(900)).await;
            items.iter().map(|_| Ok(())).collect()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn queued_call_fails_at_its_deadline_and_is_never_sent() {
        let coalescer = Coalescer::new(Slow::default());
        let began = Instant::now();
        let call = |_| coalescer.call("cam1".parse().unwrap(), began + CALL_TIMEOUT);
        let answers = join_all((0..10).map(call)).await;
        assert!(began.elapsed() < CALL_TIMEOUT + Duration::from_millis(10), "{:?}", began.elapsed());
        // Two calls are sent at once, because the first one is sent in its caller's task.
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 3);
        let failed: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().err()).collect();
        let (sent, queued): (Vec<_>, Vec<_>) = failed.into_iter().partition(|error| error.may_have_applied());
        assert!(sent.len() == 1 && sent[0].kind() == ErrorKind::Timeout, "{sent:?}");
        let is_named = |error: &&Error| error.kind() == ErrorKind::Unavailable && error.message().contains("not sent");
        assert!(queued.len() == 6 && queued.iter().all(is_named), "{queued:?}");
        sleep(10 * CALL_TIMEOUT).await;
        assert_eq!(coalescer.job.sent.load(Ordering::Relaxed), 4);
        coalescer.call("cam1".parse().unwrap(), Instant::now() + CALL_TIMEOUT).await.unwrap();
    }
}
