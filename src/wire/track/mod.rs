//! An order's history as a file: JSON, GeoJSON, GPX 1.1 or CSV, for REST and for the command line.
//!
//! A writer takes the lines one after the other and appends text to a buffer that its caller empties, so that nobody
//! holds a whole history. Only what a line drawn on a map needs is kept until the end: an order's fixes (20,000 at most,
//! some 1.5 MB), since those that came late belong between others. Lines come in the order in which they were applied,
//! and are drawn in the order of their times.
//!
//! Coordinates are taken as they come: who asks for another datum converts lines and state first and names it.

mod csv;
mod geojson;
mod gpx;
mod turns;

use super::query::TrackRow;
use crate::{
    domain::{OrderId, UnixMillis},
    geo::Datum,
};
use geojson::GeoJson;
use gpx::Gpx;
use serde_json::Value;

/// The forms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    #[default]
    Json,
    GeoJson,
    Gpx,
    Csv,
}

impl Format {
    pub const ALL: [Self; 4] = [Self::Json, Self::GeoJson, Self::Gpx, Self::Csv];

    /// The name in URLs and on the command line, and the file's ending.
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::GeoJson => "geojson",
            Self::Gpx => "gpx",
            Self::Csv => "csv",
        }
    }

    /// Without parameters.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::GeoJson => "application/geo+json",
            Self::Gpx => "application/gpx+xml",
            Self::Csv => "text/csv",
        }
    }

    /// The one that `Accept` lines like best (RFC 9110, 12.5.1), JSON before the others; `None` if they take none.
    pub fn accepted(lines: &[&str]) -> Option<Self> {
        let ranges = lines.iter().flat_map(|line| line.split(',')).map(str::trim).filter(|range| !range.is_empty());
        if ranges.clone().next().is_none() {
            return Some(Self::Json);
        }
        let liking = |format: Self| {
            let fits = ranges.clone().filter_map(|range| fit(range, format.media_type()));
            fits.max_by_key(|(exactness, _)| *exactness).map_or(0, |(_, liking)| liking)
        };
        let best = Self::ALL.into_iter().rev().map(|format| (liking(format), format));
        best.max_by_key(|(liking, _)| *liking).filter(|(liking, _)| *liking > 0).map(|(_, format)| format)
    }
}

/// How exactly a media range names a type, and its weight in thousandths.
fn fit(range: &str, media_type: &str) -> Option<(u8, u16)> {
    let mut parts = range.split(';').map(|part| part.trim().to_ascii_lowercase());
    let named = parts.next()?;
    let of = named.strip_suffix("/*").is_some_and(|kind| media_type.split('/').next() == Some(kind));
    let exactness = match named.as_str() {
        "*/*" => 0,
        _ if of => 1,
        exact if exact == media_type => 2,
        _ => return None,
    };
    let weight = parts.find_map(|part| part.strip_prefix("q=").map(str::to_owned));
    let weight = weight.map_or(1.0, |text| text.parse::<f64>().unwrap_or(0.0).clamp(0.0, 1.0));
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1,000")]
    Some((exactness, libm::round(weight * 1_000.0) as u16))
}

impl std::str::FromStr for Format {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|format| format.name() == text);
        found.ok_or_else(|| format!("`{text}` is no format; they are {}", Self::ALL.map(Self::name).join(", ")))
    }
}

/// Which fixes are drawn as lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Drawn {
    /// Those that count. GeoJSON has the others as points with their mark.
    #[default]
    Good,
    All,
}

/// What a file says beside the lines.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    pub order: &'a OrderId,
    /// The order as it is now, in the operations' view: its warehouse, destination and planned route are taken.
    pub state: &'a Value,
    /// Of all coordinates.
    pub datum: Datum,
    pub drawn: Drawn,
}

/// Writes one history. Every call appends to `out`, which may be emptied between two.
#[derive(Debug)]
pub enum TrackWriter {
    /// The pages' own form, all in one.
    Json {
        is_first: bool,
    },
    GeoJson(Box<GeoJson>),
    Gpx(Box<Gpx>),
    Csv,
}

impl TrackWriter {
    /// Writes what comes before the first line.
    pub fn begin(format: Format, about: &About<'_>, out: &mut String) -> Self {
        match format {
            Format::Json => {
                out.push_str("{\"rows\":[");
                Self::Json { is_first: true }
            }
            Format::GeoJson => Self::GeoJson(Box::new(GeoJson::begin(about, out))),
            Format::Gpx => Self::Gpx(Box::new(Gpx::begin(about, out))),
            Format::Csv => {
                csv::head(out);
                Self::Csv
            }
        }
    }

    /// Writes a line, or keeps what has to wait.
    pub fn row(&mut self, row: &TrackRow, out: &mut String) {
        match self {
            Self::Json { is_first } => {
                if !std::mem::take(is_first) {
                    out.push(',');
                }
                out.push_str(&json(row));
            }
            Self::GeoJson(writer) => writer.row(row, out),
            Self::Gpx(writer) => writer.row(row, out),
            Self::Csv => csv::row(row, out),
        }
    }

    /// Writes the rest.
    pub fn end(self, out: &mut String) {
        match self {
            Self::Json { .. } => out.push_str("]}\n"),
            Self::GeoJson(writer) => writer.end(out),
            Self::Gpx(writer) => writer.end(out),
            Self::Csv => {}
        }
    }
}

/// Degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Place {
    lat: f64,
    lon: f64,
}

impl Place {
    fn of(state: &Value, name: &str) -> Option<Self> {
        let degrees = |axis| state.get(name)?.get(axis)?.as_f64();
        Some(Self { lat: degrees("lat")?, lon: degrees("lon")? })
    }

    fn of_row(row: &TrackRow) -> Option<Self> {
        Some(Self { lat: row.lat?, lon: row.lon? })
    }
}

/// The planned route's points.
fn route(state: &Value) -> Vec<Place> {
    let line = state.pointer("/route/coordinates").and_then(Value::as_array);
    let place = |pair: &Value| Some(Place { lon: pair.get(0)?.as_f64()?, lat: pair.get(1)?.as_f64()? });
    line.into_iter().flatten().filter_map(place).collect()
}

/// Where what happened is put on a map: where it happened, if that was reported, else where the rider was last seen, else
/// at the warehouse.
#[derive(Debug)]
struct Whereabouts {
    warehouse: Option<Place>,
    rider: Option<Place>,
    /// Of the fix that says so: one that comes late moves nobody back.
    seen: Option<UnixMillis>,
}

impl Whereabouts {
    fn new(state: &Value) -> Self {
        Self { warehouse: Place::of(state, "warehouse"), rider: None, seen: None }
    }

    /// The place, and how it is known.
    fn of(&mut self, row: &TrackRow) -> Option<(Place, &'static str)> {
        let reported = Place::of_row(row);
        if row.mark.as_deref() == Some("good") && reported.is_some() && row.fix_time_ms >= self.seen {
            (self.rider, self.seen) = (reported, row.fix_time_ms);
        }
        let or = |place: Option<Place>, basis| place.map(|place| (place, basis));
        or(reported, "reported").or_else(|| or(self.rider, "rider")).or_else(|| or(self.warehouse, "warehouse"))
    }
}

/// What a line is on a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    /// Something happened.
    Event,
    /// A fix, of which lines are drawn.
    Fix { good: bool },
    /// Another order of the trip was delivered or put in: nothing of this order's own.
    Nothing,
}

fn shown(row: &TrackRow) -> Shown {
    match row.kind.as_str() {
        "fix" => Shown::Fix { good: row.mark.as_deref() == Some("good") },
        "stops" => Shown::Nothing,
        // Kinds to come are events too.
        _ => Shown::Event,
    }
}

/// `stage packed`, `deliver`, …
fn title(row: &TrackRow) -> String {
    match &row.stage {
        Some(stage) if row.kind == "stage" => format!("stage {stage}"),
        Some(_) | None => row.kind.clone(),
    }
}

/// RFC 3339, UTC.
fn rfc3339(time: UnixMillis) -> String {
    jiff::Timestamp::from_millisecond(time.0).unwrap_or_default().to_string()
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn datum_name(datum: Datum) -> &'static str {
    match datum {
        Datum::Wgs84 => "WGS-84",
        Datum::Gcj02 => "GCJ-02",
        Datum::Bd09 => "BD-09",
    }
}

#[cfg(test)]
mod tests;
