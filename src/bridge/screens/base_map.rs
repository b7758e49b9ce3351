//! The base map's files, from the folder that the settings name: `CELL.pmtiles`, which pages read by ranges, and
//! `CELL.geojson`. They may be replaced while the node runs: they are looked up at each request, and their ETag is that of
//! size and time.

use super::missing;
use crate::{
    bridge::{Inner, reject::Rejection},
    config::Map,
    domain::CellId,
    wire::{
        problem::Problem,
        screens::{BaseMap, TilesSource},
    },
};
use axum::{
    body::Body,
    extract::{Request, State},
    http::{
        HeaderMap, HeaderValue, Method, StatusCode,
        header::{CACHE_CONTROL, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_RANGE, LAST_MODIFIED, RANGE},
    },
    response::{IntoResponse, Response},
};
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};
use tower_http::services::ServeFile;

/// A kind of file of a cell.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Tiles,
    Ground,
}

impl Kind {
    fn end(self) -> &'static str {
        match self {
            Self::Tiles => "pmtiles",
            Self::Ground => "geojson",
        }
    }

    fn media_type(self) -> &'static str {
        match self {
            Self::Tiles => "application/vnd.pmtiles",
            Self::Ground => "application/geo+json",
        }
    }

    /// Where a cell's file lies, if it is there.
    async fn place(self, folder: Option<&Path>, cell: &CellId) -> Option<PathBuf> {
        let path = folder?.join(format!("{cell}.{}", self.end()));
        tokio::fs::metadata(&path).await.is_ok_and(|found| found.is_file()).then_some(path)
    }
}

/// What a page of this cell draws beneath its map, as it is now.
pub(in crate::bridge) async fn of(cell: &CellId, map: &Map) -> BaseMap {
    let path = async |kind: Kind| {
        let found = kind.place(map.folder.as_deref(), cell).await;
        found.map(|_| format!("/base-map/{cell}.{}", kind.end()))
    };
    BaseMap {
        pmtiles: path(Kind::Tiles).await,
        ground: path(Kind::Ground).await,
        tiles: map.tiles.as_ref().map(|tiles| TilesSource {
            url: tiles.url.clone(),
            datum: tiles.datum,
            max_zoom: tiles.max_zoom,
        }),
        attribution: map.attribution.clone(),
    }
}

/// `GET /base-map/{cell}.{pmtiles|geojson}`. A cell's id has neither dots nor slashes, so no path leads out of the folder.
pub(super) async fn serve(State(bridge): State<Arc<Inner>>, request: Request) -> Result<Response, Rejection> {
    let name = request.uri().path().rsplit('/').next().unwrap_or_default();
    let kind = |end: &str| [Kind::Tiles, Kind::Ground].into_iter().find(|kind| kind.end() == end);
    let asked = name.split_once('.').and_then(|(cell, end)| Some((cell.parse::<CellId>().ok()?, kind(end)?)));
    let Some((cell, kind)) = asked else { return Err(missing(request.uri())) };
    let folder = bridge.options.screens.map.folder.as_deref();
    let Some(path) = kind.place(folder, &cell).await else { return Err(missing(request.uri())) };
    let unreadable = |error: io::Error| {
        tracing::warn!(%error, file = %path.display(), "a file of the base map can't be read");
        Rejection::from(Problem::new(500, "internal", "The file can't be read"))
    };
    let mut response = answer(&path, kind, request).await.map_err(unreadable)?;
    if response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
        let problem = Problem::new(416, "range", "The file has no such range").with_field("Range");
        let range = response.headers_mut().remove(CONTENT_RANGE);
        response = Rejection::from(problem).into_response();
        response.headers_mut().extend(range.map(|range| (CONTENT_RANGE, range)));
        return Ok(response);
    }
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if headers.contains_key(CONTENT_TYPE) {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind.media_type()));
    }
    super::policy::of_file(headers);
    Ok(response)
}

/// GET or HEAD of a file that is there. GeoJSON that was compressed beforehand (`CELL.geojson.gz`, `.br`) is sent so.
async fn answer(path: &Path, kind: Kind, mut request: Request) -> io::Result<Response> {
    let file = || match kind {
        Kind::Tiles => ServeFile::new(path),
        Kind::Ground => ServeFile::new(path).precompressed_gzip().precompressed_br(),
    };
    // What serves the file doesn't know this header.
    if let Some(expected) = request.headers_mut().remove(IF_RANGE) {
        let mut head = Request::new(Body::empty());
        *head.method_mut() = Method::HEAD;
        let now = file().try_call(head).await?;
        if !is_same(&expected, now.headers()) {
            request.headers_mut().remove(RANGE);
        }
    }
    Ok(file().try_call(request).await?.map(Body::new))
}

/// `If-Range`: whether the client's part is of the file as it is now. Weak tags never are.
fn is_same(expected: &HeaderValue, now: &HeaderMap) -> bool {
    let is = |name| now.get(name).is_some_and(|value| value == expected);
    is(ETAG) || is(LAST_MODIFIED)
}
