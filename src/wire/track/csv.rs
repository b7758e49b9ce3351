//! The history as CSV (RFC 4180): a header, then a line per line of the history, all of them with their marks.
//!
//! Text that a spreadsheet would take for a formula is led in by an apostrophe, as spreadsheets themselves do it: notes
//! come from outside, and a cell that begins with `=` runs.

use super::rfc3339;
use crate::{domain::UnixMillis, wire::query::TrackRow};
use std::fmt::Display;

const HEAD: &str = "id,at,at_ms,kind,version,rev,status,stage,operator_id,operator_type,lat,lon,fix_time_ms,device_time_ms,\
                    sent_time_ms,seq,accuracy_m,speed_mps,heading_deg,battery_pct,mark,eta_p10_ms,eta_p50_ms,eta_p90_ms,note";

pub(super) fn head(out: &mut String) {
    out.push_str(HEAD);
    out.push_str("\r\n");
}

pub(super) fn row(row: &TrackRow, out: &mut String) {
    let ms = |time: Option<UnixMillis>| number(time.map(|time| time.0));
    let cells = [
        row.id.to_string(),
        rfc3339(row.at_ms),
        row.at_ms.0.to_string(),
        text(&row.kind),
        row.version.to_string(),
        row.rev.to_string(),
        row.status.code().to_string(),
        text(row.stage.as_deref().unwrap_or_default()),
        text(&row.operator_id),
        row.operator_type.to_string(),
        number(row.lat),
        number(row.lon),
        ms(row.fix_time_ms),
        ms(row.device_time_ms),
        ms(row.sent_time_ms),
        number(row.seq),
        number(row.accuracy_m),
        number(row.speed_mps),
        number(row.heading_deg),
        number(row.battery_pct),
        text(row.mark.as_deref().unwrap_or_default()),
        ms(row.eta_p10_ms),
        ms(row.eta_p50_ms),
        ms(row.eta_p90_ms),
        text(row.note.as_deref().unwrap_or_default()),
    ];
    out.push_str(&cells.join(","));
    out.push_str("\r\n");
}

fn number(value: Option<impl Display>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

/// A text's cell, guarded and quoted where it has to be.
fn text(text: &str) -> String {
    let runs = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']);
    let guarded = if runs { format!("'{text}") } else { text.to_owned() };
    if guarded.contains([',', '"', '\r', '\n']) { format!("\"{}\"", guarded.replace('"', "\"\"")) } else { guarded }
}
