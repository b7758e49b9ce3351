//! Payloads of `rider.….fix` and `rider.….fixes`, and of the rider's other verbs.

use super::{
    FieldError,
    command::{Coordinates, time},
    life::ProofBody,
    parse_json,
    schema::{DatumName, Id, Millis},
};
use crate::{
    domain::{Fix, FixId, UnixMillis, fix::MAX_BATCH},
    geo::Datum,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One fix as a phone sends it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FixBody {
    #[schema(minimum = -90, maximum = 90, example = 31.21)]
    pub lat: f64,
    #[schema(minimum = -180, maximum = 180, example = 121.45)]
    pub lon: f64,
    /// Device clock.
    #[schema(value_type = Millis)]
    pub fix_time_ms: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 4_294_967_295_i64, format = Int64)]
    pub seq: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0)]
    pub accuracy_m: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 600)]
    pub speed_mps: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0)]
    pub heading_deg: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 100)]
    pub battery_pct: Option<f64>,
}

/// Payload of `fix`: [`FixBody`] and the message's own fields in one object. (serde can't deny unknown fields through
/// `flatten`, and a misspelt field must be named.)
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SingleBody {
    #[schema(minimum = -90, maximum = 90, example = 31.21)]
    pub lat: f64,
    #[schema(minimum = -180, maximum = 180, example = 121.45)]
    pub lon: f64,
    #[schema(value_type = Millis)]
    pub fix_time_ms: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 4_294_967_295_i64, format = Int64)]
    pub seq: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0)]
    pub accuracy_m: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 600)]
    pub speed_mps: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0)]
    pub heading_deg: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 100)]
    pub battery_pct: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Millis>)]
    pub sent_time_ms: Option<i64>,
    #[serde(default)]
    #[schema(value_type = DatumName, required = false)]
    pub datum: Datum,
}

/// Payload of `fixes`: what an offline phone sends when it is back.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchBody {
    #[serde(deserialize_with = "super::object::list")]
    #[schema(min_items = 1, max_items = 1000)]
    pub fixes: Vec<FixBody>,
    /// Device clock at sending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Millis>)]
    pub sent_time_ms: Option<i64>,
    #[serde(default)]
    #[schema(value_type = DatumName, required = false)]
    pub datum: Datum,
}

/// Checked fixes of one message.
#[derive(Clone, Debug, PartialEq)]
pub struct Fixes {
    pub sent_time: Option<UnixMillis>,
    pub fixes: Vec<Fix>,
}

/// Parses the payload of `fix`.
pub fn single(payload: &[u8]) -> Result<Fixes, FieldError> {
    let SingleBody { lat, lon, fix_time_ms, seq, accuracy_m, speed_mps, heading_deg, battery_pct, sent_time_ms, datum } =
        parse_json(payload)?;
    let body = FixBody { lat, lon, fix_time_ms, seq, accuracy_m, speed_mps, heading_deg, battery_pct };
    Ok(Fixes { sent_time: sent(sent_time_ms)?, fixes: vec![body.fix(datum)?] })
}

/// Parses the payload of `fixes`. One fix that can't be read refuses the batch, and is named.
pub fn batch(payload: &[u8]) -> Result<Fixes, FieldError> {
    let BatchBody { fixes, sent_time_ms, datum } = parse_json(payload)?;
    if !(1..=MAX_BATCH).contains(&fixes.len()) {
        return Err(FieldError::new("fixes", format!("holds {} fixes, must hold 1 to {MAX_BATCH}", fixes.len())));
    }
    let fix = |(i, body): (usize, FixBody)| body.fix(datum).map_err(|e| e.within(&format!("fixes[{i}]")));
    Ok(Fixes {
        sent_time: sent(sent_time_ms)?,
        fixes: fixes.into_iter().enumerate().map(fix).collect::<Result<_, _>>()?,
    })
}

pub(super) fn sent(ms: Option<i64>) -> Result<Option<UnixMillis>, FieldError> {
    ms.map(|ms| time("sent_time_ms", ms)).transpose()
}

impl FixBody {
    fn fix(self, datum: Datum) -> Result<Fix, FieldError> {
        Ok(Fix {
            point: Coordinates { lat: self.lat, lon: self.lon }.point(datum)?,
            id: FixId { device_time: time("fix_time_ms", self.fix_time_ms)?, seq: self.seq },
            // Beyond 6.5 km the figure says nothing more.
            accuracy_dm: scaled("accuracy_m", self.accuracy_m.map(|v| v.min(6_500.0)), 10.0, 6_500.0)?,
            speed_cmps: scaled("speed_mps", self.speed_mps, 100.0, 600.0)?,
            // 359.7 is north.
            heading_deg: scaled("heading_deg", self.heading_deg.map(|v| v % 360.0), 1.0, 360.0)?.map(|v| v % 360),
            #[allow(clippy::cast_possible_truncation, reason = "at most 100")]
            battery_pct: scaled("battery_pct", self.battery_pct, 1.0, 100.0)?.map(|v| v as u8),
        })
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked against 0..=max first")]
fn scaled(field: &str, value: Option<f64>, scale: f64, max: f64) -> Result<Option<u16>, FieldError> {
    match value {
        None => Ok(None),
        Some(v) if (0.0..=max).contains(&v) => Ok(Some(libm::round(v * scale) as u16)),
        Some(v) => Err(FieldError::new(field, format!("is {v}, must be 0 to {max}"))),
    }
}

/// Payload of `shift`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ShiftBody {
    pub on: bool,
    /// At a shift's end: the rider who takes every order in hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Id>)]
    pub handover_to: Option<String>,
}

/// Payload of `trip`: the rider's orders in the order of their stops.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TripBody {
    #[schema(value_type = Vec<Id>)]
    pub stops: Vec<String>,
}

/// Payload of `delivered`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeliveredBody {
    #[schema(value_type = Id)]
    pub order: String,
    /// Device clock; without it, the time of the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Millis>)]
    pub at_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Millis>)]
    pub sent_time_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<ProofBody>,
}

/// Payload of `failed` and `returned`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FailedBody {
    #[schema(value_type = Id)]
    pub order: String,
    #[schema(max_length = 500)]
    pub reason: String,
    /// As in [`DeliveredBody`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Millis>)]
    pub at_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Millis>)]
    pub sent_time_ms: Option<i64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_field() {
        let one = |json: &str| single(json.as_bytes()).unwrap_err().field;
        assert_eq!(one(r#"{"lat":91,"lon":0,"fix_time_ms":1}"#), "lat");
        assert_eq!(one(r#"{"lat":1,"lon":0}"#), "fix_time_ms");
        assert_eq!(one(r#"{"lat":1,"lon":0,"fix_time_ms":1,"speed_mps":-1}"#), "speed_mps");
        assert_eq!(one(r#"{"lat":1,"lon":0,"fix_time_ms":1,"sped":1}"#), "sped");
        let third = r#"{"fixes":[{"lat":1,"lon":1,"fix_time_ms":1},{"lat":1,"lon":181,"fix_time_ms":1}]}"#;
        assert_eq!(batch(third.as_bytes()).unwrap_err().field, "fixes[1].lon");
        let many = BatchBody { fixes: vec![FixBody::default(); 1_001], ..BatchBody::default() };
        assert_eq!(batch(&serde_json::to_vec(&many).unwrap()).unwrap_err().field, "fixes");
    }

    #[test]
    fn datum_is_converted_at_the_edge() {
        let gcj = single(br#"{"lat":31.175304,"lon":121.531542,"fix_time_ms":1,"datum":"gcj02"}"#).unwrap();
        assert!((gcj.fixes[0].point.lat() - 31.1774276).abs() < 1e-5);
    }
}
