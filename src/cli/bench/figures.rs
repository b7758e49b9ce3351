//! Figures of several rounds, and how they are printed.

use std::{fmt, time::Duration};

/// Median, least and most of some rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    /// Of at least one figure; none gives not-a-number, which prints as such.
    pub(super) fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = figures.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let at = |i: usize| sorted.get(i).copied().unwrap_or(f64::NAN);
        let half = sorted.len() / 2;
        let median =
            if sorted.len().is_multiple_of(2) && half > 0 { (at(half - 1) + at(half)) / 2.0 } else { at(half) };
        Self { median, min: at(0), max: at(sorted.len().saturating_sub(1)) }
    }
}

impl fmt::Display for Spread {
    /// `median (min to max)`, with the decimals asked for.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = f.precision().unwrap_or(0);
        let Self { median, min, max } = self;
        write!(f, "{median:.decimals$} ({min:.decimals$} to {max:.decimals$})")
    }
}

/// Latencies of one round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Latency {
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
    pub count: usize,
}

impl Latency {
    pub(super) fn of(mut samples: Vec<Duration>) -> Self {
        samples.sort_unstable();
        // Nearest rank.
        let at = |per_cent: usize| {
            let rank = (samples.len() * per_cent).div_ceil(100).saturating_sub(1);
            samples.get(rank).map_or(f64::NAN, |d| d.as_secs_f64() * 1e3)
        };
        Self { p50_ms: at(50), p99_ms: at(99), max_ms: at(100), count: samples.len() }
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { p50_ms, p99_ms, max_ms, count } = self;
        write!(f, "p50 {p50_ms:.2} ms, p99 {p99_ms:.2} ms, max {max_ms:.2} ms, n {count}")
    }
}

/// The sum and the count of a histogram in OpenMetrics text.
pub(super) fn histogram(text: &str, name: &str) -> (f64, f64) {
    let value = |suffix: &str| sample(text, &format!("{name}_{suffix}")).unwrap_or(f64::NAN);
    (value("sum"), value("count"))
}

/// A sample without labels.
pub(super) fn sample(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_ranks() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Spread { median: 2.0, min: 1.0, max: 3.0 });
        assert_eq!(format!("{:.1}", Spread::of([4.0, 1.0])), "2.5 (1.0 to 4.0)");
        assert!(Spread::of([]).median.is_nan());
        let latency = Latency::of((1..=200).map(Duration::from_millis).collect());
        assert_eq!((latency.p50_ms, latency.p99_ms, latency.max_ms, latency.count), (100.0, 198.0, 200.0, 200));
        assert_eq!(Latency::of(Vec::new()).count, 0);
    }

    #[test]
    fn samples_are_found_by_their_whole_name() {
        let metrics = crate::metrics::Metrics::default();
        metrics.batch_entries.observe(10.0);
        metrics.batch_entries.observe(20.0);
        let text = metrics.encode().unwrap_or_default();
        assert_eq!(histogram(&text, "trunkline_batch_entries"), (30.0, 2.0));
        assert_eq!(sample(&text, "trunkline_batch"), None);
    }
}
