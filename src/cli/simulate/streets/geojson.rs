//! Streets from GeoJSON: `LineString` and `MultiLineString` features. The class of a road is OpenStreetMap's `highway`, or
//! a number `c` from 1 (trunk) to 5 (residential); `oneway` or `o` says that it is ridden as it is drawn.

use super::{Class, Draft, StreetsError, osm};
use serde::Deserialize;
use serde_json::Value;
use std::path::Path;

#[derive(Debug, Deserialize)]
struct Collection {
    features: Vec<Feature>,
}

#[derive(Debug, Deserialize)]
struct Feature {
    #[serde(default)]
    properties: Option<serde_json::Map<String, Value>>,
    geometry: Option<Geometry>,
}

#[derive(Debug, Deserialize)]
struct Geometry {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    coordinates: Value,
}

pub(super) fn read(file: &Path) -> Result<Draft, StreetsError> {
    let name = file.display().to_string();
    let bytes = std::fs::read(file).map_err(|source| StreetsError::Read { file: name.clone(), source })?;
    parse(&bytes).map_err(|reason| StreetsError::Unreadable { file: name, reason })
}

fn parse(bytes: &[u8]) -> Result<Draft, String> {
    let Collection { features } = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    let mut draft = Draft::default();
    for (n, Feature { properties, geometry }) in features.into_iter().enumerate() {
        let Some(Geometry { kind, coordinates }) = geometry else { continue };
        let properties = properties.unwrap_or_default();
        let Some(class) = class(&properties) else { continue };
        let lines: Vec<Vec<Vec<f64>>> = match kind.as_str() {
            "LineString" => serde_json::from_value(coordinates).map(|line| vec![line]),
            "MultiLineString" => serde_json::from_value(coordinates),
            _ => continue,
        }
        .map_err(|e| format!("features[{n}].geometry.coordinates: {e}"))?;
        for line in lines {
            let places: Option<Vec<_>> = line.iter().map(|p| Some((*p.get(1)?, *p.first()?))).collect();
            let places = places.ok_or_else(|| format!("features[{n}]: a position needs longitude and latitude"))?;
            draft.street(places, class, one_way(&properties));
        }
    }
    Ok(draft)
}

/// `None` for what isn't ridden on.
fn class(properties: &serde_json::Map<String, Value>) -> Option<Class> {
    if let Some(highway) = properties.get("highway").and_then(Value::as_str) {
        return osm::class(highway);
    }
    Some(match properties.get("c").and_then(Value::as_u64) {
        Some(1) => Class::Trunk,
        Some(2) => Class::Primary,
        Some(3) => Class::Secondary,
        Some(4) => Class::Tertiary,
        Some(_) | None => Class::Residential,
    })
}

fn one_way(properties: &serde_json::Map<String, Value>) -> bool {
    ["oneway", "o"].into_iter().filter_map(|key| properties.get(key)).any(|value| match value {
        Value::Bool(yes) => *yes,
        Value::Number(number) => number.as_i64() == Some(1),
        Value::String(text) => matches!(text.as_str(), "yes" | "true" | "1"),
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_streets_joined_where_they_share_a_point() {
        let json = br#"{"type":"FeatureCollection","features":[
            {"type":"Feature","properties":{"c":1,"o":1},
             "geometry":{"type":"LineString","coordinates":[[121.0,31.0],[121.001,31.0],[121.002,31.0]]}},
            {"type":"Feature","properties":{"highway":"residential"},
             "geometry":{"type":"MultiLineString","coordinates":[[[121.001,31.0],[121.001,31.001]]]}},
            {"type":"Feature","properties":{"highway":"steps"},
             "geometry":{"type":"LineString","coordinates":[[121.0,31.0],[121.5,31.0]]}},
            {"type":"Feature","properties":null,"geometry":{"type":"Point","coordinates":[121.0,31.0]}}]}"#;
        let draft = parse(json).unwrap();
        assert_eq!((draft.places.len(), draft.pieces.len()), (4, 4));
        assert_eq!(draft.pieces[0].2, Class::Trunk);
        let bad = parse(br#"{"features":[{"geometry":{"type":"LineString","coordinates":[[1],[2]]}}]}"#);
        assert!(bad.unwrap_err().contains("features[0]"));
    }
}
