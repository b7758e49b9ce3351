//! An order's history, page by page in the order in which it was applied.

use super::{list::json_len, read::unsigned, readers::ReadError};
use crate::{
    domain::{Status, UnixMillis},
    wire::query::{Lines, PAGE_BYTES, TrackPage, TrackQuery, TrackRow},
};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::Value;

/// See [`super::Store::track`].
pub(super) fn page(connection: &Connection, ask: &TrackQuery) -> Result<Option<TrackPage>, ReadError> {
    let TrackQuery { order, after, limit, lines } = ask;
    // A page is cut by its size, and by the asker's word.
    let limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let known = connection
        .prepare_cached("SELECT 1 FROM orders WHERE id = ?1")?
        .query_row([order.as_str()], |_| Ok(()))
        .optional()?;
    if known.is_none() {
        return Ok(None);
    }
    // All columns: which there are depends on the schema, and a row is read column by column as `line` asks for them.
    let which = match lines {
        Lines::All => "",
        Lines::Events => "AND kind NOT IN ('fix', 'stops')",
        Lines::Changes => "AND patch IS NOT NULL",
    };
    let mut statement = connection
        .prepare_cached(&format!("SELECT * FROM order_tracking WHERE order_id = ?1 AND id > ?2 {which} ORDER BY id"))?;
    let mut found = statement.query(params![order.as_str(), after.unwrap_or(0)])?;
    let mut rows: Vec<TrackRow> = Vec::new();
    let mut size = 0;
    while let Some(row) = found.next()? {
        let row = line(row, *lines)?;
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

/// A line of the history, from a row that has these columns.
pub(super) fn line(row: &Row<'_>, lines: Lines) -> Result<TrackRow, ReadError> {
    let status = row.get::<_, u8>("status")?;
    let time = |column: &str| Ok::<_, ReadError>(row.get::<_, Option<i64>>(column)?.map(UnixMillis));
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
        fix_time_ms: time("fix_time")?,
        device_time_ms: time("device_time")?,
        seq: row.get("fix_seq")?,
        accuracy_m: row.get("accuracy_m")?,
        mark: row.get("mark")?,
        note: row.get("note")?,
        speed_mps: row.get("speed_mps")?,
        heading_deg: row.get("heading_deg")?,
        battery_pct: row.get("battery_pct")?,
        sent_time_ms: time("sent_time")?,
        eta_p10_ms: time("eta_p10")?,
        eta_p50_ms: time("eta_p50")?,
        eta_p90_ms: time("eta_p90")?,
        patch: match lines {
            Lines::All | Lines::Events => None,
            Lines::Changes => patch(row)?,
        },
    })
}

/// What the line changed in the published state, if anything.
pub(super) fn patch(row: &Row<'_>) -> Result<Option<Value>, ReadError> {
    let text = row.get_ref("patch")?.as_str_or_null().map_err(|e| ReadError::column("order_tracking.patch", e))?;
    text.map(|text| serde_json::from_str(text).map_err(|e| ReadError::column("order_tracking.patch", e))).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ports::Store as _,
        store::fixtures::{Shop, open},
        wire::merge,
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
            let page = store.track(TrackQuery { after, ..TrackQuery::all(order.clone()) }).await.unwrap().unwrap();
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
        assert_eq!(store.track(TrackQuery::all("none".parse().unwrap())).await.unwrap(), None);
    }
    #[tokio::test]
    async fn lines_are_chosen_by_what_they_tell() {
        let (_dir, store) = open();
        let mut shop = Shop::new(9);
        let order = shop.create("o");
        shop.pay(&order);
        for _ in 0..5 {
            shop.fix(&order);
        }
        store.commit(shop.commit()).await.unwrap();
        let ask = |lines| TrackQuery { lines, ..TrackQuery::all(order.clone()) };
        let all = store.track(ask(Lines::All)).await.unwrap().unwrap().rows;
        assert!(all.len() == 7 && all.iter().all(|row| row.patch.is_none()));
        assert_eq!((all[6].speed_mps, all[6].battery_pct, all[6].eta_p50_ms), (Some(1.23), Some(50), None));
        let events = store.track(ask(Lines::Events)).await.unwrap().unwrap().rows;
        assert_eq!(events.iter().map(|row| row.kind.as_str()).collect::<Vec<_>>(), ["create", "pay"]);
        let changes = store.track(ask(Lines::Changes)).await.unwrap().unwrap().rows;
        let mut state = Value::Null;
        changes.iter().for_each(|row| merge::patch(&mut state, row.patch.as_ref().unwrap()));
        assert_eq!(state, shop.state(&order));
    }
}
