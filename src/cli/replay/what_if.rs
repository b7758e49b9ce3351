//! `trunkline replay --what-if`: what it takes and prints.

use crate::{
    app::replay::{
        OpenLog, Overrides, amount,
        compare::{Change, Comparison, Span},
        decisions::{Decision, Measured},
        story::{day, time},
        what_if::{self, WhatIf, what_if},
    },
    cli::{outside::say, progress::Progress},
    domain::UnixMillis,
};
use std::process::ExitCode;

pub(super) async fn run(settings: &[String], log: &OpenLog, json: bool) -> anyhow::Result<ExitCode> {
    let late = settings.iter().any(|setting| setting == "late");
    let rules = settings.iter().map(String::as_str).filter(|setting| *setting != "late");
    let change = what_if::Change { settings: Overrides::parse(rules)?, late };
    let mut progress = (!json).then(|| Progress::new("played", super::places(log.head().last_seq.saturating_mul(2))));
    let reached = |seq| {
        if let Some(progress) = &mut progress {
            progress.reach(seq);
        }
    };
    let result = what_if(log, &change, reached).await?;
    drop(progress);
    if json {
        say(serde_json::to_string_pretty(&result)?);
    } else {
        print(&change, &result);
    }
    Ok(ExitCode::SUCCESS)
}

fn print(change: &what_if::Change, result: &WhatIf) {
    let WhatIf { cell, entries, from_ms, to_ms, orders, late_fixes, timers, comparison, took, .. } = result;
    let Comparison { kinds, changes } = comparison;
    let mut today = String::new();
    for change in changes {
        let date = day(change.at());
        if date != today {
            say(format_args!("{date} (UTC)"));
            today = date;
        }
        say(format_args!("  {}  {}", time(change.at()), told(change)));
    }
    if !changes.is_empty() {
        say("");
    }
    say(format_args!(
        "{:<22}{:>10}{:>10}{:>10}{:>12}{:>10}",
        "decision", "as it was", "then", "appear", "disappear", "move"
    ));
    for (kind, n) in kinds {
        say(format_args!(
            "{kind:<22}{:>10}{:>10}{:>10}{:>12}{:>10}",
            n.before, n.after, n.appear, n.disappear, n.moved
        ));
    }
    if kinds.is_empty() {
        say("none in either play");
    }
    let mut what = change.settings.to_string();
    if let Some(fixes) = late_fixes {
        what = format!("{what} {fixes} late fixes in time").trim_start().to_owned();
    }
    say(format_args!(
        "\ncell {cell}, {} {} to {} {} (UTC): {entries} entries, {orders} orders, timers {} and {}; {what}; {:.2} s",
        day(*from_ms),
        time(*from_ms),
        day(*to_ms),
        time(*to_ms),
        timers[0],
        timers[1],
        took.as_secs_f64(),
    ));
}

fn told(change: &Change) -> String {
    match change {
        Change::Appears(Decision { order, kind, cleared, evidence, .. }) => {
            format!("{kind} of order {order} appears{}{}", on(evidence.as_ref()), until(*cleared))
        }
        Change::Disappears(Decision { order, kind, cleared, evidence, .. }) => {
            format!("{kind} of order {order} disappears{}{}", on(evidence.as_ref()), until(*cleared))
        }
        Change::Moves(moved) => {
            let ms = moved.raised_later_ms;
            let by = match ms {
                0 => "raised as before".to_owned(),
                ms if ms > 0 => format!("raised {} later", seconds(ms)),
                ms => format!("raised {} earlier", seconds(-ms)),
            };
            let Span { cleared_ms: before, .. } = moved.before;
            let Span { cleared_ms: after, .. } = moved.after;
            let ends = match (before, after) {
                (before, after) if before == after => String::new(),
                (Some(before), Some(after)) => format!(", cleared at {} instead of {}", time(after), time(before)),
                (None, Some(after)) => format!(", cleared at {}, not left raised", time(after)),
                (Some(before), None) => format!(", not cleared, as at {}", time(before)),
                (None, None) => String::new(),
            };
            format!("{} of order {} {by}{ends}", moved.kind, moved.order)
        }
    }
}

/// What it was raised on.
fn on(evidence: Option<&Measured>) -> String {
    evidence.map_or_else(String::new, |Measured { measure, threshold, unit }| {
        format!(" ({} against {})", amount(*measure, unit), amount(*threshold, unit))
    })
}

fn until(cleared: Option<UnixMillis>) -> String {
    cleared.map_or_else(String::new, |at| format!(", cleared at {}", time(at)))
}

#[allow(clippy::cast_precision_loss, reason = "for people")]
fn seconds(ms: i64) -> String {
    format!("{:.1} s", ms as f64 / 1e3)
}
