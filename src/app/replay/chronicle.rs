//! An order's story as data: its lines in the order in which they were applied. From the cell's database, or from a log
//! that is played for it; both give the same lines, but for refusals, of which only the log knows.

use super::{OpenLog, ReplayError};
use crate::{
    domain::{
        Answer, Effect, Mark, OperatorKind, OrderId, RiderId, Status, UnixMillis, Verdict,
        cell::{Entry, Input, Solo, SoloOutcome},
        effect::{Change, Revision, Row},
        fix::FixId,
    },
    geo::Point,
    store::{Look, LookError, StoredLine},
    wire::doc,
};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// See the module.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Story {
    pub order: OrderId,
    pub lines: Vec<Line>,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Line {
    /// Cell time at which it was applied.
    #[serde(rename = "at_ms")]
    pub at: UnixMillis,
    /// `create`, `pay`, `stage`, `fix`, …; `refused` for what changed nothing.
    pub kind: String,
    pub version: u64,
    pub rev: u64,
    pub status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    pub operator_type: u8,
    pub operator_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<FixSeen>,
    /// What it changed in the published state: a merge patch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patch: Option<Value>,
}

/// A fix as the order's track has it in the end.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FixSeen {
    pub rider: String,
    /// Corrected.
    #[serde(rename = "fix_time_ms")]
    pub fix_time: UnixMillis,
    #[serde(skip)]
    pub id: FixId,
    #[serde(flatten, serialize_with = "degrees")]
    pub point: Point,
    #[serde(serialize_with = "name")]
    pub mark: Mark,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy_m: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub battery_pct: Option<u8>,
}

fn degrees<S: serde::Serializer>(point: &Point, to: S) -> Result<S::Ok, S::Error> {
    doc::point_value(*point).serialize(to)
}

fn name<S: serde::Serializer>(mark: &Mark, to: S) -> Result<S::Ok, S::Error> {
    mark.name().serialize(to)
}

/// The story that the database has of an order, if it knows it.
pub fn from_store(look: &Look, order: &OrderId) -> Result<Option<Story>, LookError> {
    if look.order(order)?.is_none() {
        return Ok(None);
    }
    let lines = look.lines(order)?.into_iter().map(stored).collect::<Result<_, _>>()?;
    Ok(Some(Story { order: order.clone(), lines }))
}

fn stored(StoredLine { row, patch, battery_pct }: StoredLine) -> Result<Line, LookError> {
    let wrong = |what: &str| LookError::Row(format!("order_tracking {}: {what} can't be read", row.id));
    let patch = patch.map(|text| serde_json::from_str(&text)).transpose().map_err(|_| wrong("patch"))?;
    let fix = match (row.fix_time_ms, row.device_time_ms, row.lat, row.lon) {
        (Some(fix_time), Some(device_time), Some(lat), Some(lon)) => Some(FixSeen {
            rider: row.operator_id.clone(),
            fix_time,
            id: FixId { device_time, seq: row.seq },
            point: Point::from_degrees(lat, lon).map_err(|_| wrong("position"))?,
            mark: Mark::ALL
                .into_iter()
                .find(|mark| row.mark.as_deref() == Some(mark.name()))
                .ok_or_else(|| wrong("mark"))?,
            accuracy_m: row.accuracy_m,
            battery_pct,
        }),
        _ => None,
    };
    Ok(Line {
        at: row.at_ms,
        kind: row.kind,
        version: row.version,
        rev: row.rev,
        status: row.status,
        stage: row.stage,
        operator_type: row.operator_type,
        operator_id: row.operator_id,
        note: row.note,
        fix,
        patch,
    })
}

/// What a log gives: the stories of its orders by id, and what the cell itself said, beside them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chronicle {
    pub stories: BTreeMap<OrderId, Vec<Line>>,
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
    let mut writer = Writer { wanted: wanted.cloned(), ..Writer::default() };
    let mut reading = log.read();
    while let Some(chunk) = reading.next().await? {
        for read in &chunk {
            writer.take(&read.entry);
        }
        reached(chunk.last().map_or(0, |read| read.entry.seq));
    }
    Ok(writer.chronicle)
}

/// A chronicle as it is written.
#[derive(Debug, Default)]
struct Writer {
    solo: Solo,
    wanted: Option<OrderId>,
    chronicle: Chronicle,
}

impl Writer {
    fn take(&mut self, entry: &Entry) {
        let outcome = self.solo.apply(entry);
        self.of_cell(entry, &outcome);
        // A version's change stands with the line of the input that made it, whichever of the two comes first.
        let mut change: Option<&Change> = None;
        let mut of = None;
        for (order, effect) in &outcome.effects {
            if self.wanted.as_ref().is_some_and(|wanted| wanted != order) {
                continue;
            }
            let lines = self.chronicle.stories.entry(order.clone()).or_default();
            if of != Some(order) {
                (of, change) = (Some(order), None);
            }
            match effect {
                Effect::Row(row) => {
                    let made = change.take_if(|change| change.to == row.version);
                    lines.push(line(row, made.map(|change| patch(order, change))));
                }
                Effect::Change(made) => match lines.last_mut() {
                    Some(last) if last.version == made.to && last.patch.is_none() => {
                        last.patch = Some(patch(order, made));
                    }
                    _ => change = Some(made),
                },
                Effect::Revise(revision) => revise(lines, revision),
                Effect::Answer(Answer::Refused(refusal)) => {
                    let last = self.solo.orders.get(order).and_then(Option::as_ref);
                    let (version, rev) = last.map_or((0, 0), |o| (o.version, o.live.rev));
                    let status = last.map_or(Status::PendingPayment, |o| o.live.status);
                    let (kind, what) = asked(&entry.input);
                    lines.push(Line {
                        at: outcome.at,
                        kind: "refused".to_owned(),
                        version,
                        rev,
                        status,
                        stage: None,
                        operator_type: kind as u8,
                        operator_id: String::new(),
                        note: Some(format!("{what}: {refusal}")),
                        fix: None,
                        patch: None,
                    });
                }
                Effect::Answer(Answer::Accepted(_))
                | Effect::Alert(_)
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
        match self.chronicle.cell.last_mut().filter(|said| said.text == text) {
            Some(said) => (said.to, said.times) = (at, said.times + 1),
            None => self.chronicle.cell.push(Said { from: at, to: at, times: 1, text }),
        }
    }
}

fn patch(order: &OrderId, Change { before, after, .. }: &Change) -> Value {
    let before = before.as_ref().map(|(facts, live)| (facts.as_ref(), live));
    doc::diff(order, before, (&after.0, &after.1))
}

fn line(row: &Row, patch: Option<Value>) -> Line {
    let fix = row.fix.as_ref().map(|seen| FixSeen {
        rider: seen.rider.as_str().to_owned(),
        fix_time: seen.fix_time,
        id: seen.fix.id,
        point: seen.fix.point,
        mark: seen.mark,
        accuracy_m: seen.fix.accuracy_dm.map(|dm| f64::from(dm) / 10.0),
        battery_pct: seen.fix.battery_pct,
    });
    Line {
        at: row.at,
        kind: row.kind.name().to_owned(),
        version: row.version,
        rev: row.rev,
        status: row.status,
        stage: row.stage.map(|stage| stage.name().to_owned()),
        operator_type: row.by.kind as u8,
        operator_id: row.by.id.as_ref().to_owned(),
        note: row.note.clone(),
        fix,
        patch,
    }
}

/// As the store does it: the line of that fix.
fn revise(lines: &mut [Line], Revision { rider, id, mark, fix }: &Revision) {
    let same = |seen: &&mut FixSeen| seen.id == *id && seen.rider == rider.as_str();
    let Some(seen) = lines.iter_mut().rev().filter_map(|line| line.fix.as_mut()).find(same) else { return };
    seen.mark = *mark;
    if let Some((fix, fix_time)) = fix {
        seen.fix_time = *fix_time;
        seen.point = fix.point;
        seen.accuracy_m = fix.accuracy_dm.map(|dm| f64::from(dm) / 10.0);
        seen.battery_pct = fix.battery_pct;
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
