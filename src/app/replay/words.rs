//! The words of a story for what an order says of itself: when it arrives, where it got to, what is wrong with it, and
//! what else changed of it.

use super::story::time;
use crate::{
    domain::{AlertKind, UnixMillis},
    geo::{Point, length_m},
    wire::{
        alert::{AlertBody, EvidenceBody},
        query::TrackRow,
    },
};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Members of the published state that other words of a line tell already.
const TOLD: [&str; 22] = [
    "alerts",
    "attempt_reason",
    "attempted_at_ms",
    "cancel_reason",
    "cancelled_at_ms",
    "completed_at_ms",
    "created_at_ms",
    "departed_at_ms",
    "edited_at_ms",
    "id",
    "missing",
    "paid_at_ms",
    "personal",
    "position",
    "proof",
    "remaining_m",
    "returned",
    "rev",
    "rider",
    "stage",
    "status",
    "stops_ahead",
];

/// What a line changed in the published state beyond what its own words say, if it isn't the first, which is all of it.
pub(super) fn notable(line: &TrackRow) -> Vec<(&String, &Value)> {
    let changes = changed(line).filter(|_| line.kind != "create");
    changes.into_iter().flatten().filter(|(name, value)| !is_told(name, value)).collect()
}

fn is_told(name: &str, value: &Value) -> bool {
    // With the order's end the estimate goes: nothing to tell.
    TOLD.contains(&name) || (name == "eta" && value.is_null())
}

fn changed(line: &TrackRow) -> Option<&Map<String, Value>> {
    line.patch.as_ref()?.as_object()
}

/// Of the line that creates an order: what it was promised, and whether its route is known.
pub(super) fn promised(line: &TrackRow) -> String {
    let member = |name| changed(line).and_then(|state| state.get(name));
    let promise = member("promise").and_then(promise_words).map_or_else(String::new, |words| format!(", {words}"));
    let route = member("route").map_or_else(String::new, |route| format!(", {}", route_words(route)));
    promise + &route
}

fn promise_words(promise: &Value) -> Option<String> {
    Some(format!("promised {} to {}", at(promise.get("from_ms")?)?, at(promise.get("to_ms")?)?))
}

fn route_words(route: &Value) -> String {
    let line = route.get("coordinates").and_then(Value::as_array);
    let point = |pair: &Value| Point::from_degrees(pair.get(1)?.as_f64()?, pair.get(0)?.as_f64()?).ok();
    let points: Vec<Point> = line.into_iter().flatten().filter_map(point).collect();
    format!("route of {:.0} m", length_m(&points))
}

fn at(value: &Value) -> Option<String> {
    value.as_i64().map(|ms| time(UnixMillis(ms)))
}

/// What the story has told so far, as far as later words need it, and what it knows of the order's alerts.
#[derive(Debug)]
pub(super) struct Known<'a> {
    /// By number.
    alerts: BTreeMap<&'a str, &'a AlertBody>,
    /// A patch names of a promise only what changed.
    promise: Value,
}

impl<'a> Known<'a> {
    pub(super) fn of(alerts: &'a [AlertBody]) -> Self {
        let number = |alert: &'a AlertBody| Some((alert.alert.rsplit_once('.')?.1, alert));
        Self { alerts: alerts.iter().filter_map(number).collect(), promise: Value::Null }
    }

    /// A line in which an alert was raised or cleared: `raised off_route 2: 123 m, …`.
    pub(super) fn alert(&self, line: &TrackRow) -> String {
        let note = line.note.as_deref().unwrap_or_default();
        let named = note.split([' ', ':']).collect::<Vec<_>>();
        match named[..] {
            ["raised", kind, n, ..] => match self.alerts.get(n) {
                Some(alert) => format!("alert {n}, {}: {}", kind.replace('_', " "), raised(alert)),
                None => format!("alert {note}"),
            },
            ["cleared", kind, n, .., because] => {
                format!("alert {n}, {}, cleared: {}", kind.replace('_', " "), because_words(because))
            }
            _ => format!("alert {note}"),
        }
    }

    /// What else a line changed, a text each.
    pub(super) fn changes(&mut self, line: &TrackRow) -> Vec<String> {
        if let Some(promise) = changed(line).and_then(|state| state.get("promise")) {
            crate::wire::merge::patch(&mut self.promise, promise);
        }
        let mut words = Vec::new();
        for (name, value) in notable(line) {
            words.push(match (name.as_str(), value) {
                ("eta", _) => arrival(line),
                ("promise", _) => promise_words(&self.promise).unwrap_or_else(|| plain(name, value)),
                ("route", Value::Null) => "no planned route any more".to_owned(),
                ("route", route) => route_words(route),
                ("warehouse_arrived_at_ms", Value::Number(_)) => arrived("warehouse", value),
                ("arrived_at_ms", Value::Number(_)) => arrived("destination", value),
                (name, value) => plain(name, value),
            });
        }
        words
    }
}

fn arrived(place: &str, value: &Value) -> String {
    format!("at the {place} since {}", at(value).unwrap_or_default())
}

/// `arrives 09:15:32, between 09:13:20 and 09:19:52; 3400 m to ride`
fn arrival(line: &TrackRow) -> String {
    let said = |time_ms: Option<UnixMillis>| time_ms.map_or_else(|| "?".to_owned(), time);
    let TrackRow { eta_p10_ms, eta_p50_ms, eta_p90_ms, .. } = line;
    let remaining = changed(line).and_then(|state| state.get("remaining_m")).and_then(Value::as_u64);
    let ride = remaining.map_or_else(String::new, |metres| format!("; {metres} m to ride"));
    let (p10, p50, p90) = (said(*eta_p10_ms), said(*eta_p50_ms), said(*eta_p90_ms));
    format!("arrives {p50}, between {p10} and {p90}{ride}")
}

fn plain(name: &str, value: &Value) -> String {
    match value {
        Value::Null => format!("{name}: none"),
        Value::String(text) => format!("{name}: {text}"),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => format!("{name}: {value}"),
    }
}

/// What it was raised on: measure and threshold, since when, when it was due.
fn raised(alert: &AlertBody) -> String {
    let EvidenceBody { measure, threshold, unit, about, fixes: _ } = &alert.evidence;
    let about = about.as_deref().unwrap_or_default();
    let (measure, threshold) = (amount(*measure, unit), amount(*threshold, unit));
    let what = match alert.kind.parse() {
        Ok(AlertKind::OffRoute) if about == "route" => format!("{measure} off the route"),
        Ok(AlertKind::OffRoute) => format!("{measure} away from the {about} again"),
        Ok(AlertKind::Stalled) => format!("moved {measure}"),
        Ok(AlertKind::LateRisk) => format!("{measure} after the {about}"),
        Ok(AlertKind::Late) => format!("the {about} passed {measure} ago"),
        Ok(AlertKind::StageOverdue) => format!("{measure} {about}"),
        Ok(AlertKind::SignalLost) => format!("no fix for {measure}"),
        Ok(AlertKind::WrongPlaceDelivery) => format!("{measure} from the {about}"),
        Ok(AlertKind::LowBattery) => measure,
        Err(_) => format!("{measure} {about}"),
    };
    let since = time(UnixMillis(alert.since_ms));
    let due = alert.due_at_ms.map_or_else(String::new, |due| {
        let noticed = amount(ms(alert.detected_at_ms.saturating_sub(due)), "ms");
        format!(", due {}, noticed {noticed} later", time(UnixMillis(due)))
    });
    format!("{what} (threshold {threshold}), since {since}{due}")
}

#[allow(clippy::cast_precision_loss, reason = "days in milliseconds are far below 2^53")]
fn ms(ms: i64) -> f64 {
    ms as f64
}

/// With its unit; times in seconds.
pub fn amount(value: f64, unit: &str) -> String {
    match unit {
        "ms" => format!("{} s", value / 1_000.0),
        "pct" => format!("{value} %"),
        unit => format!("{value} {unit}"),
    }
}

fn because_words(because: &str) -> &str {
    match because {
        "over" => "it is over",
        "ended" => "the order ended",
        "rider_changed" => "another rider, or none",
        "promise_changed" => "the promise changed",
        "acknowledged" => "somebody took note of it",
        "superseded" => "it has come to pass",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_said_in_seconds_metres_and_percent() {
        let said = [(61_003.0, "ms"), (0.0, "ms"), (292.4, "m"), (14.0, "pct")].map(|(v, unit)| amount(v, unit));
        assert_eq!(said, ["61.003 s", "0 s", "292.4 m", "14 %"]);
    }
}
