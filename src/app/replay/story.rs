//! An order's story as text for people: what happened, when, by whom, and what was decided of it. Runs of fixes are
//! summed up; what an order said of itself (arrival time, arrivals, alerts) stands below the line that made it say so.
//! Times are cell time, UTC.

use super::{
    chronicle::{REFUSED, Said, Story},
    words::{self, Known},
};
use crate::{
    domain::{Mark, OperatorKind, Status, UnixMillis},
    geo::{Point, distance_m},
    wire::query::TrackRow,
};
use jiff::{Timestamp, tz::TimeZone};
use serde_json::Value;
use std::fmt::{self, Write};

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

fn write_story(out: &mut String, Story { order, state: _, alerts, lines }: &Story) -> fmt::Result {
    let last = lines.iter().rev().find(|line| line.version > 0);
    match last {
        Some(line) => {
            let status = spoken(line.status);
            writeln!(out, "order {order}: {status}, version {}, rev {}", line.version, line.rev)?;
        }
        None => writeln!(out, "order {order}: never created")?,
    }
    let mut known = Known::of(alerts);
    let (mut today, mut status) = (String::new(), None);
    let mut rest = &lines[..];
    while let Some(first) = rest.first() {
        let date = day(first.at_ms);
        if date != today {
            writeln!(out, "  {date} (UTC)")?;
            today = date;
        }
        let (told, left) = rest.split_at(run(rest));
        let (said, left) = left.split_at(left.iter().take_while(|line| is_said(line)).count());
        rest = left;
        let Some(last) = told.last() else { break };
        if told.iter().any(|line| !is_silent(line)) {
            write!(out, "  {}  ", time(first.at_ms))?;
            if is_fix(first) {
                fixes_line(out, told)?
            } else {
                event(out, first)?
            }
            if status.is_some_and(|before| before != last.status) {
                write!(out, "; now {}", spoken(last.status))?;
            }
            writeln!(out)?;
        }
        status = (last.version > 0).then_some(last.status).or(status);
        let changes = known.changes(last);
        for text in said.iter().map(|line| known.alert(line)).chain(changes) {
            writeln!(out, "  {}    {text}", time(last.at_ms))?;
        }
    }
    Ok(())
}

/// How many of these lines are told as one: an event, or fixes up to one that the order decided something upon.
fn run(lines: &[TrackRow]) -> usize {
    let today = lines.first().map(|line| day(line.at_ms));
    let fixes = lines.iter().take_while(|line| is_fix(line) && Some(day(line.at_ms)) == today).count();
    let decided = |at: &usize| !words::notable(&lines[*at]).is_empty() || lines.get(at + 1).is_some_and(is_said);
    (0..fixes).find(decided).map_or(fixes, |at| at + 1).max(1)
}

fn is_fix(line: &TrackRow) -> bool {
    line.fix_time_ms.is_some()
}

/// Said by the order itself, because of the line before.
fn is_said(line: &TrackRow) -> bool {
    line.kind == "alert"
}

/// Only what it led to is of interest.
fn is_silent(line: &TrackRow) -> bool {
    line.kind == "timer" && line.status != Status::Cancelled
}

fn event(out: &mut String, line: &TrackRow) -> fmt::Result {
    let note = line.note.as_deref().unwrap_or_default();
    let by = by(line);
    match line.kind.as_str() {
        "create" => write!(out, "created by {by}{}", words::promised(line))?,
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
        "acknowledge" => {
            let (alert, said) = note.split_once(": ").unwrap_or((note, ""));
            write!(out, "alert {alert} acknowledged by {by}{}", because(said))?;
        }
        "route" => write!(out, "a route was found by {note}")?,
        "stops" => {}
        REFUSED => return write!(out, "refused{}", because(note)),
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

fn by(line: &TrackRow) -> String {
    let kind = OperatorKind::ALL.into_iter().find(|kind| *kind as u8 == line.operator_type);
    format!("{} {}", kind.map_or("somebody", OperatorKind::name), line.operator_id)
}

fn fixes_line(out: &mut String, lines: &[TrackRow]) -> fmt::Result {
    let mut fixes: Vec<&TrackRow> = lines.iter().collect();
    fixes.sort_by_key(|fix| fix.fix_time_ms);
    let (Some(first), Some(last)) = (fixes.first(), fixes.last()) else { return Ok(()) };
    let plural = if fixes.len() == 1 { "fix" } else { "fixes" };
    write!(out, "{} {plural} of rider {}", fixes.len(), first.operator_id)?;
    if fixes.len() > 1 {
        let taken = |fix: &TrackRow| fix.fix_time_ms.map_or_else(String::new, time);
        write!(out, ", taken {} to {}", taken(first), taken(last))?;
    }
    let marked = |mark: Mark| fixes.iter().filter(move |fix| fix.mark.as_deref() == Some(mark.name()));
    let point = |fix: &&TrackRow| Point::from_degrees(fix.lat?, fix.lon?).ok();
    let good: Vec<Point> = marked(Mark::Good).filter_map(point).collect();
    let way_m: f64 = good.windows(2).map(|pair| distance_m(pair[0], pair[1])).sum();
    if good.len() > 1 {
        write!(out, ", {way_m:.0} m")?;
    }
    for mark in [Mark::Inaccurate, Mark::Jump] {
        let count = marked(mark).count();
        if count > 0 {
            write!(out, ", {count} {}", mark.name())?;
        }
    }
    let late_ms = lines.iter().filter_map(|l| Some(l.at_ms.since(l.fix_time_ms?))).max().unwrap_or(0);
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
