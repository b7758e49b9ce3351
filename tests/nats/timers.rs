use crate::harness::{Server, ensure};
use futures::StreamExt;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use trunkline::{
    clock,
    domain::{CellClock, CellId, OrderId, UnixMillis, effect::TimerKind},
    metrics::Metrics,
    publish::timers::{self, Timer},
};

fn order(n: usize) -> OrderId {
    format!("o{n}").parse().unwrap()
}

async fn in_log(js: &async_nats::jetstream::Context) -> Vec<String> {
    let stream = js.get_stream("CELL_default").await.unwrap();
    let mut subjects = stream.info_with_subjects("timer.>").await.unwrap();
    let mut all = Vec::new();
    while let Some(subject) = subjects.next().await {
        let (subject, count) = subject.unwrap();
        assert_eq!(count, 1, "{subject}");
        all.push(subject);
    }
    all.sort();
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_wheels_fire_once_through_a_kill_and_no_timer_early() {
    let mut server = Server::start().await;
    let js = server.jetstream().await;
    ensure(&js).await;
    let now = clock::wall();
    let stop = CancellationToken::new();
    let due = |n: usize| now.plus(i64::try_from(n).unwrap() * 10);
    let seed: Vec<(OrderId, Vec<Timer>)> = (0..300).map(|n| (order(n), vec![(TimerKind::Unpaid, 1, due(n))])).collect();
    let mut wheels = Vec::new();
    let mut handles = Vec::new();
    for _ in 0..2 {
        let (handle, wheel) = timers::wheel(seed.clone(), CellClock::default());
        handles.push(handle);
        let js = server.jetstream().await;
        wheels.push(tokio::spawn(timers::run(js, CellId::default(), wheel, Metrics::default(), stop.clone())));
    }
    // One is cleared, one is put off beyond the test.
    let later = now.plus(3_600_000);
    for handle in &handles {
        let changed = vec![(order(290), vec![]), (order(291), vec![(TimerKind::Unpaid, 2, later)])];
        handle.turn(changed, CellClock::default()).await;
    }
    tokio::time::sleep(Duration::from_millis(1_000)).await;
    server.kill().await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    server.again().await;
    for _ in 0..200 {
        if in_log(&js).await.len() >= 298 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let fired = in_log(&js).await;
    assert_eq!(fired.len(), 298);
    assert!(!fired.iter().any(|s| s.contains(".o290.") || s.contains(".o291.")), "{fired:?}");

    let stream = js.get_stream("CELL_default").await.unwrap();
    for seq in 1..=298 {
        let message = stream.get_raw_message(seq).await.unwrap();
        let n: usize = message.subject.split('.').nth(2).unwrap()[1..].parse().unwrap();
        let stored = UnixMillis(i64::try_from(message.time.unix_timestamp_nanos() / 1_000_000).unwrap());
        assert!(stored.since(due(n)) >= 0, "{n} was early by {}", due(n).since(stored));
    }

    // A clock that runs 100,000 times as fast brings the last one: 3,600 s are 36 ms.
    let mut clock = CellClock::default();
    clock.set(clock::wall(), 100_000, None);
    let mut clock_at = clock;
    clock_at.set(clock::wall(), 100_000, Some(now));
    for handle in &handles {
        handle.turn(vec![], clock_at).await;
    }
    let watched = js.get_stream("CELL_default").await.unwrap();
    for _ in 0..200 {
        if watched.get_info().await.unwrap().state.last_sequence == 299 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(in_log(&js).await.contains(&"timer.default.o291.unpaid.2".to_owned()));
    stop.cancel();
    for wheel in wheels {
        wheel.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timer_whose_subject_somebody_else_used_is_reported_and_one_fired_before_is_not() {
    let server = Server::start().await;
    let js = server.jetstream().await;
    ensure(&js).await;
    let put = |subject: &'static str| {
        let js = js.clone();
        async move {
            let seq = js.publish(subject, "".into()).await.unwrap().await.unwrap().sequence;
            let message = js.get_stream("CELL_default").await.unwrap().get_raw_message(seq).await.unwrap();
            UnixMillis(i64::try_from(message.time.unix_timestamp_nanos() / 1_000_000).unwrap())
        }
    };
    // One was put there before the timer was set; of the other, the cell's state knows nothing yet.
    let forged = put("timer.default.o1.unpaid.2").await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    let fired = put("timer.default.o2.unpaid.1").await;
    assert!(forged < fired);
    let mut clock = CellClock::default();
    clock.advance(fired);
    let due = |n| vec![(TimerKind::Unpaid, n, fired)];
    let (handle, wheel) = timers::wheel([(order(1), due(2)), (order(2), due(1)), (order(3), due(1))], clock);
    let (metrics, stop) = (Metrics::default(), CancellationToken::new());
    let running = tokio::spawn(timers::run(js.clone(), CellId::default(), wheel, metrics.clone(), stop.clone()));
    for _ in 0..400 {
        if in_log(&js).await.len() == 3 && metrics.timers_spent.get() > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(in_log(&js).await.len(), 3);
    // Settled: the third was queued last, and a changed clock fires none of them again.
    handle.turn(vec![], clock).await;
    assert!(metrics.encode().unwrap().contains("trunkline_timers_spent_total 1\n"));
    stop.cancel();
    running.await.unwrap();
}
