//! States as format 2 had them.

use crate::domain::{
    self, Answer, CellClock, Dispatch, Facts, KeyId, OrderId, Position, RiderId, Rules, Stage, Status, UnixMillis,
    cell::Search, effect::TimerKind, order::Circumstances, track::Track,
};
use serde::Deserialize;
use std::sync::Arc;

#[derive(Debug, Deserialize)]
pub struct Order {
    id: OrderId,
    version: u64,
    facts: Arc<Facts>,
    live: Live,
    updated_at: UnixMillis,
    carried_since: Option<UnixMillis>,
    answers: Vec<(KeyId, Answer)>,
    timers: Vec<(TimerKind, u32, UnixMillis)>,
    timers_set: u32,
    tasks: u32,
    track: Track,
}

#[derive(Debug, Deserialize)]
struct Live {
    status: Status,
    rev: u64,
    stage: Option<Stage>,
    rider: Option<RiderId>,
    position: Option<Position>,
    stops_ahead: Option<u16>,
    created_at: UnixMillis,
    paid_at: Option<UnixMillis>,
    departed_at: Option<UnixMillis>,
    completed_at: Option<UnixMillis>,
    cancelled_at: Option<UnixMillis>,
    cancel_reason: Option<String>,
    circumstances: Option<Arc<Circumstances>>,
}

#[derive(Debug, Deserialize)]
pub struct CellHead {
    clock: CellClock,
    rules: RulesBefore,
    search: Search,
}

#[derive(Debug, Deserialize)]
struct RulesBefore {
    rules_version: u32,
    unpaid_ms: i64,
    future_ms: i64,
    late_ms: i64,
    clock_tolerance_ms: i64,
    max_accuracy_m: f64,
    max_speed_mps: f64,
    readmit_fixes: u8,
    dwell_radius_m: f64,
    dwell_ms: i64,
    dispatch: Dispatch,
    max_orders_per_rider: u32,
    max_distance_m: f64,
}

impl From<Order> for domain::Order {
    fn from(before: Order) -> Self {
        let Order { id, version, facts, live, updated_at, carried_since, answers, timers, timers_set, tasks, track } =
            before;
        let live = domain::Live {
            status: live.status,
            rev: live.rev,
            stage: live.stage,
            rider: live.rider,
            position: live.position,
            stops_ahead: live.stops_ahead,
            created_at: live.created_at,
            paid_at: live.paid_at,
            departed_at: live.departed_at,
            completed_at: live.completed_at,
            cancelled_at: live.cancelled_at,
            cancel_reason: live.cancel_reason,
            circumstances: live.circumstances,
            outlook: None,
        };
        let (watch, notes) = (None, Vec::new());
        Self {
            id,
            version,
            facts,
            live,
            updated_at,
            carried_since,
            answers,
            timers,
            timers_set,
            tasks,
            watch,
            track,
            notes,
        }
    }
}

impl From<CellHead> for domain::cell::CellHead {
    fn from(CellHead { clock, rules: before, search }: CellHead) -> Self {
        let rules = Rules {
            rules_version: before.rules_version,
            unpaid_ms: before.unpaid_ms,
            future_ms: before.future_ms,
            late_ms: before.late_ms,
            clock_tolerance_ms: before.clock_tolerance_ms,
            max_accuracy_m: before.max_accuracy_m,
            max_speed_mps: before.max_speed_mps,
            readmit_fixes: before.readmit_fixes,
            dwell_radius_m: before.dwell_radius_m,
            dwell_ms: before.dwell_ms,
            dispatch: before.dispatch,
            max_orders_per_rider: before.max_orders_per_rider,
            max_distance_m: before.max_distance_m,
            ..Rules::default()
        };
        Self { clock, rules, search }
    }
}
