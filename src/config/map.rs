//! Settings of the base map beneath the screens: where its files lie, or whose tiles are drawn instead.

use super::ConfigError;
use crate::geo::Datum;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// `[map]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MapSettings {
    /// A folder with `CELL.pmtiles` (vector tiles) and `CELL.geojson` (streets as lines, fences as polygons) of each cell that has
    /// them.
    pub folder: Option<PathBuf>,
    /// Raster tiles of somebody else, as `https://tiles.example/{z}/{x}/{y}.png`; they go before a cell's own.
    pub tiles_url: Option<String>,
    /// What those tiles are drawn in: `wgs84`, or `gcj02` as maps of China are.
    pub tiles_datum: Datum,
    /// Beyond it, the tiles of this zoom are enlarged.
    pub tiles_max_zoom: u8,
    /// Whose data the map shows, in plain text.
    pub attribution: String,
}

impl Default for MapSettings {
    fn default() -> Self {
        Self {
            folder: None,
            tiles_url: None,
            tiles_datum: Datum::Wgs84,
            tiles_max_zoom: 18,
            // Most files that one can get, and both that the docs tell how to make, come from there.
            attribution: "© OpenStreetMap contributors".into(),
        }
    }
}

/// The same, checked.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Map {
    pub folder: Option<PathBuf>,
    pub tiles: Option<Tiles>,
    pub attribution: String,
}

/// Tiles of somebody else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tiles {
    /// With `{z}`, `{x}` and `{y}`.
    pub url: String,
    /// Scheme, host and port, as a browser writes them: pages may load from there.
    pub origin: String,
    pub datum: Datum,
    pub max_zoom: u8,
}

/// A line under the map.
const ATTRIBUTION_MAX_CHARS: usize = 200;

impl MapSettings {
    /// Checks every key; whether the folder is there is seen when a node starts.
    pub fn check(&self) -> Result<Map, ConfigError> {
        let bad = |key, reason: String| ConfigError::Key { key, reason };
        let text = &self.attribution;
        if text.chars().count() > ATTRIBUTION_MAX_CHARS || text.chars().any(char::is_control) {
            return Err(bad(
                "map.attribution",
                format!("must be one line of at most {ATTRIBUTION_MAX_CHARS} characters"),
            ));
        }
        if !(1..=24).contains(&self.tiles_max_zoom) {
            return Err(bad("map.tiles_max_zoom", "must be 1 to 24".into()));
        }
        if self.tiles_datum == Datum::Bd09 {
            // Baidu's tiles have another grid as well.
            return Err(bad("map.tiles_datum", "must be wgs84 or gcj02".into()));
        }
        let tiles = self.tiles_url.as_ref().map(|url| -> Result<_, ConfigError> {
            let origin = tiles_origin(url).map_err(|reason| bad("map.tiles_url", reason))?;
            Ok(Tiles { url: url.clone(), origin, datum: self.tiles_datum, max_zoom: self.tiles_max_zoom })
        });
        Ok(Map { folder: self.folder.clone(), tiles: tiles.transpose()?, attribution: self.attribution.clone() })
    }
}

/// Where tiles of this address come from, or what is wrong with it. The address itself isn't repeated: it may hold a key.
fn tiles_origin(text: &str) -> Result<String, String> {
    const HOW: &str = "must be as https://tiles.example/{z}/{x}/{y}.png";
    let mut filled = text.to_owned();
    for place in ["{z}", "{x}", "{y}"] {
        if text.matches(place).count() != 1 {
            return Err(format!("{HOW}, with {place} once"));
        }
        filled = filled.replace(place, "1");
    }
    // Another placeholder would be asked for as it stands.
    if filled.contains(['{', '}']) {
        return Err(format!("{HOW}, with no other braces"));
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!("{HOW}, without spaces or other characters that a URL hasn't"));
    }
    let url = reqwest::Url::parse(&filled).map_err(|error| format!("{HOW}: {error}"))?;
    let authority = text.split("://").nth(1).and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or_default();
    if !matches!(url.scheme(), "http" | "https") || authority.contains('{') {
        return Err(HOW.into());
    }
    // Every page is told this address.
    if !url.username().is_empty() || url.password().is_some() {
        return Err(format!("{HOW}, without a user: all who open a page would see it"));
    }
    Ok(url.origin().ascii_serialization())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_come_from_one_origin_that_pages_may_load_from() {
        let of = |url: &str| MapSettings { tiles_url: Some(url.into()), ..MapSettings::default() }.check();
        for (url, origin) in [
            ("https://Tiles.example/{z}/{x}/{y}.png", "https://tiles.example"),
            ("http://127.0.0.1:8081/?x={x}&y={y}&z={z}&key=abc", "http://127.0.0.1:8081"),
            ("https://tiles.example:443/{z}/{y}/{x}", "https://tiles.example"),
        ] {
            let tiles = of(url).unwrap().tiles.unwrap();
            assert_eq!((tiles.url.as_str(), tiles.origin.as_str()), (url, origin));
            assert_eq!((tiles.datum, tiles.max_zoom), (Datum::Wgs84, 18));
        }
        for url in [
            "",
            "/tiles/{z}/{x}/{y}.png",
            "https://tiles.example/{z}/{x}.png",
            "https://{s}.tiles.example/{z}/{x}/{y}.png",
            "https://tiles{z}.example/{x}/{y}.png",
            "https://tiles.example/{z}/{x}/{y}/{z}.png",
            "ftp://tiles.example/{z}/{x}/{y}.png",
            "javascript:{z}{x}{y}",
            "https://me:hush@tiles.example/{z}/{x}/{y}.png",
            "https://tiles.example; script-src */{z}/{x}/{y}.png",
        ] {
            let error = of(url).unwrap_err().to_string();
            assert!(error.contains("map.tiles_url") && !error.contains("hush"), "{url}: {error}");
        }
    }

    #[test]
    fn checks_each_key() {
        let plain = MapSettings::default();
        let map = plain.check().unwrap();
        assert_eq!((map.folder, map.tiles, map.attribution.is_empty()), (None, None, false));
        for (settings, key) in [
            (MapSettings { tiles_datum: Datum::Bd09, ..plain.clone() }, "map.tiles_datum"),
            (MapSettings { tiles_max_zoom: 0, ..plain.clone() }, "map.tiles_max_zoom"),
            (MapSettings { tiles_max_zoom: 25, ..plain.clone() }, "map.tiles_max_zoom"),
            (MapSettings { attribution: "a\nb".into(), ..plain.clone() }, "map.attribution"),
            (MapSettings { attribution: "图".repeat(201), ..plain.clone() }, "map.attribution"),
        ] {
            assert!(settings.check().unwrap_err().to_string().contains(key), "{key}");
        }
        assert!(MapSettings { attribution: "图".repeat(200), ..plain }.check().is_ok());
    }
}
