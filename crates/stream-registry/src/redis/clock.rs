//! The store's clock, as a client estimates it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use redis::aio::MultiplexedConnection;

use super::{fault, reply};
use crate::error::{Error, Result};
use crate::stream::Timestamp;

/// How long a measurement is good: quartz drifts some µs in that time.
const GOOD_FOR: Duration = Duration::from_secs(60);
/// Two clocks of one machine that part by this much tell of a suspended machine or a stepped clock.
const JUMP: Duration = Duration::from_secs(1);

/// One reading of the store's `TIME`. The estimate lags the store by at most the round trip of the reading.
#[derive(Clone, Copy, Debug)]
struct Reading {
    store: i128,
    at: Instant,
    at_wall: SystemTime,
}

/// What time it is at the store, without asking each time. Unread where the user may not ask: who only reads
/// needs no time.
#[derive(Debug)]
pub(super) struct StoreClock(Mutex<Option<Reading>>);

impl StoreClock {
    /// Reads the store's clock.
    pub(super) async fn measure(connection: &mut MultiplexedConnection) -> Result<Self> {
        let answer = connection.send_packed_command(&redis::cmd("TIME")).await.and_then(fault::checked);
        let reading = match answer {
            Err(error) if fault::is_no_permission(&error) => None,
            answer => Some(Self::reading(answer.map_err(|error| fault::translate(error, false))?)?),
        };
        Ok(Self(Mutex::new(reading)))
    }

    fn reading(answer: redis::Value) -> Result<Reading> {
        let (at, at_wall) = (Instant::now(), SystemTime::now());
        let [seconds, micros] = reply::array(answer)?
            .try_into()
            .map_err(|_| Error::new(crate::error::ErrorKind::Internal, "Redis answered a TIME of another shape"))?;
        let seconds = reply::number(&seconds)?;
        let micros = reply::number(&micros)?;
        Ok(Reading { store: i128::from(seconds) * 1_000_000_000 + i128::from(micros) * 1_000, at, at_wall })
    }

    fn read(&self) -> Option<Reading> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the estimate should be measured anew, and whether it must be before it is used.
    pub(super) fn staleness(&self) -> Staleness {
        let Some(reading) = self.read() else { return Staleness::Unusable };
        let passed = reading.at.elapsed();
        let passed_wall = reading.at_wall.elapsed().unwrap_or_default();
        if passed.abs_diff(passed_wall) > JUMP {
            Staleness::Unusable
        } else if passed > GOOD_FOR {
            Staleness::Old
        } else {
            Staleness::Fresh
        }
    }

    /// Keeps others from renewing at the same time, until the next minute.
    pub(super) fn begin_renewal(&self) {
        let mut reading = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(reading) = reading.as_mut() else { return };
        let (passed, now) = (reading.at.elapsed(), Instant::now());
        if passed.abs_diff(reading.at_wall.elapsed().unwrap_or_default()) <= JUMP {
            reading.store += i128::try_from(passed.as_nanos()).unwrap_or(0);
            (reading.at, reading.at_wall) = (now, SystemTime::now());
        }
    }

    /// Takes in the answer to a later `TIME`.
    pub(super) fn renew(&self, answer: redis::Value) -> Result<()> {
        let reading = Self::reading(answer)?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(reading);
        Ok(())
    }

    pub(super) fn now(&self) -> Timestamp {
        // Who asks has made sure that it was read; this machine's time stands in for it otherwise.
        let Some(reading) = self.read() else { return Timestamp::now() };
        let passed = i128::try_from(reading.at.elapsed().as_nanos()).unwrap_or(0);
        Timestamp::from_unix_nanos(reading.store + passed)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Staleness {
    Fresh,
    Old,
    Unusable,
}
