//! Leaving without a storm: a node that is to end tells its clients one by one to go, spread over a window, and each when to
//! come again.
//!
//! Clients that lose their connection all at once come back all at once, to nodes that have their own to serve. So
//! each open connection has a [`Place`]; when the drain begins, the places draw numbers, and a [`Schedule`] turns numbers into
//! moments that fill the window evenly, whatever their count. Until its moment a connection is served as ever. If there
//! is another node, a client comes again within a second; if this was the only one, it comes after the window, when there
//! will be a new one, spread over a second window.

use crate::clock::Stopwatch;
use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// A window is no longer than it takes to tell its clients at this rate: with few of them there is no storm to prevent, and an
/// operator waits.
const PACE_PER_S: u32 = 100;

/// Within this time clients come to another node.
const ELSEWHERE: Duration = Duration::from_secs(1);

/// A process that is alone takes this long to end and to be there again.
const RESTART: Duration = Duration::from_secs(2);

/// What a client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Farewell {
    /// When to come again, from now.
    pub reconnect_in: Duration,
}

/// Who is told when. Times count from the drain's beginning.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    window: Duration,
    elsewhere: bool,
    chance: (f64, f64),
}

impl Schedule {
    /// For so many clients, at most `window` long. `elsewhere`: another node is there for them. `chance`: 0 to 1 each, so that two
    /// nodes that leave together don't keep step.
    pub fn new(window: Duration, clients: usize, elsewhere: bool, chance: (f64, f64)) -> Self {
        let clients = u32::try_from(clients).unwrap_or(u32::MAX);
        let window = window.min(Duration::from_secs(1).saturating_mul(clients) / PACE_PER_S);
        Self { window, elsewhere, chance }
    }

    /// After this time everybody has been told.
    pub fn window(&self) -> Duration {
        self.window
    }

    /// When the client that drew number `n` is told, and what.
    pub fn turn(&self, n: u64) -> (Duration, Farewell) {
        // Multiples of the golden ratio, less their whole parts, lie evenly in the unit however many there are.
        let at = self.window.mul_f64(even(self.chance.0, n, 0.618_033_988_749_895));
        // Of another irrational number, so that when one is told says nothing of when it comes again.
        let spread = even(self.chance.1, n, std::f64::consts::SQRT_2 - 1.0);
        let reconnect_in = match self.elsewhere {
            true => ELSEWHERE.mul_f64(spread),
            false => (self.window - at) + RESTART + self.window.max(ELSEWHERE).mul_f64(spread),
        };
        (at, Farewell { reconnect_in })
    }

    /// When a client that is turned away at a time of the drain may come again.
    pub fn turned_away(&self, passed: Duration, chance: f64) -> Duration {
        match self.elsewhere {
            true => ELSEWHERE.mul_f64(chance.clamp(0.0, 1.0)),
            false => {
                self.window.saturating_sub(passed)
                    + RESTART
                    + self.window.max(ELSEWHERE).mul_f64(chance.clamp(0.0, 1.0))
            }
        }
    }
}

/// The `n`th of a sequence that fills 0 to 1 evenly.
fn even(start: f64, n: u64, step: f64) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "numbers of clients are far below 2^53")]
    let n = n as f64;
    (start + n * step).fract().clamp(0.0, 1.0)
}

/// The drain of one node.
#[derive(Debug)]
pub struct Drain {
    leaving: CancellationToken,
    begun: CancellationToken,
    plan: OnceLock<(Schedule, Stopwatch)>,
    numbers: AtomicU64,
    open: watch::Sender<usize>,
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            leaving: CancellationToken::new(),
            begun: CancellationToken::new(),
            plan: OnceLock::new(),
            numbers: AtomicU64::new(0),
            open: watch::Sender::new(0),
        }
    }
}

impl Drain {
    /// A place for a connection that is open from now on.
    pub fn place(self: &Arc<Self>) -> Place {
        self.open.send_modify(|open| *open += 1);
        Place { drain: self.clone(), number: None }
    }

    /// Connections that are open.
    pub fn open(&self) -> usize {
        *self.open.borrow()
    }

    /// From now on no session begins.
    pub fn leave(&self) {
        self.leaving.cancel();
    }

    /// Whether the node is leaving.
    pub fn is_leaving(&self) -> bool {
        self.leaving.is_cancelled()
    }

    /// From now on clients are told to go, as the schedule says. A second drain there isn't.
    pub fn begin(&self, schedule: Schedule) {
        self.leave();
        let _ = self.plan.set((schedule, Stopwatch::start()));
        self.begun.cancel();
    }

    /// When a client that comes while the node leaves may come again.
    pub fn turned_away(&self, chance: f64) -> Duration {
        match self.plan.get() {
            Some((schedule, since)) => schedule.turned_away(since.elapsed(), chance),
            None => RESTART + ELSEWHERE.mul_f64(chance.clamp(0.0, 1.0)),
        }
    }

    /// Resolves when no connection is open.
    pub async fn empty(&self) {
        // The sender lives as long as this does.
        let _ = self.open.subscribe().wait_for(|open| *open == 0).await;
    }
}

/// An open connection's, which it holds as long as it is open.
#[derive(Debug)]
pub struct Place {
    drain: Arc<Drain>,
    number: Option<u64>,
}

impl Place {
    /// Resolves when this connection is to go. May be dropped and asked for again: the moment stays the same.
    pub async fn told(&mut self) -> Farewell {
        self.drain.begun.cancelled().await;
        let Some((schedule, since)) = self.drain.plan.get() else { return std::future::pending().await };
        let number = *self.number.get_or_insert_with(|| self.drain.numbers.fetch_add(1, Ordering::Relaxed));
        let (at, farewell) = schedule.turn(number);
        let wait = at.saturating_sub(since.elapsed());
        if !wait.is_zero() {
            // Boxed: a timer in the future of each idle connection would cost more than all else here.
            Box::pin(tokio::time::sleep(wait)).await;
        }
        farewell
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.drain.open.send_modify(|open| *open = open.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// However many clients there are, in every tenth of a window about a tenth is told, and about a tenth comes again.
        #[test]
        fn clients_are_spread_evenly(
            window_ms in 0..60_000_u32, clients in 1..20_000_usize, elsewhere: bool, a in 0.0..1.0, b in 0.0..1.0,
        ) {
            let most = Duration::from_millis(window_ms.into());
            let schedule = Schedule::new(most, clients, elsewhere, (a, b));
            let window = schedule.window();
            prop_assert!(window <= most && window <= Duration::from_millis(10) * u32::try_from(clients).unwrap());
            let (mut told, mut back) = ([0_usize; 10], [0_usize; 10]);
            let tenth = |part: Duration, of: Duration| {
                usize::try_from(part.as_nanos() * 10 / of.as_nanos()).unwrap_or(9).min(9)
            };
            for n in 0..clients as u64 {
                let (at, Farewell { reconnect_in }) = schedule.turn(n);
                prop_assert!(at <= window);
                if !window.is_zero() {
                    told[tenth(at, window)] += 1;
                }
                let (first, spread) = match elsewhere {
                    true => (Duration::ZERO, ELSEWHERE),
                    false => (window + RESTART, window.max(ELSEWHERE)),
                };
                let comes = if elsewhere { reconnect_in } else { at + reconnect_in };
                let micro = Duration::from_micros(1);
                prop_assert!(comes + micro >= first && comes <= first + spread + micro, "{comes:?}");
                back[tenth(comes.saturating_sub(first), spread)] += 1;
            }
            let near = |counts: [usize; 10]| counts.iter().all(|count| count.abs_diff(clients / 10) <= 8);
            prop_assert!(window.is_zero() || near(told), "{told:?}");
            prop_assert!(near(back), "{back:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_is_told_once_in_its_turn_and_the_last_ends_the_wait() {
        let drain = Arc::new(Drain::default());
        let mut places: Vec<_> = (0..1_000).map(|_| drain.place()).collect();
        assert!(futures::FutureExt::now_or_never(places[0].told()).is_none(), "not before it begins");
        assert!(!drain.is_leaving());
        drain.begin(Schedule::new(Duration::ZERO, drain.open(), false, (0.3, 0.7)));
        assert!(drain.is_leaving() && drain.open() == 1_000);
        let farewell = places[0].told().await;
        assert_eq!(places[0].told().await, farewell, "asked again, it stays the same");
        assert!(futures::FutureExt::now_or_never(drain.empty()).is_none());
        for mut place in places {
            assert!(place.told().await.reconnect_in >= RESTART);
        }
        drain.empty().await;
        assert_eq!(drain.open(), 0);
    }
}
