//! What each role sees of the one state: a table of field × view, applied before anything is encoded.

use crate::domain::Status;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A role's way of seeing an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum View {
    Customer,
    /// Someone with a share link: as the customer, without amount, address and phone.
    Shared,
    Rider,
    Warehouse,
    Operations,
}

impl View {
    pub const ALL: [Self; 5] = [Self::Customer, Self::Shared, Self::Rider, Self::Warehouse, Self::Operations];

    /// The name in URLs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Customer => "customer",
            Self::Shared => "shared",
            Self::Rider => "rider",
            Self::Warehouse => "warehouse",
            Self::Operations => "operations",
        }
    }
}

impl std::str::FromStr for View {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|v| v.name() == text)
            .ok_or_else(|| format!("`{text}` is no role; the roles are customer, shared, rider, warehouse, operations"))
    }
}

/// When a view shows a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    Never,
    Always,
    /// Only while the order is under way to the door.
    Delivering,
    /// Until the order ends: whom to call and where to go is nobody's business afterwards.
    Open,
    /// Only while delivering, and when the order is among the rider's next [`NEAR_STOPS`] stops.
    Near,
    /// With all but the last four digits masked.
    Masked,
}

/// A rider's position is shown to a customer when theirs is among so many next stops.
pub const NEAR_STOPS: u64 = 3;

/// Field × view, columns as in [`View::ALL`]: customer, shared, rider, warehouse, operations. Code, tests and
/// documentation read this table; a field that isn't in it is shown to nobody.
pub const FIELDS: &[(&str, [Shown; 5])] = {
    use Shown::{Always as A, Delivering as D, Masked as M, Near as P, Never as N, Open as O};
    &[
        ("id", [A, A, A, A, A]),
        ("cell", [A, A, A, A, A]),
        ("status", [A, A, A, A, A]),
        ("rev", [N, N, A, A, A]),
        ("stage", [A, A, A, A, A]),
        ("user_id", [N, N, N, N, A]),
        ("warehouse", [A, A, A, A, A]),
        ("destination", [A, N, A, N, A]),
        ("amount_minor", [A, N, N, N, A]),
        ("currency", [A, N, N, N, A]),
        ("items", [A, A, A, A, A]),
        ("promise", [A, A, A, A, A]),
        // Its last point is the door.
        ("route", [D, N, A, N, A]),
        ("extra", [A, N, N, A, A]),
        ("rider", [A, A, A, A, A]),
        ("position", [P, P, A, N, A]),
        ("stops_ahead", [D, D, A, N, A]),
        ("created_at_ms", [A, A, A, A, A]),
        ("paid_at_ms", [A, N, N, A, A]),
        ("departed_at_ms", [A, A, A, A, A]),
        ("completed_at_ms", [A, A, A, A, A]),
        ("cancelled_at_ms", [A, A, A, A, A]),
        ("cancel_reason", [A, N, A, A, A]),
        ("attempts", [A, A, A, A, A]),
        ("attempt_reason", [A, N, A, A, A]),
        ("attempted_at_ms", [A, A, A, A, A]),
        ("returned", [A, A, A, A, A]),
        ("missing", [A, N, A, A, A]),
        ("proof", [A, N, A, N, A]),
        ("edited_at_ms", [A, A, A, A, A]),
        ("eta", [A, A, A, N, A]),
        // How far the rider still is says where they are.
        ("remaining_m", [P, P, A, N, A]),
        // "The rider waits at the warehouse" explains an ETA; how long they stood there is the house's own afterwards.
        ("warehouse_arrived_at_ms", [O, O, A, A, A]),
        ("arrived_at_ms", [A, A, A, N, A]),
        ("alerts", [N, N, N, N, A]),
        // Personal data, joined by the bridge from its own bucket.
        ("contact", [M, N, O, N, A]),
        ("address", [A, N, O, N, A]),
        ("notes", [A, N, O, N, A]),
    ]
};

/// Fields that every fix may change, each with its members that come and go. While a client takes nothing, a newer value of
/// them stands for those before it; everything else that happens to an order is told in its place.
pub const VOLATILE: &[(&str, &[&str])] = &[
    ("position", &["accuracy_m", "heading_deg", "speed_mps"]),
    ("remaining_m", &[]),
    ("stops_ahead", &[]),
    ("eta", &[]),
];

/// Whether a patch changes volatile fields only.
pub fn is_volatile(patch: &Value) -> bool {
    patch.as_object().is_some_and(|fields| fields.keys().all(|name| VOLATILE.iter().any(|(field, _)| field == name)))
}

/// The patch that sets all volatile fields to what `seen` has, whatever they were.
pub fn volatile(seen: &Value) -> Value {
    let whole = |(field, members): &(&str, &[&str])| {
        let mut value = seen.get(field).cloned().unwrap_or_default();
        if let Value::Object(value) = &mut value {
            for member in *members {
                value.entry(*member).or_insert_with(Value::default);
            }
        }
        ((*field).to_owned(), value)
    };
    Value::Object(VOLATILE.iter().map(whole).collect())
}

/// The part of `state` that `view` may see. `personal` is joined first and goes through the same table.
pub fn project(view: View, state: &Value, personal: Option<&Value>) -> Value {
    let mut seen = Map::new();
    for (field, columns) in FIELDS {
        let Some(value) = state.get(field).or_else(|| personal.and_then(|p| p.get(field))) else { continue };
        match columns[view as usize] {
            Shown::Never => {}
            Shown::Always => drop(seen.insert((*field).to_owned(), value.clone())),
            Shown::Delivering if is_delivering(state) => drop(seen.insert((*field).to_owned(), value.clone())),
            Shown::Near if is_delivering(state) && is_near(state) => {
                seen.insert((*field).to_owned(), value.clone());
            }
            Shown::Open if !is_final(state) => drop(seen.insert((*field).to_owned(), value.clone())),
            Shown::Delivering | Shown::Near | Shown::Open => {}
            Shown::Masked => drop(seen.insert((*field).to_owned(), masked(value))),
        }
    }
    Value::Object(seen)
}

fn is_delivering(state: &Value) -> bool {
    state.get("status").and_then(Value::as_u64) == Some(u64::from(Status::Delivering.code()))
}

fn is_final(state: &Value) -> bool {
    let code = state.get("status").and_then(Value::as_u64).and_then(|code| u8::try_from(code).ok());
    code.and_then(|code| Status::try_from(code).ok()).is_some_and(Status::is_final)
}

/// Theirs is among the next three stops when at most two lie before it.
fn is_near(state: &Value) -> bool {
    state.get("stops_ahead").and_then(Value::as_u64).is_some_and(|ahead| ahead < NEAR_STOPS)
}

/// Digits but the last four become `*`; of an object, every text member's.
fn masked(value: &Value) -> Value {
    match value {
        Value::String(text) => {
            let digits = text.chars().filter(|c| c.is_numeric()).count();
            let mut left = digits.saturating_sub(4);
            let mask = |c: char| {
                if c.is_numeric() && left > 0 {
                    left -= 1;
                    '*'
                } else {
                    c
                }
            };
            Value::String(text.chars().map(mask).collect())
        }
        Value::Object(members) => members.iter().map(|(k, v)| (k.clone(), masked(v))).collect(),
        // Nothing else can hold a phone number that is safe to show in part.
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_customer_sees_the_rider_only_while_delivering_and_near() {
        let state = |status: u8, ahead: u16| json!({"status": status, "stops_ahead": ahead, "position": {"lat": 1.0}});
        let sees = |s| project(View::Customer, &s, None).get("position").is_some();
        assert!(sees(state(3, 0)) && sees(state(3, 2)));
        assert!(!sees(state(3, 3)) && !sees(state(2, 0)) && !sees(state(4, 0)));
    }

    #[test]
    fn volatile_fields_are_set_whatever_they_were() {
        let position = |extra: Value| {
            let mut position = json!({"lat": 1.0, "lon": 2.0, "fix_time_ms": 5});
            crate::wire::merge::patch(&mut position, &extra);
            json!({"status": 3, "position": position, "eta": {"p50_ms": 1}})
        };
        let states = [
            json!({"status": 3}),
            json!({"status": 3, "remaining_m": 7, "stops_ahead": 0}),
            position(json!({})),
            position(json!({"heading_deg": 90})),
            position(json!({"heading_deg": 80, "speed_mps": 3.0, "accuracy_m": 4.0})),
        ];
        for before in &states {
            for after in &states {
                let mut state = before.clone();
                crate::wire::merge::patch(&mut state, &volatile(after));
                assert_eq!(&state, after);
            }
        }
        assert!(is_volatile(&json!({"position": {"lat": 1.0}, "eta": null})));
        assert!(!is_volatile(&json!({"position": {"lat": 1.0}, "status": 4})) && !is_volatile(&json!(null)));
    }

    #[test]
    fn the_rider_forgets_whom_it_brought_the_order_to() {
        let personal = json!({"contact": {"phone": "138"}, "address": "x", "notes": "y"});
        let sees =
            |status: u8| project(View::Rider, &json!({"status": status}), Some(&personal)).as_object().unwrap().len();
        assert_eq!((sees(3), sees(4), sees(5)), (4, 1, 1));
    }

    #[test]
    fn customers_are_told_that_the_rider_waits_at_the_warehouse_until_the_order_ends() {
        let sees = |view, status: u8| {
            let state = json!({"status": status, "warehouse_arrived_at_ms": 7});
            project(view, &state, None).get("warehouse_arrived_at_ms").is_some()
        };
        for view in [View::Customer, View::Shared] {
            assert_eq!([2, 3, 4, 5].map(|status| sees(view, status)), [true, true, false, false], "{view:?}");
        }
        assert!(sees(View::Warehouse, 4) && sees(View::Rider, 4) && sees(View::Operations, 5));
    }

    #[test]
    fn phones_are_masked_and_unknown_fields_hidden() {
        let personal = json!({"contact": {"name": "王", "phone": "+86 138 1234 5678"}, "address": "人民路 1"});
        let state = json!({"id": "o", "status": 2, "secret": 1});
        let seen = project(View::Customer, &state, Some(&personal));
        assert_eq!(seen["contact"]["phone"], "+** *** **** 5678");
        assert_eq!(masked(&json!("１３８１２３４５６７８")), json!("*******５６７８"));
        assert!(seen.get("secret").is_none());
        let shared = project(View::Shared, &state, Some(&personal)).to_string();
        assert!(!shared.contains("5678") && !shared.contains("人民路"));
    }
}
