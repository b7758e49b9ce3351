//! How orders ended: one line each, written once, from which a day's figures are counted without opening a state.
//!
//! A line holds when the order ended, what was promised, and the first arrival time that was told while it was being
//! delivered. All of it follows from the order and its history, which the state hash covers; a line isn't hashed again.

use super::{read::unsigned, readers::ReadError, rows::WriteError};
use crate::{
    domain::UnixMillis,
    ports::{Ended, OrderColumns},
    wire::figures::{EtaFigures, LateFigures},
};
use rusqlite::{Connection, params};

/// Filled with the last day of what a file has from before. The promise is in the patches of those lines that can set one.
pub(super) const TABLE: &str = "
CREATE TABLE outcomes (
    order_id TEXT PRIMARY KEY,
    status INTEGER NOT NULL,            -- 4 completed, 5 cancelled
    ended_at INTEGER NOT NULL,
    promise_to INTEGER,
    eta_p10 INTEGER,                    -- the first that was told while delivering
    eta_p50 INTEGER,
    eta_p90 INTEGER
) STRICT, WITHOUT ROWID;
INSERT INTO outcomes
SELECT o.id, o.status, ifnull(o.complete_time, o.update_time),
    (SELECT json_extract(t.patch, '$.promise.to_ms') FROM order_tracking t
     WHERE t.order_id = o.id AND t.kind IN ('create', 'edit') AND json_extract(t.patch, '$.promise.to_ms') IS NOT NULL
     ORDER BY t.id DESC LIMIT 1),
    e.eta_p10, e.eta_p50, e.eta_p90
FROM orders o LEFT JOIN order_tracking e ON e.id = (
    SELECT id FROM order_tracking WHERE order_id = o.id AND status = 3 AND eta_p50 IS NOT NULL ORDER BY id LIMIT 1)
WHERE o.status >= 4 AND o.update_time >= (SELECT cell_time FROM cell_state) - 86400000;
-- Covers the counting.
CREATE INDEX outcomes_by_end ON outcomes (ended_at, status, promise_to, eta_p10, eta_p50, eta_p90);
";

/// An order that changes after its end, by a late fix, has its line already: nothing more is looked up then.
const PUT: &str = "
INSERT INTO outcomes
SELECT ?1, ?2, ?3, ?4, e.eta_p10, e.eta_p50, e.eta_p90
FROM (SELECT 1) LEFT JOIN order_tracking e ON e.id = (
    SELECT id FROM order_tracking WHERE order_id = ?1 AND status = 3 AND eta_p50 IS NOT NULL ORDER BY id LIMIT 1)
WHERE NOT EXISTS (SELECT 1 FROM outcomes WHERE order_id = ?1)";

/// Takes note of an order's end, if it has ended; its history is written already.
pub(super) fn write(connection: &Connection, order: &str, columns: &OrderColumns) -> Result<(), WriteError> {
    let Some(Ended { at, promise_to }) = columns.ended else { return Ok(()) };
    connection.prepare_cached(PUT)?.execute(params![order, columns.status, at.0, promise_to.map(|t| t.0)])?;
    Ok(())
}

/// What a store counts of a cell.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts {
    /// Orders by status, from code 1 on; ended ones by when they ended.
    pub orders: [u64; 5],
    pub late: LateFigures,
    pub eta: EtaFigures,
}

const ACTIVE: &str = "SELECT status, count(*) FROM orders WHERE status IN (1, 2, 3) GROUP BY status";
/// Of the open ones, which are few: of kind `late` there are many that are cleared.
const LATE: &str = "SELECT count(*) FROM alerts INDEXED BY alerts_open WHERE state <> 'cleared' AND kind = 'late'";
const ENDED: &str = "
SELECT count(*) FILTER (WHERE status = 4), count(*) FILTER (WHERE status = 5),
    count(promise_to) FILTER (WHERE status = 4), count(*) FILTER (WHERE status = 4 AND ended_at > promise_to),
    count(eta_p50) FILTER (WHERE status = 4),
    ifnull(sum(abs(eta_p50 - ended_at)) FILTER (WHERE status = 4), 0),
    ifnull(sum(eta_p50 - ended_at) FILTER (WHERE status = 4), 0),
    count(*) FILTER (WHERE status = 4 AND ended_at BETWEEN eta_p10 AND eta_p90)
FROM outcomes WHERE ended_at >= ?1";

/// Counts what is under way, and what ended at `since` or later.
pub(super) fn counts(connection: &Connection, since: UnixMillis) -> Result<Counts, ReadError> {
    let mut counts = Counts::default();
    let mut statement = connection.prepare_cached(ACTIVE)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let status: usize = row.get::<_, u8>(0)?.into();
        if let Some(orders) = status.checked_sub(1).and_then(|place| counts.orders.get_mut(place)) {
            *orders = unsigned(row, 1)?;
        }
    }
    counts.late.open = connection.prepare_cached(LATE)?.query_one([], |row| unsigned(row, 0))?;
    connection.prepare_cached(ENDED)?.query_one([since.0], |row| {
        (counts.orders[3], counts.orders[4]) = (unsigned(row, 0)?, unsigned(row, 1)?);
        (counts.late.completed, counts.late.completed_late) = (unsigned(row, 2)?, unsigned(row, 3)?);
        counts.eta.orders = unsigned(row, 4)?;
        let (orders, off_ms, bias_ms, within): (i64, i64, i64, i64) =
            (row.get(4)?, row.get(5)?, row.get(6)?, row.get(7)?);
        if orders > 0 {
            counts.eta.mae_ms = Some(off_ms / orders);
            counts.eta.bias_ms = Some(bias_ms / orders);
            counts.eta.within = Some(within as f64 / orders as f64);
        }
        Ok(())
    })?;
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{CellId, Eta, eta::Basis, eta::Legs, eta::Path},
        ports::Store as _,
        store::{
            fixtures::{Shop, open},
            schema::{MIGRATIONS, prepare},
        },
    };

    fn eta(p50: UnixMillis) -> Eta {
        let (legs, basis, path) = (Legs::default(), Basis::ConstantSpeed, Path::Route);
        Eta { at: p50, p10: p50.plus(-60_000), p50, p90: p50.plus(120_000), legs, basis, path }
    }

    /// Orders that end in each way: (promise less end, told p50 less end) in ms.
    fn day(shop: &mut Shop) -> UnixMillis {
        let cases = [
            (Some(60_000), Some(30_000)),
            // Later than promised and than told, beyond p90.
            (Some(-1), Some(-300_000)),
            (None, Some(60_001)),
            // Older rules tell no arrival.
            (Some(0), None),
        ];
        for (n, (promise, told)) in cases.into_iter().enumerate() {
            let order = shop.create(&format!("done{n}"));
            shop.pay(&order);
            let end = shop.end_of(&order);
            shop.promise(&order, promise.map(|ms| end.plus(ms)));
            // Told before it left: not what counts.
            shop.tell(&order, Some(eta(end.plus(9_000_000))), false);
            shop.tell(&order, None, true);
            shop.tell(&order, told.map(|ms| eta(end.plus(ms))), true);
            shop.fix(&order);
            shop.tell(&order, told.map(|_| eta(end)), true);
            shop.complete(&order, end);
        }
        shop.now_at()
    }

    #[tokio::test]
    async fn a_day_is_counted_as_it_ended() {
        let (dir, store) = open();
        let mut shop = Shop::new(8);
        day(&mut shop);
        shop.create("new");
        let paid = shop.create("paid");
        shop.pay(&paid);
        store.commit(shop.commit()).await.unwrap();
        // A late fix changes an ended order and not how it ended.
        shop.fix(&"done0".parse().unwrap());
        store.commit(shop.commit()).await.unwrap();
        let counts = store.counts(UnixMillis(0)).await.unwrap();
        assert_eq!(counts.orders, [1, 1, 0, 4, 0]);
        assert_eq!((counts.late.completed, counts.late.completed_late), (3, 1));
        let eta = counts.eta;
        assert_eq!((eta.orders, eta.mae_ms, eta.bias_ms), (3, Some(130_000), Some(-69_999)));
        assert_eq!(eta.within, Some(1.0 / 3.0));
        let late = store.open_alerts().await.unwrap().into_iter().find(|(kind, _)| kind.name() == "late");
        assert_eq!(counts.late.open, late.map_or(0, |(_, n)| n.unsigned_abs()));
        // Who looks later sees none of it.
        let none = store.counts(shop.now_at().plus(100_000_000)).await.unwrap();
        assert_eq!((none.orders, none.eta), ([1, 1, 0, 0, 0], EtaFigures::default()));
        // What a file of the schema before gets is what this one has.
        store.close().await.unwrap();
        let mut connection = Connection::open(dir.path().join("cell.sqlite")).unwrap();
        let lines = |c: &Connection| {
            let sql = "SELECT order_id || ':' || json_array(status, ended_at, promise_to, eta_p10, eta_p50, eta_p90)
                       FROM outcomes ORDER BY order_id";
            let mut statement = c.prepare(sql).unwrap();
            statement.query_map([], |row| row.get::<_, String>(0)).unwrap().map(Result::unwrap).collect::<Vec<_>>()
        };
        let written = lines(&connection);
        let before = MIGRATIONS.iter().position(|script| *script == TABLE).unwrap();
        connection.execute_batch(&format!("DROP TABLE outcomes; PRAGMA user_version = {before}")).unwrap();
        prepare(&mut connection, &CellId::default()).unwrap();
        assert_eq!(lines(&connection), written);
    }

    #[test]
    fn counting_reads_indexes_alone() {
        let mut connection = Connection::open_in_memory().unwrap();
        prepare(&mut connection, &CellId::default()).unwrap();
        let plan = |sql: &str| {
            let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let binds = vec![0; statement.parameter_count()];
            let plan = statement.query_map(rusqlite::params_from_iter(binds), |row| row.get::<_, String>(3)).unwrap();
            plan.map(Result::unwrap).collect::<Vec<_>>().join("; ")
        };
        assert_eq!(plan(ENDED), "SEARCH outcomes USING COVERING INDEX outcomes_by_end (ended_at>?)");
        assert_eq!(plan(ACTIVE), "SEARCH orders USING COVERING INDEX orders_by_status (status=?)");
        assert!(plan(LATE).contains("INDEX alerts_open"), "{}", plan(LATE));
        assert!(plan(PUT).contains("order_tracking_by_order (order_id=?)"), "{}", plan(PUT));
        assert!(!plan(PUT).contains("B-TREE"), "{}", plan(PUT));
    }
}
