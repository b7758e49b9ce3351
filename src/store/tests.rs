//! The store through its ports: round trips, group commit, and what is left after a failure.

#![allow(clippy::disallowed_methods, reason = "tests spawn")]

use super::{
    OpenError, Options, Store,
    fixtures::{Shop, open},
    state_hash,
};
use crate::{
    domain::{CellId, UnixMillis, effect::TimerKind},
    metrics::Metrics,
    ports::{Commit, HistoryItem, Outbox as _, OutboxItem, Store as _, StoreError},
    wire::{query::DeltasQuery, subject},
};
use bytes::Bytes;
use rusqlite::Connection;
use std::path::Path;

fn open_at(path: &Path, options: Options) -> Store {
    Store::open(path, &CellId::default(), options, Metrics::default()).unwrap()
}

#[tokio::test]
async fn what_is_committed_is_read_back_and_survives_a_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cell.sqlite");
    let store = open_at(&path, Options::default());
    assert_eq!(store.cell().await.unwrap().cursor, 0);
    assert!(store.cell().await.unwrap().head.is_empty());
    assert_eq!(store.mark().await.unwrap(), None);
    store.adopt(17).await.unwrap();
    store.adopt(17).await.unwrap();
    let error = store.adopt(18).await.unwrap_err();
    assert!(error.to_string().contains("created at 17"), "{error}");

    let mut shop = Shop::new(10);
    let order = shop.create("o");
    for _ in 0..12 {
        shop.fix(&order);
    }
    let commit = shop.commit();
    store.commit(commit.clone()).await.unwrap();
    for _ in 0..2 {
        let store = open_at(&path, Options::default());
        let image = store.load(&order).await.unwrap().unwrap();
        assert_eq!(image.head, commit.orders[0].head);
        assert_eq!(image.chunks.len(), 2);
        assert_eq!(image.chunks[1], commit.orders[0].chunks[1].1);
        assert_eq!(store.load(&"none".parse().unwrap()).await.unwrap(), None);
        let mark = store.mark().await.unwrap().unwrap();
        assert_eq!((mark.created_ns, mark.cursor, mark.digest), (17, commit.cursor, commit.cursor_digest));
        let cell = store.cell().await.unwrap();
        assert_eq!(
            (cell.cursor, cell.cell_time, cell.head),
            (commit.cursor, commit.cell_time, commit.cell_head.clone())
        );
        assert_eq!(store.riders().await.unwrap().len(), 3);
        let due = commit.orders[0].timers.as_ref().unwrap()[0].2;
        assert_eq!(store.timers().await.unwrap(), [(order.clone(), TimerKind::Unpaid, 1, due)]);
        assert_eq!(
            store.current(UnixMillis(i64::MAX)).await.unwrap(),
            [(order.clone(), commit.orders[0].head.clone())]
        );
        store.close().await.unwrap();
        assert!(store.load(&order).await.is_err() && store.commit(Commit::default()).await.is_err());
    }
}

#[tokio::test]
async fn current_orders_are_the_active_and_the_ended_that_changed_lately() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cell.sqlite");
    let store = open_at(&path, Options::default());
    let mut shop = Shop::new(11);
    let ids: Vec<_> = ["active", "cancelled", "changed", "late", "old"].map(|name| shop.create(name)).into();
    let mut commit = shop.commit();
    for order in &mut commit.orders {
        let (status, complete, update) = match order.order.as_str() {
            "old" => (4, Some(10), 49),
            // Completed as long ago; a fix came after that.
            "changed" => (4, Some(10), 90),
            "late" => (4, Some(60), 60),
            "cancelled" => (5, None, 50),
            _ => (3, None, 0),
        };
        order.columns.status = status;
        order.columns.complete_time = complete.map(UnixMillis);
        order.columns.update_time = UnixMillis(update);
    }
    store.commit(commit).await.unwrap();
    let mut found: Vec<_> = store.current(UnixMillis(50)).await.unwrap().into_iter().map(|(id, _)| id).collect();
    found.sort();
    assert_eq!(found, ids[..4]);

    let reader = Connection::open(&path).unwrap();
    let mut plan = reader.prepare(&format!("EXPLAIN QUERY PLAN {}", super::read::CURRENT)).unwrap();
    let steps: Vec<String> = plan.query_map([0], |row| row.get(3)).unwrap().map(Result::unwrap).collect();
    assert!(steps.iter().any(|step| step.contains("USING INDEX orders_by_end (update_time>?)")), "{steps:?}");
    assert!(!steps.iter().any(|step| step.contains("SCAN")), "{steps:?}");
}

#[tokio::test]
async fn of_a_group_the_last_state_stays_and_all_history() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cell.sqlite");
    let store = open_at(&path, Options::default());
    let mut shop = Shop::new(12);
    let order = shop.create("o");
    let mut commits = vec![shop.commit()];
    for _ in 0..11 {
        shop.fix(&order);
        commits.push(shop.commit());
    }
    shop.pay(&order);
    commits.push(shop.commit());
    let last = commits.last().unwrap().clone();
    futures::future::try_join_all(commits.into_iter().map(|c| store.commit(c))).await.unwrap();
    let image = store.load(&order).await.unwrap().unwrap();
    assert_eq!(image.head, last.orders[0].head);
    // Chunks of earlier commits of the group are kept too.
    assert_eq!(image.chunks.len(), 2);
    assert_eq!(store.timers().await.unwrap(), []);
    let reader = Connection::open(&path).unwrap();
    let (rows, fixes): (i64, i64) = reader
        .query_one("SELECT count(*), count(fix_time) FROM order_tracking", [], |r| Ok((r.get(0)?, r.get(1)?)))
        .unwrap();
    assert_eq!((rows, fixes), (13, 11));
}

#[tokio::test]
async fn the_outbox_keeps_entries_in_order_until_they_are_done() {
    let (_dir, store) = open();
    let item = |n: u64| OutboxItem {
        subject: subject::task(&CellId::default(), &"w".parse().unwrap(), &"o".parse().unwrap(), n.try_into().unwrap()),
        headers: vec![("A".into(), "1".into()), ("A".into(), "\"2".into())],
        payload: vec![0, 255].into(),
        log_time: (n > 1).then_some(UnixMillis(n.cast_signed())),
    };
    let commit = |cursor: u64, items: &[u64]| Commit {
        cursor,
        outbox: items.iter().map(|n| item(*n)).collect(),
        ..Commit::default()
    };
    store.commit(commit(1, &[3, 1])).await.unwrap();
    store.commit(commit(2, &[2, 1])).await.unwrap();
    let pending = store.pending(0, 10).await.unwrap();
    assert_eq!(pending.iter().map(|(_, i)| i.clone()).collect::<Vec<_>>(), [item(3), item(1), item(2)]);
    assert_eq!(store.pending(0, 1).await.unwrap().len(), 1);
    assert_eq!(store.pending(pending[0].0, 1).await.unwrap(), [pending[1].clone()]);
    assert_eq!(store.pending(pending[2].0, 1).await.unwrap(), []);
    store.done(vec![pending[0].0, pending[2].0]).await.unwrap();
    store.done(vec![pending[0].0]).await.unwrap();
    assert_eq!(store.pending(0, 10).await.unwrap(), [pending[1].clone()]);
}

#[tokio::test]
async fn the_outbox_and_transactions_are_counted_once_from_the_table_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cell.sqlite");
    let open = |metrics: &Metrics| Store::open(&path, &CellId::default(), Options::default(), metrics.clone()).unwrap();
    let says = |metrics: &Metrics, line: &str| {
        let text = metrics.encode().unwrap();
        assert!(text.lines().any(|l| l == format!("trunkline_{line}")), "{line}: {text}");
    };
    let item = |n: u64| OutboxItem {
        subject: subject::dead(&CellId::default(), n),
        headers: vec![],
        payload: Bytes::new(),
        log_time: None,
    };
    let metrics = Metrics::default();
    let store = open(&metrics);
    says(&metrics, "outbox_entries 0");
    // The last subject is there already.
    let outbox = (0..300).chain([299]).map(item).collect();
    store.commit(Commit { cursor: 1, outbox, ..Commit::default() }).await.unwrap();
    says(&metrics, "outbox_entries 300");
    says(&metrics, "commit_seconds_count 1");
    store.close().await.unwrap();

    let metrics = Metrics::default();
    let store = open(&metrics);
    says(&metrics, "outbox_entries 300");
    let first = store.pending(0, 1).await.unwrap()[0].0;
    store.done(vec![first, first, 9_999]).await.unwrap();
    says(&metrics, "outbox_entries 299");
    says(&metrics, "commit_seconds_count 1");
}

#[tokio::test]
async fn revisions_change_the_fix_that_they_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cell.sqlite");
    let store = open_at(&path, Options::default());
    let mut shop = Shop::new(13);
    let order = shop.create("o");
    shop.fix(&order);
    for _ in 0..10 {
        shop.revise(&order);
    }
    store.commit(shop.commit()).await.unwrap();
    let reader = Connection::open(&path).unwrap();
    let row: (String, f64, f64, f64, Option<f64>, i64) = reader
        .query_one(
            "SELECT mark, latitude, longitude, accuracy_m, speed_mps, fix_time - device_time FROM order_tracking
             WHERE kind = 'fix'",
            [],
            |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?, r.get(5)?)),
        )
        .unwrap();
    assert_eq!(row, ("jump".into(), 77e-7, 88e-7, 1.0, None, 1));
}

/// The same fix appended twice: refused by the index, and with it all that is in the group or comes later.
#[tokio::test]
async fn a_failed_group_changes_nothing_and_nothing_passes_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cell.sqlite");
    let store = open_at(&path, Options::default());
    let mut shop = Shop::new(14);
    let order = shop.create("o");
    shop.fix(&order);
    store.commit(shop.commit()).await.unwrap();
    let before = state_hash(&path).unwrap();

    shop.fix(&order);
    let good = shop.commit();
    shop.fix(&order);
    let mut twice = shop.commit();
    let again = twice.history.iter().find(|item| matches!(item, HistoryItem::Append { .. })).unwrap().clone();
    twice.history.push(again);
    shop.fix(&order);
    let later = shop.commit();
    let error = store.commit(twice).await.unwrap_err();
    assert!(error.to_string().contains("UNIQUE"), "{error}");
    assert!(store.commit(later.clone()).await.is_err());
    assert!(store.done(vec![1]).await.is_err());
    assert_eq!(state_hash(&path).unwrap(), before);
    store.close().await.unwrap();

    // Opened anew, it goes on where the last commit left it.
    let store = open_at(&path, Options::default());
    store.commit(good).await.unwrap();
    store.commit(later).await.unwrap();
}

#[tokio::test]
async fn a_cursor_that_goes_back_and_a_second_writer_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cell.sqlite");
    let (one, two) = (open_at(&path, Options::default()), open_at(&path, Options::default()));
    let commit = |cursor| Commit { cursor, ..Commit::default() };
    one.commit(commit(5)).await.unwrap();
    let error = two.commit(commit(6)).await.unwrap_err();
    assert!(error.to_string().contains("another writer"), "{error}");
    let error = one.commit(commit(4)).await.unwrap_err();
    assert!(error.to_string().contains("go back from 5 to 4"), "{error}");
}

#[tokio::test]
async fn a_full_disk_stops_the_store_at_its_last_commit() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cell.sqlite");
    let store = open_at(&path, Options { max_pages: Some(120), ..Options::default() });
    let mut shop = Shop::new(15);
    let mut accepted = Vec::new();
    let error = loop {
        let commit = shop.batch(100);
        match store.commit(commit.clone()).await {
            Ok(()) => accepted.push(commit),
            Err(error) => break error,
        }
    };
    assert!(error.to_string().contains("full"), "{error}");
    let StoreError(first) = error;
    assert_eq!(store.commit(shop.batch(1)).await.unwrap_err().to_string(), format!("store: {first}"));
    let full = state_hash(&path).unwrap();
    assert_eq!(store.cell().await.unwrap().cursor, accepted.last().unwrap().cursor);
    store.close().await.unwrap();

    let replayed = dir.path().join("replayed.sqlite");
    let store = open_at(&replayed, Options::default());
    for commit in accepted {
        store.commit(commit).await.unwrap();
    }
    assert_eq!(state_hash(&replayed).unwrap(), full);
}

#[tokio::test]
async fn queries_hold_up_queries_and_not_the_cell() {
    let (_dir, store) = open();
    let mut shop = Shop::new(16);
    let order = shop.create("o");
    store.commit(shop.commit()).await.unwrap();
    store.adopt(1).await.unwrap();
    let tasks = tokio_util::task::TaskTracker::new();
    // As many slow queries as there are readers, and one that waits behind them.
    let slow: Vec<_> = (0..Options::default().readers)
        .map(|_| {
            let (end, ended) = std::sync::mpsc::channel::<()>();
            let inner = std::sync::Arc::clone(&store.inner);
            let reading = tasks.spawn(async move { inner.readers.read(move |_| Ok(ended.recv())).await });
            (end, reading)
        })
        .collect();
    while store.inner.readers.free() > 0 {
        tokio::task::yield_now().await;
    }
    let soon = std::time::Duration::from_secs(10);
    let ask = DeltasQuery { order: order.clone(), since: 1 };
    let waiting = tasks.spawn({
        let store = store.clone();
        async move { store.deltas(ask, 1).await }
    });
    for _ in 0..3 {
        let image = tokio::time::timeout(soon, store.load(&order)).await.expect("not held up").unwrap();
        assert!(image.is_some());
        assert!(tokio::time::timeout(soon, store.mark()).await.expect("not held up").unwrap().is_some());
        tokio::time::timeout(soon, store.pending(0, 1)).await.expect("not held up").unwrap();
    }
    assert!(!waiting.is_finished(), "no more queries at once than there are readers");
    for (end, reading) in slow {
        drop(end);
        assert!(reading.await.unwrap().unwrap().is_err());
    }
    assert!(waiting.await.unwrap().unwrap().is_some());
}

#[tokio::test]
async fn more_commits_than_the_queue_holds_are_refused_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cell.sqlite");
    let store = open_at(&path, Options { queued_commits: 2, ..Options::default() });
    // Holds the writer up while the queue fills.
    let lock = Connection::open(&path).unwrap();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    let commit = |cursor| store.commit(Commit { cursor, ..Commit::default() });
    let (first, second, third) = (commit(1), commit(2), commit(3));
    lock.execute_batch("COMMIT").unwrap();
    first.await.unwrap();
    second.await.unwrap();
    assert!(third.await.unwrap_err().to_string().contains("in flight"));
    assert!(commit(4).await.is_err());
    assert_eq!(store.cell().await.unwrap().cursor, 2);
}

#[test]
fn options_and_files_that_do_not_fit_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let open = |path: &Path, options| Store::open(path, &CellId::default(), options, Metrics::default());
    let path = dir.path().join("cell.sqlite");
    let error = open(&path, Options { readers: 0, ..Options::default() }).unwrap_err();
    assert!(matches!(error, OpenError::Options("readers")));
    assert!(matches!(open(&dir.path().join("no/such"), Options::default()), Err(OpenError::Sqlite(_))));
    drop(open(&path, Options::default()).unwrap());
    Connection::open(&path).unwrap().execute_batch("PRAGMA user_version = 1000").unwrap();
    let error = open(&path, Options::default()).unwrap_err();
    assert!(matches!(error, OpenError::Schema(super::SchemaError::Newer { found: 1000, .. })), "{error}");
}

#[tokio::test]
async fn an_owner_carries_on_within_a_run_of_its_machine_and_no_further() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cell.sqlite");
    let began = |epoch: u64, run: Option<&str>| {
        let (store, run) = (open_at(&path, Options::default()), run.map(str::to_owned));
        async move { store.carry_on(epoch, run).await.unwrap() }
    };
    assert_eq!(began(3, Some("a")).await, 3, "of what was before nothing is known");
    assert_eq!(began(4, Some("a")).await, 3);
    assert_eq!(began(6, Some("a")).await, 3);
    assert_eq!(began(7, Some("b")).await, 7, "another run of the machine");
    assert_eq!(began(8, Some("b")).await, 7);
    assert_eq!(began(9, None).await, 9, "not known");
    assert_eq!(began(10, None).await, 10, "not known is not the same");
    assert_eq!(began(11, Some("b")).await, 11);
}
