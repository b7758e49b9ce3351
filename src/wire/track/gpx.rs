//! The history as GPX 1.1 (topografix.com/GPX/1/1): waypoints for the warehouse, the destination and what happened, the
//! planned route, and a track for each rider's turn. The schema wants them in this order, and so does the stream: what
//! happened can be written as it comes, tracks at the end.
//!
//! Speed and heading are in Garmin's TrackPointExtension, which is what other programs write and read; there is no other
//! extension.

use super::{About, Drawn, Place, Shown, Whereabouts, datum_name, rfc3339, route, shown, title, turns::Turns};
use crate::{domain::UnixMillis, geo::Datum, wire::query::TrackRow};
use serde_json::Value;
use std::fmt::Write as _;

const HEAD: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<gpx version="1.1" creator="Trunkline" xmlns="http://www.topografix.com/GPX/1/1" xmlns:gpxtpx="http://www.garmin.com/xmlschemas/TrackPointExtension/v2" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="http://www.topografix.com/GPX/1/1 http://www.topografix.com/GPX/1/1/gpx.xsd http://www.garmin.com/xmlschemas/TrackPointExtension/v2 https://www8.garmin.com/xmlschemas/TrackPointExtensionv2.xsd">
"#;

/// See the module.
#[derive(Debug)]
pub struct Gpx {
    drawn: Drawn,
    whereabouts: Whereabouts,
    turns: Turns,
    route: Vec<Place>,
}

impl Gpx {
    pub(super) fn begin(about: &About<'_>, out: &mut String) -> Self {
        let About { order, state, datum, drawn } = *about;
        out.push_str(HEAD);
        let _ = write!(out, "<metadata><name>{order}</name>");
        if datum != Datum::Wgs84 {
            let name = datum_name(datum);
            let _ = write!(out, "<desc>Coordinates are {name}, as asked for; GPX's own are WGS-84.</desc>");
        }
        if let Some(created) = state.get("created_at_ms").and_then(Value::as_i64) {
            let _ = write!(out, "<time>{}</time>", rfc3339(UnixMillis(created)));
        }
        out.push_str("</metadata>\n");
        for what in ["warehouse", "destination"] {
            if let Some(place) = Place::of(state, what) {
                let name = state.pointer(&format!("/{what}/name")).and_then(Value::as_str).unwrap_or(what);
                waypoint(place, None, (name, None, what), out);
            }
        }
        Self { drawn, whereabouts: Whereabouts::new(state), turns: Turns::default(), route: route(state) }
    }

    pub(super) fn row(&mut self, row: &TrackRow, out: &mut String) {
        let place = self.whereabouts.of(row);
        let place = place.map(|(place, _)| place);
        match shown(row) {
            Shown::Fix { good } if good || self.drawn == Drawn::All => self.turns.fix(row, good),
            Shown::Event => {
                self.turns.event(row);
                if let Some(place) = place {
                    waypoint(place, Some(row.at_ms), (&title(row), row.note.as_deref(), "event"), out);
                }
            }
            Shown::Fix { .. } | Shown::Nothing => {}
        }
        if let (Some(place), Some(eta)) = (place, row.eta_p50_ms) {
            let said = |time: Option<UnixMillis>| time.map(rfc3339).unwrap_or_default();
            let between = format!("between {} and {}", said(row.eta_p10_ms), said(row.eta_p90_ms));
            let both = row.eta_p10_ms.and(row.eta_p90_ms).map(|_| between.as_str());
            waypoint(place, Some(row.at_ms), (&format!("eta {}", rfc3339(eta)), both, "eta"), out);
        }
    }

    pub(super) fn end(mut self, out: &mut String) {
        if self.route.len() > 1 {
            out.push_str("<rte><name>planned route</name>\n");
            for place in &self.route {
                let _ = writeln!(out, "<rtept{}/>", at(*place));
            }
            out.push_str("</rte>\n");
        }
        for turn in self.turns.cut() {
            let _ = writeln!(out, "<trk><name>{}</name><type>turn</type><trkseg>", escaped(turn.rider));
            for fix in turn.fixes {
                let _ = write!(out, "<trkpt{}><time>{}</time>", at(fix.place), rfc3339(fix.time));
                if fix.speed_mps.is_some() || fix.heading_deg.is_some() {
                    out.push_str("<extensions><gpxtpx:TrackPointExtension>");
                    if let Some(speed) = fix.speed_mps {
                        let _ = write!(out, "<gpxtpx:speed>{speed}</gpxtpx:speed>");
                    }
                    if let Some(heading) = fix.heading_deg {
                        let _ = write!(out, "<gpxtpx:course>{heading}</gpxtpx:course>");
                    }
                    out.push_str("</gpxtpx:TrackPointExtension></extensions>");
                }
                out.push_str("</trkpt>\n");
            }
            out.push_str("</trkseg></trk>\n");
        }
        out.push_str("</gpx>\n");
    }
}

/// The elements of a waypoint come in the schema's order: time, name, desc, type.
fn waypoint(place: Place, time: Option<UnixMillis>, (name, desc, kind): (&str, Option<&str>, &str), out: &mut String) {
    let _ = write!(out, "<wpt{}>", at(place));
    if let Some(time) = time {
        let _ = write!(out, "<time>{}</time>", rfc3339(time));
    }
    let _ = write!(out, "<name>{}</name>", escaped(name));
    if let Some(desc) = desc {
        let _ = write!(out, "<desc>{}</desc>", escaped(desc));
    }
    let _ = writeln!(out, "<type>{kind}</type></wpt>");
}

fn at(place: Place) -> String {
    format!(r#" lat="{}" lon="{}""#, place.lat, place.lon)
}

/// Text for XML 1.0. What no XML may hold, not even escaped, becomes the replacement character.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\u{0}'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => {
                out.push('\u{fffd}')
            }
            // Read back as a line break otherwise.
            '\r' => out.push_str("&#13;"),
            _ => out.push(c),
        }
    }
    out
}
