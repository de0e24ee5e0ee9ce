//! The keep-alive task: one for all leases of a [`Leases`](super::Leases), while there are any.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::task::{JoinError, JoinSet};

use super::cell::{Cell, Phase};
use super::clock::millis;
use super::gate::{self, Gate, Word};
use super::recover::recover;
use super::shared::Shared;
use super::write::{Batch, Turn, Turns, batch};

/// Batches under way at once: while the store works on one the next is made.
const BATCHES_AT_ONCE: usize = 4;
/// Recoveries under way at once.
const RECOVERIES_AT_ONCE: usize = 64;

/// How many places in the plan may be out of date, beyond as many as there are leases.
const SLACK: usize = 256;

/// A lease and when it is to be written; good while the lease still says the same.
#[derive(Debug)]
struct Due(u64, Arc<Cell>);

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}
impl Eq for Due {}
impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}

/// What a lease needs now.
enum Need {
    Nothing,
    Write,
    Recovery,
}

enum Event {
    Batch(Result<Batch, JoinError>),
    Recovery(Result<Word, JoinError>),
    /// The inbox, or the time.
    Look,
}

pub(super) struct Keeper {
    shared: Arc<Shared>,
    plan: BinaryHeap<Reverse<Due>>,
    urgent: Vec<Arc<Cell>>,
    lost: VecDeque<Arc<Cell>>,
    batches: JoinSet<Batch>,
    recoveries: JoinSet<Word>,
    /// Apart: when its memory is full a store takes heartbeats and refuses registrations.
    writing: Gate,
    recovering: Gate,
    /// By which interval the leases are planned.
    interval: Duration,
    /// When all leases were last made due at once.
    hurried: Option<u64>,
    /// When it was last said that streams were lost.
    told: Option<u64>,
}

impl Keeper {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            interval: shared.pace().heartbeat,
            shared,
            plan: BinaryHeap::new(),
            urgent: Vec::new(),
            lost: VecDeque::new(),
            batches: JoinSet::new(),
            recoveries: JoinSet::new(),
            writing: Gate::default(),
            recovering: Gate::default(),
            hurried: None,
            told: None,
        }
    }

    pub(super) async fn run(mut self) {
        // Those of a keeper whose runtime has ended; mostly the one that is new.
        self.plan_all(u64::MAX);
        loop {
            for cell in self.shared.take_inbox() {
                self.place(cell);
            }
            self.keep_pace();
            self.tidy();
            self.start();
            if self.batches.is_empty() && self.recoveries.is_empty() && self.shared.dismiss() {
                return;
            }
            match self.wait().await {
                Event::Look => {}
                Event::Batch(Ok(batch)) => self.after_batch(&batch),
                Event::Recovery(Ok(word)) => self.after_recovery(&word),
                Event::Batch(Err(error)) | Event::Recovery(Err(error)) => {
                    tracing::error!(%error, "a write of leases broke off; it is made again");
                }
            }
        }
    }

    /// Puts a lease where it belongs.
    fn place(&mut self, cell: Arc<Cell>) {
        let now = self.shared.clock.mono();
        let state = cell.lock();
        if state.busy || state.is_over() {
            // It comes again when the write has ended, or never.
            return;
        }
        let (urgent, due, held) = (state.urgent, state.due, state.phase == Phase::Held);
        drop(state);
        if urgent {
            self.urgent.push(cell);
        } else if !held && due <= now {
            self.lost.push_back(cell);
        } else {
            self.plan.push(Reverse(Due(due, cell)));
        }
    }

    /// Plans every lease anew, none later than this.
    fn plan_all(&mut self, latest: u64) {
        self.plan = BinaryHeap::with_capacity(self.shared.count());
        self.lost.clear();
        for cell in self.shared.cells() {
            {
                let mut state = cell.lock();
                if state.phase == Phase::Held {
                    state.due = state.due.min(latest);
                }
            }
            self.place(cell);
        }
    }

    /// Plans anew when most places are those of leases that have ended or were written sooner.
    fn tidy(&mut self) {
        if self.plan.len() > 2 * self.shared.count() + SLACK {
            self.plan_all(u64::MAX);
        }
    }

    /// Makes all leases due that were planned by a longer interval.
    fn keep_pace(&mut self) {
        let interval = self.shared.pace().heartbeat;
        if std::mem::replace(&mut self.interval, interval) > interval {
            self.plan_all(self.shared.clock.mono());
        }
    }

    /// Makes all leases due: there is a sign that the store has lost what it held.
    fn hurry(&mut self) {
        let now = self.shared.clock.mono();
        let pause = millis(self.shared.pace().heartbeat) / 2;
        if self.hurried.is_some_and(|before| now < before + pause) {
            return;
        }
        self.hurried = Some(now);
        self.plan_all(now);
    }

    /// Starts what is to be done now, as far as the store takes it.
    fn start(&mut self) {
        let now = self.shared.clock.mono();
        self.start_urgent();
        let room = self.writing.room(now, self.batches.len(), BATCHES_AT_ONCE);
        for _ in 0..room {
            let turns = self.next_batch(now);
            if turns.is_empty() {
                break;
            }
            self.batches.spawn(batch(Arc::clone(&self.shared), turns));
        }
        let mut room = self.recovering.room(now, self.recoveries.len(), RECOVERIES_AT_ONCE);
        while room > 0 {
            let Some(cell) = self.lost.pop_front() else { break };
            if cell.lock().phase == Phase::Held {
                continue;
            }
            if let Some((turn, _)) = Turn::take(&self.shared, &cell) {
                self.recoveries.spawn(recover(Arc::clone(&self.shared), turn));
                room -= 1;
            }
        }
    }

    /// What somebody waits for goes out whatever state the store is in: the caller is told.
    fn start_urgent(&mut self) {
        let mut turns = Vec::new();
        for cell in std::mem::take(&mut self.urgent) {
            match Turn::take(&self.shared, &cell) {
                Some((turn, false)) => turns.push(turn),
                Some((turn, true)) => {
                    self.recoveries.spawn(recover(Arc::clone(&self.shared), turn));
                }
                None => {}
            }
            if turns.len() == self.shared.pace().batch {
                self.batches.spawn(batch(Arc::clone(&self.shared), std::mem::take(&mut turns)));
            }
        }
        if !turns.is_empty() {
            self.batches.spawn(batch(Arc::clone(&self.shared), turns));
        }
    }

    /// Takes the leases that are due, and fills the batch with those that soon are.
    fn next_batch(&mut self, now: u64) -> Vec<Turn> {
        let early = millis(self.shared.pace().early());
        let mut turns = Vec::new();
        while turns.len() < self.shared.pace().batch {
            let until = if turns.is_empty() { now } else { now + early };
            match self.plan.peek() {
                Some(Reverse(Due(at, _))) if *at <= until => {}
                _ => break,
            }
            let Some(Reverse(Due(at, cell))) = self.plan.pop() else { break };
            match self.need(&cell, at) {
                Need::Nothing => {}
                Need::Recovery => self.lost.push_back(cell),
                Need::Write => match Turn::take(&self.shared, &cell) {
                    Some((turn, false)) => turns.push(turn),
                    // Its time was over just now: it comes again by the inbox.
                    Some((turn, true)) => drop(Turns::new(&self.shared, vec![turn])),
                    None => {}
                },
            }
        }
        turns
    }

    fn need(&self, cell: &Cell, at: u64) -> Need {
        let lived = self.shared.clock.lived();
        let mut state = cell.lock();
        if state.due != at || state.busy || state.is_over() {
            return Need::Nothing;
        }
        let deadline = state.confirmed.saturating_add(self.shared.ttl());
        if lived >= deadline {
            state.lose(deadline);
        }
        if state.phase == Phase::Held { Need::Write } else { Need::Recovery }
    }

    /// Waits for an answer, a message or the time.
    async fn wait(&mut self) -> Event {
        let shared = Arc::clone(&self.shared);
        let mut woken = pin!(shared.wake.notified());
        let timer = self.next_look().map(|at| tokio::time::sleep_until(shared.clock.instant(at)));
        let mut timer = pin!(timer);
        poll_fn(|context| {
            if let Poll::Ready(Some(done)) = self.batches.poll_join_next(context) {
                return Poll::Ready(Event::Batch(done));
            }
            if let Poll::Ready(Some(done)) = self.recoveries.poll_join_next(context) {
                return Poll::Ready(Event::Recovery(done));
            }
            let due = timer.as_mut().as_pin_mut().is_some_and(|timer| timer.poll(context).is_ready());
            if woken.as_mut().poll(context).is_ready() || due { Poll::Ready(Event::Look) } else { Poll::Pending }
        })
        .await
    }

    /// When something can be started that cannot be now. Where answers have to come first, they wake us.
    fn next_look(&self) -> Option<u64> {
        let batch = self.plan.peek().and_then(|Reverse(Due(at, _))| match self.writing.retry_at() {
            Some(retry) => self.batches.is_empty().then_some(retry.max(*at)),
            None => (self.batches.len() < BATCHES_AT_ONCE).then_some(*at),
        });
        let recovery = self.recovering.retry_at().filter(|_| !self.lost.is_empty() && self.recoveries.is_empty());
        batch.into_iter().chain(recovery).min()
    }

    fn after_batch(&mut self, batch: &Batch) {
        let now = self.shared.clock.mono();
        if let Some(error) = &batch.failure {
            if self.writing.failed(now, &self.shared.pace()) == gate::Turn::Failed {
                let leases = self.shared.count();
                tracing::warn!(%error, leases, "the store takes no heartbeats; they are tried until it does");
            }
            return;
        }
        if let gate::Turn::Back(away) = self.writing.succeeded(now) {
            tracing::info!(away_ms = away, leases = self.shared.count(), "the store takes heartbeats again");
            self.recovering.try_now();
            self.hurry();
        }
        let pause = millis(self.shared.pace().heartbeat);
        if batch.lost > 0 && self.told.is_none_or(|before| now >= before + pause) {
            self.told = Some(now);
            let (lost, of) = (batch.lost, batch.leases);
            tracing::warn!(lost, of, "the store does not know leased streams; those that nobody ended come back");
        }
        // One alone was rather ended by somebody.
        if batch.lost >= 2 && batch.lost * 10 >= batch.leases {
            self.hurry();
        }
    }

    fn after_recovery(&mut self, word: &Word) {
        let now = self.shared.clock.mono();
        match word {
            Word::None => {}
            Word::Fails(error) => {
                if self.recovering.failed(now, &self.shared.pace()) == gate::Turn::Failed {
                    tracing::warn!(%error, "the store takes no streams back; they are tried until it does");
                }
            }
            Word::Works => {
                if let gate::Turn::Back(away) = self.recovering.succeeded(now) {
                    tracing::info!(away_ms = away, "the store takes streams back again");
                    // Their heartbeats need not wait for their own pause.
                    self.writing.try_now();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Weak;

    use super::*;
    use crate::lease::{LeaseOptions, Leases};
    use crate::memory::MemoryRegistry;
    use crate::stream::{Stream, StreamStats, StreamType};

    fn leases() -> Leases {
        let registry = MemoryRegistry::with_ttl(Duration::from_secs(86_400)).unwrap();
        Leases::new(Arc::new(registry), LeaseOptions::default())
    }

    fn stream(name: &str) -> Stream {
        Stream::new(name.parse().unwrap(), StreamType::Srt, "h:1")
    }

    #[tokio::test]
    async fn what_has_ended_leaves_the_plan_long_before_it_would_have_been_due() {
        let leases = leases();
        let _held = leases.acquire(stream("held")).await.unwrap();
        let mut seen: Vec<Weak<Cell>> = Vec::new();
        for at in 0..3_000 {
            let lease = leases.acquire(stream(&format!("cam{at}"))).await.unwrap();
            seen.extend(leases.0.cells().iter().filter(|cell| cell.id == *lease.id()).map(Arc::downgrade));
            // The keeper plans it.
            tokio::task::yield_now().await;
            lease.release().await.unwrap();
        }
        tokio::task::yield_now().await;
        let kept = seen.iter().filter(|cell| cell.strong_count() > 0).count();
        assert_eq!(seen.len(), 3_000);
        assert!(kept <= SLACK + 10, "{kept} leases that have ended are kept");
    }

    #[tokio::test]
    async fn a_lease_that_is_written_at_once_leaves_no_places_behind() {
        let leases = leases();
        let lease = leases.acquire(stream("cam1")).await.unwrap();
        for bytes_received in 0..3_000 {
            lease.report(StreamStats { bytes_received, ..Default::default() });
            lease.flush().await.unwrap();
        }
        let cells = leases.0.cells();
        let places = Arc::strong_count(&cells[0]);
        assert!(places <= SLACK + 10, "{places} places of one lease");
    }
}
