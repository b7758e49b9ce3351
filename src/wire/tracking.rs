//! The flat body of an order's tracking as a page sends it: the shape that it also gets, read as a fix or as a stage.
//!
//! A page sends back what it has, so every member of the shape is taken; what describes the order rather than the report
//! (`statusText`, `address`, `eta`, `version`) is not looked at. Beside them there is `stage`, for warehouses that know more
//! than a status says.

use super::{FieldError, command::time, fix::SingleBody, parse_json};
use crate::{
    domain::{OrderId, RiderId, Stage, Status, UnixMillis, WarehouseId, ids::IdError},
    geo::Datum,
    wire::access::{Principal, Role},
};
use serde::{Deserialize, de::IgnoredAny};

/// The body.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct TrackingBody {
    order_id: Option<String>,
    status: Option<u8>,
    #[serde(rename = "statusText")]
    _status_text: IgnoredAny,
    longitude: Option<f64>,
    latitude: Option<f64>,
    #[serde(rename = "address")]
    _address: IgnoredAny,
    operator_id: Option<String>,
    operator_type: Option<u8>,
    /// Of the report, by the publisher's clock.
    create_time: Option<Time>,
    #[serde(rename = "eta")]
    _eta: IgnoredAny,
    #[serde(rename = "version")]
    _version: IgnoredAny,
    stage: Option<String>,
}

/// ISO 8601, or milliseconds since 1970.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Time {
    Millis(i64),
    Text(String),
}

impl Time {
    fn millis(self) -> Result<UnixMillis, FieldError> {
        match self {
            Self::Millis(ms) => time("createTime", ms),
            Self::Text(text) => {
                let parsed = text.parse::<jiff::Timestamp>();
                let parsed = parsed.map_err(|_| {
                    FieldError::new("createTime", "must be ISO 8601 with its offset, or milliseconds since 1970")
                })?;
                time("createTime", parsed.as_millisecond())
            }
        }
    }
}

/// What somebody reports of an order.
#[derive(Clone, Debug, PartialEq)]
pub enum Tracking {
    /// Its rider is there.
    Fix { order: OrderId, rider: RiderId, fix: SingleBody },
    /// Its warehouse is so far with it. Without a stage: it has it, or is further.
    Stage { order: OrderId, warehouse: WarehouseId, stage: Option<Stage> },
}

impl Tracking {
    pub fn order(&self) -> &OrderId {
        match self {
            Self::Fix { order, .. } | Self::Stage { order, .. } => order,
        }
    }
}

/// Reads what `who` sent, in their map's datum, at `now`. Whether the order is theirs is another question.
pub fn read(payload: &[u8], who: &Principal, datum: Datum, now: UnixMillis) -> Result<Tracking, FieldError> {
    let body: TrackingBody = parse_json(payload)?;
    let missing = |field: &str| FieldError::new(field, "is missing");
    let id_error = |field: &'static str| move |e: IdError| FieldError::new(field, e.to_string());
    let order = body.order_id.ok_or_else(|| missing("orderId"))?.parse().map_err(id_error("orderId"))?;
    // Riders and warehouses report as what they are; operations for either.
    let own = match who.role {
        Role::Rider => Some(RIDER),
        Role::Warehouse => Some(WAREHOUSE),
        Role::Customer | Role::Shared | Role::System | Role::Operations => None,
    };
    let kind = body.operator_type.or(own).ok_or_else(|| missing("operatorType"))?;
    if own.is_some_and(|own| own != kind) {
        return Err(FieldError::new("operatorType", format!("is not a {}'s", who.role.name())));
    }
    let own_id = || own.filter(|_| !who.everyone).map(|_| who.id.to_string());
    let operator = body.operator_id.or_else(own_id).ok_or_else(|| missing("operatorId"))?;
    let status =
        body.status.map(|code| Status::try_from(code).map_err(|e| FieldError::new("status", e))).transpose()?;
    match kind {
        RIDER => {
            if let Some(status) = status.filter(|status| *status != Status::Delivering) {
                let reason = format!(
                    "a rider's position is one of status 3, not {}; the order's own commands change it",
                    status.code()
                );
                return Err(FieldError::new("status", reason));
            }
            if body.stage.is_some() {
                return Err(FieldError::new("stage", "is a warehouse's to report"));
            }
            let fix_time = body.create_time.map_or(Ok(now), Time::millis)?;
            let fix = SingleBody {
                lat: body.latitude.ok_or_else(|| missing("latitude"))?,
                lon: body.longitude.ok_or_else(|| missing("longitude"))?,
                fix_time_ms: fix_time.0,
                datum,
                ..SingleBody::default()
            };
            Ok(Tracking::Fix { order, rider: operator.parse().map_err(id_error("operatorId"))?, fix })
        }
        WAREHOUSE => {
            let said =
                body.stage.map(|stage| stage.parse::<Stage>().map_err(|e| FieldError::new("stage", e))).transpose()?;
            let stage = match (said, status) {
                (Some(stage), _) => Some(stage),
                (None, Some(Status::Paid)) => None,
                (None, Some(Status::Delivering)) => Some(Stage::HandedOver),
                (None, Some(Status::PendingPayment | Status::Completed | Status::Cancelled)) => {
                    return Err(FieldError::new(
                        "status",
                        "a warehouse reports 2 or 3; the order's own commands do the rest",
                    ));
                }
                (None, None) => return Err(missing("stage")),
            };
            Ok(Tracking::Stage { order, warehouse: operator.parse().map_err(id_error("operatorId"))?, stage })
        }
        _ => Err(FieldError::new("operatorType", "must be 1 (rider) or 2 (warehouse)")),
    }
}

const RIDER: u8 = 1;
const WAREHOUSE: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn who(role: Role) -> Principal {
        Principal { role, id: "x1".into(), cells: None, order: None, expires_at: None, everyone: false }
    }

    fn ask(role: Role, body: Value) -> Result<Tracking, String> {
        read(body.to_string().as_bytes(), &who(role), Datum::Wgs84, UnixMillis(7)).map_err(|e| e.field)
    }

    #[test]
    fn a_riders_body_is_a_fix() {
        let body = json!({"orderId": "o1", "status": 3, "statusText": "配送中", "longitude": 121.5, "latitude": 31.2, "address": null,
            "operatorId": "x1", "operatorType": 1, "createTime": "2023-11-14T22:13:20Z", "eta": null, "version": 4});
        let Ok(Tracking::Fix { order, rider, fix }) = ask(Role::Rider, body) else { panic!() };
        assert_eq!((order.as_str(), rider.as_str()), ("o1", "x1"));
        assert_eq!((fix.lat, fix.lon, fix.fix_time_ms), (31.2, 121.5, 1_700_000_000_000));
        let Ok(Tracking::Fix { rider, fix, .. }) =
            ask(Role::Rider, json!({"orderId": "o1", "longitude": 1, "latitude": 2}))
        else {
            panic!()
        };
        assert_eq!((rider.as_str(), fix.fix_time_ms), ("x1", 7), "its own, now");
    }

    #[test]
    fn a_warehouses_body_is_a_stage() {
        let stage = |body| match ask(Role::Warehouse, body) {
            Ok(Tracking::Stage { stage, .. }) => stage,
            other => panic!("{other:?}"),
        };
        assert_eq!(stage(json!({"orderId": "o1", "stage": "packed", "status": 2})), Some(Stage::Packed));
        assert_eq!(stage(json!({"orderId": "o1", "status": 2})), None);
        assert_eq!(stage(json!({"orderId": "o1", "status": 3, "operatorType": 2})), Some(Stage::HandedOver));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        for (role, body, field) in [
            (Role::Rider, json!({}), "orderId"),
            (Role::Rider, json!({"orderId": "a.b"}), "orderId"),
            (Role::Rider, json!({"orderId": "o1", "latitude": 1}), "longitude"),
            (Role::Rider, json!({"orderId": "o1", "longitude": "1", "latitude": 1}), "longitude"),
            (Role::Rider, json!({"orderId": "o1", "longitude": 1, "latitude": 1, "status": 4}), "status"),
            (Role::Rider, json!({"orderId": "o1", "longitude": 1, "latitude": 1, "status": 9}), "status"),
            (Role::Rider, json!({"orderId": "o1", "operatorType": 2}), "operatorType"),
            (Role::Rider, json!({"orderId": "o1", "stage": "packed"}), "stage"),
            (Role::Rider, json!({"orderId": "o1", "longitude": 1, "latitude": 1, "createTime": "noon"}), "createTime"),
            (Role::Rider, json!({"orderId": "o1", "longitud": 1}), "longitud"),
            (Role::Warehouse, json!({"orderId": "o1"}), "stage"),
            (Role::Warehouse, json!({"orderId": "o1", "status": 4}), "status"),
            (Role::Warehouse, json!({"orderId": "o1", "stage": "gone"}), "stage"),
            (Role::Operations, json!({"orderId": "o1", "status": 2}), "operatorType"),
            (Role::Operations, json!({"orderId": "o1", "operatorType": 1}), "operatorId"),
            (Role::Operations, json!({"orderId": "o1", "operatorType": 4, "operatorId": "a"}), "operatorType"),
        ] {
            assert_eq!(ask(role, body.clone()), Err(field.into()), "{role:?} {body}");
        }
    }
}
