//! An order's story as text for people: what happened, when, by whom, and what was decided of it. Runs of fixes are
//! summed up. Times are cell time, UTC.

use super::chronicle::{FixSeen, Line, Said, Story};
use crate::{
    domain::{Mark, OperatorKind, Status, UnixMillis},
    geo::{Point, distance_m},
};
use jiff::{Timestamp, tz::TimeZone};
use serde_json::Value;
use std::fmt::{self, Write};

/// Members of the published state that other words of a line tell already.
const TOLD: [&str; 15] = [
    "cancel_reason",
    "cancelled_at_ms",
    "completed_at_ms",
    "created_at_ms",
    "departed_at_ms",
    "failed",
    "id",
    "missing",
    "paid_at_ms",
    "position",
    "rev",
    "rider",
    "stage",
    "status",
    "stops_ahead",
];

/// The whole story.
pub fn tell(story: &Story) -> String {
    let mut out = String::new();
    // Writing to a text doesn't fail.
    let _ = write_story(&mut out, story);
    out
}

/// What the cell itself said, a line.
pub fn tell_said(Said { from, to, times, text }: &Said) -> String {
    if *times == 1 {
        format!("{}  {text}", time(*from))
    } else {
        format!("{}  {text}, {times} times until {}", time(*from), time(*to))
    }
}

/// `09:04:15`
pub fn time(at: UnixMillis) -> String {
    zoned(at).map_or_else(|| format!("{} ms", at.0), |z| z.strftime("%H:%M:%S").to_string())
}

/// `2026-11-21`
pub fn day(at: UnixMillis) -> String {
    zoned(at).map_or_else(String::new, |z| z.strftime("%Y-%m-%d").to_string())
}

fn zoned(at: UnixMillis) -> Option<jiff::Zoned> {
    Some(Timestamp::from_millisecond(at.0).ok()?.to_zoned(TimeZone::UTC))
}

fn write_story(out: &mut String, Story { order, lines }: &Story) -> fmt::Result {
    let last = lines.iter().rev().find(|line| line.version > 0);
    match last {
        Some(line) => {
            let status = spoken(line.status);
            writeln!(out, "order {order}: {status}, version {}, rev {}", line.version, line.rev)?;
        }
        None => writeln!(out, "order {order}: never created")?,
    }
    let (mut today, mut status) = (String::new(), None);
    let mut rest = &lines[..];
    while let Some(first) = rest.first() {
        let date = day(first.at);
        if date != today {
            writeln!(out, "  {date} (UTC)")?;
            today = date;
        }
        let fixes = rest.iter().take_while(|line| line.fix.is_some() && day(line.at) == today).count();
        // A fix that the order decided something upon ends its run.
        let decided = rest[..fixes].iter().position(|line| !notable(line).is_empty());
        let run = decided.map_or(fixes, |at| at + 1);
        let (told, left) = rest.split_at(run.max(1));
        rest = left;
        write!(out, "  {}  ", time(first.at))?;
        if first.fix.is_some() {
            fixes_line(out, told)?
        } else {
            event(out, first)?
        }
        let Some(line) = told.last() else { continue };
        if status.is_some_and(|before| before != line.status) {
            write!(out, "; now {}", spoken(line.status))?;
        }
        status = (line.version > 0).then_some(line.status).or(status);
        writeln!(out)?;
        for (name, value) in notable(line) {
            writeln!(out, "            {name}: {}", plain(value))?;
        }
    }
    Ok(())
}

/// What a line changed in the published state beyond what its own words say.
fn notable(line: &Line) -> Vec<(&String, &Value)> {
    // The first version is the whole state.
    let changes = line.patch.as_ref().and_then(Value::as_object).filter(|_| line.kind != "create");
    let all = changes.into_iter().flatten();
    all.filter(|(name, _)| !TOLD.contains(&name.as_str())).collect()
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

fn event(out: &mut String, line: &Line) -> fmt::Result {
    let note = line.note.as_deref().unwrap_or_default();
    let by = by(line);
    match line.kind.as_str() {
        "create" => write!(out, "created by {by}")?,
        "pay" => write!(out, "paid, by {by}")?,
        "cancel" => write!(out, "cancelled by {by}{}", because(note))?,
        "assign" => write!(out, "given to rider {note} by {by}")?,
        "unassign" => write!(out, "taken off its rider by {by}")?,
        "deliver" => write!(out, "delivered, says {by}{}", because(note))?,
        "stage" => write!(out, "{} at {by}", line.stage.as_deref().unwrap_or_default().replace('_', " "))?,
        "timer" if line.status == Status::Cancelled => write!(out, "not paid in time, cancelled")?,
        "fail" => write!(out, "delivery failed, says {by}{}", because(note))?,
        "return" => write!(out, "goes back, says {by}{}", because(note))?,
        "missing" => write!(out, "items missing, says {by}{}", because(note))?,
        "edit" => write!(out, "edited by {by}{}", because(note))?,
        "stops" => {}
        "refused" => return write!(out, "refused{}", because(note)),
        other => write!(out, "{other} by {by}{}", because(note))?,
    }
    let stops = line.patch.as_ref().and_then(|patch| patch.get("stops_ahead")).and_then(Value::as_u64);
    let alone = line.kind == "stops";
    if let Some(stops) = stops.filter(|stops| *stops > 0 || alone) {
        let before = if alone { "" } else { "; " };
        write!(out, "{before}{stops} {} ahead", if stops == 1 { "stop" } else { "stops" })?;
    }
    Ok(())
}

fn because(note: &str) -> String {
    if note.is_empty() { String::new() } else { format!(": {note}") }
}

fn by(line: &Line) -> String {
    let kind = OperatorKind::ALL.into_iter().find(|kind| *kind as u8 == line.operator_type);
    format!("{} {}", kind.map_or("somebody", OperatorKind::name), line.operator_id)
}

fn fixes_line(out: &mut String, lines: &[Line]) -> fmt::Result {
    let mut fixes: Vec<&FixSeen> = lines.iter().filter_map(|line| line.fix.as_ref()).collect();
    fixes.sort_by_key(|fix| fix.fix_time);
    let (Some(first), Some(last)) = (fixes.first(), fixes.last()) else { return Ok(()) };
    let plural = if fixes.len() == 1 { "fix" } else { "fixes" };
    write!(out, "{} {plural} of rider {}", fixes.len(), first.rider)?;
    if fixes.len() > 1 {
        write!(out, ", taken {} to {}", time(first.fix_time), time(last.fix_time))?;
    }
    let good: Vec<Point> = fixes.iter().filter(|fix| fix.mark == Mark::Good).map(|fix| fix.point).collect();
    let way_m: f64 = good.windows(2).map(|pair| distance_m(pair[0], pair[1])).sum();
    if good.len() > 1 {
        write!(out, ", {way_m:.0} m")?;
    }
    for mark in [Mark::Inaccurate, Mark::Jump] {
        let marked = fixes.iter().filter(|fix| fix.mark == mark).count();
        if marked > 0 {
            write!(out, ", {marked} {}", mark.name())?;
        }
    }
    let late_ms = lines.iter().filter_map(|l| Some(l.at.since(l.fix.as_ref()?.fix_time))).max().unwrap_or(0);
    if late_ms > LATE_MS {
        write!(out, ", up to {} s late", late_ms / 1_000)?;
    }
    if let Some(battery) = fixes.iter().rev().find_map(|fix| fix.battery_pct) {
        write!(out, ", battery {battery} %")?;
    }
    Ok(())
}

/// What is nearer is the network's delay.
const LATE_MS: i64 = 5_000;

fn spoken(status: Status) -> &'static str {
    match status {
        Status::PendingPayment => "pending payment",
        Status::Paid => "paid",
        Status::Delivering => "delivering",
        Status::Completed => "completed",
        Status::Cancelled => "cancelled",
    }
}
