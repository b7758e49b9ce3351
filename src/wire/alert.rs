//! An alert's JSON: what its stream holds, webhooks will carry and REST lists. Each message tells all of the alert, so that
//! the last one of each is enough.

use super::{
    doc,
    schema::{Id, Millis},
};
use crate::domain::{
    Alert, AlertKind, CellId, OrderId, RiderId, UnixMillis,
    alert::{AlertChange, AlertState, Evidence, Severity},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// A kind of alert.
#[derive(Clone, Copy, Debug, ToSchema)]
#[schema(rename_all = "snake_case", example = "late")]
pub enum KindName {
    OffRoute,
    Stalled,
    LateRisk,
    Late,
    StageOverdue,
    SignalLost,
    WrongPlaceDelivery,
    LowBattery,
}

/// How much an alert matters.
#[derive(Clone, Copy, Debug, ToSchema)]
#[schema(rename_all = "snake_case", example = "warning")]
pub enum SeverityName {
    Info,
    Warning,
    Critical,
}

/// Where an alert is in its life.
#[derive(Clone, Copy, Debug, ToSchema)]
#[schema(rename_all = "snake_case", example = "raised")]
pub enum StateName {
    Raised,
    Acknowledged,
    Cleared,
}

/// An alert as it is after one change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AlertBody {
    /// `{order}.{n}`: unique in the cell.
    #[schema(pattern = r"^[A-Za-z0-9_-]{1,64}\.[0-9]{1,10}$", example = "o-1.1")]
    pub alert: String,
    #[schema(value_type = Id)]
    pub order: String,
    #[schema(value_type = Id)]
    pub cell: String,
    #[schema(value_type = KindName)]
    pub kind: String,
    #[schema(value_type = SeverityName)]
    pub severity: String,
    #[schema(value_type = StateName)]
    pub state: String,
    /// Counts the alert's changes from 1.
    pub change: u32,
    /// Cell time of this change.
    #[schema(value_type = Millis)]
    pub at_ms: i64,
    /// Since when it is so.
    #[schema(value_type = Millis)]
    pub since_ms: i64,
    /// When it was raised.
    #[schema(value_type = Millis)]
    pub detected_at_ms: i64,
    /// Of what a deadline raised: when that was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Millis>)]
    pub due_at_ms: Option<i64>,
    /// Who had the order then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Id>)]
    pub rider: Option<String>,
    pub evidence: EvidenceBody,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Millis>)]
    pub acknowledged_at_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged_by: Option<String>,
    /// What they wrote to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 500)]
    pub acknowledged_note: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Millis>)]
    pub cleared_at_ms: Option<i64>,
    /// `over`, `ended`, `rider_changed`, `promise_changed`, `acknowledged`, `superseded`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cleared_because: Option<String>,
}

/// What an alert rests on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EvidenceBody {
    /// In `unit`.
    pub measure: f64,
    pub threshold: f64,
    /// `m`, `ms`, `pct`.
    pub unit: String,
    /// What the measure is taken to, or what it began with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// The fixes that show it, as positions are shown elsewhere, WGS-84.
    #[schema(value_type = Vec<Object>)]
    pub fixes: Vec<Value>,
}

/// `{order}.{n}`.
pub fn alert_id(order: &OrderId, n: u32) -> String {
    format!("{order}.{n}")
}

/// The order and the number in an [`alert_id`].
pub fn parse_alert_id(text: &str) -> Option<(OrderId, u32)> {
    let (order, n) = text.rsplit_once('.')?;
    Some((order.parse().ok()?, n.parse().ok()?))
}

/// What one change says.
pub fn alert_body(cell: &CellId, order: &OrderId, AlertChange { alert, at, note }: &AlertChange) -> AlertBody {
    let Alert { n, kind, state, change, rider, evidence, due_at, detected_at, acknowledged, cleared } = alert;
    let Evidence { measure, threshold, since, fixes, about } = evidence;
    AlertBody {
        alert: alert_id(order, *n),
        order: order.as_str().to_owned(),
        cell: cell.as_str().to_owned(),
        kind: kind.name().to_owned(),
        severity: kind.severity().name().to_owned(),
        state: state.name().to_owned(),
        change: *change,
        at_ms: at.0,
        since_ms: since.0,
        detected_at_ms: detected_at.0,
        due_at_ms: due_at.map(|t| t.0),
        rider: rider.as_ref().map(|r| r.as_str().to_owned()),
        evidence: EvidenceBody {
            measure: *measure,
            threshold: *threshold,
            unit: kind.unit().to_owned(),
            about: about.clone(),
            fixes: fixes.iter().map(doc::position).collect(),
        },
        acknowledged_at_ms: acknowledged.as_ref().map(|(at, _)| at.0),
        acknowledged_by: acknowledged.as_ref().map(|(_, by)| by.id.as_ref().to_owned()),
        acknowledged_note: note.as_deref().map(str::to_owned),
        cleared_at_ms: cleared.map(|(at, _)| at.0),
        cleared_because: cleared.map(|(_, because)| because.name().to_owned()),
    }
}

/// Alerts by detection, the newest first. What is left out doesn't matter; of times of detection, `from` belongs to the
/// span and `to` doesn't.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AlertsQuery {
    /// Any of these; empty for all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub state: Vec<AlertState>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kind: Vec<AlertKind>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub severity: Vec<Severity>,
    pub order: Option<OrderId>,
    /// Who had the order when it was raised.
    pub rider: Option<RiderId>,
    pub from_ms: Option<UnixMillis>,
    pub to_ms: Option<UnixMillis>,
    /// From the previous page's `next`.
    pub after: Option<String>,
    /// 1 to [`super::query::MAX_PAGE`]; [`super::query::DEFAULT_PAGE`] without it.
    pub limit: Option<u32>,
}

/// One alert, by its [`alert_id`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlertQuery {
    pub alert: String,
}

/// A page of alerts, each as it is now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AlertPage {
    pub alerts: Vec<AlertBody>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Where a page of alerts ended: `{time of detection, hex}.{order}.{n}`, two's complement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertCursor {
    pub detected_at: UnixMillis,
    pub order: OrderId,
    pub n: u32,
}

impl AlertCursor {
    /// After this alert; `None` for one whose id nobody here gave.
    pub fn behind(body: &AlertBody) -> Option<Self> {
        let (order, n) = parse_alert_id(&body.alert)?;
        Some(Self { detected_at: UnixMillis(body.detected_at_ms), order, n })
    }
}

impl std::fmt::Display for AlertCursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:x}.{}", self.detected_at.0, alert_id(&self.order, self.n))
    }
}

impl std::str::FromStr for AlertCursor {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('.').and_then(|(time, alert)| {
            let time = u64::from_str_radix(time, 16).ok()?.cast_signed();
            let (order, n) = parse_alert_id(alert)?;
            Some(Self { detected_at: UnixMillis(time), order, n })
        });
        parts.ok_or_else(|| "is not the `next` of an earlier page".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use utoipa::PartialSchema;

    #[test]
    fn the_documents_names_are_the_domains() {
        let names = |schema| serde_json::to_value(&schema).unwrap()["enum"].clone();
        assert_eq!(names(KindName::schema()), serde_json::json!(AlertKind::ALL.map(AlertKind::name)));
        assert_eq!(names(SeverityName::schema()), serde_json::json!(Severity::ALL.map(Severity::name)));
        assert_eq!(names(StateName::schema()), serde_json::json!(AlertState::ALL.map(AlertState::name)));
    }

    #[test]
    fn ids_and_cursors_parse_back() {
        let order: OrderId = "o-1".parse().unwrap();
        assert_eq!(parse_alert_id(&alert_id(&order, 7)), Some((order.clone(), 7)));
        for wrong in ["", "o", "o.", ".1", "o.x", "o.-1", "a b.1", "o.4294967296"] {
            assert_eq!(parse_alert_id(wrong), None, "{wrong}");
        }
        for ms in [-5, 0, 1_700_000_000_000] {
            let cursor = AlertCursor { detected_at: UnixMillis(ms), order: order.clone(), n: 3 };
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
        for wrong in ["", "1", "1.o", "x.o.1", "1.o.x", "1ffffffffffffffff.o.1"] {
            assert!(wrong.parse::<AlertCursor>().is_err(), "{wrong}");
        }
    }
}
