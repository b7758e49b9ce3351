use super::*;
use crate::{
    domain::{
        CellId, Effect, OrderId, OrderInput, Rules, UnixMillis,
        cell::{Entry, Solo},
        effect::{Revision, Row, RowFix},
        testing,
    },
    metrics::Metrics,
    ports::{Announcements, Commit, HistoryItem, LogMark, OrderImage, OutboxItem, Publish, Sink, Store, StoreError},
    wire::{
        answer::Outcome,
        blob,
        log::{Batch, Received},
        merge, subject,
        update::Update,
    },
};
use bytes::Bytes;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use std::{collections::BTreeMap, sync::Arc};
use tokio_util::task::TaskTracker;

/// A store in memory. Commits become visible only when they resolve, and take a while.
#[derive(Clone, Debug, Default)]
struct Memory {
    tables: Arc<Mutex<Tables>>,
    fail: bool,
}

#[derive(Debug, Default)]
struct Tables {
    orders: BTreeMap<OrderId, OrderImage>,
    riders: BTreeMap<String, Bytes>,
    history: Vec<(OrderId, Row, Option<Bytes>)>,
    outbox: Vec<OutboxItem>,
    head: Bytes,
    cursor: u64,
}

impl Tables {
    /// As a database would: the fix's own line gets its new content.
    fn revise(&mut self, order: &OrderId, revision: &Revision) {
        let is_it = |f: &RowFix| f.rider == revision.rider && f.fix.id == revision.id;
        let line = self.history.iter_mut().find(|(o, row, _)| o == order && row.fix.as_ref().is_some_and(is_it));
        let fix = line.and_then(|(_, row, _)| row.fix.as_mut()).expect("a fix that was never appended is revised");
        fix.mark = revision.mark;
        if let Some((new, fix_time)) = revision.fix {
            (fix.fix, fix.fix_time) = (new, fix_time);
        }
    }
}

impl Store for Memory {
    fn load(&self, order: &OrderId) -> BoxFuture<'static, Result<Option<OrderImage>, StoreError>> {
        let (tables, order) = (self.tables.clone(), order.clone());
        Box::pin(async move {
            tokio::task::yield_now().await;
            Ok(tables.lock().orders.get(&order).cloned())
        })
    }

    fn commit(&self, batch: Commit) -> BoxFuture<'static, Result<(), StoreError>> {
        let (tables, fail) = (self.tables.clone(), self.fail);
        Box::pin(async move {
            if fail {
                return Err(StoreError("disk full".into()));
            }
            for _ in 0..5 {
                tokio::task::yield_now().await;
            }
            let mut tables = tables.lock();
            for commit in batch.orders {
                let image = tables.orders.entry(commit.order).or_default();
                image.head = commit.head;
                for (n, chunk) in commit.chunks {
                    let n = n as usize;
                    image.chunks.resize(image.chunks.len().max(n + 1), Bytes::new());
                    image.chunks[n] = chunk;
                }
            }
            tables.riders.extend(batch.riders.into_iter().map(|(id, blob)| (id.to_string(), blob)));
            for item in batch.history {
                match item {
                    HistoryItem::Append { order, row, patch, .. } => tables.history.push((order, *row, patch)),
                    HistoryItem::Revise { order, revision } => tables.revise(&order, &revision),
                }
            }
            tables.outbox.extend(batch.outbox);
            tables.head = batch.cell_head;
            tables.cursor = batch.cursor;
            Ok(())
        })
    }

    fn mark(&self) -> BoxFuture<'static, Result<Option<LogMark>, StoreError>> {
        Box::pin(async { Ok(None) })
    }
}

#[derive(Clone, Debug, Default)]
struct Heard(Arc<Mutex<Vec<Announcements>>>);

impl Publish for Heard {
    fn announce(&self, announcements: Announcements) -> BoxFuture<'static, ()> {
        self.0.lock().push(announcements);
        Box::pin(async {})
    }
}

/// Runs a log through the actors in batches of `size`.
async fn run(log: &[Entry], size: usize, change: impl Fn(&mut CellOptions)) -> (Memory, Heard, Metrics) {
    let (store, heard, metrics) = (Memory::default(), Heard::default(), Metrics::default());
    let mut options = CellOptions::new("default".parse().unwrap(), 1);
    change(&mut options);
    let (tasks, dyn_store, publish) = (TaskTracker::new(), Arc::new(store.clone()), Arc::new(heard.clone()));
    let cell =
        CellHandle::start(options, Restored::default(), dyn_store, publish, metrics.clone(), &tasks).await.unwrap();
    for entries in log.chunks(size) {
        let received =
            |e: &Entry| Received { entry: e.clone(), reply: e.seq.is_multiple_of(2).then(|| e.seq.to_string().into()) };
        cell.deliver(Batch { entries: entries.iter().map(received).collect(), digest: [1; 32] }).await.unwrap();
    }
    cell.finish().await;
    (store, heard, metrics)
}

/// What a store and a listener have in the end.
fn outcome((store, heard, _): &(Memory, Heard, Metrics)) -> String {
    let tables = store.tables.lock();
    let heard = heard.0.lock();
    let updates: Vec<_> = heard.iter().flat_map(|a| a.updates.clone()).collect();
    let answers: Vec<_> = heard.iter().flat_map(|a| a.answers.clone()).collect();
    let Tables { orders, riders, history, outbox, head, cursor } = &*tables;
    let mut outbox = outbox.clone();
    outbox.sort_by(|a, b| a.subject.cmp(&b.subject));
    format!("{orders:?}\n{riders:?}\n{history:?}\n{outbox:?}\n{head:?}\n{cursor}\n{updates:?}\n{answers:?}")
}

#[tokio::test]
async fn batches_and_passivation_make_no_difference() {
    for (seed, log) in (0..2).flat_map(|n| [(n, testing::log(n, 1_500, 12, 4)), (n, testing::life(n, 1_500, 12, 4))]) {
        let whole = outcome(&run(&log, 1_000, |_| {}).await);
        for size in [1, 7, 250] {
            assert!(whole == outcome(&run(&log, size, |_| {}).await), "seed {seed}, batches of {size}");
        }
        assert!(whole == outcome(&run(&log, 1, |o| o.passivate_each = true).await), "seed {seed}, passivated");
    }
}

#[tokio::test]
async fn actors_do_what_the_core_does_alone() {
    for log in [testing::log(77, 3_000, 20, 6), testing::life(78, 3_000, 20, 6)] {
        agree(&log).await;
    }
}

async fn agree(log: &[Entry]) {
    let mut solo = Solo::default();
    for entry in log {
        solo.apply(entry);
    }
    let (store, heard, _) = run(log, 100, |_| {}).await;
    let tables = store.tables.lock();
    for (id, order) in &solo.orders {
        let image = tables.orders.get(id).map(|i| i.head.clone());
        assert_eq!(image, order.as_ref().map(|o| Bytes::from(blob::encode(o).unwrap())), "{id}");
    }
    // Every order's deltas lead from nothing to its published state, without gaps.
    let mut followed: BTreeMap<OrderId, (u64, serde_json::Value)> = BTreeMap::new();
    for (id, update) in heard.0.lock().iter().flat_map(|a| a.updates.clone()) {
        let Update::Delta { from, to, patch, .. } = serde_json::from_slice(&update.encode()).unwrap() else {
            panic!("not a delta")
        };
        let (version, state) = followed.entry(id).or_default();
        assert_eq!((from, to), (*version, *version + 1));
        *version = to;
        merge::patch(state, &patch);
    }
    for (id, (version, state)) in followed {
        let order = solo.orders[&id].as_ref().unwrap();
        assert_eq!(version, order.version);
        assert_eq!(state, crate::wire::doc::order(&id, &order.facts, &order.live));
    }
}

/// Fails on every payment of `o3`.
fn poisoned(
    slot: &mut Option<crate::domain::Order>,
    id: &OrderId,
    input: &OrderInput,
    at: UnixMillis,
    rules: &Rules,
    out: &mut Vec<Effect>,
) -> bool {
    if let OrderInput::Command { command, .. } = input
        && id.as_str() == "o3"
        && matches!(command.action, crate::domain::Action::Pay)
    {
        panic!("poison");
    }
    crate::domain::order::apply(slot, id, input, at, rules, out)
}

#[tokio::test]
async fn a_poisonous_input_is_set_aside_and_the_rest_goes_on() {
    let log = testing::log(5, 800, 8, 3);
    // The same log without the poison is what the cell must end with.
    let pays = |e: &Entry| {
        matches!(&e.input, crate::domain::cell::Input::Command { order, command }
        if order.as_str() == "o3" && matches!(command.action, crate::domain::Action::Pay))
    };
    let poison: Vec<u64> = log.iter().filter(|e| pays(e)).map(|e| e.seq).collect();
    assert!(poison.len() > 3);
    let mut solo = Solo::default();
    log.iter().filter(|e| !pays(e)).for_each(|e| drop(solo.apply(e)));
    for size in [1, 50] {
        let (store, heard, metrics) = run(&log, size, |o| o.apply = poisoned).await;
        let tables = store.tables.lock();
        assert_eq!(tables.cursor, 800);
        for (id, order) in &solo.orders {
            let head = tables.orders.get(id).map(|i| i.head.clone());
            assert_eq!(head, order.as_ref().map(|o| Bytes::from(blob::encode(o).unwrap())), "{id}");
        }
        let dead: Vec<_> = tables.outbox.iter().map(|o| o.subject.clone()).collect();
        for seq in &poison {
            assert!(dead.contains(&subject::dead(&CellId::default(), *seq)), "{seq} is no dead letter");
        }
        assert_eq!(metrics.order_actor_restarts.get(), 2 * poison.len() as u64);
        let answers: Vec<_> = heard.0.lock().iter().flat_map(|a| a.answers.clone()).collect();
        let set_aside = answers.iter().filter(|(_, o)| matches!(o, Outcome::Refused(r) if r.code == "set_aside"));
        assert_eq!(set_aside.count(), poison.iter().filter(|seq| seq.is_multiple_of(2)).count());
    }
}

#[tokio::test]
async fn a_store_that_refuses_stops_the_cell_before_anything_is_announced() {
    let (store, heard, tasks) = (Memory { fail: true, ..Memory::default() }, Heard::default(), TaskTracker::new());
    let options = CellOptions::new("default".parse().unwrap(), 1);
    let publish = Arc::new(heard.clone());
    let cell = CellHandle::start(options, Restored::default(), Arc::new(store), publish, Metrics::default(), &tasks)
        .await
        .unwrap();
    let entries = testing::log(1, 10, 2, 2).into_iter().map(|entry| Received { entry, reply: None }).collect();
    cell.deliver(Batch { entries, digest: [0; 32] }).await.unwrap();
    let mut stopped = cell.stopped();
    stopped.wait_for(Option::is_some).await.unwrap();
    assert!(cell.deliver(Batch::default()).await.unwrap_err().0.contains("disk full"));
    assert!(heard.0.lock().is_empty());
}
