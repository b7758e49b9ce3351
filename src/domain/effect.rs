//! All side effects of the order core, in one enum. The actor performs them in one exhaustive `match`.

use super::{
    alert::AlertChange,
    command::{Answer, Operator},
    eta::Eta,
    fix::{Fix, FixId, Mark, Verdict},
    ids::{RiderId, WarehouseId},
    order::{Facts, Live},
    quality::Quality,
    status::{Stage, Status},
    time::UnixMillis,
};
use crate::geo::Point;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What an order asks the shell to do. All of one input's effects become durable together.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Append to the order's history.
    Row(Box<Row>),
    /// Change a fix already in the history: a late neighbour changed its mark, or a better fix of the same identity came.
    Revise(Box<Revision>),
    /// The published state changed: one version further.
    Change(Box<Change>),
    /// An alert was raised, acknowledged or cleared: for operations and the store.
    Alert(Box<AlertChange>),
    /// Answer the one who asked, if anybody did.
    Answer(Answer),
    /// What became of a fix.
    Verdict(Verdict),
    /// Issue a picking task to the warehouse.
    Task(Task),
    /// Set the timer of this kind to fire once at `due`, replacing an earlier one.
    SetTimer { kind: TimerKind, n: u32, due: UnixMillis },
    /// The timer of this kind is of no interest any more.
    ClearTimer { kind: TimerKind },
    /// The cell core's map of who carries what has to change. The cell waits for this word.
    Carry(CarryChange),
    /// The order exists from now on: tell the directory which cell has it.
    Register,
    /// The order has no planned route, or none any more: find one, and say it in the log. What is found is taken only if
    /// these are still the order's ends.
    SeekRoute(RouteEnds),
    /// The order reached a final status.
    Finish,
}

/// One line of an order's history: every applied input.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub kind: RowKind,
    /// The order's version and rev after the input.
    pub version: u64,
    pub rev: u64,
    pub status: Status,
    pub stage: Option<Stage>,
    pub by: Operator,
    /// Cell time at which it was applied.
    pub at: UnixMillis,
    /// Where it happened, if known.
    pub point: Option<Point>,
    /// Set for fixes.
    pub fix: Option<RowFix>,
    /// The arrival time, where this told a new one.
    pub eta: Option<Eta>,
    /// A reason or a name, for people.
    pub note: Option<String>,
}

/// What a history line tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowKind {
    Create,
    Pay,
    Cancel,
    Assign,
    Unassign,
    Deliver,
    Stage,
    Fix,
    Timer,
    Fail,
    Return,
    Missing,
    Edit,
    /// The number of stops ahead changed by itself.
    Stops,
    /// An alert was raised or cleared.
    Alert,
    Acknowledge,
    /// A route was found for an order that had none.
    Route,
}

impl RowKind {
    /// The name in JSON and the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Pay => "pay",
            Self::Cancel => "cancel",
            Self::Assign => "assign",
            Self::Unassign => "unassign",
            Self::Deliver => "deliver",
            Self::Stage => "stage",
            Self::Fix => "fix",
            Self::Timer => "timer",
            Self::Fail => "fail",
            Self::Return => "return",
            Self::Missing => "missing",
            Self::Edit => "edit",
            Self::Stops => "stops",
            Self::Alert => "alert",
            Self::Acknowledge => "acknowledge",
            Self::Route => "route",
        }
    }
}

/// The part of a history line that only fixes have.
#[derive(Clone, Debug, PartialEq)]
pub struct RowFix {
    pub rider: RiderId,
    pub fix: Fix,
    /// Device time after the clock's correction.
    pub fix_time: UnixMillis,
    /// The sender's clock when it sent, if it said so.
    pub sent_time: Option<UnixMillis>,
    pub mark: Mark,
}

/// New content of a fix already in the history.
#[derive(Clone, Debug, PartialEq)]
pub struct Revision {
    pub rider: RiderId,
    pub id: FixId,
    pub mark: Mark,
    /// Set where the fix itself is replaced, with its corrected fix time.
    pub fix: Option<(Fix, UnixMillis)>,
}

/// The published state before and after one version.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    pub from: u64,
    pub to: u64,
    pub at: UnixMillis,
    /// `None` before the order was created.
    pub before: Option<(Arc<Facts>, Live)>,
    pub after: (Arc<Facts>, Live),
}

/// A picking task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    pub warehouse: WarehouseId,
    /// Counts the tasks of the order from 1.
    pub n: u32,
    pub items: u32,
}

/// Kinds of an order's timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimerKind {
    /// Cancels an order that isn't paid.
    Unpaid,
    /// The promise's end.
    Late,
    /// From when on the arrival is expected after the promise, if nothing is heard.
    LateRisk,
    /// The warehouse's next stage is overdue.
    StageOverdue,
    /// No fix has come.
    SignalLost,
}

impl TimerKind {
    pub const ALL: [Self; 5] = [Self::Unpaid, Self::Late, Self::LateRisk, Self::StageOverdue, Self::SignalLost];

    /// The token in subjects and the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unpaid => "unpaid",
            Self::Late => "late",
            Self::LateRisk => "late_risk",
            Self::StageOverdue => "stage_overdue",
            Self::SignalLost => "signal_lost",
        }
    }
}

impl std::str::FromStr for TimerKind {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|k| k.name() == text).ok_or_else(|| format!("`{text}` is no timer"))
    }
}

/// How the map of riders and orders changes.
#[derive(Clone, Debug, PartialEq)]
pub enum CarryChange {
    /// `rider` carries the order from `from` on, with so many stops ahead of it; whoever carried it before, doesn't.
    Start { rider: RiderId, from: UnixMillis, stops_ahead: u16 },
    /// Nobody carries it after `to`.
    End { to: UnixMillis },
    /// It is packed and looks for a rider, who would fetch it there.
    Seek { from: Point },
    /// It no longer does.
    Rest,
}

/// Between which places a planned route leads: the warehouse and the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteEnds {
    pub from: Point,
    pub to: Point,
}

/// What the order needs to know of a rider who takes it over.
#[derive(Clone, Debug, PartialEq)]
pub struct Handover {
    /// Where the rider is shown.
    pub position: Option<super::fix::Position>,
    /// The rider's stream of fixes so far, so that the track judges the first one by its predecessor.
    pub quality: Quality,
    pub stops_ahead: u16,
}
