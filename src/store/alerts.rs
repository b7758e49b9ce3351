//! Alerts as they are after their last change: written with the commit that changed them, listed by when they were
//! detected.
//!
//! Pages go by key, as those of orders do: an alert that is raised meanwhile is newer and shifts nothing. One that is
//! cleared meanwhile leaves a list of open ones, and nothing else.

use super::{conditions::Conditions, list::json_len, look::LookError, readers::ReadError, rows::WriteError};
use crate::{
    domain::{AlertKind, alert::AlertState},
    ports::Commit,
    wire::{
        FieldError,
        alert::{AlertBody, AlertCursor, AlertPage, AlertsQuery, alert_id, parse_alert_id},
        query::{PAGE_BYTES, page_limit},
    },
};
use rusqlite::{Connection, Row, params_from_iter, types::Value};
use serde_json::{Map, Value as Json};
use std::collections::BTreeMap;

/// The columns, in the order of [`columns`].
const NAMES: &str = "id, order_id, n, kind, severity, state, change, at, since, detected_at, due_at, rider_id,
    acknowledged_at, acknowledged_by, cleared_at, cleared_because, measure, threshold, body";

const PUT: &str = "
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)
ON CONFLICT (id) DO UPDATE SET state = ?6, change = ?7, at = ?8, acknowledged_at = ?13, acknowledged_by = ?14,
    cleared_at = ?15, cleared_because = ?16, body = ?19";

/// Writes the last change of each alert in a group. What it was raised with never changes.
pub(super) fn write(connection: &Connection, group: &[Commit]) -> Result<(), WriteError> {
    let changes = group.iter().flat_map(|commit| &commit.alerts);
    let last: BTreeMap<&str, &AlertBody> = changes.map(|body| (body.alert.as_str(), body)).collect();
    for (id, body) in last {
        put(connection, id, body)?;
    }
    Ok(())
}

fn put(connection: &Connection, id: &str, body: &AlertBody) -> Result<(), WriteError> {
    let row = columns(body).map_err(|reason| WriteError::Alert { alert: id.to_owned(), reason })?;
    let sql = format!("INSERT INTO alerts ({NAMES}){PUT}");
    connection.prepare_cached(&sql)?.execute(params_from_iter(row.map(|(_, value)| value)))?;
    Ok(())
}

/// An alert's row, column by column.
fn columns(body: &AlertBody) -> Result<[(&'static str, Value); 19], String> {
    let (order, n) = parse_alert_id(&body.alert).ok_or("is no alert's id")?;
    let json = serde_json::to_string(body).map_err(|e| e.to_string())?;
    let text = |text: &str| Value::from(text.to_owned());
    Ok([
        ("id", text(&body.alert)),
        ("order_id", text(order.as_str())),
        ("n", n.into()),
        ("kind", text(&body.kind)),
        ("severity", text(&body.severity)),
        ("state", text(&body.state)),
        ("change", body.change.into()),
        ("at", body.at_ms.into()),
        ("since", body.since_ms.into()),
        ("detected_at", body.detected_at_ms.into()),
        ("due_at", body.due_at_ms.into()),
        ("rider_id", body.rider.clone().into()),
        ("acknowledged_at", body.acknowledged_at_ms.into()),
        ("acknowledged_by", body.acknowledged_by.clone().into()),
        ("cleared_at", body.cleared_at_ms.into()),
        ("cleared_because", body.cleared_because.clone().into()),
        ("measure", body.evidence.measure.into()),
        ("threshold", body.evidence.threshold.into()),
        ("body", json.into()),
    ])
}

/// An alert's row as it stands in a file, for comparing: its columns by name, with the members of `body` as JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertRow {
    pub order: String,
    pub n: u32,
    pub columns: Json,
}

impl AlertRow {
    /// The row that an alert has; an error for one whose id nobody here gave.
    pub fn of(body: &AlertBody) -> Result<Self, String> {
        let (order, n) = parse_alert_id(&body.alert).ok_or("is no alert's id")?;
        let columns = columns(body)?.into_iter().map(|(name, value)| (name.to_owned(), shown(name, value))).collect();
        Ok(Self { order: order.as_str().to_owned(), n, columns })
    }

    /// The alert itself.
    pub fn body(&self) -> Result<AlertBody, LookError> {
        let body = self.columns.get("body").cloned().unwrap_or_default();
        Ok(serde_json::from_value(body).map_err(|e| ReadError::column("alerts.body", e))?)
    }

    fn read(row: &Row<'_>) -> Result<Self, ReadError> {
        let mut columns = Map::new();
        for (i, name) in row.as_ref().column_names().enumerate() {
            columns.insert(name.to_owned(), shown(name, row.get(i)?));
        }
        Ok(Self { order: row.get("order_id")?, n: row.get("n")?, columns: Json::Object(columns) })
    }
}

/// A column's value as JSON, and `body`, which is JSON, as what it says.
fn shown(name: &str, value: Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Integer(number) => number.into(),
        Value::Real(number) => number.into(),
        Value::Text(text) if name == "body" => serde_json::from_str(&text).unwrap_or(Json::String(text)),
        Value::Text(text) => text.into(),
        Value::Blob(_) => "a blob".into(),
    }
}

/// All alerts of an order, by their numbers.
pub(super) fn of_order(connection: &Connection, order: &str) -> Result<Vec<AlertRow>, ReadError> {
    let sql = format!("SELECT {NAMES} FROM alerts WHERE order_id = ?1 ORDER BY n, id");
    let mut statement = connection.prepare_cached(&sql)?;
    statement.query_and_then([order], AlertRow::read)?.collect()
}

/// Alerts of orders that aren't there.
pub(super) fn of_nobody(connection: &Connection) -> Result<Vec<AlertRow>, ReadError> {
    let sql = format!("SELECT {NAMES} FROM alerts WHERE order_id NOT IN (SELECT id FROM orders) ORDER BY id");
    connection.prepare(&sql)?.query_and_then([], AlertRow::read)?.collect()
}

/// A checked query, as conditions on `alerts`.
#[derive(Debug, PartialEq)]
pub(super) struct List {
    asked: Conditions,
    limit: usize,
}

impl List {
    pub(super) fn check(ask: &AlertsQuery) -> Result<Self, FieldError> {
        let AlertsQuery { state, kind, severity, order, rider, from_ms, to_ms, after, limit } = ask;
        let limit = page_limit(*limit)?;
        let mut list = Conditions::new("SELECT body FROM alerts WHERE TRUE");
        if !state.is_empty() && !state.contains(&AlertState::Cleared) {
            // In these words, so that the index of open ones is taken.
            list.sql += " AND state <> 'cleared'";
        }
        if !is_open(state) {
            list.any_of("state", state.iter().map(|s| s.name().to_owned()));
        }
        list.any_of("kind", kind.iter().map(|k| k.name().to_owned()));
        list.any_of("severity", severity.iter().map(|s| s.name().to_owned()));
        list.when("order_id = ?", order.as_ref().map(|o| Value::Text(o.to_string())));
        list.when("rider_id = ?", rider.as_ref().map(|r| Value::Text(r.to_string())));
        list.when("detected_at >= ?", from_ms.map(|t| Value::Integer(t.0)));
        list.when("detected_at < ?", to_ms.map(|t| Value::Integer(t.0)));
        if let Some(token) = after {
            let AlertCursor { detected_at, order, n } =
                token.parse().map_err(|e: String| FieldError::new("after", e))?;
            list.when("(detected_at, id) < (?, ?)", Some(Value::Integer(detected_at.0)));
            list.values.push(Value::Text(alert_id(&order, n)));
        }
        // One more than the page holds tells whether there is another.
        list.sql += &format!(" ORDER BY detected_at DESC, id DESC LIMIT {}", limit + 1);
        Ok(Self { asked: list, limit })
    }

    pub(super) fn page(&self, connection: &Connection) -> Result<AlertPage, ReadError> {
        let mut statement = connection.prepare_cached(&self.asked.sql)?;
        let mut rows = statement.query(params_from_iter(&self.asked.values))?;
        let mut alerts: Vec<AlertBody> = Vec::new();
        let mut size = 0;
        while let Some(row) = rows.next()? {
            let body = body(row)?;
            size += json_len(&body);
            if alerts.len() == self.limit || (size > PAGE_BYTES && !alerts.is_empty()) {
                let next = alerts.last().and_then(AlertCursor::behind).map(|cursor| cursor.to_string());
                return Ok(AlertPage { alerts, next });
            }
            alerts.push(body);
        }
        Ok(AlertPage { alerts, next: None })
    }
}

/// Exactly those that aren't cleared.
fn is_open(state: &[AlertState]) -> bool {
    [AlertState::Raised, AlertState::Acknowledged].iter().all(|s| state.contains(s))
        && !state.contains(&AlertState::Cleared)
}

/// See [`super::Store::alert`].
pub(super) fn one(connection: &Connection, id: &str) -> Result<Option<AlertBody>, ReadError> {
    let mut statement = connection.prepare_cached("SELECT body FROM alerts WHERE id = ?1")?;
    let mut rows = statement.query([id])?;
    rows.next()?.map(body).transpose()
}

/// How many alerts of each kind are open.
pub(super) fn open_by_kind(connection: &Connection) -> Result<Vec<(AlertKind, i64)>, ReadError> {
    let mut statement =
        connection.prepare("SELECT kind, count(*) FROM alerts WHERE state <> 'cleared' GROUP BY kind")?;
    let mut rows = statement.query([])?;
    let mut counts = Vec::new();
    while let Some(row) = rows.next()? {
        let kind: String = row.get(0)?;
        counts.push((kind.parse().map_err(|e: String| ReadError::column("alerts.kind", e))?, row.get(1)?));
    }
    Ok(counts)
}

fn body(row: &Row<'_>) -> Result<AlertBody, ReadError> {
    let text = row.get_ref(0)?.as_str().map_err(|e| ReadError::column("alerts.body", e))?;
    serde_json::from_str(text).map_err(|e| ReadError::column("alerts.body", e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{UnixMillis, alert::Severity},
        ports::Store as _,
        store::{
            Store,
            fixtures::{Shop, open},
        },
        wire::alert::AlertQuery,
    };

    /// All pages of a query.
    async fn all(store: &Store, ask: &AlertsQuery) -> Vec<AlertBody> {
        let (mut found, mut ask) = (Vec::new(), ask.clone());
        loop {
            let AlertPage { alerts, next } = store.alerts(ask.clone()).await.unwrap();
            found.extend(alerts);
            match next {
                Some(next) => ask.after = Some(next),
                None => return found,
            }
        }
    }

    #[tokio::test]
    async fn pages_of_every_size_and_filter_give_each_alert_once_as_it_is_now() {
        let (_dir, store) = open();
        let mut shop = Shop::new(9);
        for _ in 0..8 {
            store.commit(shop.batch(50)).await.unwrap();
        }
        let every = shop.alerts();
        let middle = every[every.len() / 2].detected_at_ms;
        let order = every[0].alert.rsplit_once('.').unwrap().0.to_owned();
        type Keep = Box<dyn Fn(&AlertBody) -> bool>;
        let none = AlertsQuery::default;
        let named = order.clone();
        let cases: Vec<(AlertsQuery, Keep)> = vec![
            (none(), Box::new(|_| true)),
            (
                AlertsQuery { state: vec![AlertState::Acknowledged, AlertState::Raised], ..none() },
                Box::new(|a| a.state != "cleared"),
            ),
            (AlertsQuery { state: vec![AlertState::Acknowledged], ..none() }, Box::new(|a| a.state == "acknowledged")),
            (
                AlertsQuery { state: vec![AlertState::Cleared, AlertState::Raised], ..none() },
                Box::new(|a| a.state != "acknowledged"),
            ),
            (
                AlertsQuery { kind: vec![AlertKind::Late, AlertKind::Stalled, AlertKind::Late], ..none() },
                Box::new(|a| a.kind == "late" || a.kind == "stalled"),
            ),
            (AlertsQuery { severity: vec![Severity::Critical], ..none() }, Box::new(|a| a.severity == "critical")),
            (AlertsQuery { order: Some(order.parse().unwrap()), ..none() }, Box::new(move |a| a.order == named)),
            (
                AlertsQuery { rider: Some("r1".parse().unwrap()), ..none() },
                Box::new(|a| a.rider.as_deref() == Some("r1")),
            ),
            (
                AlertsQuery { from_ms: Some(UnixMillis(middle)), state: vec![AlertState::Raised], ..none() },
                Box::new(move |a| a.detected_at_ms >= middle && a.state == "raised"),
            ),
            (AlertsQuery { to_ms: Some(UnixMillis(middle)), ..none() }, Box::new(move |a| a.detected_at_ms < middle)),
        ];
        for (ask, keep) in cases {
            let expected: Vec<_> = every.iter().filter(|a| keep(a)).cloned().collect();
            assert!(!expected.is_empty(), "{ask:?}");
            for limit in [1, 3, 500] {
                let found = all(&store, &AlertsQuery { limit: Some(limit), ..ask.clone() }).await;
                assert_eq!(found, expected, "{ask:?} by {limit}");
            }
        }
        let one = store.alert(AlertQuery { alert: every[3].alert.clone() }).await.unwrap();
        assert_eq!(one.as_ref(), Some(&every[3]));
        assert_eq!(store.alert(AlertQuery { alert: "o.1".into() }).await.unwrap(), None);
        let open: i64 = store.open_alerts().await.unwrap().iter().map(|(_, n)| n).sum();
        assert_eq!(open, i64::try_from(every.iter().filter(|a| a.cleared_at_ms.is_none()).count()).unwrap());
    }

    #[tokio::test]
    async fn what_was_written_stands_in_the_row_column_by_column() {
        let (dir, store) = open();
        let mut shop = Shop::new(9);
        for _ in 0..4 {
            store.commit(shop.batch(50)).await.unwrap();
        }
        let connection = Connection::open(dir.path().join("cell.sqlite")).unwrap();
        let mut seen = 0;
        for body in shop.alerts() {
            let row = AlertRow::of(&body).unwrap();
            let stored = of_order(&connection, &row.order).unwrap();
            let stored = stored.iter().find(|stored| stored.n == row.n).unwrap();
            assert_eq!((stored, stored.body().unwrap()), (&row, body));
            let names: Vec<_> = row.columns.as_object().unwrap().keys().cloned().collect();
            assert!(names.len() == 19 && names.iter().all(|name| NAMES.contains(name.as_str())), "{names:?}");
            seen += 1;
        }
        assert!(seen > 3);
        assert_eq!(of_nobody(&connection).unwrap(), []);
        connection.execute("DELETE FROM orders WHERE id = (SELECT order_id FROM alerts LIMIT 1)", []).unwrap();
        assert_ne!(of_nobody(&connection).unwrap(), []);
    }

    #[test]
    fn what_is_asked_for_all_day_reads_an_index() {
        let mut connection = Connection::open_in_memory().unwrap();
        super::super::schema::prepare(&mut connection, &crate::domain::CellId::default()).unwrap();
        let plan = |ask: AlertsQuery| {
            let list = List::check(&ask).unwrap();
            let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {}", list.asked.sql)).unwrap();
            let plan =
                statement.query_map(params_from_iter(&list.asked.values), |row| row.get::<_, String>(3)).unwrap();
            plan.map(Result::unwrap).collect::<Vec<_>>().join("; ")
        };
        let open = vec![AlertState::Raised, AlertState::Acknowledged];
        for (ask, index) in [
            (AlertsQuery { state: open.clone(), ..AlertsQuery::default() }, "alerts_open"),
            (AlertsQuery { state: open[..1].to_vec(), ..AlertsQuery::default() }, "alerts_open"),
            (AlertsQuery::default(), "alerts_by_detected"),
            (AlertsQuery { order: "o".parse().ok(), ..AlertsQuery::default() }, "alerts_by_order"),
            (AlertsQuery { rider: "r".parse().ok(), ..AlertsQuery::default() }, "alerts_by_rider"),
            (AlertsQuery { kind: vec![AlertKind::Late], ..AlertsQuery::default() }, "alerts_by_kind"),
        ] {
            let plan = plan(ask);
            assert!(plan.contains(index) && !plan.contains("B-TREE"), "{index}: {plan}");
        }
    }

    #[test]
    fn a_query_that_does_not_fit_is_refused_by_field() {
        let field = |ask: AlertsQuery| List::check(&ask).unwrap_err().field;
        assert_eq!(field(AlertsQuery { limit: Some(0), ..AlertsQuery::default() }), "limit");
        assert_eq!(field(AlertsQuery { after: Some("1.o".into()), ..AlertsQuery::default() }), "after");
    }
}
