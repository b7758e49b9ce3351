//! Alerts over HTTP: listed and read as the owner has them, acknowledged by a command to their order.

use super::{
    asked::{AlertPath, AlertsParams, CommandHeaders, DatumParams},
    commands,
    docs::{CommandProblems, ReadProblems},
    reads::{found, take_limit, take_millis},
};
use crate::{
    bridge::{
        Inner,
        datum::convert_place,
        gate::{Asked, take_datum},
        params::Params,
        reject::{IfMatch, Json as Payload, Key, Path, Rejection},
    },
    domain::{OrderId, Verb, alert::AlertState},
    geo::Datum,
    wire::{
        FieldError,
        access::Right,
        alert::{AlertBody, AlertCursor, AlertPage, AlertQuery, AlertsQuery, parse_alert_id},
        answer::Acceptance,
        command::CommandBody,
        parse_json,
    },
};
use axum::{Json, extract::State, response::Response};
use serde::Deserialize;
use std::{str::FromStr, sync::Arc};
use utoipa::ToSchema;

/// What is listed unless another state is asked for: what somebody may have to do something about.
const OPEN: [AlertState; 2] = [AlertState::Raised, AlertState::Acknowledged];

/// The order and the number that an alert's id in a path names.
fn parts(alert: &str) -> Result<(OrderId, u32), FieldError> {
    parse_alert_id(alert).ok_or_else(|| FieldError::new("alert", "must be an order's id, a dot and a number"))
}

/// `kind=late,stalled`.
fn take_names<T: FromStr<Err = String>>(params: &mut Params, name: &str) -> Result<Option<Vec<T>>, FieldError> {
    let parse = |part: &str| part.parse().map_err(|e| FieldError::new(name, e));
    params.take(name).map(|text| text.split(',').map(parse).collect()).transpose()
}

/// The fixes that an alert rests on, in the client's datum.
fn in_datum(mut alert: AlertBody, datum: Datum) -> AlertBody {
    alert.evidence.fixes.iter_mut().for_each(|fix| convert_place(fix, datum));
    alert
}

/// Alerts, those detected last first; without `state`, the open ones
#[utoipa::path(
    get,
    path = "/v1/alerts",
    tag = "alerts",
    params(AlertsParams, DatumParams),
    responses((status = 200, description = "A page", body = AlertPage), ReadProblems),
)]
pub(super) async fn list(
    State(bridge): State<Arc<Inner>>,
    Asked { who, mut params }: Asked,
) -> Result<Json<AlertPage>, Rejection> {
    bridge.permit(&who, Right::ReadAlerts)?;
    let datum = take_datum(&mut params)?;
    let ask = AlertsQuery {
        state: take_names(&mut params, "state")?.unwrap_or_else(|| OPEN.to_vec()),
        kind: take_names(&mut params, "kind")?.unwrap_or_default(),
        severity: take_names(&mut params, "severity")?.unwrap_or_default(),
        order: params.parse("order")?,
        rider: params.parse("rider")?,
        from_ms: take_millis(&mut params, "from_ms")?,
        to_ms: take_millis(&mut params, "to_ms")?,
        after: params.parse::<AlertCursor>("cursor")?.map(|cursor| cursor.to_string()),
        limit: take_limit(&mut params)?,
    };
    params.end()?;
    let AlertPage { alerts, next } = found(bridge.ports.source.alerts(ask).await, "cell")?;
    Ok(Json(AlertPage { alerts: alerts.into_iter().map(|alert| in_datum(alert, datum)).collect(), next }))
}

/// An alert as it is now
#[utoipa::path(
    get,
    path = "/v1/alerts/{alert}",
    tag = "alerts",
    params(AlertPath, DatumParams),
    responses((status = 200, description = "The alert", body = AlertBody), ReadProblems),
)]
pub(super) async fn one(
    State(bridge): State<Arc<Inner>>,
    Path(alert): Path<String>,
    Asked { who, mut params }: Asked,
) -> Result<Json<AlertBody>, Rejection> {
    bridge.permit_order(&who, Right::ReadAlerts, &parts(&alert)?.0).await?;
    let datum = take_datum(&mut params)?;
    params.end()?;
    let alert = found(bridge.ports.source.alert(AlertQuery { alert }).await, "alert")?;
    Ok(Json(in_datum(alert, datum)))
}

/// What somebody writes to an alert.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct NoteBody {
    /// What was found or done, for people: no control characters.
    #[schema(
        min_length = 1,
        max_length = 500,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$",
        required = false,
        nullable = false
    )]
    note: Option<String>,
}

/// Take note of an alert. What nothing can mend any more is cleared with it
#[utoipa::path(
    post,
    path = "/v1/alerts/{alert}/acknowledge",
    tag = "alerts",
    params(AlertPath, CommandHeaders),
    request_body = NoteBody,
    responses((status = 200, description = "It took effect, and is stored", body = Acceptance), CommandProblems),
)]
pub(super) async fn acknowledge(
    State(bridge): State<Arc<Inner>>,
    Path(alert): Path<String>,
    Asked { who, params }: Asked,
    Key(key): Key,
    IfMatch(if_match): IfMatch,
    Payload(payload): Payload,
) -> Result<Response, Rejection> {
    let (order, n) = parts(&alert)?;
    bridge.permit_order(&who, Right::Acknowledge, &order).await?;
    let NoteBody { note } = if payload.is_empty() { NoteBody::default() } else { parse_json(&payload)? };
    // The order itself can't tell one that it never raised from one that is long cleared.
    found(bridge.ports.source.alert(AlertQuery { alert }).await, "alert")?;
    let body = CommandBody { alert: Some(n), note, ..CommandBody::default() };
    let command = serde_json::to_vec(&body).map_err(|e| FieldError::new("payload", e.to_string()))?.into();
    commands::order(&bridge, Verb::Acknowledge, order.as_str(), Asked { who, params }, (key, if_match), command).await
}
