//! An order as one flat body, for clients that show what they get and merge nothing: those of STOMP.
//!
//! Every member is always there, null where it isn't known or not the follower's to see. It is made of what the follower's
//! view shows, so that it holds nothing that the view hides.

use crate::domain::{OperatorKind, Status, UnixMillis};
use serde_json::{Map, Value, json};

/// The body of what a view shows of an order. `createTime` is put in by [`stamp`], so that two bodies differ only in what
/// they say.
///
/// `longitude`, `latitude`: where the order is: the rider's position while it is shown, the warehouse until then. `address`:
/// the warehouse's name while it is there. `operatorId`, `operatorType` (1 rider, 2 warehouse, 4 system): who has it in hand.
pub fn body(seen: &Value) -> Value {
    let code = seen.get("status").and_then(Value::as_u64).and_then(|code| u8::try_from(code).ok());
    let status = code.and_then(|code| Status::try_from(code).ok());
    let at = |pointer: &str| seen.pointer(pointer).cloned().unwrap_or_default();
    let (place, address) = match status {
        Some(Status::PendingPayment | Status::Paid) => ("/warehouse", at("/warehouse/name")),
        Some(Status::Delivering | Status::Completed | Status::Cancelled) | None => ("/position", Value::Null),
    };
    let (operator, kind) = match status {
        Some(Status::Paid) => (at("/warehouse/id"), OperatorKind::Warehouse),
        Some(Status::Delivering | Status::Completed) if seen.pointer("/rider/id").is_some() => {
            (at("/rider/id"), OperatorKind::Rider)
        }
        Some(Status::PendingPayment | Status::Delivering | Status::Completed | Status::Cancelled) | None => {
            (Value::Null, OperatorKind::System)
        }
    };
    json!({
        "orderId": at("/id"),
        "status": at("/status"),
        "statusText": status.map(text),
        "longitude": at(&format!("{place}/lon")),
        "latitude": at(&format!("{place}/lat")),
        "address": address,
        "operatorId": operator,
        "operatorType": kind as u8,
        "eta": at("/eta/p50_ms").as_i64().and_then(|ms| time(UnixMillis(ms))),
    })
}

/// Puts in the order's version and when it became that, as ISO 8601 in UTC.
pub fn stamp(body: &Value, version: u64, at: UnixMillis) -> Value {
    let mut members = body.as_object().cloned().unwrap_or_else(Map::new);
    members.insert("createTime".into(), time(at).into());
    members.insert("version".into(), version.into());
    Value::Object(members)
}

/// Whether one body follows another by a movement alone.
pub fn is_movement(before: &Value, after: &Value) -> bool {
    const MOVES: [&str; 3] = ["longitude", "latitude", "eta"];
    let (Some(before), Some(after)) = (before.as_object(), after.as_object()) else { return false };
    before.len() == after.len()
        && before.iter().all(|(name, value)| MOVES.contains(&name.as_str()) || after.get(name) == Some(value))
}

/// The label that shops of this trade put on a status.
pub fn text(status: Status) -> &'static str {
    match status {
        Status::PendingPayment => "待支付",
        Status::Paid => "仓库处理中",
        Status::Delivering => "配送中",
        Status::Completed => "已送达",
        Status::Cancelled => "已取消",
    }
}

fn time(at: UnixMillis) -> Option<String> {
    jiff::Timestamp::from_millisecond(at.0).ok().map(|time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_says_where_the_order_is_and_who_has_it() {
        let seen = json!({"id": "o1", "status": 2, "warehouse": {"id": "w1", "name": "North", "lat": 1.5, "lon": 2.5}});
        let whole = stamp(&body(&seen), 4, UnixMillis(1_700_000_000_000));
        let expected = json!({
            "orderId": "o1", "status": 2, "statusText": "仓库处理中", "longitude": 2.5, "latitude": 1.5,
            "address": "North", "operatorId": "w1", "operatorType": 2, "eta": null,
            "createTime": "2023-11-14T22:13:20Z", "version": 4,
        });
        assert_eq!(whole, expected);
        let seen = json!({"id": "o1", "status": 3, "rider": {"id": "r1"}, "position": {"lat": 1.0, "lon": 2.0},
            "warehouse": {"id": "w1", "name": "North", "lat": 1.5, "lon": 2.5}, "eta": {"p50_ms": 1_700_000_000_000_i64}});
        let body = body(&seen);
        assert_eq!(
            (&body["longitude"], &body["operatorType"], &body["address"]),
            (&json!(2.0), &json!(1), &Value::Null)
        );
        assert_eq!(body["eta"], "2023-11-14T22:13:20Z");
    }

    #[test]
    fn a_movement_is_one_and_a_status_is_none() {
        let body = |status: u8, lat: f64| {
            self::body(&json!({"id": "o1", "status": status, "position": {"lat": lat, "lon": 1}}))
        };
        assert!(is_movement(&body(3, 1.0), &body(3, 2.0)));
        assert!(!is_movement(&body(3, 1.0), &body(4, 1.0)));
    }
}
