//! Alerts: what an order says of itself when it doesn't go as it should. Each is raised once per cause, however many
//! inputs confirm it, may be acknowledged, and is cleared; each of these is a change with a number of its own.

use super::{command::Operator, fix::Position, ids::RiderId, time::UnixMillis};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertKind {
    /// The rider leaves the planned route or, without one, rides away from the destination.
    OffRoute,
    /// The rider doesn't move, neither at the warehouse nor at the destination.
    Stalled,
    /// The arrival is expected after the promise.
    LateRisk,
    /// The promise has passed.
    Late,
    /// The warehouse doesn't go on.
    StageOverdue,
    /// No fix comes.
    SignalLost,
    /// Delivered far from the address.
    WrongPlaceDelivery,
    /// The rider's phone is about to go out.
    LowBattery,
}

impl AlertKind {
    pub const ALL: [Self; 8] = [
        Self::OffRoute,
        Self::Stalled,
        Self::LateRisk,
        Self::Late,
        Self::StageOverdue,
        Self::SignalLost,
        Self::WrongPlaceDelivery,
        Self::LowBattery,
    ];

    /// The token in subjects, JSON and the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::OffRoute => "off_route",
            Self::Stalled => "stalled",
            Self::LateRisk => "late_risk",
            Self::Late => "late",
            Self::StageOverdue => "stage_overdue",
            Self::SignalLost => "signal_lost",
            Self::WrongPlaceDelivery => "wrong_place_delivery",
            Self::LowBattery => "low_battery",
        }
    }

    /// How much it matters.
    pub fn severity(self) -> Severity {
        match self {
            Self::Late | Self::WrongPlaceDelivery => Severity::Critical,
            Self::OffRoute | Self::Stalled | Self::LateRisk | Self::StageOverdue | Self::SignalLost => {
                Severity::Warning
            }
            Self::LowBattery => Severity::Info,
        }
    }

    /// What [`Evidence::measure`] and its threshold count.
    pub fn unit(self) -> &'static str {
        match self {
            Self::OffRoute | Self::Stalled | Self::WrongPlaceDelivery => "m",
            Self::LateRisk | Self::Late | Self::StageOverdue | Self::SignalLost => "ms",
            Self::LowBattery => "pct",
        }
    }
}

impl std::str::FromStr for AlertKind {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|k| k.name() == text).ok_or_else(|| {
            let kinds = Self::ALL.map(Self::name).join(", ");
            format!("`{text}` is no kind of alert; the kinds are {kinds}")
        })
    }
}

/// How much an alert matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    Info,
    Warning,
    Critical,
}

impl Severity {
    pub const ALL: [Self; 3] = [Self::Info, Self::Warning, Self::Critical];

    /// The name in JSON and the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

impl std::str::FromStr for Severity {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|s| s.name() == text)
            .ok_or_else(|| format!("`{text}` is no severity; they are info, warning, critical"))
    }
}

/// Where an alert is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertState {
    Raised,
    Acknowledged,
    Cleared,
}

impl AlertState {
    pub const ALL: [Self; 3] = [Self::Raised, Self::Acknowledged, Self::Cleared];

    /// The name in JSON and the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raised => "raised",
            Self::Acknowledged => "acknowledged",
            Self::Cleared => "cleared",
        }
    }
}

impl std::str::FromStr for AlertState {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|s| s.name() == text)
            .ok_or_else(|| format!("`{text}` is no state of an alert; the states are raised, acknowledged, cleared"))
    }
}

/// Why an alert is no longer so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Because {
    /// What raised it is over.
    Over,
    /// The order ended.
    Ended,
    /// Another rider has it, or none.
    RiderChanged,
    /// What was promised changed.
    PromiseChanged,
    /// Nothing can mend it; somebody took note.
    Acknowledged,
    /// What was only to be feared has come.
    Superseded,
    /// Older rules apply, under which nothing is watched.
    Unwatched,
}

impl Because {
    /// The name in JSON and the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Over => "over",
            Self::Ended => "ended",
            Self::RiderChanged => "rider_changed",
            Self::PromiseChanged => "promise_changed",
            Self::Acknowledged => "acknowledged",
            Self::Superseded => "superseded",
            Self::Unwatched => "unwatched",
        }
    }
}

/// What an alert rests on, as it was when it was raised.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// In the kind's [unit](AlertKind::unit): metres off the route, displacement, milliseconds late, percent …
    pub measure: f64,
    /// The setting that it went beyond.
    pub threshold: f64,
    /// Since when it is so: fix time for what fixes show, cell time else.
    pub since: UnixMillis,
    /// The fixes that show it: the first and the last, at most.
    pub fixes: Vec<Position>,
    /// A stage, or what the measure is taken to.
    pub about: Option<String>,
}

/// One alert of an order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// Counts the order's alerts from 1.
    pub n: u32,
    pub kind: AlertKind,
    pub state: AlertState,
    /// Counts its changes: 1 when it is raised.
    pub change: u32,
    pub rider: Option<RiderId>,
    pub evidence: Evidence,
    /// Of what a timer raises: when it was due. It may have been noticed later.
    pub due_at: Option<UnixMillis>,
    /// Cell time at which it was raised.
    pub detected_at: UnixMillis,
    pub acknowledged: Option<(UnixMillis, Operator)>,
    pub cleared: Option<(UnixMillis, Because)>,
}

/// A change of an alert, with all that it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertChange {
    pub alert: Alert,
    pub at: UnixMillis,
    /// What was written when it was acknowledged.
    pub note: Option<Arc<str>>,
}

/// An open alert as the order's published state shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenAlert {
    pub n: u32,
    pub kind: AlertKind,
    pub acknowledged: bool,
    pub since: UnixMillis,
}

impl Alert {
    /// As the published state shows it.
    pub fn open(&self) -> OpenAlert {
        let Self { n, kind, state, evidence, .. } = self;
        OpenAlert { n: *n, kind: *kind, acknowledged: *state == AlertState::Acknowledged, since: evidence.since }
    }

    /// Its line in the order's history: `raised off_route 2: 123 m, threshold 80 m`.
    pub fn line(&self) -> String {
        let Self { n, kind, state, evidence, acknowledged, cleared, .. } = self;
        let (name, unit) = (kind.name(), kind.unit());
        match (state, acknowledged, cleared) {
            (AlertState::Cleared, _, Some((_, because))) => format!("cleared {name} {n}: {}", because.name()),
            (AlertState::Acknowledged, Some((_, by)), _) => format!("acknowledged {name} {n}: {}", by.id),
            (AlertState::Raised | AlertState::Acknowledged | AlertState::Cleared, _, _) => {
                let Evidence { measure, threshold, about, .. } = evidence;
                let about = about.as_ref().map(|about| format!(", {about}")).unwrap_or_default();
                format!("{} {name} {n}: {measure} {unit}, threshold {threshold} {unit}{about}", state.name())
            }
        }
    }
}
