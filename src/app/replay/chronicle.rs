//! An order's story as data: its lines in the order in which they were applied. From the cell's database, or from a log
//! that is played for it; both give the same lines, but for refusals, of which only the log knows.

use super::{OpenLog, ReplayError};
use crate::{
    domain::{
        Answer, CellId, Effect, OperatorKind, Order, OrderId, RiderId, Status, UnixMillis, Verdict,
        cell::{Entry, Input, Solo, SoloOutcome},
        effect::{Change, Revision, Row},
    },
    store::{AlertRow, Look},
    wire::{
        alert::{AlertBody, alert_body},
        blob, doc,
        query::TrackRow,
    },
};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// The kind of the lines that tell of refusals; no other program has such lines.
pub const REFUSED: &str = "refused";

/// See the module.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Story {
    pub order: OrderId,
    /// As it is now: the published state, whole. Null for an order that was never created.
    pub state: Value,
    /// As they are now, by their numbers.
    pub alerts: Vec<AlertBody>,
    /// Each with what it changed in the published state, fixes as the track has them in the end. Their ids count the
    /// order's lines; a refusal has none.
    pub lines: Vec<TrackRow>,
}

/// The story that the database has of an order, if it knows it.
pub fn from_store(look: &Look, order: &OrderId) -> Result<Option<Story>, ReplayError> {
    let Some(stored) = look.order(order)? else { return Ok(None) };
    let now: Order = blob::decode(&stored.image.head)?;
    let lines = look.lines(order)?;
    Ok(Some(Story {
        order: order.clone(),
        state: doc::order(order, &now.facts, &now.live),
        alerts: stored.alerts.iter().map(AlertRow::body).collect::<Result<_, _>>()?,
        lines: (1..).zip(lines).map(|(id, line)| TrackRow { id, ..line }).collect(),
    }))
}

/// What a log gives: the stories of its orders by id, and what the cell itself said, beside them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chronicle {
    pub stories: BTreeMap<OrderId, Story>,
    /// Refusals, and fixes that no order took.
    pub cell: Vec<Said>,
}

/// What the cell itself said of inputs, perhaps of several in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Cell time of the first and the last.
    pub from: UnixMillis,
    pub to: UnixMillis,
    pub times: u64,
    pub text: String,
}

/// Plays a log for its stories; of one order only, if one is wanted. `reached` hears now and then how far it is.
pub async fn from_log(
    log: &OpenLog,
    wanted: Option<&OrderId>,
    mut reached: impl FnMut(u64),
) -> Result<Chronicle, ReplayError> {
    log.has_beginning()?;
    let mut writer = Writer {
        cell: log.head().cell.clone(),
        wanted: wanted.cloned(),
        solo: Solo::default(),
        told: Chronicle::default(),
    };
    let mut reading = log.read();
    while let Some(chunk) = reading.next().await? {
        for read in &chunk {
            writer.take(&read.entry);
        }
        reached(chunk.last().map_or(0, |read| read.entry.seq));
    }
    Ok(writer.end())
}

/// A chronicle as it is written.
#[derive(Debug)]
struct Writer {
    cell: CellId,
    wanted: Option<OrderId>,
    solo: Solo,
    told: Chronicle,
}

impl Writer {
    fn take(&mut self, entry: &Entry) {
        let outcome = self.solo.apply(entry);
        self.of_cell(entry, &outcome);
        let mut change: Option<&Change> = None;
        let mut of = None;
        for (order, effect) in &outcome.effects {
            if self.wanted.as_ref().is_some_and(|wanted| wanted != order) {
                continue;
            }
            let new = || Story { order: order.clone(), state: Value::Null, alerts: Vec::new(), lines: Vec::new() };
            let Story { lines, alerts, .. } = self.told.stories.entry(order.clone()).or_insert_with(new);
            if of != Some(order) {
                (of, change) = (Some(order), None);
            }
            match effect {
                Effect::Row(row) => {
                    // A version's change stands with the line of the input that made it, which is the first one, whether
                    // change or line comes first.
                    let made = change.take_if(|change| change.to == row.version);
                    lines.push(line(next(lines), row, made.map(|change| patch(order, change))));
                }
                Effect::Change(made) => match lines.last_mut() {
                    Some(last) if last.version == made.to && last.patch.is_none() => {
                        last.patch = Some(patch(order, made));
                    }
                    _ => change = Some(made),
                },
                Effect::Revise(revision) => revise(lines, revision),
                Effect::Alert(change) => {
                    let body = alert_body(&self.cell, order, change);
                    match alerts.iter_mut().find(|known| known.alert == body.alert) {
                        Some(known) => *known = body,
                        None => alerts.push(body),
                    }
                }
                Effect::Answer(Answer::Refused(refusal)) => {
                    let now = self.solo.orders.get(order).and_then(Option::as_ref);
                    let (kind, what) = asked(&entry.input);
                    let refused = format!("{what}: {refusal}");
                    lines.push(refusal_line(now, (outcome.at, kind), refused));
                }
                Effect::Answer(Answer::Accepted(_))
                | Effect::SeekRoute(_)
                | Effect::Verdict(_)
                | Effect::Task(_)
                | Effect::SetTimer { .. }
                | Effect::ClearTimer { .. }
                | Effect::Carry(_)
                | Effect::Register
                | Effect::Finish => {}
            }
        }
    }

    fn end(self) -> Chronicle {
        let mut told = self.told;
        for (id, story) in &mut told.stories {
            if let Some(Some(order)) = self.solo.orders.get(id) {
                story.state = doc::order(id, &order.facts, &order.live);
            }
        }
        told
    }

    fn of_cell(&mut self, entry: &Entry, outcome: &SoloOutcome) {
        if self.wanted.is_some() {
            return;
        }
        let (_, what) = asked(&entry.input);
        if let Some(Err(refusal)) = &outcome.answer {
            self.say(outcome.at, format!("refused: {what}: {refusal}"));
        }
        let mut odd: BTreeMap<&str, usize> = BTreeMap::new();
        for verdict in &outcome.verdicts {
            let name = match verdict {
                Verdict::Kept(_) => continue,
                Verdict::Duplicate => "there already",
                Verdict::Stale => "older than the last and of no order",
                Verdict::Future => "from the future",
                Verdict::TooOld => "too old",
                Verdict::TrackFull => "beyond what a track holds",
            };
            *odd.entry(name).or_default() += 1;
        }
        for (name, count) in odd {
            let all = outcome.verdicts.len();
            let of = if all == 1 { String::new() } else { format!("{count} of {all} ") };
            self.say(outcome.at, format!("{what}: {of}{name}"));
        }
    }

    /// Notes it, and of the same again and again only how often.
    fn say(&mut self, at: UnixMillis, text: String) {
        match self.told.cell.last_mut().filter(|said| said.text == text) {
            Some(said) => (said.to, said.times) = (at, said.times + 1),
            None => self.told.cell.push(Said { from: at, to: at, times: 1, text }),
        }
    }
}

fn patch(order: &OrderId, Change { before, after, .. }: &Change) -> Value {
    let before = before.as_ref().map(|(facts, live)| (facts.as_ref(), live));
    doc::diff(order, before, (&after.0, &after.1))
}

/// A line as the store has it.
fn line(id: i64, row: &Row, patch: Option<Value>) -> TrackRow {
    let Row { kind, version, rev, status, stage, by, at, point, fix: seen, eta, note } = row;
    let point = seen.as_ref().map(|seen| seen.fix.point).or(*point);
    let fix = seen.as_ref().map(|seen| &seen.fix);
    TrackRow {
        id,
        kind: kind.name().to_owned(),
        version: *version,
        rev: *rev,
        status: *status,
        at_ms: *at,
        operator_id: seen.as_ref().map_or(by.id.as_ref(), |seen| seen.rider.as_str()).to_owned(),
        operator_type: by.kind as u8,
        stage: stage.map(|stage| stage.name().to_owned()),
        lat: point.map(|point| point.lat()),
        lon: point.map(|point| point.lon()),
        fix_time_ms: seen.as_ref().map(|seen| seen.fix_time),
        device_time_ms: fix.map(|fix| fix.id.device_time),
        seq: fix.and_then(|fix| fix.id.seq),
        accuracy_m: fix.and_then(|fix| fix.accuracy_dm).map(doc::metres),
        mark: seen.as_ref().map(|seen| seen.mark.name().to_owned()),
        note: note.clone(),
        speed_mps: fix.and_then(|fix| fix.speed_cmps).map(doc::metres_per_second),
        heading_deg: fix.and_then(|fix| fix.heading_deg),
        battery_pct: fix.and_then(|fix| fix.battery_pct),
        sent_time_ms: seen.as_ref().and_then(|seen| seen.sent_time),
        eta_p10_ms: eta.map(|eta| eta.p10),
        eta_p50_ms: eta.map(|eta| eta.p50),
        eta_p90_ms: eta.map(|eta| eta.p90),
        patch,
    }
}

fn refusal_line(order: Option<&Order>, (at, by): (UnixMillis, OperatorKind), note: String) -> TrackRow {
    TrackRow {
        id: 0,
        kind: REFUSED.to_owned(),
        version: order.map_or(0, |o| o.version),
        rev: order.map_or(0, |o| o.live.rev),
        status: order.map_or(Status::PendingPayment, |o| o.live.status),
        at_ms: at,
        operator_id: String::new(),
        operator_type: by as u8,
        stage: None,
        lat: None,
        lon: None,
        fix_time_ms: None,
        device_time_ms: None,
        seq: None,
        accuracy_m: None,
        mark: None,
        note: Some(note),
        speed_mps: None,
        heading_deg: None,
        battery_pct: None,
        sent_time_ms: None,
        eta_p10_ms: None,
        eta_p50_ms: None,
        eta_p90_ms: None,
        patch: None,
    }
}

fn next(lines: &[TrackRow]) -> i64 {
    lines.iter().rev().find(|line| line.kind != REFUSED).map_or(0, |line| line.id).saturating_add(1)
}

/// As the store does it: the line of that fix.
fn revise(lines: &mut [TrackRow], Revision { rider, id, mark, fix }: &Revision) {
    let same = |line: &&mut TrackRow| {
        (line.device_time_ms, line.seq) == (Some(id.device_time), id.seq) && line.operator_id == rider.as_str()
    };
    let Some(line) = lines.iter_mut().rev().find(same) else { return };
    line.mark = Some(mark.name().to_owned());
    if let Some((fix, fix_time)) = fix {
        line.fix_time_ms = Some(*fix_time);
        (line.lat, line.lon) = (Some(fix.point.lat()), Some(fix.point.lon()));
        line.accuracy_m = fix.accuracy_dm.map(doc::metres);
        line.speed_mps = fix.speed_cmps.map(doc::metres_per_second);
        line.heading_deg = fix.heading_deg;
        line.battery_pct = fix.battery_pct;
    }
}

/// Who asked for what, in words.
fn asked(input: &Input) -> (OperatorKind, String) {
    let of_rider = |rider: &RiderId, what: &str| (OperatorKind::Rider, format!("{what} of rider {rider}"));
    match input {
        Input::Command { command, .. } => {
            let by = &command.by;
            (by.kind, format!("{} by {} {}", command.action.verb().name(), by.kind.name(), by.id))
        }
        Input::Stage { warehouse, stage, .. } => {
            (OperatorKind::Warehouse, format!("{} by warehouse {warehouse}", stage.name()))
        }
        Input::Fixes { rider, fixes, .. } if fixes.len() == 1 => of_rider(rider, "a fix"),
        Input::Fixes { rider, .. } => of_rider(rider, "a batch"),
        Input::Shift { rider, on: true, .. } => of_rider(rider, "begin of shift"),
        Input::Shift { rider, on: false, .. } => of_rider(rider, "end of shift"),
        Input::Trip { rider, .. } => of_rider(rider, "a trip"),
        Input::Timer { kind, n, .. } => (OperatorKind::System, format!("timer {} {n}", kind.name())),
        Input::Route { found, .. } => (OperatorKind::System, format!("a route of {}", found.source)),
        Input::Clock { .. } => (OperatorKind::Operations, "clock".to_owned()),
        Input::Rules { .. } => (OperatorKind::Operations, "rules".to_owned()),
        Input::Malformed { .. } => (OperatorKind::System, "what can't be read".to_owned()),
    }
}
