//! What a client missed: the deltas after its version, out of the order's history.

use super::{read::unsigned, readers::ReadError};
use crate::{
    domain::{OrderId, UnixMillis},
    wire::{
        merge,
        query::{Deltas, DeltasQuery, MAX_DELTAS, StoredDelta},
    },
};
use rusqlite::{Connection, OptionalExtension};
use serde_json::{Value, json};

/// See [`super::Store::deltas`]. The base is folded from the patches, of which the first is the whole state.
pub(super) fn deltas(connection: &Connection, ask: &DeltasQuery, epoch: u64) -> Result<Option<Deltas>, ReadError> {
    let DeltasQuery { order, since } = ask;
    // Looked up first, so that a client far behind doesn't cost a fold of the whole history.
    let Some(current) = version(connection, order)?.filter(|current| is_answerable(*since, *current)) else {
        return Ok(None);
    };
    let mut statement = connection.prepare_cached(
        "SELECT version, create_time, patch FROM order_tracking WHERE order_id = ?1 AND patch IS NOT NULL ORDER BY id",
    )?;
    let mut rows = statement.query([order.as_str()])?;
    let mut base = json!({});
    let mut deltas = Vec::new();
    let mut from = 0;
    while let Some(row) = rows.next()? {
        let to = unsigned(row, 0)?;
        if to != from + 1 {
            // Retention took what came before.
            return Ok(None);
        }
        let text = row.get_ref(2)?.as_str().map_err(|e| ReadError::column("order_tracking.patch", e))?;
        let patch: Value = serde_json::from_str(text).map_err(|e| ReadError::column("order_tracking.patch", e))?;
        if to <= *since {
            merge::patch(&mut base, &patch);
        } else {
            deltas.push(StoredDelta { from, to, at_ms: UnixMillis(row.get(1)?), patch });
        }
        from = to;
    }
    Ok((from == current).then_some(Deltas { epoch, base, deltas }))
}

fn version(connection: &Connection, order: &OrderId) -> Result<Option<u64>, ReadError> {
    let mut statement = connection.prepare_cached("SELECT version FROM orders WHERE id = ?1")?;
    Ok(statement.query_row([order.as_str()], |row| unsigned(row, 0)).optional()?)
}

fn is_answerable(since: u64, current: u64) -> bool {
    let missing = current.checked_sub(since).and_then(|n| usize::try_from(n).ok());
    since > 0 && missing.is_some_and(|n| n <= MAX_DELTAS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ports::Store as _,
        store::fixtures::{Shop, open},
        wire::query::OrderQuery,
    };

    #[tokio::test]
    async fn the_fold_of_all_patches_is_the_snapshot_from_every_version() {
        let (_dir, store) = open();
        let mut shop = Shop::new(1);
        for _ in 0..6 {
            store.commit(shop.batch(40)).await.unwrap();
        }
        for order in shop.ids() {
            let snapshot = store.snapshot(OrderQuery { order: order.clone() }, 7).await.unwrap().unwrap();
            assert_eq!(snapshot.state, shop.state(&order));
            for since in 1..=snapshot.version {
                let ask = DeltasQuery { order: order.clone(), since };
                let Deltas { epoch, base, deltas } = store.deltas(ask, 7).await.unwrap().unwrap();
                assert_eq!((epoch, deltas.len() as u64), (7, snapshot.version - since));
                let mut state = base;
                let mut version = since;
                for delta in deltas {
                    assert_eq!((delta.from, delta.to), (version, version + 1));
                    merge::patch(&mut state, &delta.patch);
                    version = delta.to;
                }
                assert_eq!((version, &state), (snapshot.version, &snapshot.state));
            }
        }
    }

    #[tokio::test]
    async fn nothing_from_before_the_beginning_after_the_end_or_too_far_back() {
        let (_dir, store) = open();
        let mut shop = Shop::new(2);
        let order = shop.create("long");
        for _ in 0..MAX_DELTAS + 1 {
            shop.fix(&order);
        }
        store.commit(shop.commit()).await.unwrap();
        let last = MAX_DELTAS as u64 + 2;
        for (since, expected) in [(0, None), (1, None), (2, Some(MAX_DELTAS)), (last, Some(0)), (last + 1, None)] {
            let found = store.deltas(DeltasQuery { order: order.clone(), since }, 1).await.unwrap();
            assert_eq!(found.map(|d| d.deltas.len()), expected, "since {since}");
        }
        let ask = DeltasQuery { order: "none".parse().unwrap(), since: 1 };
        assert_eq!(store.deltas(ask, 1).await.unwrap(), None);
    }
}
