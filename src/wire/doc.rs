//! The published state of an order as JSON, whole (operations' view of it) and as the difference of two.
//!
//! Keys are absent where a value is unknown, never null, so that merge patches can express every change.

use crate::{
    domain::{
        Facts, Live, OrderId, Position, UnixMillis,
        order::{Money, Place, Promise, Route},
    },
    geo::Point,
    wire::{life::circumstances_into, merge, outlook::outlook_into},
};
use bytes::Bytes;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

/// The whole published state.
pub fn order(id: &OrderId, facts: &Facts, live: &Live) -> Value {
    let mut doc = Map::new();
    doc.insert("id".into(), id.as_str().into());
    facts_into(&mut doc, facts);
    live_into(&mut doc, live);
    Value::Object(doc)
}

/// The patch from one state of an order to the next; equal to the difference of the whole documents, but only what
/// changed is turned into JSON.
pub fn diff(id: &OrderId, before: Option<(&Facts, &Live)>, after: (&Facts, &Live)) -> Value {
    let Some((old_facts, old_live)) = before else {
        return order(id, after.0, after.1);
    };
    let (mut a, mut b) = (Map::new(), Map::new());
    if !std::ptr::eq(old_facts, after.0) && old_facts != after.0 {
        facts_into(&mut a, old_facts);
        facts_into(&mut b, after.0);
    }
    if old_live.position != after.1.position && only_position_differs(old_live, after.1) {
        position_into(&mut a, old_live.position.as_ref());
        position_into(&mut b, after.1.position.as_ref());
    } else {
        live_into(&mut a, old_live);
        live_into(&mut b, after.1);
    }
    merge::diff(&Value::Object(a), &Value::Object(b)).unwrap_or_else(|| json!({}))
}

/// [`diff`] as text. The common case, a fix that moves the marker, doesn't go through JSON values.
pub fn delta(id: &OrderId, before: Option<(&Facts, &Live)>, after: (&Facts, &Live)) -> Bytes {
    if let Some((old_facts, old_live)) = before
        && std::ptr::eq(old_facts, after.0)
        && let (Some(a), Some(b)) = (&old_live.position, &after.1.position)
        && a != b
        && only_position_differs(old_live, after.1)
        && let Ok(text) = serde_json::to_vec(&Moved { position: Motion::between(a, b) })
    {
        return text.into();
    }
    diff(id, before, after).to_string().into()
}

/// Everything but the position is the same.
fn only_position_differs(a: &Live, b: &Live) -> bool {
    let Live {
        status,
        rev,
        stage,
        rider,
        position: _,
        stops_ahead,
        created_at,
        paid_at,
        departed_at,
        completed_at,
        cancelled_at,
        cancel_reason,
        circumstances,
        outlook,
    } = a;
    (*status, *rev, *stage, *stops_ahead) == (b.status, b.rev, b.stage, b.stops_ahead)
        && (*created_at, *paid_at, *departed_at) == (b.created_at, b.paid_at, b.departed_at)
        && (*completed_at, *cancelled_at) == (b.completed_at, b.cancelled_at)
        && *rider == b.rider
        && *cancel_reason == b.cancel_reason
        && *circumstances == b.circumstances
        && *outlook == b.outlook
}

#[derive(Serialize)]
struct Moved {
    position: Motion,
}

/// What changed of a [`position`]; members in the order of JSON objects here, which is that of their names.
#[derive(Serialize)]
struct Motion {
    #[serde(skip_serializing_if = "Member::is_same")]
    accuracy_m: Member<f64>,
    #[serde(skip_serializing_if = "Member::is_same")]
    fix_time_ms: Member<i64>,
    #[serde(skip_serializing_if = "Member::is_same")]
    heading_deg: Member<u16>,
    #[serde(skip_serializing_if = "Member::is_same")]
    lat: Member<f64>,
    #[serde(skip_serializing_if = "Member::is_same")]
    lon: Member<f64>,
    #[serde(skip_serializing_if = "Member::is_same")]
    speed_mps: Member<f64>,
}

/// A member of a merge patch.
enum Member<T> {
    Same,
    Gone,
    Now(T),
}

impl<T: PartialEq> Member<T> {
    fn between(before: Option<T>, after: Option<T>) -> Self {
        match after {
            after if after == before => Self::Same,
            None => Self::Gone,
            Some(now) => Self::Now(now),
        }
    }
}

impl<T> Member<T> {
    fn is_same(&self) -> bool {
        matches!(self, Self::Same)
    }
}

impl<T: Serialize> Serialize for Member<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Same | Self::Gone => to.serialize_unit(),
            Self::Now(now) => now.serialize(to),
        }
    }
}

impl Motion {
    fn between(a: &Position, b: &Position) -> Self {
        Self {
            accuracy_m: Member::between(a.accuracy_dm.map(metres), b.accuracy_dm.map(metres)),
            fix_time_ms: Member::between(Some(a.fix_time.0), Some(b.fix_time.0)),
            heading_deg: Member::between(a.heading_deg, b.heading_deg),
            lat: Member::between(Some(a.point.lat()), Some(b.point.lat())),
            lon: Member::between(Some(a.point.lon()), Some(b.point.lon())),
            speed_mps: Member::between(a.speed_cmps.map(metres_per_second), b.speed_cmps.map(metres_per_second)),
        }
    }
}

/// A fix's accuracy, as it is shown.
pub fn metres(decimetres: u16) -> f64 {
    f64::from(decimetres) / 10.0
}

/// A fix's speed, as it is shown.
pub fn metres_per_second(cmps: u16) -> f64 {
    f64::from(cmps) / 100.0
}

fn facts_into(doc: &mut Map<String, Value>, facts: &Facts) {
    let Facts { user, cell, warehouse, destination, total, items, promise, route, extra } = facts;
    let Place { id, name, point } = warehouse;
    let Money { minor, currency } = total;
    doc.insert("cell".into(), cell.as_str().into());
    doc.insert("user_id".into(), user.as_str().into());
    doc.insert("warehouse".into(), json!({"id": id.as_str(), "name": name, "lat": point.lat(), "lon": point.lon()}));
    doc.insert("destination".into(), point_value(*destination));
    doc.insert("amount_minor".into(), (*minor).into());
    doc.insert("currency".into(), currency.as_str().into());
    doc.insert("items".into(), (*items).into());
    if let Some(Promise { from, to }) = promise {
        doc.insert("promise".into(), json!({"from_ms": from.0, "to_ms": to.0}));
    }
    if let Some(Route { points }) = route {
        let line: Vec<_> = points.iter().map(|p| json!([p.lon(), p.lat()])).collect();
        doc.insert("route".into(), json!({"type": "LineString", "coordinates": line}));
    }
    if let Some(extra) = extra.as_ref().and_then(|text| serde_json::from_str(text).ok()) {
        doc.insert("extra".into(), extra);
    }
}

fn live_into(doc: &mut Map<String, Value>, live: &Live) {
    let Live {
        status,
        rev,
        stage,
        rider,
        position,
        stops_ahead,
        created_at,
        paid_at,
        departed_at,
        completed_at,
        cancelled_at,
        cancel_reason,
        circumstances,
        outlook,
    } = live;
    doc.insert("status".into(), status.code().into());
    doc.insert("rev".into(), (*rev).into());
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            doc.insert(name.into(), value);
        }
    };
    let millis = |t: &Option<UnixMillis>| t.map(|t| t.0.into());
    put("stage", stage.map(|s| s.name().into()));
    put("rider", rider.as_ref().map(|r| json!({"id": r.as_str()})));
    put("stops_ahead", stops_ahead.map(Value::from));
    put("created_at_ms", Some(created_at.0.into()));
    put("paid_at_ms", millis(paid_at));
    put("departed_at_ms", millis(departed_at));
    put("completed_at_ms", millis(completed_at));
    put("cancelled_at_ms", millis(cancelled_at));
    put("cancel_reason", cancel_reason.as_deref().map(Value::from));
    position_into(doc, position.as_ref());
    if let Some(circumstances) = circumstances {
        circumstances_into(doc, circumstances);
    }
    if let Some(outlook) = outlook {
        outlook_into(doc, outlook);
    }
}

fn position_into(doc: &mut Map<String, Value>, position: Option<&Position>) {
    if let Some(position) = position {
        doc.insert("position".into(), self::position(position));
    }
}

/// A marker's position: degrees, the fix time behind it, and what the device said of it.
pub fn position(Position { point, fix_time, speed_cmps, heading_deg, accuracy_dm }: &Position) -> Value {
    let mut members = Map::new();
    members.insert("lat".into(), point.lat().into());
    members.insert("lon".into(), point.lon().into());
    members.insert("fix_time_ms".into(), fix_time.0.into());
    let mut put = |name: &str, number: Option<Value>| {
        if let Some(number) = number {
            members.insert(name.into(), number);
        }
    };
    put("speed_mps", speed_cmps.map(|v| metres_per_second(v).into()));
    put("heading_deg", heading_deg.map(Value::from));
    put("accuracy_m", accuracy_dm.map(|v| metres(v).into()));
    Value::Object(members)
}

/// `{"lat", "lon"}` in degrees.
pub fn point_value(point: Point) -> Value {
    json!({"lat": point.lat(), "lon": point.lon()})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        AlertKind, Eta, KeyId, Stage, Status,
        alert::OpenAlert,
        eta::{Basis, Legs, Path},
        order::{Circumstances, Missing, MissingItem, Outlook, Proof},
        testing,
    };
    use proptest::{option, prelude::*, sample::select};
    use std::sync::Arc;

    fn time() -> impl Strategy<Value = UnixMillis> {
        (0..3i64).prop_map(UnixMillis)
    }

    fn position() -> impl Strategy<Value = Position> {
        let small = || option::of(0..3u16);
        (any::<(i32, i32)>(), time(), small(), small(), small()).prop_map(|((lat_e7, lon_e7), fix_time, v, h, a)| {
            let point = Point { lat_e7, lon_e7 };
            Position { point, fix_time, speed_cmps: v, heading_deg: h, accuracy_dm: a }
        })
    }

    fn live() -> impl Strategy<Value = Live> {
        let status = (select(&Status::ALL[..]), 0..3u64, option::of(select(&Stage::ALL[..])));
        let rider = (option::of(0..3u32), option::of(position()), option::of(0..3u16));
        let times = (time(), option::of(time()), option::of(time()), option::of(time()), option::of(time()));
        let circumstances = option::of(circumstances().prop_map(Arc::new));
        let more = (circumstances, option::of(outlook().prop_map(Arc::new)));
        (status, rider, times, option::of("[ab]{0,2}"), more).prop_map(
            |((status, rev, stage), rider, times, cancel_reason, (circumstances, outlook))| Live {
                status,
                rev,
                stage,
                rider: rider.0.map(testing::rider),
                position: rider.1,
                stops_ahead: rider.2,
                created_at: times.0,
                paid_at: times.1,
                departed_at: times.2,
                completed_at: times.3,
                cancelled_at: times.4,
                cancel_reason,
                circumstances,
                outlook,
            },
        )
    }

    fn outlook() -> impl Strategy<Value = Outlook> {
        let eta = (time(), 0..3i64, any::<bool>()).prop_map(|(at, ride_ms, straight)| Eta {
            at,
            p10: at,
            p50: at.plus(ride_ms),
            p90: at.plus(9),
            legs: Legs { ride_ms, ..Legs::default() },
            basis: Basis::ConstantSpeed,
            path: if straight { Path::StraightLine } else { Path::Route },
        });
        let alert = (1..4u32, select(&AlertKind::ALL[..]), any::<bool>(), time());
        let alert = alert.prop_map(|(n, kind, acknowledged, since)| OpenAlert { n, kind, acknowledged, since });
        let alerts = prop::collection::btree_map(1..4u32, alert, 0..3);
        let alerts = alerts.prop_map(|all| all.into_iter().map(|(n, alert)| OpenAlert { n, ..alert }).collect());
        (option::of(eta), option::of(0..3u32), option::of(time()), option::of(time()), alerts).prop_map(
            |(eta, remaining_m, warehouse_arrived_at, arrived_at, alerts)| Outlook {
                eta,
                remaining_m,
                warehouse_arrived_at,
                arrived_at,
                alerts,
            },
        )
    }

    fn circumstances() -> impl Strategy<Value = Circumstances> {
        let word = || option::of("[ab]{1,2}");
        let item = ("[ab]", 1..3u32).prop_map(|(name, count)| MissingItem { name, count });
        let missing = (1..9u32, prop::collection::vec(item, 0..3), word()).prop_map(|(count, items, note)| Missing {
            count,
            items,
            note,
        });
        let proof = (word(), word(), word()).prop_map(|(photo, code, signature)| Proof { photo, code, signature });
        let key = option::of((0..3u8).prop_map(|n| KeyId([n; 16])));
        let attempts = (0..3u32, word(), option::of(time()));
        (attempts, any::<bool>(), option::of(missing), option::of(proof), option::of(time()), key).prop_map(
            |((attempts, attempt_reason, attempted_at), returned, missing, proof, edited_at, personal)| Circumstances {
                attempts,
                attempt_reason,
                attempted_at,
                returned,
                missing,
                proof,
                edited_at,
                personal,
            },
        )
    }

    fn facts() -> impl Strategy<Value = Arc<Facts>> {
        let route = prop::collection::vec(any::<(i32, i32)>(), 2..4).prop_map(|points| Route {
            points: points.into_iter().map(|(lat_e7, lon_e7)| Point { lat_e7, lon_e7 }).collect(),
        });
        let extra = select(vec![None, Some(r#"{"a":1}"#), Some(r#"{"a":{"b":{}},"c":[null,1]}"#), Some(r#"{"c":2}"#)]);
        let promise = (time(), time()).prop_map(|(from, to)| Promise { from, to });
        (any::<i64>(), option::of(route), extra, option::of(promise)).prop_map(|(minor, route, extra, promise)| {
            let mut facts = Facts { route, promise, extra: extra.map(str::to_owned), ..(*testing::facts()).clone() };
            facts.total.minor = minor;
            Arc::new(facts)
        })
    }

    proptest! {
        /// The law of the deltas, over states far beyond those that an order can come to.
        #[test]
        fn a_delta_leads_from_one_state_to_the_next(
            a in (facts(), live()), b in (facts(), live()), same_facts: bool, moved in option::of(option::of(position())),
        ) {
            let id = testing::order(1);
            let facts = if same_facts { &a.0 } else { &b.0 };
            // Often nothing but the position differs: that is a path of its own.
            let live = moved.map_or(b.1, |position| Live { position, ..a.1.clone() });
            let mut state = order(&id, &a.0, &a.1);
            let delta = diff(&id, Some((&a.0, &a.1)), (facts, &live));
            let whole = order(&id, facts, &live);
            prop_assert_eq!(merge::diff(&state, &whole).unwrap_or_else(|| json!({})), delta.clone());
            prop_assert_eq!(self::delta(&id, Some((&a.0, &a.1)), (facts, &live)), delta.to_string());
            merge::patch(&mut state, &delta);
            prop_assert_eq!(&state, &whole);
            prop_assert_eq!(diff(&id, None, (facts, &live)), whole);
        }
    }
}
