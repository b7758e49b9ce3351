//! Payloads of `control.{cell}.…`: how what lies outside the log gets into it.

use super::{FieldError, command::Coordinates, life::text, parse_json, route::RouteBody};
use crate::{
    domain::{
        OrderId, Rules, UnixMillis, effect::RouteEnds, order::FoundRoute, rules::RULES_VERSION, time::MAX_CLOCK_SCALE,
    },
    geo::Datum,
};
use serde::{Deserialize, Serialize, de::IgnoredAny};

/// Last tokens of the control subjects.
pub const CLOCK: &str = "clock";
pub const RULES: &str = "rules";
pub const ROUTE: &str = "route";

/// Payload of `control.{cell}.clock`: the cell clock's scale, and where it jumps to, if anywhere. It never goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClockBody {
    /// Cell milliseconds per millisecond, 1 to 100,000.
    pub scale: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cell_time_ms: Option<i64>,
}

/// Parses and checks a clock message.
pub fn clock(payload: &[u8]) -> Result<(u32, Option<UnixMillis>), FieldError> {
    let ClockBody { scale, cell_time_ms } = parse_json(payload)?;
    if !(1..=MAX_CLOCK_SCALE).contains(&scale) {
        return Err(FieldError::new("scale", format!("must be 1 to {MAX_CLOCK_SCALE}")));
    }
    if cell_time_ms.is_some_and(|ms| !(0..=253_402_300_799_999).contains(&ms)) {
        return Err(FieldError::new("cell_time_ms", "must be milliseconds since 1970"));
    }
    Ok((scale, cell_time_ms.map(UnixMillis)))
}

/// Payload of `control.{cell}.route`: a route that was found for an order that has none. The order takes it only if these
/// are its warehouse and its destination, within 1e-6 degree.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteFoundBody {
    pub order: String,
    #[serde(deserialize_with = "super::object::one")]
    pub from: Coordinates,
    #[serde(deserialize_with = "super::object::one")]
    pub to: Coordinates,
    /// As in a create.
    #[serde(deserialize_with = "super::object::one")]
    pub route: RouteBody,
    /// Who found it, for people: `osrm`.
    pub source: String,
    /// What all coordinates of this payload refer to.
    #[serde(default)]
    pub datum: Datum,
}

/// Parses and checks a found route.
pub fn route(payload: &[u8]) -> Result<(OrderId, FoundRoute), FieldError> {
    let RouteFoundBody { order, from, to, route, source, datum } = parse_json(payload)?;
    let order = OrderId::try_from(order).map_err(|e| FieldError::new("order", e.to_string()))?;
    let ends = RouteEnds {
        from: from.point(datum).map_err(|e| e.within("from"))?,
        to: to.point(datum).map_err(|e| e.within("to"))?,
    };
    Ok((order, FoundRoute { ends, route: route.route(datum)?, source: text("source", source)? }))
}

/// What came with a later `rules_version`, to see whether it is named.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Later {
    dispatch: Option<IgnoredAny>,
    max_orders_per_rider: Option<IgnoredAny>,
    max_distance_m: Option<IgnoredAny>,
    #[serde(flatten)]
    latest: Latest,
}

/// Of that, what came last.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Latest {
    arrive_m: Option<IgnoredAny>,
    leave_m: Option<IgnoredAny>,
    off_route: Option<IgnoredAny>,
    stalled: Option<IgnoredAny>,
    signal_lost: Option<IgnoredAny>,
    late_risk: Option<IgnoredAny>,
    stage_overdue: Option<IgnoredAny>,
    wrong_place_delivery: Option<IgnoredAny>,
    low_battery: Option<IgnoredAny>,
    pace: Option<IgnoredAny>,
}

impl Latest {
    fn is_named(&self) -> bool {
        let Self {
            arrive_m,
            leave_m,
            off_route,
            stalled,
            signal_lost,
            late_risk,
            stage_overdue,
            wrong_place_delivery,
            low_battery,
            pace,
        } = self;
        let radii = [arrive_m, leave_m];
        let kinds =
            [off_route, stalled, signal_lost, late_risk, stage_overdue, wrong_place_delivery, low_battery, pace];
        radii.into_iter().chain(kinds).any(Option::is_some)
    }
}

/// Parses and checks a rules message: every threshold that isn't named has its default; the version that isn't named is
/// the one that applies already. Gives with them the least version that has all that is named.
pub fn rules(payload: &[u8]) -> Result<(Rules, u32), FieldError> {
    let rules: Rules = parse_json(payload)?;
    rules.check().map_err(|(field, reason)| FieldError::new(field, reason))?;
    let Later { dispatch, max_orders_per_rider, max_distance_m, latest } = parse_json(payload)?;
    let later = [dispatch, max_orders_per_rider, max_distance_m].iter().any(Option::is_some);
    let needs = match (latest.is_named(), later) {
        (true, _) => 3,
        (false, true) => 2,
        (false, false) => 1,
    };
    Ok((rules, needs))
}

/// Payload of the rules message that begins a new log: it is played by the newest behaviour from its start.
pub fn first_rules() -> Vec<u8> {
    serde_json::json!({ "rules_version": RULES_VERSION }).to_string().into_bytes()
}
