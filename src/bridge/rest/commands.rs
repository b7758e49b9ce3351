//! Commands over HTTP. Each is checked with the same parsers that the log's reader uses, so that what gets a 400 here
//! never enters the log; then it is published, and the answer waits for the outcome.

use crate::{
    bridge::{
        Inner,
        answers::Command,
        gate::Asked,
        reject::{IfMatch, Json, Key, Path, Rejection},
    },
    domain::{OrderId, RiderId, Stage, UnixMillis, Verb, WarehouseId, cell::Input, ids::IdError},
    wire::{
        FieldError,
        access::Right,
        answer::Outcome,
        command::{CommandBody, check_key},
        log::{Raw, decode},
        parse_json,
        problem::Problem,
        query::OrderQuery,
        subject::LogSubject,
    },
};
use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use std::{str::FromStr, sync::Arc};

/// An id of the path.
pub(super) fn id<T: FromStr<Err = IdError>>(field: &str, text: &str) -> Result<T, Rejection> {
    text.parse().map_err(|e: IdError| Problem::from(FieldError::new(field, e.to_string())).into())
}

fn no_verb(text: &str, verbs: &str) -> Rejection {
    let detail = format!("`{text}` is no verb; the verbs are {verbs}");
    Problem::new(404, "unknown_verb", "There is no such verb").with_field("verb").with_detail(detail).into()
}

/// `POST /v1/orders/{order}/{verb}`
pub(super) async fn order(
    State(bridge): State<Arc<Inner>>,
    Path((order, verb)): Path<(String, String)>,
    Asked { who, params }: Asked,
    Key(key): Key,
    IfMatch(if_match): IfMatch,
    Json(payload): Json,
) -> Result<Response, Rejection> {
    let order: OrderId = id("order", &order)?;
    let verb = match verb.parse::<Verb>() {
        Ok(verb) if verb != Verb::Create => verb,
        Ok(_) | Err(_) => return Err(no_verb(&verb, "pay, cancel, assign, unassign, deliver")),
    };
    params.end()?;
    bridge.permit_order(&who, right(verb), OrderQuery { order: order.clone() }).await?;
    let payload = with_rev(payload, if_match)?;
    let subject = LogSubject::Order { cell: bridge.cell.clone(), order, verb: verb.name().into() };
    check_key(key.as_deref())?;
    submit(&bridge, Command { subject, payload, idempotency_key: key, publisher: who.publisher() }).await
}

/// What it takes to give an order this command.
fn right(verb: Verb) -> Right {
    match verb {
        Verb::Create => Right::Create,
        Verb::Pay => Right::Pay,
        Verb::Cancel => Right::Cancel,
        Verb::Assign => Right::Assign,
        Verb::Unassign => Right::Unassign,
        Verb::Deliver => Right::Deliver,
        Verb::Fail => Right::Fail,
        Verb::Return => Right::Return,
        Verb::Missing => Right::Missing,
        Verb::Edit => Right::Edit,
    }
}

/// `POST /v1/warehouses/{warehouse}/orders/{order}/stages/{stage}`. A stage repeated changes nothing, so it needs no key.
pub(super) async fn stage(
    State(bridge): State<Arc<Inner>>,
    Path((warehouse, order, stage)): Path<(String, String, String)>,
    Asked { who, params }: Asked,
    Key(idempotency_key): Key,
    Json(payload): Json,
) -> Result<Response, Rejection> {
    params.end()?;
    let warehouse: WarehouseId = id("warehouse", &warehouse)?;
    bridge.permit_id(&who, Right::Stage, "warehouse", warehouse.as_str())?;
    let stage = stage.parse::<Stage>().map_err(|e| FieldError::new("stage", e))?;
    let (order, cell) = (id("order", &order)?, bridge.cell.clone());
    let publisher = format!("warehouse.{warehouse}");
    let subject = LogSubject::Warehouse { cell, warehouse, order, stage: stage.name().into() };
    submit(&bridge, Command { subject, payload, idempotency_key, publisher }).await
}

/// `POST /v1/riders/{rider}/{fix,fixes,shift,trip,delivered}`. Fixes carry their own identity, shift and trip say how
/// things are, and an order is delivered once: a key is taken, but not asked for.
pub(super) async fn rider(
    State(bridge): State<Arc<Inner>>,
    Path((rider, verb)): Path<(String, String)>,
    Asked { who, params }: Asked,
    Key(idempotency_key): Key,
    Json(payload): Json,
) -> Result<Response, Rejection> {
    params.end()?;
    let rider: RiderId = id("rider", &rider)?;
    bridge.permit_id(&who, Right::Report, "rider", rider.as_str())?;
    if !["fix", "fixes", "shift", "trip", "delivered"].contains(&verb.as_str()) {
        return Err(no_verb(&verb, "fix, fixes, shift, trip, delivered"));
    }
    let publisher = format!("rider.{rider}");
    let subject = LogSubject::Rider { cell: bridge.cell.clone(), rider, verb };
    submit(&bridge, Command { subject, payload, idempotency_key, publisher }).await
}

/// `If-Match` as the body's `if_rev`; both are welcome if they agree.
fn with_rev(payload: Bytes, if_match: Option<u64>) -> Result<Bytes, Rejection> {
    let Some(rev) = if_match else { return Ok(payload) };
    let mut body: CommandBody = if payload.is_empty() { CommandBody::default() } else { parse_json(&payload)? };
    if body.if_rev.is_some_and(|given| given != rev) {
        return Err(FieldError::new("If-Match", "differs from the body's if_rev").into());
    }
    body.if_rev = Some(rev);
    serde_json::to_vec(&body).map(Bytes::from).map_err(|e| FieldError::new("payload", e.to_string()).into())
}

/// Reads the command as the log's reader will; what it can't read is answered and not published.
pub(super) fn check(command: &Command) -> Result<(), FieldError> {
    let subject = command.subject.to_string();
    let entry = decode(Raw {
        seq: 0,
        log_time: UnixMillis(0),
        subject: &subject,
        payload: &command.payload,
        idempotency_key: command.idempotency_key.as_deref(),
        publisher: Some(&command.publisher),
    });
    if let Input::Malformed { field, reason } = entry.input { Err(FieldError { field, reason }) } else { Ok(()) }
}

async fn submit(bridge: &Inner, command: Command) -> Result<Response, Rejection> {
    check(&command)?;
    let outcome = bridge.commands.submit(command).await?;
    answer(outcome)
}

/// An outcome as a response: the acceptance, the tally of fixes, or a problem.
pub(super) fn answer(outcome: Outcome) -> Result<Response, Rejection> {
    match outcome {
        Outcome::Accepted(acceptance) => Ok(axum::Json(acceptance).into_response()),
        Outcome::Fixes(tally) => Ok(axum::Json(tally).into_response()),
        Outcome::Refused(refusal) => Err(Problem::from(refusal).into()),
    }
}
