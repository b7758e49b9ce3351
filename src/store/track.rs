//! An order's history, page by page in the order in which it was applied.

use super::{list::json_len, read::unsigned, readers::ReadError};
use crate::{
    domain::{Status, UnixMillis},
    wire::query::{PAGE_BYTES, TrackPage, TrackQuery, TrackRow},
};
use rusqlite::{Connection, OptionalExtension, Row, params};

/// See [`super::Store::track`].
pub(super) fn page(connection: &Connection, ask: &TrackQuery) -> Result<Option<TrackPage>, ReadError> {
    let TrackQuery { order, after, limit } = ask;
    // A page is cut by its size, and by the asker's word.
    let limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let known = connection
        .prepare_cached("SELECT 1 FROM orders WHERE id = ?1")?
        .query_row([order.as_str()], |_| Ok(()))
        .optional()?;
    if known.is_none() {
        return Ok(None);
    }
    let mut statement = connection.prepare_cached(
        "SELECT id, kind, version, rev, status, create_time, operator_id, operator_type, stage, latitude, longitude,
             fix_time, device_time, fix_seq, accuracy_m, mark, note
         FROM order_tracking WHERE order_id = ?1 AND id > ?2 ORDER BY id",
    )?;
    let mut found = statement.query(params![order.as_str(), after.unwrap_or(0)])?;
    let mut rows: Vec<TrackRow> = Vec::new();
    let mut size = 0;
    while let Some(row) = found.next()? {
        let row = line(row)?;
        size += json_len(&row);
        if (size > PAGE_BYTES || rows.len() >= limit)
            && let Some(last) = rows.last()
        {
            let next = Some(last.id);
            return Ok(Some(TrackPage { rows, next }));
        }
        rows.push(row);
    }
    Ok(Some(TrackPage { rows, next: None }))
}

fn line(row: &Row<'_>) -> Result<TrackRow, ReadError> {
    let status = row.get::<_, u8>("status")?;
    Ok(TrackRow {
        id: row.get("id")?,
        kind: row.get("kind")?,
        version: unsigned(row, "version")?,
        rev: unsigned(row, "rev")?,
        status: Status::try_from(status).map_err(|e| ReadError::column("order_tracking.status", e))?,
        at_ms: UnixMillis(row.get("create_time")?),
        operator_id: row.get("operator_id")?,
        operator_type: row.get("operator_type")?,
        stage: row.get("stage")?,
        lat: row.get("latitude")?,
        lon: row.get("longitude")?,
        fix_time_ms: row.get::<_, Option<i64>>("fix_time")?.map(UnixMillis),
        device_time_ms: row.get::<_, Option<i64>>("device_time")?.map(UnixMillis),
        seq: row.get("fix_seq")?,
        accuracy_m: row.get("accuracy_m")?,
        mark: row.get("mark")?,
        note: row.get("note")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ports::Store as _,
        store::fixtures::{Shop, open},
    };

    #[tokio::test]
    async fn pages_give_every_line_once_and_stay_under_the_payload_limit() {
        let (_dir, store) = open();
        let mut shop = Shop::new(5);
        let order = shop.create("o");
        let other = shop.create("p");
        let fixes = 7_000;
        for _ in 0..fixes {
            shop.fix(&order);
            shop.fix(&other);
        }
        store.commit(shop.commit()).await.unwrap();
        let (mut lines, mut pages, mut after) = (Vec::new(), 0, None);
        loop {
            let page = store.track(TrackQuery { order: order.clone(), after, limit: None }).await.unwrap().unwrap();
            assert!(json_len(&page) < PAGE_BYTES + page.rows.len() + 1_000);
            lines.extend(page.rows);
            pages += 1;
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert!(pages > 1);
        assert_eq!(lines.iter().map(|l| l.version).collect::<Vec<_>>(), (1..=fixes + 1).collect::<Vec<_>>());
        let fix = lines.last().unwrap();
        assert_eq!((fix.kind.as_str(), fix.operator_type, fix.mark.as_deref()), ("fix", 1, Some("good")));
        assert!(fix.lat.is_some() && fix.lon.is_some() && fix.device_time_ms.is_some() && fix.seq.is_some());
        assert_eq!(
            store.track(TrackQuery { order: "none".parse().unwrap(), after: None, limit: None }).await.unwrap(),
            None
        );
    }
}
