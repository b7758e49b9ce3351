//! How many sessions begin in a second: when a network comes back, all clients come at once, and what each costs at its
//! beginning (a token, a snapshot) is a hundred times what it costs afterwards.
//!
//! Who comes beyond the rate is told when to come again: each the time at which it would be its turn if those turned away
//! stood in a line, so that they come back at the rate and not all at once. Nothing is kept of them.
//!
//! Sans-IO: time and chance are arguments.

use std::time::Duration;

/// The nearest time that anybody is told: nearer than this, it would come back into the same storm.
const NEAREST: Duration = Duration::from_secs(1);

/// The farthest: longer than this, nobody wants to look at a page that waits.
const FARTHEST: Duration = Duration::from_secs(30);

/// The rate so far. Times count from any start.
#[derive(Clone, Debug)]
pub struct Admission {
    each: Duration,
    burst: Duration,
    /// When those admitted so far would be through, if they came one by one at the rate.
    due: Duration,
    /// The end of the line of those who were turned away.
    line: Duration,
}

impl Admission {
    /// `per_s` in the long run, at least 1; what comes together of `burst` at that rate gets in at once.
    pub fn new(per_s: u32, burst: Duration) -> Self {
        Self { each: Duration::from_secs(1) / per_s.max(1), burst, due: Duration::ZERO, line: Duration::ZERO }
    }

    /// A session wants to begin. An error is how long its client is to wait; `chance` is 0 to 1, another for each.
    pub fn ask(&mut self, now: Duration, chance: f64) -> Result<(), Duration> {
        let due = self.due.max(now) + self.each;
        if due <= now + self.burst {
            self.due = due;
            return Ok(());
        }
        let turn = self.line.max(now + NEAREST) + self.each;
        if turn > now + FARTHEST {
            // The line is as long as it gets: the second half of the time is for everybody.
            return Err(FARTHEST.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0));
        }
        self.line = turn;
        // Those of one moment don't come back in one moment even where clocks are coarse.
        Err(turn.saturating_sub(now).mul_f64(1.0 + chance.clamp(0.0, 1.0) / 5.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{cmp::Reverse, collections::BinaryHeap};

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_burst_then_the_rate() {
        let mut admission = Admission::new(100, Duration::from_secs(2));
        let admitted = |admission: &mut Admission, now, n| (0..n).filter(|_| admission.ask(now, 0.0).is_ok()).count();
        assert_eq!(admitted(&mut admission, Duration::ZERO, 500), 200);
        assert_eq!(admitted(&mut admission, MS * 10, 50), 1);
        assert_eq!(admitted(&mut admission, Duration::from_secs(1), 500), 99);
        assert_eq!(admitted(&mut admission, Duration::from_secs(60), 500), 200, "no more is saved up than a burst");
    }

    #[test]
    fn a_storm_comes_back_at_the_rate_and_all_get_in() {
        let mut admission = Admission::new(1_000, Duration::from_secs(2));
        // Who waits, by when it comes: 20,000 at once.
        let mut coming: BinaryHeap<_> = (0..20_000).map(|_| Reverse(Duration::ZERO)).collect();
        let (mut tries, mut last, mut n) = (0, Duration::ZERO, 0_u32);
        while let Some(Reverse(now)) = coming.pop() {
            tries += 1;
            n += 1;
            let chance = f64::from(n.wrapping_mul(2_654_435_761) >> 8) / f64::from(u32::MAX >> 8);
            match admission.ask(now, chance) {
                Ok(()) => last = now,
                Err(wait) => {
                    assert!((NEAREST..=FARTHEST * 6 / 5).contains(&wait), "{wait:?}");
                    coming.push(Reverse(now + wait));
                }
            }
        }
        // 18,000 at 1,000/s: not much longer than they need, and without many vain tries.
        assert!(last < Duration::from_secs(30), "{last:?}");
        assert!(tries < 50_000, "{tries}");
    }

    proptest! {
        #[test]
        fn never_more_than_burst_and_rate(
            per_s in 1..2_000_u32, burst_ms in 0..5_000_u32, gaps_ms in prop::collection::vec(0..200_u32, 1..400),
        ) {
            let burst = MS * burst_ms;
            let mut admission = Admission::new(per_s, burst);
            let (mut now, mut admitted) = (Duration::ZERO, 0_u32);
            for gap_ms in gaps_ms {
                now += MS * gap_ms;
                match admission.ask(now, 0.5) {
                    Ok(()) => admitted += 1,
                    Err(wait) => prop_assert!(wait >= NEAREST),
                }
                let most = (now + burst).as_secs_f64() * f64::from(per_s);
                prop_assert!(f64::from(admitted) <= most + 1e-3, "{admitted} of {most} at {now:?}");
            }
        }
    }
}
