//! A steady rate.

use crate::clock::Stopwatch;
use std::time::Duration;

/// Calls `one` with 0, 1, 2, … so many times a second for so long; gives how often. One that takes long is caught up with.
pub(super) async fn steady(
    per_s: u32,
    length: Duration,
    mut one: impl AsyncFnMut(u32) -> anyhow::Result<()>,
) -> anyhow::Result<u32> {
    let (watch, mut done) = (Stopwatch::start(), 0u32);
    let mut tick = tokio::time::interval(Duration::from_millis(1));
    while watch.elapsed() < length {
        tick.tick().await;
        let due = watch.elapsed().min(length).as_micros() * u128::from(per_s) / 1_000_000;
        while u128::from(done) < due {
            one(done).await?;
            done += 1;
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn so_many_are_done_as_are_due() {
        let mut seen = Vec::new();
        let done = steady(1_000, Duration::from_millis(50), async |n| {
            seen.push(n);
            Ok(())
        });
        let done = done.await.unwrap();
        assert!((45..=50).contains(&done), "{done}");
        assert_eq!(seen, (0..done).collect::<Vec<_>>());
        assert!(steady(1_000, Duration::from_millis(50), async |_| anyhow::bail!("no")).await.is_err());
    }
}
