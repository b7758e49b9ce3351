//! Planned routes in and out: GeoJSON, encoded polylines, GPX. Whatever form one comes in, the state keeps WGS-84 points,
//! so a route can be had in another form than it was given in.

use super::{FieldError, command::Coordinates, gpx};
use crate::{domain::order::Route, geo::Datum};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

/// Most points of a planned route.
pub const MAX_ROUTE_POINTS: usize = 10_000;

/// A planned route: an encoded polyline, a GeoJSON LineString, or GPX; 2 to 10,000 points.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum RouteBody {
    Polyline {
        #[schema(example = "_p~iF~ps|U_ulLnnqC")]
        polyline: String,
        /// Decimals: 5 or 6.
        #[schema(minimum = 5, maximum = 6)]
        precision: u8,
    },
    GeoJson {
        #[serde(rename = "type")]
        #[schema(pattern = "^LineString$")]
        kind: String,
        /// `[lon, lat]`, as GeoJSON has it.
        #[schema(value_type = Vec<Vec<f64>>, min_items = 2, max_items = 10_000)]
        coordinates: Vec<(f64, f64)>,
    },
    Gpx {
        /// A GPX document: the segments of its first track, joined, or else its first route. No DTD.
        gpx: String,
    },
}

impl RouteBody {
    /// From which [`Rules::rules_version`](crate::domain::Rules::rules_version) on an order may come with it: until a cell
    /// switches, both versions of the program refuse what only the newer can read.
    pub fn rules_version(&self) -> u32 {
        match self {
            Self::Polyline { .. } | Self::GeoJson { .. } => 1,
            Self::Gpx { .. } => 3,
        }
    }

    /// The route in WGS-84. Errors name `route`, its member or its point.
    pub fn route(self, datum: Datum) -> Result<Route, FieldError> {
        let is_gpx = matches!(self, Self::Gpx { .. });
        let degrees: Vec<(f64, f64)> = match self {
            Self::Polyline { polyline, precision } => decode_polyline(&polyline, precision)?,
            Self::GeoJson { kind, coordinates } if kind == "LineString" => {
                coordinates.into_iter().map(|(lon, lat)| (lat, lon)).collect()
            }
            Self::GeoJson { .. } => return Err(FieldError::new("route.type", "must be LineString")),
            Self::Gpx { gpx } => gpx::parse(&gpx, MAX_ROUTE_POINTS).map_err(in_gpx)?,
        };
        if !(2..=MAX_ROUTE_POINTS).contains(&degrees.len()) {
            let field = if is_gpx { "route.gpx" } else { "route" };
            return Err(FieldError::new(field, format!("must have 2 to {MAX_ROUTE_POINTS} points")));
        }
        let point = |(i, (lat, lon))| {
            let bad = |e: FieldError| match is_gpx {
                true => in_gpx(format!("point {i}: {}", e.reason)),
                false => e.within(&format!("route[{i}]")),
            };
            Coordinates { lat, lon }.point(datum).map_err(bad)
        };
        Ok(Route { points: degrees.into_iter().enumerate().map(point).collect::<Result<_, _>>()? })
    }
}

fn in_gpx(reason: impl ToString) -> FieldError {
    FieldError::new("route.gpx", reason.to_string())
}

/// Google's encoded polyline algorithm, precision 5 or 6. Gives `(lat, lon)` in degrees.
pub fn decode_polyline(text: &str, precision: u8) -> Result<Vec<(f64, f64)>, FieldError> {
    let scale = scale(precision).ok_or_else(|| FieldError::new("route.precision", "must be 5 or 6"))?;
    let bad = || FieldError::new("route.polyline", "is no encoded polyline");
    let mut bytes = text.bytes();
    let mut number = || -> Result<Option<i64>, FieldError> {
        let (mut value, mut shift) = (0i64, 0u32);
        loop {
            let Some(byte) = bytes.next() else {
                return if shift == 0 { Ok(None) } else { Err(bad()) };
            };
            let chunk = i64::from(byte.checked_sub(63).filter(|c| *c < 64).ok_or_else(bad)?);
            if shift > 35 {
                return Err(bad());
            }
            value |= (chunk & 0x1f) << shift;
            shift += 5;
            if chunk & 0x20 == 0 {
                return Ok(Some(if value & 1 == 1 { !(value >> 1) } else { value >> 1 }));
            }
        }
    };
    let (mut lat, mut lon) = (0i64, 0i64);
    let mut points = Vec::new();
    while let Some(d_lat) = number()? {
        lat += d_lat;
        lon += number()?.ok_or_else(bad)?;
        points.push((lat as f64 / scale, lon as f64 / scale));
    }
    Ok(points)
}

/// The same backwards: `(lat, lon)` in degrees, rounded to `precision` decimals, which is 5 or 6.
pub fn encode_polyline(points: &[(f64, f64)], precision: u8) -> Option<String> {
    let scale = scale(precision)?;
    let mut text = String::with_capacity(points.len() * 8);
    let mut push = |delta: i64| {
        let mut rest = if delta < 0 { !(delta << 1) } else { delta << 1 }.cast_unsigned();
        loop {
            let chunk = rest & 0x1f;
            rest >>= 5;
            let more = if rest > 0 { 0x20 } else { 0 };
            text.push(char::from(u8::try_from(chunk | more).unwrap_or_default() + 63));
            if rest == 0 {
                return;
            }
        }
    };
    #[allow(clippy::cast_possible_truncation, reason = "degrees on the globe times a million")]
    let units = |degrees: f64| (degrees * scale).round() as i64;
    let (mut lat, mut lon) = (0, 0);
    for point in points {
        let next = (units(point.0), units(point.1));
        push(next.0 - lat);
        push(next.1 - lon);
        (lat, lon) = next;
    }
    Some(text)
}

fn scale(precision: u8) -> Option<f64> {
    match precision {
        5 => Some(1e5),
        6 => Some(1e6),
        _ => None,
    }
}

/// In which form a planned route is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RouteFormat {
    #[default]
    GeoJson,
    Polyline5,
    Polyline6,
    Gpx,
}

impl RouteFormat {
    pub const ALL: [Self; 4] = [Self::GeoJson, Self::Polyline5, Self::Polyline6, Self::Gpx];

    /// The name in queries.
    pub fn name(self) -> &'static str {
        match self {
            Self::GeoJson => "geojson",
            Self::Polyline5 => "polyline5",
            Self::Polyline6 => "polyline6",
            Self::Gpx => "gpx",
        }
    }

    pub fn media_type(self) -> &'static str {
        match self {
            Self::GeoJson => "application/geo+json",
            Self::Polyline5 | Self::Polyline6 => "application/json",
            Self::Gpx => "application/gpx+xml",
        }
    }

    /// The body of an answer. What is JSON is what a create takes as its `route`. `None` for a line of no points.
    pub fn body(self, name: &str, line: &[(f64, f64)]) -> Option<String> {
        if line.is_empty() {
            return None;
        }
        let polyline = |precision| Some(json!({"polyline": encode_polyline(line, precision)?, "precision": precision}));
        match self {
            Self::GeoJson => {
                let coordinates: Vec<Value> = line.iter().map(|(lat, lon)| json!([lon, lat])).collect();
                Some(json!({"type": "LineString", "coordinates": coordinates}).to_string())
            }
            Self::Polyline5 => polyline(5).map(|body| body.to_string()),
            Self::Polyline6 => polyline(6).map(|body| body.to_string()),
            Self::Gpx => Some(gpx::print(name, line)),
        }
    }
}

impl std::str::FromStr for RouteFormat {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|f| f.name() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("`{text}` is no format; the formats are {names}")
        })
    }
}

/// The points of a state's `route`, as `(lat, lon)`.
pub fn line_of(route: &Value) -> Vec<(f64, f64)> {
    let pairs = route.get("coordinates").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    pairs.iter().filter_map(|pair| Some((pair.get(1)?.as_f64()?, pair.get(0)?.as_f64()?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The example of the format's published description.
    #[test]
    fn codes_the_published_polyline() {
        let text = "_p~iF~ps|U_ulLnnqC_mqNvxq`@";
        let points = decode_polyline(text, 5).unwrap();
        assert_eq!(points, [(38.5, -120.2), (40.7, -120.95), (43.252, -126.453)]);
        assert_eq!(encode_polyline(&points, 5).unwrap(), text);
        assert_eq!(decode_polyline("_p~iF", 5).unwrap_err().field, "route.polyline");
        assert_eq!(decode_polyline("", 4).unwrap_err().field, "route.precision");
        assert_eq!(encode_polyline(&points, 4), None);
    }

    #[test]
    fn every_form_of_one_route_is_the_same_route() {
        let line = [(31.2, 121.4), (31.205, 121.41), (31.21, 121.45)];
        let given = |format: RouteFormat| {
            let body = format.body("o1", &line).unwrap();
            let body = if format == RouteFormat::Gpx { json!({"gpx": body}) } else { body.parse().unwrap() };
            serde_json::from_value::<RouteBody>(body).unwrap().route(Datum::Wgs84).unwrap()
        };
        let plain = given(RouteFormat::GeoJson);
        assert_eq!(plain.points.len(), 3);
        for format in RouteFormat::ALL {
            assert_eq!(given(format), plain, "{format:?}");
            assert_eq!(format.name().parse(), Ok(format));
        }
        assert!("kml".parse::<RouteFormat>().unwrap_err().contains("geojson, polyline5"));
        assert_eq!(line_of(&json!({"coordinates": [[121.4, 31.2]]})), [(31.2, 121.4)]);
        assert_eq!(RouteFormat::Gpx.body("o1", &[]), None);
    }

    #[test]
    fn errors_name_the_form() {
        let field = |body: Value| serde_json::from_value::<RouteBody>(body).unwrap().route(Datum::Wgs84).unwrap_err();
        let one = r#"<gpx><rte><rtept lat="1" lon="2"/></rte></gpx>"#;
        assert_eq!(field(json!({"gpx": one})).field, "route.gpx");
        let off = r#"<gpx><rte><rtept lat="1" lon="2"/><rtept lat="91" lon="2"/></rte></gpx>"#;
        let error = field(json!({"gpx": off}));
        assert_eq!((error.field.as_str(), error.reason.contains("point 1: lat is 91")), ("route.gpx", true), "{error}");
        assert_eq!(field(json!({"gpx": "<gpx>"})).field, "route.gpx");
        assert_eq!(field(json!({"polyline": "_p~iF~ps|U", "precision": 5})).field, "route");
        let off = json!({"type": "LineString", "coordinates": [[1, 2], [1, 91]]});
        assert_eq!(field(off).field, "route[1].lat");
    }

    proptest! {
        #[test]
        fn coding_keeps_a_line_at_its_precision(
            units in prop::collection::vec((-90_000_000..=90_000_000_i64, -180_000_000..=180_000_000_i64), 0..40),
            precision in 5..=6_u8,
        ) {
            let scale = scale(precision).unwrap();
            let degree = 10_i64.pow(precision.into());
            let line: Vec<_> = units
                .iter()
                .map(|(lat, lon)| (lat % (90 * degree + 1), lon % (180 * degree + 1)))
                .map(|(lat, lon)| (lat as f64 / scale, lon as f64 / scale))
                .collect();
            let text = encode_polyline(&line, precision).unwrap();
            prop_assert_eq!(decode_polyline(&text, precision).unwrap(), line);
        }

        /// Of any line, the nearest that the precision has.
        #[test]
        fn coding_rounds(lat in -90.0..=90.0, lon in -180.0..=180.0, precision in 5..=6_u8) {
            let half = 0.500_001 / scale(precision).unwrap();
            let text = encode_polyline(&[(lat, lon), (lon / 2.0, lat)], precision).unwrap();
            let back = decode_polyline(&text, precision).unwrap();
            prop_assert!((back[0].0 - lat).abs() <= half && (back[0].1 - lon).abs() <= half);
            prop_assert!((back[1].0 - lon / 2.0).abs() <= half && (back[1].1 - lat).abs() <= half);
            prop_assert_eq!(encode_polyline(&back, precision).unwrap(), text);
        }

        #[test]
        fn any_text_is_decoded_or_refused(text in ".{0,200}", precision: u8) {
            let _ = decode_polyline(&text, precision);
        }
    }
}
