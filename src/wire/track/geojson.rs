//! The history as GeoJSON (RFC 7946): one feature collection. Each feature's `what` says what it is:
//!
//! | what | geometry | from |
//! |---|---|---|
//! | `route` | line | the order as it is now |
//! | `warehouse`, `destination` | point | the order as it is now |
//! | `event` | point, with the `basis` of its place | each line but fixes |
//! | `eta` | point | each line that changed the published arrival |
//! | `fix` | point | each fix that isn't drawn, with its mark |
//! | `turn` | line (a point where there is one fix) | a rider's turn, with the times of its points |

use super::{About, Drawn, Place, Shown, Whereabouts, datum_name, json, route, shown, title, turns::Turns};
use crate::wire::query::TrackRow;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// See the module.
#[derive(Debug)]
pub struct GeoJson {
    drawn: Drawn,
    whereabouts: Whereabouts,
    turns: Turns,
    is_first: bool,
}

impl GeoJson {
    pub(super) fn begin(about: &About<'_>, out: &mut String) -> Self {
        let About { order, state, datum, drawn } = *about;
        let head = format!(r#""order":{},"datum":{}"#, json(order), json(&datum_name(datum)));
        let _ = write!(out, r#"{{"type":"FeatureCollection",{head},"features":["#);
        let whereabouts = Whereabouts::new(state);
        let mut writer = Self { drawn, whereabouts, turns: Turns::default(), is_first: true };
        let line = route(state);
        if line.len() > 1 {
            let line: Vec<_> = line.iter().map(|place| [place.lon, place.lat]).collect();
            let geometry = json!({"type": "LineString", "coordinates": line});
            writer.feature(&geometry, &json!({"what": "route"}), out);
        }
        for what in ["warehouse", "destination"] {
            if let Some(place) = Place::of(state, what) {
                let mut said = json!({ "what": what });
                for name in ["id", "name"] {
                    if let Some(value) = state.pointer(&format!("/{what}/{name}")) {
                        said[name] = value.clone();
                    }
                }
                writer.feature(&point(place), &said, out);
            }
        }
        writer
    }

    pub(super) fn row(&mut self, row: &TrackRow, out: &mut String) {
        let place = self.whereabouts.of(row);
        let what = match shown(row) {
            Shown::Fix { good } if good || self.drawn == Drawn::All => {
                self.turns.fix(row, good);
                None
            }
            Shown::Fix { .. } => Some("fix"),
            Shown::Event => {
                self.turns.event(row);
                Some("event")
            }
            Shown::Nothing => None,
        };
        if let Some(what) = what {
            self.told(what, row, place, out);
        }
        if row.eta_p50_ms.is_some() {
            self.told("eta", row, place, out);
        }
    }

    fn told(&mut self, what: &str, row: &TrackRow, place: Option<(Place, &str)>, out: &mut String) {
        let mut said = serde_json::to_value(row).unwrap_or_default();
        if let Some(said) = said.as_object_mut() {
            said.retain(|name, _| !matches!(name.as_str(), "lat" | "lon" | "patch"));
            said.insert("what".into(), what.into());
            said.insert("title".into(), title(row).into());
            said.extend(place.map(|(_, basis)| ("basis".to_owned(), Value::from(basis))));
        }
        self.feature(&place.map_or(Value::Null, |(place, _)| point(place)), &said, out);
    }

    fn feature(&mut self, geometry: &Value, properties: &Value, out: &mut String) {
        self.apart(out);
        let _ = write!(out, r#"{{"type":"Feature","geometry":{geometry},"properties":{properties}}}"#);
    }

    /// One feature to a line of text, so that files can be compared.
    fn apart(&mut self, out: &mut String) {
        out.push_str(if std::mem::take(&mut self.is_first) { "\n" } else { ",\n" });
    }

    pub(super) fn end(mut self, out: &mut String) {
        let (drawn, mut turns) = (self.drawn, std::mem::take(&mut self.turns));
        for turn in turns.cut() {
            self.apart(out);
            let (first, last) = (turn.fixes[0].time.0, turn.fixes[turn.fixes.len() - 1].time.0);
            out.push_str(r#"{"type":"Feature","geometry":"#);
            match turn.fixes {
                [one] => {
                    let _ = write!(out, "{}", point(one.place));
                }
                fixes => {
                    out.push_str(r#"{"type":"LineString","coordinates":"#);
                    list(fixes, out, |fix, out| write!(out, "[{},{}]", fix.place.lon, fix.place.lat));
                    out.push('}');
                }
            }
            let (rider, count) = (json(&turn.rider), turn.fixes.len());
            let _ = write!(out, r#","properties":{{"what":"turn","rider":{rider},"fixes":{count},"from_ms":{first},"#);
            let _ = write!(out, r#""to_ms":{last},"times_ms":"#);
            list(turn.fixes, out, |fix, out| write!(out, "{}", fix.time.0));
            out.push_str(r#","speeds_mps":"#);
            list(turn.fixes, out, |fix, out| maybe(fix.speed_mps, out));
            out.push_str(r#","accuracies_m":"#);
            list(turn.fixes, out, |fix, out| maybe(fix.accuracy_m, out));
            if drawn == Drawn::All {
                out.push_str(r#","good":"#);
                list(turn.fixes, out, |fix, out| write!(out, "{}", fix.good));
            }
            out.push_str("}}");
        }
        out.push_str("\n]}\n");
    }
}

fn point(place: Place) -> Value {
    json!({"type": "Point", "coordinates": [place.lon, place.lat]})
}

fn list<T>(items: &[T], out: &mut String, each: impl Fn(&T, &mut String) -> std::fmt::Result) {
    out.push('[');
    for (n, item) in items.iter().enumerate() {
        if n > 0 {
            out.push(',');
        }
        let _ = each(item, out);
    }
    out.push(']');
}

fn maybe(value: Option<f32>, out: &mut String) -> std::fmt::Result {
    match value {
        Some(value) => write!(out, "{value}"),
        None => out.write_str("null"),
    }
}
