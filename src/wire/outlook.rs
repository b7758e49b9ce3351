//! JSON of what an order says of itself: when it arrives, where it got to, and what is wrong with it.

use crate::domain::{Eta, alert::OpenAlert, eta::Legs, order::Outlook};
use serde_json::{Map, Value, json};

/// Puts the outlook's fields into the published state.
pub(super) fn outlook_into(doc: &mut Map<String, Value>, outlook: &Outlook) {
    let Outlook { eta, remaining_m, warehouse_arrived_at, arrived_at, alerts } = outlook;
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            doc.insert(name.into(), value);
        }
    };
    put("eta", eta.as_ref().map(self::eta));
    put("remaining_m", remaining_m.map(Value::from));
    put("warehouse_arrived_at_ms", warehouse_arrived_at.map(|t| t.0.into()));
    put("arrived_at_ms", arrived_at.map(|t| t.0.into()));
    let open = alerts.iter().map(|alert| (alert.n.to_string(), open(alert))).collect::<Map<_, _>>();
    put("alerts", (!open.is_empty()).then_some(Value::Object(open)));
}

/// `{at_ms, p10_ms, p50_ms, p90_ms, legs, basis, path}`; `at_ms` and the legs add up to `p50_ms`.
pub fn eta(Eta { at, p10, p50, p90, legs, basis, path }: &Eta) -> Value {
    let Legs { picking_ms, handover_ms, ride_ms, door_ms } = legs;
    json!({
        "at_ms": at.0, "p10_ms": p10.0, "p50_ms": p50.0, "p90_ms": p90.0,
        "legs": {"picking_ms": picking_ms, "handover_ms": handover_ms, "ride_ms": ride_ms, "door_ms": door_ms},
        "basis": basis.name(), "path": path.name(),
    })
}

fn open(OpenAlert { n: _, kind, acknowledged, since }: &OpenAlert) -> Value {
    let state = if *acknowledged { "acknowledged" } else { "raised" };
    json!({"kind": kind.name(), "severity": kind.severity().name(), "state": state, "since_ms": since.0})
}
