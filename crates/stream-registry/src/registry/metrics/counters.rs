//! The atomic counters of calls.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::histogram::Histogram;
use super::snapshot::{CallMetrics, OperationMetrics, RegistrationCounts, ResultCounts, WriteMetrics};
use crate::error::{Error, ErrorKind, OPERATIONS, Operation, Result};
use crate::registry::options::{Outcome, Registered};

/// Index of successes in [`Results`]. The indexes before it are those of the error kinds.
const OK: usize = ErrorKind::ALL.len();
/// Index of cancelled calls in [`Results`].
const CANCELLED: usize = OK + 1;

#[derive(Debug, Default)]
struct Results([AtomicU64; CANCELLED + 1]);

impl Results {
    fn add(&self, index: usize) {
        self.0[index].fetch_add(1, Ordering::Relaxed);
    }

    fn add_result<T>(&self, result: Result<&T, &Error>) {
        self.add(result.map_or_else(|error| error.kind() as usize, |_| OK));
    }

    fn get(&self, index: usize) -> u64 {
        self.0[index].load(Ordering::Relaxed)
    }

    /// Returns the counts; `None` if all are zero.
    fn read(&self) -> Option<ResultCounts> {
        let errors = ErrorKind::ALL.into_iter().map(|kind| (kind, self.get(kind as usize)));
        let counts = ResultCounts {
            ok: self.get(OK),
            errors: errors.filter(|(_, count)| *count > 0).collect(),
            cancelled: self.get(CANCELLED),
        };
        (counts != ResultCounts::default()).then_some(counts)
    }
}

#[derive(Debug, Default)]
struct Calls {
    durations: Histogram,
    results: Results,
}

#[derive(Debug, Default)]
struct Registrations {
    created: AtomicU64,
    renewed: AtomicU64,
    taken_over: AtomicU64,
    recovered: AtomicU64,
    rejected: AtomicU64,
    failed: AtomicU64,
}

/// The counters of a registry. Every array has an element per operation, so that no call needs a look-up.
#[derive(Debug, Default)]
pub(super) struct CallCounters {
    calls: [Calls; OPERATIONS.len()],
    writes: [Results; OPERATIONS.len()],
    registrations: Registrations,
}

impl CallCounters {
    /// Begins a call. If the returned value is dropped without a result, the call counts as cancelled.
    pub(super) fn begin(&self, operation: Operation) -> Call<'_> {
        Call { calls: &self.calls[operation as usize], started: Instant::now(), result: CANCELLED }
    }

    /// Counts the result of one write.
    pub(super) fn add_write(&self, change: Operation, result: Result<&(), &Error>) {
        self.writes[change as usize].add_result(result);
    }

    /// Counts the result of a registration.
    pub(super) fn add_registration(&self, recovers: bool, result: &Result<Registered>) {
        let counts = &self.registrations;
        let count = match result {
            Ok(Registered { outcome: Outcome::Created, .. }) if recovers => &counts.recovered,
            Ok(Registered { outcome: Outcome::Created, .. }) => &counts.created,
            Ok(Registered { outcome: Outcome::Renewed, .. }) => &counts.renewed,
            Ok(Registered { outcome: Outcome::TakenOver, .. }) => &counts.taken_over,
            Err(error) => match error.kind() {
                ErrorKind::AlreadyExists | ErrorKind::InvalidArgument | ErrorKind::NotFound | ErrorKind::NotHolder => {
                    &counts.rejected
                }
                _ => &counts.failed,
            },
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> CallMetrics {
        let operations = OPERATIONS.into_iter().filter_map(|operation| {
            let calls = &self.calls[operation as usize];
            let results = calls.results.read()?;
            Some(OperationMetrics { operation, durations: calls.durations.snapshot(), results })
        });
        let writes = OPERATIONS
            .into_iter()
            .filter_map(|operation| Some(WriteMetrics { operation, results: self.writes[operation as usize].read()? }));
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        CallMetrics {
            operations: operations.collect(),
            writes: writes.collect(),
            registrations: RegistrationCounts {
                created: count(&self.registrations.created),
                renewed: count(&self.registrations.renewed),
                taken_over: count(&self.registrations.taken_over),
                recovered: count(&self.registrations.recovered),
                rejected: count(&self.registrations.rejected),
                failed: count(&self.registrations.failed),
            },
        }
    }
}

/// A call in progress.
pub(super) struct Call<'a> {
    calls: &'a Calls,
    started: Instant,
    /// Index of the result in [`Results`].
    result: usize,
}

impl Call<'_> {
    /// Ends the call with its result.
    pub(super) fn end<T>(mut self, result: Result<&T, &Error>) {
        self.result = result.map_or_else(|error| error.kind() as usize, |_| OK);
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        // The duration is added first, so that a snapshot never contains a result without a duration.
        let elapsed: Duration = self.started.elapsed();
        self.calls.durations.observe(elapsed);
        self.calls.results.add(self.result);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_and_error_kind_has_its_own_counter() {
        for (index, operation) in OPERATIONS.into_iter().enumerate() {
            assert_eq!(operation as usize, index, "{operation}");
        }
        for (index, kind) in ErrorKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, index, "{kind}");
        }
        let counters = CallCounters::default();
        for kind in ErrorKind::ALL {
            counters.begin(Operation::Get).end::<()>(Err(&Error::new(kind, "test")));
        }
        let read = counters.read();
        assert_eq!(read.operations[0].results.errors, ErrorKind::ALL.map(|kind| (kind, 1)));
    }
}
