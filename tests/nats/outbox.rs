use crate::harness::{Server, ensure, until};
use bytes::Bytes;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{sync::Notify, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use trunkline::{
    clock,
    domain::CellId,
    metrics::Metrics,
    ports::{Outbox, OutboxItem, StoreError},
    publish::outbox,
};

/// An outbox in memory; while `dying`, what is said to be done never gets through.
#[derive(Debug, Default)]
struct Entries {
    items: Mutex<BTreeMap<i64, OutboxItem>>,
    dying: AtomicBool,
    reached: AtomicBool,
}

#[derive(Debug)]
struct Shared(Arc<Entries>);

impl Outbox for Shared {
    fn pending(&self, after: i64, limit: usize) -> BoxFuture<'static, Result<Vec<(i64, OutboxItem)>, StoreError>> {
        let items = self.0.items.lock().range(after + 1..).take(limit).map(|(id, item)| (*id, item.clone())).collect();
        Box::pin(async move { Ok(items) })
    }

    fn done(&self, ids: Vec<i64>) -> BoxFuture<'static, Result<(), StoreError>> {
        let entries = Arc::clone(&self.0);
        Box::pin(async move {
            if entries.dying.load(Ordering::Relaxed) {
                entries.reached.store(true, Ordering::Relaxed);
                std::future::pending::<()>().await;
            }
            for id in ids {
                entries.items.lock().remove(&id);
            }
            Ok(())
        })
    }
}

fn drain(
    js: &async_nats::jetstream::Context,
    entries: &Arc<Entries>,
    nudge: &Arc<Notify>,
    stop: &CancellationToken,
) -> JoinHandle<Result<(), StoreError>> {
    drain_with(js, entries, nudge, stop, &Metrics::default())
}

fn drain_with(
    js: &async_nats::jetstream::Context,
    entries: &Arc<Entries>,
    nudge: &Arc<Notify>,
    stop: &CancellationToken,
    metrics: &Metrics,
) -> JoinHandle<Result<(), StoreError>> {
    let outbox = Arc::new(Shared(Arc::clone(entries)));
    let options = outbox::Options { window: 64, look_every: Duration::from_secs(3_600) };
    let (nudge, stop) = (Arc::clone(nudge), stop.clone());
    tokio::spawn(outbox::run(js.clone(), CellId::default(), outbox, nudge, metrics.clone(), options, stop))
}

fn item(subject: String, payload: &str) -> OutboxItem {
    OutboxItem { subject, headers: vec![], payload: Bytes::copy_from_slice(payload.as_bytes()), log_time: None }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_death_between_publish_and_delete_stores_nothing_twice() {
    let mut server = Server::start().await;
    let js = server.jetstream().await;
    ensure(&js).await;
    let (entries, nudge, stop) = (Arc::new(Entries::default()), Arc::new(Notify::new()), CancellationToken::new());
    for n in 1..=500 {
        entries.items.lock().insert(n, item(format!("task.default.w1.o{n}.1"), "{}"));
    }
    entries.items.lock().insert(501, item("$KV.directory.o1".to_owned(), "default"));
    entries.dying.store(true, Ordering::Relaxed);
    let dying = drain(&js, &entries, &nudge, &stop);
    until("the first window published", || entries.reached.load(Ordering::Relaxed)).await;
    dying.abort();
    server.kill().await;

    // The next owner begins while there is no server.
    entries.dying.store(false, Ordering::Relaxed);
    let next = drain(&js, &entries, &nudge, &stop);
    server.again().await;
    until("an empty outbox", || entries.items.lock().is_empty()).await;
    let tasks = js.get_stream("TASK_default").await.unwrap();
    assert_eq!(tasks.cached_info().state.messages, 500);
    let directory = js.get_key_value("directory").await.unwrap();
    assert_eq!(directory.get("o1").await.unwrap().unwrap(), "default");

    // A nudge is enough to wake it.
    entries.items.lock().insert(502, item("task.default.w1.o501.1".to_owned(), "{}"));
    nudge.notify_one();
    until("the nudged entry", || entries.items.lock().is_empty()).await;
    stop.cancel();
    next.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_carry_the_original_and_impossible_entries_hold_up_nobody() {
    let server = Server::start().await;
    let js = server.jetstream().await;
    ensure(&js).await;
    js.publish("order.default.o1.pay", "{broken".into()).await.unwrap().await.unwrap();
    js.publish("order.default.o2.pay", "erased".into()).await.unwrap().await.unwrap();
    js.get_stream("CELL_default").await.unwrap().delete_message(2).await.unwrap();
    let (entries, nudge, stop) = (Arc::new(Entries::default()), Arc::new(Notify::new()), CancellationToken::new());
    let dead = |seq: u64| OutboxItem {
        subject: format!("dead.default.{seq}"),
        headers: vec![
            ("Trunkline-Sequence".to_owned(), seq.to_string()),
            ("Trunkline-Field".to_owned(), "payload".to_owned()),
            ("Trunkline-Reason".to_owned(), "broken\r\nNats-Rollup: all".to_owned()),
        ],
        payload: Bytes::new(),
        log_time: None,
    };
    entries.items.lock().insert(1, item("task.default.w1.big.1".to_owned(), &"x".repeat(2 << 20)));
    entries.items.lock().insert(2, dead(1));
    entries.items.lock().insert(3, dead(2));
    let running = drain(&js, &entries, &nudge, &stop);
    until("two dead letters", || entries.items.lock().len() == 1).await;
    assert!(entries.items.lock().contains_key(&1), "what can't be sent is kept");

    let stream = js.get_stream("DEAD_default").await.unwrap();
    let first = stream.get_raw_message(1).await.unwrap();
    assert_eq!(first.payload, "{broken");
    assert_eq!(first.headers.get("Trunkline-Subject").unwrap().as_str(), "order.default.o1.pay");
    assert_eq!(first.headers.get("Trunkline-Reason").unwrap().as_str(), "broken  Nats-Rollup: all");
    let second = stream.get_raw_message(2).await.unwrap();
    assert_eq!((second.subject.as_str(), second.payload.len()), ("dead.default.2", 0));
    stop.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_stream_and_entries_too_large_hold_up_only_themselves() {
    let server = Server::start().await;
    let js = server.jetstream().await;
    ensure(&js).await;
    let limit = |most: i64| {
        let js = js.clone();
        async move {
            let mut config = js.get_stream("TASK_default").await.unwrap().cached_info().config.clone();
            config.max_messages = most;
            js.update_stream(config).await.unwrap();
        }
    };
    limit(10).await;
    // More than a window of each that can't go, before anything that can.
    let (entries, nudge, stop) = (Arc::new(Entries::default()), Arc::new(Notify::new()), CancellationToken::new());
    let large = "x".repeat(2 << 20);
    for n in 1..=70 {
        entries.items.lock().insert(n, item(format!("task.default.w1.big{n}.1"), &large));
    }
    for n in 71..=270 {
        entries.items.lock().insert(n, item(format!("task.default.w1.o{n}.1"), "{}"));
    }
    entries.items.lock().insert(271, item("$KV.directory.o1".to_owned(), "default"));
    entries.items.lock().insert(272, item("dead.default.77".to_owned(), "{}"));
    let metrics = Metrics::default();
    // Only the store's writer knows how many there are: the drain sees a window of them.
    metrics.outbox_entries.set(1_000);
    let running = drain_with(&js, &entries, &nudge, &stop, &metrics);
    let has = |id: i64| entries.items.lock().contains_key(&id);
    until("the other streams' entries", || !has(271) && !has(272)).await;
    until("what a full stream takes", || entries.items.lock().len() == 70 + 190).await;

    // Later ones go past as well, and tasks behind the older tasks.
    entries.items.lock().insert(273, item("task.default.w1.o273.1".to_owned(), "{}"));
    entries.items.lock().insert(274, item("$KV.directory.o2".to_owned(), "default"));
    nudge.notify_one();
    until("a later entry of another stream", || !has(274)).await;
    assert!(has(273));

    // With room again all goes by itself, but for what never can.
    limit(-1).await;
    until("the tasks", || entries.items.lock().len() == 70).await;
    assert!((1..=70).all(has), "what can't be sent is kept");
    let text = metrics.encode().unwrap();
    assert!(text.contains("trunkline_outbox_set_aside_total 70\n"), "each counted once: {text}");
    assert!(text.contains("trunkline_outbox_entries 1000\n"), "left to the writer: {text}");
    let mut tasks = js.get_stream("TASK_default").await.unwrap();
    assert_eq!(tasks.info().await.unwrap().state.messages, 201);
    stop.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_stream_would_have_forgotten_is_not_said_again() {
    let server = Server::start().await;
    let js = server.jetstream().await;
    ensure(&js).await;
    let (entries, nudge, stop) = (Arc::new(Entries::default()), Arc::new(Notify::new()), CancellationToken::new());
    let days_ago = |days: i64| Some(clock::wall().plus(-days * 86_400_000));
    for (id, subject, log_time) in [
        (1, "task.default.w1.o1.1", days_ago(8)),
        (2, "task.default.w1.o2.1", days_ago(6)),
        (3, "task.default.w1.o3.1", None),
        (4, "dead.default.4", days_ago(31)),
        (5, "dead.default.5", days_ago(8)),
        (6, "$KV.directory.o1", days_ago(400)),
    ] {
        entries.items.lock().insert(id, OutboxItem { log_time, ..item(subject.to_owned(), "{}") });
    }
    let metrics = Metrics::default();
    let running = drain_with(&js, &entries, &nudge, &stop, &metrics);
    until("an empty outbox", || entries.items.lock().is_empty()).await;
    for (stream, stored) in [("TASK_default", 2), ("DEAD_default", 1), ("KV_directory", 1)] {
        assert_eq!(js.get_stream(stream).await.unwrap().cached_info().state.messages, stored, "{stream}");
    }
    assert!(metrics.encode().unwrap().contains("trunkline_outbox_expired_total 2\n"));
    stop.cancel();
    running.await.unwrap().unwrap();
}
