//! What a page has to know before it shows anything: `GET /v1/screens`, which needs no token.

use super::schema::{DatumName, Id};
use crate::{domain::CellId, geo::Datum};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How this node's pages are set up. Nothing of it is secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Screens {
    /// The cell that the node owns or serves.
    #[schema(value_type = Id)]
    pub cell: CellId,
    /// Whether it serves without tokens.
    pub insecure: bool,
    /// Where those go who have no token: a URL or a path of this server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sign_in_url: Option<String>,
    pub base_map: BaseMap,
}

/// What lies beneath the map of the node's cell. `tiles` go before `pmtiles`; `ground` lies beneath either.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BaseMap {
    /// Path of the cell's vector tiles, a PMTiles file to be read by ranges.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pmtiles: Option<String>,
    /// Path of the cell's streets and fences as GeoJSON in WGS-84.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ground: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tiles: Option<TilesSource>,
    /// Whose data the map shows, in plain text.
    pub attribution: String,
}

/// Raster tiles of somebody else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TilesSource {
    /// With `{z}`, `{x}` and `{y}`.
    pub url: String,
    /// What they are drawn in: what stands on them has to be shifted.
    #[schema(value_type = DatumName)]
    pub datum: Datum,
    #[schema(minimum = 1, maximum = 24)]
    pub max_zoom: u8,
}
