//! The cell clock seen from outside: set once through the log, read back once, and reckoned from there.
//!
//! The reckoning never runs ahead: it starts from a reading that was already past when it came, and both clocks run at
//! the same scale. So a fix stamped by it is never in the cell's future.

use super::{Http, Nats, OutsideError, backoff};
use crate::{
    clock::Stopwatch,
    domain::{CellId, UnixMillis},
    wire::{
        control::{self, ClockBody},
        query::CellState,
        subject::LogSubject,
    },
};
use std::time::Duration;

/// A running estimate of the cell clock.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    cell_time: UnixMillis,
    scale: u32,
    since: Stopwatch,
}

impl Pace {
    /// Sets the cell clock's scale (and time, if given), and reads it back once the cell has applied that.
    pub async fn set(
        nats: &Nats,
        http: &Http,
        cell: &CellId,
        scale: u32,
        cell_time: Option<UnixMillis>,
    ) -> Result<Self, OutsideError> {
        let place = announce(nats, cell, scale, cell_time).await?;
        let since = Stopwatch::start();
        let mut tries = 0;
        loop {
            let CellState { cursor, cell_time_ms, .. } = http.cell().await?;
            if cursor >= place {
                return Ok(Self { cell_time: cell_time_ms, scale, since: Stopwatch::start() });
            }
            tries += 1;
            if since.elapsed() > Duration::from_secs(60) {
                let last = format!("the cell is at {cursor} of its log, the clock message at {place}");
                return Err(OutsideError::NoAnswer { request: "set the cell clock".into(), tries, last });
            }
            tokio::time::sleep(backoff(tries.min(2))).await;
        }
    }

    /// The cell time now, or a little before it.
    pub fn now(&self) -> UnixMillis {
        let run_ms = i64::try_from(self.since.elapsed().as_millis()).unwrap_or(i64::MAX);
        self.cell_time.plus(run_ms.saturating_mul(i64::from(self.scale)))
    }

    /// Wall time until the cell clock shows `at`.
    pub fn until(&self, at: UnixMillis) -> Duration {
        let cell_ms = u64::try_from(at.since(self.now())).unwrap_or(0);
        Duration::from_millis(cell_ms.div_ceil(u64::from(self.scale)))
    }

    /// Sleeps until the cell clock shows `at`.
    pub async fn wait_for(&self, at: UnixMillis) {
        let wait = self.until(at);
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }
}

/// Publishes a clock message; gives its place in the log.
pub(crate) async fn announce(
    nats: &Nats,
    cell: &CellId,
    scale: u32,
    cell_time: Option<UnixMillis>,
) -> Result<u64, OutsideError> {
    let body = ClockBody { scale, cell_time_ms: cell_time.map(|t| t.0) };
    let subject = LogSubject::Control { cell: cell.clone(), what: control::CLOCK.into() };
    nats.publish(&subject, &[], super::json(&body)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reckons_in_cell_time_and_waits_in_wall_time() {
        let pace = Pace { cell_time: UnixMillis(1_000_000), scale: 60, since: Stopwatch::start() };
        assert!(pace.now() >= UnixMillis(1_000_000));
        let wait = pace.until(UnixMillis(1_000_000 + 600_000));
        assert!(wait <= Duration::from_secs(10) && wait > Duration::from_secs(9));
        assert_eq!(pace.until(UnixMillis(0)), Duration::ZERO);
    }
}
