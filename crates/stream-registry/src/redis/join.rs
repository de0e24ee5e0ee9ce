//! Joins concurrent single calls into few round trips, never waiting for company.
//!
//! A call that finds nothing under way goes out at once, alone, in its caller's own task. Calls that come
//! while others are under way go out together in the next. Most of a small call's cost, here and at the server, is the call itself.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::options::CALL_TIMEOUT;
use crate::error::{Error, ErrorKind, Result};
use crate::stream::StreamId;

/// The most calls that go together: more would hold the server noticeably.
const MOST: usize = 128;
/// How many joined calls are under way at once: while the server works on one, the client prepares the other.
const UNDER_WAY: usize = 2;

/// After a failure that took this long, those who waited for it are not made to wait for another.
const LONG: Duration = Duration::from_millis(100);

/// A kind of call that can be joined.
#[async_trait]
pub(super) trait Job: Send + Sync + 'static {
    type Item: Send + Sync + 'static;
    type Answer: Send + 'static;

    /// What must not come twice in one call, where there is such a thing.
    fn key(item: &Self::Item) -> Option<&StreamId>;

    /// Does all of them in one round trip and answers each, in order.
    async fn run(&self, items: &[Self::Item]) -> Vec<Result<Self::Answer>>;
}

/// A call that waits, and where its answer goes.
type Call<J> = (<J as Job>::Item, oneshot::Sender<Result<<J as Job>::Answer>>);

struct Queue<J: Job> {
    waiting: VecDeque<Call<J>>,
    under_way: usize,
    /// Whether a caller does its own call. Nobody waits for that one: its future may not be polled for long.
    alone: bool,
}

/// One of the calls under way; gives its place free when its task ends, however that ends.
struct Place<J: Job> {
    joiner: Arc<Joiner<J>>,
    held: bool,
}

impl<J: Job> Drop for Place<J> {
    fn drop(&mut self) {
        if self.held {
            self.joiner.queue().under_way -= 1;
        }
    }
}

/// The call that a caller does itself.
struct Alone<'a, J: Job>(&'a Joiner<J>);

impl<J: Job> Drop for Alone<'_, J> {
    fn drop(&mut self) {
        self.0.queue().alone = false;
    }
}

/// Queues calls of one kind.
pub(super) struct Joiner<J: Job> {
    job: J,
    queue: Mutex<Queue<J>>,
}

impl<J: Job> Joiner<J> {
    pub(super) fn new(job: J) -> Arc<Self> {
        Arc::new(Self { job, queue: Mutex::new(Queue { waiting: VecDeque::new(), under_way: 0, alone: false }) })
    }

    fn queue(&self) -> MutexGuard<'_, Queue<J>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does one call. When the future is dropped before the call went out, it does not go out.
    pub(super) async fn call(self: &Arc<Self>, item: J::Item) -> Result<J::Answer> {
        let item = match self.begin_alone() {
            Some(_alone) => {
                let answers = timeout(CALL_TIMEOUT, self.job.run(std::slice::from_ref(&item))).await;
                return answers.map_or_else(
                    |_| Err(no_answer()),
                    |mut answers| answers.pop().unwrap_or_else(|| Err(no_answer())),
                );
            }
            None => item,
        };
        let (sender, answer) = oneshot::channel();
        let start = {
            let mut queue = self.queue();
            queue.waiting.push_back((item, sender));
            let start = queue.under_way < UNDER_WAY;
            queue.under_way += usize::from(start);
            start
        };
        if start {
            // A task of its own, so that no caller's going away takes others' calls along. Its place is made
            // here: a runtime that ends may never give the task a turn.
            tokio::spawn(Self::work(Place { joiner: Arc::clone(self), held: true }));
        }
        // Without a time-out of its own, which would be a timer a call: the task answers in time.
        answer.await.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Unavailable, "the runtime ended before Redis answered")
                .with_may_have_applied(true))
        })
    }

    fn begin_alone(&self) -> Option<Alone<'_, J>> {
        let mut queue = self.queue();
        let free = !queue.alone && queue.under_way == 0;
        queue.alone |= free;
        free.then(|| Alone(self))
    }

    async fn work(mut place: Place<J>) {
        loop {
            let (items, senders): (Vec<_>, Vec<_>) = {
                let mut queue = place.joiner.queue();
                let mut taken: Vec<Call<J>> = Vec::new();
                let mut keys = HashSet::new();
                let mut left = VecDeque::new();
                while taken.len() < MOST
                    && let Some(call) = queue.waiting.pop_front()
                {
                    // Who has gone away meanwhile asks for nothing any more.
                    if call.1.is_closed() {
                        continue;
                    }
                    match J::key(&call.0) {
                        // A second write to one stream goes with the next call: so each call is one script.
                        Some(key) if !keys.insert(key.clone()) => left.push_back(call),
                        _ => taken.push(call),
                    }
                }
                if !left.is_empty() {
                    left.append(&mut queue.waiting);
                    queue.waiting = left;
                }
                if taken.is_empty() {
                    // In the same breath, so that a call that comes now starts anew.
                    queue.under_way -= 1;
                    place.held = false;
                    return;
                }
                taken.into_iter().unzip()
            };
            let began = Instant::now();
            let answers = timeout(CALL_TIMEOUT, place.joiner.job.run(&items)).await;
            let answers = answers.unwrap_or_else(|_| items.iter().map(|_| Err(no_answer())).collect());
            if began.elapsed() > LONG && matches!(answers.first(), Some(Err(error)) if error.is_retryable()) {
                place.joiner.give_up();
            }
            for (sender, answer) in senders.into_iter().zip(answers) {
                // Nobody may be waiting any more.
                let _ = sender.send(answer);
            }
            // While the server is busy with the other call, those who were answered may call again first: larger
            // calls cost less, and nobody waits for it.
            if place.joiner.queue().under_way > 1 {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Answers those who wait: they have waited as long as the calls that got no answer, and would wait as long again.
    fn give_up(&self) {
        let waiting = std::mem::take(&mut self.queue().waiting);
        for (_, sender) in waiting {
            let _ = sender.send(Err(Error::new(
                ErrorKind::Unavailable,
                "not sent, since Redis did not answer the calls before; try again",
            )));
        }
    }
}

fn no_answer() -> Error {
    Error::new(ErrorKind::Timeout, "Redis did not answer in time")
}
