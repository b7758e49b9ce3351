//! What an order has in the database and what the log gives for it: one hash each, and where they differ, in what.

use crate::{
    domain::{Order, effect::TimerKind},
    ports::RunningTimer,
    store::StoredOrder,
    wire::blob::{self, BlobError},
};
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

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
}

/// Compares what is stored of an order with what the log gives. `lines` is the length of its history by the log.
pub(super) fn compare(stored: &StoredOrder, order: &Order, lines: u64) -> Result<Compared, BlobError> {
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
    column("history lines", stored.lines.to_string(), lines.to_string());
    column("timers", timers(&stored.timers), timers(&order.timers));

    let database = digest([&stored_head[..]].into_iter().chain(stored.image.chunks.iter().map(|c| &c[..])));
    let log = digest([&head[..]].into_iter().chain(chunks));
    Ok(Compared { database, log, details })
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

pub(super) fn hex(hash: &[u8; 32]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
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
