//! What the store counted last, kept for a moment: a count goes over a day of orders (35 ms of CPU where there are 100,000), and
//! each console asks every few seconds. Who asks while it is counted waits for that count and makes none of his own.

use crate::{domain::UnixMillis, ports::StoreError, store::Counts};
use std::{sync::Arc, time::Duration};
use tokio::sync::Mutex;

/// How long counts are told again; consoles ask every 5 s.
const KEPT: Duration = Duration::from_secs(2);

/// The cell time as of which was counted, and what.
pub(super) type Count = (UnixMillis, Counts);

/// The last count, and until when it is told.
#[derive(Clone, Debug, Default)]
pub(super) struct Counted(Arc<Mutex<Option<(Duration, Count)>>>);

impl Counted {
    /// The last count or a new one; `now` is the owner's own time. One that failed isn't kept.
    pub(super) async fn get<F>(
        &self,
        now: impl Fn() -> Duration,
        count: impl FnOnce() -> F,
    ) -> Result<Count, StoreError>
    where
        F: Future<Output = Result<Count, StoreError>>,
    {
        let mut last = self.0.lock().await;
        if let Some((until, counted)) = *last
            && now() < until
        {
            return Ok(counted);
        }
        let counted = count().await?;
        *last = Some((now() + KEPT, counted));
        Ok(counted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    /// A store that counts how often it is asked, and a clock in milliseconds.
    #[derive(Default)]
    struct Scene {
        counted: Counted,
        asked: AtomicU64,
        now_ms: AtomicU64,
    }

    impl Scene {
        async fn ask(&self, works: bool) -> Result<u64, StoreError> {
            let now = || Duration::from_millis(self.now_ms.load(Relaxed));
            let count = || async {
                let n = self.asked.fetch_add(1, Relaxed) + 1;
                tokio::task::yield_now().await;
                let counts = Counts { orders: [n, 0, 0, 0, 0], ..Counts::default() };
                if works { Ok((UnixMillis(7), counts)) } else { Err(StoreError("closed".into())) }
            };
            let (at, counts) = self.counted.get(now, count).await?;
            assert_eq!(at, UnixMillis(7), "of the count, not of the ask");
            Ok(counts.orders[0])
        }
    }

    #[tokio::test]
    async fn a_count_is_told_for_two_seconds_and_then_made_anew() {
        let scene = Scene::default();
        for (ms, told) in [(0, 1), (1_999, 1), (2_000, 2), (3_999, 2), (9_000, 3)] {
            scene.now_ms.store(ms, Relaxed);
            assert_eq!(scene.ask(true).await.unwrap(), told, "at {ms} ms");
        }
    }

    #[tokio::test]
    async fn who_asks_at_once_shares_one_count_and_a_failure_is_nobody_elses() {
        let scene = Scene::default();
        assert!(scene.ask(false).await.is_err());
        let told = futures::future::join_all((0..20).map(|_| scene.ask(true))).await;
        assert!(told.iter().all(|told| *told.as_ref().unwrap() == 2), "{told:?}");
        assert_eq!(scene.asked.load(Relaxed), 2);
    }
}
