//! Commands over HTTP. Each is checked with the same parsers that the log's reader uses, so that what gets a 400 here
//! never enters the log; then it is published, and the answer waits for the outcome.

use super::{
    asked::{CommandHeaders, Nothing, OrderPath, ReportHeaders, RiderPath, StagePath},
    docs::CommandProblems,
};
use crate::{
    bridge::{
        Inner,
        answers::Command,
        gate::Asked,
        reject::{IfMatch, Json, Key, Path, Rejection},
    },
    domain::{Operator, OrderId, RiderId, Stage, UnixMillis, Verb, WarehouseId, cell::Input, ids::IdError},
    wire::{
        FieldError,
        access::{Principal, Right},
        answer::{Acceptance, FixTally, Outcome},
        command::{CommandBody, check_key, key_id, publisher, publisher_name},
        fix::{BatchBody, DeliveredBody, FailedBody, ShiftBody, SingleBody, TripBody},
        log::{Raw, decode},
        parse_json,
        personal::Personal,
        problem::Problem,
        query::OrderQuery,
        schema::{
            AcknowledgeBody, AssignBody, CancelBody, DeliverBody, EditBody, FailBody, MissingBody, PayBody, ReturnBody,
            UnassignBody,
        },
        subject::LogSubject,
    },
};
use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde_json::{Map, Value};
use std::{str::FromStr, sync::Arc};

/// An id of the path.
pub(super) fn id<T: FromStr<Err = IdError>>(field: &str, text: &str) -> Result<T, Rejection> {
    text.parse().map_err(|e: IdError| Problem::from(FieldError::new(field, e.to_string())).into())
}

fn no_verb(text: &str, verbs: &str) -> Rejection {
    let detail = format!("`{text}` is no verb; the verbs are {verbs}");
    Problem::new(404, "unknown_verb", "There is no such verb").with_field("verb").with_detail(detail).into()
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
        Verb::Acknowledge => Right::Acknowledge,
    }
}

/// A command to an order.
pub(super) async fn order(
    bridge: &Inner,
    verb: Verb,
    order: &str,
    Asked { who, params }: Asked,
    (key, if_match): (Option<String>, Option<u64>),
    payload: Bytes,
) -> Result<Response, Rejection> {
    let order: OrderId = id("order", order)?;
    params.end()?;
    bridge.permit_order(&who, right(verb), OrderQuery { order: order.clone() }).await?;
    let publisher = who.publisher();
    check_key(key.as_deref())?;
    let subject = LogSubject::Order { cell: bridge.cell.clone(), order, verb: verb.name().into() };
    let command = |payload| Command { subject, payload, idempotency_key: key, publisher };
    if verb == Verb::Edit {
        // What names a person doesn't go into the log.
        return edit(bridge, payload, if_match, command).await;
    }
    submit(bridge, command(with_rev(payload, if_match)?)).await
}

macro_rules! order_verbs {
    ($($(#[doc = $doc:literal])* $name:ident: $verb:ident, $body:ty, $path:literal;)*) => {
        $(
            $(#[doc = $doc])*
            #[utoipa::path(
                post,
                path = $path,
                tag = "orders",
                params(OrderPath, CommandHeaders),
                request_body = $body,
                responses((status = 200, description = "It took effect, and is stored", body = Acceptance), CommandProblems),
            )]
            pub(super) async fn $name(
                State(bridge): State<Arc<Inner>>,
                Path(id): Path<String>,
                asked: Asked,
                Key(key): Key,
                IfMatch(if_match): IfMatch,
                Json(payload): Json,
            ) -> Result<Response, Rejection> {
                order(&bridge, Verb::$verb, &id, asked, (key, if_match), payload).await
            }
        )*
    };
}

order_verbs! {
    /// The order is paid
    pay: Pay, PayBody, "/v1/orders/{order}/pay";
    /// Cancel the order
    cancel: Cancel, CancelBody, "/v1/orders/{order}/cancel";
    /// Give the order to a rider
    assign: Assign, AssignBody, "/v1/orders/{order}/assign";
    /// Take the order from its rider
    unassign: Unassign, UnassignBody, "/v1/orders/{order}/unassign";
    /// The order was delivered
    deliver: Deliver, DeliverBody, "/v1/orders/{order}/deliver";
    /// An attempt at the door failed
    fail: Fail, FailBody, "/v1/orders/{order}/fail";
    /// The goods went back to the warehouse
    give_back: Return, ReturnBody, "/v1/orders/{order}/return";
    /// Some items are missing
    missing: Missing, MissingBody, "/v1/orders/{order}/missing";
    /// Change promise, destination, contact, address or notes before the order is handed over
    edit_order: Edit, EditBody, "/v1/orders/{order}/edit";
    /// Operations take note of an alert, by its number within the order
    acknowledge: Acknowledge, AcknowledgeBody, "/v1/orders/{order}/acknowledge";
}

/// Anything else below an order.
pub(super) async fn no_order_verb(Path((_, verb)): Path<(String, String)>) -> Rejection {
    let verbs: Vec<_> = Verb::ALL.into_iter().filter(|verb| *verb != Verb::Create).map(Verb::name).collect();
    no_verb(&verb, &verbs.join(", "))
}

/// An edit: its personal part is kept apart, and the log only learns that there is one. It is written before the edit
/// is published and settled by its outcome, as [`crate::bridge::personal`] says.
async fn edit(
    bridge: &Inner,
    payload: Bytes,
    if_match: Option<u64>,
    command: impl FnOnce(Bytes) -> Command,
) -> Result<Response, Rejection> {
    let mut body: Map<String, Value> = parse_json(&payload)?;
    if body.contains_key("personal") {
        return Err(FieldError::new("personal", "is said by the server; give contact, address or notes").into());
    }
    let personal = Personal::take(&mut body)?;
    if personal == Personal::default() {
        return submit(bridge, command(with_rev(Value::Object(body).to_string().into(), if_match)?)).await;
    }
    body.insert("personal".into(), true.into());
    let command = command(with_rev(Value::Object(body).to_string().into(), if_match)?);
    check(&command)?;
    bridge.health.check()?;
    let (LogSubject::Order { order, verb, .. }, key) = (&command.subject, command.idempotency_key.as_deref()) else {
        return Err(FieldError::new("verb", "is no edit").into());
    };
    let (order, key) = (order.clone(), key_id(&publisher(Some(&command.publisher))?, order, verb, check_key(key)?));
    bridge.personal.propose(&order, key, personal).await?;
    let outcome = bridge.commands.submit(command).await?;
    match &outcome {
        Outcome::Accepted(acceptance) => bridge.personal.accept(&order, key, acceptance.rev).await?,
        Outcome::Refused(_) | Outcome::Fixes(_) => bridge.personal.withdraw(&order, key).await?,
    }
    answer(outcome)
}

/// The warehouse reports a stage. One repeated changes nothing, so it needs no key
#[utoipa::path(
    post,
    path = "/v1/warehouses/{warehouse}/orders/{order}/stages/{stage}",
    tag = "warehouses",
    params(StagePath, ReportHeaders),
    request_body = Nothing,
    responses((status = 200, description = "It took effect, and is stored", body = Acceptance), CommandProblems),
)]
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
    let publisher = publisher_name(&Operator::warehouse(&warehouse));
    let of = Some(OrderId::clone(&order));
    let subject = LogSubject::Warehouse { cell, warehouse, order, stage: stage.name().into() };
    report(&bridge, &who, of, Command { subject, payload, idempotency_key, publisher }).await
}

/// The order that a report is about, if it names one.
fn order_of(payload: &[u8]) -> Option<OrderId> {
    let body: Map<String, Value> = parse_json(payload).ok()?;
    body.get("order")?.as_str()?.parse().ok()
}

/// A report of one's own. What is refused says how the order stands, so that goes only to those who may read it; the look
/// comes afterwards, since a report that is repeated is answered also when the order has gone on to somebody else.
async fn report(
    bridge: &Inner,
    who: &Principal,
    order: Option<OrderId>,
    command: Command,
) -> Result<Response, Rejection> {
    check(&command)?;
    let outcome = bridge.commands.submit(command).await?;
    if let (Outcome::Refused(_), Some(order)) = (&outcome, order) {
        bridge.order_for(who, Right::ReadOrder, OrderQuery { order }).await?;
    }
    answer(outcome)
}

/// A rider's report. Fixes carry their own identity, shift and trip say how things are, and an order is delivered once:
/// a key is taken, but not asked for.
async fn rider(
    bridge: &Inner,
    verb: &str,
    rider: &str,
    Asked { who, params }: Asked,
    idempotency_key: Option<String>,
    payload: Bytes,
) -> Result<Response, Rejection> {
    params.end()?;
    let rider: RiderId = id("rider", rider)?;
    bridge.permit_id(&who, Right::Report, "rider", rider.as_str())?;
    let publisher = publisher_name(&Operator::rider(&rider));
    let of = order_of(&payload);
    let subject = LogSubject::Rider { cell: bridge.cell.clone(), rider, verb: verb.into() };
    report(bridge, &who, of, Command { subject, payload, idempotency_key, publisher }).await
}

macro_rules! rider_verbs {
    ($($(#[doc = $doc:literal])* $name:ident: $verb:literal, $body:ty => $answer:ty, $path:literal;)*) => {
        $(
            $(#[doc = $doc])*
            #[utoipa::path(
                post,
                path = $path,
                tag = "riders",
                params(RiderPath, ReportHeaders),
                request_body = $body,
                responses((status = 200, description = "It took effect, and is stored", body = $answer), CommandProblems),
            )]
            pub(super) async fn $name(
                State(bridge): State<Arc<Inner>>,
                Path(id): Path<String>,
                asked: Asked,
                Key(key): Key,
                Json(payload): Json,
            ) -> Result<Response, Rejection> {
                rider(&bridge, $verb, &id, asked, key, payload).await
            }
        )*

        const RIDER_VERBS: &[&str] = &[$($verb),*];
    };
}

rider_verbs! {
    /// One position
    fix: "fix", SingleBody => FixTally, "/v1/riders/{rider}/fix";
    /// Up to 1,000 positions, as a phone sends them when it is back
    fixes: "fixes", BatchBody => FixTally, "/v1/riders/{rider}/fixes";
    /// A shift begins or ends; at its end, another rider may take the orders in hand
    shift: "shift", ShiftBody => Acceptance, "/v1/riders/{rider}/shift";
    /// The rider's orders in the order of their stops
    trip: "trip", TripBody => Acceptance, "/v1/riders/{rider}/trip";
    /// An order in hand was delivered
    delivered: "delivered", DeliveredBody => Acceptance, "/v1/riders/{rider}/delivered";
    /// An attempt at the door of an order in hand failed
    failed: "failed", FailedBody => Acceptance, "/v1/riders/{rider}/failed";
    /// An order in hand went back to the warehouse
    returned: "returned", FailedBody => Acceptance, "/v1/riders/{rider}/returned";
}

/// Anything else below a rider.
pub(super) async fn no_rider_verb(Path((_, verb)): Path<(String, String)>) -> Rejection {
    no_verb(&verb, &RIDER_VERBS.join(", "))
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
