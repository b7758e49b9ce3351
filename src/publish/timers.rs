//! The timer wheel. When a deadline comes by the wall clock, an empty message on the timer's own subject goes into the
//! log with expected sequence 0: it is there once, whoever publishes it, and what it means the core decides when it
//! reads it. The wheel holds nothing that the store doesn't, so it may forget all and be filled again.
//!
//! A message that is there already was stored by an earlier try or by another node, and the cell is about to read it. One
//! that the cell has read already, without effect on a timer that still runs, was put there by somebody who may not: the
//! subject is spent and the timer can't fire any more. That is for an operator, and it is said aloud.

use super::once::{self, Backoff, OnceError, Stored};
use crate::{
    clock,
    domain::{CellClock, CellId, OrderId, UnixMillis, effect::TimerKind},
    metrics::Metrics,
    wire::subject,
};
use async_nats::{HeaderMap, jetstream::Context};
use bytes::Bytes;
use futures::{StreamExt, stream::FuturesUnordered};
use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// An order's timer: its kind, its number, and when it is due in cell time.
pub type Timer = (TimerKind, u32, UnixMillis);

/// Firings that wait for their acks at once.
const MAX_IN_FLIGHT: usize = 256;

/// The core sets a timer that came early again, with another number: this machine's clock is ahead of the NATS server's,
/// and the next try waits this much longer by the wall.
const EARLY_MS: i64 = 1_000;

/// Longest sleep: the wall clock may be set meanwhile.
const MAX_SLEEP_MS: i64 = 5_000;

/// Tells the wheel what changed. Cheap to clone.
#[derive(Clone, Debug)]
pub struct WheelHandle(mpsc::Sender<Turn>);

#[derive(Debug)]
struct Turn {
    timers: Vec<(OrderId, Vec<Timer>)>,
    clock: CellClock,
}

impl WheelHandle {
    /// Replaces the timers of these orders, and the cell clock. Waits while the wheel is far behind.
    pub async fn turn(&self, timers: Vec<(OrderId, Vec<Timer>)>, clock: CellClock) {
        // A wheel that has stopped is a cell that stops.
        let _ = self.0.send(Turn { timers, clock }).await;
    }
}

/// The wheel's end of the handle, with what it holds.
#[derive(Debug)]
pub struct Wheel {
    turns: mpsc::Receiver<Turn>,
    timers: Timers,
}

/// A wheel with all timers of the store.
pub fn wheel(timers: impl IntoIterator<Item = (OrderId, Vec<Timer>)>, clock: CellClock) -> (WheelHandle, Wheel) {
    let (handle, turns) = mpsc::channel(64);
    let mut wheel = Wheel { turns, timers: Timers { clock, ..Timers::default() } };
    for (order, timers) in timers {
        wheel.timers.set(order, timers);
    }
    (WheelHandle(handle), wheel)
}

/// Fires timers until `stop` is cancelled.
pub async fn run(js: Context, cell: CellId, mut wheel: Wheel, metrics: Metrics, stop: CancellationToken) {
    let mut firing = FuturesUnordered::new();
    let mut backoff = Backoff::default();
    // Nothing is fired before: the server refused or didn't answer a moment ago.
    let mut resting = false;
    let rest = tokio::time::sleep(Duration::ZERO);
    tokio::pin!(rest);
    loop {
        if !resting {
            while firing.len() < MAX_IN_FLIGHT
                && let Some(due) = wheel.timers.take_due(clock::wall())
            {
                firing.push(fire(&js, &cell, due));
            }
        }
        metrics.timers.set(i64::try_from(wheel.timers.due.len()).unwrap_or(i64::MAX));
        let next = wheel.timers.next_in(clock::wall());
        let room = firing.len() < MAX_IN_FLIGHT;
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            turn = wheel.turns.recv() => match turn {
                Some(Turn { timers, clock }) => {
                    wheel.timers.clock = clock;
                    for (order, timers) in timers {
                        wheel.timers.set(order, timers);
                    }
                }
                None => return,
            },
            Some((due, result)) = firing.next() => match result {
                Ok(fired) => {
                    backoff.reset();
                    if let Fired::Before(log_time) = fired && wheel.timers.is_spent(&due, log_time) {
                        metrics.timers_spent.inc();
                        tracing::error!(
                            order = %due.order, kind = due.kind.name(), n = due.n, stored_ms = log_time.0,
                            "the timer can't fire: a message on its subject was in the log before it was set"
                        );
                    }
                }
                Err(error) => {
                    let wait = backoff.next();
                    tracing::warn!(order = %due.order, %error, wait_ms = wait.as_millis(), "timer not fired yet");
                    wheel.timers.put_back(due);
                    if !resting {
                        resting = true;
                        rest.as_mut().reset(tokio::time::Instant::now() + wait);
                    }
                }
            },
            () = &mut rest, if resting => resting = false,
            () = tokio::time::sleep(next.unwrap_or_default()), if next.is_some() && room && !resting => {}
        }
    }
}

/// How a firing came into the log.
enum Fired {
    Now,
    /// Not by this publish; log time of the message.
    Before(UnixMillis),
}

#[derive(Debug, thiserror::Error)]
enum FireError {
    #[error(transparent)]
    Publish(#[from] OnceError),
    #[error("the message that is there can't be read: {0}")]
    Read(String),
}

async fn fire(js: &Context, cell: &CellId, due: Due) -> (Due, Result<Fired, FireError>) {
    let subject = subject::timer(cell, &due.order, due.kind, due.n);
    let fired = async {
        let ack = once::publish(js, subject.clone(), HeaderMap::new(), Bytes::new()).await?;
        match once::stored(ack).await? {
            Stored::Now => Ok(Fired::Now),
            Stored::Before => Ok(Fired::Before(log_time(js, cell, &subject).await?)),
        }
    };
    let result = fired.await;
    (due, result)
}

/// Log time of the message on a subject of the log.
async fn log_time(js: &Context, cell: &CellId, subject: &str) -> Result<UnixMillis, FireError> {
    let read = |e: &dyn std::fmt::Display| FireError::Read(e.to_string());
    let log = js.get_stream_no_info(subject::log_stream(cell)).await.map_err(|e| read(&e))?;
    let message = log.get_last_raw_message_by_subject(subject).await.map_err(|e| read(&e))?;
    let ms = message.time.unix_timestamp_nanos().div_euclid(1_000_000);
    Ok(UnixMillis(i64::try_from(ms).unwrap_or(i64::MAX)))
}

/// A timer whose time has come.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Due {
    fire_at: UnixMillis,
    order: OrderId,
    kind: TimerKind,
    n: u32,
}

/// All timers by when they are to be fired, in cell time: a changed clock moves when that is by the wall, not their
/// order.
#[derive(Debug, Default)]
struct Timers {
    due: BTreeMap<(UnixMillis, OrderId, TimerKind), u32>,
    /// What each order has, fired or not: an order is announced with all its timers again and again, and one that was
    /// fired is not due a second time.
    by_order: HashMap<OrderId, Vec<Held>>,
    clock: CellClock,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    timer: Timer,
    /// When it is due, or later: see [`EARLY_MS`].
    fire_at: UnixMillis,
}

impl Timers {
    fn set(&mut self, order: OrderId, timers: Vec<Timer>) {
        let had = self.by_order.remove(&order).unwrap_or_default();
        for gone in had.iter().filter(|held| !timers.contains(&held.timer)) {
            self.due.remove(&(gone.fire_at, order.clone(), gone.timer.0));
        }
        let mut held = Vec::with_capacity(timers.len());
        for timer in timers {
            let (kind, n, at) = timer;
            let same = had.iter().find(|h| h.timer == timer).copied();
            let before = had.iter().find(|h| h.timer.0 == kind && h.timer.2 == at);
            held.push(same.unwrap_or_else(|| {
                let early = EARLY_MS.saturating_mul(i64::from(self.clock.scale()));
                let fire_at = before.map_or(at, |early_one| early_one.fire_at.plus(early));
                self.due.insert((fire_at, order.clone(), kind), n);
                Held { timer, fire_at }
            }));
        }
        if !held.is_empty() {
            self.by_order.insert(order, held);
        }
    }

    /// Takes the first timer whose time has come at `wall`.
    fn take_due(&mut self, wall: UnixMillis) -> Option<Due> {
        let first = self.due.first_entry()?;
        if self.clock.log_time_of(first.key().0) > wall {
            return None;
        }
        let ((fire_at, order, kind), n) = first.remove_entry();
        Some(Due { fire_at, order, kind, n })
    }

    /// A timer that was taken and could not be fired, unless it was replaced meanwhile.
    fn put_back(&mut self, due: Due) {
        if self.holds(&due) {
            let Due { fire_at, order, kind, n } = due;
            self.due.insert((fire_at, order, kind), n);
        }
    }

    fn holds(&self, due: &Due) -> bool {
        let held = |h: &Held| (h.timer.0, h.timer.1, h.fire_at) == (due.kind, due.n, due.fire_at);
        self.by_order.get(&due.order).is_some_and(|all| all.iter().any(held))
    }

    /// Whether the cell has read the message that a timer was to be fired with, and the timer runs on all the same. All
    /// timers are known as of the log time that the clock shows; within that millisecond either may be.
    fn is_spent(&self, due: &Due, stored: UnixMillis) -> bool {
        stored < self.clock.log_time_of(self.clock.now()) && self.holds(due)
    }

    /// How long until the first is due.
    fn next_in(&self, wall: UnixMillis) -> Option<Duration> {
        let ((at, _, _), _) = self.due.first_key_value()?;
        let ms = self.clock.log_time_of(*at).since(wall).clamp(0, MAX_SLEEP_MS);
        Some(Duration::from_millis(ms.unsigned_abs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(id: &str) -> OrderId {
        id.parse().unwrap()
    }

    fn at(ms: i64) -> Vec<Timer> {
        vec![(TimerKind::Unpaid, 1, UnixMillis(ms))]
    }

    #[test]
    fn fires_in_order_of_due_and_once() {
        let mut timers = Timers::default();
        timers.set(order("b"), at(200));
        timers.set(order("a"), at(100));
        assert_eq!(timers.take_due(UnixMillis(99)), None);
        assert_eq!(timers.next_in(UnixMillis(90)), Some(Duration::from_millis(10)));
        assert_eq!(timers.take_due(UnixMillis(300)).unwrap().order, order("a"));
        timers.set(order("a"), at(100));
        assert_eq!(timers.take_due(UnixMillis(300)).unwrap().order, order("b"), "announced again, not due again");
        assert_eq!(timers.take_due(UnixMillis(300)), None);
    }

    #[test]
    fn replaced_and_cleared_timers_do_not_fire() {
        let mut timers = Timers::default();
        timers.set(order("a"), at(100));
        timers.set(order("a"), vec![(TimerKind::Unpaid, 2, UnixMillis(150))]);
        timers.set(order("b"), at(100));
        timers.set(order("b"), vec![]);
        let due = timers.take_due(UnixMillis(999)).unwrap();
        assert_eq!((due.fire_at, due.n), (UnixMillis(150), 2));
        assert_eq!(timers.take_due(UnixMillis(999)), None);
        timers.put_back(due.clone());
        assert_eq!(timers.take_due(UnixMillis(999)), Some(due.clone()), "failed, so due again");
        timers.set(order("a"), vec![]);
        timers.put_back(due);
        assert_eq!(timers.take_due(UnixMillis(999)), None, "cleared while it was in flight");
        assert!(timers.by_order.is_empty());
    }

    #[test]
    fn a_clock_that_is_ahead_makes_no_storm() {
        let mut timers = Timers::default();
        for n in 1..5_u32 {
            timers.set(order("a"), vec![(TimerKind::Unpaid, n, UnixMillis(100))]);
            let wait_ms = i64::from(n - 1) * EARLY_MS;
            assert_eq!(timers.take_due(UnixMillis(99 + wait_ms)), None);
            assert_eq!(timers.take_due(UnixMillis(100 + wait_ms)).unwrap().n, n, "came early, is set again");
        }
    }

    #[test]
    fn a_message_that_was_read_without_effect_spends_a_timer_that_still_runs() {
        let mut timers = Timers::default();
        timers.set(order("a"), at(100));
        timers.clock.set(UnixMillis(50), 60, Some(UnixMillis(90)));
        timers.clock.advance(UnixMillis(60));
        let due = timers.take_due(UnixMillis(60)).unwrap();
        assert!(timers.is_spent(&due, UnixMillis(59)));
        for ahead in [60, 61] {
            assert!(!timers.is_spent(&due, UnixMillis(ahead)), "it may be about to be read");
        }
        timers.set(order("a"), vec![(TimerKind::Unpaid, 2, UnixMillis(100))]);
        assert!(!timers.is_spent(&due, UnixMillis(59)), "it had its effect");
    }

    #[test]
    fn a_faster_clock_brings_deadlines_nearer() {
        let mut timers = Timers::default();
        timers.set(order("a"), at(61_000));
        assert_eq!(timers.next_in(UnixMillis(1_000)), Some(Duration::from_millis(5_000)), "no longer than that");
        timers.clock.set(UnixMillis(1_000), 60, None);
        assert_eq!(timers.next_in(UnixMillis(1_000)), Some(Duration::from_millis(1_000)));
    }
}
