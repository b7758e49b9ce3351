//! The truth file: what the city really did, one JSON object a line, so that others can compare it with what the system
//! made of it. Every line has a `kind`; times are cell time in milliseconds since 1970.
//!
//! | kind | what |
//! |---|---|
//! | `run` | the settings; `clock_slack_ms`: by how much the city's clock may be behind the cell's |
//! | `order` | what was ordered, from where, to where (at first and in the end), by what number its marks are known |
//! | `rider` | shift, error of the phone's clock, incidents (wrong turns, long stops, spells offline) |
//! | `deed` | a command, stage, trip, shift or hand-over: when it was meant, sent and answered, what became of it and should have |
//! | `fixes` | a message of fixes with the answer's tally; of each fix its identity, the true time and place, what it must become |
//! | `end` | when the run ended, and whether it ran to the plan's end |

use super::{
    phone::{Must, Taken},
    plan::Plan,
    streets::Spot,
};
use crate::{domain::UnixMillis, wire::answer::FixTally};
use serde::Serialize;
use serde_json::{Value, json};
use std::{
    fs::File,
    io::{BufWriter, Write},
    path::Path,
};

/// How a deed ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "outcome", content = "reason")]
pub(super) enum Ended {
    Accepted,
    Refused(String),
    /// No answer came: nobody knows.
    Unknown(String),
    /// Not tried, for something before it had failed.
    Skipped,
}

/// When something was meant to be done, was sent and was answered.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Times {
    pub(super) planned_ms: UnixMillis,
    pub(super) sent_ms: UnixMillis,
    pub(super) answered_ms: UnixMillis,
}

/// The file, or nothing where nobody asked for it.
#[derive(Debug)]
pub(super) struct Truth {
    out: Option<BufWriter<File>>,
    /// The first thing that went wrong while writing.
    failed: Option<std::io::Error>,
}

#[derive(Serialize)]
struct FixLine {
    time_ms: i64,
    device_ms: i64,
    seq: Option<u32>,
    lat: f64,
    lon: f64,
    accuracy_m: Option<f64>,
    true_lat: f64,
    true_lon: f64,
    must: Must,
}

impl Truth {
    pub(super) fn create(file: Option<&Path>) -> std::io::Result<Self> {
        let out = file.map(File::create).transpose()?.map(BufWriter::new);
        Ok(Self { out, failed: None })
    }

    /// Writes a line.
    pub(super) fn line<T: Serialize>(&mut self, line: &T) {
        let Some(out) = &mut self.out else { return };
        let written = serde_json::to_writer(&mut *out, line).map_err(Into::into).and_then(|()| out.write_all(b"\n"));
        if let Err(error) = written {
            self.failed.get_or_insert(error);
        }
    }

    /// What is settled before anything is done.
    pub(super) fn plan(&mut self, plan: &Plan) {
        if self.out.is_none() {
            return;
        }
        let at = |spot: Spot| {
            plan.streets.frame.point(spot).map_or(Value::Null, |point| json!({"lat": point.lat(), "lon": point.lon()}))
        };
        for wish in &plan.wishes {
            let warehouse = &plan.warehouses[wish.warehouse];
            let door = |corner| at(wish.destination(&plan.streets, corner));
            self.line(&json!({
                "kind": "order", "order": wish.order, "number": wish.number, "warehouse": warehouse.id,
                "items": wish.items, "amount_minor": wish.amount_minor, "phone": wish.phone(),
                "from": at(plan.streets.spot(warehouse.corner)), "to": door(wish.door),
                "to_first": door(wish.first_door),
            }));
        }
        for rider in &plan.riders {
            let offline = rider.phone.spells.iter().map(|(from, to)| ("offline", *from, *to));
            let incidents = rider.incidents.iter().map(|i| (i.what, i.from, i.to)).chain(offline);
            let incidents: Vec<_> = incidents
                .filter(|(_, from, _)| *from < rider.shift.1.min(plan.end))
                .map(|(what, from, to)| json!({"what": what, "from_ms": from, "to_ms": to}))
                .collect();
            self.line(&json!({
                "kind": "rider", "rider": rider.id, "clock_error_ms": rider.phone.clock_ms.unwrap_or(0),
                "shift_ms": [rider.shift.0, rider.shift.1.min(plan.end)], "incidents": incidents,
            }));
        }
    }

    /// A message of fixes. `tally` is the system's answer.
    pub(super) fn fixes(
        &mut self,
        plan: &Plan,
        rider: usize,
        times: Times,
        again: bool,
        fixes: &[Taken],
        tally: Result<&FixTally, &Ended>,
    ) {
        if self.out.is_none() {
            return;
        }
        let fixes: Vec<_> = fixes
            .iter()
            .filter_map(|Taken { body, time, spot, must }| {
                let point = plan.streets.frame.point(*spot)?;
                Some(FixLine {
                    time_ms: time.0,
                    device_ms: body.fix_time_ms,
                    seq: body.seq,
                    lat: body.lat,
                    lon: body.lon,
                    accuracy_m: body.accuracy_m,
                    true_lat: point.lat(),
                    true_lon: point.lon(),
                    must: *must,
                })
            })
            .collect();
        self.line(&json!({
            "kind": "fixes", "rider": plan.riders[rider].id, "times": times, "again": again, "fixes": fixes,
            "tally": tally.ok(), "failed": tally.err(),
        }));
    }

    /// Writes what is buffered; tells of the first thing that couldn't be written.
    pub(super) fn close(mut self) -> std::io::Result<()> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        self.out.map_or(Ok(()), |mut out| out.flush())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_json_and_an_outcome_has_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("truth.jsonl");
        let mut truth = Truth::create(Some(&file)).unwrap();
        truth.line(&Ended::Accepted);
        truth.line(&Ended::Refused("no".into()));
        truth.close().unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(text, "{\"outcome\":\"accepted\"}\n{\"outcome\":\"refused\",\"reason\":\"no\"}\n");
        Truth::create(None).unwrap().close().unwrap();
    }
}
