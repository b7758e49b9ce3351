//! Histories over HTTP: an order's own, page by page or as a file, and which orders passed a place.
//!
//! A file is written while it is read, one page ahead of the client, so that a long history costs little more than a short
//! one. What fails after the first page breaks the response off.

use super::{
    asked::{DatumParams, OrderPath, PassedParams, TrackParams},
    docs::ReadProblems,
    reads::{Answer, found, take_box, take_limit, take_millis},
};
use crate::{
    bridge::{
        Inner,
        commands::id,
        datum::{convert_order, converted},
        gate::{Asked, take_datum},
        params::Params,
        reject::{Path, Rejection},
        source::{SnapshotSource, SourceError},
    },
    domain::OrderId,
    geo::Datum,
    wire::{
        FieldError,
        access::Right,
        area::Area,
        query::{OrderQuery, PassedPage, PassedQuery, TrackPage, TrackQuery, TrackRow},
        schema::TrackCollection,
        track::{About, Drawn, Format, TrackWriter},
        view::project,
    },
};
use axum::{
    Json,
    body::Body,
    extract::State,
    http::{
        HeaderMap, HeaderValue,
        header::{ACCEPT, CONTENT_DISPOSITION, CONTENT_TYPE, VARY},
    },
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use std::sync::Arc;

/// An order's history: what came, and what it changed. JSON in pages, the other forms whole
#[utoipa::path(
    get,
    path = "/v1/orders/{order}/track",
    tag = "orders",
    params(OrderPath, TrackParams, DatumParams),
    responses(
        (
            status = 200,
            description = "In the order in which it was applied. GeoJSON and GPX draw the good fixes as a line per rider's \
                           turn, by time; CSV has every line of the history",
            content(
                (TrackPage = "application/json"),
                (TrackCollection = "application/geo+json"),
                (String = "application/gpx+xml"),
                (String = "text/csv"),
            ),
        ),
        ReadProblems,
    ),
)]
pub(super) async fn track(
    State(bridge): State<Arc<Inner>>,
    Path(order): Path<String>,
    headers: HeaderMap,
    Asked { who, mut params }: Asked,
) -> Result<Response, Rejection> {
    let order: OrderId = id("order", &order)?;
    bridge.permit_order(&who, Right::ReadTrack, &order).await?;
    let datum = take_datum(&mut params)?;
    let format = match params.take("format") {
        Some(text) => text.parse().map_err(|e: String| FieldError::new("format", e))?,
        None => accepted(&headers).unwrap_or_default(),
    };
    let (after, limit, drawn) = (params.parse("after")?, take_limit(&mut params)?, take_drawn(&mut params)?);
    params.end()?;
    let ask = TrackQuery { after, limit, ..TrackQuery::all(order.clone()) };
    if format == Format::Json {
        if drawn.is_some() {
            return Err(FieldError::new("fixes", "goes with lines: `format` geojson or gpx").into());
        }
        let mut page = found(bridge.ports.source.track(ask).await, "order")?;
        page.rows.iter_mut().for_each(|row| convert_row(row, datum));
        return Ok(([(VARY, "accept")], Json(page)).into_response());
    }
    if let Some(field) = after.map(|_| "after").or(limit.map(|_| "limit")) {
        return Err(FieldError::new(field, "goes with `format=json`: the other forms are whole").into());
    }
    let snapshot = bridge.order_for(&who, Right::ReadTrack, OrderQuery { order: order.clone() }).await?;
    let mut state = project(who.role.view(), &snapshot.state, None);
    convert_order(&mut state, datum);
    let page = found(bridge.ports.source.track(ask).await, "order")?;
    let mut text = String::new();
    let about = About { order: &order, state: &state, datum, drawn: drawn.unwrap_or_default() };
    let writer = TrackWriter::begin(format, &about, &mut text);
    let name = format!("attachment; filename=\"{order}.{}\"", format.name());
    let export = Export { source: bridge.ports.source.clone(), order, datum, text, left: Some((writer, page)) };
    let body = Body::from_stream(futures::stream::try_unfold(export, Export::step));
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type(format)));
    headers.insert(VARY, HeaderValue::from_static("accept"));
    // An identifier is always a header's text.
    if let Ok(name) = HeaderValue::from_str(&name) {
        headers.insert(CONTENT_DISPOSITION, name);
    }
    Ok(response)
}

/// The form that the client takes best.
fn accepted(headers: &HeaderMap) -> Option<Format> {
    let lines: Vec<_> = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    Format::accepted(&lines)
}

fn content_type(format: Format) -> &'static str {
    match format {
        Format::Csv => "text/csv; charset=utf-8; header=present",
        Format::Json | Format::GeoJson | Format::Gpx => format.media_type(),
    }
}

fn take_drawn(params: &mut Params) -> Result<Option<Drawn>, FieldError> {
    match params.take("fixes").as_deref() {
        None => Ok(None),
        Some("good") => Ok(Some(Drawn::Good)),
        Some("all") => Ok(Some(Drawn::All)),
        Some(_) => Err(FieldError::new("fixes", "must be good or all")),
    }
}

fn convert_row(row: &mut TrackRow, datum: Datum) {
    if let (Some(lat), Some(lon)) = (row.lat, row.lon) {
        let (lat, lon) = converted(datum, lat, lon);
        (row.lat, row.lon) = (Some(lat), Some(lon));
    }
}

/// A file that is being written.
struct Export {
    source: Arc<dyn SnapshotSource>,
    order: OrderId,
    datum: Datum,
    /// Written and not sent yet.
    text: String,
    /// The writer and the page that it writes next; `None` at the end.
    left: Option<(TrackWriter, TrackPage)>,
}

impl Export {
    /// Writes a page, and reads the next one. Called when what was written before is taken.
    async fn step(mut self) -> Result<Option<(Bytes, Self)>, SourceError> {
        let Some((mut writer, page)) = self.left.take() else { return Ok(None) };
        let mut text = std::mem::take(&mut self.text);
        for mut row in page.rows {
            convert_row(&mut row, self.datum);
            writer.row(&row, &mut text);
        }
        match page.next {
            Some(after) => {
                let ask = TrackQuery { after: Some(after), ..TrackQuery::all(self.order.clone()) };
                let page = self.source.track(ask).await?;
                let gone = || SourceError::Garbled("the history ended before its end".into());
                self.left = Some((writer, page.ok_or_else(gone)?));
            }
            None => writer.end(&mut text),
        }
        Ok(Some((text.into(), self)))
    }
}

/// Which orders passed here between then and then, by their riders' good fixes
#[utoipa::path(
    get,
    path = "/v1/passed",
    tag = "orders",
    params(PassedParams, DatumParams),
    responses((status = 200, description = "A page, by the orders' ids", body = PassedPage), ReadProblems),
)]
pub(super) async fn passed(State(bridge): State<Arc<Inner>>, Asked { who, mut params }: Asked) -> Answer<PassedPage> {
    bridge.permit(&who, Right::ReadTrack)?;
    let datum = take_datum(&mut params)?;
    let fence = params.take("fence").map(|text| Area::parse_fence(&text, datum)).transpose()?;
    let (within, area) = match (take_box(&mut params, datum)?, fence) {
        (Some(area), None) => (area, "box"),
        (None, Some(area)) => (area, "fence"),
        (Some(_), Some(_)) => return Err(FieldError::new("fence", "is not given beside a box").into()),
        (None, None) => return Err(FieldError::new("box", "is missing; a fence does as well").into()),
    };
    let missing = |field: &'static str| move || FieldError::new(field, "is missing");
    let ask = PassedQuery {
        within,
        from_ms: take_millis(&mut params, "from_ms")?.ok_or_else(missing("from_ms"))?,
        to_ms: take_millis(&mut params, "to_ms")?.ok_or_else(missing("to_ms"))?,
        after: params.parse("cursor")?,
        limit: take_limit(&mut params)?,
    };
    params.end()?;
    let page = bridge.ports.source.passed(ask).await.map_err(|error| match error {
        // As the client calls it.
        SourceError::Question(FieldError { field, reason }) if field == "within" => {
            SourceError::Question(FieldError { field: area.into(), reason })
        }
        error @ (SourceError::Question(_)
        | SourceError::Unreachable(_)
        | SourceError::Unavailable(_)
        | SourceError::Garbled(_)) => error,
    });
    Ok(Json(found(page, "cell")?))
}
