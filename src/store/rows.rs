//! What one transaction writes: the commits of a group, merged.
//!
//! Of an order, a rider and the cell only the last state within the group is written; history is written line by line
//! in log order, so that row ids, like all the rest, are the same however the log was cut into commits and those into
//! groups.

use super::{alerts, outcomes, passed::Trail};
use crate::{
    domain::{
        Mark, OrderId, UnixMillis,
        effect::{Revision, Row, RowFix, TimerKind},
    },
    geo::Point,
    ports::{Commit, HistoryItem, OrderColumns, OrderCommit, OutboxItem, RunningTimer},
};
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::{BTreeMap, HashMap};

/// Why a group could not be written. It is rolled back whole.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// SQLite's integers are signed.
    #[error("{0} is beyond 2^63")]
    TooLarge(u64),
    #[error("a delta of order {0} is not UTF-8")]
    Patch(String),
    #[error("order {order} has no fix of {rider} at {device_time_ms} to revise")]
    NoFix { order: String, rider: String, device_time_ms: i64 },
    #[error("the cursor would go back from {from} to {to}")]
    CursorBack { from: u64, to: u64 },
    #[error("the file's cursor is no longer {0}: another writer has it")]
    TwoWriters(u64),
    #[error("headers: {0}")]
    Headers(#[from] serde_json::Error),
    #[error("alert {alert}: {reason}")]
    Alert { alert: String, reason: String },
}

/// Writes a group that follows a state at `cursor`. Gives the new cursor and how many outbox entries were added.
pub(super) fn write(
    connection: &Connection,
    (cell, trail): (&str, &mut Trail),
    cursor: u64,
    group: &[Commit],
) -> Result<(u64, usize), WriteError> {
    let Some(last) = group.last() else { return Ok((cursor, 0)) };
    group.iter().try_fold(cursor, |from, commit| {
        if commit.cursor < from { Err(WriteError::CursorBack { from, to: commit.cursor }) } else { Ok(commit.cursor) }
    })?;
    cell_state(connection, cursor, last)?;
    // Orders before history: a stage's line takes the warehouse's name from its order.
    let orders = merge(group);
    for merged in &orders {
        order(connection, cell, merged)?;
    }
    riders(connection, group)?;
    for item in group.iter().flat_map(|commit| &commit.history) {
        match item {
            HistoryItem::Append { seq, order, row, patch } => {
                append(connection, *seq, order.as_str(), row, patch.as_ref())?;
                match &row.fix {
                    Some(RowFix { fix, fix_time, mark: Mark::Good, .. }) => {
                        trail.passed(connection, order, fix.point, *fix_time)?;
                    }
                    Some(_) => {}
                    None if row.status.is_final() => trail.forget(order),
                    None => {}
                }
            }
            HistoryItem::Revise { order, revision } => {
                if let Some((point, fix_time)) = revise(connection, order, revision)? {
                    trail.passed(connection, order, point, fix_time)?;
                }
            }
        }
    }
    // And how it ended after it: with what was told on the way.
    for merged in &orders {
        outcomes::write(connection, merged.last.order.as_str(), &merged.last.columns)?;
    }
    alerts::write(connection, group)?;
    let mut added = 0;
    for item in group.iter().flat_map(|commit| &commit.outbox) {
        added += enqueue(connection, item)?;
    }
    Ok((last.cursor, added))
}

/// Deletes outbox entries; gives how many there were.
pub(super) fn dequeue(connection: &Connection, ids: &[i64]) -> Result<usize, WriteError> {
    let mut statement = connection.prepare_cached("DELETE FROM outbox WHERE id = ?1")?;
    let mut gone = 0;
    for id in ids {
        gone += statement.execute([id])?;
    }
    Ok(gone)
}

/// How many rows a commit writes, about: what groups are bounded by.
pub(super) fn weight(commit: &Commit) -> usize {
    let Commit { riders, orders, history, alerts, outbox, .. } = commit;
    1 + riders.len() + orders.len() + history.len() + alerts.len() + outbox.len()
}

/// An order's last state in the group, with every chunk that any of its commits sealed, and its timers if any changed.
struct Merged<'a> {
    last: &'a OrderCommit,
    chunks: BTreeMap<u32, &'a Bytes>,
    timers: Option<&'a [RunningTimer]>,
}

fn merge(group: &[Commit]) -> Vec<Merged<'_>> {
    let mut places = HashMap::new();
    let mut merged: Vec<Merged<'_>> = Vec::new();
    for order in group.iter().flat_map(|commit| &commit.orders) {
        let place = *places.entry(&order.order).or_insert(merged.len());
        if place == merged.len() {
            merged.push(Merged { last: order, chunks: BTreeMap::new(), timers: None });
        }
        merged[place].last = order;
        merged[place].timers = order.timers.as_deref().or(merged[place].timers);
        merged[place].chunks.extend(order.chunks.iter().map(|(n, data)| (*n, data)));
    }
    merged
}

fn cell_state(connection: &Connection, cursor: u64, last: &Commit) -> Result<(), WriteError> {
    let Commit { cursor: to, cursor_digest, cell_head, cell_time, .. } = last;
    let changed = connection
        .prepare_cached(
            "UPDATE cell_state SET cursor = ?2, cursor_digest = ?3, cell_time = ?4, head = ?5 WHERE cursor = ?1",
        )?
        .execute(params![int(cursor)?, int(*to)?, cursor_digest, cell_time.0, &cell_head[..]])?;
    if changed == 1 { Ok(()) } else { Err(WriteError::TwoWriters(cursor)) }
}

/// The common case is a fix: nothing that an index covers changes, and an UPDATE that doesn't name those columns leaves
/// the indexes alone. Where it matches no row, the order is new or one of them changed.
const TOUCH: &str = "
UPDATE orders SET user_id = ?2, warehouse_name = ?3, stage = ?4, version = ?5, rev = ?6, total_minor = ?7,
    currency = ?8, update_time = ?9, complete_time = ?10, state = ?11
WHERE id = ?1 AND status = ?12 AND rider_id IS ?13 AND warehouse_id = ?14 AND create_time = ?15 AND cell = ?16";

const PUT: &str = "
INSERT INTO orders (id, user_id, warehouse_name, stage, version, rev, total_minor, currency, update_time, complete_time,
    state, status, rider_id, warehouse_id, create_time, cell)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)
ON CONFLICT (id) DO UPDATE SET user_id = ?2, warehouse_name = ?3, stage = ?4, version = ?5, rev = ?6, total_minor = ?7,
    currency = ?8, update_time = ?9, complete_time = ?10, state = ?11, status = ?12, rider_id = ?13, warehouse_id = ?14,
    create_time = ?15, cell = ?16";

/// One that is set already is left alone.
const SET_TIMER: &str = "
INSERT INTO timers (order_id, kind, n, due_ms) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (order_id, kind) DO UPDATE SET n = ?3, due_ms = ?4 WHERE n <> ?3 OR due_ms <> ?4";

fn order(connection: &Connection, cell: &str, merged: &Merged<'_>) -> Result<(), WriteError> {
    let OrderCommit { order, columns, head, chunks: _, timers: _ } = merged.last;
    let id = order.as_str();
    for sql in [TOUCH, PUT] {
        if put_order(connection, sql, id, cell, columns, head)? > 0 {
            break;
        }
    }
    if !merged.chunks.is_empty() {
        let mut put = connection.prepare_cached("INSERT OR REPLACE INTO order_track_chunk VALUES (?1, ?2, ?3)")?;
        for (n, data) in &merged.chunks {
            put.execute(params![id, n, &data[..]])?;
        }
    }
    let Some(timers) = merged.timers else { return Ok(()) };
    for kind in TimerKind::ALL {
        match timers.iter().find(|timer| timer.0 == kind) {
            Some((_, n, due)) => connection.prepare_cached(SET_TIMER)?.execute(params![id, kind.name(), n, due.0])?,
            None => connection
                .prepare_cached("DELETE FROM timers WHERE order_id = ?1 AND kind = ?2")?
                .execute(params![id, kind.name()])?,
        };
    }
    Ok(())
}

fn put_order(
    connection: &Connection,
    sql: &str,
    id: &str,
    cell: &str,
    columns: &OrderColumns,
    head: &Bytes,
) -> Result<usize, WriteError> {
    let c = columns;
    Ok(connection.prepare_cached(sql)?.execute(params![
        id,
        c.user_id,
        c.warehouse_name,
        c.stage,
        int(c.version)?,
        int(c.rev)?,
        c.total_minor,
        c.currency,
        c.update_time.0,
        c.complete_time.map(|t| t.0),
        &head[..],
        c.status,
        c.rider_id,
        c.warehouse_id,
        c.create_time.0,
        cell,
    ])?)
}

fn riders(connection: &Connection, group: &[Commit]) -> Result<(), WriteError> {
    let last: BTreeMap<_, _> = group.iter().flat_map(|commit| &commit.riders).map(|(id, state)| (id, state)).collect();
    let mut put = connection
        .prepare_cached("INSERT INTO riders (id, state) VALUES (?1, ?2) ON CONFLICT (id) DO UPDATE SET state = ?2")?;
    for (id, state) in last {
        put.execute(params![id.as_str(), &state[..]])?;
    }
    Ok(())
}

const APPEND: &str = "
INSERT INTO order_tracking (order_id, seq, kind, version, rev, status, stage, longitude, latitude, address, operator_id,
    operator_type, create_time, fix_time, device_time, sent_time, fix_seq, accuracy_m, speed_mps, heading_deg,
    battery_pct, mark, note, patch, eta_p10, eta_p50, eta_p90)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9,
    CASE WHEN ?3 = 'stage' THEN (SELECT warehouse_name FROM orders WHERE id = ?1) END,
    ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26)";

fn append(connection: &Connection, seq: u64, order: &str, row: &Row, patch: Option<&Bytes>) -> Result<(), WriteError> {
    let Row { kind, version, rev, status, stage, by, at, point, fix: row_fix, eta, note } = row;
    let patch =
        patch.map(|json| std::str::from_utf8(json).map_err(|_| WriteError::Patch(order.to_owned()))).transpose()?;
    let fix = row_fix.as_ref().map(|f| &f.fix);
    let point = fix.map(|f| f.point).or(*point);
    // A fix is its rider's, and found again by that (see `revise`), whoever sent it.
    let operator = row_fix.as_ref().map_or(&*by.id, |f| f.rider.as_str());
    connection.prepare_cached(APPEND)?.execute(params![
        order,
        int(seq)?,
        kind.name(),
        int(*version)?,
        int(*rev)?,
        status.code(),
        stage.map(|s| s.name()),
        point.map(|p| p.lon()),
        point.map(|p| p.lat()),
        operator,
        by.kind as u8,
        at.0,
        row_fix.as_ref().map(|f| f.fix_time.0),
        fix.map(|f| f.id.device_time.0),
        row_fix.as_ref().and_then(|f| f.sent_time).map(|t| t.0),
        fix.and_then(|f| f.id.seq),
        fix.and_then(|f| f.accuracy_dm).map(metres),
        fix.and_then(|f| f.speed_cmps).map(metres_per_second),
        fix.and_then(|f| f.heading_deg),
        fix.and_then(|f| f.battery_pct),
        row_fix.as_ref().map(|f| f.mark.name()),
        note,
        patch,
        eta.map(|eta| eta.p10.0),
        eta.map(|eta| eta.p50.0),
        eta.map(|eta| eta.p90.0),
    ])?;
    Ok(())
}

const REMARK: &str = "
UPDATE order_tracking SET mark = ?5
WHERE order_id = ?1 AND operator_id = ?2 AND device_time = ?3 AND ifnull(fix_seq, -1) = ifnull(?4, -1) AND kind = 'fix'
RETURNING latitude, longitude, fix_time";

const REPLACE: &str = "
UPDATE order_tracking SET mark = ?5, longitude = ?6, latitude = ?7, fix_time = ?8, accuracy_m = ?9, speed_mps = ?10,
    heading_deg = ?11, battery_pct = ?12
WHERE order_id = ?1 AND operator_id = ?2 AND device_time = ?3 AND ifnull(fix_seq, -1) = ifnull(?4, -1) AND kind = 'fix'
RETURNING latitude, longitude, fix_time";

/// Gives where and when the fix is now, if it counts.
fn revise(
    connection: &Connection,
    order: &OrderId,
    revision: &Revision,
) -> Result<Option<(Point, UnixMillis)>, WriteError> {
    let Revision { rider, id, mark, fix } = revision;
    let device_time_ms = id.device_time.0;
    let stands = |row: &rusqlite::Row<'_>| {
        let (lat, lon, time): (f64, f64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(Point::from_degrees(lat, lon).ok().map(|point| (point, UnixMillis(time))))
    };
    let revised = match fix {
        None => connection
            .prepare_cached(REMARK)?
            .query_row(params![order.as_str(), rider.as_str(), device_time_ms, id.seq, mark.name()], stands),
        Some((fix, fix_time)) => connection.prepare_cached(REPLACE)?.query_row(
            params![
                order.as_str(),
                rider.as_str(),
                device_time_ms,
                id.seq,
                mark.name(),
                fix.point.lon(),
                fix.point.lat(),
                fix_time.0,
                fix.accuracy_dm.map(metres),
                fix.speed_cmps.map(metres_per_second),
                fix.heading_deg,
                fix.battery_pct,
            ],
            stands,
        ),
    };
    match revised.optional()? {
        Some(place) => Ok(place.filter(|_| *mark == Mark::Good)),
        None => Err(WriteError::NoFix { order: order.to_string(), rider: rider.to_string(), device_time_ms }),
    }
}

/// A subject is used once, and its stream takes the first message on it: so does the outbox.
fn enqueue(connection: &Connection, item: &OutboxItem) -> Result<usize, WriteError> {
    let OutboxItem { subject, headers, payload, log_time } = item;
    let mut put = connection.prepare_cached(
        "INSERT INTO outbox (subject, headers, payload, log_time) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (subject) DO NOTHING",
    )?;
    let headers = serde_json::to_string(headers)?;
    Ok(put.execute(params![subject, headers, &payload[..], log_time.map(|t| t.0)])?)
}

fn int(value: u64) -> Result<i64, WriteError> {
    i64::try_from(value).map_err(|_| WriteError::TooLarge(value))
}

fn metres(decimetres: u16) -> f64 {
    f64::from(decimetres) / 10.0
}

fn metres_per_second(cmps: u16) -> f64 {
    f64::from(cmps) / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::CellId,
        store::{fixtures::Shop, hash::state_hash, schema},
    };

    #[test]
    fn a_transaction_that_is_not_committed_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cell.sqlite");
        let mut connection = Connection::open(&path).unwrap();
        schema::prepare(&mut connection, &CellId::default()).unwrap();
        let (mut shop, mut trail) = (Shop::new(30), Trail::default());
        let (first, second) = (shop.batch(50), shop.batch(50));
        let cursor = first.cursor;
        write(&connection, ("default", &mut trail), 0, &[first]).unwrap();
        let before = state_hash(&path).unwrap();

        let transaction = connection.transaction().unwrap();
        write(&transaction, ("default", &mut Trail::default()), cursor, std::slice::from_ref(&second)).unwrap();
        drop(transaction);
        assert_eq!(state_hash(&path).unwrap(), before);
        write(&connection, ("default", &mut trail), cursor, &[second]).unwrap();
        assert_ne!(state_hash(&path).unwrap(), before);
    }

    #[test]
    fn a_revision_of_no_fix_is_an_error_that_names_it() {
        let mut connection = Connection::open_in_memory().unwrap();
        schema::prepare(&mut connection, &CellId::default()).unwrap();
        let (mut shop, mut trail) = (Shop::new(31), Trail::default());
        let order = shop.create("o");
        shop.fix(&order);
        shop.revise(&order);
        let mut commit = shop.commit();
        commit.history.retain(|item| matches!(item, HistoryItem::Revise { .. }));
        let error = write(&connection, ("default", &mut trail), 0, &[commit]).unwrap_err();
        assert!(error.to_string().starts_with("order o has no fix of r"), "{error}");
    }
}
