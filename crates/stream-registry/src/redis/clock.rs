//! A client-side estimate of the server's clock.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use redis::aio::MultiplexedConnection;

use super::{fault, reply};
use crate::error::{Error, ErrorKind, Result};
use crate::stream::Timestamp;

/// How long a reading of the server's clock stays fresh. In this time, two clocks drift apart by a few milliseconds at
/// most.
const FRESH_FOR: Duration = Duration::from_secs(60);
/// Maximum difference between the elapsed times on the monotonic clock and on the wall clock. A larger difference means
/// that the machine was suspended or a clock was adjusted.
const JUMP: Duration = Duration::from_secs(1);

/// One reading of the server's clock with `TIME`. Estimates from this reading lag behind the server's clock by at most
/// one round trip.
#[derive(Clone, Copy, Debug)]
struct Reading {
    server_nanos: i128,
    at: Instant,
    at_wall: SystemTime,
}

/// Estimates the server's time without a round trip. There is no reading if the Redis user lacks the permission for
/// `TIME`. Only writes need this permission.
#[derive(Debug)]
pub(super) struct StoreClock(Mutex<Option<Reading>>);

impl StoreClock {
    /// Reads the server's clock.
    pub(super) async fn measure(connection: &mut MultiplexedConnection) -> Result<Self> {
        let answer = connection.send_packed_command(&redis::cmd("TIME")).await.and_then(reply::checked);
        let reading = match answer {
            Err(error) if fault::is_no_permission(&error) => None,
            answer => Some(Self::parse(answer.map_err(|error| fault::translate(error, false))?)?),
        };
        Ok(Self(Mutex::new(reading)))
    }

    fn parse(answer: redis::Value) -> Result<Reading> {
        let (at, at_wall) = (Instant::now(), SystemTime::now());
        let [seconds, micros] = reply::array(answer)?
            .try_into()
            .map_err(|_| Error::new(ErrorKind::Internal, "unexpected reply from Redis to TIME"))?;
        let seconds = reply::number(&seconds)?;
        let micros = reply::number(&micros)?;
        Ok(Reading { server_nanos: i128::from(seconds) * 1_000_000_000 + i128::from(micros) * 1_000, at, at_wall })
    }

    fn read(&self) -> Option<Reading> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns how usable the current reading is. An old reading is still usable, but should be replaced.
    pub(super) fn staleness(&self) -> Staleness {
        let Some(reading) = self.read() else { return Staleness::Unusable };
        let passed = reading.at.elapsed();
        let passed_wall = reading.at_wall.elapsed().unwrap_or_default();
        if passed.abs_diff(passed_wall) > JUMP {
            Staleness::Unusable
        } else if passed > FRESH_FOR {
            Staleness::Old
        } else {
            Staleness::Fresh
        }
    }

    /// Marks the current reading as fresh, so that only one task reads the clock again.
    pub(super) fn begin_renewal(&self) {
        let mut reading = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(reading) = reading.as_mut() else { return };
        let (passed, now) = (reading.at.elapsed(), Instant::now());
        if passed.abs_diff(reading.at_wall.elapsed().unwrap_or_default()) <= JUMP {
            reading.server_nanos += i128::try_from(passed.as_nanos()).unwrap_or(0);
            (reading.at, reading.at_wall) = (now, SystemTime::now());
        }
    }

    /// Replaces the reading with the reply to a newer `TIME` command.
    pub(super) fn renew(&self, answer: redis::Value) -> Result<()> {
        let reading = Self::parse(answer)?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(reading);
        Ok(())
    }

    pub(super) fn now(&self) -> Timestamp {
        // Callers refresh the reading first. If there is no reading, the local time is used.
        let Some(reading) = self.read() else { return Timestamp::now() };
        let passed = i128::try_from(reading.at.elapsed().as_nanos()).unwrap_or(0);
        Timestamp::from_unix_nanos(reading.server_nanos + passed)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Staleness {
    Fresh,
    Old,
    Unusable,
}

#[cfg(test)]
mod tests {
    use redis::Value;

    use super::*;

    #[test]
    fn store_clock_follows_the_server_and_not_the_local_clock() {
        let clock = StoreClock(Mutex::new(None));
        clock.renew(Value::Array(vec![Value::Int(784_111_777), Value::Int(500_000)])).unwrap();
        let late = clock.now().since("1994-11-06T08:49:37.5Z".parse().unwrap());
        assert!(late < Duration::from_secs(60), "{late:?}");
    }
}
