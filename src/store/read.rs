//! Plain reads: what a start needs, what rehydrates an actor, what the outbox's publisher asks.

use super::readers::ReadError;
use crate::{
    domain::{OrderId, RiderId, UnixMillis, effect::TimerKind},
    ports::{LogMark, OrderImage, OutboxItem, RunningTimer},
};
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Row, RowIndex, params};

/// The cell core as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CellImage {
    /// Last applied place in the log; 0 before the first.
    pub cursor: u64,
    /// Cell time there.
    pub cell_time: UnixMillis,
    /// The core's own blob; empty before the first commit.
    pub head: Bytes,
}

pub(super) fn cell(connection: &Connection) -> Result<CellImage, ReadError> {
    Ok(connection.query_one("SELECT cursor, cell_time, head FROM cell_state", [], |row| {
        Ok(CellImage { cursor: unsigned(row, 0)?, cell_time: UnixMillis(row.get(1)?), head: bytes(row, 2)? })
    })?)
}

pub(super) fn mark(connection: &Connection) -> Result<Option<LogMark>, ReadError> {
    let (created_ns, cursor, digest) =
        connection.query_one("SELECT log_created_ns, cursor, cursor_digest FROM cell_state", [], |row| {
            Ok((row.get::<_, Option<i64>>(0)?, unsigned(row, 1)?, row.get(2)?))
        })?;
    Ok(created_ns.map(|created_ns| LogMark { created_ns, cursor, digest }))
}

pub(super) fn since_epoch(connection: &Connection) -> Result<u64, ReadError> {
    Ok(connection.query_one("SELECT since_epoch FROM cell_state", [], |row| unsigned(row, 0))?)
}

pub(super) fn image(connection: &Connection, order: &OrderId) -> Result<Option<OrderImage>, ReadError> {
    let head = connection
        .prepare_cached("SELECT state FROM orders WHERE id = ?1")?
        .query_row([order.as_str()], |row| bytes(row, 0))
        .optional()?;
    let Some(head) = head else { return Ok(None) };
    let mut chunks = Vec::new();
    let mut statement =
        connection.prepare_cached("SELECT n, data FROM order_track_chunk WHERE order_id = ?1 ORDER BY n")?;
    let mut rows = statement.query([order.as_str()])?;
    while let Some(row) = rows.next()? {
        if unsigned(row, 0)? != chunks.len() as u64 {
            return Err(ReadError::column("order_track_chunk.n", format!("{order} lacks chunk {}", chunks.len())));
        }
        chunks.push(bytes(row, 1)?);
    }
    Ok(Some(OrderImage { head, chunks }))
}

pub(super) fn riders(connection: &Connection) -> Result<Vec<(RiderId, Bytes)>, ReadError> {
    let mut statement = connection.prepare("SELECT id, state FROM riders ORDER BY id")?;
    let rows = statement.query_and_then([], |row| {
        let id = id("riders.id", row.get_ref(0)?.as_str())?;
        Ok((id, bytes(row, 1)?))
    })?;
    rows.collect()
}

pub(super) fn timers(connection: &Connection) -> Result<Vec<(OrderId, TimerKind, u32, UnixMillis)>, ReadError> {
    let mut statement =
        connection.prepare("SELECT order_id, kind, n, due_ms FROM timers ORDER BY due_ms, order_id, kind")?;
    let rows = statement.query_and_then([], |row| {
        let order = id("timers.order_id", row.get_ref(0)?.as_str())?;
        let kind = row.get::<_, String>(1)?.parse().map_err(|e: String| ReadError::column("timers.kind", e))?;
        Ok((order, kind, row.get(2)?, UnixMillis(row.get(3)?)))
    })?;
    rows.collect()
}

/// The running timers of one order, by kind.
pub(super) fn timers_of(connection: &Connection, order: &OrderId) -> Result<Vec<RunningTimer>, ReadError> {
    let mut statement =
        connection.prepare_cached("SELECT kind, n, due_ms FROM timers WHERE order_id = ?1 ORDER BY kind")?;
    let rows = statement.query_and_then([order.as_str()], |row| {
        let kind = row.get::<_, String>(0)?.parse().map_err(|e: String| ReadError::column("timers.kind", e))?;
        Ok((kind, row.get(1)?, UnixMillis(row.get(2)?)))
    })?;
    rows.collect()
}

/// One rider's state, or `None` for one that the cell has never seen.
pub(super) fn rider(connection: &Connection, rider: &RiderId) -> Result<Option<Bytes>, ReadError> {
    let mut statement = connection.prepare_cached("SELECT state FROM riders WHERE id = ?1")?;
    Ok(statement.query_row([rider.as_str()], |row| bytes(row, 0)).optional()?)
}

/// The two halves go by an index each.
pub(super) const CURRENT: &str = "
SELECT id, state FROM orders WHERE status IN (1, 2, 3)
UNION ALL
SELECT id, state FROM orders WHERE status >= 4 AND update_time >= ?1";

/// Those in progress, and those that ended and changed last at `since` or later.
pub(super) fn current(connection: &Connection, since: UnixMillis) -> Result<Vec<(OrderId, Bytes)>, ReadError> {
    let mut statement = connection.prepare(CURRENT)?;
    let rows =
        statement.query_and_then([since.0], |row| Ok((id("orders.id", row.get_ref(0)?.as_str())?, bytes(row, 1)?)))?;
    rows.collect()
}

pub(super) fn pending(connection: &Connection, after: i64, limit: usize) -> Result<Vec<(i64, OutboxItem)>, ReadError> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(
        "SELECT id, subject, headers, payload, log_time FROM outbox WHERE id > ?1 ORDER BY id LIMIT ?2",
    )?;
    let rows = statement.query_and_then(params![after, limit], |row| {
        let headers = row.get_ref(2)?.as_str().map_err(|e| ReadError::column("outbox.headers", e))?;
        let headers = serde_json::from_str(headers).map_err(|e| ReadError::column("outbox.headers", e))?;
        let log_time = row.get::<_, Option<i64>>(4)?.map(UnixMillis);
        Ok((row.get(0)?, OutboxItem { subject: row.get(1)?, headers, payload: bytes(row, 3)?, log_time }))
    })?;
    rows.collect()
}

/// A blob column.
pub(super) fn bytes(row: &Row<'_>, column: usize) -> rusqlite::Result<Bytes> {
    row.get::<_, Vec<u8>>(column).map(Bytes::from)
}

/// A column of counts, which SQLite keeps signed.
pub(super) fn unsigned(row: &Row<'_>, column: impl RowIndex) -> rusqlite::Result<u64> {
    let column = column.idx(row.as_ref())?;
    let value: i64 = row.get(column)?;
    u64::try_from(value).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, value))
}

/// An identifier column.
pub(super) fn id<T: std::str::FromStr<Err: ToString>>(
    column: &'static str,
    text: Result<&str, impl ToString>,
) -> Result<T, ReadError> {
    text.map_err(|e| ReadError::column(column, e))?.parse().map_err(|e: T::Err| ReadError::column(column, e))
}
