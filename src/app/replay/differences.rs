//! What an order has in the database, alerts included, and what the log gives for it: one hash each, and where they differ, in what.

use super::ReplayError;
use crate::{
    domain::{CellId, Effect, Order, alert::AlertChange, effect::TimerKind},
    ports::RunningTimer,
    store::{AlertRow, LookError, StoredOrder},
    wire::{alert::alert_body, blob, hex},
};
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Something that is not the same in both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Detail {
    /// A column, or the path of a field in the state.
    pub field: String,
    pub database: String,
    pub log: String,
}

impl Detail {
    pub(super) fn new(field: impl Into<String>, database: impl ToString, log: impl ToString) -> Self {
        Self { field: field.into(), database: database.to_string(), log: log.to_string() }
    }
}

/// An order's two hashes, and the first differing field of each part that differs.
#[derive(Clone, Debug)]
pub(super) struct Compared {
    pub database: [u8; 32],
    pub log: [u8; 32],
    pub details: Vec<Detail>,
    pub equal_alerts: u64,
    /// Those that only the log gives.
    pub missing_alerts: u64,
}

/// What the log gives of an order beside its state.
#[derive(Clone, Debug, Default)]
pub(super) struct Beside {
    /// Length of its history.
    pub lines: u64,
    /// The last change of each alert, by number.
    pub alerts: BTreeMap<u32, Box<AlertChange>>,
}

impl Beside {
    pub(super) fn hear(&mut self, effect: Effect) {
        match effect {
            Effect::Row(_) => self.lines += 1,
            Effect::Alert(change) => drop(self.alerts.insert(change.alert.n, change)),
            Effect::Revise(_)
            | Effect::Change(_)
            | Effect::Answer(_)
            | Effect::Verdict(_)
            | Effect::Task(_)
            | Effect::SetTimer { .. }
            | Effect::ClearTimer { .. }
            | Effect::Carry(_)
            | Effect::Register
            | Effect::SeekRoute(_)
            | Effect::Finish => {}
        }
    }
}

/// Compares what is stored of an order with what the log gives.
pub(super) fn compare(
    cell: &CellId,
    stored: &StoredOrder,
    order: &Order,
    beside: &Beside,
) -> Result<Compared, ReplayError> {
    let head = blob::encode(order)?;
    let mut details = Vec::new();
    // Of a release before, the state is the same in another format until the order changes next.
    let stored_head = if stored.image.head.first() == head.first() {
        Ok(stored.image.head.to_vec())
    } else {
        blob::decode::<Order>(&stored.image.head).and_then(|order| blob::encode(&order))
    };
    let stored_head = stored_head.unwrap_or_else(|_| stored.image.head.to_vec());
    if stored_head != head {
        details.push(state_difference(&stored_head, order));
    }
    let chunks: Vec<&[u8]> = order.track.chunks().collect();
    if chunks.len() != stored.image.chunks.len() {
        details.push(Detail::new("track chunks", stored.image.chunks.len(), chunks.len()));
    }
    for (n, (theirs, ours)) in stored.image.chunks.iter().zip(&chunks).enumerate() {
        if theirs[..] != **ours {
            details.push(Detail::new(format!("track chunk {n}"), hex(&digest([&theirs[..]])), hex(&digest([*ours]))));
            break;
        }
    }
    let mut column = |field: &str, database: String, log: String| {
        if database != log {
            details.push(Detail::new(field, database, log));
        }
    };
    column("column version", stored.version.to_string(), order.version.to_string());
    column("column rev", stored.rev.to_string(), order.live.rev.to_string());
    column("column status", stored.status.to_string(), order.live.status.code().to_string());
    let rider = |id: Option<&str>| id.unwrap_or("null").to_owned();
    column(
        "column rider_id",
        rider(stored.rider_id.as_deref()),
        rider(order.live.rider.as_ref().map(|rider| rider.as_str())),
    );
    column("history lines", stored.lines.to_string(), beside.lines.to_string());
    column("timers", timers(&stored.timers), timers(&order.timers));

    let wrong = |reason: String| LookError::Row(format!("alerts of order {}: {reason}", order.id));
    let given = beside.alerts.values().map(|change| AlertRow::of(&alert_body(cell, &order.id, change)).map_err(wrong));
    let given = given.collect::<Result<Vec<_>, _>>()?;
    let equal_alerts = compare_alerts(&stored.alerts, &given, &mut details);
    let missing = given.iter().filter(|row| !stored.alerts.iter().any(|stored| stored.n == row.n)).count();

    let texts = |rows: &[AlertRow]| rows.iter().map(|row| row.columns.to_string()).collect::<Vec<_>>();
    let (stored_alerts, alerts) = (texts(&stored.alerts), texts(&given));
    let database = [&stored_head[..]].into_iter().chain(stored.image.chunks.iter().map(|c| &c[..]));
    let log = [&head[..]].into_iter().chain(chunks);
    Ok(Compared {
        database: digest(database.chain(stored_alerts.iter().map(|text| text.as_bytes()))),
        log: digest(log.chain(alerts.iter().map(|text| text.as_bytes()))),
        details,
        equal_alerts,
        missing_alerts: missing as u64,
    })
}

/// Notes the first differing column of each alert; gives how many are equal. Both are by number.
fn compare_alerts(stored: &[AlertRow], given: &[AlertRow], details: &mut Vec<Detail>) -> u64 {
    let mut equal = 0;
    for row in stored {
        let path = format!("alert {}", row.n);
        match given.iter().find(|given| given.n == row.n) {
            None => details.push(Detail::new(path, "is there", "isn't there")),
            Some(given) => match first_difference(&path, &row.columns, &given.columns) {
                None => equal += 1,
                Some(detail) => details.push(detail),
            },
        }
    }
    let missing = given.iter().filter(|row| !stored.iter().any(|stored| stored.n == row.n));
    details.extend(missing.map(|row| Detail::new(format!("alert {}", row.n), "isn't there", "is there")));
    equal
}

fn timers(all: &[RunningTimer]) -> String {
    let mut all: Vec<(TimerKind, u32, i64)> = all.iter().map(|(kind, n, due)| (*kind, *n, due.0)).collect();
    all.sort_unstable();
    let all: Vec<_> = all.iter().map(|(kind, n, due)| format!("{} {n} due {due}", kind.name())).collect();
    all.join(", ")
}

fn state_difference(stored: &[u8], order: &Order) -> Detail {
    let ours = match serde_json::to_value(order) {
        Ok(ours) => ours,
        Err(error) => return Detail::new("state", "", format!("can't be shown: {error}")),
    };
    let theirs = blob::decode::<Order>(stored).map_err(|e| e.to_string());
    let theirs = theirs.and_then(|order| serde_json::to_value(&order).map_err(|e| e.to_string()));
    match theirs {
        Ok(theirs) => first_difference("state", &theirs, &ours)
            .unwrap_or_else(|| Detail::new("state", "other bytes", "the same fields")),
        Err(error) => Detail::new("state", format!("can't be read: {error}"), "readable"),
    }
}

/// The first field, in the order of their names, whose values differ: its path and both values.
pub(super) fn first_difference(path: &str, database: &Value, log: &Value) -> Option<Detail> {
    match (database, log) {
        (Value::Object(a), Value::Object(b)) => {
            let names: std::collections::BTreeSet<_> = a.keys().chain(b.keys()).collect();
            names.into_iter().find_map(|name| {
                let (a, b) = (a.get(name).unwrap_or(&Value::Null), b.get(name).unwrap_or(&Value::Null));
                first_difference(&format!("{path}.{name}"), a, b)
            })
        }
        (Value::Array(a), Value::Array(b)) => {
            let longer = a.len().max(b.len());
            (0..longer).find_map(|i| {
                let (a, b) = (a.get(i).unwrap_or(&Value::Null), b.get(i).unwrap_or(&Value::Null));
                first_difference(&format!("{path}[{i}]"), a, b)
            })
        }
        (
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_),
            _,
        ) => (database != log).then(|| Detail::new(path, short(database), short(log))),
    }
}

fn short(value: &Value) -> String {
    const MOST: usize = 120;
    let mut text = value.to_string();
    if text.len() > MOST {
        text.truncate(text.floor_char_boundary(MOST));
        text.push('…');
    }
    text
}

/// SHA-256 over these bytes, each with its length.
pub(super) fn digest<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_first_differing_field_is_named_with_its_path() {
        let a = json!({"live": {"status": 3, "fixes": [1, {"x": 2}]}, "version": 7});
        let differs = |b: Value| first_difference("state", &a, &b);
        assert_eq!(differs(a.clone()), None);
        let mut b = a.clone();
        b["version"] = json!(8);
        assert_eq!(differs(b.clone()), Some(Detail::new("state.version", 7, 8)));
        b["live"]["fixes"][1]["x"] = json!(null);
        assert_eq!(differs(b), Some(Detail::new("state.live.fixes[1].x", 2, "null")));
        let mut b = a.clone();
        b["live"]["fixes"] = json!([1]);
        assert_eq!(differs(b), Some(Detail::new("state.live.fixes[1]", r#"{"x":2}"#, "null")));
    }

    #[test]
    fn where_bytes_are_cut_shows_in_the_digest() {
        assert_ne!(digest([&b"ab"[..], b"c"]), digest([&b"a"[..], b"bc"]));
    }
}
