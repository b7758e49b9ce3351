//! Orders as they are now: one, or a page of a list.
//!
//! Pages go by key, not by offset: a token holds the last order's creation time and id, and the next page is what lies
//! behind them. Orders that come meanwhile are newer and shift nothing; no order is seen twice or left out.

use super::{
    conditions::Conditions,
    read::{bytes, id},
    readers::ReadError,
};
use crate::{
    domain::{Order, OrderId, UnixMillis},
    ports::StoreError,
    wire::{
        FieldError, blob, doc,
        query::{ListQuery, MAX_AMONG, OrderCursor, OrderPage, PAGE_BYTES, Snapshot, page_limit},
    },
};
use rusqlite::{Connection, OptionalExtension, params_from_iter, types::Value};

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// The query doesn't fit.
    #[error(transparent)]
    Field(FieldError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A checked query, as conditions on `orders`.
#[derive(Debug, PartialEq)]
pub(super) struct List {
    asked: Conditions,
    limit: usize,
}

impl List {
    pub(super) fn check(ask: &ListQuery) -> Result<Self, FieldError> {
        let ListQuery {
            status,
            rider,
            warehouse,
            user,
            created_from_ms,
            created_to_ms,
            updated_from_ms,
            updated_to_ms,
            among,
            within,
            cursor,
            limit,
        } = ask;
        if within.is_some() {
            // Places are known of active orders only, and in memory.
            return Err(FieldError::new("within", "is not for the store"));
        }
        let limit = page_limit(*limit)?;
        let mut list = Conditions::new("SELECT id, create_time, state FROM orders WHERE TRUE");
        list.any_of("status", status.iter().map(|s| s.code()));
        list.when("rider_id = ?", rider.as_ref().map(|r| Value::Text(r.to_string())));
        list.when("warehouse_id = ?", warehouse.as_ref().map(|w| Value::Text(w.to_string())));
        list.when("user_id = ?", user.as_ref().map(|u| Value::Text(u.to_string())));
        list.when("create_time >= ?", created_from_ms.map(|t| Value::Integer(t.0)));
        list.when("create_time < ?", created_to_ms.map(|t| Value::Integer(t.0)));
        list.when("update_time >= ?", updated_from_ms.map(|t| Value::Integer(t.0)));
        list.when("update_time < ?", updated_to_ms.map(|t| Value::Integer(t.0)));
        if let Some(among) = among {
            if among.len() > MAX_AMONG {
                return Err(FieldError::new("among", format!("must be at most {MAX_AMONG} orders")));
            }
            // One value, however many: the statement's text stays. These few are what is read; no other index is worth a look.
            let ids = serde_json::to_string(among).map_err(|e| FieldError::new("among", e.to_string()))?;
            list.when("id IN (SELECT value FROM json_each(?))", Some(Value::Text(ids)));
        }
        if let Some(token) = cursor {
            let OrderCursor { created_at, order } = token.parse()?;
            list.when("(create_time, id) < (?, ?)", Some(Value::Integer(created_at.0)));
            list.values.push(Value::Text(order.to_string()));
        }
        // One more than the page holds tells whether there is another.
        list.sql += &format!(" ORDER BY create_time DESC, id DESC LIMIT {}", limit + 1);
        Ok(Self { asked: list, limit })
    }

    pub(super) fn page(&self, connection: &Connection, epoch: u64) -> Result<OrderPage, ReadError> {
        let mut statement = connection.prepare_cached(&self.asked.sql)?;
        let mut rows = statement.query(params_from_iter(&self.asked.values))?;
        let mut orders = Vec::new();
        let mut size = 0;
        let mut last = None;
        while let Some(row) = rows.next()? {
            if orders.len() == self.limit {
                return Ok(OrderPage { orders, next: last });
            }
            let order: OrderId = id("orders.id", row.get_ref(0)?.as_str())?;
            let snapshot = published(&order, &bytes(row, 2)?, epoch)?;
            size += json_len(&snapshot);
            // A page holds at least one order: that one came into the log as one message.
            if size > PAGE_BYTES && !orders.is_empty() {
                return Ok(OrderPage { orders, next: last });
            }
            let created_at = UnixMillis(row.get(1)?);
            last = Some(OrderCursor { created_at, order }.to_string());
            orders.push(snapshot);
        }
        Ok(OrderPage { orders, next: None })
    }
}

/// Bytes of its JSON.
pub(super) fn json_len(value: &impl serde::Serialize) -> usize {
    serde_json::to_vec(value).map_or(usize::MAX / 2, |json| json.len())
}

/// See [`super::Store::snapshot`].
pub(super) fn snapshot(connection: &Connection, order: &OrderId, epoch: u64) -> Result<Option<Snapshot>, ReadError> {
    let mut statement = connection.prepare_cached("SELECT state FROM orders WHERE id = ?1")?;
    let head = statement.query_row([order.as_str()], |row| bytes(row, 0)).optional()?;
    head.map(|head| published(order, &head, epoch)).transpose()
}

fn published(order: &OrderId, head: &[u8], epoch: u64) -> Result<Snapshot, ReadError> {
    let state: Order = blob::decode(head).map_err(|source| ReadError::State { order: order.to_string(), source })?;
    Ok(Snapshot {
        epoch,
        since_epoch: None,
        version: state.version,
        at_ms: state.updated_at,
        state: doc::order(&state.id, &state.facts, &state.live),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Status;
    use crate::{
        ports::Store as _,
        store::{
            Store,
            fixtures::{Shop, open},
        },
        wire::query::MAX_PAGE,
    };

    #[test]
    fn a_query_that_does_not_fit_is_refused_by_field() {
        let field = |ask: ListQuery| List::check(&ask).unwrap_err().field;
        for limit in [0, MAX_PAGE + 1] {
            assert_eq!(field(ListQuery { limit: Some(limit), ..ListQuery::default() }), "limit");
        }
        for cursor in ["", "1", "x.o", "1.a b", ".o", "-1.o", "1ffffffffffffffff.o"] {
            assert_eq!(field(ListQuery { cursor: Some(cursor.into()), ..ListQuery::default() }), "cursor", "{cursor}");
        }
        let cursor = OrderCursor { created_at: UnixMillis(-5), order: "o-1".parse().unwrap() };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
    }

    /// All pages of a query, and how many they were.
    async fn all(store: &Store, ask: &ListQuery) -> (Vec<Snapshot>, usize) {
        let (mut orders, mut pages, mut ask) = (Vec::new(), 0, ask.clone());
        loop {
            let page = store.orders(ask.clone(), 1).await.unwrap();
            assert!(page.orders.len() <= ask.limit.unwrap_or(crate::wire::query::DEFAULT_PAGE) as usize);
            orders.extend(page.orders);
            pages += 1;
            match page.next {
                Some(next) => ask.cursor = Some(next),
                None => return (orders, pages),
            }
        }
    }

    #[tokio::test]
    async fn pages_of_every_size_and_filter_give_each_order_once_in_order() {
        let (_dir, store) = open();
        let mut shop = Shop::new(3);
        for _ in 0..10 {
            store.commit(shop.batch(50)).await.unwrap();
        }
        let key = |s: &Snapshot| {
            (std::cmp::Reverse((s.state["created_at_ms"].as_i64(), s.state["id"].to_string())), s.state.clone())
        };
        let mut every: Vec<_> = shop.ids().iter().map(|id| shop.state(id)).collect();
        every.sort_by_key(|s| std::cmp::Reverse((s["created_at_ms"].as_i64(), s["id"].to_string())));
        assert!(every.len() > 20);
        let middle = every[every.len() / 2]["created_at_ms"].as_i64().unwrap();
        type Keep = Box<dyn Fn(&serde_json::Value) -> bool>;
        let cases: Vec<(ListQuery, Keep)> = vec![
            (ListQuery::default(), Box::new(|_| true)),
            (
                ListQuery { status: vec![Status::Paid], ..ListQuery::default() },
                Box::new(|s| s["status"] == Status::Paid.code()),
            ),
            (
                ListQuery { status: vec![Status::Completed, Status::Paid, Status::Paid], ..ListQuery::default() },
                Box::new(|s| s["status"] == Status::Paid.code() || s["status"] == Status::Completed.code()),
            ),
            (
                ListQuery { user: Some("u1".parse().unwrap()), ..ListQuery::default() },
                Box::new(|s| s["user_id"] == "u1"),
            ),
            (
                ListQuery { rider: Some("r1".parse().unwrap()), ..ListQuery::default() },
                Box::new(|s| s["rider"]["id"] == "r1"),
            ),
            (
                ListQuery {
                    warehouse: Some("w0".parse().unwrap()),
                    created_from_ms: Some(UnixMillis(middle)),
                    ..ListQuery::default()
                },
                Box::new(move |s| s["warehouse"]["id"] == "w0" && s["created_at_ms"].as_i64() >= Some(middle)),
            ),
            (
                ListQuery { created_to_ms: Some(UnixMillis(middle)), ..ListQuery::default() },
                Box::new(move |s| s["created_at_ms"].as_i64() < Some(middle)),
            ),
        ];
        for (ask, keep) in cases {
            let expected: Vec<_> = every.iter().filter(|s| keep(s)).cloned().collect();
            assert!(!expected.is_empty(), "{ask:?}");
            for limit in [1, 3, 7, MAX_PAGE] {
                let (found, _) = all(&store, &ListQuery { limit: Some(limit), ..ask.clone() }).await;
                assert!(found.is_sorted_by_key(key_time));
                let found: Vec<_> = found.iter().map(|s| key(s).1).collect();
                assert_eq!(found, expected, "{ask:?} by {limit}");
            }
        }
    }

    fn key_time(s: &Snapshot) -> std::cmp::Reverse<Option<i64>> {
        std::cmp::Reverse(s.state["created_at_ms"].as_i64())
    }

    #[tokio::test]
    async fn pages_stay_under_the_payload_limit() {
        let (_dir, store) = open();
        let mut shop = Shop::new(4);
        shop.extra_bytes = 100_000;
        for n in 0..20 {
            shop.create(&format!("big{n}"));
        }
        store.commit(shop.commit()).await.unwrap();
        let page = store.orders(ListQuery::default(), 1).await.unwrap();
        assert!(page.next.is_some() && json_len(&page) < PAGE_BYTES + 1_000, "{}", json_len(&page));
        let (found, pages) = all(&store, &ListQuery::default()).await;
        assert_eq!((found.len(), pages), (20, 4));
    }
}
