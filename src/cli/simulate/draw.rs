//! Luck, in streams: everything that draws has a stream of its own, so that what one party does changes no other's luck.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Who draws.
#[derive(Clone, Copy, Debug)]
pub(super) enum Draw {
    City,
    Order(u32),
    /// What becomes of it beside the straight way.
    Life(u32),
    /// How its picking goes.
    Picking(u32),
    /// How the rider rides.
    Rider(u32),
    /// How the rider's phone behaves.
    Phone(u32),
}

/// The random stream of one drawer.
pub(super) fn stream(seed: u64, draw: Draw) -> ChaCha8Rng {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(match draw {
        Draw::City => 0,
        Draw::Order(n) => (1 << 32) + u64::from(n),
        Draw::Rider(n) => (2 << 32) + u64::from(n),
        Draw::Phone(n) => (3 << 32) + u64::from(n),
        Draw::Picking(n) => (4 << 32) + u64::from(n),
        Draw::Life(n) => (5 << 32) + u64::from(n),
    });
    random
}

/// Normally distributed about 0 within four deviations, by summing twelve uniform draws: only additions, so that it is
/// the same on every machine.
pub(super) fn normal(random: &mut ChaCha8Rng, deviation: f64) -> f64 {
    let sum: f64 = (0..12).map(|_| random.random_range(0.0..1.0)).sum();
    ((sum - 6.0) * deviation).clamp(-4.0 * deviation, 4.0 * deviation)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_differ_and_repeat() {
        let first = |draw| stream(1, draw).random_range(0..u64::MAX);
        assert_eq!(first(Draw::Order(1)), first(Draw::Order(1)));
        assert_ne!(first(Draw::Order(1)), first(Draw::Rider(1)));
        assert_ne!(first(Draw::Rider(1)), first(Draw::Phone(1)));
    }

    #[test]
    fn normal_has_its_deviation_and_its_bound() {
        let mut random = stream(1, Draw::City);
        let draws: Vec<f64> = (0..20_000).map(|_| normal(&mut random, 5.0)).collect();
        let mean = draws.iter().sum::<f64>() / 20_000.0;
        let variance = draws.iter().map(|d| (d - mean) * (d - mean)).sum::<f64>() / 20_000.0;
        assert!(mean.abs() < 0.2 && (24.0..26.0).contains(&variance), "{mean} {variance}");
        assert!(draws.iter().all(|d| d.abs() <= 20.0));
    }
}
