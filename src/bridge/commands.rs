//! Commands from the outside, whatever brought them: REST, STOMP. Each is checked with the same parsers that the log's reader
//! uses, so that what is refused here never enters the log; then it is published, and the answer waits for the outcome.

mod ask;

pub(super) use ask::Ask;

use super::{Inner, answers::Command, gate::permit_cell, reject::Rejection};
use crate::{
    domain::{Operator, OrderId, RiderId, Stage, UnixMillis, Verb, WarehouseId, cell::Input, ids::IdError},
    wire::{
        FieldError,
        access::{Principal, Right},
        answer::Outcome,
        command::{CommandBody, check_key, key_id, publisher, publisher_name},
        log::{Raw, decode},
        parse_json,
        personal::Personal,
        problem::Problem,
        query::OrderQuery,
        subject::LogSubject,
    },
};
use bytes::Bytes;
use serde_json::{Map, Value};
use std::str::FromStr;

/// An id that names what is asked about.
pub(super) fn id<T: FromStr<Err = IdError>>(field: &str, text: &str) -> Result<T, Rejection> {
    text.parse().map_err(|e: IdError| Problem::from(FieldError::new(field, e.to_string())).into())
}

/// There is no such verb of an order.
pub(super) fn no_order_verb(text: &str) -> Rejection {
    let verbs: Vec<_> = Verb::ALL.into_iter().filter(|verb| *verb != Verb::Create).map(Verb::name).collect();
    no_verb(text, &verbs.join(", "))
}

/// There is no such verb, but these.
pub(super) fn no_verb(text: &str, verbs: &str) -> Rejection {
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
    who: &Principal,
    verb: Verb,
    order: OrderId,
    (key, if_match): (Option<String>, Option<u64>),
    payload: Bytes,
) -> Result<Outcome, Rejection> {
    let cell = bridge.permit_order(who, right(verb), &order).await?;
    let publisher = who.publisher();
    check_key(key.as_deref())?;
    let subject = LogSubject::Order { cell, order, verb: verb.name().into() };
    let command = |payload| Command { subject, payload, idempotency_key: key, publisher };
    if verb == Verb::Edit {
        // What names a person doesn't go into the log.
        return edit(bridge, payload, if_match, command).await;
    }
    submit(bridge, command(with_rev(payload, if_match)?)).await
}

/// An edit: its personal part is kept apart, and the log only learns that there is one. It is written before the edit
/// is published and settled by its outcome, as [`crate::bridge::personal`] says.
async fn edit(
    bridge: &Inner,
    payload: Bytes,
    if_match: Option<u64>,
    command: impl FnOnce(Bytes) -> Command,
) -> Result<Outcome, Rejection> {
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
    let (LogSubject::Order { cell, order, verb }, key) = (&command.subject, command.idempotency_key.as_deref()) else {
        return Err(FieldError::new("verb", "is no edit").into());
    };
    let (order, key) = (order.clone(), key_id(&publisher(Some(&command.publisher))?, order, verb, check_key(key)?));
    bridge.personal.propose(&order, key, personal.clone()).await?;
    // After the data, so that nobody who tidies takes it for unneeded; before the edit can be seen.
    bridge.personal.index(cell, &order, &personal).await?;
    let outcome = bridge.commands.submit(command).await?;
    match &outcome {
        Outcome::Accepted(acceptance) => bridge.personal.accept(&order, key, acceptance.rev).await?,
        Outcome::Refused(_) | Outcome::Fixes(_) => bridge.personal.withdraw(&order, key).await?,
    }
    if personal.contact.is_some() {
        bridge.personal.tidy(&order).await?;
    }
    Ok(outcome)
}

/// The warehouse reports a stage. One repeated changes nothing, so it needs no key.
pub(super) async fn stage(
    bridge: &Inner,
    who: &Principal,
    (warehouse, order, stage): (&str, &str, &str),
    idempotency_key: Option<String>,
    payload: Bytes,
) -> Result<Outcome, Rejection> {
    let warehouse: WarehouseId = id("warehouse", warehouse)?;
    bridge.permit_id(who, Right::Stage, "warehouse", warehouse.as_str())?;
    let stage = stage.parse::<Stage>().map_err(|e| FieldError::new("stage", e))?;
    let order: OrderId = id("order", order)?;
    let cell = bridge.ports.directory.cell_of(&order).await?;
    permit_cell(who, &cell)?;
    let publisher = publisher_name(&Operator::warehouse(&warehouse));
    let of = Some(OrderId::clone(&order));
    let subject = LogSubject::Warehouse { cell, warehouse, order, stage: stage.name().into() };
    report(bridge, who, of, Command { subject, payload, idempotency_key, publisher }).await
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
) -> Result<Outcome, Rejection> {
    check(&command)?;
    let outcome = bridge.commands.submit(command).await?;
    if let (Outcome::Refused(_), Some(order)) = (&outcome, order) {
        bridge.order_for(who, Right::ReadOrder, OrderQuery { order }).await?;
    }
    Ok(outcome)
}

/// A rider's report. Fixes carry their own identity, shift and trip say how things are, and an order is delivered once:
/// a key is taken, but not asked for.
pub(super) async fn rider(
    bridge: &Inner,
    who: &Principal,
    verb: &str,
    rider: &str,
    idempotency_key: Option<String>,
    payload: Bytes,
) -> Result<Outcome, Rejection> {
    let rider: RiderId = id("rider", rider)?;
    bridge.permit_id(who, Right::Report, "rider", rider.as_str())?;
    let publisher = publisher_name(&Operator::rider(&rider));
    let of = order_of(&payload);
    let subject = LogSubject::Rider { cell: bridge.home(who)?, rider, verb: verb.into() };
    report(bridge, who, of, Command { subject, payload, idempotency_key, publisher }).await
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

async fn submit(bridge: &Inner, command: Command) -> Result<Outcome, Rejection> {
    check(&command)?;
    Ok(bridge.commands.submit(command).await?)
}
